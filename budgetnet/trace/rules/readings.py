"""What each element of a tensor has read: the bookkeeping behind views, slices and joins.

Most activations are plain maps `(N, C, *spatial)` whose channels have all read the same, and need
nothing but a `ReceptiveField`. A `Reading` covers the rest: permuted and split axes, channels that
have read different things, maps folded into the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial, reduce, wraps
from itertools import pairwise
from math import prod
from operator import or_
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ...accounting.receptive_field import ReceptiveField, union_of
from ...accounting.window import Window
from .parts import Classes, Part, settled

CHANNEL = -1
_MOST = 1 << 21  # classes that parts are united into; more would take minutes
Factor: TypeAlias = tuple[int, int]  # (spatial axis or CHANNEL, size)
Dim: TypeAlias = tuple[Factor, ...]  # row-major: the last factor runs fastest


class Unreadable(Exception):
    """A step that this bookkeeping cannot track exactly; the message says which."""


M = TypeVar("M", bound=Callable[..., Any])
_FEW = 256  # fields; what has more is made anew, for it would fill the memory
_MISSING, _SELF = object(), object()  # a reading that held itself would live for long


def _remembered(method: M) -> M:
    """A method of an immutable reading: its result is kept with the reading.

    Blocks of a network repeat each other, and queries, keys and values are viewed alike.
    """
    name = method.__name__

    @wraps(method)
    def remember(self: Reading, *args: Any) -> Any:
        key = (name, *[tuple(a) if type(a) is list else a for a in args]) if args else name
        found = self._made.get(key, _MISSING)
        if found is _MISSING:
            found = method(self, *args)
            if not isinstance(found, Reading) or len(found.fields) < _FEW:
                self._made[key] = _SELF if found is self else found
        return self if found is _SELF else found

    return remember  # type: ignore[return-value]  # it is called like the method


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What each element of a tensor has read of the network's input.

    Attributes:
        dims: for every dimension of the tensor, the factors that its index is made of. An index
            along a spatial factor is the argument of the windows; along a channel factor it
            selects a class. A channel dimension of size 1 has no factor.
        fields: those in use; `distinct` makes one of equal ones. The window of an axis that has
            no factor holds for one place only.
        classes: index into `fields`, one axis per channel factor in the order of `dims`; of length
            1 if nothing varies along the factor.
        context: what a join has just left out, as `has_context` says it.
        also: further fields and classes over the same `dims`; an element has read what every part
            says. The scores of attention have read their row's and their column's: M + N classes,
            where `resolved` makes M * N.
    """

    dims: tuple[Dim, ...]
    fields: tuple[ReceptiveField, ...]
    classes: Classes
    context: int = 0
    also: tuple[Part, ...] = ()
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_parts(cls, dims: tuple[Dim, ...], parts: Iterable[Part], context: int = 0) -> Reading:
        """Reading of elements that have read what all these parts say."""
        (first, *more), left_out = settled(parts)
        return cls(dims, first.fields, first.classes, context | left_out, tuple(more))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that says what was read."""
        return (Part(self.fields, self.classes), *self.also)

    @_remembered
    def resolved(self) -> Reading:
        """The same in one part."""
        if self.also and prod(np.broadcast_shapes(*(p.classes.shape for p in self.parts))) > _MOST:
            raise Unreadable(f"more than {_MOST:,} elements that have each read something else")
        part, context = self.parts[0], self.context
        for other in self.also:
            part, left_out = part.unite(other)
            context |= left_out
        return Reading(self.dims, part.fields, part.classes, context)

    @_remembered
    def united(self, other: Reading) -> Reading:
        """What elements have read that have read what both say, of the same dimensions."""
        parts, context = (*self.parts, *other.parts), self.context | other.context
        made = Reading.of_parts(self.dims, parts, context)
        for one in (self, other):
            alike = made.classes is one.classes and made.fields is one.fields
            if alike and made.context == one.context and not (made.also or one.also):
                return one  # as it is, with what is remembered of it
        return made

    def says(self, other: Reading) -> bool:
        """Whether every element has read the same in both, part by part."""
        mine, theirs = self.parts, other.parts
        return (
            self.dims == other.dims
            and len(mine) == len(theirs)
            and all(one.varying == two.varying for one, two in zip(mine, theirs, strict=True))
            and all(one.says(two) for one, two in zip(mine, theirs, strict=True))
        )

    @_remembered
    def without_context(self) -> Reading:
        """The same, once an effect has said what was left out."""
        return Reading(self.dims, self.fields, self.classes, 0, self.also)

    def in_dims(self, dims: tuple[Dim, ...]) -> Reading:
        """The same in another layout of the same classes; quicker than `replace`."""
        return Reading(dims, self.fields, self.classes, self.context, self.also)

    def _each(self, change: Callable[[Part], Part], dims: tuple[Dim, ...] | None = None) -> Reading:
        """The same with every part changed, in a new layout if one is given."""
        dims = self.dims if dims is None else dims
        if not self.also:
            part = change(Part(self.fields, self.classes))
            return Reading(dims, part.fields, part.classes, self.context)
        return Reading.of_parts(dims, map(change, self.parts), self.context)

    @classmethod
    def of_map(cls, shape: Sequence[int], field: ReceptiveField) -> Reading:
        """Reading of a plain map `(N, C, *spatial)`, or of a tensor without spatial dimensions."""
        spatial = len(shape) == 2 + len(field.axes)
        dims = tuple(
            ((i - 2, n),) if spatial and i >= 2 else _channel(n) for i, n in enumerate(shape)
        )
        return _of_one(dims, field, 0)

    def canonical(self) -> Reading:
        """One shared object for all equal readings, if all elements have read alike."""
        if len(self.fields) > 1 or self.also:
            return self
        return _of_one(self.dims, self.fields[0], self.context)

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
            not self.also
            and len(self.dims) == 2 + len(self.fields[0].axes)
            and not self.dims[0]
            and len(self.dims[1]) == 1
            and self.dims[1][0][0] == CHANNEL
            and all(len(d) == 1 and d[0][0] == i for i, d in enumerate(self.dims[2:]))
        )

    @property
    @_remembered
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(prod(n for _, n in dim) for dim in self.dims)

    @property
    @_remembered
    def axes(self) -> frozenset[int]:
        """Spatial axes along which the tensor still has positions."""
        return frozenset(axis for dim in self.dims for axis, _ in dim if axis != CHANNEL)

    @property
    @_remembered
    def field(self) -> ReceptiveField:
        """What all classes have read together; positions that lie among the channels too."""
        return union_of([f for part in self._placed().parts for f in part.fields])

    @_remembered
    def map_like(self) -> Reading:
        """The same, with every axis in its place, if the tensor has the dimensions of a map.

        A view to size 1 may leave positions of an axis among the channels: they become classes.
        Channels that lie in an axis' place become positions, if they have read like these.
        """
        reading = self._placed()
        if len(reading.dims) == 2 + len(reading.fields[0].axes):
            for axis in range(len(reading.fields[0].axes)):
                reading = reading._regrid(axis)
        return reading._placed()

    def _placed(self) -> Reading:
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
        return reading.in_dims((*reading.dims[:2], *placed))

    def _regrid(self, axis: int) -> Reading:
        """Channels in the place of an axis as its positions, if their windows move evenly."""
        dim = self.dims[2 + axis]
        if len(dim) != 1 or dim[0][0] != CHANNEL or axis in self.axes or self.also:
            return self
        place = self.place_of(2 + axis)
        part = self.parts[0].regrid(axis, place)
        dims = (*self.dims[: 2 + axis], ((axis, dim[0][1]),), *self.dims[3 + axis :])
        return self if part is None else self._each(lambda _: part, dims)

    @property
    def is_uneven(self) -> bool:
        """Whether positions along one axis have read differently along another.

        Every axis is in its place as in a map, but one of them could not weave a channel factor
        into its positions: no window per axis describes that.
        """
        axes = len(self.fields[0].axes)
        placed = len(self.dims) == 2 + axes and all(
            [a for a, _ in dim if a != CHANNEL] == ([i - 2] if i >= 2 else [])
            for i, dim in enumerate(self.dims)
        )
        return placed and any(dim[-1][0] == CHANNEL for dim in self.dims[2:])

    @_remembered
    def as_map(self) -> ReceptiveField | None:
        """The field if the tensor is a plain map of one class, else `None`."""
        if len(self.fields) > 1 or self.also:
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
        return self._each(lambda part: part.map_fields(change))

    def slide(self, windows: dict[int, Window]) -> Reading:
        """Put a window on each of these axes."""
        return self._each(lambda part: part.then(windows))

    @_remembered
    def permute(self, order: Sequence[int]) -> Reading:
        """Reorder the dimensions."""
        offsets = np.cumsum([0, *(len(_channels(dim)) for dim in self.dims)])
        axes = [k for i in order for k in range(offsets[i], offsets[i + 1])]
        return self._each(lambda part: part.transpose(axes), tuple(self.dims[i] for i in order))

    @_remembered
    def reshape(self, shape: Sequence[int]) -> Reading:
        """Group the factors into new dimensions, splitting them at new boundaries."""
        if not shape:
            return self.reshape((1,)).select(0, 0)
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
        return reading.in_dims(tuple(dims))._normal()

    def _split(self, factors: list[Factor], position: int, outer: int) -> Reading:
        """Split `factors[position]` in place; a spatial factor keeps its outer part."""
        axis, size = factors[position]
        inner = size // outer
        place = sum(1 for other, _ in factors[:position] if other == CHANNEL)
        factors[position : position + 1] = [(axis, outer), (CHANNEL, inner)]
        if axis == CHANNEL:
            return self._each(lambda part: part.split(place, outer, inner))
        picks = [Window.reading({j}, advance=inner) for j in range(inner)]
        return self._each(lambda part: part.spread(axis, place, picks))

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
                reading = reading._each(partial(Part.drop, place=place))
            elif before == CHANNEL:
                fuse = partial(Part.fuse, place=place - 1, outer=done[-1][1], inner=size)
                reading = reading._each(fuse)
                done[-1] = (CHANNEL, done[-1][1] * size)
            elif before is not None and (woven := reading._weave(before, place, size)) is not None:
                reading = woven
                done[-1] = (before, done[-1][1] * size)
            else:
                done.append((CHANNEL, size))
                place += 1
        dims = (*reading.dims[:i], tuple(done), *reading.dims[i + 1 :])
        return reading.in_dims(dims)

    def _settle(self, axis: int) -> Reading:
        """Drop an axis of one position."""
        return self.slide({axis: Window.reading({0}, advance=0)})

    def _weave(self, axis: int, place: int, count: int) -> Reading | None:
        """Turn a channel factor right behind a spatial one into phases of that axis."""
        woven = [part.weave(axis, place, count) for part in self.parts]
        done = [part for part in woven if part is not None]
        return Reading.of_parts(self.dims, done, self.context) if len(done) == len(woven) else None

    @_remembered
    def take(self, dim: int, start: int, step: int, count: int) -> Reading:
        """Every `step`-th of `count` positions from `start` along a dimension; step may be < 0."""
        reading = self.enumerated(dim) if len(self.dims[dim]) > 1 else self
        if not reading.dims[dim]:
            return reading
        ((axis, _),) = reading.dims[dim]
        if axis != CHANNEL:
            dims = (*reading.dims[:dim], ((axis, count),), *reading.dims[dim + 1 :])
            pick = Window.reading({start}, advance=step)
            return reading.slide({axis: pick}).in_dims(dims)
        dims = (*reading.dims[:dim], _channel(count), *reading.dims[dim + 1 :])
        place, chosen = reading.place_of(dim), start + step * np.arange(count)
        if count == 1:
            return reading._each(lambda part: part.take(place, chosen).drop(place), dims)
        return reading._each(lambda part: part.take(place, chosen), dims)

    def choose(self, dim: int, chosen: Sequence[int]) -> Reading:
        """These positions along a dimension, in any order."""
        if not chosen:
            raise Unreadable("an empty selection of positions")
        reading = self.enumerated(dim) if len(self.dims[dim]) > 1 else self
        if not reading.dims[dim]:  # one position, again and again
            return reading.expand(
                [len(chosen) if i == dim else n for i, n in enumerate(self.shape)]
            )
        steps = {b - a for a, b in pairwise(chosen)}
        if len(steps) < 2:
            return reading.take(dim, chosen[0], steps.pop() if steps else 1, len(chosen))
        axis, size = reading.dims[dim][0]
        if axis != CHANNEL:
            dims = (*reading.dims[:dim], ((axis, len(chosen)),), *reading.dims[dim + 1 :])
            # Where padding reaches beyond the choice, it lies beyond the map as well.
            pick = Window.reading(*({i} for i in chosen), advance=size)
            return reading.slide({axis: pick}).in_dims(dims)
        dims = (*reading.dims[:dim], _channel(len(chosen)), *reading.dims[dim + 1 :])
        place = reading.place_of(dim)
        return reading._each(lambda part: part.take(place, chosen), dims)

    def slid(self, dim: int, window: Window, count: int) -> Reading:
        """Put a window with `count` outputs on a dimension: on the axis that lies there, or on
        channels, each of which then reads what several have read."""
        reading = self.enumerated(dim) if len(self.dims[dim]) > 1 else self
        if reading.dims[dim] and reading.dims[dim][0][0] != CHANNEL:
            axis = reading.dims[dim][0][0]
            dims = (*reading.dims[:dim], ((axis, count),), *reading.dims[dim + 1 :])
            return reading.slide({axis: window}).in_dims(dims)
        size, place = reading.shape[dim], reading.place_of(dim)
        sets = [sorted(i for i in window.reads(k) if 0 <= i < size) for k in range(count)]
        if not reading.dims[dim]:
            reading = reading._each(partial(Part.insert, place=place))
        done = [part.slide(place, sets) for part in reading.parts]
        dims = (*reading.dims[:dim], ((CHANNEL, count),), *reading.dims[dim + 1 :])
        context = reading.context or any(left_out for _, left_out in done)
        return Reading.of_parts(dims, [part for part, _ in done], context)._normal_dim(dim)

    @_remembered
    def select(self, dim: int, index: int) -> Reading:
        """One position along a dimension, which is dropped."""
        one = self.take(dim, index, 1, 1)
        for axis, _ in one.dims[dim]:
            one = one._settle(axis)
        return one.in_dims((*one.dims[:dim], *one.dims[dim + 1 :]))

    @_remembered
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
            spread = partial(Part.spread, axis=axis, place=place, picks=picks)
            reading = reading._each(spread, dims)
        return reading._normal_dim(dim)

    @_remembered
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
        gathered = [part.gather(places) for part in reading.parts]
        context = reduce(or_, (left_out for _, left_out in gathered), reading.context)
        return Reading.of_parts(new, [part for part, _ in gathered], context)

    @_remembered
    def expand(self, shape: Sequence[int]) -> Reading:
        """Repeat along new leading dimensions and along dimensions of size 1."""
        missing = len(shape) - len(self.dims)
        reading = self.in_dims(((),) * missing + self.dims)
        for i, (size, have) in enumerate(zip(shape, reading.shape, strict=True)):
            if size == have or size == 1:
                continue
            for axis, _ in reading.dims[i]:
                reading = reading._settle(axis)
            dims = (*reading.dims[:i], ((CHANNEL, size),), *reading.dims[i + 1 :])
            reading = reading._each(partial(Part.insert, place=reading.place_of(i)), dims)
        return reading

    def like(self, other: Reading) -> Reading:
        """The same in another's layout, if all along a dimension have read alike."""
        reading = self
        for i, (dim, wanted) in enumerate(zip(self.dims, other.dims, strict=True)):
            place, count = reading.place_of(i), len(_channels(dim))
            places = range(place, place + count)
            varies = any(part.varies(k) for part in reading.parts for k in places)
            if dim == wanted or varies or any(axis != CHANNEL for axis, _ in dim):
                continue
            new = [axis for axis, _ in wanted if axis != CHANNEL]
            if reading.axes.intersection(new):
                continue
            for axis in new:
                reading = reading._settle(axis)
            shape = (1,) * len(_channels(wanted))
            relaid = partial(_relaid, start=place, stop=place + count, shape=shape)
            reading = reading._each(relaid, (*reading.dims[:i], wanted, *reading.dims[i + 1 :]))
        return reading

    def distinct(self) -> Reading:
        """Give equal fields one class."""
        return self._each(Part.distinct)

    def nothing(self, dim: int, size: int) -> Reading:
        """A constant of the same layout, of this size along a dimension: it has read nothing."""
        empty = ReceptiveField((Window(((0, 0),)),) * len(self.fields[0].axes))
        like = self.dims[dim]
        new = ((like[0][0], size),) if len(like) == 1 and like[0][0] != CHANNEL else _channel(size)
        dims = (*self.dims[:dim], new, *self.dims[dim + 1 :])
        return Reading(dims, (empty,), _none(dims))

    def place_of(self, dim: int) -> int:
        """Axis of `classes` at which the channel factors of a dimension begin."""
        return sum(len(_channels(other)) for other in self.dims[:dim])

    @_remembered
    def insert(self, dim: int) -> Reading:
        """A new dimension of size 1."""
        return self.in_dims((*self.dims[:dim], (), *self.dims[dim:]))


def _channel(size: int) -> Dim:
    return ((CHANNEL, size),) if size > 1 else ()


def _channels(dim: Dim) -> list[int]:
    return [size for axis, size in dim if axis == CHANNEL]


def _none(dims: Iterable[Dim]) -> Classes:
    """Classes with a single entry."""
    return np.zeros([1 for dim in dims for _ in _channels(dim)], np.intp)


@lru_cache(maxsize=512)
def _of_one(dims: tuple[Dim, ...], field: ReceptiveField, context: int) -> Reading:
    return Reading(dims, (field,), _none(dims), context)


def _relaid(part: Part, start: int, stop: int, shape: tuple[int, ...]) -> Part:
    old = part.classes.shape
    return Part(part.fields, part.classes.reshape((*old[:start], *shape, *old[stop:])))
