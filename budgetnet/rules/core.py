"""The table of rules, and the two values that rules take and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..errors import ArgumentError, ShapeError, UnsupportedOp, explain
from ..geometry import Sliding, compact
from ..receptive_field import ReceptiveField
from ..window import Pair, Window
from .reading import Reading, Unreadable


@dataclass(slots=True)  # a frozen one takes four times as long to make, at every operation
class Effect:
    """What an operation gives: its output, what the output has read, and the cost.

    Attributes:
        shape: of the output, batch included.
        field: what the elements have read; where `reading` is given, all of them together.
        reading: the bookkeeping of outputs that are not a plain map, else `None`.
        macs: multiply-accumulates.
        sliding: kernel, stride, padding and dilation, to be shown.
        is_global: no spatial positions are left: the whole map was read.
        global_context: the output also depends on the whole map, beside what `field` says.
        pads: set by padding operations, so that a layer that pads and slides is shown as one.
        is_view: the output shares its input's storage.
        extra: shapes and element sizes of further results that take memory.
    """

    shape: tuple[int, ...]
    field: ReceptiveField
    reading: Reading | None = None
    macs: int = 0
    sliding: Sliding | None = None
    is_global: bool = False
    global_context: bool = False
    pads: tuple[Pair, ...] | None = None
    is_view: bool = False
    extra: tuple[tuple[tuple[int, ...], torch.dtype], ...] = ()


class Activation(Tensor):
    """A tensor without storage that knows what each of its elements has read."""

    field: ReceptiveField
    reading: Reading | None
    is_global: bool
    unknown: str  # why nothing is known of what was read, or ""
    trunk: tuple[int, Any]  # row and field of the last spatial map among its sources
    source: int  # the row that made it; -1 and below are the inputs
    memory: Any  # what the tracer counts; shared by views
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's way

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub differs
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse to run outside `account`, where no rules apply."""
        raise UnsupportedOp(explain(f"{func} met an activation outside budgetnet.account"))


Rule: TypeAlias = Callable[..., Any]
R = TypeVar("R", bound=Callable[..., Any])
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[R], R]:
    """Register a rule for operations, by name: "relu" of ATen, or "mylib::op" of a library.

    The function takes the operation's own arguments, with activations in place of tensors, and
    returns an `Effect`; `seen` and `of` help to make one.

    Raises:
        ArgumentError: the operation has a rule already.
    """

    def register(function: R) -> R:
        for name in names:
            if name in RULES:
                raise ArgumentError(explain(f"the operation {name} has a rule already"))
            RULES[name] = function
        return function

    return register


def of(x: Activation) -> Reading:
    """What the elements of an activation have read, as a `Reading`."""
    return x.reading if x.reading is not None else Reading.of_map(tuple(x.shape), x.field)


def seen(reading: Reading, *sources: Activation, **more: Any) -> Effect:
    """Effect of an operation whose output has this reading."""
    if reading.context:
        reading = replace(reading, context=False)
        more["global_context"] = True
    field = reading.as_map()
    if field is None and reading.is_uneven:
        raise Unreadable("positions along one axis have read differently along another")
    is_global = any(x.is_global for x in sources) or not reading.axes
    more = {"shape": reading.shape, "is_global": is_global, **more}
    if field is not None:
        return Effect(field=field, **more)
    return Effect(field=reading.field, reading=reading, **more)


def same(x: Activation, *_: Any, **__: Any) -> Effect:
    """Effect of an operation on each element alone, whatever its further arguments."""
    return Effect(tuple(x.shape), x.field, x.reading, is_global=x.is_global)


def whole(x: Activation, dims: Sequence[int], keepdim: bool = True) -> Effect:
    """Effect of an operation whose outputs read all positions along `dims`."""
    shape = tuple(1 if i in dims else n for i, n in enumerate(x.shape))
    if not keepdim:
        shape = tuple(n for i, n in enumerate(x.shape) if i not in dims)
    spatial = range(2, x.dim())
    if x.reading is None and x.is_global:
        return Effect(shape, x.field, is_global=True)
    if x.reading is None and set(spatial) <= set(dims) and x.dim() == 2 + len(x.field.axes):
        field = x.field.then(tuple(Window.whole(x.shape[i]) for i in spatial))
        return Effect(shape, field, is_global=True)
    reading = of(x).gather(dims)
    if not keepdim:
        kept = tuple(dim for i, dim in enumerate(reading.dims) if i not in dims)
        reading = replace(reading, dims=kept)
    return seen(reading, x, shape=shape)


def same_channels(x: Activation, expected: int, dim: int = 1) -> None:
    """Raise a `ShapeError` where a layer's width is not what it receives."""
    if x.shape[dim] != expected:
        raise ShapeError(
            explain(
                "the layer expects other channels than it receives",
                numbers={"expected": expected, "got": x.shape[dim]},
                remedy="Set its in_channels (or num_features) to what the layer before it gives.",
            )
        )


def no_rule(what: str, x: Tensor) -> UnsupportedOp:
    """Error of an operation that has a rule, which does not cover this use."""
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {what}", numbers={"input": compact(x.shape)}, remedy=REMEDY
        )
    )


REMEDY = "Register one with budgetnet.rule, or pass strict=False to go on with unknown figures."
