"""What a tensor of a file has read of the input, carried from operator to operator.

Both formats share this: their operators are moves of a few kinds, such as sliding a window over
axes, joining, or making a tensor's axes anew. Axes are told by what they stand for, so that
channels may come first or last, and a transpose between the two loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

from ...accounting.receptive_field import ReceptiveField, has_context, union_of
from ...accounting.window import LARGEST, Window
from ...errors import ArgumentError, StrideMismatch, explain, one_line

Shape = tuple[int, ...]

# What an axis stands for: the axes of the input along which its index moves, more than one where
# they were merged, as (0, 1) for the rows of tokens that a map was flattened into; or one of these.
Axis = tuple[int, ...]
STILL: Axis = ()  # no position of the input: channels that were split, or an axis of size 1
CHANNEL: Axis = (-1,)
BATCH: Axis = (-2,)
MOST_OUTPUTS = 1 << 16  # along an axis whose windows follow no simple rule


@dataclass(frozen=True)
class Map:
    """A tensor that depends on the input.

    Attributes:
        shape: in the file's order, the batch included.
        axes: what each axis stands for.
        field: what a unit reads, by axis of the input; `None` if that is unknown.
        row: the row that made it, or a negative number for an input.
        dtype: type of its elements.
        spans: the sizes of merged axes, by what the merged one stands for.
        why: why the field is unknown.
        odd: whether an operator took channels for positions or the other way round, which says that
            the axes of the input were taken wrongly.
    """

    shape: Shape
    axes: tuple[Axis, ...]
    field: ReceptiveField | None
    row: int = -1
    dtype: str = "float32"
    spans: tuple[tuple[Axis, Shape], ...] = ()
    why: str = ""
    odd: bool = False

    @property
    def is_global(self) -> bool:
        """Whether no axis moves over the input any more."""
        return self.field is not None and not any(map(positions, self.axes))

    @property
    def placed(self) -> ReceptiveField | None:
        """The field, with the places of its axes if they are in another order than the input's."""
        single = [axis[0] for axis in self.axes if positions(axis)]
        merged = any(len(axis) > 1 for axis in self.axes)
        if self.field is None or merged or single == sorted(single):
            return self.field
        order = {axis: place for place, axis in enumerate(single)}
        places = tuple(order.get(axis, -1) for axis in range(len(self.field.axes)))
        return ReceptiveField(self.field.axes, places)

    @property
    def output_shape(self) -> Shape:
        """Without the batch, channels first."""
        rest = [i for i, axis in enumerate(self.axes) if axis != BATCH]
        first = [i for i in rest if self.axes[i] == CHANNEL]
        return tuple(self.shape[i] for i in [*first, *[i for i in rest if i not in first]])


def positions(axis: Axis) -> bool:
    """Whether an axis moves over the input."""
    return bool(axis) and axis[0] >= 0


def input_map(shape: Shape, channels: int, *, row: int, axes: int, dtype: str) -> Map:
    """An input of a graph, whose axes but the first and that of the channels are positions.

    It is the first one, in which fields are measured, if `row` is -1; others read nothing of it.
    """
    if len(shape) < 2:
        layout: tuple[Axis, ...] = (STILL,) * len(shape)
    else:
        layout, k = (), 0
        for i in range(len(shape)):
            spatial = i not in (0, channels % len(shape))
            layout += ((k,) if spatial else CHANNEL if i else BATCH,)
            k += spatial
        if k > axes:  # a second input with more axes than the first
            layout = tuple(STILL if positions(axis) else axis for axis in layout)
    window = Window() if row == -1 else Window.reading(())
    return Map(shape, layout, ReceptiveField((window,) * axes), row, dtype)


def unknown(shape: Shape, dtype: str = "float32", why: str = "") -> Map:
    """A tensor of which it is not known what it reads; its first axis is taken for the batch."""
    axes = tuple(BATCH if i == 0 and len(shape) > 1 else STILL for i in range(len(shape)))
    return Map(shape, axes, None, dtype=dtype, why=why)


