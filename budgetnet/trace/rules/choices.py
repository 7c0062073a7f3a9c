"""Rules of operations that pick elements by their place: indexing, tables, lookups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ...accounting.table import compact
from ...errors import RunEnded, ShapeError, explain
from .core import Activation, Effect, Operand, anywhere, at, nothing, of, rule, same, seen
from .joins import unite
from .pointwise import aligned
from .pointwise import join as join_elements
from .readings import Reading, Unreadable

_MOST = 1 << 14  # places that a table may look up one by one


# ---- indices that are constants


def places_of(index: Tensor, size: int) -> Tensor:
    """The places that a constant names, counted from the start."""
    if index.is_meta:
        raise Unreadable("its indices are on the meta device, or too many: their values are needed")
    if index.numel() and not (-size <= int(index.min()) and int(index.max()) < size):
        numbers = {"size": size, "index": f"{int(index.min())} to {int(index.max())}"}
        raise ShapeError(explain("an index lies outside the map", numbers=numbers))
    return index.long() % size


def flattened(reading: Reading, dim: int, count: int) -> Reading:
    """`count` dimensions from `dim` on as one, every place a class of its own."""
    shape = reading.shape
    if prod(shape[dim : dim + count]) > _MOST:
        raise Unreadable(f"a table that looks up more than {_MOST:,} places one by one")
    for i in range(dim, dim + count):
        reading = reading.enumerated(i)
    return reading.reshape((*shape[:dim], prod(shape[dim : dim + count]), *shape[dim + count :]))


@rule("index_select")
def index_select(x: Operand, dim: int, index: Operand) -> Effect:
    """Positions along a dimension: those that a constant names, or any if values decide."""
    dim = at(x, dim)
    if isinstance(index, Activation):
        if not x.dim():
            return anywhere([value for value in (x, index) if isinstance(value, Activation)], ())
        return _looked_up(x, [(dim, index)])
    if not x.dim():
        return same(x)
    chosen = places_of(index.reshape(-1), x.shape[dim]).tolist()
    if not chosen:
        return nothing(x, [0 if i == dim else n for i, n in enumerate(x.shape)])
    return seen(of(x).choose(dim, chosen), x)


@rule("index", "_unsafe_index")
def index(x: Operand, indices: Sequence[Operand]) -> Effect:
    """Indexing by tensors, whose dimensions replace those that they index.

    Constants name places. If values of the input decide, every place may be read.
    """
    return index_by(indices, x)


def index_by(indices: Sequence[Operand], x: Operand) -> Effect:
    """Effect of `x[indices]`."""
    given, masked = expanded(indices, x)
    if any(isinstance(value, Activation) for _, value in given):
        return _looked_up(x, given)
    dims = [dim for dim, _ in given]
    if len(given) == 1 and given[0][1].dim() == 1 and not masked:
        return index_select(x, dims[0], given[0][1])
    tables = [places_of(value, x.shape[dim]) for dim, value in given]
    shape = broadcast(tables)
    at, order = arranged(x.dim(), dims)
    kept = [x.shape[d] for d in order]
    out = (*kept[:at], *shape, *kept[at + len(dims) :])
    if not prod(out):
        return nothing(x, out)
    reading = of(x).permute(order)
    vectors = _grid(tables, shape)
    if vectors is not None:
        for k, vector in enumerate(vectors):
            reading = reading.choose(at + k, vector)
    else:
        flat = torch.zeros(shape, dtype=torch.long)
        for dim, table in zip(dims, tables, strict=True):
            flat = flat * x.shape[dim] + table
        reading = flattened(reading, at, len(dims)).choose(at, flat.reshape(-1).tolist())
    return seen(reading.reshape(out), x, shape=out)


def expanded(indices: Sequence[Operand], x: Tensor) -> tuple[list[tuple[int, Tensor]], bool]:
    """The dimensions that are indexed, each with its places; constant masks as their places."""
    given: list[tuple[int, Tensor]] = []
    dim, masks = 0, False
    for value in indices:
        if value is None:
            dim += 1
        elif value.dtype in (torch.bool, torch.uint8):
            if isinstance(value, Activation):
                raise RunEnded(
                    explain(
                        "a selection whose size depends on values of the input",
                        numbers={"input": compact(x.shape)},
                    )
                )
            if value.is_meta:
                raise Unreadable("its mask is on the meta device, or too large")
            given += [(dim + k, place) for k, place in enumerate(value.nonzero(as_tuple=True))]
            dim, masks = dim + value.dim(), True
        else:
            given.append((dim, value))
            dim += 1
    return given, masks and len(given) > 1


def arranged(count: int, dims: Sequence[int]) -> tuple[int, list[int]]:
    """Where the indexed dimensions end up, and the order that brings them there."""
    adjacent = list(dims) == list(range(dims[0], dims[0] + len(dims)))
    if adjacent:
        return dims[0], list(range(count))
    return 0, [*dims, *(d for d in range(count) if d not in dims)]


def _grid(tables: Sequence[Tensor], shape: tuple[int, ...]) -> list[list[int]] | None:
    """The places along every dimension by itself, where tables cross like rows and columns."""
    vectors, before = [], -1
    left = {j for j, n in enumerate(shape) if n > 1}
    for table in tables:
        full = table.expand(shape)
        varying = [
            j for j, n in enumerate(shape) if n > 1 and not full.eq(full.narrow(j, 0, 1)).all()
        ]
        if len(varying) > 1 or (varying and varying[0] <= before):
            return None
        line = full[tuple(slice(None) if j in varying else 0 for j in range(len(shape)))]
        vectors.append(line.reshape(-1).tolist())
        before = varying[0] if varying else before
        left -= set(varying)
    return None if left else vectors


def broadcast(tables: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape that tables of places have together."""
    shapes = [tuple(table.shape) for table in tables]
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]  # torch's is


