"""Buffers in one arena: when each is live, and where a runtime's planner puts it.

A buffer takes a range of bytes from its first step to its last, both included. Two buffers whose
steps overlap must not overlap in bytes. A plan is one offset for each buffer; its size is the arena
that a runtime allocates. Every size is rounded up to 16 bytes, as both runtimes round it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral

from ...errors import ArgumentError, explain, shown

ALIGNMENT = 16  # bytes: TFLM's MicroArenaBufferAlignment(), ExecuTorch's ALIGNMENT


def aligned(size: int) -> int:
    """A size in bytes, rounded up to 16.

    >>> aligned(0), aligned(1), aligned(16), aligned(17)
    (0, 16, 16, 32)
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Buffer:
    """A number of bytes that is live from a first step to a last one, both included.

    Raises:
        ArgumentError: a value is not an int, the size is negative, or it ends before it starts.

    >>> Buffer(size=100, first=0, last=2).bytes
    112
    """

    size: int
    first: int
    last: int

    def __post_init__(self) -> None:
        """Raise `ArgumentError` if this is not a valid buffer."""
        for name in ("size", "first", "last"):
            if not isinstance(value := getattr(self, name), Integral) or isinstance(value, bool):
                raise ArgumentError(explain(f"{shown(value)} is not a valid {name}; expected int"))
        if self.size < 0 or self.last < self.first:
            numbers = {"size": self.size, "first": self.first, "last": self.last}
            remedy = "The size must not be negative, and the last step not before the first."
            raise ArgumentError(
                explain("this is not a valid buffer", numbers=numbers, remedy=remedy)
            )

    @property
    def bytes(self) -> int:
        """What it takes in the arena, its size rounded up to 16."""
        return aligned(self.size)

    def meets(self, other: Buffer) -> bool:
        """Whether there is a step at which both are live."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """An offset in bytes for every buffer, in their order.

    >>> Plan((Buffer(32, 0, 1), Buffer(16, 1, 2)), offsets=(0, 32)).size
    48
    """

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]

    @property
    def size(self) -> int:
        """What the arena takes, in bytes, up to the largest end of a buffer."""
        ends = (offset + b.bytes for b, offset in zip(self.buffers, self.offsets, strict=True))
        return max(ends, default=0)

    def clashes(self) -> tuple[tuple[int, int], ...]:
        """Pairs of buffers (indices) that overlap in steps and in bytes; a valid plan has none."""
        found: list[tuple[int, int]] = []
        active: list[int] = []
        taken = [i for i, buffer in enumerate(self.buffers) if buffer.size]
        for i in sorted(taken, key=lambda i: self.buffers[i].first):
            buffer, offset = self.buffers[i], self.offsets[i]
            active = [j for j in active if self.buffers[j].last >= buffer.first]
            for j in active:
                end = self.offsets[j] + self.buffers[j].bytes
                if self.offsets[j] < offset + buffer.bytes and offset < end:
                    found.append((min(i, j), max(i, j)))
            active.append(i)
        return tuple(sorted(found))


def live_bytes(buffers: Iterable[Buffer]) -> dict[int, int]:
    """The bytes that are live at each step at which a buffer starts or has just ended.

    >>> live_bytes([Buffer(32, 0, 1), Buffer(16, 1, 2)])
    {0: 32, 1: 48, 2: 16, 3: 0}
    """
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.bytes
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.bytes
    live, total = {}, 0
    for step in sorted(changes):
        total += changes[step]
        live[step] = total
    return live


def liveness_bound(buffers: Iterable[Buffer]) -> int:
    """The least arena in bytes that any plan could need: the most that is live at one step.

    >>> liveness_bound([Buffer(32, 0, 1), Buffer(16, 1, 2), Buffer(16, 2, 3)])
    48
    """
    return max(live_bytes(buffers).values(), default=0)


def tflm_plan(buffers: Sequence[Buffer], fixed: Sequence[int | None] = ()) -> Plan:
    """The plan of TensorFlow Lite Micro's `GreedyMemoryPlanner`, to the byte.

    Buffers are taken by size, the largest first; among equals the later index first. Each goes into
    the first gap that holds it among those that are live with it. Buffers with a `fixed` offset (an
    offline plan) lie where they are, before all others, even if they clash.

    Source: tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc of tflite-micro: the ids
    are filled in from the tail, then sorted stably, largest first.

    Args:
        buffers: in the order of the runtime: tensors by index, then scratch buffers.
        fixed: an offset in bytes, or None, for each buffer; nothing fixes none.

    >>> tflm_plan([Buffer(32, 0, 1), Buffer(64, 1, 2), Buffer(32, 2, 3)]).offsets
    (64, 0, 64)
    """
    places = list(fixed) or [None] * len(buffers)
    if len(places) != len(buffers):
        numbers = {"buffers": len(buffers), "fixed": len(places)}
        raise ArgumentError(explain("every buffer needs an entry in fixed", numbers=numbers))
    free = sorted((i for i in range(len(buffers)) if places[i] is None), reverse=True)
    free.sort(key=lambda i: -buffers[i].bytes)
    return first_fit(buffers, free, places)


def first_fit(
    buffers: Sequence[Buffer], order: Iterable[int], fixed: Sequence[int | None] = ()
) -> Plan:
    """Put buffers, in this order, into the lowest gap among those placed and live with them."""
    offsets = list(fixed) or [None] * len(buffers)
    placed = [i for i, offset in enumerate(offsets) if offset is not None]
    for i in order:
        buffer, place = buffers[i], 0
        met = [(offsets[j] or 0, buffers[j].bytes) for j in placed if buffers[j].meets(buffer)]
        for offset, size in sorted(met, key=lambda pair: pair[0]):
            if offset - place >= buffer.bytes:
                break
            place = max(place, offset + size)
        offsets[i] = place
        placed.append(i)
    return Plan(tuple(buffers), tuple(offset or 0 for offset in offsets))


@dataclass
class _Block:
    """A stretch of the arena that ExecuTorch's planner shares between buffers; it never grows."""

    size: int
    held: list[tuple[int, Buffer]]  # offsets within the block

    def place(self, buffer: Buffer, stacked: bool) -> int | None:
        """The offset for a buffer: 0 if nothing is in its way, or above all that is."""
        ends = [offset + b.bytes for offset, b in self.held if b.meets(buffer)]
        if not ends:
            return 0
        top = max(ends)
        return top if stacked and 0 < top <= self.size - buffer.bytes else None


