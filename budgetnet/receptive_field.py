"""The ReceptiveField: one Window per spatial axis of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .errors import ArgumentError, explain
from .geometry import compact
from .window import Pair, Window


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
        places: for every axis, which index of a unit moves along it, where the map's own axes lie
            in another order than the input's, as after a transpose; () where they do not.

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

    def region(self, *unit: int) -> tuple[Pair, ...]:
        """First and last input position that `unit` reads, inclusive, unclipped.

        The unit is given in the order of the map's axes, the region in that of the input's.
        """
        return tuple(window.at(i) for window, i in self._by_axis(unit))

    def reads(self, *unit: int) -> tuple[frozenset[int], ...]:
        """Every input position per axis that `unit` reads, gaps left out."""
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
        return [(window, unit[place]) for window, place in zip(self.axes, places, strict=True)]

    def then(self, windows: tuple[Window, ...]) -> ReceptiveField:
        """Field of an operation with these windows, applied to this map."""
        if len(self.axes) == 2 and len(windows) == 2:
            (top, left), (down, right) = self.axes, windows
            rows = top.then(down)
            square = top is left and down is right  # most maps are: one composition serves both
            return ReceptiveField((rows, rows if square else left.then(right)))
        return ReceptiveField(
            tuple(inner.then(outer) for inner, outer in zip(self.axes, windows, strict=True))
        )

    def union(self, other: ReceptiveField) -> ReceptiveField:
        """Field of two branches that meet: all that either reads."""
        both = tuple(one.union(two) for one, two in zip(self.axes, other.axes, strict=True))
        return ReceptiveField(both, self.places)

    def __str__(self) -> str:
        """Size as one number where the axes agree, else as rows x columns."""
        return compact(self.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the windows, and for other readers what follows from them."""
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
        """Read `to_dict`'s form."""
        windows = tuple(_read_window(axis) for axis in data["windows"])
        return cls(windows, tuple(data.get("places", ())))


def union_of(fields: Sequence[ReceptiveField]) -> ReceptiveField:
    """What several branches have read together.

    Along an axis on which some branches move and others have read the same for every position, as
    behind a global pooling, the moving ones stand: see `has_context`.
    """
    if len(fields) == 1:
        return fields[0]
    if len(fields[0].axes) == 2 and all(field.axes[0] is field.axes[1] for field in fields):
        one, _ = united([field.axes[0] for field in fields])
        return ReceptiveField((one, one))  # most maps are square: one union serves both axes
    return ReceptiveField(tuple(united(column)[0] for column in _columns(fields)))


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
    if len(windows) > 2:  # the same few, again and again, where many classes are gathered
        windows = list({id(window): window for window in windows}.values())
    moving = [window for window in windows if window.advance or window.is_empty]
    if all(window.is_empty for window in moving):
        moving = list(windows)
    return Window.united(moving), len(moving) < len(windows)


def _columns(fields: Sequence[ReceptiveField]) -> list[tuple[Window, ...]]:
    return list(zip(*(field.axes for field in fields), strict=True))


def _read_window(data: Any) -> Window:
    return Window.of_runs(data["runs"], data["advance"])
