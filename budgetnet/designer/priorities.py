"""The worth of a network: the goal and the tie-breaks, folded into one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import ArgumentError, explain
from .graph import PEAK, Graph, Ints

RANGE = 1 << 58  # of every worth, so that sums of a few stay far from the end of 64 bits


class Worth(NamedTuple):
    """The worth of transitions, which adds up along a network.

    Networks are ordered by the goal, then by fewer MACs, then by fewer parameters. As many of these
    as 64 bits hold are in one number; the others are kept apart as `ties`.
    """

    added: list[Ints]  # of every level
    peak_weight: int  # what one byte of the peak is worth, which does not add up
    scale: int  # how often the goal is in it
    ties: tuple[str, ...]

    def goal_at_most(self, worth: int) -> int:
        """The largest goal of a network that is worth no more than this."""
        return -(-worth // self.scale)  # the ties take away less than a goal of one is worth


def weigh(graph: Graph, goal: Mapping[str, int]) -> Worth:
    """The worth of every transition of a graph.

    Raises:
        ArgumentError: the weights of the goal leave the 64-bit range.
    """
    largest = sum(abs(weight) * _most(graph, name) for name, weight in goal.items())
    if largest >= RANGE:
        what = "the weights of the objective are too fine to be exact in 64 bits"
        raise ArgumentError(explain(what, remedy="Round them to fewer digits."))
    added = [0 * level.costs["macs"] for level in graph.levels]
    for name in goal.keys() - {PEAK}:
        for i, level in enumerate(graph.levels):
            added[i] = added[i] + goal[name] * level.costs[name]
    peak_weight, scale = goal.get(PEAK, 0), 1
    ties = [name for name in ("macs", "params") if set(goal) != {name}]
    while ties:
        span = _most(graph, ties[0]) + 1
        if largest * span + span >= RANGE:
            break
        name = ties.pop(0)
        added = [a * span - level.costs[name] for a, level in zip(added, graph.levels, strict=True)]
        peak_weight, scale, largest = peak_weight * span, scale * span, largest * span + span
    # Multipliers are whole numbers, so a larger worth lets them be finer.
    fine = 1 << max(0, min(20, RANGE.bit_length() - 1 - largest.bit_length()))
    return Worth([a * fine for a in added], peak_weight * fine, scale * fine, tuple(ties))


def _most(graph: Graph, name: str) -> int:
    """The most that any network has of a figure."""
    costs = [level.costs[name] for level in graph.levels]
    if name == PEAK:
        return max(int(cost.max(initial=0)) for cost in costs)
    return int(graph.suffixes(costs)[0][0])