def executorch_plan(buffers: Sequence[Buffer]) -> Plan:
    """The plan of ExecuTorch's `greedy`, its default algorithm, to the byte.

    Buffers are taken by size, the largest first; among equals the later one first. Each goes to the
    bottom of the first block in which nothing is live with it; else into the first block that has
    room above all that is; else into a block of its own, of its size. Blocks lie one after another.

    Source: `greedy` and `pick_shared_obj` in executorch/exir/memory_planning.py of release 1.5.1.
    Its 64 bytes more for XNNPACK delegates are left to the caller.

    Args:
        buffers: in the order in which the graph first names them: its inputs, then results.

    >>> executorch_plan([Buffer(32, 0, 1), Buffer(64, 1, 2), Buffer(32, 2, 3)]).offsets
    (64, 0, 64)
    """
    blocks: list[_Block] = []
    where: dict[int, tuple[int, int]] = {}
    for i in sorted(range(len(buffers)), key=lambda i: (-buffers[i].bytes, -i)):
        where[i] = _into_block(blocks, buffers[i])
    starts = [0]
    for block in blocks:
        starts.append(starts[-1] + block.size)
    offsets = [starts[k] + offset for k, offset in (where[i] for i in range(len(buffers)))]
    return Plan(tuple(buffers), tuple(offsets))


def _into_block(blocks: list[_Block], buffer: Buffer) -> tuple[int, int]:
    """Put a buffer into a block; returns the block's number and the offset in it."""
    for stacked in (False, True):
        for k, block in enumerate(blocks):
            if (offset := block.place(buffer, stacked)) is not None:
                block.held.append((offset, buffer))
                return k, offset
    blocks.append(_Block(buffer.bytes, [(0, buffer)]))
    return len(blocks) - 1, 0
