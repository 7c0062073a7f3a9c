"""Rules of operations on elements: activations, norms, reductions, and joins of branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ShapeError, explain
from ..geometry import compact
from ..receptive_field import has_context, union_of
from .core import Activation, Effect, of, rule, same, same_channels, seen, whole
from .joins import join as join_readings
from .joins import unite
from .reading import CHANNEL, Reading

rule(
    "relu", "gelu", "silu", "elu", "celu", "selu", "leaky_relu", "hardtanh", "hardswish", "relu6",
    "hardsigmoid", "sigmoid", "tanh", "mish", "softplus", "log_sigmoid_forward", "prelu",
    "_prelu_kernel", "abs", "neg", "exp", "log", "log1p", "sqrt", "rsqrt", "square", "pow", "clamp",
    "clamp_min", "clamp_max", "native_dropout", "clone", "contiguous", "_to_copy", "lift_fresh",
    "erf", "sin", "cos", "reciprocal", "sign", "floor", "ceil", "round", "threshold", "hardshrink",
    "softshrink", "eq", "ne", "lt", "le", "gt", "ge", "logical_not", "masked_fill", "fill",
    "nan_to_num", "logit", "expm1", "tan", "atan", "isnan", "bernoulli", "bitwise_not", "trunc",
)(same)  # fmt: skip


@rule(
    "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit",
    "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update",
    "batch_norm",
)  # fmt: skip
def batch_norm(x: Activation, weight: Tensor | None, bias: Any = None, *args: Any) -> Effect:
    """BatchNorm: each element alone with fixed statistics, else with those of the whole map."""
    if weight is not None:
        same_channels(x, weight.numel())
    training = any(value is True for value in args[:3])
    return replace(same(x), global_context=training and not x.is_global)


@rule("native_group_norm", "instance_norm")
def group_norm(x: Activation, *_: Any) -> Effect:
    """Norms by statistics of the whole map: the window stays, the map is context."""
    return replace(same(x), global_context=not x.is_global)


@rule("native_layer_norm")
def layer_norm(x: Activation, normalized_shape: Sequence[int], *_: Any) -> Effect:
    """Norm over the last dimensions: of the channels of one position, or of the whole map."""
    return _over(x, range(x.dim() - len(normalized_shape), x.dim()))


@rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum")
def softmax(x: Activation, dim: int, *_: Any, **__: Any) -> Effect:
    """Softmax over the channels of one position, or over positions of the map."""
    return _over(x, [dim % x.dim()])


def _over(x: Activation, dims: Sequence[int]) -> Effect:
    """Elements that depend on all along `dims`: channels are mixed, positions are context."""
    if x.reading is None and x.dim() == 2 + len(x.field.axes):
        context = any(i >= 2 for i in dims) and not x.is_global
        return replace(same(x), global_context=context)
    reading = of(x)
    context = any(axis != CHANNEL for i in dims for axis, _ in reading.dims[i])
    channels = [i for i in dims if all(axis == CHANNEL for axis, _ in reading.dims[i])]
    mixed = reading.gather(channels).expand(x.shape) if len(reading.fields) > 1 else reading
    return seen(mixed, x, global_context=context, shape=tuple(x.shape))


@rule("mean", "sum", "amax", "amin", "max", "min", "prod", "logsumexp", "argmax", "argmin", "any",
      "all", "norm")  # fmt: skip
def reduce(
    x: Activation, dim: Sequence[int] | int | None = None, keepdim: bool = False, **_: Any
) -> Effect:
    """Reductions: every output reads all along the dimensions."""
    if isinstance(dim, Tensor):
        return join(x, dim)
    dims = range(x.dim()) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return whole(x, sorted({d % x.dim() for d in dims}), keepdim)


@rule("var", "std", "var_mean", "std_mean")
def variance(
    x: Activation,
    dim: Sequence[int] | None = None,
    unbiased: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Effect:
    """Variance along dimensions."""
    return reduce(x, dim, keepdim)


@rule("linalg_vector_norm")
def vector_norm(
    x: Activation, ord: Any = 2, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Effect:
    """Norm along dimensions."""
    return reduce(x, dim, keepdim)


# Operations that bring branches together, at no cost in MACs.
_ELEMENTWISE = (
    "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "atan2", "remainder", "fmod",
    "floor_divide", "logical_and", "logical_or", "bitwise_and", "bitwise_or",
)  # fmt: skip
_THREE = ("addcmul", "addcdiv", "lerp")
_CAT = ("cat", "concat", "concatenate")
JOINS = {*_ELEMENTWISE, *_THREE, *_CAT, "where", "stack"}


@rule(*_ELEMENTWISE)
def join(x: Any, y: Any = None, **_: Any) -> Effect:
    """Elementwise operation of two branches, or of one with a constant or a parameter."""
    tracked = [value for value in (x, y) if isinstance(value, Activation)]
    shape = _broadcast(x, y)
    if len(tracked) == 1 and tuple(tracked[0].shape) == shape:
        return same(tracked[0])
    alike = len({value.is_global for value in tracked}) == 1
    if alike and all(v.reading is None and tuple(v.shape) == shape for v in tracked):
        fields = [value.field for value in tracked]
        field, context = union_of(fields), has_context(fields)
        return Effect(shape, field, is_global=tracked[0].is_global, global_context=context)
    return _gate(tracked, shape)


def _broadcast(*values: Any) -> tuple[int, ...]:
    shapes = [tuple(value.shape) for value in values if isinstance(value, Tensor)]
    aligned = zip_longest(*map(reversed, shapes), fillvalue=1)
    sizes = [{n for n in column if n != 1} for column in aligned]
    if any(len(column) > 1 for column in sizes):
        raise ShapeError(
            explain(
                "maps of different size are joined elementwise",
                numbers={"shapes": ", ".join(map(compact, shapes))},
                remedy="Give both branches the same stride, padding and channels.",
            )
        )
    return tuple(column.pop() if column else 1 for column in reversed(sizes))


def _gate(tracked: Sequence[Activation], shape: tuple[int, ...]) -> Effect:
    """Join of branches with and without positions of their own.

    Where one still has positions and another has read the whole map, as in squeeze-excite, the
    local window stands and the whole map is its context.
    """
    local = [value for value in tracked if not value.is_global]
    if len(local) == 1 < len(tracked) and tuple(local[0].shape) == shape:
        return replace(same(local[0]), global_context=True)
    readings = [of(value).expand(shape) for value in local or tracked]
    reading = readings[0]
    for other in readings[1:]:
        reading = unite(*_aligned([reading, other]))
    context = bool(local) and len(local) < len(tracked)
    return seen(reading, *(local or tracked), global_context=context, shape=shape)


def _aligned(parts: Sequence[Reading], skip: int = -1) -> list[Reading]:
    """Readings in one layout, where some repeat along what others move; `skip` may differ."""
    parts = list(parts)
    for i in range(len(parts[0].dims)):
        moving = [p.dims[i] for p in parts if p.dims[i] and p.dims[i][0][0] != CHANNEL]
        if moving and len(moving[0]) == 1:
            parts = [_moving(part, i, moving[0][0][0]) for part in parts]
    layouts = {tuple(dim for i, dim in enumerate(p.dims) if i != skip) for p in parts}
    return parts if len(layouts) == 1 else [_all_enumerated(p, skip) for p in parts]


def _moving(reading: Reading, i: int, axis: int) -> Reading:
    """A repeated dimension as one along an axis of the map, on which nothing moves."""
    dim = reading.dims[i]
    if len(dim) != 1 or dim[0][0] != CHANNEL or axis in reading.axes:
        return reading
    place = sum(1 for dim in reading.dims[:i] for a, _ in dim if a == CHANNEL)
    if (reading.classes != reading.classes.take([0], place)).any():
        return reading
    dims = (*reading.dims[:i], ((axis, dim[0][1]),), *reading.dims[i + 1 :])
    return Reading(dims, reading.fields, np.take(reading.classes, 0, place))


def _all_enumerated(reading: Reading, skip: int) -> Reading:
    for i in range(len(reading.dims)):
        reading = reading if i == skip else reading.enumerated(i)
    return reading


@rule("where")
def where(condition: Any, x: Any, y: Any) -> Effect:
    """Choice between two branches by a third."""
    tracked = [value for value in (condition, x, y) if isinstance(value, Activation)]
    shape = _broadcast(condition, x, y)
    if len(tracked) == 1 and tuple(tracked[0].shape) == shape:
        return same(tracked[0])
    return _gate(tracked, shape)


@rule(*_THREE)
def three(x: Any, y: Any, z: Any, **_: Any) -> Effect:
    """Elementwise operation of three branches."""
    return where(x, y, z)


@rule(*_CAT)
def cat(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """Concatenation of branches along any dimension; constants have read nothing."""
    tracked = [value for value in tensors if isinstance(value, Activation)]
    first = tracked[0]
    dim %= first.dim()
    shapes = [tuple(value.shape) for value in tensors]
    if len({shape[:dim] + shape[dim + 1 :] for shape in shapes}) > 1:
        told = ", ".join(compact(shape[1:]) for shape in shapes)
        raise ShapeError(
            explain("branches of different size are concatenated", numbers={"shapes": told})
        )
    if dim == 1 and len(tracked) == len(tensors) and not any(v.reading for v in tracked):
        fields = [value.field for value in tracked]
        widths = [shape[1] for shape in shapes]
        shape = (shapes[0][0], sum(widths), *shapes[0][2:])
        if all(field == fields[0] for field in fields):
            return Effect(shape, first.field, is_global=all(v.is_global for v in tracked))
        if shape[0] == 1 and not all(v.is_global for v in tracked):
            reading = Reading.of_maps(widths, shape[2:], fields)
            context = has_context(reading.fields)
            return Effect(shape, union_of(reading.fields), reading, global_context=context)
    layout = of(first)
    parts = [
        of(value) if isinstance(value, Activation) else layout.nothing(dim, value.shape[dim])
        for value in tensors
    ]
    return _joined(join_readings(_aligned(parts, dim), dim), tracked)


@rule("stack")
def stack(tensors: Sequence[Any], dim: int = 0) -> Effect:
    """Concatenation along a new dimension."""
    tracked = [value for value in tensors if isinstance(value, Activation)]
    dim %= tracked[0].dim() + 1
    layout = of(tracked[0]).insert(dim)
    parts = [
        of(value).insert(dim) if isinstance(value, Activation) else layout.nothing(dim, 1)
        for value in tensors
    ]
    return _joined(join_readings(_aligned(parts, dim), dim), tracked)


def _joined(reading: Reading, tracked: Sequence[Activation]) -> Effect:
    """Effect of parts beside each other: global if all are; if some are, they are context."""
    is_global = all(value.is_global for value in tracked)
    context = not is_global and any(value.is_global for value in tracked)
    return seen(reading, is_global=is_global or not reading.axes, global_context=context)
