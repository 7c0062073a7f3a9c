"""Writes through views: which part of a storage a view covers, and what it has then read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from ..accounting.receptive_field import ReceptiveField
from ..accounting.window import Window
from .rules.joins import join
from .rules.pointwise import aligned
from .rules.readings import CHANNEL, Reading, Unreadable

_MANY = 64  # parts that a write with a step may cut a memory into


class Part(NamedTuple):
    """What a view takes of one dimension: `number` positions from `start`, every `step`-th.

    `to` is the view's dimension; -1 if it has none, or one of size 1.
    """

    start: int
    step: int
    number: int
    to: int


class Layout(NamedTuple):
    """A shape that all of a memory is seen in, row by row."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class Root:
    """All of a memory, as the tensor that it was made for, and what its elements have read.

    Attributes:
        frame: of that tensor.
        reading: of its elements.
        is_global: as of the tensor.
        unknown: why nothing is known of what was written, or "".
        offset: of its first element.
        others: further frames, of views that group all elements otherwise.
    """

    frame: Layout
    reading: Reading
    is_global: bool
    unknown: str
    offset: int = 0
    others: list[Layout] = field(default_factory=list)

    def see(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        """Note the frame of a view, if it shows all elements in order."""
        frame = self.frame
        if shape == frame.shape or prod(shape) != prod(frame.shape):
            return
        other = Layout(shape, strides)
        if other not in self.others and _is_row_by_row(other) and _is_row_by_row(frame):
            self.others.append(other)

    def read(self, shape: Sequence[int], strides: Sequence[int], offset: int) -> Reading:
        """What the elements of a view have read."""
        frame, parts = self._place(shape, strides, offset)
        reading = self.reading if frame is self.frame else self.reading.reshape(frame.shape)
        for d, part in enumerate(parts):
            reading = reading.take(d, part.start, part.step, part.number)
        taken = [d for d, part in enumerate(parts) if part.to >= 0]
        for d in reversed(range(len(parts))):
            if parts[d].to < 0:
                reading = reading.select(d, 0)
        reading = reading.permute(sorted(range(len(taken)), key=lambda k: parts[taken[k]].to))
        for i, size in enumerate(shape):
            if size == 1:
                reading = reading.insert(i)
        return reading

    def write(
        self, shape: Sequence[int], strides: Sequence[int], offset: int, value: Reading
    ) -> None:
        """Let the elements of a view have read `value` from now on."""
        frame, parts = self._place(shape, strides, offset)
        for i in reversed(range(len(shape))):
            if shape[i] == 1:
                value = value.select(i, 0)
        shown = sorted((part.to, d) for d, part in enumerate(parts) if part.to >= 0)
        value = value.permute(sorted(range(len(shown)), key=lambda k: shown[k][1]))
        for d, part in enumerate(parts):
            if part.to < 0:
                value = value.insert(d)
        if frame is self.frame:
            self.reading = _put(self.reading, value, parts, 0)
        else:
            whole = _put(self.reading.reshape(frame.shape), value, parts, 0)
            self.reading = whole.reshape(self.frame.shape)

    def _place(
        self, shape: Sequence[int], strides: Sequence[int], offset: int
    ) -> tuple[Layout, list[Part]]:
        """The frame in which a view is a box, and that box; `Unreadable` if there is none."""
        for frame in (self.frame, *self.others):
            parts = _box(frame, shape, strides, offset - self.offset)
            if parts is not None:
                return frame, parts
        raise Unreadable("a view that is not a box of the tensor that it looks at")


def _is_row_by_row(frame: Layout) -> bool:
    step = 1
    for size, stride in zip(reversed(frame.shape), reversed(frame.strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _box(
    frame: Layout, shape: Sequence[int], strides: Sequence[int], offset: int
) -> list[Part] | None:
    """What a view covers of a frame, dimension by dimension."""
    order = sorted((d for d, n in enumerate(frame.shape) if n > 1), key=lambda d: -frame.strides[d])
    parts = [Part(0, 1, 1, -1)] * len(frame.shape)
    for d in order:
        start, offset = divmod(offset, frame.strides[d])
        if start >= frame.shape[d]:
            return None
        parts[d] = Part(start, 1, 1, -1)
    if offset:
        return None
    for i, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        if size == 1:
            continue
        for d in order:
            step, rest = divmod(stride, frame.strides[d])
            last = parts[d].start + step * (size - 1)
            if step and not rest and parts[d].to < 0 and last < frame.shape[d]:
                parts[d] = Part(parts[d].start, step, size, i)
                break
        else:
            return None
    return parts


def _put(whole: Reading, value: Reading, parts: Sequence[Part], dim: int) -> Reading:
    """`whole` with `value` in a part of it; the dimensions before `dim` are full."""
    if dim == len(parts):
        return value
    start, step, count, _ = parts[dim]
    size = whole.shape[dim]
    if count == size:
        return _put(whole, value, parts, dim + 1)
    if step > 1:
        if count > _MANY:
            raise Unreadable(f"a strided write to more than {_MANY} places")
        pieces = []
        for i in range(size):
            k, off = divmod(i - start, step)
            hit = off == 0 and 0 <= k < count
            old = whole.take(dim, i, 1, 1)
            pieces.append(_put(old, value.take(dim, k, 1, 1), parts, dim + 1) if hit else old)
        return join(_alike(pieces, dim), dim)
    middle = whole.take(dim, start, 1, count)
    pieces = [_put(middle, value, parts, dim + 1)]
    if start:
        pieces.insert(0, whole.take(dim, 0, 1, start))
    if start + count < size:
        pieces.append(whole.take(dim, start + count, 1, size - start - count))
    return join(_alike(pieces, dim), dim)


def _alike(pieces: Sequence[Reading], dim: int) -> list[Reading]:
    """Parts in one layout; a single one beside positions of an axis is a position of it."""
    moving = [piece for piece in pieces if any(axis != CHANNEL for axis, _ in piece.dims[dim])]
    if moving and len(moving[0].dims[dim]) == 1:
        axis = moving[0].dims[dim][0][0]
        like = moving[0].fields[0].axes[axis]
        pieces = [
            _placed(piece, dim, axis, like)
            if not piece.dims[dim] and axis not in piece.axes
            else piece
            for piece in pieces
        ]
    return aligned(pieces, dim)


def _placed(piece: Reading, dim: int, axis: int, like: Window) -> Reading:
    """A part of one position along an axis, at the rate of what is beside it."""

    def paced(field: ReceptiveField) -> ReceptiveField:
        first, blank = field.axes[axis].phases[0], ((0, 0),) * (len(like.phases) - 1)
        window = Window((first, *blank), like.advance)
        return ReceptiveField((*field.axes[:axis], window, *field.axes[axis + 1 :]))

    dims = (*piece.dims[:dim], ((axis, 1),), *piece.dims[dim + 1 :])
    return replace(piece.map_fields(paced), dims=dims)
