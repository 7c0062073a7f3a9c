"""The tensors of a model that live in the arena, as buffers for a planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import FormatError, explain, name_in_errors, shown
from .memory import Plan, tflm_plan
from .model import TfliteModel, TfliteTensor
from .order import MemoryGraph


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
