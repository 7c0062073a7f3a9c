"""Joins of readings: what elements have read that came from several branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..receptive_field import ReceptiveField, united
from ..window import Window
from .reading import CHANNEL, Reading, Unreadable


def unite(one: Reading, two: Reading) -> Reading:
    """Elementwise join of two readings of one shape: each element reads what both have read."""
    if one.dims != two.dims:
        raise Unreadable("branches whose dimensions are laid out differently")
    keys = one.classes * len(two.fields) + two.classes
    if len(one.fields) == len(two.fields) == 1:
        distinct, inverse = np.zeros(1, np.intp), keys
    else:
        distinct, inverse = np.unique(keys, return_inverse=True)
    # Few windows make many fields: along each axis, every pair of windows is united once.
    memo: dict[tuple[Window, Window], tuple[Window, bool]] = {}
    fields, context = [], one.context or two.context
    for key in distinct.tolist():
        mine, theirs = one.fields[key // len(two.fields)], two.fields[key % len(two.fields)]
        both = zip(mine.axes, theirs.axes, strict=True)
        found = [memo.get(pair) or memo.setdefault(pair, united(pair)) for pair in both]
        fields.append(ReceptiveField(tuple([window for window, _ in found])))
        context = context or any(left_out for _, left_out in found)
    return Reading(one.dims, tuple(fields), inverse.reshape(keys.shape), context).distinct()


def join(readings: Sequence[Reading], dim: int) -> Reading:
    """Concatenation along a dimension."""
    along = {r.dims[dim][0][0] for r in readings if r.dims[dim]}
    if all(len(r.dims[dim]) == 1 for r in readings) and len(along) == 1 and along != {CHANNEL}:
        return _join_axis(readings, dim, along.pop())
    parts = [_as_channel(reading, dim) for reading in readings]
    rest = {(*p.dims[:dim], *p.dims[dim + 1 :]) for p in parts}
    if len(rest) > 1:
        raise Unreadable("branches whose dimensions are laid out differently")
    place = parts[0].place_of(dim)
    fields: list[ReceptiveField] = []
    arrays = []
    for part in parts:
        arrays.append(part.classes + len(fields))
        fields.extend(part.fields)
    size = sum(part.dims[dim][0][1] for part in parts)
    dims = (*parts[0].dims[:dim], ((CHANNEL, size),), *parts[0].dims[dim + 1 :])
    return Reading(dims, tuple(fields), np.concatenate(arrays, axis=place)).distinct()


def _as_channel(reading: Reading, dim: int) -> Reading:
    reading = reading.enumerated(dim)
    if reading.dims[dim]:
        return reading
    place = reading.place_of(dim)
    dims = (*reading.dims[:dim], ((CHANNEL, 1),), *reading.dims[dim + 1 :])
    return replace(reading, dims=dims, classes=np.expand_dims(reading.classes, place))


def _join_axis(readings: Sequence[Reading], dim: int, axis: int) -> Reading:
    """Concatenation along a spatial axis: its positions one behind the other."""
    if len({(*r.dims[:dim], *r.dims[dim + 1 :]) for r in readings}) > 1:
        raise Unreadable("branches whose dimensions are laid out differently")
    sizes = [r.dims[dim][0][1] for r in readings]
    keys = np.stack([r.classes.reshape(-1) for r in readings], axis=1)
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
    context = any(r.context for r in readings)
    return Reading(dims, tuple(fields), inverse.reshape(first.classes.shape), context).distinct()
