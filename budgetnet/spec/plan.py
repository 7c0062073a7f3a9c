"""`plan`: the exact Account of a spec.

No torch here: a plan is integer arithmetic, and `models.build` makes the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import prod
from typing import Any, TypeAlias

from ..accounting.account import Account
from ..accounting.geometry import Count, check_shape, conv_macs
from ..accounting.receptive_field import ReceptiveField
from ..accounting.rows import Row
from ..accounting.window import Window
from ..errors import ArgumentError, SpecError, explain, near_names, shown, with_place
from .references import REFERENCES, Reference
from .spec import Spec
from .stages import Layer, Stage
from .text import USAGE

__all__ = ["Spec", "as_spec", "plan"]

SpecLike: TypeAlias = Spec | str | Reference | Account | Sequence[Stage]  # what `as_spec` takes


def plan(
    spec: SpecLike, input_shape: Sequence[int] | str | None = None, *, name: str = ""
) -> Account:
    """Account for a spec without building it, and without torch.

    Args:
        spec: a `Spec`, its text form, or the name of a reference network such as "s6".
        input_shape: `(C, H, W)` without the batch, or text such as "3x32x32"; a reference network
            knows its own.
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
    layers = tuple(spec.layers(shape[0]))
    rows = tuple(rows_of(layers, shape, _unread(shape)))
    local = [row.receptive_field for row in rows if not row.is_global]
    params = sum([row.params for row in rows])
    buffers = [layer.buffers for _, layer in layers if layer.role == "batch norm"]
    weights = bytes_by_type(params, buffers)
    text = str(spec)
    return Account(
        name=name or named or text,
        input_shape=shape,
        output_shapes=(rows[-1].output_shape,),
        rows=rows,
        receptive_field=local[-1] if local else _unread(shape),
        params=params,
        trainable_params=params,
        buffers=sum(buffers),
        weight_bytes_by_type=tuple(entry for entry in weights if entry[1]),
        peak_activation_bytes=_peak(rows, shape),
        spec=text,
    )


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
    return spec, check_shape(input_shape)


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


def _unread(shape: tuple[int, ...]) -> ReceptiveField:
    """The field of the input itself."""
    return ReceptiveField((Window(),) * (len(shape) - 1))


def _peak(rows: tuple[Row, ...], shape: tuple[int, ...]) -> int:
    """Most bytes of activations at once when the network runs; its caller holds the input."""
    peak, outside, stage_input = 0, 0, shape
    for _, group in groupby(rows, lambda row: row.path.partition(".")[0]):
        stage_rows = list(group)
        peak = max(peak, outside + max(live_bytes(stage_rows, stage_input[0], stage_input[1:])))
        outside, stage_input = 4 * prod(shape), stage_rows[-1].output_shape
    return peak


def live_bytes(rows: Iterable[Row], in_channels: Count, size: tuple[int, ...]) -> Iterator[Count]:
    """Bytes of float32 activations that live while each row of one stage runs, its input included.

    Every chain holds the input of the child that is running, as the frames of
    `nn.Sequential.forward` do. A max pooling also writes an index of eight bytes per output.
    """
    sizes = [4 * in_channels * prod(size)]
    parents: list[str] = []
    inputs: list[int] = []  # of each parent: which tensor it reads
    for i, row in enumerate(rows):  # row i reads tensor i and gives tensor i + 1
        sizes.append(4 * prod(row.output_shape))
        chain = row.path.split(".")[:-1]
        same = 0
        while same < min(len(chain), len(parents)) and chain[same] == parents[same]:
            same += 1
        parents, inputs = chain, inputs[:same] + [i] * (len(chain) - same)
        live = sum([sizes[k] for k in {i, *inputs}]) + sizes[i + 1]
        yield live + 2 * sizes[i + 1] if row.role == "max pooling" else live


def rows_of(
    layers: Iterable[tuple[str, Layer]], shape: tuple[Count, ...], field: ReceptiveField
) -> Iterator[Row]:
    """One row per layer, for a map of `shape` that sees `field`.

    Each reads the row before it, and the first one the input. Channels may be integer arrays: then
    so are parameters and MACs, of that many networks at once.
    """
    size = shape[1:]
    for i, (path, layer) in enumerate(layers):
        macs, sliding = 0, layer.sliding
        if sliding is not None:
            size = sliding.output_size(size, where=path)
            field = _then(field, layer.windows, path)
            macs = conv_macs(layer.weights, prod(size))
            shape = (layer.out_channels, *size)
        elif layer.is_global:
            field = _then(field, map(Window.whole, size), path)
            size = ()
            shape = (layer.out_channels,)
        params = layer.weights + layer.biases
        yield Row(
            path, layer.kind, shape, params, macs, field, sliding, layer.is_global, False, False,
            "", (i - 1,), (), layer.role, layer.has_bias, layer.weight_shape,
        )  # fmt: skip


def _then(field: ReceptiveField, windows: Iterable[Window], path: str) -> ReceptiveField:
    try:
        return field.then(tuple(windows))
    except ArgumentError as error:  # too wide to be followed
        raise with_place(error, path) from None
