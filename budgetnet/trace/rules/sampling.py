"""Rules of operations that sample a map at places given as values, and of folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...accounting.table import compact
from ...accounting.window import Window
from ...errors import RunEnded, explain
from .choices import all_of
from .core import Activation, Effect, Operand, no_rule, of, rule, same_channels, seen
from .joins import join as join_readings
from .joins import unite
from .readings import Reading


@rule("grid_sampler_2d", "grid_sampler_3d", "grid_sampler", "_grid_sampler_2d_cpu_fallback")
def grid_sampler(x: Operand, grid: Operand, *_: Any) -> Effect:
    """Samples at the places that a grid gives: its own element, and anywhere in the map."""
    shape = (*x.shape[:2], *grid.shape[1:-1])
    spatial = range(2, x.dim())
    readings, sources = [], []
    if isinstance(grid, Activation):
        last = grid.dim() - 1
        readings.append(of(grid).gather([last]).permute([0, last, *range(1, last)]).expand(shape))
        sources.append(grid)
    if isinstance(x, Activation):
        readings.append(of(x).gather(spatial).expand(shape))
        sources.append(x)
    return replace(all_of(readings, sources, shape), dtype=x.dtype)


@rule("affine_grid_generator")
def affine_grid(theta: Activation, size: Sequence[int], *_: Any) -> Effect:
    """Places by an affine map: each reads a row of its matrix."""
    axes = len(size) - 2
    rows = of(theta).gather([2]).permute([0, 2, 1])
    for _axis in range(axes - 1):
        rows = rows.insert(1)
    shape = (size[0], *size[2:], axes)
    return seen(rows.expand(shape), theta, shape=shape)


@rule("torchvision::deform_conv2d", role="convolution")
def deform_conv(
    x: Operand,
    weight: Tensor,
    offset: Operand,
    mask: Operand,
    bias: Tensor,
    *_: Any,
) -> Effect:
    """Convolution at places that offsets give: the offsets' own, and anywhere in the map."""
    shape = (x.shape[0], weight.shape[0], *offset.shape[2:])
    readings, sources = [], []
    for value in (offset, mask):
        if isinstance(value, Activation):
            readings.append(of(value).gather([1]).expand(shape))
            sources.append(value)
    if isinstance(x, Activation):
        readings.append(of(x).gather([1, 2, 3]).expand(shape))
        sources.append(x)
    macs = weight.numel() * shape[0] * prod(shape[2:])
    # Without a bias torchvision passes one of zeros, which cannot be distinguished.
    return replace(all_of(readings, sources, shape), macs=macs, weight_shape=tuple(weight.shape))


# ---- regions of detectors


@rule("torchvision::roi_align", "torchvision::roi_pool")
def roi_pool(x: Operand, rois: Operand, scale: float, height: int, width: int, *_: Any) -> Effect:
    """A small map from every region of interest, which may lie anywhere."""
    shape = (rois.shape[0], x.shape[1], height, width)
    return replace(_regions(x, rois, shape), extra=((shape, torch.int32),))


@rule("torchvision::ps_roi_align", "torchvision::ps_roi_pool")
def ps_roi_pool(
    x: Operand, rois: Operand, scale: float, height: int, width: int, *_: Any
) -> Effect:
    """A small map from every region of interest, each place of it from channels of its own."""
    shape = (rois.shape[0], x.shape[1] // (height * width), height, width)
    return replace(_regions(x, rois, shape, mixed=True), extra=((shape, torch.int32),))


def _regions(x: Operand, rois: Operand, shape: tuple[int, ...], mixed: bool = False) -> Effect:
    readings, sources = [], []
    if isinstance(rois, Activation):
        readings.append(of(rois).gather([1]).insert(2).insert(3).expand(shape))
        sources.append(rois)
    if isinstance(x, Activation):
        everywhere = of(x).gather([0, 1, 2, 3] if mixed else [0, 2, 3])
        readings.append(everywhere.expand(shape))
        sources.append(x)
    return all_of(readings, sources, shape)


@rule("torchvision::nms")
def nms(boxes: Operand, scores: Operand, *_: Any) -> Effect:
    """Refused: how many boxes are kept depends on their values."""
    raise RunEnded(
        explain(
            "the number of boxes that torchvision.ops.nms keeps depends on values of the input",
            numbers={"boxes": compact(boxes.shape)},
        )
    )


# ---- patches


@rule("unfold", role="reshape")
def unfold(x: Activation, dimension: int, size: int, step: int) -> Effect:
    """Windows along a dimension, whose places become a last dimension."""
    if not x.dim():
        return seen(of(x).insert(0).expand([size]), x, is_view=True)
    dim = dimension % x.dim()
    count = (x.shape[dim] - size) // step + 1
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :], size)
    last, reading = x.dim(), of(x)
    parts = [reading.take(dim, j, step, count).insert(last) for j in range(size)]
    joined = join_readings(parts, last) if size > 1 else parts[0]
    return seen(joined, x, shape=shape, is_view=True)


@rule("col2im")
def fold(
    x: Activation,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Effect:
    """Sums of patches where they overlap: each position reads one tap of all that cover it."""
    if x.dim() != 3:
        raise no_rule("a fold without a batch", x)
    each = list(zip(output_size, kernel_size, stride, padding, dilation, strict=True))
    counts = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each]
    batch, channels = x.shape[0], x.shape[1] // prod(kernel_size)
    patches = of(x).reshape((batch, channels, *kernel_size, *counts))
    total: Reading | None = None
    for tap in np.ndindex(*kernel_size):
        one = patches.select(2, tap[0]).select(2, tap[1])
        for axis, (n, _, s, p, d) in enumerate(each):
            one = one.slid(2 + axis, _tap(s, p, d * tap[axis]), n)
        total = one if total is None else unite(total, one)
    assert total is not None
    same_channels(x, channels * prod(kernel_size))
    return seen(total, x, shape=(batch, channels, *output_size))


def _tap(stride: int, padding: int, offset: int) -> Window:
    """Which patch reaches a position with one of its taps."""
    phases = [
        {(o + padding - offset) // stride} if (o + padding - offset) % stride == 0 else set()
        for o in range(stride)
    ]
    return Window.reading(*phases, advance=1)
