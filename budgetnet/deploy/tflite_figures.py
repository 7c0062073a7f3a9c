"""What a `.tflite` file costs: MACs, parameters, bytes in flash, and the arena it runs in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import FormatError, explain, shown
from ..trace.files.flatbuffer import name_in_errors
from ..trace.files.tflite import TfliteModel, TfliteTensor
from ..trace.files.tflite_costs import operator_macs, operator_weights
from .memory import Plan, tflm_plan
from .order import MemoryGraph


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


@dataclass(frozen=True)
class Activations:
    """The tensors of a file that live in the arena, as buffers.

    Attributes:
        model: the file.
        tensors: indices of the tensors, one for each buffer of the graph.
        graph: which operator reads and writes which buffer.
    """

    model: TfliteModel
    tensors: tuple[int, ...]
    graph: MemoryGraph

    def tflm_plan(self, order: Sequence[int] | None = None) -> Plan:
        """What TensorFlow Lite Micro plans; an offline plan that the file brings is kept to.

        The size of the plan is what `RecordingMicroAllocator` prints as "head".
        """
        buffers = self.graph.buffers(order)
        given = self.model.fixed or (-1,) * len(self.model.tensors)
        fixed = [None if given[i] == -1 else given[i] for i in self.tensors]
        return tflm_plan(buffers, [*fixed, *[None] * (len(buffers) - len(fixed))])

    def tensor_offsets(self, plan: Plan) -> tuple[int, ...]:
        """The offsets of a plan for every tensor of the file, -1 for those not in the arena."""
        offsets = [-1] * len(self.model.tensors)
        for i, offset in zip(self.tensors, plan.offsets, strict=False):  # scratch follows
            offsets[i] = offset
        return tuple(offsets)


def activations(
    model: TfliteModel, scratch: Mapping[int, Sequence[int]] | None = None
) -> Activations:
    """The tensors in the arena: all but constants, variables and empty ones.

    Source: `InitializeAllocationInfo` in tflite-micro's tensorflow/lite/micro/
    micro_allocation_info.cc; variables are in its persistent part, constants stay in the file.

    Args:
        model: the file.
        scratch: the bytes of buffers that an operator's kernel asks for, by its index; kernels of a
            library differ in it, and those of the reference implementation mostly ask for none.

    Raises:
        FormatError: the elements of a tensor have no fixed size, or the file's offline plan places
            a variable, which some releases of the interpreter heed and some do not.
    """
    live = [i for i, tensor in enumerate(model.tensors) if _in_arena(tensor)]
    number = {i: k for k, i in enumerate(live)}

    def known(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(number[i] for i in indices if i in number)

    own = scratch or {}
    with name_in_errors(model.name):
        sizes = tuple(model.tensors[i].bytes for i in live)
        for tensor, offset in zip(model.tensors, model.fixed or (), strict=False):
            if tensor.variable and offset != -1:
                what = f"its offline plan places the variable {shown(tensor.name)}"
                raise FormatError(explain(what, numbers={"offset": offset}))
    graph = MemoryGraph(
        sizes=sizes,
        reads=tuple(known(operator.inputs) for operator in model.operators),
        writes=tuple(known(operator.outputs) for operator in model.operators),
        inputs=known(model.inputs),
        outputs=known(model.outputs),
        scratch=tuple(tuple(own.get(k, ())) for k in range(len(model.operators))) if own else (),
    )
    return Activations(model, tuple(live), graph)


def _in_arena(tensor: TfliteTensor) -> bool:
    return not tensor.constant and not tensor.variable and tensor.elements > 0
