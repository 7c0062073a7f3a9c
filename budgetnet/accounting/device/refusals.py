"""What TensorFlow Lite Micro refuses to run: types without a kernel, maps that cannot be joined.

Sources: `kMaxInputNum` and the check of scales in tensorflow/lite/micro/kernels/concatenation.cc of
tflite-micro, and the scales that its kernels of activations want of their results; each operator
that a lowered account may have has been run alone, in every type, in its interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import names_text
from .model import TfliteModel, TfliteOperator

_MOST_JOINED = 10
_WIDE = f"more than {_MOST_JOINED} maps concatenated at once, which it refuses"
_SCALES = "concatenated maps of different scales, which wants a QUANTIZE that is not counted"
_LACKS = "no {} kernel in TensorFlow Lite Micro"

# The types that an operator has no kernel for; some load and stop at the first run.
_QUANTISED = ("int8", "int16")
_LACKING: dict[str, tuple[str, ...]] = {
    "GELU": (*_QUANTISED, "float32"),
    **dict.fromkeys(("EXP", "NEG", "SQRT"), _QUANTISED),
    **dict.fromkeys(
        ("DIV", "ELU", "HARD_SWISH", "LOG_SOFTMAX", "PRELU", "REDUCE_MAX", "RESIZE_BILINEAR"),
        ("int16",),
    ),
}

# The scales of results that kernels of int8 fix; those of int16 fix one for all three.
_FIXED = {"LOGISTIC": "1/256", "SOFTMAX": "1/256", "TANH": "1/128"}
# What keeps the scale of its input; a concatenation has one for all.
_KEEPING = frozenset({
    "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "REDUCE_MAX", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
})  # fmt: skip


def refusals(model: TfliteModel, places: Sequence[str]) -> tuple[str, ...]:
    """What the interpreter refuses of a model, each with where that is; () if it runs.

    Args:
        model: an account that was lowered, or a file.
        places: the layer that each operator belongs to.

    >>> from .model import TfliteTensor
    >>> maps = (TfliteTensor("x", (1, 4), "int16"), TfliteTensor("y", (1, 4), "int16"))
    >>> swish = TfliteOperator("HARD_SWISH", inputs=(0,), outputs=(1,))
    >>> refusals(TfliteModel("net", maps, (swish,), (0,), (1,)), ["conv1"])
    ('no int16 kernel in TensorFlow Lite Micro: conv1 (HARD_SWISH)',)
    """
    found: dict[str, list[str]] = {}
    unequal = _unequal(model)
    for k, (operator, place) in enumerate(zip(model.operators, places, strict=True)):
        if k in unequal:
            found.setdefault(_SCALES, []).append(place)
        dtype = _dtype(model, operator)
        if dtype in _LACKING.get(operator.name, ()):
            found.setdefault(_LACKS.format(dtype), []).append(f"{place} ({operator.name})")
        if operator.name == "CONCATENATION" and len(operator.inputs) > _MOST_JOINED:
            found.setdefault(_WIDE, []).append(place)
    return tuple(f"{what}: {names_text(list(dict.fromkeys(at)))}" for what, at in found.items())


def _dtype(model: TfliteModel, operator: TfliteOperator) -> str:
    """The type of what it computes with; that of a file's may be missing."""
    named = [i for i in operator.inputs if i >= 0]
    return model.tensors[named[0]].dtype if named else ""


def _unequal(model: TfliteModel) -> set[int]:
    """The concatenations that different fixed scales reach, by the index of the operator."""
    root = list(range(len(model.tensors)))  # tensors of one scale lead to the same one

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for operator in model.operators:
        joins = operator.name == "CONCATENATION"
        if joins or operator.name in _KEEPING:
            read = operator.inputs if joins else operator.inputs[:1]
            tied = [i for i in (*read, *operator.outputs) if i >= 0]  # -1 is an absent input
            for i in tied:
                root[find(i)] = find(tied[0])
    scales: dict[int, set[str]] = {}
    for operator in model.operators:
        if operator.name in _FIXED and _dtype(model, operator) == "int8":
            for i in operator.outputs:
                scales.setdefault(find(i), set()).add(_FIXED[operator.name])
    return {
        k for k, operator in enumerate(model.operators) if operator.name == "CONCATENATION"
        and any(len(scales.get(find(i), ())) > 1 for i in operator.outputs)
    }  # fmt: skip
