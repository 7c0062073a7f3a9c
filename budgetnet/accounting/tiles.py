"""How a network repeats itself over its input: the period, and what tiles of it need."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import TypeAlias

from .receptive_field import ReceptiveField
from .rows import Row
from .window import Pair, Window

Moving: TypeAlias = tuple[Window, int]  # a window along an axis, and the units of its map there


def period_of(rows: Sequence[Row], size: Sequence[int]) -> tuple[int, ...] | None:
    """Input positions per axis after which every map repeats its pattern; `None` if unknown.

    That of the last map alone would not do: a wide convolution reads the same for every output
    after maps that do not repeat so soon.
    """
    fields = [(row.receptive_field, row.output_shape[1:]) for row in rows if not row.is_global]
    if any(field is None or len(field.axes) != len(size) for field, _ in fields):
        return None
    return tuple(
        _period({_along(field, units, axis) for field, units in fields if field}, n)
        for axis, n in enumerate(size)
    )


def repeating(
    field: ReceptiveField, units: Sequence[int], period: Sequence[int], size: Sequence[int]
) -> tuple[Window, ...] | None:
    """The windows of a map as they are away from the image's border; `None` if they never are."""
    found = []
    for axis, (step, n) in enumerate(zip(period, size, strict=True)):
        window, count = _along(field, units, axis)
        inner = window if _is_plain(window, n) else _inner(window, count, step, n)
        if inner is None or inner.advance < 1:
            return None
        found.append(inner)
    return tuple(found)


def halo_of(window: Window, period: int) -> Pair:
    """Inputs that whole periods of outputs read before and after their own.

    >>> halo_of(Window.sliding(3, padding=1), 1), halo_of(Window.sliding(3, stride=2), 2)
    ((1, 1), (0, 1))
    """
    ends = [window.at(i) for i in range(units_in(window, period))]
    ends = [(lo, hi) for lo, hi in ends if lo <= hi] or [(0, -1)]
    return max(0, -min(ends)[0]), max(0, max(hi for _, hi in ends) + 1 - period)


def units_in(window: Window, period: int) -> int:
    """Outputs of a window that steps over `period` inputs."""
    return period * len(window.phases) // window.advance


def covers_of(window: Window) -> int:
    """Largest `n` of which any `n` neighbouring inputs are all read by one unit.

    >>> covers_of(Window.sliding(7, stride=2)), covers_of(Window.sliding(3, dilation=2))
    (6, 1)
    """
    step = window.advance
    runs = [run for phase in window.runs() for run in phase]
    if step < 1 or not runs:
        return 0
    left = (max(hi - lo + 1 - (x - lo) % step for lo, hi in runs) for x in range(step))
    return max(0, min(left))


def last_map(rows: Sequence[Row], field: ReceptiveField) -> tuple[int, ...]:
    """Units along the axes of the last map that has a field; () if none has."""
    own = (row.output_shape[1:] for row in reversed(rows) if row.receptive_field == field)
    return next((units for units in own if len(units) == len(field.axes)), ())


def _along(field: ReceptiveField, units: Sequence[int], axis: int) -> Moving:
    """The window along an axis of the input, and how many units move along it."""
    place = field.places[axis] if field.places else axis
    return field.axes[axis], units[place] if 0 <= place < len(units) else 0


def _period(found: set[Moving], size: int) -> int:
    plain = [w for w, _ in found if _is_plain(w, size)]
    others = [(w, n) for w, n in found if not _is_plain(w, size)]
    step = lcm(*(abs(w.advance) or 1 for w in plain))
    step = lcm(step, *(_numerator(w) for w, _ in others))
    for period in range(step, size // 4 + 1, step):  # fewer repetitions would be no evidence
        if all(_inner(w, n, period, size) for w, n in others):
            return period
    return max(step, size) if others else step


def _numerator(window: Window) -> int:
    return abs(window.stride.numerator) or 1


def _is_plain(window: Window, size: int) -> bool:
    """Whether a window is periodic by itself.

    Resampling clips what it reads to the map, so that its window has a phase for every output: its
    period is found away from the border.
    """
    return len(window.phases) == 1 or 2 * window.advance <= size


def _inner(window: Window, units: int, period: int, size: int) -> Window | None:
    """The window as it is where no border clips it, if it repeats itself there."""
    step = period / window.stride if window.advance > 0 else 0
    if step < 1 or step != int(step):
        return None
    step = int(step)
    phases = [(window.at(i)[0], window.at(i)[1], window._phase(i)) for i in range(units)]
    clear = [0 < lo and hi < size - period for lo, hi, _ in phases]
    pairs = {i for i in range(units - step) if clear[i] and clear[i + step]}
    for i in pairs:
        (first, bits), (later, same) = phases[i][2], phases[i + step][2]
        if (first + period, bits) != (later, same):
            return None
    whole = (i for i in range(0, units, step) if pairs.issuperset(range(i, i + step)))
    start = next(whole, None)
    if start is None:
        return None
    moved = start // step * period
    return Window(
        tuple((lo - moved, bits) for _, _, (lo, bits) in phases[start : start + step]), period
    )
