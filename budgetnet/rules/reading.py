"""What each element of a tensor has read: the bookkeeping behind views, slices and joins.

Most activations are plain maps `(N, C, *spatial)` whose channels have all read the same, and need
nothing but a `ReceptiveField`. A `Reading` covers the rest: permuted and split axes, channels that
have read different things, maps folded into the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..receptive_field import ReceptiveField, has_context, union_of
from ..window import Window

CHANNEL = -1
Factor: TypeAlias = tuple[int, int]  # (spatial axis or CHANNEL, size)
Dim: TypeAlias = tuple[Factor, ...]  # row-major: the last factor runs fastest
Classes: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]


class Unreadable(Exception):
    """A step that this bookkeeping cannot follow exactly; the message says which."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What each element of a tensor has read of the network's input.

    Attributes:
        dims: for every dimension of the tensor, the factors that its index is made of. An index
            along a spatial factor is the argument of the windows; along a channel factor it
            selects a class. A channel dimension of size 1 has no factor.
        fields: those in use; `distinct` makes one of equal ones. The window of an axis that has
            no factor holds for one place only.
        classes: index into `fields`, one axis per channel factor in the order of `dims`.
        context: a join has just left out what was read for every position alike.
    """

    dims: tuple[Dim, ...]
    fields: tuple[ReceptiveField, ...]
    classes: Classes
    context: bool = False

    @classmethod
    def of_map(cls, shape: Sequence[int], field: ReceptiveField) -> Reading:
        """Reading of a plain map `(N, C, *spatial)`, or of a tensor without spatial dimensions."""
        spatial = len(shape) == 2 + len(field.axes)
        dims = tuple(
            ((i - 2, n),) if spatial and i >= 2 else _channel(n) for i, n in enumerate(shape)
        )
        sizes = [n for dim in dims for n in _channels(dim)]
        return cls(dims, (field,), np.zeros(sizes, np.intp))

    @classmethod
    def of_maps(cls, widths: Sequence[int], size: Sequence[int], fields: Any) -> Reading:
        """Reading of plain maps of one size, at batch 1, concatenated along their channels."""
        spatial = tuple(((axis, n),) for axis, n in enumerate(size))
        dims = ((), ((CHANNEL, sum(widths)),), *spatial)
        return cls(dims, tuple(fields), np.repeat(np.arange(len(fields)), widths))

    @property
    def is_stack(self) -> bool:
        """Whether this is what `of_maps` gives: maps that differ in nothing but their fields."""
        return (
            len(self.dims) == 2 + len(self.fields[0].axes)
            and not self.dims[0]
            and len(self.dims[1]) == 1
            and self.dims[1][0][0] == CHANNEL
            and all(len(d) == 1 and d[0][0] == i for i, d in enumerate(self.dims[2:]))
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(prod(n for _, n in dim) for dim in self.dims)

    @property
    def axes(self) -> frozenset[int]:
        """Spatial axes along which the tensor still has positions."""
        return frozenset(axis for dim in self.dims for axis, _ in dim if axis != CHANNEL)

    @property
    def field(self) -> ReceptiveField:
        """What all classes have read together; positions that lie among the channels too."""
        return union_of(self.map_like().fields)

    def map_like(self) -> Reading:
        """The same, with every axis in its place, where the tensor has the dimensions of a map.

        A view to size 1 may leave positions of an axis among the channels: they become classes.
        """
        axes = len(self.fields[0].axes)
        rest = self.dims[2:]
        if len(rest) != axes or any(dim and (len(dim) > 1 or dim[0][0] == CHANNEL) for dim in rest):
            return self
        reading = (
            self.enumerated(0).enumerated(1)
            if any(axis != CHANNEL for dim in self.dims[:2] for axis, _ in dim)
            else self
        )
        placed = tuple(dim or ((axis, 1),) for axis, dim in enumerate(rest))
        return replace(reading, dims=(*reading.dims[:2], *placed))

    @property
    def is_uneven(self) -> bool:
        """Whether positions along one axis have read differently along another.

        Every axis has a dimension of its own, but one of them could not weave a channel factor into
        its positions: no window per axis describes that.
        """
        spatial = [[axis for axis, _ in dim if axis != CHANNEL] for dim in self.dims]
        alone = all(len(axes) < 2 for axes in spatial) and len(self.axes) == len(
            self.fields[0].axes
        )
        return alone and any(
            axes and len(dim) > 1 for axes, dim in zip(spatial, self.dims, strict=True)
        )

    def as_map(self) -> ReceptiveField | None:
        """The field, where the tensor is a plain map of one class; else `None`."""
        if len(self.fields) > 1:
            return None
        field = self.fields[0]
        plain = all(
            dim == _channel(n) if i < 2 else dim == ((i - 2, n),)
            for i, (dim, n) in enumerate(zip(self.dims, self.shape, strict=True))
        )
        if plain and len(self.dims) == 2 + len(field.axes):
            return field
        return field if len(self.dims) <= 2 and not self.axes else None

    def map_fields(self, change: Callable[[ReceptiveField], ReceptiveField]) -> Reading:
        """The same bookkeeping over changed fields."""
        return replace(self, fields=tuple(map(change, self.fields)))

    def slide(self, windows: dict[int, Window]) -> Reading:
        """Put a window on each of these axes."""

        def change(field: ReceptiveField) -> ReceptiveField:
            axes = (
                inner.then(windows[axis]) if axis in windows else inner
                for axis, inner in enumerate(field.axes)
            )
            return ReceptiveField(tuple(axes))

        return self.map_fields(change)

    def permute(self, order: Sequence[int]) -> Reading:
        """Reorder the dimensions."""
        offsets = np.cumsum([0, *(len(_channels(dim)) for dim in self.dims)])
        axes = [k for i in order for k in range(offsets[i], offsets[i + 1])]
        return replace(
            self, dims=tuple(self.dims[i] for i in order), classes=self.classes.transpose(axes)
        )

    def reshape(self, shape: Sequence[int]) -> Reading:
        """Group the factors into new dimensions, splitting them where a boundary demands it."""
        reading, factors = self, [factor for dim in self.dims for factor in dim]
        dims: list[Dim] = []
        position = 0  # of the next factor
        for size in shape:
            dim: list[Factor] = []
            need = size
            while need > 1:
                while position < len(factors) and factors[position][1] == 1:
                    dim.append(factors[position])
                    position += 1
                axis, have = factors[position]
                if need % have and have % need:
                    raise Unreadable(f"a view across a split of {have} into {need}")
                if have > need:
                    reading = reading._split(factors, position, need)
                    axis, have = factors[position]
                dim.append((axis, have))
                need //= have
                position += 1
            dims.append(tuple(dim))
        dims[-1] += tuple(factors[position:])  # ones only
        return replace(reading, dims=tuple(dims))._normal()

    def _split(self, factors: list[Factor], position: int, outer: int) -> Reading:
        """Split `factors[position]` in place; a spatial factor keeps its outer part."""
        axis, size = factors[position]
        inner = size // outer
        place = sum(1 for other, _ in factors[:position] if other == CHANNEL)
        factors[position : position + 1] = [(axis, outer), (CHANNEL, inner)]
        shape = list(self.classes.shape)
        if axis == CHANNEL:
            shape[place : place + 1] = [outer, inner]
            return replace(self, classes=self.classes.reshape(shape))
        picks = [Window.reading({j}, advance=inner) for j in range(inner)]
        return self._spread(axis, place, picks)

    def _spread(self, axis: int, place: int, picks: Sequence[Window]) -> Reading:
        """A class of its own for each of these windows, along a new axis of `classes`."""
        fields = tuple(_then(field, axis, pick) for field in self.fields for pick in picks)
        classes = np.expand_dims(self.classes, place) * len(picks)
        along = np.arange(len(picks)).reshape([-1] + [1] * (classes.ndim - place - 1))
        return replace(self, fields=fields, classes=classes + along)

    def _normal(self) -> Reading:
        """Drop factors of one, merge neighbouring channel factors, weave phases into their axis."""
        reading = self
        for i in range(len(reading.dims)):
            reading = reading._normal_dim(i)
        return reading

    def _normal_dim(self, i: int) -> Reading:
        reading, place = self, self.place_of(i)
        done: list[Factor] = []
        for axis, size in self.dims[i]:
            before = done[-1][0] if done else None
            if axis != CHANNEL:
                if size == 1 and len(self.dims[i]) > 1:
                    reading = reading._settle(axis)
                else:
                    done.append((axis, size))
                continue
            if size == 1:
                reading = replace(reading, classes=reading.classes.squeeze(place))
            elif before == CHANNEL:
                shape = list(reading.classes.shape)
                shape[place - 1 : place + 1] = [done[-1][1] * size]
                reading = replace(reading, classes=reading.classes.reshape(shape))
                done[-1] = (CHANNEL, done[-1][1] * size)
            elif before is not None and (woven := reading._weave(before, place, size)) is not None:
                reading = woven
                done[-1] = (before, done[-1][1] * size)
            else:
                done.append((CHANNEL, size))
                place += 1
        dims = (*reading.dims[:i], tuple(done), *reading.dims[i + 1 :])
        return replace(reading, dims=dims)

    def _settle(self, axis: int) -> Reading:
        """Give up an axis of one position."""
        return self.map_fields(lambda field: _then(field, axis, Window.reading({0}, advance=0)))

    def _weave(self, axis: int, place: int, count: int) -> Reading | None:
        """Turn a channel factor right behind a spatial one into phases of that axis."""
        keys = np.moveaxis(self.classes, place, -1).reshape(-1, count)
        if len(self.fields) == 1:
            distinct, inverse = keys[:1], np.zeros(len(keys), np.intp)
        else:
            distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        fields = []
        for row in distinct:
            parts = [self.fields[k] for k in row]
            others = {(*f.axes[:axis], *f.axes[axis + 1 :]) for f in parts}
            if len(others) > 1:
                return None
            windows = list(parts[0].axes)
            windows[axis] = Window.woven([part.axes[axis] for part in parts])
            fields.append(ReceptiveField(tuple(windows)))
        shape = [n for k, n in enumerate(self.classes.shape) if k != place]
        woven = replace(self, fields=tuple(fields), classes=inverse.reshape(shape))
        return woven.distinct()

    def take(self, dim: int, start: int, step: int, count: int) -> Reading:
        """Every `step`-th of `count` positions from `start` along a dimension; step may be < 0."""
        reading = self.enumerated(dim) if len(self.dims[dim]) > 1 else self
        if not reading.dims[dim]:
            return reading
        ((axis, _),) = reading.dims[dim]
        if axis != CHANNEL:
            dims = (*reading.dims[:dim], ((axis, count),), *reading.dims[dim + 1 :])
            pick = Window.reading({start}, advance=step)
            return replace(reading.slide({axis: pick}), dims=dims)
        dims = (*reading.dims[:dim], _channel(count), *reading.dims[dim + 1 :])
        place = reading.place_of(dim)
        chosen = start + step * np.arange(count) if count > 1 else start
        return replace(reading, dims=dims, classes=reading.classes.take(chosen, place)).distinct()

    def choose(self, dim: int, chosen: Sequence[int]) -> Reading:
        """These positions along a dimension; along an axis they must be evenly spaced."""
        if not chosen:
            raise Unreadable("an empty choice of positions")
        reading = self.enumerated(dim) if len(self.dims[dim]) > 1 else self
        steps = {b - a for a, b in pairwise(chosen)}
        if len(steps) < 2:
            return reading.take(dim, chosen[0], steps.pop() if steps else 1, len(chosen))
        if not reading.dims[dim]:  # one position, again and again
            return reading.expand(
                [len(chosen) if i == dim else n for i, n in enumerate(self.shape)]
            )
        if reading.dims[dim][0][0] != CHANNEL:
            raise Unreadable("a choice of positions that are not evenly spaced")
        dims = (*reading.dims[:dim], _channel(len(chosen)), *reading.dims[dim + 1 :])
        classes = reading.classes.take(chosen, reading.place_of(dim))
        return replace(reading, dims=dims, classes=classes).distinct()

    def select(self, dim: int, index: int) -> Reading:
        """One position along a dimension, which is dropped."""
        one = self.take(dim, index, 1, 1)
        for axis, _ in one.dims[dim]:
            one = one._settle(axis)
        return replace(one, dims=(*one.dims[:dim], *one.dims[dim + 1 :]))

    def enumerated(self, dim: int) -> Reading:
        """Make a dimension one channel factor: every position along it a class of its own."""
        reading = self
        for factor, (axis, size) in enumerate(self.dims[dim]):
            if axis == CHANNEL:
                continue
            picks = [Window.reading({j}, advance=0) for j in range(size)]
            before = reading.dims[dim][:factor]
            place = reading.place_of(dim) + len(_channels(before))
            after = reading.dims[dim][factor + 1 :]
            dims = (
                *reading.dims[:dim],
                (*before, (CHANNEL, size), *after),
                *reading.dims[dim + 1 :],
            )
            reading = replace(reading._spread(axis, place, picks), dims=dims)
        return reading._normal_dim(dim)

    def gather(self, dims: Iterable[int]) -> Reading:
        """Every element reads what all along these dimensions have read; the sizes become 1.

        Spatial factors in `dims` are read whole.
        """
        reading, wanted = self, sorted(set(dims))
        for i in wanted:
            for axis, size in reading.dims[i]:
                if axis != CHANNEL:
                    reading = reading.slide({axis: Window.whole(size)})
        places, place = [], 0
        for i, dim in enumerate(reading.dims):
            for _ in _channels(dim):
                if i in wanted:
                    places.append(place)
                place += 1
        new = tuple(() if i in wanted else dim for i, dim in enumerate(reading.dims))
        return replace(reading._merge(places), dims=new)

    def _merge(self, places: Sequence[int]) -> Reading:
        """Unite the classes along these axes of `classes`, and drop the axes."""
        if not places:
            return self
        kept = [k for k in range(self.classes.ndim) if k not in places]
        count = prod(self.classes.shape[k] for k in places)
        shape = [self.classes.shape[k] for k in kept]
        keys = self.classes.transpose([*kept, *places]).reshape(-1, count)
        if len(self.fields) == 1 or not keys.size:
            return replace(self, classes=np.zeros(shape, np.intp))
        if len(keys) == 1:
            groups, inverse = [self.fields], np.zeros(1, np.intp)
        else:
            distinct, inverse = np.unique(np.sort(keys, axis=1), axis=0, return_inverse=True)
            groups = [tuple(self.fields[k] for k in np.unique(row)) for row in distinct]
        return replace(
            self,
            fields=tuple(map(union_of, groups)),
            classes=inverse.reshape(shape),
            context=self.context or any(map(has_context, groups)),
        ).distinct()

    def expand(self, shape: Sequence[int]) -> Reading:
        """Repeat along new leading dimensions and along dimensions of size 1."""
        missing = len(shape) - len(self.dims)
        reading = replace(self, dims=((),) * missing + self.dims)
        for i, (size, have) in enumerate(zip(shape, reading.shape, strict=True)):
            if size == have or size == 1:
                continue
            for axis, _ in reading.dims[i]:
                reading = reading._settle(axis)
            place = reading.place_of(i)
            classes = np.repeat(np.expand_dims(reading.classes, place), size, axis=place)
            dims = (*reading.dims[:i], ((CHANNEL, size),), *reading.dims[i + 1 :])
            reading = replace(reading, dims=dims, classes=classes)
        return reading

    def distinct(self) -> Reading:
        """Give equal fields one class."""
        table: dict[ReceptiveField, int] = {}
        if len(self.fields) == 1:
            return self
        used = np.unique(self.classes)
        number = np.zeros(len(self.fields), np.intp)
        for k in used.tolist():
            number[k] = table.setdefault(self.fields[k], len(table))
        return replace(self, fields=tuple(table), classes=number[self.classes])

    def nothing(self, dim: int, size: int) -> Reading:
        """A constant of the same layout, of this size along a dimension: it has read nothing."""
        empty = ReceptiveField((Window(((0, 0),)),) * len(self.fields[0].axes))
        like = self.dims[dim]
        new = ((like[0][0], size),) if len(like) == 1 and like[0][0] != CHANNEL else _channel(size)
        dims = (*self.dims[:dim], new, *self.dims[dim + 1 :])
        sizes = [n for dim in dims for n in _channels(dim)]
        return Reading(dims, (empty,), np.zeros(sizes, np.intp))

    def place_of(self, dim: int) -> int:
        """Axis of `classes` at which the channel factors of a dimension begin."""
        return sum(len(_channels(other)) for other in self.dims[:dim])

    def insert(self, dim: int) -> Reading:
        """A new dimension of size 1."""
        return replace(self, dims=(*self.dims[:dim], (), *self.dims[dim:]))


def _channel(size: int) -> Dim:
    return ((CHANNEL, size),) if size > 1 else ()


def _channels(dim: Dim) -> list[int]:
    return [size for axis, size in dim if axis == CHANNEL]


def _then(field: ReceptiveField, axis: int, outer: Window) -> ReceptiveField:
    windows = list(field.axes)
    windows[axis] = windows[axis].then(outer)
    return ReceptiveField(tuple(windows))
