"""The Graph: every network of a space as a path, with exact costs on its transitions.

A state is a place in the chain and the width there; a transition is a stage with its width. The
levels of the graph count stages. Networks that reach one state differ in their past alone, so what
may follow is worked out once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from math import gcd, prod
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, explain
from ..geometry import Count
from ..notation import write
from ..receptive_field import ReceptiveField
from ..spec import Spec, bytes_by_type, live_bytes, rows_of
from ..stages import Stage, with_width
from ..window import Window

Ints: TypeAlias = NDArray[np.int64]
Box: TypeAlias = Mapping[str, tuple[int | None, int | None]]  # lowest and highest of figures

# What adds up along a chain. The peak does not: it is the largest along the chain.
ADDED = ("params", "macs", "weight_bytes", "depth", "receptive_field")
PEAK = "peak_activation_bytes"
LARGEST = 1 << 52  # cost of one stage, so that those of hundreds add up within 64 bits
NEVER = -(1 << 61)  # worth of what cannot be completed


class Move(NamedTuple):
    """A stage that may come next, its width left at 1, and what can be chosen for it."""

    stage: Stage
    node: Any  # where it leads: hashable, with the `size` of the map there, () behind the head
    widths: tuple[int, ...] | None  # None keeps the width of the map that it reads
    growth: int = 0  # what the receptive field grows by
    wider: bool = False  # whether only widths serve that are at least that of the map it reads


class Walk(Protocol):
    """What the chains of a graph are made of."""

    start: Any
    in_channels: int

    def moves(self, node: Any) -> Iterable[Move]:
        """Every stage that may follow at a node."""


class Level(NamedTuple):
    """Transitions from one level of states to the next, sorted by the state that they leave."""

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

    def suffixes(self, worth: list[Ints]) -> list[Ints]:
        """The most that any completion of a state is worth, given the worth of transitions."""
        return self._backward(worth, np.add, np.maximum, NEVER)

    def peaks(self, choose: np.ufunc) -> list[Ints]:
        """The least (`np.minimum`) or most (`np.maximum`) peak of the completions of a state."""
        peaks = [level.costs[PEAK] for level in self.levels]
        return self._backward(peaks, np.maximum, choose, 0 if choose is np.maximum else -NEVER)

    def _backward(
        self, costs: list[Ints], combine: np.ufunc, choose: np.ufunc, never: int
    ) -> list[Ints]:
        """What completions of a state come to: costs combined along each, and one chosen."""
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
        """A worth of 0 for every transition."""
        return [np.zeros(len(level.source), np.int64) for level in self.levels]

    def prefixes(self, worth: list[Ints]) -> list[Ints]:
        """The most that any beginning up to a state is worth."""
        found = [np.full(count, NEVER, np.int64) for count in self.states]
        found[0][:] = 0
        for i, level in enumerate(self.levels):
            np.maximum.at(found[i + 1], level.target, worth[i] + found[i][level.source])
            np.maximum(found[i + 1], NEVER, out=found[i + 1])
        return found

    def within(self, box: Box) -> Graph:
        """Without the transitions on which no network within the limits lies."""
        graph, before = self._bounded(self._nothing, 0), -1
        while before != (before := sum(len(level.source) for level in graph.levels)):
            for name, (low, high) in box.items():
                if name == PEAK:  # one stage reaches a least peak, and all keep to a highest
                    levels = [lv if high is None else lv.keep(lv.costs[PEAK] <= high)
                              for lv in graph.levels]  # fmt: skip
                    graph = graph._replace(levels=tuple(levels))
                    continue
                for sign, bound in ((-1, high), (1, low)):
                    if bound is not None:
                        graph = graph._bounded([sign * lv.costs[name] for lv in graph.levels],
                                               sign * bound)  # fmt: skip
        return graph

    def tightened(self, box: Box) -> Box:
        """The same limits at values that a network can have, as far as common divisors tell.

        All networks of a graph may have, say, MACs that are multiples of 784: then 300,000,000 is
        as good as 299,999,952, and a search that knows it need not look for what is between.
        """
        tight = dict(box)
        for name, (low, high) in box.items():
            if name != PEAK and any(len(level.source) for level in self.levels):
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

    def _bounded(self, worth: list[Ints], least: int) -> Graph:
        """Without the transitions through which no path is worth `least`."""
        ahead, behind = self.suffixes(worth), self.prefixes(worth)
        levels = tuple(
            level.keep(behind[i][level.source] + worth[i] + ahead[i + 1][level.target] >= least)
            for i, level in enumerate(self.levels)
        )
        return self._replace(levels=levels)


def word(stage: Stage) -> str:
    """The word of a stage, whose width is 1 where it has one."""
    return write((stage,))


def build(walk: Walk, figures: Iterable[str]) -> Graph:
    """The graph of a walk, with the costs that are asked for."""
    names = tuple(figures)
    outside = 4 * walk.in_channels * prod(walk.start.size)
    offsets: dict[Any, tuple[int, tuple[int, ...]]] = {walk.start: (0, (walk.in_channels,))}
    levels: list[Level] = []
    states, ends = [1], [np.array([False])]
    stages: dict[Stage, int] = {}
    while offsets:
        ahead: dict[Any, tuple[int, tuple[int, ...]]] = {}
        count = 0
        parts: list[tuple[Any, ...]] = []
        for node, (offset, widths) in offsets.items():
            for move in walk.moves(node) if node.size else ():
                chosen = widths if move.widths is None else move.widths
                if move.node not in ahead:
                    ahead[move.node] = (count, chosen)
                    count += len(chosen)
                a, b, width, costs = _costs(
                    move.stage, widths, move.widths, node.size,
                    outside if levels else 0, move.wider,
                )  # fmt: skip
                number = stages.setdefault(move.stage, len(stages))
                grown = move.growth + (not levels)  # the input sees itself
                growth = np.full(len(a), grown, np.int64)
                kept = [(costs | {"receptive_field": growth})[name] for name in names]
                target = ahead[move.node][0] + b
                parts.append((offset + a, target, np.full(len(a), number), width, *kept))
        if not parts:
            break
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        source, target, stage, width, *kept = (column[order] for column in columns)
        costs = dict(zip(names, kept, strict=True))
        levels.append(Level(source.astype(np.int32), target.astype(np.int32),
                            stage.astype(np.int16), width.astype(np.int32), costs))  # fmt: skip
        states.append(count)
        end = np.zeros(count, bool)
        for node, (offset, widths) in ahead.items():
            end[offset : offset + len(widths)] = not node.size
        ends.append(end)
        offsets = ahead
    ordered = sorted(stages, key=word)
    place = np.array([ordered.index(stage) for stage in stages] or [0], np.int16)
    levels = [level._replace(stage=place[level.stage]) for level in levels]
    return Graph(tuple(levels), tuple(states), tuple(ends), tuple(ordered))


@lru_cache(maxsize=1024)
def _costs(
    stage: Stage, widths: tuple[int, ...], chosen: tuple[int, ...] | None,
    size: tuple[int, ...], outside: int, wider: bool,
) -> tuple[Ints, Ints, Ints, dict[str, Ints]]:  # fmt: skip
    """Every admissible pair of widths by index, the width given, and what the stage costs."""
    if chosen is None:
        a = b = np.arange(len(widths))
        narrow = wide = np.array(widths, np.int64)
    else:
        a, b = (grid.ravel() for grid in np.indices((len(widths), len(chosen))))
        narrow, wide = np.array(widths, np.int64)[a], np.array(chosen, np.int64)[b]
        if wider:
            fine = narrow <= wide
            a, b, narrow, wide = a[fine], b[fine], narrow[fine], wide[fine]
    groups = getattr(stage, "groups", 1)
    if groups > 1:
        fine = (narrow % groups == 0) & (wide % groups == 0)
        a, b, narrow, wide = a[fine], b[fine], narrow[fine], wide[fine]
    # The widest pair in plain ints first: they cannot overflow, and no other pair costs more.
    first, last = (int(channels.max(initial=groups)) for channels in (narrow, wide))
    if max(_figures(stage, first, last, size, outside).values()) >= LARGEST:
        what = "costs of this space leave the 64-bit range"
        numbers = {"widest": write((with_width(stage, last),))}
        raise ArgumentError(explain(what, numbers=numbers, remedy="Use smaller widths."))
    figures, ones = _figures(stage, narrow, wide, size, outside), np.ones(len(a), np.int64)
    return a, b, wide, {name: ones * figure for name, figure in figures.items()}


def _figures(
    stage: Stage, narrow: Count, wide: Count, size: tuple[int, ...], outside: int
) -> dict[str, Count]:
    """What a stage costs between two widths, or between many at once."""
    layers = [
        (f"x.{layer.name}" if layer.name else "x", layer)
        for layer in with_width(stage, wide).layers(narrow)
    ]
    rows = list(rows_of(layers, (narrow, *size), ReceptiveField((Window(),) * len(size))))
    params = sum(row.params for row in rows)
    norms = [layer.buffers for _, layer in layers if layer.kind == "BatchNorm2d"]
    live = [alive + outside for alive in live_bytes(rows, narrow, size)]
    return {
        "params": params,
        "macs": sum(row.macs for row in rows),
        "weight_bytes": sum(count for _, count in bytes_by_type(params, norms)),
        "depth": sum(bool(np.any(row.macs)) for row in rows),
        PEAK: reduce(np.maximum, live) if isinstance(narrow, np.ndarray) else max(live),
    }