def unfollowed(maps: Sequence[Map], shape: Shape, dtype: str, why: str) -> Map:
    """What an operation without a rule gives: unknown, unless all that it reads is global."""
    if not maps or not all(x.is_global for x in maps):
        return unknown(shape, dtype, why)
    field, _ = meet([x.field for x in maps])
    axes = tuple(BATCH if i == 0 and len(shape) > 1 else CHANNEL for i in range(len(shape)))
    return Map(shape, axes, field, dtype=dtype)


def slid(x: Map, moves: Mapping[int, tuple[Window, int]], dtype: str = "") -> Map:
    """Windows over some axes, each with the size that it gives."""
    shape, odd, field = list(x.shape), x.odd, x.field
    for i, (_, size) in moves.items():
        shape[i] = size
    for i, (window, _) in moves.items():
        odd = odd or (x.axes[i] == CHANNEL and window != Window())
        if field is None or window == Window() or not positions(x.axes[i]):
            continue
        if len(x.axes[i]) > 1:
            return unknown(tuple(shape), dtype or x.dtype, "it slides over merged axes")
        try:
            field = _then(field, x.axes[i], window)
        except ArgumentError as error:  # wider than can be followed
            return unknown(tuple(shape), dtype or x.dtype, one_line(error))
    return replace(x, shape=tuple(shape), field=field, odd=odd, dtype=dtype or x.dtype)


def cut(x: Map, ranges: Mapping[int, range]) -> Map:
    """The indices of a range along some axes."""
    moves = {}
    for i, r in ranges.items():
        if r != range(x.shape[i]):
            window = Window(((r.start, 1),), r.step) if positions(x.axes[i]) else Window()
            moves[i] = (window, len(r))
    return slid(x, moves)


def beside(x: Map, shape: Shape) -> Map:
    """A constant that is put beside a map: its units read nothing."""
    field = x.field and ReceptiveField((Window.reading(()),) * len(x.field.axes))
    return replace(x, shape=shape, field=field)


def mixed(x: Map, i: int, size: int) -> Map:
    """An axis read whole by every unit, and made anew as channels of this size."""
    shape = (*x.shape[:i], size, *x.shape[i + 1 :])
    if not positions(x.axes[i]):
        axes = (*x.axes[:i], CHANNEL, *x.axes[i + 1 :]) if x.axes[i] != BATCH else x.axes
        return replace(x, shape=shape, axes=axes)
    others = (STILL if axis == CHANNEL else axis for axis in x.axes)
    axes = tuple(CHANNEL if k == i else axis for k, axis in enumerate(others))
    return replace(x, shape=shape, axes=axes, field=read_whole(x, [i]), odd=True)


def reduced(x: Map, which: Sequence[int], keep: bool) -> Map:
    """Axes read whole, and gone or of size 1."""
    field = read_whole(x, which)
    axes = tuple(
        (STILL if positions(axis) else axis) if i in which else axis
        for i, axis in enumerate(x.axes)
    )
    shape = tuple(1 if i in which else n for i, n in enumerate(x.shape))
    kept = [i for i in range(len(shape)) if keep or i not in which]
    shape, axes = tuple(shape[i] for i in kept), tuple(axes[i] for i in kept)
    return replace(x, shape=shape, axes=axes, field=field)


def read_whole(x: Map, which: Sequence[int]) -> ReceptiveField | None:
    """The field once the positions along some axes have been read together."""
    field = x.field
    for i in which:
        sizes = dict(x.spans).get(x.axes[i], (x.shape[i],))
        for k, size in zip(x.axes[i], sizes, strict=False):
            if field is not None and k >= 0:
                field = _then(field, (k,), Window.whole(size))
    return field


def context_of(x: Map, which: Sequence[int]) -> int:
    """The bits of `has_context` for a statistic along some axes, which stay."""
    axes = {axis for i in which for axis in x.axes[i] if axis >= 0}
    return 1 << sum(1 << axis for axis in axes) if axes else 0


def permuted(x: Map, order: Sequence[int]) -> Map:
    """Axes in another order."""
    return replace(x, shape=tuple(x.shape[i] for i in order), axes=tuple(x.axes[i] for i in order))


