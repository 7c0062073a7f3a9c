"""Rows that become one operator: a convolution with the norm and the ReLU that follow it."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UnsupportedOp, explain
from ..account import Account
from ..roles import WEIGHTED
from ..rows import Row
from .edges import edges_of, value_shape
from .operators import does_nothing, folds_norms, is_clamp, is_view, joins_clamp, operators_of
from .target import Target

_REFUSED = ("composite", "recurrent", "")  # of which nothing is known between input and output


@dataclass(frozen=True, slots=True)
class Group:
    """A row, and rows that are computed within its operator.

    Attributes:
        rows: the row, and those that follow it.
        operators: in the words of TensorFlow Lite, each reading the one before; () if unknown.
        reads: the values that it reads: first rows of other groups, or -1, -2 for inputs.
        source: the shape of the first of them, as it is read.
    """

    rows: tuple[Row, ...]
    operators: tuple[str, ...]
    reads: tuple[int, ...]
    source: tuple[int, ...]

    @property
    def head(self) -> Row:
        """The row that decides what it is."""
        return self.rows[0]

    @property
    def kind(self) -> str:
        """All that it computes."""
        return " + ".join(row.kind for row in self.rows)

    @property
    def has_norm(self) -> bool:
        """Whether a norm is folded into it."""
        return len(self.rows) > 1 and self.rows[1].role == "batch norm"

    @property
    def has_bias(self) -> bool:
        """Whether it adds a bias; a folded norm gives one."""
        return self.has_norm or bool(self.head.has_bias)


def groups_of(account: Account, target: Target) -> tuple[dict[int, Group], tuple[int, ...]]:
    """The groups in order, by their first row, which stands for the value; and the outputs.

    Raises:
        UnsupportedOp: a row is unknown, is a recurrent layer, or is several operations in one.
    """
    aliases = target.runtime == "executorch"  # it gives a view the memory of what it views

    def passes(row: Row, shape: tuple[int, ...]) -> bool:
        return does_nothing(row, shape) or (aliases and is_view(row))

    edges = edges_of(account, passes)
    groups: dict[int, Group] = {}
    first: dict[int, int] = {}  # of a row within a group
    readers = edges.readers
    for i, reads in edges.reads.items():
        row, sources = account.rows[i], tuple(first.get(j, j) for j in reads)
        before = groups.get(sources[0])
        alone = len(sources) == 1 and readers[reads[0]] == 1
        if before and alone and _joins(row, before, target):
            rows = (*before.rows, row)
            groups[sources[0]] = Group(rows, before.operators, before.reads, before.source)
            first[i] = sources[0]
            continue
        if row.role in _REFUSED:
            what = f"{row.kind} is several operations whose memory is not known"
            raise UnsupportedOp(explain(what, where=row.path or account.name))
        source = value_shape(account, row.reads[0])  # which a view may have changed
        groups[i] = Group((row,), operators_of(row, len(sources), source, target), sources, source)
    return groups, tuple(first.get(i, i) for i in edges.outputs)


def _joins(row: Row, before: Group, target: Target) -> bool:
    """Whether a row is computed within the operator of the group that it reads."""
    if row.role == "batch norm":
        is_first = len(before.rows) == 1 and before.head.role in WEIGHTED
        features = before.operators != ("FULLY_CONNECTED",) or len(row.output_shape) == 1
        return is_first and features and bool(before.operators) and folds_norms(target)
    return not is_clamp(before.rows[-1]) and joins_clamp(row, before.operators, target)
