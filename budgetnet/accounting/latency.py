"""The Latency: what a table of measured operators adds up to for a network, an estimate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import shown
from .account import Account
from .latency_table import Entry, LatencyTable, lacking_text
from .operators import Operator, operator_at
from .rows import Row, fold_places, layer_places
from .table import Column, Table, Toned, time_text


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

    No measurement of the network. docs/howto/estimate_how_long_a_network_takes.md says how far such
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
        others = list(dict.fromkeys(r.unknown for r in self.rows if r.unknown and not r.operator))
        more = [f"{len(others) - 2:,} more rows"] if len(others) > 2 else []
        lacking = [lacking_text(self.table, self.missing)] if self.missing else []
        return "; ".join([*lacking, *others[:2], *more])

    @property
    def missing(self) -> tuple[Operator, ...]:
        """The operators that the table has no entry of; `budgetnet measure` adds them."""
        return self.table.missing(row.operator for row in self.rows)

    def by_layer(self) -> tuple[tuple[Row, int], ...]:
        """The layers of the account with the nanoseconds of each; unknown ones are left out."""
        places = layer_places(self.account.rows)
        pairs = ((layer, self._of(i, places)) for i, layer in enumerate(self.account.layers()))
        return tuple((layer, ns) for layer, ns in pairs if ns is not None)

    def to_table(self, depth: int | None = None) -> Table:
        """The table of the account, with a column for the estimate."""
        rows = self.account.rows
        plain = self.account.to_table(depth)
        places = layer_places(rows) if depth is None else fold_places(rows, depth)
        cells = [_text(self._of(i, places)) for i in range(len(plain.rows))]
        return replace(
            plain,
            columns=(*plain.columns, Column("Latency", numeric=True)),
            rows=tuple((*row, cell) for row, cell in zip(plain.rows, cells, strict=True)),
            totals=(*plain.totals, _text(self.ns)),
            notes=(*plain.notes, self._note()),
        )

    def _of(self, group: int, places: list[int]) -> int | None:
        """The sum of the rows of one group."""
        mine = [row for row, place in zip(self.rows, places, strict=True) if place == group]
        if any(row.unknown for row in mine):
            return None
        return sum(row.entry.median_ns for row in mine if row.entry)

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