def reshaped(x: Map, shape: Shape) -> Map:
    """The same elements with other axes.

    An axis that stays keeps its meaning. Where positions are merged with channels, every unit may
    come from anywhere: all of them are read. Where an axis of positions is split, it is unknown
    which unit reads what.
    """
    axes: list[Axis] = [STILL] * len(shape)
    used: set[int] = set()
    whole: list[int] = []
    spans = x.spans
    for old, new in _groups(x.shape, shape):
        used.update(old)
        kinds = [x.axes[i] for i in old]
        moving = [axis for axis in kinds if positions(axis)]
        known = dict(x.spans).get(kinds[0], ())
        if len(old) == len(new) == 1:
            axes[new[0]] = kinds[0]
        elif not moving and BATCH not in kinds:
            for i in new:
                axes[i] = STILL if len(old) == 1 else CHANNEL
        elif len(old) == 1 and tuple(shape[i] for i in new) == known:  # merged ones come apart
            for i, k in zip(new, kinds[0], strict=True):
                axes[i] = (k,)
        elif len(new) > 1 or BATCH in kinds:
            return unknown(shape, x.dtype, "an axis of positions is split, or mixed with the batch")
        elif len(moving) == len(kinds) and len(shape) > 2:
            axes[new[0]] = tuple(k for axis in moving for k in axis)
            spans += ((axes[new[0]], tuple(x.shape[i] for i in old)),)
        else:
            whole += old
            axes[new[0]] = CHANNEL
    _name_ones(x, shape, axes)
    gone = [i for i, axis in enumerate(x.axes) if i not in used and axis not in axes]
    field = read_whole(x, [*whole, *gone])
    return replace(x, shape=shape, axes=tuple(axes), field=field, spans=spans)


