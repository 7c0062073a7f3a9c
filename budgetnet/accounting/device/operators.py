"""Which operator a row becomes, and what runtimes compute within the operator before.

Operators have the names of TensorFlow Lite for ExecuTorch too.

Sources: patterns of TensorFlow's converter in tensorflow/compiler/mlir/lite/transforms/
optimize_patterns.td, which want the first operator to have one reader; the passes of ExecuTorch's
Cortex-M backend in backends/cortex_m/passes of release 1.5.1. In float32, ExecuTorch's portable
kernels compute nothing within each other.
"""

from __future__ import annotations

from math import prod

from ..roles import POOLING, WEIGHTED
from ..rows import Row
from .target import Target

# Operators by kind, in small letters without underscores: a module's class or torch's operation.
BY_KIND = {
    "add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV", "cat": "CONCATENATION",
    "sigmoid": "LOGISTIC", "tanh": "TANH", "softmax": "SOFTMAX", "logsoftmax": "LOG_SOFTMAX",
    "hardswish": "HARD_SWISH", "relu6": "RELU6", "hardtanh": "RELU6", "leakyrelu": "LEAKY_RELU",
    "prelu": "PRELU", "elu": "ELU", "abs": "ABS", "neg": "NEG", "exp": "EXP", "sqrt": "SQRT",
    "rsqrt": "RSQRT", "constantpadnd": "PAD", "zeropad2d": "PAD", "constantpad2d": "PAD",
    "upsamplenearest2d": "RESIZE_NEAREST_NEIGHBOR", "upsamplebilinear2d": "RESIZE_BILINEAR",
    "permute": "TRANSPOSE", "transpose": "TRANSPOSE", "sum": "SUM", "slice": "STRIDED_SLICE",
    "select": "STRIDED_SLICE",
}  # fmt: skip
VIEWS = frozenset({
    "view", "reshape", "reshapealias", "unsafeview", "flatten", "unflatten", "squeeze", "unsqueeze",
})  # fmt: skip
NOTHING = frozenset({"clone", "contiguous", "detach", "alias", "stochasticdepth", "droppath"})

_TFLM = frozenset({
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV",
    "AVERAGE_POOL_2D", "MAX_POOL_2D",
})  # fmt: skip
_CORTEX_M = frozenset({
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "SUB",
    "MAX_POOL_2D",
})  # fmt: skip


def clamping(target: Target) -> frozenset[str]:
    """The operators that end with a ReLU or ReLU6 if one follows."""
    return _TFLM if target.runtime == "tflm" else _CORTEX_M if folds_norms(target) else frozenset()


def folds_norms(target: Target) -> bool:
    """Whether a batch norm becomes part of the convolution or linear layer before it."""
    return target.runtime == "tflm" or target.dtype == "int8"


# What ExecuTorch is known to run as one operator each: in int8 by its Cortex-M backend, in float32
# by its portable kernels. Others are decomposed, or run in float32 between two conversions.
_MOVING = ("CONCATENATION", "TRANSPOSE", "STRIDED_SLICE", "PAD", "RELU", "RELU6")
_COMPUTING = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "ADD", "SUB", "MUL",
    "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "SOFTMAX",
)  # fmt: skip
EXECUTORCH = {
    "int8": frozenset({*_MOVING, *_COMPUTING}),
    "float32": frozenset({*_MOVING, *_COMPUTING, "LOGISTIC", "TANH", "BATCH_NORM"}),
}


def plain(kind: str) -> str:
    """A kind in small letters, without underscores.

    >>> plain("_log_softmax"), plain("ReLU6")
    ('logsoftmax', 'relu6')
    """
    return kind.lower().replace("_", "")


def is_clamp(row: Row) -> bool:
    """Whether it is a ReLU, or a ReLU6 as all of these names mean where nothing is below 0."""
    return row.role == "relu" or (row.role == "activation" and plain(row.kind) in _RELU6)


_RELU6 = ("relu6", "hardtanh")


def joins_clamp(row: Row, operators: tuple[str, ...], target: Target) -> bool:
    """Whether a row is a ReLU that ends the last of these operators."""
    if not is_clamp(row) or _may_be_functional(row, target):
        return False
    return bool(operators) and operators[-1] in clamping(target)


def _may_be_functional(row: Row, target: Target) -> bool:
    """Whether it may be `F.relu6`, which ExecuTorch's quantiser leaves to a kernel in float32."""
    return row.kind == "hardtanh" and (target.runtime, target.dtype) == ("executorch", "int8")


def is_view(row: Row) -> bool:
    """Whether it gives the same values in another shape."""
    return row.role == "reshape" and plain(row.kind) in VIEWS


def does_nothing(row: Row, shape: tuple[int, ...]) -> bool:
    """Whether a row that reads a map of this shape computes nothing at inference."""
    if row.role in ("identity", "dropout") or plain(row.kind) in NOTHING:
        return True
    same = row.output_shape == shape
    return same and (is_view(row) or plain(row.kind).startswith("adaptiveavgpool"))


def operators_of(
    row: Row, sources: int, source: tuple[int, ...], target: Target
) -> tuple[str, ...]:
    """The operators that a row becomes, each reading the one before; () if that is not known.

    Args:
        row: what is computed.
        sources: how many maps it reads.
        source: the shape of the first of them.
        target: who runs it.
    """
    if target.runtime == "tflm":
        pair = PAIRS.get(row.role) or PAIRS.get(plain(row.kind))
        return pair or tuple(filter(None, [_operator(row, sources, source)]))
    name = "BATCH_NORM" if row.role == "batch norm" else _operator(row, sources, source)
    known = name in EXECUTORCH[target.dtype] and not _may_be_functional(row, target)
    return (name,) if known else ()


# Rows that TensorFlow Lite has two operators for.
PAIRS = {"batch norm": ("MUL", "ADD"), "silu": ("LOGISTIC", "MUL")}


def _operator(row: Row, sources: int, source: tuple[int, ...]) -> str:
    kind, flat = plain(row.kind), len(row.output_shape) == 3
    if row.role in WEIGHTED:
        return _weighted(row, sources, (*source, 1)[0])
    if row.role in POOLING:
        return _pooling(row, flat)
    if row.role == "relu":
        return "RELU"
    if is_view(row):
        return "RESHAPE"
    if row.role == "join" and sources < 2 and kind != "cat":  # with itself: one map, read twice
        return BY_KIND.get(kind, "") if kind in ("add", "sub", "mul", "div") else ""
    return BY_KIND.get(kind, "")


def _weighted(row: Row, sources: int, depth: int) -> str:
    if not row.weight_shape or sources != 1:
        return ""
    if row.role == "linear":
        return "FULLY_CONNECTED"
    if len(row.weight_shape) != 4 or row.sliding is None:
        return ""
    if row.role == "transposed convolution":
        return "TRANSPOSE_CONV" if row.weight_shape[0] == depth and _groups(row) == 1 else ""
    return "DEPTHWISE_CONV_2D" if row.weight_shape[1] == 1 < depth else "CONV_2D"


def _groups(row: Row) -> int:
    return row.output_shape[0] // row.weight_shape[1]


def _pooling(row: Row, flat: bool) -> str:
    average = row.role == "average pooling"
    if row.sliding is not None:
        padded = average and any(map(any, row.sliding.padding))  # which count as zeros, or not
        fits = flat and row.sliding.dilation == (1, 1) and not padded
        return ("AVERAGE_POOL_2D" if average else "MAX_POOL_2D") if fits else ""
    if prod(row.output_shape[1:]) != 1:
        return ""
    return "MEAN" if average else "REDUCE_MAX"
