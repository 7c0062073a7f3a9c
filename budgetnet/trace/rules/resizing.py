"""Rules of upsamplings: outputs that read what lies at a place between positions of a map."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, gcd
from typing import Any

import numpy as np
import torch
from numpy import float32  # torch computes source positions in single precision

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


def _sampled(n: int, m: int, sets: Any) -> Window:
    """Window of `m` outputs given as sets of inputs; periodic if the size is."""
    common = gcd(n, m)
    period, advance = m // common, n // common
    listed = [sets(i) for i in range(m)]
    clipped = [{min(max(j, 0), n - 1) for j in read} for read in listed]
    regular = all(listed[i] == {j + advance for j in listed[i - period]} for i in range(period, m))
    if regular:
        return Window.reading(*listed[:period], advance=advance)
    return Window.reading(*clipped, advance=n) if m > 1 else Window.reading(clipped[0], advance=0)


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", role="resizing")
def upsample_nearest(x: Activation, output_size: Sequence[int] | None, *scales: Any) -> Effect:
    """Nearest upsampling: output `i` reads input `floor(i * n / m)`."""
    size, flat = _output_size(x, output_size, scales)
    each = _scales(x, size, flat)
    windows = tuple(
        _sampled(n, m, lambda i, n=n, ratio=ratio: {min(int(float32(i) * float32(ratio)), n - 1)})
        for n, m, ratio in each
    )
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
    windows = tuple(
        _sampled(
            n, m, lambda i, n=n, ratio=ratio: {min(int(float32(i + 0.5) * float32(ratio)), n - 1)}
        )
        for n, m, ratio in _scales(x, size, flat)
    )
    return _resize(x, size, windows)


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", role="resizing")
def upsample_linear(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Linear upsampling: output `i` reads the one or two inputs around its source position.

    At the border torch clamps the source position into the map; a neighbour of weight zero is not
    read.
    """
    return _resampled(x, output_size, align_corners, scales, _linear_reads)


@rule("upsample_bicubic2d", role="resizing")
def upsample_cubic(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Cubic upsampling: output `i` reads the four inputs around its source position.

    Those beyond the border are the border's; one of weight zero is not read.
    """
    return _resampled(x, output_size, align_corners, scales, _cubic_reads)


@rule("_upsample_bilinear2d_aa", role="resizing")
def upsample_linear_wide(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Linear resizing whose filter widens if the map shrinks."""
    return _resampled(x, output_size, align_corners, scales, _triangle_reads)


@rule("_upsample_bicubic2d_aa", role="resizing")
def upsample_cubic_wide(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Cubic resizing whose filter widens if the map shrinks."""
    return _resampled(x, output_size, align_corners, scales, _bell_reads)


def _resampled(
    x: Activation, output_size: Sequence[int] | None, corners: bool, scales: Any, reads: Any
) -> Effect:
    """Effect of resizing, whose output `i` reads `reads(i, inputs, inputs per output, corners)`."""
    size, flat = _output_size(x, output_size, scales)
    kind = np.float64 if x.dtype == torch.float64 else np.float32  # as torch computes positions
    factors = [*flat, *[None] * (len(size) - len(flat))]
    each = zip(x.shape[2:], size, factors, strict=True)
    windows = tuple(_window(n, m, factor, corners, kind, reads) for n, m, factor in each)
    return _resize(x, size, windows)


@lru_cache(maxsize=1024)
def _window(n: int, m: int, factor: float | None, corners: bool, kind: Any, reads: Any) -> Window:
    """Window of `n` inputs resized to `m` along one axis."""
    if n == m and reads is not _cubic_reads:  # torch copies, whatever the scale
        return Window()
    if corners:
        scale = kind(n - 1) / kind(m - 1) if m > 1 else kind(0)
    else:
        scale = kind(1.0 / factor) if factor else kind(n) / kind(m)
    return _sampled(n, m, lambda i: reads(i, n, scale, corners))


def _linear_reads(i: int, n: int, scale: Any, corners: bool) -> set[int]:
    read = set()
    for source in _positions(i, scale, corners):
        at = max(source, type(scale)(0))
        low = min(int(at), n - 1)
        read |= {low, min(low + 1, n - 1)} if at > low else {low}
    return read


def _cubic_reads(i: int, n: int, scale: Any, corners: bool) -> set[int]:
    read: set[int] = set()
    for source in _positions(i, scale, corners):
        low = int(np.floor(source))
        read.update(range(low - 1, low + 3) if source != low else [low])
    return {min(max(tap, 0), n - 1) for tap in read}


def _positions(i: int, scale: Any, corners: bool) -> list[Any]:
    """The source position of an output, in both roundings: processors may fuse `a * b - c`."""
    kind = type(scale)
    if corners:
        return [kind(i) * scale]
    fused = kind(float(Fraction(float(scale)) * Fraction(2 * i + 1, 2) - Fraction(1, 2)))
    plain = scale * kind(i + 0.5) - kind(0.5)
    return [plain] if fused == plain else [plain, fused]


def _wide_reads(i: int, n: int, scale: Any, corners: bool, *, reach: int) -> set[int]:
    """The inputs around a centre that a filter does not weigh zero; `reach` is in outputs."""
    kind = type(scale)
    wide = max(scale, kind(1))
    support, centre = kind(reach) * wide, scale * kind(i + 0.5)
    first = max(int(centre - support + kind(0.5)), 0)
    last = min(int(centre + support + kind(0.5)), n, first + 2 * ceil(support) + 1)
    inverse = kind(1) / wide
    places = [abs((kind(j) - centre + kind(0.5)) * inverse) for j in range(first, last)]
    # The cubic filter is zero at a distance of one as well.
    return {first + k for k, at in enumerate(places) if at < reach and (reach == 1 or at != 1)}


_triangle_reads, _bell_reads = partial(_wide_reads, reach=1), partial(_wide_reads, reach=2)


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
