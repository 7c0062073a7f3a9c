"""What operators read and write, when that makes buffers live, and the order that needs least.

Lifetimes are those of TensorFlow Lite Micro (`MarkAllocationLifetimes` in its
tensorflow/lite/micro/micro_allocation_info.cc): step 0 is before all operators, operator k runs
at step k + 1. An input of the graph is live from step 0 to its last use, a result from its operator
to its last use, an output of the graph to the end. What an operator reads and writes is live during
it: nothing is computed in place. What nothing reads or writes is live at step -1 alone; the planner
still gives it room there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import monotonic

from ...errors import ArgumentError, explain
from .memory import Buffer, aligned, liveness_bound


@dataclass(frozen=True)
class MemoryGraph:
    """Operators over buffers: what each reads, writes, and needs for itself while it runs.

    Attributes:
        sizes: of the buffers, in bytes.
        reads: for every operator, indices of buffers.
        writes: likewise.
        inputs: of the graph, indices of buffers.
        outputs: likewise.
        scratch: for every operator, the bytes of buffers that are live during it alone; empty if
            there are none.

    Raises:
        ArgumentError: the parts do not fit together, or an operator reads what is not written yet.

    >>> graph = MemoryGraph(sizes=(64, 32, 16), reads=((0,), (1,)), writes=((1,), (2,)),
    ...                     inputs=(0,), outputs=(2,))
    >>> graph.buffers()[1]
    Buffer(size=32, first=1, last=2)
    """

    sizes: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scratch: tuple[tuple[int, ...], ...] = field(default=())

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        count = len(self.reads)
        if len(self.writes) != count or len(self.scratch) not in (0, count):
            numbers = {"reads": count, "writes": len(self.writes), "scratch": len(self.scratch)}
            raise ArgumentError(
                explain("reads, writes and scratch differ in length", numbers=numbers)
            )
        named = {i for each in (*self.reads, *self.writes, self.inputs, self.outputs) for i in each}
        if strange := named.difference(range(len(self.sizes))):
            numbers = {"index": min(strange), "buffers": len(self.sizes)}
            raise ArgumentError(explain("the graph names a buffer without size", numbers=numbers))
        self.check(range(count))

    def check(self, order: Sequence[int]) -> None:
        """Raise `ArgumentError` if the operators cannot run in this order."""
        if sorted(order) != list(range(len(self.reads))):
            what = "an order must name every operator once"
            raise ArgumentError(explain(what, numbers={"operators": len(self.reads)}))
        ready = set(self.inputs)
        for k in order:
            if missing := [i for i in self.reads[k] if i not in ready]:
                what = f"operator {k} reads a buffer that is not written yet"
                raise ArgumentError(explain(what, numbers={"buffer": missing[0]}))
            if twice := [i for i in self.writes[k] if i in ready]:
                what = f"operator {k} writes a buffer that is written already"
                raise ArgumentError(explain(what, numbers={"buffer": twice[0]}))
            ready.update(self.writes[k])

    def buffers(self, order: Sequence[int] | None = None) -> tuple[Buffer, ...]:
        """All buffers with their steps, then scratch buffers, in an order of the operators.

        Raises:
            ArgumentError: the operators cannot run in this order.
        """
        if order is None:
            order = range(len(self.reads))
        else:
            self.check(order)
        first, last = dict.fromkeys(self.inputs, 0), dict.fromkeys(self.inputs, 0)
        for step, k in enumerate(order, start=1):
            for i in self.writes[k]:
                first[i] = step
            last |= dict.fromkeys((*self.reads[k], *self.writes[k]), step)
        for i in self.outputs:
            first.setdefault(i, 0)
            last[i] = len(order)
        own = [Buffer(n, first.get(i, -1), last.get(i, -1)) for i, n in enumerate(self.sizes)]
        if self.scratch:  # asked for in the order of running
            for step, k in enumerate(order, start=1):
                own += [Buffer(size, step, step) for size in self.scratch[k]]
        return tuple(own)


@dataclass(frozen=True)
class LeastOrder:
    """The best order that was found, and what is proven about all others.

    Attributes:
        order: operators in the order in which they run.
        peak: the most bytes that are live at one step of it.
        bound: no order has a smaller peak; proven.
    """

    order: tuple[int, ...]
    peak: int
    bound: int

    @property
    def proven(self) -> bool:
        """Whether no order has a smaller peak than this one."""
        return self.peak == self.bound


def least_order(graph: MemoryGraph, seconds: float = 10.0) -> LeastOrder:
    """The order of the operators that needs the least live bytes, or the given one after `seconds`.

    Sets of operators that have run are visited by the least peak on the way to them, so that the
    first way to the end is a best one, and the peak of the next set a bound on all. If the given
    order is as good, it is kept.

    >>> wide = MemoryGraph(sizes=(16, 160, 16, 16), reads=((0,), (0,), (1, 2)),
    ...                    writes=((1,), (2,), (3,)), inputs=(0,), outputs=(3,))
    >>> least_order(wide).peak
    192
    """
    given = tuple(range(len(graph.reads)))
    peak = liveness_bound(graph.buffers())
    search = _Search(graph)
    queue: list[tuple[int, int, int]] = [(search.start, 0, 0)]  # peak, -operators run, set of them
    best = {0: search.start}
    came: dict[int, int] = {}  # the operator that ran last
    deadline, everything = monotonic() + seconds, (1 << len(given)) - 1
    low = search.start
    while queue:
        low, count, done = heappop(queue)
        if low > best[done]:
            continue
        if low >= peak or done == everything:
            break
        if monotonic() > deadline:
            return LeastOrder(given, peak, low)
        for k, after in search.steps(done, low):
            key = done | 1 << k
            if after < min(best.get(key, peak), peak):
                best[key], came[key] = after, k
                heappush(queue, (after, count - 1, key))
    if low >= peak or best.get(everything, peak) >= peak:
        return LeastOrder(given, peak, peak)
    return LeastOrder(_way(came, everything), low, low)


def _way(came: dict[int, int], done: int) -> tuple[int, ...]:
    """The operators in the order in which a set was reached."""
    order = []
    while done:
        order.append(came[done])
        done ^= 1 << order[-1]
    return tuple(reversed(order))


class _Search:
    """What is live once a set of operators has run, and while a further one runs."""

    def __init__(self, graph: MemoryGraph) -> None:
        """Find who writes and who reads every buffer, as sets of operators."""
        self.graph = graph
        self.sizes = [aligned(size) for size in graph.sizes]
        self.own = [sum(map(aligned, sizes)) for sizes in graph.scratch] or [0] * len(graph.reads)
        self.writer, self.readers = [0] * len(self.sizes), [0] * len(self.sizes)
        for k, (reads, writes) in enumerate(zip(graph.reads, graph.writes, strict=True)):
            for i in writes:
                self.writer[i] = 1 << k
            for i in reads:
                self.readers[i] |= 1 << k
        self.kept = frozenset(graph.outputs)
        self.needs = [sum({self.writer[i] for i in reads}) for reads in graph.reads]
        # At steps -1 and 0; the rest of the way depends on the order.
        self.start = liveness_bound(b for b in graph.buffers()[: len(self.sizes)] if b.first < 1)

    def live(self, done: int) -> int:
        """The bytes that are live after a set has run: there, and still needed."""
        total = 0
        for i, size in enumerate(self.sizes):
            there = self.writer[i] & done if self.writer[i] else i in self.kept or self.readers[i]
            if there and (i in self.kept or self.readers[i] & ~done):
                total += size
        return total

    def steps(self, done: int, peak: int) -> list[tuple[int, int]]:
        """The operators that can run next, each with the peak that the way has then.

        One that leaves no more live than before, within the peak, can always run at once: later it
        would free no more than now. No other needs to be tried then.
        """
        live, found = self.live(done), []
        for k, needs in enumerate(self.needs):
            if not done >> k & 1 and needs & done == needs:
                after = live + sum(self.sizes[i] for i in set(self.graph.writes[k])) + self.own[k]
                if after <= peak and self.live(done | 1 << k) <= live:
                    return [(k, peak)]
                found.append((k, max(peak, after)))
        return found
