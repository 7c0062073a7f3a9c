"""What `training` says of torchvision's networks, beside real training steps.

python examples/benchmarks/training_memory.py
python examples/benchmarks/training_memory.py --device cuda    # another file of results

Every network takes real steps: hooks count what autograd saves, and PyTorch's profiler, or the
CUDA allocator, what is given out. No formula is shared with the library.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))  # for the real steps

import torch
import torchvision.models as tv
from real_training import allocated_peak, allocated_peak_on_gpu, saved_bytes

import run_folder
from budgetnet import models, training

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
NETWORKS = {
    "alexnet": 64, "vgg11_bn": 32, "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64,
    "wide_resnet50_2": 64, "squeezenet1_1": 64, "densenet121": 64, "googlenet": 64,
    "inception_v3": 299, "shufflenet_v2_x1_0": 64, "mnasnet1_0": 64, "mobilenet_v2": 64,
    "mobilenet_v3_large": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64, "regnet_y_400mf": 64,
    "convnext_tiny": 64, "maxvit_t": 224, "swin_t": 64, "swin_v2_t": 64, "vit_b_16": 224,
}  # fmt: skip
BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[*NETWORKS, "unet"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    device = torch.device(args.device)
    found = {}
    for name in args.only:
        found[name] = measured(name, device)
        print(name, found[name], flush=True)
    on_gpu = device.type == "cuda"
    run_folder.write_json(
        args.out / f"training_memory{'_cuda' if on_gpu else ''}.json",
        {
            "command": "python examples/benchmarks/training_memory.py"
            + (" --device cuda" if on_gpu else ""),
            "batch": BATCH,
            "optimizer": "sgd-momentum",
            "networks": found,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(device),
        },
    )


def measured(name: str, device: torch.device) -> dict[str, Any]:
    """Bytes that are saved and the peak, as the library says and as they are."""
    torch.manual_seed(0)
    if name == "unet":
        model, shape = models.get_model(name), models.get_reference(name).input_shape
    else:
        model, shape = getattr(tv, name)().train(), (3, NETWORKS[name], NETWORKS[name])
    told = training(model, shape, batch=BATCH, optimizer="sgd-momentum")
    gc.collect()  # a network holds itself in circles; the last one's bytes are not this one's
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    model, batch = model.to(device), torch.randn(BATCH, *shape, device=device)
    saved = saved_bytes(model, batch)
    real_peak = allocated_peak_on_gpu if device.type == "cuda" else allocated_peak
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
    return {
        "input": list(shape),
        "told_saved": told.saved_bytes,
        "saved": saved,
        "told_peak": told.peak_bytes,
        "allocated_peak": real_peak(model, optimizer, batch) - before,
    }


if __name__ == "__main__":
    main()
