"""One node of an `.onnx` graph with what it reads, as its rule sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ...accounting.receptive_field import ReceptiveField
from .building import Stored
from .flatbuffer import raise_damaged
from .maps import STILL, Map, Shape
from .onnx import BITS, OnnxNode, OnnxTensor


@dataclass(frozen=True)
class Constant:
    """What does not depend on an input.

    Attributes:
        shape: `None` if it is not known.
        values: if they are few, and known.
        sources: the stored tensors that it was made of.
    """

    shape: Shape | None
    dtype: str
    values: tuple[float, ...] | None = None
    sources: tuple[OnnxTensor, ...] = ()


class Call:
    """A node with its inputs; constants are maps that read nothing where all inputs are such."""

    def __init__(
        self,
        node: OnnxNode,
        k: int,
        known: Mapping[str, Map],
        constants: Mapping[str, Constant],
        opset: int,
    ) -> None:
        """Look up its inputs."""
        self.node, self.k, self.opset = node, k, opset
        self.constants = [constants.get(name) for name in node.inputs]
        self.inputs = [known.get(name) for name in node.inputs]
        self.maps = [x for x in self.inputs if x is not None]
        self.is_constant = not self.maps
        if self.is_constant:
            self.inputs = [as_map(constant) for constant in self.constants]
            self.maps = [x for x in self.inputs if x is not None]

    @property
    def x(self) -> Map:
        """The first map that it reads."""
        if not self.maps:
            self.raise_misfit()
        return self.maps[0]

    @property
    def rank(self) -> int:
        """The number of axes of the first map."""
        return len(self.x.shape)

    def has(self, place: int) -> bool:
        """Whether an input is there."""
        return place < len(self.node.inputs) and self.node.inputs[place] != ""

    def shape(self, place: int) -> Shape | None:
        """The shape of an input; `None` if it is absent or not known."""
        if not self.has(place):
            return None
        x, constant = self.inputs[place], self.constants[place]
        return x.shape if x is not None else constant.shape if constant else None

    def numbers(self, place: int) -> tuple[int, ...] | None:
        """The whole numbers of an input; `None` if it is absent or they are not known."""
        found = self.floats(place)
        return None if found is None else tuple(map(int, found))

    def floats(self, place: int) -> tuple[float, ...] | None:
        """The numbers of an input; `None` if it is absent or they are not known."""
        constant = self.constants[place] if self.has(place) else None
        return constant.values if constant else None

    def given(self, name: str, default: Any) -> Any:
        """An attribute; a value of another type than the default's is damage."""
        value = self.node.given.get(name, default)
        if default is None:
            return value
        if not isinstance(value, type(default)) or (
            isinstance(default, tuple) and not all(isinstance(n, int) for n in value)
        ):
            raise_damaged(f"{self.where} has no valid {name}")
        return value

    def numbers_or(self, place: int, name: str) -> tuple[int, ...] | None:
        """Whole numbers that older files have as an attribute, newer ones as an input."""
        if name in self.node.given:
            return tuple(self.given(name, ()))
        return self.numbers(place)

    def axes(self, values: Sequence[int], rank: int | None = None) -> list[int]:
        """Axes, which may be counted from the end."""
        rank = self.rank if rank is None else rank
        if not all(-rank <= i < rank for i in values):
            raise_damaged(f"{self.where} has no valid axis", got=tuple(values), axes=rank)
        return [i % rank for i in values]

    def axis(self, default: int) -> int:
        """The attribute of that name."""
        return self.axes([self.given("axis", default)])[0]

    @property
    def where(self) -> str:
        """The node, as errors call it."""
        return f"node {self.k} ({self.node.title})"

    def raise_misfit(self) -> NoReturn:
        """Raise the error for shapes that do not fit together."""
        shapes = [self.shape(place) for place in range(len(self.node.inputs))]
        raise_damaged(f"the shapes of {self.where} do not fit together", inputs=shapes[:4])

    def stored(self, places: Sequence[int], buffers: Sequence[int] = ()) -> list[Stored]:
        """The numbers of the file that some inputs are, or were made of."""
        found = []
        for place in places:
            constant = self.constants[place] if self.has(place) else None
            for tensor in constant.sources if constant else ():
                found.append(stored_of(tensor, is_buffer=place in buffers))
        return found


def stored_of(tensor: OnnxTensor, *, is_buffer: bool = False) -> Stored:
    """A tensor of the file as numbers to be counted."""
    size = -(-tensor.elements * BITS.get(tensor.dtype, 0) // 8)
    return Stored(tensor.name, tensor.name, tensor.dtype, tensor.elements, size, is_buffer)


def as_map(constant: Constant | None) -> Map | None:
    """A constant as a map that reads nothing, so that the rules tell the shape of what follows."""
    if constant is None or constant.shape is None:
        return None
    axes = (STILL,) * len(constant.shape)
    return Map(constant.shape, axes, ReceptiveField(()), dtype=constant.dtype)
