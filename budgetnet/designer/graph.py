"""The Graph: every network of a space as a path, with exact costs on its transitions.

A state is a position in the chain and the width there; a transition is a stage with its width. The
levels of the graph count stages. Networks that reach the same state differ only in their past, so
what may follow is worked out once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import gcd, prod
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..accounting.window import check_span
from ..errors import ArgumentError, explain
from ..spec.plan import Spec
from ..spec.stages import Stage, with_width
from ..spec.text import write
from .costs import (
    COUNTED,
    FIXED,
    LARGEST_OF,
    LATENCY,
    ON_DEVICE,
    PLAIN,
    Caps,
    Ints,
    Setting,
    Spot,
    costs_of,
    count_pairs,
    width_given,
)
from .timing import UNKNOWN

Box: TypeAlias = Mapping[str, tuple[int | None, int | None]]  # lowest and highest of figures

MOST_LEVELS = 400  # stages in a row: 400 times LARGEST stays below NEVER, and 400 calls on a stack
MOST_TRANSITIONS = 1 << 23  # of a graph: a search over that many takes some 3 GB
MOST_COUNTED = 1 << 33
BYTES = 350  # that a search takes for every transition, measured
NEVER = -(1 << 61)  # value of what cannot be completed


class Lacking(Exception):
    """The table of latencies lacks an operator of a graph."""


class Move(NamedTuple):
    """A stage that may come next, its width left at 1, and the widths that can be chosen for it."""

    stage: Stage
    node: Any  # where it leads: hashable, with the `size` of the map there, and `is_end`
    widths: tuple[int, ...] | None  # None keeps that of the map that it reads, if it has a choice
    growth: int = 0  # what the receptive field grows by
    wider: int = 0  # 1: only widths serve that are at least that of the map it reads; 2: above it
    span: int = 0  # what a window grows by that is not the receptive field: that of the whole map


class Chains(Protocol):
    """What the chains of a graph are made of."""

    start: Any
    in_channels: int

    def moves(self, node: Any) -> Iterable[Move]:
        """Every stage that may follow at a node."""


class Level(NamedTuple):
    """Transitions from one level of states to the next, sorted by their source state."""

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    stage: NDArray[np.int16]
    width: NDArray[np.int32]
    costs: Mapping[str, Ints]

    def keep(self, mask: NDArray[np.bool_]) -> Level:
        """The transitions where `mask` holds."""
        costs = {name: cost[mask] for name, cost in self.costs.items()}
        return Level(
            self.source[mask], self.target[mask], self.stage[mask], self.width[mask], costs
        )


class Graph(NamedTuple):
    """All networks as paths from the one state of the first level to the states in `ends`."""

    levels: tuple[Level, ...]
    states: tuple[int, ...]  # how many on every level
    ends: tuple[NDArray[np.bool_], ...]  # on every level: which are complete networks
    stages: tuple[Stage, ...]  # in the order of their words

    def spec(self, path: Iterable[tuple[int, int]]) -> Spec:
        """The network of a path, given as stage and width of every transition."""
        return Spec(tuple(with_width(self.stages[i], width) for i, width in path))

    def suffixes(self, values: list[Ints]) -> list[Ints]:
        """The highest value of any completion of a state, given the values of transitions."""
        return self._backward(values, np.add, np.maximum, NEVER)

    def peaks(self, name: str, choose: np.ufunc) -> list[Ints]:
        """The least (`np.minimum`) or most (`np.maximum`) peak of the completions of a state."""
        peaks = [level.costs[name] for level in self.levels]
        return self._backward(peaks, np.maximum, choose, 0 if choose is np.maximum else -NEVER)

    def _backward(
        self, costs: list[Ints], combine: np.ufunc, choose: np.ufunc, never: int
    ) -> list[Ints]:
        """One figure per state: costs combined along each completion, and one completion chosen."""
        found = [np.where(end, np.int64(0), np.int64(never)) for end in self.ends]
        for i in range(len(self.levels) - 1, -1, -1):
            level = self.levels[i]
            if len(level.source):
                total = combine(costs[i], found[i + 1][level.target])
                first = np.flatnonzero(np.diff(level.source, prepend=-1))
                best = choose.reduceat(total, first)
                found[i][level.source[first]] = np.maximum(best, NEVER)
        return found

    @property
    def has_networks(self) -> bool:
        """Whether any path is a complete network."""
        return int(self.suffixes(self._nothing)[0][0]) == 0

    @property
    def _nothing(self) -> list[Ints]:
        """A value of 0 for every transition."""
        return [np.zeros(len(level.source), np.int64) for level in self.levels]

    def prefixes(self, values: list[Ints]) -> list[Ints]:
        """The highest value of any path from the input to a state."""
        found = [np.full(count, NEVER, np.int64) for count in self.states]
        found[0][:] = 0
        for i, level in enumerate(self.levels):
            np.maximum.at(found[i + 1], level.target, values[i] + found[i][level.source])
            np.maximum(found[i + 1], NEVER, out=found[i + 1])
        return found

    def within(self, box: Box) -> Graph:
        """Without the transitions that no network within the limits uses."""
        graph, before = self._bounded(self._nothing, 0), -1
        while before != (before := sum(len(level.source) for level in graph.levels)):
            for name, (low, high) in box.items():
                if name in LARGEST_OF:  # one stage reaches a least peak, and all keep to a highest
                    levels = [lv if high is None else lv.keep(lv.costs[name] <= high)
                              for lv in graph.levels]  # fmt: skip
                    graph = graph._replace(levels=tuple(levels))
                    continue
                for sign, bound in ((-1, high), (1, low)):
                    if bound is not None:
                        graph = graph._bounded([sign * lv.costs[name] for lv in graph.levels],
                                               sign * bound)  # fmt: skip
        return graph

    def tightened(self, box: Box) -> Box:
        """The same limits at values that a network can have, according to common divisors.

        All networks of a graph may have, say, MACs that are multiples of 784: then 300,000,000 is
        as good as 299,999,952, and the search need not look for anything in between.
        """
        tight = dict(box)
        for name, (low, high) in box.items():
            if name not in LARGEST_OF and any(len(level.source) for level in self.levels):
                step, rest = self._spacing([level.costs[name] for level in self.levels])
                if step > 1:
                    low = None if low is None else low + (rest - low) % step
                    high = None if high is None else high - (high - rest) % step
                    tight[name] = (low, high)
        return tight

    def _spacing(self, costs: list[Ints]) -> tuple[int, int]:
        """`step` and `rest` so that the cost of every network is `rest` modulo `step`."""
        some = self.prefixes(costs)  # of every state the cost of one path to it
        ends = np.concatenate([cost[end & (cost > NEVER)]
                               for cost, end in zip(some, self.ends, strict=True)])  # fmt: skip
        if not len(ends):
            return 1, 0
        step = int(np.gcd.reduce(ends - ends[0]))
        for i, level in enumerate(self.levels):
            excess = some[i][level.source] + costs[i] - some[i + 1][level.target]
            step = gcd(step, int(np.gcd.reduce(excess))) if len(excess) else step
        return step, int(ends[0])

    def _bounded(self, values: list[Ints], least: int) -> Graph:
        """Without the transitions through which no path has a value of `least`."""
        ahead, behind = self.suffixes(values), self.prefixes(values)
        levels = tuple(
            level.keep(behind[i][level.source] + values[i] + ahead[i + 1][level.target] >= least)
            for i, level in enumerate(self.levels)
        )
        return self._replace(levels=levels)


def word(stage: Stage) -> str:
    """The word of a stage, whose width is 1 if it has one."""
    return write((stage,))


class NodeMoves(NamedTuple):
    """A node of the chains, and what may follow it."""

    node: Any
    widths: tuple[int, ...]
    moves: tuple[Move, ...]


class Survey(NamedTuple):
    """The nodes of the chains, level by level, and the size of their graph before it is built.

    `caps` are highest values of figures that add up, or of the peak: a stage that costs more by
    itself lies on no network within them, and is left out.
    """

    levels: tuple[tuple[NodeMoves, ...], ...]
    outside: int  # bytes of the input, which lives while the network runs
    setting: Setting  # what more is counted
    caps: Caps
    transitions: int

    def check(self) -> None:
        """Refuse a graph that would need more memory than a search should."""
        if self.transitions > MOST_TRANSITIONS:
            numbers = {
                "pairs of widths": f"{self.transitions:,}",
                "at most": f"{MOST_TRANSITIONS:,}",
                "memory": f"about {self.transitions * BYTES / 1e9:,.1f} GB",
            }
            remedy = "Use fewer widths (a divisor or a list), fewer kernels, or lower limits."
            raise ArgumentError(
                explain("the search space is too large", numbers=numbers, remedy=remedy)
            )

    def covers(self, box: Box) -> bool:
        """Whether it contains every network within a box."""
        highs = dict(caps_of(box))
        return all(highs.get(name, cap + 1) <= cap for name, cap in self.caps)


def caps_of(box: Box) -> Caps:
    """The highest values of a box that a single stage can exceed, and a wider one all the more."""
    names = [name for name in (*COUNTED, *ON_DEVICE) if name not in FIXED]
    highs = ((name, box.get(name, (None, None))[1]) for name in names)
    return tuple((name, high) for name, high in highs if high is not None)


def survey(
    chains: Chains,
    caps: Caps = (),
    tick: Callable[[], None] = lambda: None,
    setting: Setting = PLAIN,
) -> Survey:
    """Follow the chains to their end without making transitions; `tick` may raise to stop it."""
    outside = 4 * chains.in_channels * prod(chains.start.size)
    nodes: dict[Any, tuple[int, ...]] = {chains.start: (chains.in_channels,)}
    fields = {chains.start: 1}  # the largest receptive field at a node
    levels: list[tuple[NodeMoves, ...]] = []
    count = 0
    while nodes:
        ahead: dict[Any, tuple[int, ...]] = {}
        seen: dict[Any, int] = {}
        parts = []
        for node, widths in nodes.items():
            tick()
            moves = () if node.is_end else tuple(chains.moves(node))
            for move in moves:
                ahead.setdefault(move.node, _given(move, widths, node.size))
                field = fields[node] + move.growth
                seen[move.node] = max(field, seen.get(move.node, 0))
                check_span(field + move.span)
                spot = Spot(node.size, outside if levels else 0, setting)
                count += count_pairs(move.stage, widths, move.widths, spot, move.wider, caps)
            parts.append(NodeMoves(node, widths, moves))
            if count > MOST_COUNTED:  # nobody needs to know by how much more
                return Survey((*levels, tuple(parts)), outside, setting, caps, count)
        levels.append(tuple(parts))
        if len(levels) > MOST_LEVELS:
            what = "the networks have more stages than a search can follow"
            raise ArgumentError(explain(what, numbers={"at most": MOST_LEVELS}))
        nodes, fields = ahead, seen
    return Survey(tuple(levels), outside, setting, caps, count)


def build(
    chains: Chains | Survey, tick: Callable[[], None] = lambda: None, *, skips: bool = False
) -> Graph:
    """The graph of the chains, with the costs of every stage.

    A stage with an operator that the table lacks is left out if the graph `skips` it.

    Raises:
        ArgumentError: it would be too large, or its costs exceed the 64-bit range.
        Lacking: the table lacks an operator.
    """
    surveyed = chains if isinstance(chains, Survey) else survey(chains, tick=tick)
    surveyed.check()
    names, caps = surveyed.setting.figures, surveyed.caps
    first = surveyed.levels[0][0]
    offsets: dict[Any, int] = {first.node: 0}
    levels: list[Level] = []
    states, ends = [len(first.widths)], [np.array([False] * len(first.widths))]
    stages: dict[Stage, int] = {}
    for level in surveyed.levels:
        ahead: dict[Any, tuple[int, tuple[int, ...]]] = {}
        count = 0
        parts: list[tuple[Any, ...]] = []
        for node, widths, moves in level:
            tick()
            for move in moves:
                chosen = _given(move, widths, node.size)
                if move.node not in ahead:
                    ahead[move.node] = (count, chosen)
                    count += len(chosen)
                spot = Spot(node.size, surveyed.outside if levels else 0, surveyed.setting)
                a, b, width, costs = costs_of(
                    move.stage, widths, move.widths, spot, move.wider, caps
                )
                number = stages.setdefault(move.stage, len(stages))
                grown = move.growth + (not levels)  # the input sees itself
                growth = np.full(len(a), grown, np.int64)
                kept = [(costs | {"receptive_field": growth})[name] for name in names]
                target = ahead[move.node][0] + b
                parts.append(
                    (offsets[node] + a, target, np.full(len(a), number, np.int16), width, *kept)
                )
        if not parts:
            break
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        parts.clear()
        order = np.argsort(columns[0], kind="stable")
        source, target, stage, width, *kept = (column[order] for column in columns)
        del columns
        costs = dict(zip(names, kept, strict=True))
        made = Level(source.astype(np.int32), target.astype(np.int32),
                     stage.astype(np.int16), width.astype(np.int32), costs)  # fmt: skip
        if LATENCY in costs and np.any(unknown := costs[LATENCY] == UNKNOWN):
            if not skips:
                raise Lacking
            made = made.keep(~unknown)
        levels.append(made)
        states.append(count)
        end = np.zeros(count, bool)
        for node, (offset, widths) in ahead.items():
            end[offset : offset + len(widths)] = node.is_end
        ends.append(end)
        offsets = {node: offset for node, (offset, _) in ahead.items()}
    ordered = sorted(stages, key=word)
    place = np.array([ordered.index(stage) for stage in stages] or [0], np.int16)
    levels = [level._replace(stage=place[level.stage]) for level in levels]
    return Graph(tuple(levels), tuple(states), tuple(ends), tuple(ordered))


def _given(move: Move, widths: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The widths of what a stage gives: those to choose from, or one for each that it reads."""
    if move.widths is not None:
        return move.widths
    return tuple(width_given(move.stage, width, size) or width for width in widths)
