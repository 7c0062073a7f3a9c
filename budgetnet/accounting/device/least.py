"""The least memory of a graph: the best order of its operators, and the best plan for it."""

from __future__ import annotations

from dataclasses import dataclass

from .least_plan import least_plan
from .memory import Plan
from .order import MemoryGraph, least_order


@dataclass(frozen=True)
class LeastMemory:
    """An order of operators with a plan for it.

    Attributes:
        order: operators by their index, as they run.
        plan: the offset of every buffer.
        bound: no plan of any order is smaller, in bytes.
    """

    order: tuple[int, ...]
    plan: Plan
    bound: int

    @property
    def proven(self) -> bool:
        """Whether no plan of any order is smaller."""
        return self.plan.size == self.bound


def least_memory(graph: MemoryGraph, seconds: float = 10.0) -> LeastMemory:
    """The order that needs least, and the least plan for it; after `seconds` the best so far.

    >>> graph = MemoryGraph(sizes=(64, 32, 16), reads=((0,), (1,)), writes=((1,), (2,)),
    ...                     inputs=(0,), outputs=(2,))
    >>> least_memory(graph).plan.size
    96
    """
    order = least_order(graph, seconds / 2)
    plan = least_plan(graph.buffers(order.order), seconds / 2).plan
    return LeastMemory(order.order, plan, order.bound)
