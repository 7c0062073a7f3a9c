"""`latency`: the estimate of a network from a measured table. No torch but for modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..accounting.latency import Latency, latency_of
from ..accounting.latency_table import LatencyTable, as_table
from ..trace.account import account


def latency(model: Any, input_shape: Any = None, *, table: LatencyTable | str | Path) -> Latency:
    """Estimate how long a network takes, from a table of its operators' measured times.

    The sum of the medians of all operators, at batch 1, in float32, with eager PyTorch, on the
    machine of the table. It is an estimate and no measurement of the network: what lies between the
    operators is not in it. Nothing is guessed: if the table lacks one operator, the sum is unknown,
    and the answer says which to measure.

    Args:
        model: as for `account`.
        input_shape: likewise.
        table: a `LatencyTable`, or the file that `budgetnet measure` wrote.

    Raises:
        ArgumentError: the table cannot be read; and as `account` does.
        FormatError: the table is damaged, was edited, or is of another version.

    >>> from budgetnet import measure
    >>> table = measure("c4 gap2", (1, 8, 8), threads=1, quick=True)
    >>> found = latency("c4 gap2", (1, 8, 8), table=table)
    >>> found.ns == sum(entry.median_ns for entry in table.entries.values())
    True
    >>> latency("c5 gap2", (1, 8, 8), table=table).unknown[0]
    'conv1.conv: table has no entry for conv 1x8x8 -> 5x6x6, 3x3 / 1 / 0'
    """
    return latency_of(account(model, input_shape, strict=False), as_table(table))
