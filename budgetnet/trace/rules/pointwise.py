"""Rules of operations on each element alone, and of those that join elements of branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...accounting.receptive_field import has_context, union_of
from ...accounting.table import compact
from ...errors import ArgumentError, ShapeError, explain
from .core import Activation, Effect, Operand, nothing, of, rule, same, seen
from .joins import join as join_readings
from .joins import unite
from .readings import CHANNEL, Reading, Unreadable

rule("relu", role="relu")(same)
rule(
    "silu", "elu", "celu", "selu", "leaky_relu", "hardswish", "relu6", "mish", "softplus",
    "threshold", "hardshrink", "softshrink", role="activation",
)(same)  # fmt: skip
rule("sigmoid", "hardsigmoid", "tanh", role="squashing")(same)
rule(
    "clone",
    "contiguous",
    "_to_copy",
    "lift_fresh",
    "positive",
    "resolve_conj",
    "resolve_neg",
    role="reshape",
)(same)
rule(
    "abs", "neg", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt",
    "rsqrt", "square", "reciprocal", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
    "asinh", "acosh", "atanh", "sinc", "erf", "erfc", "erfinv", "lgamma", "digamma", "i0", "logit",
    "special_entr", "special_erfcx", "special_i0e", "special_i1", "special_i1e", "special_ndtri",
    "special_log_ndtr", "sign", "sgn", "floor", "ceil", "round", "trunc", "frac",
    "deg2rad", "rad2deg", "nan_to_num", "bitwise_not", "real", "imag", "angle",
    "conj_physical", "_conj_physical", role="pointwise",
)(same)  # fmt: skip


@rule("hardtanh")
def hardtanh(x: Activation, min_val: float = -1, max_val: float = 1) -> Effect:
    """A clamp: of both sides it squashes, else it is an activation such as ReLU6."""
    return replace(same(x), role="squashing" if min_val < 0 else "activation")


@rule("gelu", role="activation")
def gelu(x: Activation, *, approximate: str = "none") -> Effect:
    """GELU, of which there are two forms."""
    if approximate not in ("none", "tanh"):
        raise ArgumentError(explain(f"approximate={approximate!r} is not a valid form of GELU"))
    return same(x)


@rule("isnan", "isinf", "isposinf", "isneginf", "signbit", "logical_not", role="pointwise")
def predicate(x: Activation, **_: Any) -> Effect:
    """Yes or no of each element alone."""
    return replace(same(x), dtype=torch.bool)


@rule("polygamma", role="pointwise")
def polygamma(n: int, x: Activation) -> Effect:
    """A derivative of the logarithm of the gamma function, of each element alone."""
    return same(x)


@rule("native_dropout", role="dropout")
def dropout(x: Activation, p: float, train: bool | None = None) -> Effect:
    """Dropout as its own operation; the mask is a second result."""
    return replace(same(x), extra=((tuple(x.shape), torch.bool),))


@rule("log_sigmoid_forward", role="squashing")
def log_sigmoid(x: Activation) -> Effect:
    """Logarithm of the sigmoid, with a buffer for the way back."""
    return replace(same(x), extra=((tuple(x.shape), x.dtype),))


@rule("zero", "uniform", "random", "exponential", "geometric", "log_normal", "cauchy")
def overwritten(x: Activation, *_: Any, **__: Any) -> Effect:
    """New values that do not depend on the elements."""
    return nothing(x)


@rule("copy", role="reshape")
def copy(x: Operand, source: Operand = None, *_: Any) -> Effect:
    """The values of another tensor, or a number, in place of the elements."""
    shape = tuple(x.shape)
    if not isinstance(source, Activation):
        return nothing(x)
    taken = same(source) if tuple(source.shape) == shape else _gate([source], shape)
    return replace(taken, dtype=x.dtype)


rule("fill")(copy)


# Operations on elements of several operands, at no cost in MACs.
@rule(
    "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "atan2", "remainder",
    "fmod", "floor_divide", "pow", "float_power", "normal",
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
    "__and__", "__or__", "__xor__", "__lshift__", "__rshift__", "hypot", "copysign", "nextafter",
    "logaddexp", "logaddexp2", "xlogy", "special_xlog1py", "special_zeta", "heaviside", "gcd",
    "lcm", "igamma", "igammac", "ldexp", "where", "addcmul", "addcdiv", "lerp",
    "clamp", "clamp_min", "clamp_max", "masked_fill", role="join",
)  # fmt: skip
def join(x: Operand, y: Operand = None, z: Operand = None, **_: Any) -> Effect:
    """Elementwise operation of branches, constants and parameters, which are broadcast."""
    values = [value for value in (x, y, z) if isinstance(value, Tensor)]
    tracked = [value for value in values if isinstance(value, Activation)]
    shape = _broadcast(*values)
    if len(tracked) == 1 and tuple(tracked[0].shape) == shape:
        return _alone(same(tracked[0]))
    alike = len({value.is_global for value in tracked}) == 1
    if alike and all(v.reading is None and tuple(v.shape) == shape for v in tracked):
        fields = [value.field for value in tracked]
        field, context = union_of(fields), has_context(fields)
        return Effect(shape, field, is_global=tracked[0].is_global, context=context)
    met = _gate(tracked, shape)
    return met if len(tracked) > 1 else _alone(met)


def _alone(effect: Effect) -> Effect:
    """The effect of a join of one branch with constants alone."""
    effect.role = "pointwise"
    return effect


@rule("_prelu_kernel", role="activation")
def prelu(x: Operand, slope: Operand) -> Effect:
    """PReLU, whose slopes are parameters."""
    return replace(join(x, slope), role="activation")


@rule("complex", "polar", role="join")
def complex_of(x: Operand, y: Operand) -> Effect:
    """Complex numbers of two real ones."""
    return replace(join(x, y), dtype=torch.promote_types(x.dtype, torch.complex32))


@rule("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", role="join")
def compare(x: Operand, y: Operand) -> Effect:
    """Comparison of two branches, or of one with a constant."""
    return replace(join(x, y), dtype=torch.bool)


def _broadcast(*values: Tensor) -> tuple[int, ...]:
    shapes = [tuple(value.shape) for value in values]
    if len(set(shapes)) == 1:
        return shapes[0]
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

    If one still has positions and another has read the whole map, as in squeeze-excite, the
    local window stands and the whole map is its context.
    """
    local = [value for value in tracked if not value.is_global]
    if len(local) == 1 < len(tracked) and tuple(local[0].shape) == shape:
        return replace(same(local[0]), global_context=True)
    readings = [of(value).expand(shape) for value in local or tracked]
    reading = readings[0]
    for other in readings[1:]:
        alike = reading.dims == other.dims
        reading = unite(reading, other) if alike else unite(*aligned([reading, other]))
    context = bool(local) and len(local) < len(tracked)
    return seen(reading, *(local or tracked), global_context=context, shape=shape)


