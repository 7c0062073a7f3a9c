"""The LatencyTable: operators measured on one machine, as a value and as a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ArgumentError, FormatError, explain, name_in_errors, shown
from .files import parse_saved, read_text
from .operators import NAMES, Operator
from .parsing import Damaged, Fields

FORMAT, VERSION = "budgetnet.latency_table", 1
_REMEDY = "Measure again with budgetnet measure."
MOST_NS = 10**12  # of one operator; with it, sums of a network stay within 64 bits
MOST_KEY = 2_000  # characters


class Entry(NamedTuple):
    """What was measured of an operator, in whole nanoseconds.

    Attributes:
        median_ns: of all samples.
        low_ns: the first quartile.
        high_ns: the third quartile.
        samples: how many there were, each the mean of calls in a row.
    """

    median_ns: int
    low_ns: int
    high_ns: int
    samples: int


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Operators measured on one machine, by what they compute on which shapes.

    Two tables are equal if they have the same entries and machine.

    Attributes:
        machine: where and how they were measured: processor, threads, versions, date.
        entries: the times of each operator, by its text.
        name: what texts call the table, such as its file.

    >>> table = LatencyTable({"threads": "1"}, {"relu 8x7x7": Entry(2_000, 1_900, 2_300, 30)})
    >>> LatencyTable.from_json(table.to_json()) == table
    True
    """

    machine: Mapping[str, str]
    entries: Mapping[str, Entry]
    name: str = "table"

    @cached_property
    def digest(self) -> str:
        """The sha256 of all that was measured, and where."""
        content = json.dumps([dict(self.machine), self._plain()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        """Whether the content is the same."""
        return isinstance(other, LatencyTable) and self.digest == other.digest

    def __hash__(self) -> int:
        """That of the content."""
        return hash(self.digest)

    def get(self, operator: Operator) -> Entry | None:
        """What was measured of an operator; `None` if it was not."""
        return self.entries.get(str(operator))

    def missing(self, operators: Iterable[Operator | None]) -> tuple[Operator, ...]:
        """The operators that it has no entry of, each once."""
        found = dict.fromkeys(each for each in operators if each is not None)
        return tuple(each for each in found if str(each) not in self.entries)

    def _plain(self) -> dict[str, Any]:
        return {key: entry._asdict() for key, entry in self.entries.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format name, version and digest."""
        return {
            "format": FORMAT, "version": VERSION, "digest": self.digest,
            "machine": dict(self.machine), "operators": self._plain(),
        }  # fmt: skip

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Any) -> LatencyTable:
        """Read `to_dict`'s form; raises `FormatError` on any other, and on one that was edited."""
        found = (data.get("format"), data.get("version")) if isinstance(data, dict) else (None,) * 2
        if repr(found) != repr((FORMAT, VERSION)):
            numbers = {"got": " ".join(map(shown, found)), "expected": f"{FORMAT!r} {VERSION}"}
            what = "this is not a table of latencies that this release reads"
            raise FormatError(explain(what, numbers=numbers, remedy=_REMEDY))
        try:
            return _parse(Fields(data), cls)
        except Damaged as error:
            what, numbers = "the table of latencies is damaged", {"reason": str(error)}
            raise FormatError(explain(what, numbers=numbers, remedy=_REMEDY)) from error

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """Read `to_json`'s text; raises `FormatError` if it is not one."""
        return cls.from_dict(parse_saved(text))

    @classmethod
    def load(cls, file: str | Path) -> LatencyTable:
        """Read a file that `budgetnet measure` wrote.

        Raises:
            ArgumentError: it cannot be read.
            FormatError: it is damaged, was edited, or is of another version.
        """
        with name_in_errors(str(file)):
            return replace(cls.from_json(read_text(Path(file))), name=Path(file).name)

    def __repr__(self) -> str:
        """One short line."""
        return f"LatencyTable({self.name!r}, {len(self.entries):,} operators)"


def _parse(fields: Fields, cls: type[LatencyTable]) -> LatencyTable:
    machine = fields.fields("machine")
    operators = fields.fields("operators")
    entries = {}
    for key in operators.data:
        if not _is_key(key):
            raise operators.wrong("", key, "not by the names of operators")
        entries[key] = _parse_entry(Fields(operators.data[key], f"operators.{shown(key)}"))
    table = cls({key: machine.text(key, empty=True) for key in machine.data}, entries)
    if fields.text("digest") != table.digest:
        raise fields.wrong("digest", fields.get("digest"), "not that of the content, which changed")
    return table


def _is_key(key: str) -> bool:
    return (
        key.isascii()
        and key.isprintable()
        and len(key) <= MOST_KEY
        and key.partition(" ")[0] in NAMES
    )


def _parse_entry(fields: Fields) -> Entry:
    low = fields.count("low_ns", most=MOST_NS)
    median = fields.count("median_ns", low, MOST_NS)
    return Entry(
        median, low, fields.count("high_ns", median, MOST_NS), fields.count("samples", 1, 10**9)
    )


def as_table(table: Any) -> LatencyTable:
    """A table, or the one in a file; raises `ArgumentError` for anything else."""
    if isinstance(table, LatencyTable):
        return table
    if isinstance(table, str | Path) and str(table):
        return LatencyTable.load(table)
    what = f"{shown(table)} is not a table of latencies"
    raise ArgumentError(explain(what, remedy="Pass the file that budgetnet measure wrote."))


def lacking_text(table: LatencyTable, missing: Sequence[Operator]) -> str:
    """What a table has no entry for, the first two of many."""
    first = "; ".join(map(str, missing[:2]))
    if len(missing) == 1:
        return f"{table.name} has no entry for {first}"
    return f"{table.name} has no entry for {len(missing):,} operators, such as {first}"
