"""What TensorFlow Lite Micro refuses to run: too many maps at once, and types without a kernel.

Sources: `kMaxInputNum` in tensorflow/lite/micro/kernels/concatenation.cc of tflite-micro; each
operator that a lowered account may have has been run alone, in every type, in its interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import names_text
from .model import TfliteModel, TfliteOperator

_MOST_JOINED = 10
_WIDE = f"more than {_MOST_JOINED} maps concatenated at once, which it refuses"
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
    for operator, place in zip(model.operators, places, strict=True):
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