def aligned(parts: Sequence[Reading], skip: int = -1) -> list[Reading]:
    """Readings in one layout, if some repeat along axes on which others move; `skip` may differ."""
    parts = [part.resolved() for part in parts]
    for i in range(len(parts[0].dims)):
        moving = [p.dims[i] for p in parts if p.dims[i] and p.dims[i][0][0] != CHANNEL]
        if moving and len(moving[0]) == 1:
            parts = [_moving(part, i, moving[0][0][0]) for part in parts]
    if _crossed(parts, skip):
        raise Unreadable("rows of one branch and columns of another, which have read differently")
    layouts = {tuple(dim for i, dim in enumerate(p.dims) if i != skip) for p in parts}
    return parts if len(layouts) == 1 else [_all_enumerated(p, skip) for p in parts]


def _crossed(parts: Sequence[Reading], skip: int) -> bool:
    """Whether one dimension runs along different axes of the map, as in `x + x.transpose(2, 3)`."""
    for i, dims in enumerate(zip(*(part.dims for part in parts), strict=True)):
        axes = {dim[0][0] for dim in dims if len(dim) == 1 and dim[0][0] != CHANNEL}
        if i != skip and len(axes) > 1:
            return True
    return False


def _moving(reading: Reading, i: int, axis: int) -> Reading:
    """A repeated dimension as one along an axis of the map, on which nothing moves."""
    dim = reading.dims[i]
    if not dim and axis not in reading.axes:  # one position
        return replace(reading, dims=(*reading.dims[:i], ((axis, 1),), *reading.dims[i + 1 :]))
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


@rule("cat", "concat", "concatenate", role="join")
def cat(tensors: Sequence[Operand], dim: int = 0) -> Effect:
    """Concatenation of branches along any dimension; constants have read nothing.

    A part without elements adds nothing, whatever its other sizes: torch lets an empty vector
    stand for it.
    """
    kept = [value for value in tensors if value.numel()]
    tracked = [value for value in kept if isinstance(value, Activation)]
    if not tracked:
        return _cat_of_nothing(tensors, dim)
    first = tracked[0]
    if len(kept) == 1:
        return same(first)
    dim %= first.dim()
    shapes = [tuple(value.shape) for value in kept]
    if len({shape[:dim] + shape[dim + 1 :] for shape in shapes}) > 1:
        listed = ", ".join(compact(shape[1:]) for shape in shapes)
        raise ShapeError(
            explain("branches of different size are concatenated", numbers={"shapes": listed})
        )
    if dim == 1 and len(tracked) == len(kept) and not any(v.reading for v in tracked):
        fields = [value.field for value in tracked]
        widths = [shape[1] for shape in shapes]
        shape = (shapes[0][0], sum(widths), *shapes[0][2:])
        if all(field == fields[0] for field in fields):
            return Effect(shape, first.field, is_global=all(v.is_global for v in tracked))
        if shape[0] == 1 and not all(v.is_global for v in tracked):
            reading = Reading.of_maps(widths, shape[2:], fields)
            context = has_context(reading.fields)
            return Effect(shape, union_of(reading.fields), reading, context=context)
    layout = of(first)
    parts = [
        of(value) if isinstance(value, Activation) else layout.nothing(dim, value.shape[dim])
        for value in kept
    ]
    return _joined(join_readings(aligned(parts, dim), dim), tracked)


def _cat_of_nothing(tensors: Sequence[Operand], dim: int) -> Effect:
    """Concatenation of parts without any element of an activation."""
    first = next(value for value in tensors if isinstance(value, Activation))
    full = [value for value in tensors if value.numel()] or [first]
    dim %= full[0].dim()
    shape = list(full[0].shape)
    shape[dim] = sum(value.shape[dim] for value in full)
    return nothing(first, shape)


@rule("stack", role="join")
def stack(tensors: Sequence[Operand], dim: int = 0) -> Effect:
    """Concatenation along a new dimension."""
    tracked = [value for value in tensors if isinstance(value, Activation)]
    dim %= tracked[0].dim() + 1
    layout = of(tracked[0]).insert(dim)
    parts = [
        of(value).insert(dim) if isinstance(value, Activation) else layout.nothing(dim, 1)
        for value in tensors
    ]
    return _joined(join_readings(aligned(parts, dim), dim), tracked)


def _joined(reading: Reading, tracked: Sequence[Activation]) -> Effect:
    """Effect of parts beside each other: global if all are; if some are, they are context."""
    is_global = all(value.is_global for value in tracked)
    context = not is_global and any(value.is_global for value in tracked)
    return seen(reading, is_global=is_global or not reading.axes, global_context=context)
