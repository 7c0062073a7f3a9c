"""What a `.tflite` file costs: MACs, parameters, and bytes in flash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..accounting.device.model import TfliteModel, TfliteTensor
from ..errors import name_in_errors
from ..trace.files.tflite_costs import operator_macs, operator_weights


@dataclass(frozen=True)
class TfliteFigures:
    """What a file costs, before it runs.

    Attributes:
        macs: multiply-adds of one run; None if an operator is not counted. A bias, a pooling, an
            activation or a sum has none.
        params: elements of its weights, each tensor once.
        weight_bytes: of their data, each once: one for an int8 weight, four for an int32 bias.
        constant_bytes: of all data in the file: weights, and shapes, axes and paddings.
        variable_bytes: of tensors that keep their values between runs.
        uncounted: names of the operators whose MACs are not known.
    """

    macs: int | None
    params: int
    weight_bytes: int
    constant_bytes: int
    variable_bytes: int
    uncounted: tuple[str, ...]


def figures_of(model: TfliteModel) -> TfliteFigures:
    """Count a model.

    Raises:
        FormatError: the shapes of an operator do not fit together.
    """
    with name_in_errors(model.name):
        macs = [operator_macs(model, k) for k in range(len(model.operators))]
        variable = sum(tensor.bytes for tensor in model.tensors if tensor.variable)
    weights = {i for k in range(len(model.operators)) for i in operator_weights(model, k)}
    constants = [tensor for tensor in model.tensors if tensor.constant]
    unknown = {o.name for o, cost in zip(model.operators, macs, strict=True) if cost is None}
    return TfliteFigures(
        macs=None if unknown else sum(cost or 0 for cost in macs),
        params=sum(model.tensors[i].elements for i in weights),
        weight_bytes=_stored(model.tensors[i] for i in weights),
        constant_bytes=_stored(constants),
        variable_bytes=variable,
        uncounted=tuple(sorted(unknown)),
    )


def _stored(tensors: Iterable[TfliteTensor]) -> int:
    """The bytes of their data; some tensors share one buffer."""
    return sum({tensor.buffer: tensor.stored for tensor in tensors}.values())