# ---- indices that depend on the input


def _looked_up(x: Operand, given: Sequence[tuple[int, Operand]]) -> Effect:
    """What an index of the input reads: its own element, and any place along what it indexes."""
    dims = [dim for dim, _ in given]
    shape = broadcast([value for _, value in given])
    at, order = arranged(x.dim(), dims)
    kept = [x.shape[d] for d in order]
    before, after = kept[:at], kept[at + len(dims) :]
    out = (*before, *shape, *after)
    readings, sources = [], []
    if isinstance(x, Activation):
        reading = of(x).permute(order).gather(range(at, at + len(dims)))
        readings.append(reading.reshape((*before, *[1] * len(shape), *after)).expand(out))
        sources.append(x)
    for _, value in given:
        if isinstance(value, Activation):
            reading = of(value).expand(shape)
            for _ in after:
                reading = reading.insert(len(reading.dims))
            readings.append(reading.expand(out))
            sources.append(value)
    return replace(all_of(readings, sources, out), dtype=x.dtype)


def all_of(
    readings: Sequence[Reading], sources: Sequence[Activation], shape: tuple[int, ...]
) -> Effect:
    """Effect of elements that have read what all of these have, each in the output's shape."""
    first = readings[0]
    for other in readings[1:]:
        other = other.like(first)
        first = first.like(other)
        if first.dims != other.dims:
            first, other = aligned([first, other])
        first = unite(first, other)
    is_global = not first.axes or all(x.is_global for x in sources)
    return seen(first, shape=shape, is_global=is_global)


@rule("embedding")
def embedding(weight: Operand, indices: Operand, *_: Any, **__: Any) -> Effect:
    """A row of a table for every index: the index's own position, and a channel dimension."""
    return index_by([indices], weight)


@rule("gather")
def gather(x: Operand, dim: int, index: Operand, **_: Any) -> Effect:
    """One place along a dimension for every element."""
    if not x.dim():
        return replace(join_elements(x, index), dtype=x.dtype)
    if not index.numel():
        return replace(
            nothing(x if isinstance(x, Activation) else index, index.shape), dtype=x.dtype
        )
    if not index.dim():  # torch takes it for one place of a vector
        return _any_of([x, index], (), x.dtype)
    dim %= x.dim()
    shape = tuple(index.shape)
    cut = [(d, n) for d, n in enumerate(shape) if d != dim and n < x.shape[d]]
    if not isinstance(index, Activation):
        return _gathered(x, dim, index, cut)
    if not isinstance(x, Activation):
        return replace(same(index), dtype=x.dtype)
    reading = of(x).gather([dim])
    for d, n in cut:
        reading = reading.take(d, 0, 1, n)
    effect = all_of([reading.expand(shape), of(index)], [x, index], shape)
    return replace(effect, dtype=x.dtype)


