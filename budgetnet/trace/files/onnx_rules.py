"""Rules of `.onnx` nodes that work element by element or move axes, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

from ...accounting.window import Window
from .building import Effect
from .maps import (
    beside,
    broadcast,
    chained,
    context_of,
    cut,
    joined,
    permuted,
    positions,
    reduced,
    reshaped,
    sampled,
    slid,
)
from .onnx import DTYPES
from .onnx_call import Call
from .onnx_sliding import (
    blocks,
    conv,
    conv_transpose,
    flatten,
    gemm,
    global_pool,
    matmul,
    pool,
    resize,
)

Rule = Callable[[Call], Effect | None]


def _pointwise(role: str, dtype: str = "") -> Rule:
    """Each element by itself; further inputs are settings."""
    return lambda call: Effect((replace(call.x, dtype=dtype or call.x.dtype),), role)


def _elementwise(dtype: str = "", role: str = "") -> Rule:
    """Several tensors element by element, repeated where they are smaller."""

    def rule(call: Call) -> Effect | None:
        shapes = [call.shape(k) for k in range(len(call.node.inputs))]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            return None
        shape = broadcast(known)
        if shape is None:
            return call.raise_misfit()
        result, context = joined(call.maps, shape, dtype)
        title = role or ("join" if len(call.maps) > 1 else "pointwise")
        places = [k for k, found in enumerate(known) if role or prod(found) > 1]
        return Effect((result,), title, context=context, stored=call.stored(places))

    return rule


def _cast(call: Call) -> Effect:
    number = call.given("to", 0)
    return Effect((replace(call.x, dtype=DTYPES.get(number, ("", 0))[0]),), "pointwise")


def _quantize(call: Call) -> Effect:
    """To the type of the zero point, or from it to that of the scale."""
    down = call.node.kind == "QuantizeLinear"
    constant = call.constants[2 if down else 1] if call.has(2 if down else 1) else None
    dtype = constant.dtype if constant else "uint8" if down else "float32"
    return Effect((replace(call.x, dtype=dtype),), "pointwise")


def _batch_norm(call: Call) -> Effect | None:
    if call.given("training_mode", 0):
        return None
    return Effect((call.x,), "batch norm", stored=call.stored((1, 2, 3, 4), (3, 4)))


def _norm_behind_channels(call: Call) -> Effect:
    """Statistics of each map: `InstanceNormalization`, `GroupNormalization`."""
    context = context_of(call.x, range(2, call.rank))
    return Effect((call.x,), "norm", context=context, stored=call.stored((1, 2)))


def _layer_norm(call: Call) -> Effect:
    context = context_of(call.x, range(call.axis(-1), call.rank))
    return Effect((call.x,), "norm", context=context, stored=call.stored((1, 2)))


def _axis_norm(call: Call) -> Effect:
    context = context_of(call.x, call.axes(call.given("axes", ()) or [call.given("axis", -1)]))
    return Effect((call.x,), "norm", context=context)


def _softmax(call: Call) -> Effect:
    axis = call.axis(-1 if call.opset > 12 else 1)
    axes = [axis] if call.opset > 12 else range(axis, call.rank)
    return Effect((call.x,), "squashing", context=context_of(call.x, axes))


def _reduce(call: Call) -> Effect | None:
    x, kind = call.x, call.node.kind
    if kind in ("ArgMax", "ArgMin"):
        axes: list[int] = [call.axis(0)]
    else:
        values = call.numbers_or(1, "axes")
        if values is None and call.has(1):
            return None
        every = not values and not call.given("noop_with_empty_axes", 0)
        axes = list(range(call.rank)) if every else call.axes(values or ())
    pooling = bool(axes) and all(positions(x.axes[i]) for i in axes)
    named = {"ReduceMean": "average pooling", "ReduceMax": "max pooling"}
    result = reduced(x, axes, bool(call.given("keepdims", 1)))
    dtype = "int64" if kind in ("ArgMax", "ArgMin") else x.dtype
    role = named.get(kind, "reduction") if pooling else "reduction"
    return Effect((replace(result, dtype=dtype),), role)


def _reshape(call: Call) -> Effect | None:
    x, wanted = call.x, call.numbers_or(1, "shape")
    if wanted is None:
        return None
    shape = list(wanted)
    for i, n in enumerate(shape):
        if n == 0 and not call.given("allowzero", 0):
            shape[i] = x.shape[i] if i < call.rank else call.raise_misfit()
    rest = prod(n for n in shape if n != -1)
    if -1 in shape and rest:
        shape[shape.index(-1)] = prod(x.shape) // rest
    if prod(shape) != prod(x.shape) or any(n < 0 for n in shape):
        call.raise_misfit()
    return Effect((reshaped(x, tuple(shape)),), "reshape")


def _squeeze(call: Call) -> Effect | None:
    values = call.numbers_or(1, "axes")
    if values is None and call.has(1):
        return None
    shape = call.x.shape
    axes = [i for i, n in enumerate(shape) if n == 1] if values is None else call.axes(values)
    if any(shape[i] != 1 for i in axes):
        call.raise_misfit()
    return Effect((reduced(call.x, axes, keep=False),), "reshape")


def _unsqueeze(call: Call) -> Effect | None:
    values = call.numbers_or(1, "axes")
    if values is None:
        return None
    rank = call.rank + len(values)
    axes, rest = call.axes(values, rank), iter(range(call.rank))
    if len(set(axes)) != len(values):
        call.raise_misfit()
    order = [-1 if i in axes else next(rest) for i in range(rank)]
    x = call.x
    shape = tuple(1 if i < 0 else x.shape[i] for i in order)
    kinds = tuple(() if i < 0 else x.axes[i] for i in order)
    return Effect((replace(x, shape=shape, axes=kinds),), "reshape")


def _transpose(call: Call) -> Effect:
    order = call.given("perm", ()) or tuple(range(call.rank))[::-1]
    if sorted(order) != list(range(call.rank)):
        call.raise_misfit()
    return Effect((permuted(call.x, order),), "reshape")


def _concat(call: Call) -> Effect | None:
    axis = call.axis(1 if call.opset < 4 else 0)
    maps = []
    for k, y in enumerate(call.inputs):
        shape = call.shape(k)
        if shape is None:
            return None
        if len(shape) != call.rank or any(
            n != m for i, (n, m) in enumerate(zip(shape, call.x.shape, strict=True)) if i != axis
        ):
            call.raise_misfit()
        maps.append(y or beside(call.x, shape))
    result, context = chained(maps, axis)
    return Effect((result,), "join", context=context)


def _slice(call: Call) -> Effect | None:
    starts, ends = call.numbers_or(1, "starts"), call.numbers_or(2, "ends")
    if starts is None or ends is None:
        return None
    axes, steps = call.numbers_or(3, "axes"), call.numbers_or(4, "steps")
    if (axes is None and call.has(3)) or (steps is None and call.has(4)):
        return None
    where = call.axes(range(len(starts)) if axes is None else axes)
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(where) == len(steps) or 0 in steps:
        call.raise_misfit()
    ranges = {}
    for i, start, end, step in zip(where, starts, ends, steps, strict=True):
        n = call.x.shape[i]
        before = step < 0 and end < -n  # up to and with the first
        ranges[i] = range(n)[start : None if before else end : step]
    return Effect((cut(call.x, ranges),), "reshape")


def _split(call: Call) -> Effect | None:
    axis, count = call.axis(0), len(call.node.outputs)
    n = call.x.shape[axis]
    sizes = call.numbers_or(1, "split")
    if sizes is None:
        if call.has(1):
            return None
        each = -(-n // count)
        sizes = tuple(min(each, n - each * k) for k in range(count))
    if len(sizes) != count or sum(sizes) != n or min(sizes) < 0:
        call.raise_misfit()
    ends = [sum(sizes[: k + 1]) for k in range(count)]
    parts = (range(end - size, end) for size, end in zip(sizes, ends, strict=True))
    return Effect(tuple(cut(call.x, {axis: part}) for part in parts), "reshape")


def _pad(call: Call) -> Effect | None:
    pads, mode = call.numbers_or(1, "pads"), call.given("mode", "constant")
    axes = call.numbers(3)
    if pads is None or (axes is None and call.has(3)):
        return None
    where = call.axes(range(call.rank) if axes is None else axes)
    if len(pads) != 2 * len(where):
        call.raise_misfit()
    moves = {}
    for k, i in enumerate(where):
        n, low, high = call.x.shape[i], pads[k], pads[len(where) + k]
        if n + low + high < 0:
            call.raise_misfit()
        if low or high:
            window = _padded(n, low, n + low + high, mode)
            if window is None:
                return None
            moves[i] = (window, n + low + high)
    return Effect((slid(call.x, moves),), "padding")


def _padded(n: int, low: int, m: int, mode: str) -> Window | None:
    """The window along a padded axis; `None` if the way is not known here."""
    if mode == "constant":
        return Window.sliding(1, padding=low)
    turn = max(2 * (n - 1), 1)
    sources: dict[str, Callable[[int], int]] = {
        "edge": lambda j: min(max(j, 0), n - 1),
        "wrap": lambda j: j % n,
        "reflect": lambda j: min(j % turn, turn - j % turn),
    }
    return sampled(n, m, lambda i: {sources[mode](i - low)}) if mode in sources and n else None


def _expand(call: Call) -> Effect | None:
    wanted = call.numbers(1)
    shape = None if wanted is None else broadcast([call.x.shape, wanted])
    if wanted is None:
        return None
    if shape is None:
        return call.raise_misfit()
    return Effect((joined([call.x], shape)[0],), "reshape")


def _gather(call: Call) -> Effect | None:
    x, table = call.inputs[0], call.shape(0)
    if x is None and table and call.inputs[1] is not None:  # an embedding
        if call.given("axis", 0) != 0:
            return None
        y = call.x
        axes = (*y.axes, *[(-1,)] * (len(table) - 1))
        result = replace(y, shape=(*y.shape, *table[1:]), axes=axes)
        return Effect((replace(result, dtype=_float(call)),), "other", stored=call.stored((0,)))
    chosen, shape = call.numbers(1), call.shape(1)
    if x is None or chosen is None or shape is None or len(shape) > 1:
        return None
    axis = call.axis(0)
    n = x.shape[axis]
    if not all(-n <= j < n for j in chosen):
        call.raise_misfit()
    places = [j % n for j in chosen]
    window = sampled(n, len(places), lambda i: {places[i]}) if positions(x.axes[axis]) else Window()
    if len(places) == 1:
        window = Window(((places[0], 1),), 1)
    taken = slid(x, {axis: (window if positions(x.axes[axis]) else Window(), len(places))})
    return Effect((taken if shape else reduced(taken, [axis], keep=False),), "reshape")


def _float(call: Call) -> str:
    constant = call.constants[0]
    return constant.dtype if constant else "float32"


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), conv),
    "ConvTranspose": conv_transpose, "Gemm": gemm,
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul"), matmul),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"), global_pool),
    "BatchNormalization": _batch_norm, "InstanceNormalization": _norm_behind_channels,
    "GroupNormalization": _norm_behind_channels, "LayerNormalization": _layer_norm,
    "RMSNormalization": _layer_norm, "LpNormalization": _axis_norm, "LRN": _pointwise("norm"),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    "Relu": _pointwise("relu"),
    **dict.fromkeys(
        ("Clip", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "HardSwish", "Mish", "Softplus",
         "Softsign", "ThresholdedRelu", "Shrink", "Swish"),
        _pointwise("activation"),
    ),
    "PRelu": _elementwise(role="activation"),
    **dict.fromkeys(("Sigmoid", "HardSigmoid", "Tanh"), _pointwise("squashing")),
    **dict.fromkeys(
        ("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf",
         "Exp", "Floor", "Log", "Neg", "Not", "Reciprocal", "Round", "Sign", "Sin", "Sinh", "Sqrt",
         "Tan", "BitwiseNot"),
        _pointwise("pointwise"),
    ),
    **dict.fromkeys(("IsNaN", "IsInf"), _pointwise("pointwise", "bool")),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "Mod", "BitShift",
         "BitwiseAnd", "BitwiseOr", "BitwiseXor"),
        _elementwise(),
    ),
    **dict.fromkeys(
        ("And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
        _elementwise("bool"),
    ),
    "Where": _elementwise(),
    **dict.fromkeys(
        ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2",
         "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin"),
        _reduce,
    ),
    "Cast": _cast, "QuantizeLinear": _quantize, "DequantizeLinear": _quantize,
    "Identity": _pointwise("identity"), "Dropout": _pointwise("dropout"),
    "Reshape": _reshape, "Flatten": flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Transpose": _transpose, "Concat": _concat, "Slice": _slice, "Split": _split, "Pad": _pad,
    "Expand": _expand, "Gather": _gather, "SpaceToDepth": blocks, "DepthToSpace": blocks,
    "Resize": resize, "Upsample": resize,
}  # fmt: skip
