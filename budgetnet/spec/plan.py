"""`plan`: the exact Account of a spec.

No torch here: a plan is integer arithmetic, and `models.build` makes the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..accounting.account import Account
from ..accounting.geometry import Count, check_shape, conv_macs
from ..accounting.receptive_field import ReceptiveField, union_of
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..accounting.window import Window
from ..errors import (
    ArgumentError,
    BudgetnetError,
    ShapeError,
    SpecError,
    explain,
    near_names,
    shown,
    with_place,
)
from .parts import Layer, Step
from .references import REFERENCES, Reference
from .spec import Spec, link, output_size
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
    run = Run(shape)
    for child, stage in spec.named_stages():
        steps, _ = link(child, stage, run.shape[0], run.shape[1:])
        run.add(child, steps)
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
    return spec, check_shape(input_shape, axes=_axes(input_shape))


def _axes(shape: Any) -> int:
    """0 for the shape of a vector, and 2 for that of a map, as which all others are refused."""
    return 0 if len(check_shape(shape, axes=None)) == 1 else 2


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


def unread(shape: tuple[int, ...]) -> ReceptiveField:
    """The field of the input itself."""
    return ReceptiveField((Window(),) * (len(shape) - 1))


class Run:
    """The rows of stages, one after another, and the bytes that live while each of them runs.

    Channels may be integer arrays: then so are parameters, MACs and bytes, of that many networks at
    once.

    Attributes:
        shape: of the last output.
        rows: one per layer.
        norm_buffers: buffers of every norm.
        peak: most bytes of float32 activations at once, as the network runs in a `nn.Sequential`
            whose caller holds the input.
    """

    def __init__(self, shape: tuple[Count, ...], outside: Count = 0) -> None:
        """Start at an input of `shape`; `outside` are bytes that live all the while beside it."""
        self.shape = shape
        self.rows: list[Row] = []
        self.norm_buffers: list[Count] = []
        self.peak: Count = 0
        self._field: Any = unread(shape)  # of a Row it may be unknown, but a plan knows it
        self._outside = outside
        self._bytes: list[Count] = [4 * prod(shape)]  # of the input, and of the output of every row
        self._memory = 0  # which of them the last output lies in: it may be a view

    def add(self, name: str, steps: Sequence[Step]) -> None:
        """Run a stage on the last output."""
        rows, sizes, start = self.rows, self._bytes, len(self.rows)
        shape, field, memory, peak = self.shape, self._field, self._memory, self.peak
        outside = self._outside + sizes[0] if memory else self._outside
        for i, (path, layer, reads, held, own) in enumerate(steps):
            path = f"{name}.{path}" if path and name else path or name
            if len(reads) > 1:
                read = [rows[start + j] if j >= 0 else None for j in reads]
                places = tuple([start + j for j in reads])
                row = _joined(path, layer, read, shape, field, places)
            elif reads[0] < 0:
                row = _row(path, layer, shape, False, field, start - 1)
            else:
                last = rows[start + reads[0]]
                row = _row(path, layer, last.output_shape, last.is_global, last.receptive_field,
                           start + reads[0])  # fmt: skip
            rows.append(row)
            size = 4 * prod(row.output_shape)
            sizes.append(size)
            live = outside + sum([sizes[start + j + 1 if j >= 0 else memory] for j in held])
            if own == i:  # not a view
                live = live + (3 * size if layer.role == "max pooling" else size)
            peak = _larger(peak, live)
            if layer.role == "batch norm":
                self.norm_buffers.append(layer.buffers)
        self.peak, self.shape, self._field = peak, row.output_shape, row.receptive_field
        if own >= 0:
            self._memory = start + own + 1


def _larger(one: Count, other: Count) -> Count:
    if type(one) is int and type(other) is int:
        return one if one > other else other
    return np.maximum(one, other)


def _row(
    path: str, layer: Layer, shape: tuple[Count, ...], was_global: bool,
    field: Any, read: int,
) -> Row:  # fmt: skip
    """The row of a layer that reads one map or vector."""
    macs: Count = 0
    sliding, size = layer.sliding, shape[1:]
    is_global = was_global or not size  # a vector
    if sliding is not None:
        if layer.role == "transposed convolution":
            macs = conv_macs(layer.weights, prod(size))
            axes = zip(sliding.kernel, sliding.stride, sliding.padding, strict=True)
            field = _then(field, [Window.transposed(k, s, p[0], 1) for k, s, p in axes], path)
            size = output_size(layer, size, path)
        else:
            size = sliding.output_size(size, where=path)
            field = _then(field, layer.windows, path)
            macs = conv_macs(layer.weights, prod(size))
    elif layer.ends_as:
        if size:  # a vector is a whole read already
            field = _then(field, map(Window.whole, size), path)
        size = output_size(layer, size, path)
        is_global = True
    elif layer.role == "linear":
        macs = layer.weights
    elif layer.scale:
        field = _then(field, [_resized(n, layer.scale, layer.mode) for n in size], path)
        size = output_size(layer, size, path)
    return Row(
        path, layer.kind, (layer.out_channels, *size), layer.weights + layer.biases, macs, field,
        sliding, is_global, False, False, "", (read,), (), layer.role, layer.has_bias,
        layer.weight_shape,
    )  # fmt: skip


def _joined(
    path: str, layer: Layer, reads: Sequence[Row | None], shape: tuple[Count, ...],
    field: ReceptiveField, places: tuple[int, ...],
) -> Row:  # fmt: skip
    """The row of branches made one; `None` is what the stage reads, of `shape` and `field`."""
    shapes = [shape if row is None else row.output_shape for row in reads]
    local = [row is None or not row.is_global for row in reads]
    fields: list[Any] = [
        field if row is None else row.receptive_field for row in compress(reads, local)
    ]
    sizes = {each[1:] for each in compress(shapes, local)}
    if len(sizes) > 1:
        what = "branches give maps of different sizes"
        numbers = {f"branch {i}": shape_text(each) for i, each in enumerate(shapes)}
        remedy = "Give all of them the same stride and padding."
        raise ShapeError(explain(what, where=path, numbers=numbers, remedy=remedy))
    try:
        seen = union_of(fields)
    except BudgetnetError as error:
        raise with_place(error, path) from None
    return Row(
        path, layer.kind, (layer.out_channels, *sizes.pop()), 0, 0, seen, None, False,
        not all(local), False, "", places, (), "join",
    )  # fmt: skip


def _resized(n: int, scale: int, mode: str) -> Window:
    from ..accounting.resampling import linear_reads, nearest_window, resampled_window

    if mode == "nearest":
        return nearest_window(n, n * scale, 1 / scale)
    return resampled_window(n, n * scale, float(scale), False, np.float32, linear_reads)


def _then(field: ReceptiveField, windows: Iterable[Window], path: str) -> ReceptiveField:
    try:
        return field.then(tuple(windows))
    except ArgumentError as error:  # too wide to be followed
        raise with_place(error, path) from None
