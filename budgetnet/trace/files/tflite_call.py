"""One operator of a `.tflite` file with what it reads, as its rule sees it."""

from __future__ import annotations

from typing import NoReturn

from ...accounting.device.model import DTYPES, TfliteModel, TfliteOperator, TfliteTensor
from .building import Stored
from .flatbuffer import raise_damaged
from .maps import Map, Shape
from .tflite_costs import operator_weights


class Call:
    """One operator with the maps that it reads."""

    def __init__(
        self, model: TfliteModel, k: int, known: dict[int, Map], made: dict[int, list[int]]
    ) -> None:
        """Look up its tensors."""
        self.model, self.k, self.made = model, k, made
        self.operator: TfliteOperator = model.operators[k]
        self.inputs = [known.get(i) for i in self.operator.inputs]
        self.maps = [x for x in self.inputs if x is not None]

    @property
    def name(self) -> str:
        """Of its first result, since operators have none."""
        outputs = self.operator.outputs
        return self.model.tensors[outputs[0]].name if outputs else f"operator {self.k}"

    @property
    def output(self) -> TfliteTensor:
        """The first result."""
        return self.model.tensors[self.operator.outputs[0]]

    @property
    def x(self) -> Map:
        """The first map that it reads."""
        return self.maps[0]

    def tensor(self, place: int) -> TfliteTensor | None:
        """An input, if there is one."""
        inputs = self.operator.inputs
        there = place < len(inputs) and inputs[place] >= 0
        return self.model.tensors[inputs[place]] if there else None

    def values(self, place: int) -> tuple[int, ...] | None:
        """What an input says that tells where or how; `None` if it is not in the file."""
        tensor = self.tensor(place)
        return tensor.values if tensor and tensor.constant and tensor.values else None

    def shape(self, place: int) -> Shape:
        """The shape of an input; () if it is absent."""
        tensor = self.tensor(place)
        return tensor.shape if tensor else ()

    def weights(self) -> list[int]:
        """Its weights and biases, also those that another operator unpacks."""
        unpacked = [i for j in self.operator.inputs for i in self.made.get(j, ())]
        return [*operator_weights(self.model, self.k), *unpacked]

    def raise_misfit(self, expected: Shape, got: Shape) -> NoReturn:
        """Raise the error for shapes that do not fit together."""
        raise_damaged(
            f"the shapes of operator {self.k} ({self.operator.name}) do not fit together",
            inputs=[x.shape for x in self.maps], output=got, expected=expected,
        )  # fmt: skip


def stored_of(model: TfliteModel, i: int) -> Stored:
    """A constant tensor; some share a buffer, and a sparse one stores fewer than it has."""
    tensor = model.tensors[i]
    packed = tensor.dtype in ("int4", "uint4", "int2")
    count = tensor.elements if packed else tensor.stored // (DTYPES[tensor.dtype] or 1)
    return Stored(tensor.buffer, tensor.name, tensor.dtype, count, tensor.stored)
