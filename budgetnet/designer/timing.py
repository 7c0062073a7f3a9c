"""What one stage takes by a table of measured operators, between many widths at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..accounting.geometry import Count
from ..accounting.latency_table import LatencyTable, lacking_text
from ..accounting.operators import Operator, operator_of
from ..accounting.rows import Row
from ..errors import ArgumentError, explain

UNKNOWN = -1  # instead of a time, where the table lacks an operator


def latencies(rows: Sequence[Row], shape: tuple[Count, ...], table: LatencyTable) -> Count:
    """The nanoseconds of the rows of a stage that reads `shape`; `UNKNOWN` where any is.

    Where widths are arrays, an array of them.
    """
    count = _count(rows, shape)
    if count is None:
        return _sum(operators(rows, shape), table)
    return np.array([_sum(operators(*_one(rows, shape, i)), table) for i in range(count)], np.int64)


def _sum(found: Iterator[tuple[Operator | None, str]], table: LatencyTable) -> int:
    total = 0
    for operator, why in found:
        entry = table.get(operator) if operator else None
        if why or (operator and not entry):
            return UNKNOWN
        total += entry.median_ns if entry else 0
    return total


def operators(rows: Sequence[Row], shape: tuple[int, ...]) -> Iterator[tuple[Operator | None, str]]:
    """What runs at each of the rows of a stage, as `operator_of` tells it."""
    for row in rows:
        yield operator_of(row, [rows[i].output_shape if i >= 0 else shape for i in row.reads])


def no_entries(table: LatencyTable, missing: Sequence[Operator]) -> ArgumentError:
    """The error where a table lacks operators."""
    remedy = "Measure what is missing with budgetnet measure, or leave it out of the space."
    return ArgumentError(explain(lacking_text(table, missing), remedy=remedy))


def _count(rows: Sequence[Row], shape: tuple[Count, ...]) -> int | None:
    """How many widths the numbers of the rows stand for; `None` if they are plain."""
    numbers = (n for row in rows for n in (*row.output_shape, *row.weight_shape, *shape))
    return next((n.size for n in numbers if isinstance(n, np.ndarray)), None)


def _one(
    rows: Sequence[Row], shape: tuple[Count, ...], place: int
) -> tuple[tuple[Row, ...], tuple[int, ...]]:
    """The rows and the shape for one of many widths."""

    def at(counts: tuple[Count, ...]) -> tuple[int, ...]:
        return tuple(int(n[place]) if isinstance(n, np.ndarray) else n for n in counts)

    def macs(value: Any) -> int:
        return int(value[place]) if isinstance(value, np.ndarray) else value

    made = tuple(
        row._replace(
            output_shape=at(row.output_shape), weight_shape=at(row.weight_shape),
            macs=macs(row.macs),
        )
        for row in rows
    )  # fmt: skip
    return made, at(shape)
