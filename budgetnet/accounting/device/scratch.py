"""Buffers that the kernels of TensorFlow Lite Micro ask for while an operator runs.

They lie in the arena beside the activations, live for one operator alone, and come after all
tensors in the list of the planner. Which kernel asks for what is a fact of a kernel library.

Sources: the `Prepare` functions in tensorflow/lite/micro/kernels of tflite-micro, and what its
interpreter prints for every operator alone; `arm_*_get_buffer_size` in CMSIS-NN 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .model import Options, TfliteModel, TfliteOperator, TfliteTensor

# Operators whose reference kernels ask for nothing; each has been run alone to see.
NONE = frozenset({
    "ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CAST", "CEIL",
    "CONCATENATION", "CONV_2D", "COS", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV",
    "ELU", "EQUAL", "EXP", "EXPAND_DIMS", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED",
    "GREATER", "HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LESS", "LOG", "LOGISTIC",
    "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "PACK", "PAD",
    "PADV2", "PRELU", "QUANTIZE", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SHAPE", "SIN", "SLICE", "SOFTMAX",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE",
    "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE", "UNPACK",
    "ZEROS_LIKE",
})  # fmt: skip
UNPACKING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
QUANTISED = frozenset({"int8", "uint8", "int16"})

Shape = tuple[int, ...]
Requests = tuple[int, ...] | None  # bytes of each buffer; None where that is not known


@dataclass(frozen=True)
class Scratch:
    """What kernels ask for.

    Attributes:
        requests: bytes of each buffer, by the index of the operator.
        unknown: names of operators whose kernels are not known here; their buffers come on top.
    """

    requests: dict[int, tuple[int, ...]]
    unknown: tuple[str, ...]


def reference_scratch(model: TfliteModel) -> Scratch:
    """What the reference kernels ask for, those of the `tflite-micro` package.

    A reduction asks for an int for each axis of its input and for each that it reduces; a mean or a
    sum of quantised values also for an int32 for each output, in which it adds. A transposed
    convolution adds in int32, of int16 values in int64. Weights of int4 are unpacked to bytes.
    """
    return _all_requests(model, _reference)


def cmsis_nn_scratch(model: TfliteModel, dsp: bool = True) -> Scratch:
    """What the kernels of CMSIS-NN ask for on a Cortex-M without vector extension (MVE).

    Of int8, built by GCC: a convolution that is not 1x1 asks for two columns of its input in int16,
    `4 * kh * kw * C_in` with the product rounded up to 4. With the DSP extension (Cortex-M4, M7,
    M33) a depthwise convolution asks for `2 * kh * kw * C`, unless it is 3x3 with at most 1 of
    padding, or dilated, or has more outputs than inputs; an average pooling for `4 * C`. Other
    operators run by the reference kernels, or ask for nothing.

    Args:
        model: the file.
        dsp: whether the core has the DSP extension; Cortex-M0, M0+, M3 and M23 have not.
    """
    return _all_requests(model, lambda operator, tensors: _cmsis_nn(operator, tensors, dsp))


def _all_requests(
    model: TfliteModel,
    rule: Callable[[TfliteOperator, tuple[TfliteTensor, ...]], Requests],
) -> Scratch:
    requests, unknown = {}, set()
    for k, operator in enumerate(model.operators):
        sizes = rule(operator, model.tensors)
        if sizes is None:
            unknown.add(operator.name)
        elif sizes:
            requests[k] = sizes
    return Scratch(requests, tuple(sorted(unknown)))


def _reference(operator: TfliteOperator, tensors: tuple[TfliteTensor, ...]) -> Requests:
    inputs = [tensors[i] for i in operator.inputs if i >= 0]
    elements = tensors[operator.outputs[0]].elements if operator.outputs else 0
    kind = inputs[0].dtype if inputs else ""
    if operator.name in UNPACKING and len(inputs) > 1 and inputs[1].dtype == "int4":
        return (inputs[1].elements,)
    if operator.name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN") and len(inputs) > 1:
        adds = operator.name in ("MEAN", "SUM") and kind in QUANTISED
        axes = (4 * len(inputs[0].shape), 4 * inputs[1].elements)
        return (*axes, 4 * elements) if adds else axes
    if operator.name == "TRANSPOSE_CONV" and len(inputs) > 2:
        if inputs[2].dtype == "int16":
            narrow = [8 * bias.elements for bias in inputs[3:] if bias.dtype == "int16"]
            return (8 * elements, *narrow)
        return (4 * elements,) if inputs[2].dtype == "int8" else ()
    return () if operator.name in NONE else None


def _cmsis_nn(operator: TfliteOperator, tensors: tuple[TfliteTensor, ...], dsp: bool) -> Requests:
    inputs = [tensors[i] for i in operator.inputs if i >= 0]
    outputs = [tensors[i] for i in operator.outputs]
    kind = inputs[0].dtype if inputs else ""
    if kind == "float32":
        return _reference(operator, tensors)
    if operator.name in (*UNPACKING, "AVERAGE_POOL_2D"):
        weight = inputs[1].shape if len(inputs) > 1 else ()
        if kind != "int8" or inputs[-1].dtype == "int4" or len(inputs[0].shape) < 2 or not outputs:
            return None
        size, output = inputs[0].shape, outputs[0].shape
        if operator.name == "FULLY_CONNECTED":
            return () if inputs[1].dtype == "int8" else None
        if operator.name == "AVERAGE_POOL_2D":
            return (4 * size[-1],) if dsp else ()
        if not len(size) == len(output) == len(weight) == 4 or inputs[1].dtype != "int8":
            return None
        rule = _conv if operator.name == "CONV_2D" else _depthwise
        need = rule(size, weight, output, operator.options, dsp)
        return (need,) if need else ()
    # Its transposed convolution, matrix products and recurrent layers are not known here.
    return None if operator.name == "TRANSPOSE_CONV" else _reference(operator, tensors)


def _padding(size: Shape, weight: Shape, output: Shape, options: Options) -> tuple[int, int]:
    """What is padded at the top and at the left, as TensorFlow shares it out."""
    if options.padding != "same":
        return 0, 0
    rows, columns = (
        (output[i] - 1) * options.stride[i - 1] + (weight[i] - 1) * options.dilation[i - 1] + 1
        for i in (1, 2)
    )
    return max(rows - size[1], 0) // 2, max(columns - size[2], 0) // 2


def _conv(size: Shape, weight: Shape, output: Shape, options: Options, dsp: bool) -> int:
    _, height, width, channels = weight
    plain = options.dilation == (1, 1) and _padding(size, weight, output, options) == (0, 0)
    if (height, width) == (1, 1) and plain and channels == size[3]:
        return 0
    return 4 * (-(-height * width * size[3] // 4) * 4)


def _depthwise(size: Shape, weight: Shape, output: Shape, options: Options, dsp: bool) -> int:
    _, height, width, _ = weight
    if not dsp or size[3] != output[3] or size[0] != 1 or options.dilation != (1, 1):
        return 0
    if (height, width) == (3, 3) and max(_padding(size, weight, output, options)) <= 1:
        return 0
    return 2 * size[3] * height * width
