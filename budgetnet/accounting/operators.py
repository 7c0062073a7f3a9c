"""Operators: the kernel calls of a network, as far as their time depends on what rows tell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

from ..errors import UnsupportedOp, explain
from .account import Account
from .geometry import Sliding
from .rows import Row
from .table import shape_text

# Rows at which eager PyTorch runs no kernel: they pass on what they read, or a view of it.
_NOTHING = frozenset({"dropout", "identity"})
_VIEWS = frozenset({
    "view", "unsafe_view", "flatten", "unflatten", "transpose", "permute", "t", "squeeze",
    "unsqueeze", "split", "split_with_sizes", "chunk", "select", "slice", "narrow", "expand",
    "detach", "alias", "stochasticdepth", "droppath",
})  # fmt: skip
# Functions of each element, by the names of modules and operations in lower case.
_ELEMENTWISE = {
    name: name
    for name in ("relu6", "hardswish", "silu", "gelu", "elu", "sigmoid", "tanh", "hardsigmoid")
} | {"hardtanh": "relu6", "leakyrelu": "leaky_relu", "leaky_relu": "leaky_relu"}
_JOINS = ("add", "mul", "cat")
_FLOATS = frozenset({"float32", "int64"})  # weights and counters of norms


class Operator(NamedTuple):
    """One call of a kernel: what it computes, on which shapes, at batch 1 in float32.

    As text it is a key of a latency table, so the text says all of it.

    Attributes:
        name: one of `NAMES`.
        inputs: the shapes of the maps that it reads, without the batch; of a linear layer
            `(positions, features)`.
        output: the shape that it gives, likewise.
        sliding: kernel, stride, padding and dilation of a convolution or pooling.
        groups: of a convolution.
        has_bias: of a convolution or linear layer.

    >>> from budgetnet import plan
    >>> for each in operators_of(plan("c8 p gap4", (1, 9, 9))):
    ...     print(each)
    conv 1x9x9 -> 8x7x7, 3x3 / 1 / 0
    batch_norm 8x7x7
    relu 8x7x7
    max_pool 8x7x7 -> 8x3x3, 2x2 / 2 / 0
    conv 8x3x3 -> 4x3x3, 1x1 / 1 / 0
    batch_norm 4x3x3
    mean 4x3x3
    """

    name: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    sliding: Sliding | None = None
    groups: int = 1
    has_bias: bool = False

    def __str__(self) -> str:
        """The key in a table."""
        reads = " + ".join(map(shape_text, self.inputs))
        gives = f" -> {shape_text(self.output)}" if self.name in _CHANGING else ""
        parts = [f"{self.name} {reads}{gives}"]
        if self.sliding:
            parts.append(str(self.sliding))
        if self.groups > 1:
            parts.append(f"groups {self.groups}")
        return ", ".join(parts + ["bias"] * self.has_bias)


_CHANGING = ("conv", "conv_transpose", "linear", "max_pool", "avg_pool", "adaptive_avg_pool")
NAMES = (*_CHANGING, "mean", "batch_norm", "relu", *dict.fromkeys(_ELEMENTWISE.values()), *_JOINS)


def operators_of(account: Account) -> tuple[Operator | None, ...]:
    """The operator of every row, in the order of the rows; `None` where no kernel runs.

    Raises:
        UnsupportedOp: a row does not tell what runs, or nothing here measures it.
    """
    found = []
    for place in range(len(account.rows)):
        operator, why = operator_at(account, place)
        if why:
            raise UnsupportedOp(explain(why))
        found.append(operator)
    return tuple(found)


def operator_at(account: Account, place: int) -> tuple[Operator | None, str]:
    """The operator of a row and "", or `None` and why it is unknown."""
    if other := [t for t, _ in account.weight_bytes_by_type if t not in _FLOATS]:
        return None, f"tables are of float32, the network has {', '.join(other)}"
    rows, shapes = account.rows, account.input_shapes
    row = rows[place]
    reads = [rows[i].output_shape if i >= 0 else shapes[-1 - i] for i in row.reads]
    operator, why = operator_of(row, reads)
    return operator, f"{row.path or row.kind}: {why}" if why else ""


def operator_of(row: Row, reads: Sequence[tuple[int, ...]]) -> tuple[Operator | None, str]:
    """The operator of a row that reads maps of these shapes, or why it is unknown."""
    if row.role in _NOTHING or (row.role == "reshape" and _plain(row.kind) in _VIEWS):
        return None, ""
    if row.unknown or not row.role or not reads:
        return None, row.unknown or "what it does or reads is unknown"
    make = _MAKERS.get(row.role)
    operator = make(row, tuple(reads)) if make else None
    return operator, "" if operator else f"nothing measures {row.kind} ({row.role})"


@lru_cache(maxsize=256)
def _plain(kind: str) -> str:
    return kind.lower().strip("_")


def _conv(row: Row, reads: tuple[tuple[int, ...], ...]) -> Operator | None:
    spreads = row.role == "transposed convolution"
    if len(reads) > 1 or not row.sliding or not row.weight_shape or not _is_even(row.sliding):
        return None
    outer = row.output_shape[0] if spreads else reads[0][0]
    groups = outer // row.weight_shape[1]
    name = "conv_transpose" if spreads else "conv"
    return Operator(name, reads, row.output_shape, row.sliding, groups, bool(row.has_bias))


def _is_even(sliding: Sliding) -> bool:
    """Whether both sides are padded alike, as a kernel takes it."""
    return all(low == high >= 0 for low, high in sliding.padding)


def _linear(row: Row, reads: tuple[tuple[int, ...], ...]) -> Operator | None:
    if len(reads) > 1 or not row.weight_shape or row.macs is None:
        return None
    out, features = row.weight_shape
    count = row.macs // prod(row.weight_shape)
    return Operator("linear", ((count, features),), (count, out), has_bias=bool(row.has_bias))


def _pooling(row: Row, reads: tuple[tuple[int, ...], ...]) -> Operator | None:
    if len(reads) > 1:
        return None
    is_max = row.role == "max pooling"
    if row.sliding:
        name = "max_pool" if is_max else "avg_pool"
        fits = _is_even(row.sliding)
        return Operator(name, reads, row.output_shape, row.sliding) if fits else None
    if is_max:
        return None
    if prod(row.output_shape[1:]) == 1 < len(reads[0]):  # one kernel, whatever shape it leaves
        return Operator("mean", reads, row.output_shape[:1])
    return Operator("adaptive_avg_pool", reads, row.output_shape)


def _alone(row: Row, reads: tuple[tuple[int, ...], ...]) -> Operator | None:
    """A kernel that gives what has the shape of the one map that it reads."""
    names = {"batch norm": "batch_norm", "relu": "relu"}
    name = names.get(row.role) or _ELEMENTWISE.get(_plain(row.kind))
    fits = len(reads) == 1 and row.output_shape == reads[0]
    return Operator(name, reads, row.output_shape) if name and fits else None


def _join(row: Row, reads: tuple[tuple[int, ...], ...]) -> Operator | None:
    name = _plain(row.kind)
    fits = name in _JOINS and (name == "cat" or len(reads) <= 2)
    return Operator(name, reads, row.output_shape) if fits else None


_MAKERS = {
    "convolution": _conv, "transposed convolution": _conv, "linear": _linear,
    "max pooling": _pooling, "average pooling": _pooling, "join": _join,
    **dict.fromkeys(("batch norm", "relu", "activation", "squashing"), _alone),
}  # fmt: skip
