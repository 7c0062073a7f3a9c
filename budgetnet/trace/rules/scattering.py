"""Rules of operations that write elements by their place: masks, scattered and added values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from .choices import all_of, arranged, broadcast, expanded, flattened, places_of
from .core import Activation, Effect, Operand, anywhere, no_rule, nothing, of, rule, same, seen
from .joins import join as join_readings
from .joins import unite
from .pointwise import aligned
from .readings import Reading


def _layout(x: Operand, like: Activation) -> Reading:
    """Reading of an operand that may be a constant, which has read nothing."""
    if isinstance(x, Activation):
        return of(x)
    axes = range(len(like.field.axes))
    return Reading.of_map(tuple(x.shape), nothing(like).field) if axes else of(like)


@rule("index_put", "_unsafe_index_put", "_index_put_impl")
def index_put(
    x: Operand, indices: Sequence[Operand], values: Operand, accumulate: bool = False, *_: Any
) -> Effect:
    """Values in place of elements, or on top: those that constants name, or a mask picks."""
    if len(indices) == 1 and indices[0].dtype == torch.bool and values.numel() == 1:
        return _masked(x, indices[0], values)
    tracked = [v for v in (x, *indices, values) if isinstance(v, Activation)]
    if any(isinstance(value, Activation) for value in indices):
        return _put_anywhere(x, [v for v in (*indices, values) if isinstance(v, Activation)])
    given = expanded(indices, x)[0]
    tables = [places_of(value, x.shape[dim]) for dim, value in given]
    shape = broadcast(tables)
    dims = [dim for dim, _ in given]
    at, order = arranged(x.dim(), dims)
    flat = torch.zeros(shape, dtype=torch.long)
    for dim, table in zip(dims, tables, strict=True):
        flat = flat * x.shape[dim] + table
    kept = [x.shape[d] for d in order]
    out = (*kept[:at], *shape, *kept[at + len(dims) :])
    if not prod(out):
        return same(x) if isinstance(x, Activation) else nothing(tracked[0], x.shape)
    base = _layout(x, tracked[0]).permute(order)
    source = None
    if values.dim():
        source = _layout(values, tracked[0]).expand(out)
    elif isinstance(values, Activation):
        source = of(values).reshape([1]).expand(out)
    put = _put(base, source, at, len(dims), flat, accumulate)
    put = put.reshape(kept).permute([order.index(d) for d in range(x.dim())])
    return replace(seen(put, *tracked, shape=tuple(x.shape)), dtype=x.dtype)


def _masked(x: Operand, mask: Operand, value: Operand) -> Effect:
    """One value wherever a mask over the first dimensions says so."""
    shape = tuple(x.shape)
    sources = [v for v in (x, mask, value) if isinstance(v, Activation)]
    readings = []
    for v in sources:
        inner = of(v)
        if v is value:
            inner = inner.reshape([1] * len(shape))
        while len(inner.dims) < len(shape):
            inner = inner.insert(len(inner.dims))
        readings.append(inner.expand(shape))
    return replace(all_of(readings, sources, shape), dtype=x.dtype)


def _put(
    base: Reading, source: Reading | None, at: int, count: int, places: Tensor, add: bool
) -> Reading:
    """`base` with `source` at these places, which count through `count` dimensions from `at`."""
    size = prod(base.shape[at : at + count])
    flat = places.reshape(-1).tolist()
    if count > 1:
        base = flattened(base, at, count)
    if source is None:
        source, flat_source = base.nothing(at, 1), {place: [0] for place in flat}
    else:
        source = flattened(source, at, places.dim()) if places.dim() != 1 else source
        flat_source = {}
        for k, place in enumerate(flat):
            flat_source.setdefault(place, []).append(k)
    if not add:
        both = join_readings(aligned([base, source], at), at)
        put = None
        for turn in range(
            max(map(len, flat_source.values()))
        ):  # torch does not say which one stays
            named = {i: ks[min(turn, len(ks) - 1)] for i, ks in flat_source.items()}
            one = both.choose(at, [size + named[i] if i in named else i for i in range(size)])
            put = one if put is None else unite(*aligned([put, one]))
        assert put is not None  # there are places
        return put
    taps = source.shape[at]
    source = join_readings(aligned([source, source.nothing(at, 1)], at), at)
    for turn in range(max(map(len, flat_source.values()))):  # values that share a place
        named = {place: ks[turn] for place, ks in flat_source.items() if len(ks) > turn}
        added = source.choose(at, [named.get(i, taps) for i in range(size)])
        base = unite(*aligned([base, added]))
    return base


def _put_anywhere(x: Operand, others: Sequence[Activation]) -> Effect:
    """Writes at places decided by values: each element may hold any of the values."""
    shape = tuple(x.shape)
    readings, sources = [], []
    if isinstance(x, Activation):
        readings.append(of(x))
        sources.append(x)
    for value in others:
        one = of(value).gather(range(value.dim())).reshape([1] * len(shape) or [1])
        readings.append(one.expand(shape) if shape else one)
        sources.append(value)
    return replace(all_of(readings, sources, shape), dtype=x.dtype)


@rule("masked_scatter")
def masked_scatter(x: Operand, mask: Operand, source: Operand) -> Effect:
    """Values in order at the places of a mask: the whole mask decides how many came before."""
    shape = broadcast([x, mask])
    if tuple(x.shape) != shape:  # repeated first, and then any of it
        tracked = [v for v in (x, mask, source) if isinstance(v, Activation)]
        return replace(anywhere(tracked, shape), dtype=x.dtype)
    return _put_anywhere(x, [v for v in (mask, source) if isinstance(v, Activation)])


@rule("index_fill")
def index_fill(x: Operand, dim: int, index: Operand, value: Operand) -> Effect:
    """A number at some positions along a dimension."""
    return _put_along(x, dim, index, value)


@rule("index_copy")
def index_copy(x: Operand, dim: int, index: Operand, source: Operand) -> Effect:
    """Slices in place of some positions along a dimension."""
    return _put_along(x, dim, index, source)


@rule("index_add")
def index_add(x: Operand, dim: int, index: Operand, source: Operand, **_: Any) -> Effect:
    """Slices added to some positions along a dimension."""
    return _put_along(x, dim, index, source, add=True)


@rule("index_reduce")
def index_reduce(
    x: Operand, dim: int, index: Operand, source: Operand, reduce: str, **_: Any
) -> Effect:
    """Slices combined with some positions along a dimension."""
    return _put_along(x, dim, index, source, add=True)


def _put_along(x: Operand, dim: int, index: Operand, source: Operand, add: bool = False) -> Effect:
    tracked = [v for v in (x, index, source) if isinstance(v, Activation)]
    if not x.dim():
        raise no_rule("a write into a single number", x)
    dim %= x.dim()
    if isinstance(index, Activation):
        return _scattered(x, dim, index, source)
    places = places_of(index.reshape(-1), x.shape[dim])
    if not places.numel():
        return same(x) if isinstance(x, Activation) else nothing(tracked[0], x.shape)
    value = None
    if isinstance(source, Tensor) and source.dim() == x.dim():
        value = _layout(source, tracked[0])
    elif isinstance(source, Activation):
        return _put_anywhere(x, [source])
    put = _put(_layout(x, tracked[0]), value, dim, 1, places, add)
    return replace(seen(put, *tracked, shape=tuple(x.shape)), dtype=x.dtype)


def _scattered(x: Operand, dim: int, index: Activation, source: Operand) -> Effect:
    """Slices at positions that values decide: each position may get any of them."""
    shape = tuple(x.shape)
    readings, sources = [], []
    if isinstance(x, Activation):
        readings.append(of(x))
        sources.append(x)
    if isinstance(source, Activation) and source.dim() == x.dim():
        readings.append(of(source).gather([dim]).expand(shape))
        sources.append(source)
    elif isinstance(source, Activation):
        readings.append(of(source).reshape([1] * x.dim()).expand(shape))
        sources.append(source)
    along = of(index).gather([dim] if index.dim() == x.dim() else range(index.dim()))
    if index.dim() != x.dim():
        along = along.reshape([1] * x.dim())
    readings.append(along.expand(shape))
    sources.append(index)
    return replace(all_of(readings, sources, shape), dtype=x.dtype)


@rule("scatter")
def scatter(x: Operand, dim: int, index: Operand, source: Operand, **how: Any) -> Effect:
    """Values in place of elements, one place along a dimension each, which an index names."""
    return _scatter(x, dim, index, source, add=bool(how))


@rule("scatter_add", "scatter_reduce")
def scatter_add(
    x: Operand, dim: int, index: Operand, source: Operand, *_: Any, **__: Any
) -> Effect:
    """Values on top of elements, one place along a dimension each, which an index names."""
    return _scatter(x, dim, index, source, add=True)


def _scatter(x: Operand, dim: int, index: Operand, source: Operand, add: bool) -> Effect:
    if not x.dim():
        raise no_rule("a write into a single number", x)
    dim %= x.dim()
    shape = tuple(index.shape)
    if isinstance(index, Activation):
        fits = shape[:dim] + shape[dim + 1 :] == tuple(x.shape[:dim] + x.shape[dim + 1 :])
        if not fits or (isinstance(source, Tensor) and source.dim() and source.shape != shape):
            raise no_rule("a scatter to a part of the map", x)
        return _scattered(x, dim, index, source)
    tracked = [v for v in (x, source) if isinstance(v, Activation)]
    places = places_of(index, x.shape[dim])
    flat = torch.zeros(shape, dtype=torch.long)
    for d, n in enumerate(x.shape):
        line = torch.arange(shape[d]).reshape([-1 if k == d else 1 for k in range(x.dim())])
        flat = flat * n + (places if d == dim else line)
    value = None
    if isinstance(source, Tensor) and source.dim():
        value = _layout(source, tracked[0])
        for d, n in enumerate(shape):
            value = value.take(d, 0, 1, n) if n < source.shape[d] else value
    put = _put(_layout(x, tracked[0]), value, 0, x.dim(), flat, add).reshape(x.shape)
    return replace(seen(put, *tracked, shape=tuple(x.shape)), dtype=x.dtype)
