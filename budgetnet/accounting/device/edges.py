"""Which rows of an account compute something that a file would hold, and what reads what.

A value is named by the row that makes it, or -1, -2 and so on for an input. Rows that compute
nothing at inference (dropout, identities, copies) pass on the value that they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from ...errors import UnsupportedOp, explain, shown
from ..account import Account
from ..rows import Row
from ..table import shape_text


class Edges(NamedTuple):
    """The rows that are needed, in order, with what each reads, and the values that are outputs."""

    reads: dict[int, tuple[int, ...]]
    outputs: tuple[int, ...]

    @property
    def readers(self) -> Counter[int]:
        """How many rows read each value; being an output counts as one."""
        return Counter([i for reads in self.reads.values() for i in reads] + list(self.outputs))


def edges_of(account: Account, passes: Callable[[Row, tuple[int, ...]], bool]) -> Edges:
    """The edges of an account; what leads to no output is left out, as converters leave it out.

    Args:
        account: whose rows say what they read.
        passes: whether a row passes on the one value that it reads, which has the given shape.

    Raises:
        UnsupportedOp: a row is unknown, or what the outputs are cannot be told.
    """
    _check(account)
    rows, values = account.rows, [0] * len(account.rows)
    reads: dict[int, tuple[int, ...]] = {}
    for i, row in enumerate(rows):
        reads[i] = tuple(dict.fromkeys(j if j < 0 else values[j] for j in row.reads))
        passed = len(reads[i]) == 1 and passes(row, value_shape(account, reads[i][0]))
        values[i] = reads[i][0] if passed else i
    outputs = _outputs(account, values)
    needed, waiting = set(), list(outputs)
    while waiting:
        i = waiting.pop()
        if i >= 0 and i not in needed:
            needed.add(i)
            waiting += reads[i]
    return Edges({i: reads[i] for i in sorted(needed)}, outputs)


def value_shape(account: Account, value: int) -> tuple[int, ...]:
    """The shape of a value, without the batch."""
    return account.rows[value].output_shape if value >= 0 else account.input_shapes[-value - 1]


def _check(account: Account) -> None:
    if account.output_shapes is None:
        what = f"{account.name or 'the account'} ends before its network does"
        numbers = {"reason": "; ".join(account.unknown)} if account.unknown else {}
        raise UnsupportedOp(explain(what, numbers=numbers))
    inputs = len(account.input_shapes)
    for i, row in enumerate(account.rows):
        where = row.path or row.kind
        if row.unknown and not row.role:
            raise UnsupportedOp(explain("what it does is unknown", where=where))
        if not row.reads:
            remedy = "Account for the network again with this release."
            raise UnsupportedOp(explain("what it reads is unknown", where=where, remedy=remedy))
        if any(not -inputs <= j < i for j in row.reads):
            raise UnsupportedOp(explain("it reads what is not there", where=where))


def _outputs(account: Account, values: list[int]) -> tuple[int, ...]:
    """The values that are outputs, found by their shapes: first among those that nothing reads."""
    read = {j for row in account.rows for j in row.reads}
    leaves = [i for i in range(len(account.rows)) if i not in read]
    everything = [*range(len(account.rows)), *(-1 - k for k in range(len(account.input_shapes)))]
    found: list[int] = []
    for shape, wanted in Counter(account.output_shapes or ()).items():
        fitting = [i for i in leaves if account.rows[i].output_shape == shape]
        if len(fitting) < wanted:
            fitting = [i for i in everything if value_shape(account, i) == shape]
        made = list(dict.fromkeys(i if i < 0 else values[i] for i in fitting))
        if len(made) > wanted or not made:
            what = f"which of {len(made)} maps of shape {shape_text(shape)} are outputs is unknown"
            numbers = {"outputs of this shape": wanted}
            remedy = "Let the network return only maps that it does not use itself."
            where = shown(account.name)
            raise UnsupportedOp(explain(what, where=where, numbers=numbers, remedy=remedy))
        found += made
    return tuple(sorted(found))
