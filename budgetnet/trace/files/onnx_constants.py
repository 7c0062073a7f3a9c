"""Values of an `.onnx` graph that do not depend on its input, such as shapes that it computes.

Only those that say where or how are followed by value: few, and whole numbers mostly.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import ceil, floor, prod
from typing import Any

from .maps import Shape
from .onnx import DTYPES, MOST_VALUES, OnnxTensor
from .onnx_call import Call, Constant

Values = tuple[Any, ...]


def constant_of(call: Call) -> Constant | None:
    """What a node without inputs gives; `None` if it is no such node."""
    node = call.node
    if node.kind == "Constant":
        for key, value in node.given.items():
            if isinstance(value, OnnxTensor):
                named = OnnxTensor(node.outputs[0], value.shape, value.dtype, value.values)
                return Constant(value.shape, value.dtype, value.values, (named,))
            if key in ("value_float", "value_int") and isinstance(value, int | float):
                return Constant((), _kind(value), (value,))
            if key in ("value_floats", "value_ints") and isinstance(value, tuple):
                return Constant((len(value),), _kind(value[0] if value else 0), value)
    return None


def _kind(value: object) -> str:
    return "int64" if isinstance(value, int) else "float32"


def shape_constant(call: Call, shape: Shape) -> Constant:
    """What `Shape` and `Size` give for a shape."""
    if call.node.kind == "Size":
        return Constant((), "int64", (prod(shape),))
    part = shape[call.given("start", 0) : call.given("end", len(shape))]
    return Constant((len(part),), "int64", part)


def evaluated(call: Call, shape: Shape) -> Values | None:
    """The values that a node gives for constants of few values; `None` if they are not followed."""
    if prod(shape) > MOST_VALUES or (rule := _RULES.get(call.node.kind)) is None:
        return None
    given = [call.floats(k) for k in range(len(call.node.inputs))]
    if call.node.kind in _MOVING:
        found = None if given[0] is None else rule(call, [given[0]])
    else:
        known = [values for values in given if values is not None]
        found = rule(call, known) if len(known) == len(given) else None
    return found if found is not None and len(found) == prod(shape) else None


def _element(function: Callable[..., Any]) -> Callable[[Call, Sequence[Values]], Values | None]:
    """A function of elements; single ones serve all."""

    def rule(call: Call, given: Sequence[Values]) -> Values | None:
        length = max(map(len, given))
        if any(len(values) not in (1, length) for values in given):
            return None
        columns = [values * (length if len(values) == 1 else 1) for values in given]
        try:
            return tuple(function(*column) for column in zip(*columns, strict=True))
        except (ArithmeticError, TypeError, ValueError):  # a division by zero, infinity
            return None

    return rule


def _divided(a: Any, b: Any) -> Any:
    """Whole numbers are divided towards zero."""
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) is (b < 0) else -1)
    return a / b


def _gather(call: Call, given: Sequence[Values]) -> Values | None:
    data, chosen = given
    shape = call.shape(0)
    if shape is None or len(shape) != 1 or not all(-len(data) <= j < len(data) for j in chosen):
        return None
    return tuple(data[int(j)] for j in chosen)


def _concat(call: Call, given: Sequence[Values]) -> Values | None:
    flat = all(len(call.shape(k) or ()) == 1 for k in range(len(given)))
    return tuple(value for values in given for value in values) if flat else None


def _slice(call: Call, given: Sequence[Values]) -> Values | None:
    starts, ends, steps = call.numbers_or(1, "starts"), call.numbers_or(2, "ends"), call.numbers(4)
    if len(call.shape(0) or ()) != 1 or not starts or not ends or 0 in (steps or ()):
        return None
    return given[0][starts[0] : ends[0] : (steps or (1,))[0]]


def _cast(call: Call, given: Sequence[Values]) -> Values | None:
    dtype = DTYPES.get(call.given("to", 0), ("", 0))[0]
    whole = dtype.startswith(("int", "uint", "bool"))
    try:
        return tuple(int(n) if whole else float(n) for n in given[0])
    except (OverflowError, ValueError):  # infinity, no number
        return None


def _filled(call: Call, given: Sequence[Values]) -> Values | None:
    value = call.node.given.get("value")
    one = value.values if isinstance(value, OnnxTensor) and value.values else (0.0,)
    count = prod(int(n) for n in given[0])
    return one * count if 0 <= count <= MOST_VALUES else None


def filled_shape(call: Call) -> Constant | None:
    """What `ConstantOfShape` and `Range` give, whose shape is a value."""
    given = [call.floats(k) for k in range(len(call.node.inputs))]
    known = [values for values in given if values is not None]
    if len(known) < len(given) or not known:
        return None
    if call.node.kind == "ConstantOfShape":
        value = call.node.given.get("value")
        dtype = value.dtype if isinstance(value, OnnxTensor) else "float32"
        shape = tuple(int(n) for n in known[0])
        if any(n < 0 for n in shape):
            return call.raise_misfit()
        return Constant(shape, dtype, _filled(call, known))
    start, end, step = (values[0] if values else 0 for values in (*known, (), ())[:3])
    if not all(isinstance(n, int) for n in (start, end, step)) or not step:
        return None
    found = range(int(start), int(end), int(step))
    values = tuple(found) if len(found) <= MOST_VALUES else None
    return Constant((len(found),), "int64", values)


_MOVING = {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"}
_RULES: dict[str, Callable[[Call, Sequence[Values]], Values | None]] = {
    **dict.fromkeys(_MOVING - {"Cast", "Slice"}, lambda call, given: given[0]),
    "Cast": _cast, "Slice": _slice, "Gather": _gather, "Concat": _concat,
    "Add": _element(operator.add), "Sub": _element(operator.sub), "Mul": _element(operator.mul),
    "Div": _element(_divided), "Mod": _element(operator.mod), "Neg": _element(operator.neg),
    "Floor": _element(floor), "Ceil": _element(ceil), "Max": _element(max), "Min": _element(min),
    "Equal": _element(operator.eq), "Where": _element(lambda c, a, b: a if c else b),
}  # fmt: skip
