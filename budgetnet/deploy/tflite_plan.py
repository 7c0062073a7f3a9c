"""A memory plan written into a `.tflite` file, where TensorFlow Lite Micro finds and follows it.

Source: "Offline planned tensor allocations" in tflite-micro's
tensorflow/lite/micro/docs/memory_management.md: the metadata "OfflineMemoryAllocation" names a
buffer of int32: a version, the number of subgraphs, the number of tensors, and for each tensor its
offset in the arena, or -1 for one that the planner is to place.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from ..accounting.device.arena import activations
from ..accounting.device.memory import ALIGNMENT, Plan
from ..accounting.device.model import TfliteModel
from ..errors import ArgumentError, FormatError, explain, name_in_errors, shown
from ..trace.files.flatbuffer import Table
from ..trace.files.tflite import OFFLINE_PLAN, graph_of, parse_tflite, root_of

VERSION = 1  # of the format of a plan
BUFFERS, METADATA, MODEL_FIELDS = 4, 6, 8  # of the schema's Model: numbers of fields, and how many
OPERATORS = 3  # the number of the field in SubGraph


def write_plan(
    data: bytes, offsets: Sequence[int], order: Sequence[int] | None = None, name: str = "model"
) -> bytes:
    """A copy of a `.tflite` file that brings a plan, and runs its operators in another order.

    Everything else stays as it is: new parts are written before the old content, whose parts refer
    to each other by distance. A plan that the file brings already is replaced.

    Args:
        data: the content of the file.
        offsets: in bytes, a multiple of 16 for every tensor in the arena, or -1 for one that the
            runtime is to place; -1 for the others, as `Activations.tensor_offsets` gives them.
        order: operators by their index, in the order in which they are to run.
        name: what errors call the file.

    Raises:
        ArgumentError: the plan puts two tensors into the same bytes at a time, or does not fit the
            file; or the operators cannot run in this order.
        FormatError: the file is damaged, or of a kind that is not read.
    """
    model = parse_tflite(data, name)
    _check(model, offsets, order)
    content = bytearray(data)
    plan = struct.pack(f"<{3 + len(offsets)}i", VERSION, 1, len(offsets), *offsets)
    expected = replace(model, fixed=tuple(offsets))
    with name_in_errors(name):
        if order is not None:
            _reorder(content, graph_of(root_of(data)), order)
            expected = replace(expected, operators=tuple(model.operators[k] for k in order))
        if model.fixed is None:
            content[:] = _with_front(bytes(content), plan)
        else:
            start = _old_plan(root_of(data))
            content[start : start + len(plan)] = plan
        if parse_tflite(bytes(content), name) != expected:
            raise FormatError(explain("its parts overlap; a plan cannot be written into it"))
    return bytes(content)


def _check(model: TfliteModel, offsets: Sequence[int], order: Sequence[int] | None) -> None:
    """Check a plan against the file: tensors that are live at once may not share a byte."""
    if len(offsets) != len(model.tensors):
        numbers = {"offsets": len(offsets), "tensors": len(model.tensors)}
        raise ArgumentError(explain("a plan has an offset for every tensor", numbers=numbers))
    arena = activations(model)
    buffers = arena.graph.buffers(order)
    for i, offset in enumerate(offsets):
        placed_well = type(offset) is int and 0 <= offset < 1 << 31 and offset % ALIGNMENT == 0
        if not placed_well and offset != -1:
            what = "an offset is a multiple of 16 below 2 GiB, or -1 if the runtime places it"
            raise ArgumentError(explain(what, numbers={"tensor": i, "offset": shown(offset)}))
        if offset != -1 and i not in arena.tensors:
            what = "a constant, a variable or an empty tensor has no place in the arena"
            raise ArgumentError(explain(what, numbers={"tensor": i, "offset": offset}))
    placed = [k for k, i in enumerate(arena.tensors) if offsets[i] != -1]
    plan = Plan(tuple(buffers[k] for k in placed), tuple(offsets[arena.tensors[k]] for k in placed))
    for one, other in plan.clashes():
        pair = [arena.tensors[placed[k]] for k in (one, other)]
        what = "a plan puts two tensors that are needed at once into the same bytes"
        raise ArgumentError(explain(what, numbers={"tensors": f"{pair[0]} and {pair[1]}"}))


def _reorder(content: bytearray, graph: Table, order: Sequence[int]) -> None:
    """Let the entries of the list of operators point to them in another order."""
    start, _ = graph.vector(OPERATORS, 4)
    targets = [graph.file.follow(start + 4 * k) for k in order]
    for place, target in zip(range(start, start + 4 * len(order), 4), targets, strict=True):
        if target <= place:
            raise FormatError(
                explain("its operators lie before their list; it cannot be reordered")
            )
        struct.pack_into("<I", content, place, target - place)


def _old_plan(root: Table) -> int:
    """The byte at which the plan of a file starts that brings one."""
    index = next(t.number(1, "I") for t in root.tables(METADATA) if t.text(0) == OFFLINE_PLAN)
    return root.tables(BUFFERS)[index].vector(0, 1)[0]


def _with_front(old: bytes, plan: bytes) -> bytes:
    """The content after a new root, which has one buffer and one entry of metadata more."""
    root = root_of(old)
    if any(root.place(field) is not None for field in range(MODEL_FIELDS, root.fields)):
        raise FormatError(explain("it has parts that the schema of this release does not know"))
    front = _Front()
    had = {f for f in range(MODEL_FIELDS) if root.place(f) is not None}
    top = front.table(sorted(had | {BUFFERS, METADATA}))
    front.link(0, top)
    front.data[4:8] = b"TFL3"
    front.put(top + 4, root.number(0, "I"))  # the version, which is no distance
    for number in range(1, MODEL_FIELDS):
        place = root.place(number)
        if place is not None and number not in (BUFFERS, METADATA):
            front.link(top + 4 + 4 * number, root.file.follow(place), old=True)
    # Distances are positive: what refers to a part comes before it.
    lists = {n: front.list(root.tables(n)) for n in (BUFFERS, METADATA)}
    new = {BUFFERS: front.table([0]), METADATA: front.table([0, 1])}
    for number, (start, slot) in lists.items():
        front.link(top + 4 + 4 * number, start)
        front.link(slot, new[number])
    front.link(new[BUFFERS] + 4, front.block(plan, alignment=16))
    front.link(new[METADATA] + 4, front.block(OFFLINE_PLAN.encode(), end=b"\0"))
    front.put(new[METADATA] + 8, len(root.tables(BUFFERS)))  # the number of the new buffer
    return front.joined(old)


class _Front:
    """New parts that are written before the old content of a file."""

    def __init__(self) -> None:
        """Start with room for the distance to the root, and the identifier."""
        self.data = bytearray(8)
        self.links: list[tuple[int, int, bool]] = []  # place, target, whether in the old content

    def room(self, size: int, alignment: int = 4, before: int = 0) -> int:
        """Room for a number of bytes; what follows the first `before` of them is aligned."""
        self.data += bytes(-(len(self.data) + before) % alignment + size)
        return len(self.data) - size

    def put(self, place: int, number: int) -> None:
        """Write a number of four bytes."""
        struct.pack_into("<I", self.data, place, number)

    def link(self, place: int, target: int, old: bool = False) -> None:
        """Let a place refer to a byte here, or in the old content."""
        self.links.append((place, target, old))

    def table(self, fields: Sequence[int]) -> int:
        """A table with four bytes for every field up to the last; those not named are absent."""
        count = max(fields) + 1
        vtable = self.room(4 + 2 * count)
        places = [4 + 4 * field if field in fields else 0 for field in range(count)]
        struct.pack_into(f"<{2 + count}H", self.data, vtable, 4 + 2 * count, 4 + 4 * count, *places)
        at = self.room(4 + 4 * count)
        struct.pack_into("<i", self.data, at, at - vtable)
        return at

    def block(self, content: bytes, alignment: int = 4, end: bytes = b"") -> int:
        """A vector of bytes."""
        at = self.room(4 + len(content) + len(end), alignment, before=4)
        self.put(at, len(content))
        self.data[at + 4 : at + 4 + len(content)] = content
        return at

    def list(self, tables: Sequence[Table]) -> tuple[int, int]:
        """A vector of old tables; returns where it is, and the place for a new one at its end."""
        at = self.room(4 + 4 * len(tables) + 4)
        self.put(at, len(tables) + 1)
        for place, table in enumerate(tables, start=1):
            self.link(at + 4 * place, table.at, old=True)
        return at, at + 4 + 4 * len(tables)

    def joined(self, old: bytes) -> bytes:
        """The new parts and the old content; every alignment in it stays as it was."""
        self.room(0, alignment=64)
        for place, target, is_old in self.links:
            self.put(place, target + (len(self.data) if is_old else 0) - place)
        return bytes(self.data) + old
