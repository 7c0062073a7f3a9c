"""Oracles for receptive fields that share no formula with the library.

The oracles run the real network in float64 on the CPU and observe which inputs reach which
outputs. They are slow but exact, and meant for test suites:

    footprint = nan_footprint(model, (1, 28, 28))
    assert_field_matches(account(model, (1, 28, 28)).receptive_field, footprint)
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from ..accounting.receptive_field import ReceptiveField

# float64 keeps convolutions on the plain algorithm: Winograd's would smear a NaN over its tile.
_DTYPE = torch.float64


def nan_footprint(model: nn.Module, input_shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Find which inputs reach each output unit, by a NaN at every input position in turn.

    Returns a boolean array `(h, w, H, W)`, over all channels; an output that is not a map
    counts as one unit. Max pooling and ReLU pass a NaN on, so the footprint does not depend on the
    weights.

    >>> nan_footprint(nn.Conv2d(1, 1, 3), (1, 5, 5))[1, 2].nonzero()[1].tolist()
    [2, 3, 4, 2, 3, 4, 2, 3, 4]
    """
    net = _double(model)
    channels, height, width = input_shape
    marks = torch.zeros(height * width, 1, height, width, dtype=_DTYPE)
    marks.view(height * width, -1).fill_diagonal_(float("nan"))
    with torch.no_grad():
        out = torch.cat(
            [net(part.expand(-1, channels, -1, -1)) for part in torch.split(marks, 256)]
        )
    hit = out.isnan().any(dim=1)
    hit = hit.view(height, width, *(hit.shape[1:] or (1, 1)))
    return hit.permute(2, 3, 0, 1).numpy()


def gradient_footprint(
    model: nn.Module, input_shape: tuple[int, int, int], *, trials: int = 1, seed: int = 0
) -> np.ndarray[Any, Any]:
    """Find which inputs have a gradient at each output unit, with all weights made positive.

    Returns a boolean array `(h, w, H, W)` as `nan_footprint` does. A max pooling passes its
    gradient to one input only, so such a network needs many `trials`, each on a new random image,
    whose footprints are joined; without one a single trial is exact.

    >>> int(gradient_footprint(nn.Conv2d(1, 1, 3), (1, 5, 5))[0, 0].sum())
    9
    """
    net = _double(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().add_(0.1)
    found: torch.Tensor | None = None
    for _ in range(trials):
        x = torch.rand(1, *input_shape, dtype=_DTYPE, generator=generator).requires_grad_()
        out = net(x).sum(dim=1)
        units = out.reshape(-1)
        grads = [torch.autograd.grad(unit, x, retain_graph=True)[0].ne(0).any(1) for unit in units]
        hit = torch.cat(grads).view(*(out.shape[1:] or (1, 1)), *input_shape[1:])
        found = hit if found is None else found | hit
    assert found is not None
    return found.numpy()


def assert_field_matches(
    field: ReceptiveField, footprint: np.ndarray[Any, Any], *, border: bool = True
) -> int:
    """Check a receptive field against a footprint, for every output unit and every axis.

    If the region of a unit lies inside the input, the footprint must equal the field exactly, gaps
    included. Near the border it may only be smaller, since padding has no position in it; pass
    `border=False` if padding reflects or repeats inputs. Returns the number of units whose region
    lies inside.
    """
    rows, columns, *size = footprint.shape
    inside = 0
    for unit in np.ndindex(rows, columns):
        hit = footprint[unit]
        within = all(
            0 <= lo and hi < n for (lo, hi), n in zip(field.region(*unit), size, strict=True)
        )
        inside += within
        for axis, expected in enumerate(field.reads(*unit)):
            actual = set(np.flatnonzero(hit.any(axis=1 - axis)).tolist())
            message = f"unit {unit}, axis {axis}: {sorted(actual)}, not {sorted(expected)}"
            assert not within or expected == actual, f"the network reads {message}"
            assert not border or actual <= expected, f"the network reads more: {message}"
    return inside


def _double(model: nn.Module) -> nn.Module:
    net = copy.deepcopy(model).to(device="cpu", dtype=_DTYPE).eval()
    for module in net.modules():  # an in-place activation would overwrite what a branch still reads
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # a plain attribute
    return net
