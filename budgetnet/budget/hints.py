"""Hints: habits that waste parameters or mislead about the receptive field. No limits: advice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.roles import POOLING
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..trace.account import account
from .advice import coverage

__all__ = ["Hint", "find_hints"]

# What leaves the signs of outputs to the activation before it.
_PASSING = POOLING | {"reshape", "reduction", "dropout", "identity"}


class Hint(NamedTuple):
    """One habit found in a network.

    Attributes:
        name: of the habit.
        where: path of the layer.
        what: what was found, with its numbers.
        why: why it matters, and what to do.
    """

    name: str
    where: str
    what: str
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.where}: {self.what}. {self.why}"


def find_hints(model: Any, input_shape: Any = None) -> tuple[Hint, ...]:
    """Every hint on a network, in the order of its layers within each kind.

    Args:
        model: an `Account`, or anything that `account` takes.
        input_shape: as for `account`; an `Account` knows its own.

    >>> [hint.name for hint in find_hints("c8+bias c8 gap10", (1, 8, 8))]
    ['bias-before-norm', 'small-field']
    """
    found = account(model, input_shape, strict=False)
    return tuple(hint for rule in _RULES for hint in rule(found))


def _bias_before_norm(account: Account) -> Iterator[Hint]:
    rows = account.rows
    readers = Counter(place for row in rows for place in row.reads)
    again = {row.path for row in rows if row.reused}  # elsewhere no norm may follow
    for norm in rows:
        if norm.role != "batch norm" or len(norm.reads) != 1 or readers[norm.reads[0]] > 1:
            continue
        row = rows[max(norm.reads[0], 0)]
        if row.has_bias and row.params and row.path not in again and _is_plain(row):
            yield Hint(
                "bias-before-norm",
                row.path or row.kind,
                f"its bias of {row.output_shape[0]:,} parameters has no effect",
                "BatchNorm subtracts the mean that a bias adds: drop it with bias=False.",
            )


def _is_plain(row: Row) -> bool:
    """Whether the channels of a layer come first, as a norm takes them."""
    return len(row.output_shape) == max(len(row.weight_shape) - 1, 1)


def _activation_on_logits(account: Account) -> Iterator[Hint]:
    for row in reversed(account.rows):
        if row.role in ("relu", "activation") and len(account.output_shape or ()) == 1:
            yield Hint(
                "activation-on-logits",
                row.path or row.kind,
                f"the outputs pass a {row.kind} and nothing else",
                "A loss on logits needs values of both signs: leave the last activation out.",
            )
        if row.role not in _PASSING:
            return


def _pool_before_head(account: Account) -> Iterator[Hint]:
    sliding = [row for row in account.rows if row.sliding and not row.is_global]
    while sliding and set(sliding[-1].sliding.kernel) == {1}:  # type: ignore[union-attr]  # has one
        sliding.pop()
    globally = any(row.is_global for row in account.rows)
    if globally and sliding and sliding[-1].role in POOLING and not _is_whole(sliding[-1]):
        yield Hint(
            "pool-before-head",
            sliding[-1].path or sliding[-1].kind,
            "nothing but the head follows this pooling",
            "No layer combines what it keeps: pool a few convolutions earlier.",
        )


def _is_whole(row: Row) -> bool:
    return prod(row.output_shape[1:]) == 1


def _small_field(account: Account) -> Iterator[Hint]:
    field, size = account.receptive_field, account.input_size
    if field is None or not size or account.global_from is not None:
        return
    if any(a < b for a, b in zip(field.size, size, strict=True)):
        last = [row for row in account.rows if not row.is_global]
        text = shape_text(size)
        yield Hint(
            "small-field",
            (last[-1].path or last[-1].kind) if last else "the network",
            f"the receptive field ends at {field} of the {text} input",
            "No unit of the last map sees the whole input: add layers, strides or larger kernels, "
            "unless local details are enough.",
        )
        yield from _pointwise(account)


def _pointwise(account: Account) -> Iterator[Hint]:
    """1x1 convolutions of a network whose field is too small, but for the classifier at its end."""
    convs = [row for row in account.rows if row.macs and row.sliding and not row.is_global]
    for row in convs[:-1]:
        if row.sliding and {*row.sliding.kernel, *row.sliding.stride} == {1}:
            yield Hint(
                "pointwise-field",
                row.path or row.kind,
                f"a 1x1 convolution leaves the receptive field at {row.receptive_field}",
                "It mixes channels only: count on other layers to see further.",
            )


def _beyond_coverage(account: Account) -> Iterator[Hint]:
    first, later = coverage(account)
    if first is not None and later:
        count = f"{len(later)} layers enlarge" if len(later) > 1 else "one layer enlarges"
        last = later[-1]
        yield Hint(
            "beyond-coverage",
            later[0].path or later[0].kind,
            f"from here {count} the receptive field to {last.receptive_field}, which covered the "
            f"input at {first.path or first.kind} already",
            "They add depth, but the network sees no more: parameters may be better spent "
            "before them.",
        )


def _even_kernels(account: Account) -> Iterator[Hint]:
    for row in account.rows:
        if row.role == "convolution" and row.sliding:
            even = [k for k, s in zip(row.sliding.kernel, row.sliding.stride, strict=True)
                    if k % 2 == 0 and k != s]  # fmt: skip
            if even:
                yield Hint(
                    "even-kernel",
                    row.path or row.kind,
                    f"its kernel is {shape_text(row.sliding.kernel)}",
                    "An even kernel has no centre and shifts the map by half a position; libraries "
                    "pad it differently.",
                )


def _unused(account: Account) -> Iterator[Hint]:
    for name in account.unused:
        yield Hint(
            "unused-parameters",
            name,
            "no operation read it",
            "It costs memory and trains nothing: remove it, or use it.",
        )


_RULES: tuple[Callable[[Account], Iterator[Hint]], ...] = (
    _bias_before_norm, _activation_on_logits, _pool_before_head, _small_field, _beyond_coverage,
    _even_kernels, _unused,
)  # fmt: skip
