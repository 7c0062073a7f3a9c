"""`plan`: the exact Account of a spec.

No torch here: a plan is integer arithmetic, and `models.build` makes the network itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..accounting.account import Account
from ..accounting.geometry import Count, check_shape
from ..errors import ArgumentError, SpecError, explain, near_names, shown
from .references import REFERENCES, Reference
from .run import Run, link, unread
from .spec import Spec
from .stage import Stage
from .text import USAGE

__all__ = ["Spec", "as_spec", "plan"]

SpecLike: TypeAlias = Spec | str | Reference | Account | Sequence[Stage]  # what `as_spec` takes


def plan(
    spec: SpecLike, input_shape: Sequence[int] | str | None = None, *, name: str = ""
) -> Account:
    """Account for a spec without building it, and without torch.

    Args:
        spec: a `Spec`, its text form, or the name of a reference network such as "s6".
        input_shape: `(C, H, W)` without the batch, `(F,)` for a vector, or text such as
            "3x32x32"; a reference network knows its own.
        name: title of the account; by default the name of a reference network, or the text form.

    Raises:
        SpecError: the text form cannot be read, or a stage does not fit its input's channels.
        ShapeError: a layer's kernel is larger than the map it receives.
        ArgumentError: `spec` is not a spec, or `input_shape` is missing or not valid.

    >>> account = plan("c16 c16 c16 c16 p c16 c16 c16 gap10", (1, 28, 28))
    >>> account.params, account.receptive_field.size, account.output_shape
    (14372, (22, 22), (10,))
    >>> plan("s6").params
    14372
    """
    named = spec if isinstance(spec, str) and spec in REFERENCES else ""
    spec, shape = spec_and_shape(spec, input_shape)
    run = _run(spec, shape)
    rows = tuple(run.rows)
    local = [row.receptive_field for row in rows if not row.is_global]
    params = sum([row.params for row in rows])
    weights = bytes_by_type(params, run.norm_buffers)
    text = str(spec)
    return Account(
        name=name or named or text,
        input_shape=shape,
        output_shapes=(run.shape,),
        rows=rows,
        receptive_field=local[-1] if local else unread(shape),
        params=params,
        trainable_params=params,
        buffers=sum(run.norm_buffers),
        weight_bytes_by_type=tuple(entry for entry in weights if entry[1]),
        peak_activation_bytes=run.peak,
        spec=text,
    )


def live_bytes(spec: Spec, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Bytes of activations that live at once while each row of a plan runs, in float32 at batch 1.

    The most of them is the plan's `peak_activation_bytes`.

    >>> max(live_bytes(as_spec("s6"), (1, 28, 28))), plan("s6").peak_activation_bytes
    (120128, 120128)
    """
    return tuple(_run(spec, input_shape).live)


def _run(spec: Spec, shape: tuple[int, ...]) -> Run:
    run = Run(shape)
    for child, stage in spec.named_stages():
        steps, _ = link(child, stage, run.shape[0], run.shape[1:])
        run.add(child, steps)
    return run


def as_spec(value: SpecLike) -> Spec:
    """The spec that a value stands for: a `Spec`, its text, or the name of a reference network.

    A `Reference`, a planned account and a sequence of stages stand for one as well.

    Raises:
        SpecError: the text is neither a name nor a spec; the message has the nearest name.
        ArgumentError: the value is nothing of that kind.

    >>> str(as_spec("s6_exp1")), str(as_spec("c16 p gap10"))
    ('c16k7 c32 p gap10', 'c16 p gap10')
    """
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        return REFERENCES[value].spec if value in REFERENCES else _parsed(value)
    if isinstance(value, Reference):
        return value.spec
    if isinstance(value, Account) and value.spec:
        return Spec.parse(value.spec)
    if isinstance(value, list | tuple):
        return Spec(tuple(value))
    remedy = f"Pass a Spec, its text or the name of a model. {USAGE}"
    if isinstance(value, Account):
        remedy = "It was traced from a module: only a planned account knows its spec."
    elif hasattr(value, "forward"):
        remedy = "A module is accounted for by budgetnet.account(module, input_shape)."
    raise ArgumentError(explain(f"{shown(value)} is not a spec", remedy=remedy))


def spec_and_shape(
    value: SpecLike, input_shape: Sequence[int] | str | None
) -> tuple[Spec, tuple[int, ...]]:
    """A spec as `as_spec` gives it, and its input shape: what is given, or what it is meant for."""
    spec = as_spec(value)
    input_shape = input_shape_of(value) if input_shape is None else input_shape
    if input_shape is None:
        what = f"{shown(str(spec))} has no input shape of its own"
        remedy = 'Pass input_shape, such as (1, 28, 28) or "1x28x28".'
        raise ArgumentError(explain(what, remedy=remedy))
    is_vector = spec.stages[0].takes != "map" and len(check_shape(input_shape, axes=None)) == 1
    return spec, check_shape(input_shape, axes=0 if is_vector else 2)


def input_shape_of(value: SpecLike) -> tuple[int, ...] | None:
    """The input shape that a reference network or a planned account has; `None` for a spec.

    >>> input_shape_of("s6"), input_shape_of("c16 p gap10")
    ((1, 28, 28), None)
    """
    known: Any = REFERENCES.get(value) if isinstance(value, str) else value
    return getattr(known, "input_shape", None)


def _parsed(text: str) -> Spec:
    """The spec of a text; one word that looks like the name of a model is asked for as one."""
    try:
        return Spec.parse(text)
    except SpecError as error:
        near = near_names(text, REFERENCES)
        if len(text.split()) != 1 or not near:
            raise
        what = f"{shown(text)} is neither a model nor a spec"
        remedy = f"Did you mean {near[0]!r}? {USAGE}"
        raise SpecError(explain(what, remedy=remedy)) from error


def bytes_by_type(params: Count, buffers: Sequence[Count]) -> tuple[tuple[str, Count], ...]:
    """Bytes of weights by type, given the buffers of each norm.

    All are float32 but the batch counter of each norm, which is an int64.
    """
    norms = len(buffers)
    return ("float32", 4 * (params + sum(buffers) - norms)), ("int64", 8 * norms)
