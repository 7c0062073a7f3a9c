"""Rules of upsamplings: outputs that read what lies at a place between positions of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...accounting.resampling import (
    bell_reads,
    cubic_reads,
    linear_reads,
    nearest_window,
    resampled_window,
    triangle_reads,
)
from ...accounting.window import Window
from .core import Activation, Effect, rule
from .sliding import put, spatial


def _scales(
    x: Activation, size: Sequence[int], scales: Sequence[Any]
) -> list[tuple[int, int, float]]:
    """Per axis: inputs, outputs, and inputs per output as torch computes it."""
    given = [*scales, *[None] * (len(size) - len(scales))]
    return [
        (n, m, 1 / scale if scale else n / m)
        for n, m, scale in zip(spatial(x), size, given, strict=True)
    ]


def _resize(x: Activation, size: tuple[int, ...], windows: tuple[Window, ...]) -> Effect:
    return put(x, x.shape[1], size, windows, groups=0)


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", role="resizing")
def upsample_nearest(x: Activation, output_size: Sequence[int] | None, *scales: Any) -> Effect:
    """Nearest upsampling: output `i` reads input `floor(i * n / m)`."""
    size, flat = _output_size(x, output_size, scales)
    each = _scales(x, size, flat)
    windows = tuple(nearest_window(*axis) for axis in each)
    return _resize(x, size, windows)


@rule(
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    role="resizing",
)
def upsample_exact(x: Activation, output_size: Sequence[int] | None, *scales: Any) -> Effect:
    """Nearest upsampling by centres: output `i` reads input `floor((i + 1/2) * n / m)`."""
    size, flat = _output_size(x, output_size, scales)
    windows = tuple(nearest_window(*axis, 0.5) for axis in _scales(x, size, flat))
    return _resize(x, size, windows)


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", role="resizing")
def upsample_linear(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Linear upsampling: output `i` reads the one or two inputs around its source position.

    At the border torch clamps the source position into the map; a neighbour of weight zero is not
    read.
    """
    return _resampled(x, output_size, align_corners, scales, linear_reads)


@rule("upsample_bicubic2d", role="resizing")
def upsample_cubic(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Cubic upsampling: output `i` reads the four inputs around its source position.

    Those beyond the border are the border's; one of weight zero is not read.
    """
    return _resampled(x, output_size, align_corners, scales, cubic_reads)


@rule("_upsample_bilinear2d_aa", role="resizing")
def upsample_linear_wide(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Linear resizing whose filter widens if the map shrinks."""
    return _resampled(x, output_size, align_corners, scales, triangle_reads)


@rule("_upsample_bicubic2d_aa", role="resizing")
def upsample_cubic_wide(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Cubic resizing whose filter widens if the map shrinks."""
    return _resampled(x, output_size, align_corners, scales, bell_reads)


def _resampled(
    x: Activation, output_size: Sequence[int] | None, corners: bool, scales: Any, reads: Any
) -> Effect:
    """Effect of resizing, whose output `i` reads `reads(i, inputs, inputs per output, corners)`."""
    size, flat = _output_size(x, output_size, scales)
    kind = np.float64 if x.dtype == torch.float64 else np.float32  # as torch computes positions
    factors = [*flat, *[None] * (len(size) - len(flat))]
    each = zip(x.shape[2:], size, factors, strict=True)
    windows = tuple(resampled_window(n, m, factor, corners, kind, reads) for n, m, factor in each)
    return _resize(x, size, windows)


def _output_size(
    x: Activation, output_size: Sequence[int] | None, scales: Any
) -> tuple[tuple[int, ...], list[Any]]:
    """Output size and scale factors, from either overload's arguments."""
    flat: list[Any] = []
    for scale in scales:
        flat.extend(scale if isinstance(scale, list | tuple) else [scale])
    if output_size is not None:
        return tuple(output_size), flat
    return tuple(int(n * s) for n, s in zip(spatial(x), flat, strict=True)), flat