def _gathered(x: Activation, dim: int, index: Tensor, cut: Sequence[tuple[int, int]]) -> Effect:
    """`gather` by a constant: one order for all along the dimension, or a table."""
    places = places_of(index, x.shape[dim])
    shape = tuple(index.shape)
    if not prod(shape):
        return nothing(x, shape)
    reading = of(x)
    for d, n in cut:
        reading = reading.take(d, 0, 1, n)
    others = [d for d in range(x.dim()) if d != dim]
    line = places[tuple(slice(None) if d == dim else slice(0, 1) for d in range(x.dim()))]
    if places.eq(line).all():
        return seen(reading.choose(dim, line.reshape(-1).tolist()), x, shape=shape)
    used = [d for d in others if not places.eq(places.narrow(d, 0, 1)).all()]
    reading = reading.permute([*used, dim, *(d for d in others if d not in used)])
    rows = [shape[d] for d in used]
    flat = torch.arange(prod(rows)).reshape(*rows, 1) * x.shape[dim]
    line = places[tuple(slice(None) if d in (*used, dim) else slice(0, 1) for d in range(x.dim()))]
    line = line.permute([*used, dim, *(d for d in others if d not in used)])
    table = flat + line.reshape(*rows, shape[dim])
    order = [*used, dim, *(d for d in others if d not in used)]
    reading = flattened(reading, 0, len(used) + 1).choose(0, table.reshape(-1).tolist())
    reading = reading.reshape([shape[d] for d in order])
    return seen(reading.permute([order.index(d) for d in range(x.dim())]), x, shape=shape)


@rule("take")
def take(x: Operand, index: Operand) -> Effect:
    """Elements by their place in the flattened tensor."""
    if isinstance(index, Activation):
        readings, sources = [of(index)], [index]
        if isinstance(x, Activation):
            one = of(x).gather(range(x.dim())).reshape([1] * max(index.dim(), 1))
            readings.append(one.expand(index.shape))
            sources.append(x)
        return replace(all_of(readings, sources, tuple(index.shape)), dtype=x.dtype)
    if not index.numel():
        return nothing(x, tuple(index.shape))
    chosen = places_of(index, x.numel()).reshape(-1).tolist()
    return seen(flattened(of(x), 0, x.dim()).choose(0, chosen).reshape(index.shape), x)


@rule("bucketize")
def bucketize(x: Activation, boundaries: Tensor, *, out_int32: bool = False, **_: Any) -> Effect:
    """The bucket of every element among constant boundaries."""
    return replace(same(x), dtype=torch.int32 if out_int32 else torch.int64)


@rule("searchsorted")
def searchsorted(bounds: Operand, values: Operand, *, out_int32: bool = False, **_: Any) -> Effect:
    """The place of every value in a sorted sequence; it may read the whole sequence."""
    kind = torch.int32 if out_int32 else torch.int64
    if not isinstance(bounds, Activation):
        return replace(same(values), dtype=kind)
    shape = tuple(values.shape) if isinstance(values, Tensor) else ()
    if not shape:
        return _any_of([bounds, values], shape, kind)
    reading = of(bounds).gather([bounds.dim() - 1])
    if bounds.dim() == 1:
        reading = reading.reshape([1] * max(len(shape), 1))
    readings, sources = [reading.expand(shape)], [bounds]
    if isinstance(values, Activation):
        readings.append(of(values))
        sources.append(values)
    return replace(all_of(readings, sources, shape), dtype=kind)


def _any_of(values: Sequence[Operand], shape: Sequence[int], kind: torch.dtype) -> Effect:
    tracked = [value for value in values if isinstance(value, Activation)]
    return replace(anywhere(tracked, shape), dtype=kind)


@rule("multinomial")
def multinomial(x: Activation, num_samples: int, *_: Any, **__: Any) -> Effect:
    """Draws of places along the last dimension, by weights that lie along it."""
    shape = (*x.shape[:-1], num_samples)
    reading = of(x).gather([x.dim() - 1]).expand(shape)
    return replace(seen(reading, x, shape=shape), dtype=torch.int64)
