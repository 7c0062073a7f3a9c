"""How the rows of an account are wired: where branches part, and where they meet again."""

from __future__ import annotations

from math import prod
from typing import NamedTuple, TypeAlias

from ..accounting.rows import Row
from .text import MOST_NESTED

JOINS = ("add", "mul", "cat")
_COPIES = frozenset({
    "clone", "contiguous", "view", "reshape", "flatten", "alias", "detach", "copy",
    "DropPath", "StochasticDepth", "DropBlock2d",  # which do nothing at inference
})  # fmt: skip


class NoWord(Exception):
    """A row that no word describes, and why."""

    @property
    def place(self) -> int:
        """Of the row."""
        return int(self.args[0])

    @property
    def reason(self) -> str:
        """Why no word describes it."""
        return str(self.args[1])


class Meeting(NamedTuple):
    """Branches that part at one row, and meet in the row at `place`."""

    place: int
    branches: tuple[tuple[Item, ...], ...]


Item: TypeAlias = int | Meeting  # the place of a row, or several branches and their join


class Wiring:
    """The rows as a graph; -1 is the input. Views are left out: whoever reads one reads its source.

    Attributes:
        sources: of every row, which others it is made from.
        operands: the same without dropout, told apart by order only where that matters, in
            concatenations; of one within another, those of the inner one in its place.
        views: rows that give their input back, a flattened map included.
    """

    def __init__(self, rows: tuple[Row, ...], shape: tuple[int, ...]) -> None:
        """Follow all edges; raises `NoWord` if a row has none, or reads a second input."""
        self.rows, self.shape = rows, shape
        self.sources: list[tuple[int, ...]] = []
        self.operands: list[tuple[int, ...]] = []
        self.views: set[int] = set()
        self._origins: list[int] = []  # the row itself, or what it is a view of
        self._forks: list[int] = []  # the last row that all that a row is made from runs through
        self._depths: list[int] = []
        self._cats: dict[tuple[int, ...], int] = {}
        for place, row in enumerate(rows):
            self._add(place, row)

    def shape_of(self, place: int) -> tuple[int, ...]:
        """The shape of a row's output, or of the input."""
        return self.rows[place].output_shape if place >= 0 else self.shape

    def items(self) -> tuple[Item, ...]:
        """All rows in a chain, from the input to the last; raises `NoWord` if they are none."""
        seen: set[int] = set()
        found = self._chain(self.origin(len(self.rows) - 1), -1, seen, 0)
        for place in range(len(self.rows)):
            if place not in self.views and place not in seen:
                raise NoWord(place, "the output is not made from it")
        return found

    def origin(self, place: int) -> int:
        """What a row gives: its own output, or that of the row whose output it gives back."""
        return self._origins[place] if place >= 0 else place

    def operand(self, place: int) -> int:
        """The same, and through dropout."""
        place = self.origin(place)
        while place >= 0 and self.rows[place].role == "dropout":
            (place,) = self.sources[place]
        return place

    def combined(self, row: Row, places: tuple[int, ...]) -> tuple[int, ...]:
        """What a row that reads these places has as its `operands`."""
        through = [self.operand(place) for place in places]
        if not is_cat(row):
            return tuple(sorted(through))
        inner = ((p,) if p < 0 or not is_cat(self.rows[p]) else self.operands[p] for p in through)
        return tuple(place for places in inner for place in places)

    def _add(self, place: int, row: Row) -> None:
        if not row.reads or min(row.reads) < -1:
            reason = "it reads a second input" if row.reads else "it does not say what it reads"
            raise NoWord(place, reason)
        sources = tuple(dict.fromkeys(self.origin(read) for read in row.reads))
        operands = self.combined(row, sources)
        if is_cat(row):
            sources = self._nested(sources, operands)
        is_view = len(sources) == 1 and self._gives_back(row, sources[0])
        if is_view:
            self.views.add(place)
        elif is_cat(row):
            self._cats[operands] = place
        self.sources.append(sources)
        self.operands.append(operands)
        self._origins.append(sources[0] if is_view else place)
        fork = sources[0]
        for source in sources[1:]:
            fork = self._shared(fork, source)
        self._forks.append(fork)
        self._depths.append(self._depth(fork) + 1)

    def _nested(self, sources: tuple[int, ...], operands: tuple[int, ...]) -> tuple[int, ...]:
        """The sources of a concatenation that goes on from an earlier one, as in DenseNet."""
        if all(map(self._is_single, sources)):
            for end in range(len(sources) - 1, 1, -1):
                if (earlier := self._cats.get(operands[:end])) is not None:
                    return (earlier, *sources[end:])
        return sources

    def _is_single(self, place: int) -> bool:
        return place < 0 or not is_cat(self.rows[place])

    def _gives_back(self, row: Row, source: int) -> bool:
        shape = self.shape_of(source)
        if row.role == "reshape" and len(row.output_shape) == 1:
            return row.output_shape[0] == prod(shape)
        if row.output_shape != shape:
            return False
        if row.role == "reshape":  # not a flip, nor a module of the user's own that does one
            return row.kind in _COPIES
        if row.role == "average pooling":  # of each position alone
            field = self.rows[source].receptive_field if source >= 0 else None
            return row.sliding is None and row.receptive_field == field
        return row.role == "identity" or is_cat(row)

    def _depth(self, place: int) -> int:
        return self._depths[place] if place >= 0 else 0

    def _shared(self, one: int, other: int) -> int:
        """The last row that the outputs of both run through."""
        while one != other:
            if self._depth(one) >= self._depth(other):
                one = self._forks[one]
            else:
                other = self._forks[other]
        return one

    def _chain(self, end: int, start: int, seen: set[int], depth: int) -> tuple[Item, ...]:
        """Rows from after `start`, which all of them are made from, up to `end`."""
        if depth > MOST_NESTED:
            raise NoWord(end, f"its branches are nested more than {MOST_NESTED} deep")
        found: list[Item] = []
        place = end
        while place != start:
            if place in seen:
                raise NoWord(place, "it is read by branches that meet apart from each other")
            seen.add(place)
            sources, fork = self.sources[place], self._forks[place]
            if len(sources) == 1:
                found.append(place)
            else:
                branches = (self._chain(each, fork, seen, depth + 1) for each in sources)
                found.append(Meeting(place, tuple(branches)))
            place = fork
        return tuple(reversed(found))


def is_cat(row: Row) -> bool:
    """Whether a row joins channels."""
    return row.role == "join" and row.kind == "cat"
