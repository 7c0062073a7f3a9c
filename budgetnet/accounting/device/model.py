"""A network as a runtime sees it: operators over tensors, named as TensorFlow Lite names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from ...errors import FormatError, explain, shown

# Element types in the order of `TensorType`, with their bytes in memory; None where an element has
# no whole number of bytes, or no fixed one.
DTYPES: dict[str, int | None] = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "string": None, "bool": 1,
    "int16": 2, "complex64": 8, "int8": 1, "float64": 8, "complex128": 16, "uint64": 8,
    "resource": None, "variant": None, "uint32": 4, "uint16": 2, "int4": None, "bfloat16": 2,
    "int2": None, "uint4": None, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TfliteTensor:
    """A tensor of the graph.

    Attributes:
        name: as the file has it.
        shape: batch first, channels last: (N, H, W, C) for a map; () for a scalar.
        dtype: such as "int8".
        buffer: the number of the buffer that holds its data, if it is constant; some share one.
        stored: the bytes of that data in the file; 0 unless constant.
        variable: whether it keeps its values between runs, as states do.
        values: of a short constant of int32 or int64, such as axes and paddings; else ().
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer: int = 0
    stored: int = 0
    variable: bool = False
    values: tuple[int, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether its values lie in the file."""
        return self.stored > 0

    @property
    def elements(self) -> int:
        """The number of its elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """The bytes of its elements in memory.

        Raises:
            FormatError: its elements have no fixed size in bytes, such as strings or int4.
        """
        if (size := DTYPES.get(self.dtype)) is None:
            what = f"the size of {self.dtype} elements is not known"
            raise FormatError(explain(what, where=shown(self.name)))
        return self.elements * size


@dataclass(frozen=True)
class Options:
    """What an operator's options say, as far as figures need it; pairs are (height, width)."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str | None = None  # "same" or "valid"
    kernel: tuple[int, int] | None = None  # of a pooling; that of a convolution is its weight's
    activation: str | None = None  # the one that is fused into it
    depth_multiplier: int | None = None
    axis: int | None = None
    given: Mapping[str, int] = field(default_factory=dict, compare=False)  # as the file has them


@dataclass(frozen=True)
class TfliteOperator:
    """An operator: its name in the schema, and the tensors it reads and writes, by index.

    An optional input that is absent, such as a bias, has the index -1.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class TfliteModel:
    """What a `.tflite` file holds; operators stand in the order in which they run.

    Attributes:
        inputs, outputs: of the graph, as indices of tensors.
        fixed: the offset of every tensor in an offline plan that the file brings, -1 for none.
    """

    name: str
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    fixed: tuple[int, ...] | None = None
