"""Networks beside a known one that fill the limits better: other options at the same widths.

A limit that the objective fills to the last unit is a subset-sum problem. Where a position has many
options, such as kernels and expansions, it is an easy one: random choices for either half of a
network meet in the middle, at the pair that leaves least of a limit. What is found is a network, no
proof; the bounds prove whether it is the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .bounds import Limit
from .costs import Ints
from .graph import NEVER, Graph

DRAWN = 1 << 14  # choices for either half
NEAR = 8  # pairs that are tried for every choice of the first half


class _Half(NamedTuple):
    """Random choices for some levels of a network."""

    picks: list[tuple[int, Ints]]  # of every level the transitions chosen
    value: Ints
    uses: Ints
    peak: Ints

    def steps(self, k: int) -> list[tuple[int, int]]:
        """One of the choices, as a path."""
        return [(i, int(chosen[k])) for i, chosen in self.picks]


def refill(
    graph: Graph, path: Sequence[tuple[int, int]], values: Sequence[Ints],
    limits: Sequence[Limit], largest: str, worth: Callable[[Ints, Ints], Ints], top: int, seed: int,
) -> list[tuple[int, list[tuple[int, int]]]]:  # fmt: skip
    """The best networks found that pass through the states of a path, each with its worth.

    `worth` is that of values and of the `largest` figure, which does not add up; it is `NEVER`
    where that is too low.
    """
    options = [_parallel(graph, i, t) for i, t in path]
    sizes = np.cumsum(np.log([len(each) for each in options]))
    if sizes[-1] < np.log(2 * NEAR):
        return []
    middle = int(np.searchsorted(sizes, sizes[-1] / 2)) + 1
    rng = np.random.default_rng(seed)
    levels = list(zip((i for i, _ in path), options, strict=True))
    first, second = (
        _drawn(graph, half, values, limits, largest, rng)
        for half in (levels[:middle], levels[middle:])
    )
    pairs: list[tuple[int, int, int]] = []  # worth, and the choices of both halves
    for r, limit in enumerate(limits):
        order = np.argsort(second.uses[r], kind="stable")
        place = np.searchsorted(second.uses[r][order], limit.bound - first.uses[r], side="right")
        for back in range(1, NEAR + 1):
            mine = np.flatnonzero(place >= back)
            theirs = order[place[mine] - back]
            uses = first.uses[:, mine] + second.uses[:, theirs]
            fits = (uses <= np.array([[each.bound] for each in limits])).all(0)
            mine, theirs = mine[fits], theirs[fits]
            if not len(mine):
                continue
            found = worth(
                first.value[mine] + second.value[theirs],
                np.maximum(first.peak[mine], second.peak[theirs]),
            )
            some = np.argsort(-found, kind="stable")[:top]
            pairs += zip(
                found[some].tolist(), mine[some].tolist(), theirs[some].tolist(), strict=True
            )
    best = sorted(pairs, reverse=True)[:top]
    return [(w, first.steps(a) + second.steps(b)) for w, a, b in best if w > NEVER]


def _parallel(graph: Graph, i: int, t: int) -> Ints:
    """All transitions between the two states of one."""
    level = graph.levels[i]
    low, high = np.searchsorted(level.source, (level.source[t], level.source[t] + 1))
    alike: Ints = np.flatnonzero(level.target[low:high] == level.target[t])
    return alike + int(low)


def _drawn(
    graph: Graph, levels: Sequence[tuple[int, Ints]], values: Sequence[Ints],
    limits: Sequence[Limit], largest: str, rng: np.random.Generator,
) -> _Half:  # fmt: skip
    picks = [(i, some[rng.integers(len(some), size=DRAWN)]) for i, some in levels]
    value, peak = np.zeros((2, DRAWN), np.int64)
    uses = np.zeros((len(limits), DRAWN), np.int64)
    for i, chosen in picks:
        value += values[i][chosen]
        peak = np.maximum(peak, graph.levels[i].costs[largest][chosen])
        for r, limit in enumerate(limits):
            uses[r] += limit.costs[i][chosen]
    return _Half(picks, value, uses, peak)
