"""Buffers that the kernels of TensorFlow Lite Micro ask for while an operator runs.

They lie in the arena beside the activations, live for one operator alone, and come after all tensors
in the planner's list. Which kernel asks for what is a fact of a kernel library.

Source: the `Prepare` functions in tensorflow/lite/micro/kernels of tflite-micro.
"""

from __future__ import annotations

from dataclasses import dataclass

from .tflite import TfliteModel, TfliteOperator, TfliteTensor

# Operators whose reference kernels ask for nothing.
NONE = frozenset({
    "ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CAST", "CEIL",
    "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "ELU",
    "EXP", "EXPAND_DIMS", "FLOOR", "FULLY_CONNECTED", "HARD_SWISH", "L2_NORMALIZATION",
    "L2_POOL_2D", "LEAKY_RELU", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MINIMUM",
    "MUL", "NEG", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE", "RELU", "RELU6", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "ROUND", "RSQRT", "SHAPE", "SLICE", "SOFTMAX",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUEEZE",
    "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE", "UNPACK", "ZEROS_LIKE",
})  # fmt: skip
UNPACKING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
QUANTISED = frozenset({"int8", "uint8", "int16"})


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

    A mean or a sum of quantised values adds in int32, one for each output. A transposed convolution
    adds in int32, of int16 values in int64. A maximum or minimum over axes asks for an int for each
    axis of its input, and for each it reduces. Weights of int4 are unpacked to bytes.
    """
    requests, unknown = {}, set()
    for k, operator in enumerate(model.operators):
        sizes = _requests(operator, model.tensors)
        if sizes is None:
            unknown.add(operator.name)
        elif sizes:
            requests[k] = sizes
    return Scratch(requests, tuple(sorted(unknown)))


def _requests(
    operator: TfliteOperator, tensors: tuple[TfliteTensor, ...]
) -> tuple[int, ...] | None:
    """The bytes of each buffer; None for an operator that is not known."""
    inputs = [tensors[i] for i in operator.inputs if i >= 0]
    elements = tensors[operator.outputs[0]].elements if operator.outputs else 0
    kind = inputs[0].dtype if inputs else ""
    if operator.name in UNPACKING and len(inputs) > 1 and inputs[1].dtype == "int4":
        return (inputs[1].elements,)
    if operator.name in ("MEAN", "SUM"):
        own = (4 * len(inputs[0].shape), 4 * inputs[1].elements)
        return (*own, 4 * elements) if kind in QUANTISED else own
    if operator.name in ("REDUCE_MAX", "REDUCE_MIN") and len(inputs) > 1:
        return 4 * len(inputs[0].shape), 4 * inputs[1].elements
    if operator.name == "TRANSPOSE_CONV" and len(inputs) > 2:
        return _transposed(inputs, elements)
    return () if operator.name in NONE else None


def _transposed(inputs: list[TfliteTensor], elements: int) -> tuple[int, ...]:
    if inputs[2].dtype == "int8":
        return (4 * elements,)
    if inputs[2].dtype != "int16":
        return ()
    narrow = [8 * bias.elements for bias in inputs[3:] if bias.dtype == "int16"]
    return (8 * elements, *narrow)
