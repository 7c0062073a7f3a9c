"""Rules of operations that move elements without changing them: views, slices, shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from ...accounting.receptive_field import union_of
from .core import Activation, Effect, at, no_rule, nothing, of, rule, same, seen
from .joins import join as join_readings
from .readings import Reading, Unreadable


def _viewed(effect: Effect) -> Effect:
    return replace(effect, is_view=True)


def _concrete(x: Activation, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape with its one -1 filled in."""
    known = prod(n for n in shape if n != -1)
    return tuple(x.numel() // max(known, 1) if n == -1 else n for n in shape)


@rule("view", "reshape", "_reshape_alias", "_unsafe_view", role="reshape")
def view(x: Activation, size: Sequence[int], *_: Any) -> Effect:
    """Regroup the elements in order. A view with all positions in one vector is a flatten."""
    shape = _concrete(x, size)
    if shape == tuple(x.shape):
        return _viewed(same(x))
    if x.reading is None and x.is_global:
        return Effect(shape, x.field, is_global=True, is_view=True)
    if prod(shape) == 0:
        return replace(nothing(x, shape), is_view=True)
    if x.dim() and shape and max(shape) == x.numel() and shape[-1] != x.shape[-1]:
        return _flattened(x, shape)
    reading = of(x).reshape(shape)
    return seen(reading, x, shape=shape, is_view=True)


def _flattened(x: Activation, shape: tuple[int, ...]) -> Effect:
    """All positions in one vector count as a read of the whole map, by convention.

    The elements themselves stay apart: a view back to the map gives the map again.
    """
    gathered = of(x).gather(range(x.dim()))
    field = union_of([field for part in gathered.parts for field in part.fields])
    try:
        reading = of(x).reshape(shape)
    except Unreadable:
        reading = Reading(((),), gathered.fields, gathered.classes, also=gathered.also).expand(
            shape
        )
    return Effect(shape, field, reading, is_global=True, is_view=True)


rule("alias", "detach", "_conj", "_neg_view", role="reshape")(lambda x, *_, **__: _viewed(same(x)))


@rule("as_strided", role="reshape")
def as_strided(x: Activation, size: Sequence[int], stride: Sequence[int], *_: Any) -> Effect:
    """Other strides of the same shape, as torch sets after a pooling."""
    if tuple(size) != tuple(x.shape):
        raise no_rule("as_strided to another shape", x)
    return _viewed(same(x))


@rule("permute", role="reshape")
def permute(x: Activation, dims: Sequence[int]) -> Effect:
    """Reorder the dimensions."""
    order = [d % x.dim() for d in dims]
    return seen(of(x).permute(order), x, is_view=True)


@rule("transpose", "transpose_copy", role="reshape")
def transpose(x: Activation, dim0: int, dim1: int) -> Effect:
    """Swap two dimensions."""
    order = list(range(x.dim()))
    if x.dim():
        first, second = at(x, dim0), at(x, dim1)
        order[first], order[second] = order[second], order[first]
    return permute(x, order)


@rule("t", role="reshape")
def t(x: Activation) -> Effect:
    """Swap the dimensions of a matrix."""
    return permute(x, range(x.dim())[::-1])


@rule("squeeze", role="reshape")
def squeeze(x: Activation, dim: Sequence[int] | int | None = None) -> Effect:
    """Drop dimensions of size 1."""
    dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    drop = {at(x, d) for d in dims if x.dim() and x.shape[d] == 1}
    return view(x, [n for i, n in enumerate(x.shape) if i not in drop])


@rule("unsqueeze", role="reshape")
def unsqueeze(x: Activation, dim: int) -> Effect:
    """Add a dimension of size 1."""
    return seen(of(x).insert(dim % (x.dim() + 1)), x, is_view=True)


@rule("expand", "broadcast_to", role="reshape")
def expand(x: Activation, size: Sequence[int], **_: Any) -> Effect:
    """Repeat along dimensions of size 1."""
    missing = len(size) - x.dim()
    shape = [x.shape[i - missing] if n == -1 else n for i, n in enumerate(size)]
    if not prod(shape):
        return _viewed(nothing(x, shape))
    if shape == list(x.shape):
        return _viewed(same(x))
    return seen(of(x).expand(shape), x, shape=tuple(shape), is_view=True)


@rule("slice", role="reshape")
def slice_(
    x: Activation, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Effect:
    """Every `step`-th position of a range."""
    dim %= x.dim()
    chosen = range(x.shape[dim])[slice(start, end, step)]
    if len(chosen) == x.shape[dim]:
        return _viewed(same(x))
    if not chosen:
        return _viewed(nothing(x, [0 if i == dim else n for i, n in enumerate(x.shape)]))
    return seen(of(x).take(dim, chosen.start, step, len(chosen)), x, is_view=True)


@rule("select", role="reshape")
def select(x: Activation, dim: int, index: int) -> Effect:
    """One position, whose dimension is dropped."""
    dim %= x.dim()
    return seen(of(x).select(dim, index % x.shape[dim]), x, is_view=True)


@rule("unbind", role="reshape")
def unbind(x: Activation, dim: int = 0) -> list[Effect]:
    """All positions along a dimension, each by itself."""
    return [select(x, dim, index) for index in range(x.shape[dim])]


@rule("split", "unsafe_split", role="reshape")
def split(x: Activation, split_size: int, dim: int = 0) -> list[Effect]:
    """Parts of equal size, the last maybe smaller."""
    size = x.shape[dim]
    return [slice_(x, dim, at, at + split_size) for at in range(0, size, split_size)]


@rule("split_with_sizes", "unsafe_split_with_sizes", role="reshape")
def split_with_sizes(x: Activation, split_sizes: Sequence[int], dim: int = 0) -> list[Effect]:
    """Parts of the given sizes."""
    starts = [sum(split_sizes[:i]) for i in range(len(split_sizes))]
    return [slice_(x, dim, at, at + n) for at, n in zip(starts, split_sizes, strict=True)]


@rule("flip", role="reshape")
def flip(x: Activation, dims: Sequence[int]) -> Effect:
    """Reverse dimensions."""
    reading = of(x)
    for dim in dims if x.dim() else ():
        d = at(x, dim)
        reading = reading.take(d, x.shape[d] - 1, -1, x.shape[d])
    return seen(reading, x)


@rule("roll", role="reshape")
def roll(x: Activation, shifts: Sequence[int] | int, dims: Sequence[int] | int = ()) -> Effect:
    """Move cyclically along dimensions, or the elements in order if none are given."""
    moves = [shifts] if isinstance(shifts, int) else shifts
    along = [dims] if isinstance(dims, int) else dims
    if not x.dim():
        return same(x)
    if not along:
        flat = _rolled(of(x).reshape((x.numel(),)), moves[0], 0)
        return seen(flat.reshape(x.shape), x)
    reading = of(x)
    for shift, dim in zip(moves, along, strict=True):
        reading = _rolled(reading, shift, at(x, dim))
    return seen(reading, x)


def _rolled(reading: Reading, shift: int, dim: int) -> Reading:
    size = reading.shape[dim]
    cut = -shift % size
    if not cut:
        return reading
    parts = [reading.take(dim, cut, 1, size - cut), reading.take(dim, 0, 1, cut)]
    return join_readings(parts, dim)


@rule("repeat", role="reshape")
def repeat(x: Activation, repeats: Sequence[int]) -> Effect:
    """Copies one behind the other along every dimension."""
    missing = len(repeats) - x.dim()
    if not prod(repeats):
        return nothing(x, [n * k for n, k in zip((1,) * missing + x.shape, repeats, strict=True)])
    reading = of(x).expand([1] * missing + list(x.shape))
    for dim, count in enumerate(repeats):
        if count > 1:
            reading = join_readings([reading] * count, dim)
    return seen(reading, x)


@rule("pixel_shuffle", role="reshape")
def pixel_shuffle(x: Activation, upscale_factor: int) -> Effect:
    """`(N, C*r*r, H, W)` to `(N, C, H*r, W*r)`."""
    *batch, channels, height, width = x.shape
    r, k = upscale_factor, len(batch)
    parts = of(x).reshape((*batch, channels // (r * r), r, r, height, width))
    order = [*range(k), k, k + 3, k + 1, k + 4, k + 2]
    shape = (*batch, channels // (r * r), height * r, width * r)
    return seen(parts.permute(order).reshape(shape), x, shape=shape)


@rule("pixel_unshuffle", role="reshape")
def pixel_unshuffle(x: Activation, downscale_factor: int) -> Effect:
    """`(N, C, H*r, W*r)` to `(N, C*r*r, H, W)`."""
    *batch, channels, height, width = x.shape
    r, k = downscale_factor, len(batch)
    parts = of(x).reshape((*batch, channels, height // r, r, width // r, r))
    order = [*range(k), k, k + 2, k + 4, k + 1, k + 3]
    shape = (*batch, channels * r * r, height // r, width // r)
    return seen(parts.permute(order).reshape(shape), x, shape=shape)


@rule("channel_shuffle", "native_channel_shuffle", role="reshape")
def channel_shuffle(x: Activation, groups: int) -> Effect:
    """Interleave the channels of the groups."""
    batch, channels, *size = x.shape
    parts = of(x).reshape((batch, groups, channels // groups, *size))
    order = [0, 2, 1, *range(3, 3 + len(size))]
    return seen(parts.permute(order).reshape(x.shape), x, shape=tuple(x.shape))


@rule("view_as_real", role="reshape")
def view_as_real(x: Activation) -> Effect:
    """A last dimension of real and imaginary parts."""
    shape = (*x.shape, 2)
    return seen(of(x).insert(x.dim()).expand(shape), x, shape=shape, is_view=True)


@rule("view_as_complex", role="reshape")
def view_as_complex(x: Activation) -> Effect:
    """Complex numbers of a last dimension of two."""
    last = x.dim() - 1
    return seen(of(x).gather([last]).select(last, 0), x, is_view=True)
