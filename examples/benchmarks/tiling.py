"""Compare networks in tiles with themselves on the whole image, bit by bit.

python examples/benchmarks/tiling.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import torch
from torch import nn

import run_folder
from budgetnet import models, tile, tiled
from budgetnet.testing import assert_tiles_exactly

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "tiling.json"


def u_net(depth: int, width: int, up: str) -> nn.Module:
    """A U-Net of two convolutions a level, as a spec."""
    text = f"2*c{width * 2**depth}same"
    for level in reversed(range(depth)):
        channels = width * 2**level
        enlarge = f"tc{channels}k2s2" if up == "transposed" else f"u2{up}"
        text = f"2*c{channels}same [(p {text} {enlarge}) | ()] 2*c{channels}same"
    return models.build(text, 3)


NETWORKS: dict[str, tuple[int, int, str, int]] = {
    "U-Net, 2 poolings": (2, 16, "transposed", 64),
    "U-Net, 3 poolings": (3, 8, "transposed", 64),
    "U-Net, 4 poolings": (4, 8, "transposed", 64),
    "U-Net, 3 poolings, nearest": (3, 8, "nearest", 64),
    "U-Net, 3 poolings, bilinear": (3, 8, "bilinear", 64),
}
WAYS = {  # by name: type, and whether oneDNN may run
    "float32": (torch.float32, True),
    "float32, no oneDNN": (torch.float32, False),
    "float64": (torch.float64, False),
}


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, (depth, width, up, size) in NETWORKS.items():
        net, shape = u_net(depth, width, up).eval(), (3, 256, 320)
        tiling = tile(net, shape, size)
        image = torch.randn(1, *shape)
        field = tiling.account.receptive_field
        found[name] = {
            "receptive_field": field and field.size[0],
            "period": tiling.period[0],
            "halo": tiling.halo[0][0],
            "tiles": len(tiling),
            "overhead": tiling.overhead,
            "exact": assert_tiles_exactly(net, shape, size),
            "ways": {way: compare(net, image, tiling, *how) for way, how in WAYS.items()},
        }
        print(name, found[name])
    run_folder.write_json(
        RESULTS,
        {
            "command": "python examples/benchmarks/tiling.py",
            "networks": found,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


def compare(
    net: nn.Module, image: torch.Tensor, tiling: Any, dtype: torch.dtype, mkldnn: bool
) -> dict[str, Any]:
    """How far the tiles are from the whole image."""
    net, image = net.to(dtype), image.to(dtype)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=mkldnn):
        whole, parts = net(image), tiled(net, image, tiling)
    net.to(torch.float32)
    return {
        "equal": torch.equal(whole, parts),
        "largest": float((whole - parts).abs().max() / whole.abs().max()),
    }


if __name__ == "__main__":
    main()
