"""The table of rules, and the two values that rules take and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from inspect import Parameter, signature
from math import prod
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ...accounting.geometry import Sliding
from ...accounting.receptive_field import ReceptiveField, union_of
from ...accounting.roles import ROLES
from ...accounting.table import compact
from ...accounting.window import Pair, Window
from ...errors import ArgumentError, ShapeError, UnsupportedOp, explain, shown
from .readings import CHANNEL, Reading, Unreadable

NOTHING = Window(((0, 0),))


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
        context: what it depends on beside that, if it may be less than the whole map; as
            `has_context` says it.
        pads: set by padding operations, so that a layer that pads and slides is shown as one.
        is_view: the output shares its input's storage.
        dtype: of the output, if it is not what torch promotes the operands to.
        extra: further results: effects of their own, or shape and type if they have read what
            the first one has.
        role: what the operation is, if that is not the role of its rule.
        has_bias: whether a convolution or linear layer adds a bias; `None` of others.
        weight_shape: of a convolution or linear layer, as in `Row`.
    """

    shape: tuple[int, ...]
    field: ReceptiveField
    reading: Reading | None = None
    macs: int = 0
    sliding: Sliding | None = None
    is_global: bool = False
    global_context: bool = False
    context: int = 0
    pads: tuple[Pair, ...] | None = None
    is_view: bool = False
    dtype: torch.dtype | None = None
    extra: tuple[Any, ...] = ()
    role: str = ""
    has_bias: bool | None = None
    weight_shape: tuple[int, ...] = ()


