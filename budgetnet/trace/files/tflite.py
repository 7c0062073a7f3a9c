"""A `.tflite` file as tensors and operators, read without TensorFlow.

The numbers of tables, fields and enumerations are those of tensorflow/lite/schema/schema.fbs,
version 3 (identifier TFL3).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from ...accounting.device.model import (
    DTYPES,
    Options,
    TfliteModel,
    TfliteOperator,
    TfliteTensor,
)
from ...accounting.files import read_bytes
from ...errors import FormatError, explain, name_in_errors, shown
from .flatbuffer import File, Table, raise_damaged
from .tflite_names import ACTIVATIONS, OPERATORS, OPTIONS

MOST_ELEMENTS = 1 << 40  # of one tensor; no file holds as many
MOST_VALUES = 64  # of a constant that says where or how
OFFLINE_PLAN = "OfflineMemoryAllocation"  # the metadata in which TFLM looks for a plan


def read_tflite(path: str | Path) -> TfliteModel:
    """Read a `.tflite` file.

    Raises:
        ArgumentError: the file cannot be opened.
        FormatError: it is damaged or no `.tflite` file; the message names it and says why, in one
            line.
    """
    return parse_tflite(read_bytes(Path(path)), name=str(path))


def parse_tflite(data: bytes, name: str = "model") -> TfliteModel:
    """Read the bytes of a `.tflite` file; `name` is what errors call it.

    Raises:
        FormatError: as of `read_tflite`.

    >>> parse_tflite(b"GIF89a", name="cat")
    Traceback (most recent call last):
        ...
    budgetnet.errors.FormatError: cat: this is not a TensorFlow Lite file (bytes 4-8 are not TFL3).
    """
    with name_in_errors(name):
        model = _model(root_of(data), name)
        _check_order(model)
    return model


def root_of(data: bytes) -> Table:
    """The table of the model; raises `FormatError` if the bytes are no `.tflite` file."""
    if data[4:8] != b"TFL3":
        raise FormatError(explain("this is not a TensorFlow Lite file (bytes 4-8 are not TFL3)"))
    root = File(data).root()
    if (version := root.number(0, "I")) != 3:
        raise FormatError(explain("its schema is not known", numbers={"version": version}))
    return root


def graph_of(root: Table) -> Table:
    """The table of the one subgraph; raises `FormatError` if there are more, or none."""
    graphs = root.tables(2)
    if len(graphs) != 1:
        what = "only files of one subgraph are read; loops and branches at run time have more"
        raise FormatError(explain(what, numbers={"subgraphs": len(graphs)}))
    return graphs[0]


def _model(root: Table, name: str) -> TfliteModel:
    buffers, graph, names = root.tables(4), graph_of(root), _operator_names(root)
    tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
    known = range(len(tensors))
    operators = tuple(_operator(table, names, known, i) for i, table in enumerate(graph.tables(3)))
    return TfliteModel(
        name,
        tensors,
        operators,
        inputs=_indices(graph.numbers(1), known, "an input of the graph"),
        outputs=_indices(graph.numbers(2), known, "an output of the graph"),
        fixed=_offline_plan(root, buffers, len(tensors)),
    )


def _operator_names(root: Table) -> list[str]:
    """The name of every operator code; a custom one gives its own."""
    names = []
    for table in root.tables(1):
        # Codes beyond 127 do not fit the old field; the larger of both counts.
        code = max(table.number(0, "b"), table.number(3, "i"))
        if not 0 <= code < len(OPERATORS):
            raise_damaged("it has an operator that its schema does not know", code=code)
        name = OPERATORS[code]
        names.append(f"CUSTOM {shown(table.text(1))}" if name == "CUSTOM" else name)
    return names


def _tensor(table: Table, buffers: Sequence[Table]) -> TfliteTensor:
    shape, dtype, index = table.numbers(0), table.number(1, "b"), table.number(2, "I")
    name = table.text(3)
    if not 0 <= dtype < len(DTYPES):
        raise_damaged(f"the tensor {shown(name)} has no known type", type=dtype)
    if any(n < 0 for n in shape) or prod(n or 1 for n in shape[:64]) > MOST_ELEMENTS:
        raise_damaged(f"the tensor {shown(name)} has no valid shape", shape=shown(shape))
    if index >= len(buffers):
        raise_damaged(f"the tensor {shown(name)} has no buffer", index=index, buffers=len(buffers))
    if buffers[index].number(1, "Q") > 1 or table.number(10, "I"):
        what = f"the tensor {shown(name)} keeps its data outside the flatbuffer"
        raise FormatError(explain(what, remedy="Such files are not read."))
    start, stored = buffers[index].vector(0, 1)
    tensor = TfliteTensor(
        name, shape, list(DTYPES)[dtype], index, stored, bool(table.number(5, "B"))
    )
    packed = table.place(6) is not None or DTYPES[tensor.dtype] is None  # sparse, or int4
    if stored and not packed and stored != tensor.bytes:
        numbers = {"bytes": stored, "expected": tensor.bytes}
        raise_damaged(
            f"the tensor {shown(name)} has data of another size than its shape", **numbers
        )
    if packed or tensor.dtype not in ("int32", "int64") or tensor.elements > MOST_VALUES:
        return tensor
    kind = "i" if tensor.dtype == "int32" else "q"
    count = stored // struct.calcsize(kind)
    return replace(tensor, values=struct.unpack_from(f"<{count}{kind}", table.file.data, start))


def _operator(table: Table, names: Sequence[str], known: range, i: int) -> TfliteOperator:
    code = table.number(0, "I")
    if code >= len(names):
        raise_damaged(f"operator {i} has no code", index=code, codes=len(names))
    where = f"operator {i} ({names[code]})"
    inputs = _indices(table.numbers(1), range(-1, len(known)), f"an input of {where}")
    outputs = _indices(table.numbers(2), known, f"an output of {where}")
    kind = table.number(3, "B")
    options = table.table(4) if names[code] in OPTIONS and kind else None
    if options is not None and kind != OPTIONS[names[code]][0]:
        raise_damaged(f"{where} has the options of another operator", type=kind)
    return TfliteOperator(names[code], inputs, outputs, _options(options, names[code], where))


def _options(table: Table | None, name: str, where: str) -> Options:
    if name not in OPTIONS or table is None:
        return Options()
    fields, given = OPTIONS[name][1], {}
    for key, (number, kind, default) in fields.items():
        given[key] = table.number(number, kind, default)

    def pair(key: str) -> tuple[int, int]:
        value = (given.get(f"{key}_h", 1), given.get(f"{key}_w", 1))
        if min(value) < 1:
            raise_damaged(f"{where} has no valid {key}", got=value)
        return value

    padding, activation = given.get("padding"), given.get("activation", 0)
    if padding not in (None, 0, 1) or not 0 <= activation < len(ACTIVATIONS):
        raise_damaged(
            f"{where} has options beyond the schema", padding=padding, activation=activation
        )
    return Options(
        stride=pair("stride"),
        dilation=pair("dilation"),
        padding=None if padding is None else ("same", "valid")[padding],
        kernel=pair("kernel") if "kernel_h" in fields else None,
        activation=ACTIVATIONS[activation],
        depth_multiplier=given.get("depth_multiplier"),
        axis=given.get("axis"),
        given=given,
    )


def _indices(values: tuple[int, ...], allowed: range, what: str) -> tuple[int, ...]:
    for value in values:
        if value not in allowed:
            raise_damaged(f"{what} is not a valid tensor", index=value, tensors=allowed.stop)
    return values


def _offline_plan(root: Table, buffers: Sequence[Table], tensors: int) -> tuple[int, ...] | None:
    """The offsets of an offline plan: int32 version, subgraphs, count, then one for each tensor."""
    entries = [entry.number(1, "I") for entry in root.tables(6) if entry.text(0) == OFFLINE_PLAN]
    if not entries:
        return None
    if len(entries) > 1 or entries[0] >= len(buffers):
        raise_damaged(
            "it does not have exactly one offline plan", entries=len(entries), buffer=entries[0]
        )
    start, size = buffers[entries[0]].vector(0, 1)
    if size != 4 * (3 + tensors) or root.file.number(start + 8, "i") != tensors:
        raise_damaged(
            "its offline plan does not match its tensors", bytes=size, expected=4 * (3 + tensors)
        )
    root.file.spend(tensors)
    offsets = tuple(root.file.number(start + 12 + 4 * i, "i") for i in range(tensors))
    if min(offsets, default=0) < -1:
        raise_damaged("its offline plan has an offset below -1", offset=min(offsets))
    return offsets


def _check_order(model: TfliteModel) -> None:
    """Refuse a tensor that is read before it is written, or written twice."""
    ready = {i for i, tensor in enumerate(model.tensors) if tensor.constant or tensor.variable}
    written = ready.union(model.inputs)
    for i, operator in enumerate(model.operators):
        where = f"operator {i} ({operator.name})"
        for index in operator.inputs:
            if index >= 0 and index not in written:
                raise_damaged(f"{where} reads a tensor that nothing has written", tensor=index)
        for index in operator.outputs:
            if index in written:
                raise_damaged(f"{where} writes a tensor that has its values already", tensor=index)
        written.update(operator.outputs)
    for index in model.outputs:
        if index not in written:
            raise_damaged("nothing writes an output of the graph", tensor=index)
