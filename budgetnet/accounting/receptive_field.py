"""The ReceptiveField: one Window per spatial axis of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ..errors import ArgumentError, explain
from .parsing import Fields
from .table import compact
from .window import LARGEST, Pair, Window


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The input region that one unit of a map reads: one `Window` per spatial axis.

    All properties are `(height, width)` pairs for images (one entry per spatial axis otherwise).

    >>> field = ReceptiveField((Window.sliding(5, stride=2, padding=2),) * 2)
    >>> field.size, field.stride, field.padding
    ((5, 5), (2, 2), (2, 2))
    >>> field.region(0, 3)
    ((-2, 2), (4, 8))

    Attributes:
        axes: by axis of the input.
        places: for every axis, which index of a unit moves along it, if the map's axes are in
            another order than the input's, as after a transpose; otherwise (). -1 if none does,
            as when windows of attention lie in the batch: `region` is then refused.

    Source: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural
    Networks", Distill 2019, doi:10.23915/distill.00021.
    """

    axes: tuple[Window, ...]
    places: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, ...]:
        """Extent of the largest region, in input positions; gaps inside count."""
        return tuple(window.size for window in self.axes)

    @property
    def stride(self) -> tuple[int | Fraction, ...]:
        """Effective stride ("jump"), the input positions between neighbouring units."""
        return tuple(window.stride for window in self.axes)

    @property
    def padding(self) -> tuple[int, ...]:
        """Effective padding, the input positions before 0 that unit 0 reads."""
        return tuple(window.padding for window in self.axes)

    @property
    def lookahead(self) -> tuple[int, ...]:
        """Input positions after its own that a unit reads; 0 if it needs no later input.

        Unit `i` has the position `i * stride`, rounded down: a causal convolution, padded on the
        left alone, looks 0 ahead.

        >>> ReceptiveField((Window.sliding(5, padding=4), Window.sliding(5, padding=2))).lookahead
        (0, 2)
        """
        return tuple(
            max(
                [window.at(i)[1] - i * window.advance // count for i in range(count)] + [0],
            )
            for window in self.axes
            for count in [len(window.phases)]
        )

    @property
    def dilation_gaps(self) -> tuple[int, ...]:
        """Input positions inside the region of a unit that it never reads, at most.

        Dilations leave such gaps if they share a divisor ("gridding").

        >>> stacked = Window.sliding(3, dilation=2).then(Window.sliding(3, dilation=2))
        >>> ReceptiveField((stacked, Window.sliding(3).then(stacked))).dilation_gaps
        (4, 0)
        """
        return tuple(
            max(bits.bit_length() - bits.bit_count() for _, bits in window.phases)
            for window in self.axes
        )

    def region(self, *unit: int) -> tuple[Pair, ...]:
        """First and last input position that `unit` reads, inclusive, unclipped.

        The unit is in the order of the map's axes, the region in the order of the input's.
        """
        return tuple(window.at(i) for window, i in self._by_axis(unit))

    def reads(self, *unit: int) -> tuple[frozenset[int], ...]:
        """Every input position per axis that `unit` reads, without gaps."""
        return tuple(window.reads(i) for window, i in self._by_axis(unit))

    def _by_axis(self, unit: tuple[int, ...]) -> list[tuple[Window, int]]:
        if len(unit) != len(self.axes):
            raise ArgumentError(
                explain(
                    "region needs one index per spatial axis",
                    numbers={"got": len(unit), "axes": len(self.axes)},
                    remedy="For an image call region(row, column).",
                )
            )
        places = self.places or range(len(self.axes))
        if -1 in places:
            raise ArgumentError(
                explain(
                    "the index of a unit does not give its place along an axis of the input",
                    numbers={"axis": places.index(-1)},
                    remedy="That axis is split into windows in the batch: size and stride "
                    "describe all units of a window together.",
                )
            )
        return [(window, unit[place]) for window, place in zip(self.axes, places, strict=True)]

    def then(self, windows: tuple[Window, ...]) -> ReceptiveField:
        """Field of an operation with these windows, applied to this map."""
        if len(self.axes) == 2 and len(windows) == 2:
            (top, left), (down, right) = self.axes, windows
            rows = top.then(down)
            square = top is left and down is right  # most maps are: one composition serves both
            columns = rows if square else left.then(right)
            if rows is top and columns is left and not self.places:
                return self
            return ReceptiveField((rows, columns))
        return ReceptiveField(
            tuple(inner.then(outer) for inner, outer in zip(self.axes, windows, strict=True))
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Field of two branches that meet: everything that either reads."""
        both = tuple(one.union(two) for one, two in zip(self.axes, other.axes, strict=True))
        return ReceptiveField(both, self.places)

    def __str__(self) -> str:
        """Size as one number if the axes agree, otherwise as rows x columns."""
        return compact(self.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the windows, and derived figures for other programs."""
        places = {"places": list(self.places)} if self.places else {}
        return {
            **places,
            "size": list(self.size),
            "stride": [str(stride) for stride in self.stride],
            "padding": list(self.padding),
            "windows": [{"runs": w.runs(), "advance": w.advance} for w in self.axes],
        }

    @classmethod
    def from_dict(cls, data: Any) -> ReceptiveField:
        """Read `to_dict`'s form.

        Raises `ValueError` if a part is missing or damaged, or does not follow from the windows.
        """
        return parse_field(data, "the field")


def parse_field(data: Any, where: str) -> ReceptiveField:
    """Read the form of `ReceptiveField.to_dict`, which lies at `where` in a file."""
    fields = Fields(data, where)
    windows = [
        _parse_window(Fields(axis, f"{where}.windows[{i}]"))
        for i, axis in enumerate(fields.items("windows"))
    ]
    places = fields.counts("places", least=-1, most=len(windows) - 1) if "places" in fields else ()
    if len(places) not in (0, len(windows)):
        raise fields.wrong("places", places, f"not valid for {len(windows)} windows")
    found = ReceptiveField(tuple(windows), places)
    follows = found.to_dict()
    fields.same({key: follows[key] for key in ("size", "stride", "padding")})
    return found


def _parse_window(fields: Fields) -> Window:
    runs, advance = fields.items("runs"), fields.count("advance", least=-LARGEST)
    if not all(isinstance(phase, list | tuple) and all(map(_is_run, phase)) for phase in runs):
        raise fields.wrong("runs", runs, "not a list of runs from a position to a later one")
    key = tuple(tuple(map(tuple, phase)) for phase in runs), advance
    ends = [end for phase in key[0] for run in phase for end in run]
    span = max(ends, default=0) - min(ends, default=0)
    if not runs or span * len(runs) > LARGEST or abs(advance) > LARGEST:
        numbers = f"{len(runs):,} phases of {span:,} positions"
        raise fields.wrong(
            "runs", numbers, f"more than the {LARGEST:,} positions that a window may have"
        )
    return _of_runs(*key)


def _is_run(run: Any) -> bool:
    ends = run if isinstance(run, list | tuple) else ()
    return len(ends) == 2 and all(type(n) is int for n in ends) and ends[0] <= ends[1]


_of_runs = lru_cache(maxsize=1024)(Window.of_runs)  # the rows of a network repeat each other


def union_of(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """What several branches have read together.

    Along an axis on which some branches move and others have read the same for every position, as
    after a global pooling, the moving ones count: see `has_context`.
    """
    if len(fields) == 1:
        return fields[0]
    columns = _columns(fields)
    if len(columns) == 2 and all(field.axes[0] is field.axes[1] for field in fields):
        one, _ = united(columns[0])
        return ReceptiveField((one, one))  # most maps are square: one union serves both axes
    return ReceptiveField(tuple([united(column)[0] for column in columns]))


def has_context(fields: Sequence[ReceptiveField]) -> int:
    """What `union_of` these leaves out that some have read for every position alike.

    One bit for every set of axes along which a field stands where others move: bit `1 << 2` is that
    of axis 1 alone, lines of the map; bit `1 << 3` that of axes 0 and 1, all of it. 0 where nothing
    is left out.
    """
    if len(fields) == 1 or all(window.advance for field in fields for window in field.axes):
        return 0
    moving = [any(w.advance and not w.is_empty for w in column) for column in _columns(fields)]
    found = 0
    for field in fields:
        mask = 0
        for axis, window in enumerate(field.axes):
            if moving[axis] and not window.advance and not window.is_empty:
                mask |= 1 << axis
        found |= bool(mask) << mask
    return found


def lines_of(context: int, axes: int) -> tuple[int, ...]:
    """The axes along which lines are read, of what `has_context` gives; () for all of a map."""
    if context >> (1 << axes) - 1 & 1:
        return ()
    masks = [mask for mask in range(1 << axes) if context >> mask & 1]
    return tuple(axis for axis in range(axes) if any(mask >> axis & 1 for mask in masks))


def united(windows: Sequence[Window]) -> tuple[Window, bool]:
    """Union along one axis, and whether windows that do not move were left out of it."""
    moving = [window for window in windows if window.advance or window.is_empty]
    if all(window.is_empty for window in moving):
        moving = list(windows)
    return Window.united(moving), len(moving) < len(windows)


def _columns(fields: Sequence[ReceptiveField]) -> list[list[Window]]:
    """The windows along each axis, every object once: many fields are made of few."""
    axes = range(len(fields[0].axes))
    return [list({id(w): w for w in [f.axes[axis] for f in fields]}.values()) for axis in axes]
