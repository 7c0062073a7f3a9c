"""The value of a network: the objective and the tie-breaks, folded into one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import ArgumentError, explain
from .costs import LARGEST_OF, Ints
from .graph import Graph

RANGE = 1 << 58  # of every value, so that sums of a few stay well within 64 bits


class TransitionValues(NamedTuple):
    """The values of transitions, which add up along a network.

    Networks are ordered by the objective, then by fewer MACs, then by fewer parameters. As
    many of these as fit into 64 bits are in one number; the others are kept apart as `ties`.
    """

    added: list[Ints]  # of every level
    peak_weight: int  # the value of one byte of the figure that does not add up
    scale: int  # by which the objective is multiplied in it
    ties: tuple[str, ...]

    def objective_at_most(self, value: int) -> int:
        """The largest objective of a network whose value is at most this."""
        return -(-value // self.scale)  # the ties subtract less than one unit of the objective


def transition_values(graph: Graph, objective: Mapping[str, int]) -> TransitionValues:
    """The value of every transition of a graph.

    Raises:
        ArgumentError: the weights of the objective exceed the 64-bit range.
    """
    largest = sum(abs(weight) * _most(graph, name) for name, weight in objective.items())
    if largest >= RANGE:
        what = "the weights of the objective are too fine to be exact in 64 bits"
        raise ArgumentError(explain(what, remedy="Round them to fewer digits."))
    added = [0 * level.costs["macs"] for level in graph.levels]
    for name in objective.keys() - {*LARGEST_OF}:
        for i, level in enumerate(graph.levels):
            added[i] = added[i] + objective[name] * level.costs[name]
    peak_weight, scale = sum(objective.get(name, 0) for name in LARGEST_OF), 1
    ties = [name for name in ("macs", "params") if set(objective) != {name}]
    while ties:
        span = _most(graph, ties[0]) + 1
        if largest * span + span >= RANGE:
            break
        name = ties.pop(0)
        added = [a * span - level.costs[name] for a, level in zip(added, graph.levels, strict=True)]
        peak_weight, scale, largest = peak_weight * span, scale * span, largest * span + span
    # Multipliers are whole numbers, so larger values let them be finer.
    fine = 1 << max(0, min(20, RANGE.bit_length() - 1 - largest.bit_length()))
    return TransitionValues(
        [a * fine for a in added], peak_weight * fine, scale * fine, tuple(ties)
    )


def _most(graph: Graph, name: str) -> int:
    """The most that any network has of a figure."""
    costs = [level.costs[name] for level in graph.levels]
    if name in LARGEST_OF:
        return max(int(cost.max(initial=0)) for cost in costs)
    return int(graph.suffixes(costs)[0][0])
