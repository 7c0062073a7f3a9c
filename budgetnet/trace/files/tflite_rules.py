"""What each operator of a `.tflite` file reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import floor, prod

from ...accounting.geometry import Sliding
from ...accounting.window import Window
from .building import Effect
from .maps import (
    Map,
    Shape,
    beside,
    broadcast,
    chained,
    context_of,
    cut,
    joined,
    meet,
    mixed,
    permuted,
    positions,
    read_whole,
    reduced,
    reshaped,
    sampled,
    slid,
)
from .tflite_call import Call


def _sliding(call: Call, kernel: tuple[int, ...], size: Shape, output: Shape) -> Sliding:
    """Padding "same" puts the smaller half before the map, as TensorFlow does."""
    options, pads = call.operator.options, []
    for n, m, k, s, d in zip(size, output, kernel, options.stride, options.dilation, strict=True):
        total = max((m - 1) * s + (k - 1) * d + 1 - n, 0) if options.padding == "same" else 0
        pads.append((total // 2, total - total // 2))
    return Sliding(kernel, options.stride, tuple(pads), options.dilation)


def _slide(call: Call, kernel: tuple[int, ...]) -> tuple[Map, Sliding]:
    x, output = call.x, call.output.shape
    if len(x.shape) != 4 or len(output) != 4:
        call.raise_misfit(x.shape, output)
    sliding = _sliding(call, kernel, x.shape[1:3], output[1:3])
    moves = {i + 1: (window, output[i + 1]) for i, window in enumerate(sliding.windows)}
    return slid(x, moves), sliding


def _with(call: Call, result: Map) -> Map:
    """A result that also depends on weights which are computed."""
    others = call.maps[1:]
    if not others:
        return result
    field, _ = meet([result.field, *(read_whole(y, range(len(y.shape))) for y in others)])
    return replace(result, field=field)


def _conv(call: Call) -> Effect:
    weight, output = call.shape(1), call.output.shape
    result, sliding = _slide(call, weight[1:3])
    depthwise = call.operator.name == "DEPTHWISE_CONV_2D"
    shape = (weight[3], 1, *weight[1:3]) if depthwise else (weight[0], weight[3], *weight[1:3])
    return Effect(
        (_with(call, mixed(result, 3, output[3])),), "convolution", sliding=sliding,
        has_bias=call.tensor(2) is not None, weight_shape=shape,
    )  # fmt: skip


def _transposed(call: Call) -> Effect:
    """The first input is the shape of the output, the second the weight."""
    weight, options = call.shape(1), call.operator.options
    x, output = call.maps[-1], call.output.shape
    moves = {}
    for i in (1, 2):
        k, s = weight[i], options.stride[i - 1]
        total = max((x.shape[i] - 1) * s + k - output[i], 0) if options.padding == "same" else 0
        moves[i] = (Window.transposed(k, s, total // 2), output[i])
    shape = (weight[3], weight[0], *weight[1:3])
    return Effect(
        (mixed(slid(x, moves), 3, output[3]),), "transposed convolution",
        has_bias=call.tensor(3) is not None, weight_shape=shape,
    )  # fmt: skip


def _pool(call: Call) -> Effect:
    kernel = call.operator.options.kernel or (1, 1)
    role = "max pooling" if call.operator.name == "MAX_POOL_2D" else "average pooling"
    x = call.x
    if len(x.shape) == 4 and kernel == x.shape[1:3] != (1, 1) and call.output.shape[1:3] == (1, 1):
        return Effect((reduced(x, (1, 2), True),), role)  # how converters write a global pooling
    result, sliding = _slide(call, kernel)
    return Effect((result,), role, sliding=sliding)


def _linear(call: Call) -> Effect:
    x, weight, output = call.x, call.shape(1), call.output.shape
    if len(weight) != 2 or not output:
        call.raise_misfit(weight, output)
    flat = (prod(x.shape) // max(weight[1], 1), weight[1])
    if not x.shape or x.shape[-1] != weight[1] or len(output) != len(x.shape):
        x = reshaped(x, flat) if prod(flat) == prod(x.shape) else x
    result = mixed(x, len(x.shape) - 1, weight[0])
    if result.shape != output and prod(result.shape) == prod(output):
        result = reshaped(result, output)
    return Effect(
        (_with(call, result),), "linear", has_bias=call.tensor(2) is not None, weight_shape=weight
    )


def _pointwise(role: str) -> Callable[[Call], Effect]:
    return lambda call: Effect((call.x,), role)


def _elementwise(call: Call) -> Effect:
    shapes = [call.shape(place) for place in range(len(call.operator.inputs))]
    shape = broadcast(shapes)
    if shape is None:
        call.raise_misfit(shapes[0], shapes[1])
    result, context = joined(call.maps, shape or ())
    role = "join" if len(call.maps) > 1 else "pointwise"
    return Effect((result,), role, context=context)


def _softmax(call: Call) -> Effect:
    last = [len(call.x.shape) - 1]
    return Effect((call.x,), "squashing", context=context_of(call.x, last))


def _normalised(call: Call) -> Effect:
    return Effect((call.x,), "norm", context=context_of(call.x, [len(call.x.shape) - 1]))


def _reshape(call: Call) -> Effect | None:
    shape = call.output.shape
    if prod(shape) != prod(call.x.shape):
        call.raise_misfit(call.x.shape, shape)
    return Effect((reshaped(call.x, shape),), "reshape")


def _transpose(call: Call) -> Effect | None:
    order = call.values(1)
    if order is None or sorted(order) != list(range(len(call.x.shape))):
        return None
    return Effect((permuted(call.x, order),), "reshape")


def _axes(x: Map, values: tuple[int, ...]) -> list[int] | None:
    """Axes that may be counted from the end; `None` if they are not axes."""
    rank = len(x.shape)
    return [i % rank for i in values] if all(-rank <= i < rank for i in values) else None


def _reduce(call: Call) -> Effect | None:
    x, values = call.x, call.values(1)
    axes = None if values is None else _axes(x, values)
    if axes is None:
        return None
    result = reduced(x, axes, keep=len(call.output.shape) == len(x.shape))
    pooling = all(positions(x.axes[i]) for i in axes) and axes
    named = {"MEAN": "average pooling", "REDUCE_MAX": "max pooling"}
    role = named.get(call.operator.name, "reduction") if pooling else "reduction"
    return Effect((result,), role)


def _pad(call: Call) -> Effect | None:
    values, x = call.values(1), call.x
    if values is None or len(values) != 2 * len(x.shape):
        return None
    moves = {}
    for i, n in enumerate(x.shape):
        before, after = values[2 * i : 2 * i + 2]
        if before or after:
            moves[i] = (Window.sliding(1, padding=before), n + before + after)
    return Effect((slid(x, moves),), "padding")


def _concatenate(call: Call) -> Effect | None:
    axes = _axes(call.x, (call.operator.options.axis or 0,))
    shapes = {len(call.shape(k)) for k in range(len(call.operator.inputs))}
    if axes is None or shapes != {len(call.x.shape)}:
        return None
    maps = [x or beside(call.x, call.shape(k)) for k, x in enumerate(call.inputs)]
    result, context = chained(maps, axes[0])
    return Effect((result,), "join", context=context)


def _slice(call: Call) -> Effect | None:
    starts, shape = call.values(1), call.output.shape
    if starts is None or not len(starts) == len(shape) == len(call.x.shape):
        return None
    parts = (range(start, start + n) for start, n in zip(starts, shape, strict=True))
    return Effect((cut(call.x, dict(enumerate(parts))),), "reshape")


def _strided_slice(call: Call) -> Effect | None:
    x, given = call.x, call.operator.options.given
    begins, ends, steps = (call.values(place) for place in (1, 2, 3))
    if begins is None or ends is None or steps is None:
        return None
    if given.get("ellipsis_mask") or given.get("new_axis_mask") or 0 in steps:
        return None
    if not len(begins) == len(ends) == len(steps) <= len(x.shape):
        return None
    shrunk = [i for i in range(len(begins)) if given.get("shrink_axis_mask", 0) >> i & 1]
    ranges = []
    for i, n in enumerate(x.shape):
        if i >= len(begins):
            ranges.append(range(n))
            continue
        begin = None if given.get("begin_mask", 0) >> i & 1 else begins[i]
        end = None if given.get("end_mask", 0) >> i & 1 else ends[i]
        if i in shrunk:
            begin = begins[i]
            ranges.append(range(n)[begin : begin + 1 or None])
        else:
            ranges.append(range(n)[begin : end : steps[i]])
    if not all(map(len, ranges)):
        return None
    taken = cut(x, dict(enumerate(ranges)))
    return Effect((reduced(taken, shrunk, keep=False),), "reshape")


def _split(call: Call) -> Effect | None:
    """Parts along an axis: `SPLIT` has the axis first, `SPLIT_V` last."""
    x = call.x
    axis = call.values(0 if call.operator.name == "SPLIT" else 2)
    axes = _axes(x, axis) if axis else None
    if axes is None:
        return None
    at, maps = 0, []
    for i in call.operator.outputs:
        shape = call.model.tensors[i].shape
        if len(shape) != len(x.shape):
            return None
        end = at + shape[axes[0]]
        maps.append(cut(x, {axes[0]: range(at, end)}))
        at = end
    return Effect(tuple(maps), "reshape")


def _blocks(call: Call) -> Effect | None:
    """Positions to channels, or back: a unit reads what any of its channels does."""
    x, shape = call.x, call.output.shape
    if len(x.shape) != 4 or len(shape) != 4 or 0 in (*x.shape, *shape):
        return None
    moves = {}
    for i in (1, 2):
        n, m = x.shape[i], shape[i]
        if n % m and m % n:
            return None
        down, up = max(n // m, 1), max(m // n, 1)
        window = Window.sliding(down, down) if n >= m else Window.reading(*[{0}] * up, advance=1)
        moves[i] = (window, m)
    return Effect((mixed(slid(x, moves), 3, shape[3]),), "reshape")


def _resize(call: Call) -> Effect | None:
    x, shape, given = call.x, call.output.shape, call.operator.options.given
    if len(x.shape) != 4 or len(shape) != 4 or 0 in (*x.shape, *shape):
        return None
    nearest = call.operator.name == "RESIZE_NEAREST_NEIGHBOR"
    corners, centres = bool(given.get("corners")), bool(given.get("centres"))
    moves = {}
    for i in (1, 2):
        n, m = x.shape[i], shape[i]
        window = resized(n, m, nearest=nearest, corners=corners, centres=centres)
        moves[i] = (window, m)
    return Effect((slid(x, moves),), "resizing")


def resized(n: int, m: int, *, nearest: bool, corners: bool, centres: bool) -> Window:
    """The window of n positions resized to m, as the reference kernels compute it."""
    scale = Fraction(n - 1, m - 1) if corners and m > 1 else Fraction(n, m)
    half = Fraction(1, 2) if centres else Fraction(0)

    def near(i: int) -> set[int]:
        at = (i + half) * scale
        return {min(floor(at + Fraction(1, 2)) if corners else floor(at), n - 1)}

    def linear(i: int) -> set[int]:
        at = max((i + half) * scale - half, Fraction(0))
        low = min(floor(at), n - 1)
        return {low, min(low + 1, n - 1)} if at > low else {low}

    return sampled(n, m, near if nearest else linear)


RULES: dict[str, Callable[[Call], Effect | None]] = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _conv, "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _linear, "AVERAGE_POOL_2D": _pool, "MAX_POOL_2D": _pool,
    "L2_POOL_2D": _pool, "SOFTMAX": _softmax, "LOG_SOFTMAX": _softmax,
    "L2_NORMALIZATION": _normalised, "RESHAPE": _reshape, "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape, "TRANSPOSE": _transpose, "PAD": _pad, "PADV2": _pad,
    "CONCATENATION": _concatenate, "SLICE": _slice, "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split, "SPLIT_V": _split, "SPACE_TO_DEPTH": _blocks, "DEPTH_TO_SPACE": _blocks,
    "RESIZE_BILINEAR": _resize, "RESIZE_NEAREST_NEIGHBOR": _resize, "RELU": _pointwise("relu"),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"),
        _reduce,
    ),
    **dict.fromkeys(
        ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "FLOOR_DIV", "FLOOR_MOD",
         "SQUARED_DIFFERENCE", "ADD_N", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL",
         "NOT_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "ATAN2", "SELECT_V2", "PRELU"),
        _elementwise,
    ),
    **dict.fromkeys(
        ("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "GELU", "HARD_SWISH"),
        _pointwise("activation"),
    ),
    **dict.fromkeys(("LOGISTIC", "TANH"), _pointwise("squashing")),
    **dict.fromkeys(
        ("QUANTIZE", "DEQUANTIZE", "CAST", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE",
         "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN", "LOGICAL_NOT"),
        _pointwise("pointwise"),
    ),
}  # fmt: skip