class Activation(Tensor):
    """A tensor without storage that knows what each of its elements has read."""

    field: ReceptiveField
    reading: Reading | None
    is_global: bool
    unknown: str  # why nothing is known of what was read, or ""
    trunk: tuple[int, Any]  # row and field of the last spatial map among its sources
    source: int  # the row that made it; -1 and below are the inputs
    memory: Any  # what the tracer counts; shared by views
    version: int  # of the memory, when it was last looked at
    stamp: int  # stands for what rules look at, once it is asked for; else 0
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's way

    @property
    def data(self) -> Any:
        """A view, as of any tensor."""
        return Tensor.data.__get__(self)  # type: ignore[attr-defined]  # it is one

    @data.setter
    def data(self, value: Any) -> None:
        """Take over the data of another activation, of which torch gives no notice."""
        if not isinstance(value, Activation):
            raise UnsupportedOp(explain("forward sets the data of an activation", remedy=REMEDY))
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]  # as above
        self.__dict__.update(value.__dict__)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub differs
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse to run outside `account`, where no rules apply."""
        raise UnsupportedOp(explain(f"{func} was called on an activation outside account"))


Operand: TypeAlias = Any  # an activation, a constant tensor, or a number
Rule: TypeAlias = Callable[..., Any]
R = TypeVar("R", bound=Callable[..., Any])
RULES: dict[str, Rule] = {}
ROLE_OF: dict[str, str] = {}  # of the operations that have a rule


@dataclass(frozen=True, slots=True)
class RuleArguments:
    """The arguments of an operation that its rule names: only these may carry activations.

    Attributes:
        keys: their positions, and their names.
        rest: every position from this one on as well; `None` if no further one is.
    """

    keys: frozenset[int | str]
    rest: int | None

    @classmethod
    def of(cls, function: Rule) -> RuleArguments:
        """Read it off a rule's signature.

        A named parameter counts unless its annotation says that it is not an activation, such as
        `Tensor` or `int`; arguments in `*_` and `**_` count only if annotated as `Operand`.
        """
        keys: set[int | str] = set()
        rest = None
        for place, (name, parameter) in enumerate(signature(function).parameters.items()):
            note = str(parameter.annotation)
            meant = any(word in note for word in ("Activation", "Operand"))
            if parameter.kind is Parameter.VAR_POSITIONAL:
                rest = place if meant else None
            elif parameter.kind is not Parameter.VAR_KEYWORD and (
                meant or "Any" in note or parameter.annotation is Parameter.empty
            ):
                keys |= {place, name}
        return cls(frozenset(keys), rest)

    def covers(self, key: int | str) -> bool:
        """Whether an activation may stand at this position, or be passed by this name."""
        if key in self.keys:
            return True
        return self.rest is not None and isinstance(key, int) and key >= self.rest


spoken_of = cache(RuleArguments.of)


def rule(*names: str, role: str = "other") -> Callable[[R], R]:
    """Register a rule for operations, by name: "relu" of ATen, or "mylib::op" of a library.

    `role` is what these operations are: one of `budgetnet.accounting.roles.ROLES`, which their rows
    tell. An `Effect` may tell another.

    The function takes the operation's own arguments, with activations in place of tensors, and
    returns an `Effect`; `seen` and `of` help to make one. An activation in an argument that the
    function's signature does not name, or annotates as something else (`weight: Tensor`), is
    refused: nothing that may reach the output is dropped.

    Raises:
        ArgumentError: the operation already has a rule, or the role does not exist.
    """
    if role not in ROLES:
        numbers = {"got": shown(role), "allowed": ", ".join(ROLES)}
        raise ArgumentError(explain("the role of a rule is not valid", numbers=numbers))

    def register(function: R) -> R:
        for name in names:
            if name in RULES:
                raise ArgumentError(explain(f"the operation {name} already has a rule"))
            RULES[name] = function
            ROLE_OF[name] = role
        return function

    return register


def of(x: Activation) -> Reading:
    """What the elements of an activation have read, as a `Reading`."""
    return x.reading if x.reading is not None else Reading.of_map(tuple(x.shape), x.field)


def seen(reading: Reading, *sources: Activation, **more: Any) -> Effect:
    """Effect of an operation whose output has this reading."""
    if reading.context:
        more["context"] = reading.context | more.get("context", 0)
        reading = reading.without_context()
    reading = reading.canonical()
    field = reading.as_map()
    if field is None and reading.is_uneven:
        raise Unreadable("positions along one axis have read differently along another")
    is_global = not reading.axes or (any(x.is_global for x in sources) and not _moves(reading))
    more = {"shape": reading.shape, "is_global": is_global, **more}
    if field is not None:
        return Effect(field=field, **more)
    field, places = reading.field, _places(reading)
    if places:
        field = replace(field, places=places)
    return Effect(field=field, reading=reading, **more)


def _places(reading: Reading) -> tuple[int, ...]:
    """The places of a map's axes if their order differs from the input's, else ().

    -1 if some lie in the batch.
    """
    axes = len(reading.fields[0].axes)
    if len(reading.dims) != 2 + axes:
        return ()
    if any(axis != CHANNEL for axis, _ in reading.dims[0]):
        return (-1,) * axes
    order = [dim[0][0] for dim in reading.dims[2:] if len(dim) == 1]
    if sorted(order) != list(range(axes)):
        return ()
    places = tuple(order.index(axis) for axis in range(axes))
    return () if places == tuple(range(axes)) else places


def _moves(reading: Reading) -> bool:
    """Whether positions that are left have read differently, along any axis."""
    return any(
        field.axes[axis].advance or len(field.axes[axis].phases) > 1
        for part in reading.parts
        for field in part.fields
        for axis in reading.axes
        if not field.axes[axis].is_empty
    )


def same(x: Activation, *_: Any, **__: Any) -> Effect:
    """Effect of an operation on each element alone, whatever its further numbers."""
    return Effect(tuple(x.shape), x.field, x.reading, is_global=x.is_global)


def nothing(x: Activation, shape: Sequence[int] | None = None) -> Effect:
    """Effect of an operation whose output depends on the shape of `x` alone."""
    field = ReceptiveField((NOTHING,) * len(x.field.axes))
    return Effect(tuple(x.shape if shape is None else shape), field)


def further(effect: Effect, shape: Sequence[int]) -> Effect:
    """Effect of a further result; of another shape, it may have read all that the first one has."""
    shape = tuple(shape)
    if shape == effect.shape:
        return effect
    if not prod(shape):
        return Effect(shape, ReceptiveField((NOTHING,) * len(effect.field.axes)))
    reading = effect.reading or Reading.of_map(effect.shape, effect.field)
    return Effect(shape, reading.gather(range(len(effect.shape))).field, is_global=True)


def at(x: Tensor, dim: int) -> int:
    """A dimension counted from the front; a tensor of none takes 0 and -1 as well."""
    count = x.dim() or 1
    if not -count <= dim < count:
        raise ShapeError(
            explain(f"dimension {dim} does not exist", numbers={"shape": compact(x.shape) or "()"})
        )
    return dim % count


def spread(x: Activation, dims: Sequence[int]) -> Reading:
    """What elements have read that each depend on all along `dims`, while the sizes stay."""
    reading = of(x)
    for i in dims:
        dim = reading.dims[i]
        if len(dim) == 1 and dim[0][0] != CHANNEL:
            ((axis, size),) = dim
            reading = reading.slide({axis: Window.whole(size)})
        else:
            reading = reading.gather([i]).expand(x.shape)
    return reading


def anywhere(sources: Sequence[Activation], shape: Sequence[int]) -> Effect:
    """Effect of an operation whose elements may have read any element of their sources.

    Such is a choice of positions by the values of the input.
    """
    fields = []
    for x in sources:
        fields.append(of(x).gather(range(x.dim())).field)
    return Effect(tuple(shape), union_of(fields), is_global=True)


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
    """Raise a `ShapeError` if a layer expects a different width than it receives."""
    if x.shape[dim] != expected:
        raise ShapeError(
            explain(
                "the layer expects a different number of channels than it receives",
                numbers={"expected": expected, "got": x.shape[dim]},
                remedy="Set its in_channels (or num_features) to what the previous layer outputs.",
            )
        )


def no_rule(what: str, x: Tensor) -> UnsupportedOp:
    """Error of an operation that has a rule, which does not cover this use."""
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {what}", numbers={"input": compact(x.shape)}, remedy=REMEDY
        )
    )


REMEDY = "Register one with budgetnet.rule, or pass strict=False to continue with unknown figures."
