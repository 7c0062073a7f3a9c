"""The Part: a table of receptive fields, and which of them each class index has read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import prod
from operator import is_, or_
from typing import Any, TypeAlias

import numpy as np

from ...accounting.receptive_field import ReceptiveField, has_context, union_of, united
from ...accounting.window import Window

Classes: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Receptive fields, and which of them has been read at each index along some channel factors.

    Attributes:
        fields: those in use; `distinct` makes one of equal ones.
        classes: index into `fields`, one axis per channel factor. Along an axis of length 1 nothing
            varies, whatever the length of the factor: values shared by all channels are kept once.
    """

    fields: tuple[ReceptiveField, ...]
    classes: Classes

    @classmethod
    def single(cls, field: ReceptiveField, factors: int) -> Part:
        """One field for every index along so many factors."""
        return cls((field,), np.zeros((1,) * factors, np.intp))

    def varies(self, place: int) -> bool:
        """Whether the indices along a factor have read differently."""
        return bool(self.classes.shape[place] > 1)

    @property
    def varying(self) -> frozenset[int]:
        """The factors along which indices have read differently."""
        return frozenset(place for place, n in enumerate(self.classes.shape) if n > 1)

    def map_fields(self, change: Callable[[ReceptiveField], ReceptiveField]) -> Part:
        """The same classes over changed fields."""
        return Part(tuple(map(change, self.fields)), self.classes)

    def then(self, windows: dict[int, Window]) -> Part:
        """Put a window on each of these axes."""
        memo: dict[tuple[int, int], Window] = {}  # few windows make many fields

        def change(field: ReceptiveField) -> ReceptiveField:
            axes = list(field.axes)
            for axis, outer in windows.items():
                key = axis, id(axes[axis])
                if key not in memo:
                    memo[key] = axes[axis].then(outer)
                axes[axis] = memo[key]
            return ReceptiveField(tuple(axes))

        return self.map_fields(change)

    def transpose(self, order: Sequence[int]) -> Part:
        """Reorder the factors."""
        return Part(self.fields, self.classes.transpose(order))

    def split(self, place: int, outer: int, inner: int) -> Part:
        """Split a factor into two."""
        shape = list(self.classes.shape)
        shape[place : place + 1] = [outer, inner] if self.varies(place) else [1, 1]
        return Part(self.fields, self.classes.reshape(shape))

    def fuse(self, place: int, outer: int, inner: int) -> Part:
        """Merge two neighbouring factors."""
        shape, classes = list(self.classes.shape), self.classes
        if shape[place] == shape[place + 1] == 1:
            return Part(self.fields, classes.squeeze(place))
        shape[place : place + 2] = [outer, inner]
        full = np.broadcast_to(classes, shape)
        shape[place : place + 2] = [outer * inner]
        return Part(self.fields, full.reshape(shape))

    def insert(self, place: int) -> Part:
        """A new factor, along which nothing varies."""
        return Part(self.fields, np.expand_dims(self.classes, place))

    def drop(self, place: int) -> Part:
        """Drop a factor along which nothing varies."""
        return Part(self.fields, self.classes.squeeze(place))

    def spread(self, axis: int, place: int, picks: Sequence[Window]) -> Part:
        """A class of its own for each of these windows on an axis, along a new factor."""
        axes = {id(field.axes[axis]): field.axes[axis] for field in self.fields}.values()
        if all(len(window.phases) == 1 and not window.advance for window in axes):
            return self.insert(place)  # every position has read the same
        each = [self.then({axis: pick}).fields for pick in picks]
        fields = tuple(field for row in zip(*each, strict=True) for field in row)
        classes = np.expand_dims(self.classes, place) * len(picks)
        along = np.arange(len(picks)).reshape([-1] + [1] * (classes.ndim - place - 1))
        return Part(fields, classes + along)

    def take(self, place: int, chosen: Any) -> Part:
        """These indices along a factor."""
        if not self.varies(place):
            return self
        return Part(self.fields, self.classes.take(chosen, place)).distinct()

    def gather(self, places: Sequence[int]) -> tuple[Part, int]:
        """Unite the classes along these factors, and drop the factors.

        The number says what that leaves out, as `has_context` does.
        """
        shape = self.classes.shape
        mixed = [k for k in places if shape[k] > 1]
        if not mixed:
            return Part(self.fields, self.classes.squeeze(tuple(places))), 0
        kept = [k for k in range(len(shape)) if k not in places]
        count = prod(shape[k] for k in mixed)
        rest = self.classes.transpose([*kept, *places]).reshape(-1, count)
        if len(rest) == 1:
            groups, inverse = [np.unique(rest)], np.zeros(1, np.intp)
        else:
            distinct, inverse = np.unique(np.sort(rest, axis=1), axis=0, return_inverse=True)
            groups = [np.unique(row) for row in distinct]
        read = [tuple(self.fields[k] for k in group.tolist()) for group in groups]
        part = Part(tuple(map(union_of, read)), inverse.reshape([shape[k] for k in kept]))
        return part.distinct(), reduce(or_, map(has_context, read))

    def slide(self, place: int, sets: Sequence[Sequence[int]]) -> tuple[Part, bool]:
        """Each new index along a factor reads what those of a set have read; `()` is nothing.

        The flag is as in `gather`.
        """
        if not self.varies(place) and all(sets):
            return self, False
        size, longest = self.classes.shape[place], max(1, *map(len, sets))
        old = np.expand_dims(np.moveaxis(self.classes, place, -1), -2)
        empty = len(self.fields)
        old = np.concatenate([old, np.full((*old.shape[:-1], 1), empty)], axis=-1)
        rows = [[i if size > 1 else 0 for i in read] or [size] for read in sets]
        picks = np.array([row + row[:1] * (longest - len(row)) for row in rows])
        keys = np.sort(old[..., 0, :][..., picks], axis=-1)
        distinct, inverse = np.unique(keys.reshape(-1, longest), axis=0, return_inverse=True)
        nothing = ReceptiveField((Window(((0, 0),)),) * len(self.fields[0].axes))
        fields = (*self.fields, nothing)
        read = [tuple(fields[k] for k in dict.fromkeys(row)) for row in distinct.tolist()]
        classes = np.moveaxis(inverse.reshape(keys.shape[:-1]), -1, place)
        return Part(tuple(map(union_of, read)), classes).distinct(), any(map(has_context, read))

    def weave(self, axis: int, place: int, count: int) -> Part | None:
        """Turn a factor into phases of an axis; `None` if no window per axis describes that."""
        full = list(self.classes.shape)
        full[place] = count
        keys = np.moveaxis(np.broadcast_to(self.classes, full), place, -1).reshape(-1, count)
        if self.varies(place):
            distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        else:
            used, inverse = np.unique(keys[:, 0], return_inverse=True)
            distinct = np.repeat(used[:, None], count, axis=1)
        memo: dict[tuple[int, ...], Window] = {}
        fields = []
        for row in distinct.tolist():
            parts = [self.fields[k] for k in row]
            first = parts[0].axes
            others = (*first[:axis], *first[axis + 1 :])
            for field in parts:
                if field.axes is not first and others != (
                    *field.axes[:axis], *field.axes[axis + 1 :]
                ):  # fmt: skip
                    return None
            windows = [field.axes[axis] for field in parts]
            key = tuple(map(id, windows))
            if key not in memo:
                memo[key] = Window.woven(windows)
            fields.append(ReceptiveField((*first[:axis], memo[key], *first[axis + 1 :])))
        del full[place]
        return Part(tuple(fields), inverse.reshape(full)).distinct()

    def regrid(self, axis: int, place: int) -> Part | None:
        """Turn a factor into positions of an axis that has none; `None` if it does not move so.

        Every index reads in one place only; those of neighbours must lie evenly apart.
        """
        count = self.classes.shape[place]
        keys = np.moveaxis(self.classes, place, -1).reshape(-1, count)
        distinct, inverse = np.unique(keys, axis=0, return_inverse=True)
        fields = []
        for row in distinct.tolist():
            parts = [self.fields[k].axes for k in row]
            if len(set(numbered([(*axes[:axis], *axes[axis + 1 :]) for axes in parts]))) > 1:
                return None
            window = _even_steps([axes[axis] for axes in parts])
            if window is None:
                return None
            fields.append(ReceptiveField((*parts[0][:axis], window, *parts[0][axis + 1 :])))
        rest = [n for k, n in enumerate(self.classes.shape) if k != place]
        return Part(tuple(fields), inverse.reshape(rest)).distinct()

    def distinct(self) -> Part:
        """Give equal fields one class, and shrink the factors along which nothing varies."""
        if len(self.fields) == 1:
            return Part.single(self.fields[0], self.classes.ndim) if self.varying else self
        used = np.unique(self.classes)
        number = np.zeros(len(self.fields), np.intp)
        table: dict[tuple[int, ...], int] = {}
        fields = []
        keys = numbered([self.fields[k].axes for k in used.tolist()])
        for k, key in zip(used.tolist(), keys, strict=True):
            if key not in table:
                table[key] = len(table)
                fields.append(self.fields[k])
            number[k] = table[key]
        classes = number[self.classes]
        for place in self.varying:
            first = classes.take([0], place)
            if len(fields) == 1 or (classes == first).all():
                classes = first
        return Part(tuple(fields), classes)

    def unite(self, other: Part) -> tuple[Part, int]:
        """Each index has read what it has read in both; the number is as in `gather`."""
        keys = self.classes * len(other.fields) + other.classes
        distinct, inverse = np.unique(keys, return_inverse=True)
        # Few windows make many fields: every pair of windows is united once.
        memo: dict[tuple[int, int], tuple[Window, bool]] = {}
        fields, context = [], 0
        for key in distinct.tolist():
            mine, theirs = (
                self.fields[key // len(other.fields)],
                other.fields[key % len(other.fields)],
            )
            axes, mask = [], 0
            for axis, (one, two) in enumerate(zip(mine.axes, theirs.axes, strict=True)):
                pair = id(one), id(two)
                if pair not in memo:
                    memo[pair] = united((one, two))
                window, left_out = memo[pair]
                axes.append(window)
                mask |= left_out << axis
            context |= bool(mask) << mask
            kept = all(map(is_, axes, mine.axes))
            fields.append(mine if kept else ReceptiveField(tuple(axes)))
        if (
            len(fields) == len(self.fields)
            and keys.shape == self.classes.shape
            and all(map(is_, fields, self.fields))
        ):
            return self, context  # the very same, for what is remembered of it
        return Part(tuple(fields), inverse.reshape(keys.shape)).distinct(), context

    def says(self, other: Part) -> bool:
        """Whether every index has read the same in both."""
        pairs = np.unique(self.classes * len(other.fields) + other.classes)
        return all(
            self.fields[pair // len(other.fields)] == other.fields[pair % len(other.fields)]
            for pair in pairs.tolist()
        )

    def is_apart(self, other: Part) -> bool:
        """Whether uniting these would make more classes than both have, such as rows and columns.

        If both step over the input alike, nothing is lost by keeping them separate.
        """
        mine, theirs = self.varying, other.varying
        if mine <= theirs or theirs <= mine:
            return False
        columns = zip(*(field.axes for field in (*self.fields, *other.fields)), strict=True)
        return all(_is_even(column) for column in columns)


def settled(parts: Iterable[Part]) -> tuple[list[Part], int]:
    """The fewest parts that say the same without making more classes; see `Part.unite`."""
    left, context, done = list(parts), 0, list[Part]()
    while left:
        part = left.pop(0)
        for i, other in enumerate(done):
            if not other.is_apart(part):
                part, left_out = done.pop(i).unite(part)
                left.insert(0, part)
                context |= left_out
                break
        else:
            done.append(part)
    return done, context


def numbered(rows: Iterable[tuple[Window, ...]]) -> list[tuple[int, ...]]:
    """Windows as numbers, equal ones alike: each object is hashed once."""
    numbers: dict[Window, int] = {}
    known: dict[int, int] = {}
    out = []
    for row in rows:
        for window in row:
            if id(window) not in known:
                known[id(window)] = numbers.setdefault(window, len(numbers))
        out.append(tuple([known[id(window)] for window in row]))
    return out


def _is_even(windows: Iterable[Window]) -> bool:
    filled = [w for w in {id(w): w for w in windows}.values() if not w.is_empty]
    rates = {(w.advance, len(w.phases)) for w in filled}
    return len({Fraction(*rate) for rate in rates}) < 2


def _even_steps(windows: Sequence[Window]) -> Window | None:
    """One window for places that each read one of these, which differ only by even steps."""
    starts = [window.at(0)[0] for window in windows]
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    first, bits = windows[0].phases[0]
    even = all(window == Window(((first + i * step, bits),), 0) for i, window in enumerate(windows))
    return Window(((first, bits),), step) if even else None
