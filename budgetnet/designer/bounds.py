"""Bounds on the value of a network's completions: Lagrangian relaxation of the limits.

Every unit of a limit that a network does not use is credited with the limit's multiplier, which is
not negative. So a network within the limits gains by it, and the best network without any limits,
found by one sweep over the graph, bounds the value of those within them. Any multipliers give a
bound; this module looks for low ones (Handler and Zang, "A dual algorithm for the constrained
shortest path problem", 1980).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .costs import LARGEST_OF, Ints
from .graph import Box, Graph
from .priorities import RANGE

KEPT = 4  # multipliers that a search uses at once
STEPS = 40  # of the subgradient method


class Limit(NamedTuple):
    """One side of a limit, as `sign * figure <= bound`."""

    bound: int
    costs: list[Ints]  # of the transitions of every level, with the sign
    least: list[Ints]  # that completions of every state use
    most_multiplier: int  # that keeps products in range


class Path(NamedTuple):
    """A network as its transitions: level and index."""

    steps: list[tuple[int, int]]
    value: int
    uses: Ints


class Bound(NamedTuple):
    """A bound: multipliers, and the value of every transition with the best that can follow it."""

    value: int
    multipliers: Ints
    ahead: list[Ints]
    path: Path


def one_sided_limits(graph: Graph, box: Box) -> list[Limit]:
    """The sides of all limits on figures that add up."""
    found = []
    for name, (low, high) in box.items():
        for sign, bound in ((1, high), (-1, low)):
            if name not in LARGEST_OF and bound is not None:
                costs = [sign * level.costs[name] for level in graph.levels]
                least = [-value for value in graph.suffixes([-cost for cost in costs])]
                most = max(1, abs(bound), abs(int(least[0][0])))
                most = max(most, abs(int(graph.suffixes(costs)[0][0])))
                found.append(Limit(sign * bound, costs, least, RANGE // most))
    return found


def lowest_bounds(
    graph: Graph, values: list[Ints], limits: Sequence[Limit], seen: Callable[[Path], int]
) -> list[Bound]:
    """The lowest bounds found, the lowest first.

    `seen` receives every path on the way, and returns the value of the best network known.
    """
    return _Relaxation(graph, values, limits, seen).search()


class _Relaxation:
    def __init__(
        self, graph: Graph, values: list[Ints], limits: Sequence[Limit], seen: Callable[[Path], int]
    ) -> None:
        self.graph, self.values, self.limits, self.seen = graph, values, limits, seen
        self.known: dict[bytes, Bound] = {}
        self.best_value = 0

    def search(self) -> list[Bound]:
        none = np.zeros(len(self.limits), np.int64)
        alone = [self.at(none)]
        for r in range(len(self.limits)):
            alone.append(self.at(self._along(none, r)))
        if len(self.limits) > 1:
            self._descend(min(alone, key=lambda bound: bound.value).multipliers)
            now = self._lowest()[0].multipliers
            for r in range(len(self.limits)):
                now = self._along(now, r)
                self.at(now)
        return self._lowest()

    def _lowest(self) -> list[Bound]:
        whole = (bound for _, bound in self._whole())  # of equal bounds only some are
        return sorted(whole, key=lambda bound: bound.value)[:KEPT]

    def at(self, multipliers: Ints) -> Bound:
        """The bound at some multipliers."""
        key = multipliers.tobytes()
        if key not in self.known:
            values = list(self.values)
            for multiplier, limit in zip(multipliers, self.limits, strict=True):
                if multiplier:
                    values = [w - multiplier * c for w, c in zip(values, limit.costs, strict=True)]
            best = self.graph.suffixes(values)
            levels = zip(values, self.graph.levels, best[1:], strict=True)
            ahead = [w + follow[level.target] for w, level, follow in levels]
            credit = sum(int(m) * limit.bound
                         for m, limit in zip(multipliers, self.limits, strict=True))  # fmt: skip
            bound = Bound(int(best[0][0]) + credit, multipliers.copy(), ahead, self._path(ahead))
            self.best_value = self.seen(bound.path)
            self.known[key] = bound
            if len(self.known) > KEPT:  # the others will not be used, and fill memory
                worst = max(self._whole(), key=lambda one: one[1].value)
                self.known[worst[0]] = worst[1]._replace(ahead=[])
        return self.known[key]

    def _whole(self) -> list[tuple[bytes, Bound]]:
        """The lowest so far, the only ones that keep their `ahead`; the newest last."""
        return [entry for entry in self.known.items() if entry[1].ahead]

    def _path(self, ahead: list[Ints]) -> Path:
        """The network whose value is the bound."""
        steps, state, value, uses = [], 0, 0, np.zeros(len(self.limits), np.int64)
        for i, level in enumerate(self.graph.levels):
            low, high = np.searchsorted(level.source, (state, state + 1))
            if low == high:
                break
            t = int(low + np.argmax(ahead[i][low:high]))
            steps.append((i, t))
            value += int(self.values[i][t])
            uses += np.array([limit.costs[i][t] for limit in self.limits], np.int64)
            state = int(level.target[t])
        return Path(steps, value, uses)

    def _along(self, now: Ints, r: int) -> Ints:
        """The multipliers with that of limit `r` at its best, the others held.

        The bound is convex in it: every path is a line, whose slope is what it leaves of the limit.
        Secants of two lines, one too steep and one too flat, meet at the next multiplier to try.
        """

        def line(multiplier: int) -> tuple[int, int]:
            at = now.copy()
            at[r] = multiplier
            path = self.at(at).path
            others = sum(int(m) * int(u) for j, (m, u) in enumerate(zip(at, path.uses, strict=True))
                         if j != r)  # fmt: skip
            return path.value - others, int(path.uses[r])

        limit, found = self.limits[r], now.copy()
        over = line(0)
        if over[1] <= limit.bound:
            found[r] = 0
            return found
        under = line(limit.most_multiplier)
        found[r] = limit.most_multiplier
        for _ in range(24):
            if under[1] >= over[1]:
                break
            crossing = (over[0] - under[0]) // (over[1] - under[1])
            found[r] = min(limit.most_multiplier, max(0, crossing))
            new = line(int(found[r]))
            if new[1] in (over[1], under[1]):
                break
            over, under = (new, under) if new[1] > limit.bound else (over, new)
        return found

    def _descend(self, start: Ints) -> None:
        """Subgradient steps (Polyak): limits that bind together need multipliers that fit."""
        unit = np.array([max(1, abs(limit.bound)) for limit in self.limits], float)
        most = np.array([limit.most_multiplier for limit in self.limits], float) * unit
        at, best, reach = start * unit, self.at(start).value, 0.1
        for step in range(STEPS):
            bound = self.at((at / unit).astype(np.int64))
            if bound.value < best:
                best = bound.value
            elif step % 3 == 2:
                reach /= 2
            aim = max(self.best_value, best - abs(best) * reach)
            left = [limit.bound - int(use)
                    for limit, use in zip(self.limits, bound.path.uses, strict=True)]  # fmt: skip
            slope = np.array(left, float) / unit
            if not slope.any() or bound.value <= aim:
                break
            at = np.clip(at - slope * (bound.value - aim) / float((slope * slope).sum()), 0, most)
