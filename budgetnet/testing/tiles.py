"""Whether a network gives in tiles what it gives for the whole image, bit by bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ..deploy.tiled import check_size_does_not_matter, run_tiles
from ..deploy.tiling import tile

# Values are kept to multiples of this, so that products and sums are exact in float64 whatever
# their order, and kernels that choose another one for another size agree.
_STEP = 2.0**-20


def assert_tiles_exactly(
    model: nn.Module, input_shape: Any, size: Any = None, *, trials: int = 1, seed: int = 0
) -> int:
    """Check that a network gives in tiles what it gives for the whole image; returns their number.

    A copy runs on random images in arithmetic without rounding: in float64, with the weights and
    the result of every operation rounded to multiples of 2^-20. `torch.equal` must hold. So a
    `forward` that depends on positions, which no window shows, is found: learned positions,
    coordinates, a window function over the image.

    Args:
        model: the network; it is left as it is.
        input_shape: `(C, H, W)` of an image that is larger than a tile.
        size: of a tile, as for `budgetnet.tile`; by default one period, which has most borders.
        trials: random images.
        seed: of them.

    Raises:
        AssertionError: the first output that differs, and its tile.
        ArgumentError: as `budgetnet.tiled` raises it.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    >>> assert_tiles_exactly(net, (1, 20, 24))
    80
    """
    net = copy.deepcopy(model).to("cpu", torch.float64).eval()
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.data = _rounded(tensor.data)
    tiling = tile(net, input_shape, size)
    if size is None:
        tiling = replace(tiling, size=tiling.period)
    check_size_does_not_matter(net, tiling)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(trials):
        shape = (1, *tiling.account.input_shape)
        image = _rounded(torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1)
        with torch.no_grad(), _OnGrid():  # type: ignore[no-untyped-call]  # torch's is
            whole, parts = net(image), run_tiles(net, image, tiling)
        if not torch.equal(whole, parts):
            at = tuple(np.argwhere((whole != parts).numpy())[0][1:].tolist())
            own = next(t for t in tiling.tiles() if _holds(t.output, at[1:]))
            raise AssertionError(
                f"output {at} is {whole[0][at].item():.6g} for the whole image and "
                f"{parts[0][at].item():.6g} in the tile of {own.input}: the network depends on "
                "positions in the image"
            )
    return len(tiling)


def _holds(slices: tuple[slice, ...], at: tuple[int, ...]) -> bool:
    return all(s.start <= i < s.stop for s, i in zip(slices, at, strict=True))


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor / _STEP).round_() * _STEP


class _OnGrid(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and round what it gives; a view is rounded already."""
        out = func(*args, **(kwargs or {}))
        if func._schema.is_mutable:
            for tensor in filter(_is_real, tree_leaves(out)):
                tensor.copy_(_rounded(tensor))
            return out
        if any(returned.alias_info for returned in func._schema.returns):
            return out
        return tree_map(lambda one: _rounded(one) if _is_real(one) else one, out)


def _is_real(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.device.type != "meta"
    )
