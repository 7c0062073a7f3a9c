"""What the operators of a `.tflite` file cost: which constants are weights, and MACs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from ...accounting.device.model import Options, TfliteModel
from .flatbuffer import raise_damaged

Shape = tuple[int, ...]

# Operators that multiply in ways that are not counted here, so that their MACs are unknown.
UNCOUNTED = frozenset({
    "BATCH_MATMUL", "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "CONV_3D",
    "CONV_3D_TRANSPOSE", "DELEGATE", "LSTM", "RFFT2D", "RNN", "STABLEHLO_CONVOLUTION",
    "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_DOT_GENERAL", "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "CALL",
})  # fmt: skip

# Inputs that say where or how, such as shapes, axes and paddings; constants there are no weights.
SETTINGS: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        ("ARG_MAX", "ARG_MIN", "BROADCAST_TO", "CUMSUM", "EXPAND_DIMS", "GATHER", "GATHER_ND",
         "MEAN", "MIRROR_PAD", "PAD", "PADV2", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX",
         "REDUCE_MIN", "REDUCE_PROD", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR",
         "REVERSE_V2", "SUM", "TILE", "TOPK_V2", "TRANSPOSE"),
        frozenset({1}),
    ),
    **dict.fromkeys(
        ("BATCH_TO_SPACE_ND", "DYNAMIC_UPDATE_SLICE", "SLICE", "SPACE_TO_BATCH_ND", "SPLIT_V"),
        frozenset({1, 2}),
    ),
    **dict.fromkeys(("FILL", "SPLIT", "TRANSPOSE_CONV"), frozenset({0})),
    "STRIDED_SLICE": frozenset({1, 2, 3}),
}  # fmt: skip


def operator_weights(model: TfliteModel, k: int) -> tuple[int, ...]:
    """The constant tensors that operator k computes with: weights and biases, by index."""
    operator = model.operators[k]
    settings = SETTINGS.get(operator.name, frozenset())
    places = [i for place, i in enumerate(operator.inputs) if i >= 0 and place not in settings]
    return tuple(i for i in places if model.tensors[i].constant)


def operator_macs(model: TfliteModel, k: int) -> int | None:
    """The multiply-adds of operator k; `None` if they are not known.

    Raises:
        FormatError: its shapes do not fit together.
    """
    operator = model.operators[k]
    if operator.name in UNCOUNTED or operator.name.startswith("CUSTOM"):
        return None
    if (rule := _RULES.get(operator.name)) is None:
        return 0
    places = [*operator.inputs, -1, -1, -1][:3]
    inputs = [model.tensors[i].shape if i >= 0 else () for i in places]
    output = model.tensors[operator.outputs[0]].shape if operator.outputs else ()
    cost = rule(inputs, output, operator.options)
    if cost is None:
        numbers = {"inputs": inputs[:2], "output": output}
        raise_damaged(
            f"the shapes of operator {k} ({operator.name}) do not fit together", **numbers
        )
    return cost


def _sliding_fits(size: Shape, kernel: Shape, output: Shape, options: Options) -> bool:
    """Whether a window over maps (N, H, W, C) gives an output of this height and width."""
    if len(size) != 4 or len(output) != 4 or size[0] != output[0]:
        return False
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * options.dilation[axis]  # past its first input
        room = size[axis + 1] - (0 if options.padding == "same" else reach)
        if output[axis + 1] != -(-room // options.stride[axis]):
            return False
    return True


def _conv(inputs: Sequence[Shape], output: Shape, options: Options) -> int | None:
    """A weight is (outputs, height, width, inputs of a group)."""
    size, weight = inputs[0], inputs[1]
    if len(weight) != 4 or not _sliding_fits(size, weight[1:3], output, options):
        return None
    groups, rest = divmod(size[3], weight[3] or 1)
    if rest or weight[0] != output[3] or not groups or weight[0] % groups:
        return None
    return prod(output) * prod(weight[1:])


def _depthwise(inputs: Sequence[Shape], output: Shape, options: Options) -> int | None:
    """A weight is (1, height, width, outputs)."""
    size, weight = inputs[0], inputs[1]
    if len(weight) != 4 or not _sliding_fits(size, weight[1:3], output, options):
        return None
    if weight[0] != 1 or weight[3] != output[3] or not size[3] or output[3] % size[3]:
        return None
    return prod(output) * weight[1] * weight[2]


def _linear(inputs: Sequence[Shape], output: Shape, options: Options) -> int | None:
    """A weight is (outputs, inputs)."""
    size, weight = inputs[0], inputs[1]
    if len(weight) != 2 or prod(size) * weight[0] != prod(output) * weight[1]:
        return None
    return prod(output) * weight[1]


def _transposed(inputs: Sequence[Shape], output: Shape, options: Options) -> int | None:
    """The first input is the shape of the output; a weight is (outputs, height, width, inputs)."""
    weight, size = inputs[1], inputs[2]
    if not len(weight) == len(size) == len(output) == 4:
        return None
    if weight[3] != size[3] or weight[0] != output[3] or size[0] != output[0]:
        return None
    return prod(size) * prod(weight[:3])


_RULES: dict[str, Callable[[Sequence[Shape], Shape, Options], int | None]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _linear,
    "TRANSPOSE_CONV": _transposed,
}
