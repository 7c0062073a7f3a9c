"""An `.onnx` file as inputs, stored tensors and nodes, read without the package of that name.

The numbers of fields and types are those of onnx/onnx.proto, which are never given anew.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from ...errors import FormatError, explain, name_in_errors, one_line, shown
from .flatbuffer import raise_damaged
from .protobuf import Message

MOST_ELEMENTS = 1 << 40
MOST_VALUES = 64  # of a tensor that says where or how

# By number of `TensorProto.DataType`: the name of a type and the bits of an element, 0 for none.
DTYPES: dict[int, tuple[str, int]] = {
    0: ("", 0), 1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16),
    5: ("int16", 16), 6: ("int32", 32), 7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8),
    10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64),
    14: ("complex64", 64), 15: ("complex128", 128), 16: ("bfloat16", 16),
    17: ("float8_e4m3fn", 8), 18: ("float8_e4m3fnuz", 8), 19: ("float8_e5m2", 8),
    20: ("float8_e5m2fnuz", 8), 21: ("uint4", 4), 22: ("int4", 4), 23: ("float4_e2m1", 4),
    24: ("float8_e8m0", 8), 25: ("uint2", 2), 26: ("int2", 2),
}  # fmt: skip
BITS = dict(DTYPES.values())


@dataclass(frozen=True)
class OnnxTensor:
    """A tensor that lies in the file, or beside it.

    Attributes:
        name: as the file has it.
        shape: of all axes; () for a scalar.
        dtype: such as "float32".
        values: of a short one of whole numbers or of floats that say where or how; else `None`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: tuple[float, ...] | None = None

    @property
    def elements(self) -> int:
        """The number of its elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class OnnxValue:
    """What a graph says of an input, an output or a result.

    Attributes:
        shape: the size of every axis, a name where it is open; `None` if nothing is said.
    """

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str


@dataclass(frozen=True)
class OnnxNode:
    """A node: its operation, and the names of the tensors that it reads and writes, "" for none."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    given: Mapping[str, object] = field(default_factory=dict)  # attributes

    @property
    def title(self) -> str:
        """The operation, with its domain unless that is ONNX's own."""
        own = self.domain in ("", "ai.onnx")
        text = self.kind if own else f"{self.domain}.{self.kind}"
        return text if text.isprintable() and len(text) < 80 else shown(text)


@dataclass(frozen=True)
class OnnxModel:
    """What an `.onnx` file holds; nodes stand in the order in which they run."""

    name: str
    nodes: tuple[OnnxNode, ...]
    stored: Mapping[str, OnnxTensor]
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    said: Mapping[str, OnnxValue]
    opset: int


def parse_onnx(data: bytes, name: str = "model") -> OnnxModel:
    """Read the bytes of an `.onnx` file; `name` is what errors call it.

    Raises:
        FormatError: it is damaged or no `.onnx` file; the message says why, in one line.

    >>> parse_onnx(b"", name="cat")
    Traceback (most recent call last):
        ...
    budgetnet.errors.FormatError: cat: this is not an ONNX model: it has no graph.
    """
    with name_in_errors(name):
        try:
            root = Message(memoryview(data))
            graph = root.message(7)
        except FormatError as error:
            if data[:1] == b"\x08":  # every file starts with the version of its format
                raise
            reason = one_line(error).partition(": ")[2].rstrip(".")
            raise FormatError(explain(f"this is not an ONNX model: {reason}")) from None
        if graph is None:
            raise FormatError(explain("this is not an ONNX model: it has no graph"))
        model = _model(root, graph, name)
        _check_order(model)
    return model


def _model(root: Message, graph: Message, name: str) -> OnnxModel:
    stored = {tensor.name: tensor for tensor in map(_tensor, graph.messages(5))}
    for sparse in graph.messages(15):
        values = sparse.message(1)
        if values is not None:
            tensor = _tensor(values)
            stored[tensor.name] = OnnxTensor(tensor.name, sparse.numbers(3), tensor.dtype)
    inputs = tuple(map(_value, graph.messages(11)))
    outputs = tuple(map(_value, graph.messages(12)))
    said = {value.name: value for value in (*map(_value, graph.messages(13)), *outputs)}
    opsets = {entry.text(1): entry.number(2) for entry in root.messages(8)}
    return OnnxModel(
        name,
        tuple(map(_node, graph.messages(1))),
        stored,
        tuple(value for value in inputs if value.name not in stored),
        outputs,
        said,
        opsets.get("", opsets.get("ai.onnx", 1)),
    )


