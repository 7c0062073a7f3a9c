"""The effective receptive field of a network's units: gradients measured layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import nn


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
    net = copy.deepcopy(model).to("cpu").eval()
    maps: dict[str, torch.Tensor] = {}
    for path, module in net.named_modules():
        if hasattr(module, "inplace"):  # it would overwrite what a gradient needs
            module.inplace = False
        if paths is None or path in paths:
            module.register_forward_hook(lambda _m, _i, out, path=path: maps.__setitem__(path, out))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(trials, *input_shape, generator=generator).requires_grad_()
    with torch.enable_grad():
        net(x)
    found = {}
    for path, out in maps.items():
        if isinstance(out, torch.Tensor) and out.dim() == 4 and out.requires_grad:
            unit = out[:, :, out.shape[2] // 2, out.shape[3] // 2].sum()
            (grad,) = torch.autograd.grad(unit, x, retain_graph=True, allow_unused=True)
            if grad is not None:
                found[path] = grad.abs().sum(1).mean(0).numpy()
    return found
