"""Latency as data: measured operators, and the estimate that adds them up for a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ArgumentError, FormatError, explain, name_in_errors, names_text, shown
from .account import Account
from .files import parse_json, read_text
from .operators import NAMES, Operator, operator_at
from .parsing import Damaged, Fields
from .rows import fold_places, layer_places
from .table import Column, Table, Toned, time_text

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
        try:
            data = parse_json(text)
        except ValueError as error:
            raise FormatError(explain("this is not JSON", numbers={"reason": error})) from error
        return cls.from_dict(data)

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


class LatencyRow(NamedTuple):
    """The estimate of one row of an account.

    Attributes:
        path: of the row.
        kind: likewise.
        operator: what runs; `None` if nothing does, or if it is unknown.
        entry: what the table has of it; `None` if nothing runs, or if it is unknown.
        unknown: why it is unknown, or "".
    """

    path: str
    kind: str
    operator: Operator | None
    entry: Entry | None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Latency:
    """An estimate: the sum of a network's operators, each as measured by itself.

    No measurement of the network. docs/howto/know_how_long_a_network_takes.md says how far such
    sums were from the clock.

    Attributes:
        account: what it is an estimate of.
        table: what was added up.
        rows: one for every row of the account.
    """

    account: Account
    table: LatencyTable
    rows: tuple[LatencyRow, ...]

    @property
    def ns(self) -> int | None:
        """Whole nanoseconds, the sum of the medians; `None` if that of any row is unknown."""
        return self._sum(lambda entry: entry.median_ns)

    @property
    def seconds(self) -> float | None:
        """The same in seconds."""
        return None if self.ns is None else self.ns / 1e9

    @property
    def spread_ns(self) -> tuple[int, int] | None:
        """The sums of the first and of the third quartiles; `None` if unknown.

        They say how steady the entries are, not how far the network may be from the sum.
        """
        low, high = self._sum(lambda each: each.low_ns), self._sum(lambda each: each.high_ns)
        return None if low is None or high is None else (low, high)

    def _sum(self, of: Callable[[Entry], int]) -> int | None:
        return None if self.unknown else sum(of(row.entry) for row in self.rows if row.entry)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why the sum is unknown, each reason once; empty if it is not."""
        return tuple(dict.fromkeys(row.unknown for row in self.rows if row.unknown))

    @property
    def reason(self) -> str:
        """Why the sum is unknown, in one line; "" if it is not."""
        others = dict.fromkeys(r.unknown for r in self.rows if r.unknown and not r.operator)
        lacking = [lacking_text(self.table, self.missing)] if self.missing else []
        return names_text([*lacking, *others])

    @property
    def missing(self) -> tuple[Operator, ...]:
        """The operators that the table has no entry of; `budgetnet measure` adds them."""
        return self.table.missing(row.operator for row in self.rows)

    def to_table(self, depth: int | None = None) -> Table:
        """The table of the account, with a column for the estimate."""
        rows = self.account.rows
        plain = self.account.to_table(depth)
        places = layer_places(rows) if depth is None else fold_places(rows, depth)
        cells = [self._cell(i, places) for i in range(len(plain.rows))]
        return replace(
            plain,
            columns=(*plain.columns, Column("Latency", numeric=True)),
            rows=tuple((*row, cell) for row, cell in zip(plain.rows, cells, strict=True)),
            totals=(*plain.totals, _text(self.ns)),
            notes=(*plain.notes, self._note()),
        )

    def _cell(self, group: int, places: list[int]) -> str:
        """The sum of the rows of one layer."""
        mine = [row for row, place in zip(self.rows, places, strict=True) if place == group]
        if any(row.unknown for row in mine):
            return _text(None)
        return _text(sum(row.entry.median_ns for row in mine if row.entry))

    def _note(self) -> str:
        spread = self.spread_ns
        if spread is None:
            return Toned(f"latency unknown: {self.reason}", "unknown")
        low, high = map(time_text, spread)
        return (
            f"latency: an estimate, the sum of operators that {self.table.name} has measured one "
            f"by one; quartiles {low} to {high}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for other programs."""
        spread = self.spread_ns or (None, None)
        return {
            "format": "budgetnet.latency", "version": 1, "name": self.account.name,
            "is_estimate": True, "ns": self.ns, "low_ns": spread[0], "high_ns": spread[1],
            "unknown": list(self.unknown), "machine": dict(self.table.machine),
            "table_digest": self.table.digest, "rows": [_row_to_dict(row) for row in self.rows],
        }  # fmt: skip

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __repr__(self) -> str:
        """One short line."""
        return f"Latency({shown(self.account.name)}, an estimate of {_text(self.ns)})"

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()


def _row_to_dict(row: LatencyRow) -> dict[str, Any]:
    entry = row.entry._asdict() if row.entry else None
    operator = str(row.operator) if row.operator else None
    return {**row._asdict(), "operator": operator, "entry": entry}


def _text(nanoseconds: int | None) -> str:
    return Toned("unknown", "unknown") if nanoseconds is None else time_text(nanoseconds)


def lacking_text(table: LatencyTable, missing: Sequence[Operator]) -> str:
    """What a table has no entry for, the first two of many."""
    first = "; ".join(map(str, missing[:2]))
    if len(missing) == 1:
        return f"{table.name} has no entry for {first}"
    return f"{table.name} has no entry for {len(missing):,} operators, such as {first}"


def latency_of(account: Account, table: LatencyTable) -> Latency:
    """The estimate of an account: every operator looked up, and nothing guessed."""
    rows = []
    for place, row in enumerate(account.rows):
        operator, why = operator_at(account, place)
        entry = table.get(operator) if operator else None
        if operator and entry is None:
            why = f"{row.path or row.kind}: {table.name} has no entry for {operator}"
        rows.append(LatencyRow(row.path, row.kind, operator, entry, why))
    return Latency(account, table, tuple(rows))
