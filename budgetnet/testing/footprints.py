"""The effective receptive field of a network's units: gradients measured layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ArgumentError, explain, shown


def centre_footprints(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    paths: Collection[str] | None = None,
    *,
    trials: int = 8,
    seed: int = 0,
) -> dict[str, np.ndarray[Any, Any]]:
    """Measure how much each input position changes the unit in the middle of a module's map.

    The mean over `trials` random images of the absolute gradient, over all channels, as an array
    `(H, W)` per module path. The weights are the model's own, so this is the effective field, which
    lies within the theoretical one; a position that an activation or a max pooling blocks in every
    trial has 0. Modules whose output is not a map `(N, C, H, W)` are left out.

    >>> footprint = centre_footprints(nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 5, 5))["0"]
    >>> footprint.shape, int((footprint > 0).sum())
    ((5, 5), 9)

    Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
    Networks", NeurIPS 2016.
    """
    x, maps = _run(model, input_shape, paths, trials, seed)
    found = {}
    for path, out in maps.items():
        grad = _gradient(x, out, out.shape[2] // 2, out.shape[3] // 2)
        if grad is not None:
            found[path] = grad
    return found


def unit_footprints(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    units: Mapping[str, Collection[tuple[int, int]]],
    *,
    trials: int = 8,
    seed: int = 0,
) -> dict[str, dict[tuple[int, int], np.ndarray[Any, Any]]]:
    """Measure as `centre_footprints` does, but of the units that are asked for.

    Args:
        model: the network, with its own weights.
        input_shape: `(C, H, W)`.
        units: by module path, units `(row, column)` of its map.
        trials: random images.
        seed: of them.

    Raises:
        ArgumentError: a module has no map, or its map has no such unit.

    >>> found = unit_footprints(nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 5, 5), {"0": [(0, 2)]})
    >>> np.argwhere(found["0"][0, 2] > 0)[[0, -1]].tolist()
    [[0, 2], [2, 4]]
    """
    x, maps = _run(model, input_shape, units, trials, seed)
    found: dict[str, dict[tuple[int, int], np.ndarray[Any, Any]]] = {}
    for path, wanted in units.items():
        if path not in maps:
            raise ArgumentError(explain(f"{shown(path)} gives no map whose gradient is known"))
        out, found[path] = maps[path], {}
        for row, column in wanted:
            if not (0 <= row < out.shape[2] and 0 <= column < out.shape[3]):
                numbers = {"unit": f"{row},{column}", "map": f"{out.shape[2]}x{out.shape[3]}"}
                raise ArgumentError(explain(f"{path} has no such unit", numbers=numbers))
            grad = _gradient(x, out, row, column)
            found[path][row, column] = np.zeros(input_shape[1:]) if grad is None else grad
    return found


def _run(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    paths: Collection[str] | None,
    trials: int,
    seed: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Random images, and the maps `(N, C, H, W)` of modules for them, with gradients."""
    net = copy.deepcopy(model).to("cpu").eval()
    outputs: dict[str, Any] = {}
    for path, module in net.named_modules():
        if hasattr(module, "inplace"):  # it would overwrite what a gradient needs
            module.inplace = False
        if paths is None or path in paths:
            module.register_forward_hook(
                lambda _m, _i, out, path=path: outputs.__setitem__(path, out)
            )
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(trials, *input_shape, generator=generator).requires_grad_()
    with torch.enable_grad():
        net(x)
    maps = {
        path: out
        for path, out in outputs.items()
        if isinstance(out, torch.Tensor) and out.dim() == 4 and out.requires_grad
    }
    return x, maps


def _gradient(
    x: torch.Tensor, out: torch.Tensor, row: int, column: int
) -> np.ndarray[Any, Any] | None:
    """The mean absolute gradient of one unit over channels and images; `None` if there is none."""
    unit = out[:, :, row, column].sum()
    (grad,) = torch.autograd.grad(unit, x, retain_graph=True, allow_unused=True)
    return None if grad is None else grad.abs().sum(1).mean(0).numpy()
