"""Joins of readings: what elements from several branches have read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np

from ...accounting.receptive_field import ReceptiveField
from ...accounting.window import Window
from .parts import Classes
from .readings import CHANNEL, Reading, Unreadable


def unite(one: Reading, two: Reading) -> Reading:
    """Elementwise join of two readings of one shape: each element reads what both have read."""
    if one.dims != two.dims:
        raise Unreadable("branches whose dimensions are laid out differently")
    return one if one is two else one.united(two)


def join(readings: Sequence[Reading], dim: int) -> Reading:
    """Concatenation along a dimension."""
    along = {r.dims[dim][0][0] for r in readings if r.dims[dim]}
    if all(len(r.dims[dim]) == 1 for r in readings) and len(along) == 1 and along != {CHANNEL}:
        return _join_axis(readings, dim, along.pop())
    parts = [_as_channel(reading.resolved(), dim) for reading in readings]
    rest = {(*p.dims[:dim], *p.dims[dim + 1 :]) for p in parts}
    if len(rest) > 1:
        raise Unreadable("branches whose dimensions are laid out differently")
    place = parts[0].place_of(dim)
    fields: list[ReceptiveField] = []
    arrays = []
    for part in parts:
        size = part.dims[dim][0][1]
        shape = [size if k == place else n for k, n in enumerate(part.classes.shape)]
        arrays.append(np.broadcast_to(part.classes, shape) + len(fields))
        fields.extend(part.fields)
    size = sum(array.shape[place] for array in arrays)
    dims = (*parts[0].dims[:dim], ((CHANNEL, size),), *parts[0].dims[dim + 1 :])
    context = reduce(or_, (part.context for part in parts))
    joined = Reading(dims, tuple(fields), _beside(arrays, place), context)
    return joined.distinct()


def _beside(arrays: Sequence[Classes], place: int) -> Classes:
    """Arrays one behind the other, repeated along the other axes if some have length 1."""
    rest = np.broadcast_shapes(*(a.take([0], place).shape for a in arrays))
    wide = [np.broadcast_to(a, (*rest[:place], a.shape[place], *rest[place + 1 :])) for a in arrays]
    return np.concatenate(wide, axis=place)


def _as_channel(reading: Reading, dim: int) -> Reading:
    reading = reading.enumerated(dim)
    if reading.dims[dim]:
        return reading
    dims = (*reading.dims[:dim], ((CHANNEL, 1),), *reading.dims[dim + 1 :])
    part = reading.parts[0].insert(reading.place_of(dim))
    return Reading(dims, part.fields, part.classes, reading.context)


def _join_axis(readings: Sequence[Reading], dim: int, axis: int) -> Reading:
    """Concatenation along a spatial axis: its positions one behind the other."""
    if len({(*r.dims[:dim], *r.dims[dim + 1 :]) for r in readings}) > 1:
        raise Unreadable("branches whose dimensions are laid out differently")
    readings = [r.resolved() for r in readings]
    sizes = [r.dims[dim][0][1] for r in readings]
    arrays = np.broadcast_arrays(*(r.classes for r in readings))
    keys = np.stack([array.reshape(-1) for array in arrays], axis=1)
    distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
    fields = []
    for row in distinct.tolist():
        parts = [r.fields[k] for r, k in zip(readings, row, strict=True)]
        filled = [part for part in parts if not part.axes[axis].is_empty] or parts
        others = {(*part.axes[:axis], *part.axes[axis + 1 :]) for part in filled}
        if len(others) > 1:
            raise Unreadable("parts of one axis that have read differently along another")
        axes = list(filled[0].axes)
        windows = [part.axes[axis] for part in parts]
        axes[axis] = Window.chained(list(zip(windows, sizes, strict=True)))
        fields.append(ReceptiveField(tuple(axes)))
    first = readings[0]
    dims = (*first.dims[:dim], ((axis, sum(sizes)),), *first.dims[dim + 1 :])
    context = reduce(or_, (r.context for r in readings))
    return Reading(dims, tuple(fields), inverse.reshape(arrays[0].shape), context).distinct()
