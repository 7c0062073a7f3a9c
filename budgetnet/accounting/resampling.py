"""Windows of resampling: which inputs an output between the positions of a map reads.

Positions are computed in the precision that torch uses, and with both of its roundings.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, gcd
from typing import Any

import numpy as np
from numpy import float32  # torch computes source positions in single precision

from .window import Window


@lru_cache(maxsize=1024)
def nearest_window(n: int, m: int, ratio: float, offset: float = 0.0) -> Window:
    """Window of `n` inputs resized to `m`: output `i` reads input `floor((i + offset) * ratio)`."""
    return sampled(n, m, lambda i: {min(int(float32(i + offset) * float32(ratio)), n - 1)})


def sampled(n: int, m: int, sets: Any) -> Window:
    """Window of `m` outputs given as sets of inputs; periodic if the size is."""
    common = gcd(n, m)
    period, advance = m // common, n // common
    listed = [sets(i) for i in range(m)]
    clipped = [{min(max(j, 0), n - 1) for j in read} for read in listed]
    regular = all(listed[i] == {j + advance for j in listed[i - period]} for i in range(period, m))
    if regular:
        return Window.reading(*listed[:period], advance=advance)
    return Window.reading(*clipped, advance=n) if m > 1 else Window.reading(clipped[0], advance=0)


@lru_cache(maxsize=1024)
def resampled_window(
    n: int, m: int, factor: float | None, corners: bool, kind: Any, reads: Any
) -> Window:
    """Window of `n` inputs resized to `m` along one axis."""
    if n == m and reads is not cubic_reads:  # torch copies, whatever the scale
        return Window()
    if corners:
        scale = kind(n - 1) / kind(m - 1) if m > 1 else kind(0)
    else:
        scale = kind(1.0 / factor) if factor else kind(n) / kind(m)
    return sampled(n, m, lambda i: reads(i, n, scale, corners))


def linear_reads(i: int, n: int, scale: Any, corners: bool) -> set[int]:
    """The one or two inputs around a source position, which torch clamps into the map."""
    read = set()
    for source in _positions(i, scale, corners):
        at = max(source, type(scale)(0))
        low = min(int(at), n - 1)
        read |= {low, min(low + 1, n - 1)} if at > low else {low}
    return read


def cubic_reads(i: int, n: int, scale: Any, corners: bool) -> set[int]:
    """The four inputs around a source position; those beyond the border are the border's."""
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


triangle_reads, bell_reads = partial(_wide_reads, reach=1), partial(_wide_reads, reach=2)