def _name_ones(x: Map, shape: Shape, axes: list[Axis]) -> None:
    """Say what axes of size 1 stand for: those that the others need, in their old order."""
    missing = [axis for i, axis in enumerate(x.axes) if x.shape[i] == 1 and axis not in axes]
    if len(shape) > 1 and shape[0] == 1 and BATCH in missing:
        axes[0] = BATCH
        missing.remove(BATCH)
    free = [i for i, n in enumerate(shape) if n == 1 and axes[i] == STILL]
    if len(free) <= len(missing) and len(shape) == len(x.shape):
        for i, axis in zip(free, missing, strict=False):
            axes[i] = axis
    elif CHANNEL in missing and free:
        axes[free[0]] = CHANNEL


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Axes, those of size 1 left out, as the smallest runs that have equally many elements."""
    one = [i for i, n in enumerate(old) if n != 1]
    two = [i for i, n in enumerate(new) if n != 1]
    found, a, b = [], 0, 0
    while a < len(one) and b < len(two):
        left, right = [one[a]], [two[b]]
        a, b = a + 1, b + 1
        while (m := prod(old[i] for i in left)) != (n := prod(new[i] for i in right)):
            if m < n:
                left.append(one[a])
                a += 1
            else:
                right.append(two[b])
                b += 1
        found.append((left, right))
    return found


def broadcast(shapes: Sequence[Shape]) -> Shape | None:
    """The shape of tensors that are combined element by element; `None` if they do not fit."""
    length = max(map(len, shapes))
    padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
    sizes = [{n for n in column if n != 1} for column in zip(*padded, strict=True)]
    return tuple(max(n, default=1) for n in sizes) if all(len(n) < 2 for n in sizes) else None


def joined(maps: Sequence[Map], shape: Shape, dtype: str = "") -> tuple[Map, int]:
    """Tensors combined element by element, and the bits of `has_context`."""
    kind = dtype or maps[0].dtype
    axes: list[Axis] = []
    for i in range(len(shape)):
        column = [_axis_at(x, i - len(shape)) for x in maps]
        wide = {axis for axis, size in column if size == shape[i] and axis != STILL}
        if len(wide) > 1 and shape[i] == 1:  # an axis of size 1 may be any
            wide = set(sorted(wide)[-1:])
        if len(wide) > 1:
            return unknown(shape, kind, "positions and channels meet along one axis"), 0
        axes.append(wide.pop() if wide else STILL)
    try:
        united, bits = meet([_spread(x, shape) for x in maps])
    except StrideMismatch as error:
        return unknown(shape, kind, one_line(error)), 0
    spans = tuple(dict.fromkeys(span for x in maps for span in x.spans))
    odd = any(x.odd for x in maps)
    return Map(shape, tuple(axes), united, dtype=kind, spans=spans, odd=odd), bits


def _axis_at(x: Map, i: int) -> tuple[Axis, int]:
    return (x.axes[i], x.shape[i]) if -i <= len(x.shape) else (STILL, 0)


def _spread(x: Map, shape: Shape) -> ReceptiveField | None:
    """The field of a tensor that is repeated to a shape: along such an axis it stands still."""
    offset = len(shape) - len(x.shape)
    return read_whole(x, [i for i, n in enumerate(x.shape) if n == 1 != shape[i + offset]])


def meet(fields: Sequence[ReceptiveField | None]) -> tuple[ReceptiveField | None, int]:
    """The union of fields, and the bits of `has_context`; unknown if one of them is.

    Raises:
        StrideMismatch: they step over the input at different rates.
    """
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None, 0
    return union_of(known), has_context(known)


def chained(maps: Sequence[Map], i: int) -> tuple[Map, int]:
    """Tensors one after another along an axis, and the bits of `has_context`."""
    first = maps[0]
    shape = (*first.shape[:i], sum(x.shape[i] for x in maps), *first.shape[i + 1 :])
    axes = _common([x.axes for x in maps])
    if axes is None or len(axes[i]) > 1:
        return unknown(shape, first.dtype, "positions and channels meet along one axis"), 0
    try:
        united, bits = meet([x.field for x in maps])
        if united is not None and positions(axes[i]):
            parts = [(x.field.axes[axes[i][0]], x.shape[i]) for x in maps if x.field is not None]
            windows = list(united.axes)
            windows[axes[i][0]] = Window.chained(parts)
            united = _held(ReceptiveField(tuple(windows)))
    except (ArgumentError, StrideMismatch) as error:
        return unknown(shape, first.dtype, one_line(error)), 0
    odd = any(x.odd for x in maps)
    return Map(shape, axes, united, dtype=first.dtype, spans=first.spans, odd=odd), bits


def _common(layouts: Sequence[tuple[Axis, ...]]) -> tuple[Axis, ...] | None:
    """What axes stand for if some layouts leave it open."""
    found: list[Axis] = []
    for column in zip(*layouts, strict=True):
        named = {axis for axis in column if axis != STILL}
        if len(named) > 1:
            return None
        found.append(named.pop() if named else STILL)
    return tuple(found)


def _then(field: ReceptiveField, axis: Axis, window: Window) -> ReceptiveField:
    windows = [Window()] * len(field.axes)
    windows[axis[0]] = window
    return _held(field.then(tuple(windows)))


def _held(field: ReceptiveField) -> ReceptiveField:
    """A field that can be saved; raises `ArgumentError` for others, as of a stride of billions."""
    for window in field.axes:
        firsts = [first for first, _ in window.phases]
        span = (max(firsts) - min(firsts) + window.size) * len(firsts)
        if max(span, abs(window.advance), *map(abs, firsts)) > LARGEST:
            numbers = {"at most": f"{LARGEST:,}"}
            raise ArgumentError(explain("a window is too wide to be followed", numbers=numbers))
    return field


def sampled(n: int, m: int, reads: Callable[[int], set[int]]) -> Window:
    """The window along an axis of n positions whose output i of m reads a set.

    Raises:
        ArgumentError: there are more outputs than can be followed one by one.
    """
    if m > MOST_OUTPUTS:
        numbers = {"got": f"{m:,}", "at most": f"{MOST_OUTPUTS:,}"}
        raise ArgumentError(explain("an axis is too long to be followed", numbers=numbers))
    sets = [reads(i) for i in range(m)]
    common = gcd(n, m)
    period, advance = m // common, n // common
    if all(sets[i] == {j + advance for j in sets[i - period]} for i in range(period, m)):
        return Window.reading(*sets[:period], advance=advance)
    return Window.reading(*sets, advance=n)
