"""What each operator of a `.tflite` file reads, and the account of the whole file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import floor, prod

from ...accounting.account import Account
from ...accounting.geometry import Sliding
from ...accounting.window import Window
from ...errors import BudgetnetError, FormatError, explain, one_line, shown
from .building import Builder, Effect, Stored, laid_out, peak_bytes
from .flatbuffer import name_in_errors, raise_damaged
from .maps import (
    Map,
    Shape,
    broadcast,
    chained,
    context_of,
    input_map,
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
    unfollowed,
)
from .tflite import TfliteModel, TfliteOperator, TfliteTensor, parse_tflite
from .tflite_costs import operator_macs, operator_weights
from .tflite_names import DTYPES


def account_of_tflite(data: bytes, name: str, title: str, *, strict: bool) -> Account:
    """The account of the bytes of a `.tflite` file; errors call it `name`.

    Raises:
        FormatError: it is damaged.
        UnsupportedOp: an operator has no rule, and the account is strict.
    """
    model = parse_tflite(data, name)
    with name_in_errors(name):
        _check_ends(model)
        built = laid_out(lambda channels: _Built(model, title, channels), -1, 1)
        return built.account(strict=strict)


def _check_ends(model: TfliteModel) -> None:
    """Refuse a graph that nothing goes into, or that gives nothing."""
    if not model.inputs or not model.outputs:
        what = "its graph has no input" if not model.inputs else "its graph has no output"
        raise FormatError(explain(what))
    for i in model.inputs:
        if not model.tensors[i].elements:
            raise FormatError(explain(f"the input {shown(model.tensors[i].name)} has no elements"))


class _Built(Builder):
    """A builder that knows what every tensor holds."""

    def __init__(self, model: TfliteModel, title: str, channels: int) -> None:
        """Add the rows of all operators."""
        tensors = [model.tensors[i] for i in model.inputs]
        axes = max(len(tensors[0].shape) - 2, 0) if tensors else 0
        inputs = [
            input_map(tensor.shape, channels, row=-1 - k, axes=axes, dtype=tensor.dtype)
            for k, tensor in enumerate(tensors)
        ]
        super().__init__(title, inputs)
        self.model, self.known = model, dict(zip(model.inputs, inputs, strict=True))
        self.made: dict[int, list[int]] = {}  # of what was made of constants: of which ones
        for k, operator in enumerate(model.operators):
            call = Call(model, k, self.known, self.made)
            if not call.maps:
                self.made |= dict.fromkeys(operator.outputs, call.weights())
                continue
            maps = self.add(call.name, operator.name, call.maps, call.effect())
            self.known |= zip(operator.outputs, maps, strict=True)

    def account(self, *, strict: bool) -> Account:
        """The account, with what needs the whole graph."""
        model = self.model
        sizes = {i: _bytes(model.tensors[i]) for i in self.known}
        steps = [(operator.inputs, operator.outputs) for operator in model.operators]
        read = {i for operator in model.operators for i in operator.inputs} | {*model.outputs}
        unread = [i for i, tensor in enumerate(model.tensors) if tensor.constant and i not in read]
        outputs = [self.known[i] for i in model.outputs if i in self.known]
        if not outputs:
            raise FormatError(explain("none of its outputs depends on an input"))
        return self.finish(
            outputs,
            peak_bytes(steps, sizes, model.inputs, model.outputs),
            [stored_of(model, i) for i in unread],
            strict=strict,
        )


def _bytes(tensor: TfliteTensor) -> int | None:
    return None if DTYPES.get(tensor.dtype) is None else tensor.bytes


def stored_of(model: TfliteModel, i: int) -> Stored:
    """A constant tensor; some share one buffer."""
    tensor = model.tensors[i]
    return Stored(tensor.buffer, tensor.name, tensor.dtype, tensor.elements, tensor.stored)


class Call:
    """One operator with the maps that it reads."""

    def __init__(
        self, model: TfliteModel, k: int, known: dict[int, Map], made: dict[int, list[int]]
    ) -> None:
        """Look up its tensors."""
        self.model, self.k, self.made = model, k, made
        self.operator: TfliteOperator = model.operators[k]
        self.inputs = [known.get(i) for i in self.operator.inputs]
        self.maps = [x for x in self.inputs if x is not None]

    @property
    def name(self) -> str:
        """Of its first result, since operators have none."""
        outputs = self.operator.outputs
        return self.model.tensors[outputs[0]].name if outputs else f"operator {self.k}"

    @property
    def output(self) -> TfliteTensor:
        """The first result."""
        return self.model.tensors[self.operator.outputs[0]]

    @property
    def x(self) -> Map:
        """The first map that it reads."""
        return self.maps[0]

    def tensor(self, place: int) -> TfliteTensor | None:
        """An input, if there is one."""
        inputs = self.operator.inputs
        there = place < len(inputs) and inputs[place] >= 0
        return self.model.tensors[inputs[place]] if there else None

    def values(self, place: int) -> tuple[int, ...] | None:
        """What an input says that tells where or how; `None` if it is not in the file."""
        tensor = self.tensor(place)
        return tensor.values if tensor and tensor.constant and tensor.values else None

    def shape(self, place: int) -> Shape:
        """The shape of an input; () if it is absent."""
        tensor = self.tensor(place)
        return tensor.shape if tensor else ()

    def weights(self) -> list[int]:
        """Its weights and biases, also those that another operator unpacks."""
        unpacked = [i for j in self.operator.inputs for i in self.made.get(j, ())]
        return [*operator_weights(self.model, self.k), *unpacked]

    def effect(self) -> Effect:
        """What it does; unknown where no rule says so, or the rule lacks what it needs."""
        macs = operator_macs(self.model, self.k)
        outputs = [self.model.tensors[i] for i in self.operator.outputs]
        if not outputs:
            raise_damaged(f"operator {self.k} ({self.operator.name}) has no output")
        rule = RULES.get(self.operator.name)
        if rule is None:
            effect = None
        else:
            try:
                effect = rule(self)
            except BudgetnetError as error:  # such as windows that are too wide
                effect = Effect((), unknown=one_line(error))
        if effect is None:
            reason = f"no accounting rule covers {self.operator.name}"
            effect = Effect((), unknown="" if self._is_harmless(macs) else reason)
        maps = list(effect.maps)
        for tensor in outputs[len(maps) :]:
            why = effect.unknown
            maps.append(unfollowed(self.maps, tensor.shape, tensor.dtype, why))
        for x, tensor in zip(maps, outputs, strict=False):
            if x.shape != tensor.shape:
                self._raise_misfit(x.shape, tensor.shape)
        typed = tuple(replace(x, dtype=t.dtype) for x, t in zip(maps, outputs, strict=False))
        activation = (self.operator.options.activation or "").upper()
        return replace(
            effect,
            maps=typed,
            macs=macs,
            stored=[stored_of(self.model, i) for i in self.weights()],
            activation=activation,
        )

    def _is_harmless(self, macs: int | None) -> bool:
        """Whether nothing is lost without a rule: no MACs, and all has been read before."""
        return macs is not None and all(x.is_global for x in self.maps)

    def _raise_misfit(self, expected: Shape, got: Shape) -> None:
        raise_damaged(
            f"the shapes of operator {self.k} ({self.operator.name}) do not fit together",
            inputs=[x.shape for x in self.maps], output=got, expected=expected,
        )  # fmt: skip


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
        call._raise_misfit(x.shape, output)
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
        call._raise_misfit(weight, output)
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
        call._raise_misfit(shapes[0], shapes[1])
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
        call._raise_misfit(call.x.shape, shape)
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
    nothing = (Window.reading(()),) * len(call.x.field.axes) if call.x.field else ()
    still = replace(call.x.field, axes=nothing) if call.x.field else None
    maps = [
        x or replace(call.x, shape=call.shape(k), field=still) for k, x in enumerate(call.inputs)
    ]
    result, context = chained(maps, axes[0])
    return Effect((result,), "join", context=context)


def _cut(x: Map, starts: list[int], steps: list[int], shape: Shape) -> Map:
    """Every `step`-th index from a start on, along each axis."""
    moves = {}
    for i, (start, step, n) in enumerate(zip(starts, steps, shape, strict=True)):
        if (start, step, n) != (0, 1, x.shape[i]):
            window = Window(((start, 1),), step) if positions(x.axes[i]) else Window()
            moves[i] = (window, n)
    return slid(x, moves)


def _slice(call: Call) -> Effect | None:
    starts, shape = call.values(1), call.output.shape
    if starts is None or not len(starts) == len(shape) == len(call.x.shape):
        return None
    return Effect((_cut(call.x, list(starts), [1] * len(shape), shape),), "reshape")


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
    cut = _cut(x, [r.start for r in ranges], [r.step for r in ranges], tuple(map(len, ranges)))
    return Effect((reduced(cut, shrunk, keep=False),), "reshape")


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
        starts = [at if k == axes[0] else 0 for k in range(len(shape))]
        maps.append(_cut(x, starts, [1] * len(shape), shape))
        at += shape[axes[0]]
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
