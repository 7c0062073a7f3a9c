"""What TensorFlow Lite Micro allocates beside the maps: an estimate.

Fitted to what its interpreter says of 372 files in int8, int16 and float32, all within 30 bytes.
Its build was for 64 bits, whose pointers take twice as much as those of a Cortex-M.
"""

from __future__ import annotations

from .memory import aligned
from .model import TfliteModel, TfliteOperator

_ALWAYS, _TENSOR, _OPERATOR = 708, 24, 140  # bytes; the last for operators without an entry
# Bytes of a node with what its kernel keeps.
_OPERATORS = {
    "ADD": 136, "CONCATENATION": 152, "CONV_2D": 172, "DEPTHWISE_CONV_2D": 172,
    "FULLY_CONNECTED": 176, "HARD_SWISH": 100, "LEAKY_RELU": 108, "LOGISTIC": 84, "MEAN": 132,
    "MUL": 112, "PAD": 128, "RELU": 96, "RELU6": 80, "RESHAPE": 96, "RESIZE_BILINEAR": 72,
    "RESIZE_NEAREST_NEIGHBOR": 72, "SOFTMAX": 152, "SUB": 136, "TANH": 80, "TRANSPOSE_CONV": 188,
}  # fmt: skip
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_EXPONENTIALS = 2080  # two tables of 513 values, of a softmax in int16


def persistent_bytes(model: TfliteModel) -> int:
    """The bytes of operators and tensors, and of what kernels keep between runs.

    A convolution keeps a multiplier and a shift, an int32 each, for every output channel.
    """
    total = _ALWAYS + _TENSOR * len(model.tensors)
    return total + sum(_operator_bytes(model, operator) for operator in model.operators)


def _operator_bytes(model: TfliteModel, operator: TfliteOperator) -> int:
    result = model.tensors[operator.outputs[0]] if operator.outputs else None
    size = _OPERATORS.get(operator.name, _OPERATOR)
    if result and operator.name in _CONVOLUTIONS:
        size += 2 * aligned(4 * (0, *result.shape)[-1])
    if result and (operator.name, result.dtype) == ("SOFTMAX", "int16"):
        size += _EXPONENTIALS
    return size