def _tensor(message: Message) -> OnnxTensor:
    shape, name = message.numbers(1), message.text(8)
    dtype, bits = _dtype(message.number(2), name)
    if any(n < 0 for n in shape) or prod(n or 1 for n in shape[:64]) > MOST_ELEMENTS:
        raise_damaged(f"the tensor {shown(name)} has no valid shape", shape=shown(shape))
    outside = message.number(14) == 1
    raw = message.size(9)
    if not outside and 9 in message and bits and raw != -(-prod(shape) * bits // 8):
        numbers = {"bytes": raw, "expected": -(-prod(shape) * bits // 8)}
        raise_damaged(
            f"the tensor {shown(name)} has data of another size than its shape", **numbers
        )
    values = None if outside or prod(shape) > MOST_VALUES else _values(message, dtype, name)
    if values is not None and len(values) != prod(shape):
        numbers = {"values": len(values), "expected": prod(shape)}
        raise_damaged(
            f"the tensor {shown(name)} has data of another size than its shape", **numbers
        )
    return OnnxTensor(name, shape, dtype, values)


_RAW = {"float32": "f", "int32": "i", "int64": "q", "float64": "d", "bool": "?"}


def _values(message: Message, dtype: str, name: str) -> tuple[float, ...] | None:
    if dtype not in _RAW:
        return None
    if 9 in message:
        raw = message.bytes(9)
        size = struct.calcsize(_RAW[dtype])
        return struct.unpack(f"<{len(raw) // size}{_RAW[dtype]}", raw[: len(raw) // size * size])
    if dtype == "float32":
        return message.floats(4)
    return {
        "int32": message.numbers(5),
        "bool": message.numbers(5),
        "int64": message.numbers(7),
    }.get(dtype)


def _dtype(number: int, name: str) -> tuple[str, int]:
    if number not in DTYPES:
        raise_damaged(f"the tensor {shown(name)} has no known type", type=number)
    return DTYPES[number]


def _value(message: Message) -> OnnxValue:
    name, kind = message.text(1), message.message(2)
    tensor = kind.message(1) if kind is not None else None
    if tensor is None:
        return OnnxValue(name, None, "")
    dtype, shape = _dtype(tensor.number(1), name)[0], tensor.message(2)
    if shape is None:
        return OnnxValue(name, None, dtype)
    sizes = tuple(
        axis.number(1) if 1 in axis else axis.text(2) or "?" for axis in shape.messages(1)
    )
    fixed = [n for n in sizes if isinstance(n, int)]
    if any(n < 0 for n in fixed) or prod(n or 1 for n in fixed[:64]) > MOST_ELEMENTS:
        raise_damaged(f"{shown(name)} has no valid shape", shape=shown(sizes))
    return OnnxValue(name, sizes, dtype)


def _node(message: Message) -> OnnxNode:
    given = {}
    for entry in message.messages(5):
        given[entry.text(1)] = _attribute(entry)
    if not message.text(4):
        raise_damaged("a node has no operation")
    return OnnxNode(
        message.text(3),
        message.text(4),
        message.text(7),
        tuple(message.texts(1)),
        tuple(message.texts(2)),
        given,
    )


def _attribute(entry: Message) -> object:
    """A value of one of the types that figures need; `None` for graphs and the like."""
    kind = entry.number(20)
    if kind == 1 or (not kind and 2 in entry):
        return (entry.floats(2) or (0.0,))[-1]
    if kind == 2 or (not kind and 3 in entry):
        return entry.number(3)
    if kind == 3 or (not kind and 4 in entry):
        return entry.text(4)
    if kind == 4 or (not kind and 5 in entry):
        tensor = entry.message(5)
        return _tensor(tensor) if tensor is not None else None
    if kind == 6 or (not kind and 7 in entry):
        return entry.floats(7)
    if kind == 7 or (not kind and 8 in entry):
        return entry.numbers(8)
    return tuple(entry.texts(9)) if kind == 8 else None


def _check_order(model: OnnxModel) -> None:
    """Refuse a tensor that is read before it is written, or written twice."""
    written = {"", *model.stored, *(value.name for value in model.inputs)}
    for i, node in enumerate(model.nodes):
        where = f"node {i} ({node.title})"
        for name in node.inputs:
            if name not in written:
                raise_damaged(f"{where} reads {shown(name)}, which nothing has written")
        for name in filter(None, node.outputs):
            if name in written:
                raise_damaged(f"{where} writes {shown(name)}, which has its values already")
            written.add(name)
    for value in model.outputs:
        if value.name not in written:
            raise_damaged(f"nothing writes the output {shown(value.name)}")
