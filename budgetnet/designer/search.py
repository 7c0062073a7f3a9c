"""The exact search for the best networks of a graph within limits.

This is a label-setting search for a longest path with resource constraints. A label is a partial
network. It is dropped only for one of three reasons, each of which proves that it is not needed: no
completion is within the limits; no completion is better than the networks already found; or
other labels at its state are at least as good in every respect. All arithmetic is in 64-bit
integers, whose range is asserted. The search runs with few labels at a time, then with more,
until nothing that was set aside can be better than what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError, SearchStopped, explain
from ..spec.plan import Spec
from .bounds import Bound, Path, lowest_bounds, one_sided_limits
from .costs import LARGEST_OF, PEAK, Ints
from .graph import NEVER, Box, Graph
from .labels import Labels, join, undominated
from .limits import most_allowed
from .priorities import transition_values
from .refill import refill

ROOM = (1_000, 8_000, 64_000, 256_000)  # labels that are continued at a time
ENOUGH = 1_000_000  # that are looked at to break ties, or for a proof once some were refused
REFILLS = 16  # times that the best is improved by other options at its widths
CHUNK = 1 << 21  # candidates that are made at a time
MOST_LABELS = 1 << 23  # that are held at a time, some 100 bytes each
TRIES = 4  # networks of one level that may be refused before the others there are set aside
REFUSED = 32  # networks after which a search that has accepted none gives up
CROWD = 1 << 22  # candidates after which those are dropped that others make superfluous


class Problem(NamedTuple):
    """What to maximise, within which limits, and how many networks to find.

    Several networks differ in more than their widths: each is the best of its skeleton. A network
    within the limits must be accepted as well, where that depends on more than sums over stages.
    """

    objective: Mapping[str, int]
    box: Box
    top: int = 1
    accept: Callable[[Spec], bool] | None = None


class Progress(NamedTuple):
    """The progress of a search.

    Attributes:
        room: partial networks that it continues at a time.
        share: fraction of a network's stages that is done.
        best: the best network so far.
    """

    room: int
    share: float
    best: Spec | None


class Outcome(NamedTuple):
    """The networks found, the best first, and what is known about the others."""

    specs: tuple[Spec, ...]
    proven: bool  # whether none of the others is better
    at_most: int | None  # no network's objective is above this; None if there is no network
    evaluated: int  # labels that were looked at
    refused: tuple[Spec, ...] = ()  # networks within the limits that were not accepted
    value: tuple[int, ...] = ()  # of the best, to be compared: more is better


class Found(NamedTuple):
    """A network with the key that orders it, and its path."""

    key: tuple[int, ...]
    value: int
    skeleton: tuple[int, ...]
    spec: Spec
    path: list[tuple[int, int]]


def solve(
    graph: Graph,
    problem: Problem,
    watch: Callable[[Progress], None] = lambda _: None,
    tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Find the best networks of a graph, or prove that there is none.

    `KeyboardInterrupt` and `TimeoutError`, raised by `watch` or anywhere else, end the search: what
    was found by then is the outcome, not proven. If nothing was found, they are raised again.
    `tick` is called more often than `watch`, and may raise the same.
    """
    box = {name: (_clamped(low), _clamped(high)) for name, (low, high) in problem.box.items()}
    graph = graph.within(box)
    tick()
    if not graph.has_networks:
        return Outcome((), True, None, 0)
    search = _Search(graph, problem._replace(box=graph.tightened(box)), watch, tick)
    try:
        search.run()
    except _AllRefused:
        pass
    except (KeyboardInterrupt, TimeoutError):
        if not search.best:
            raise
    return search.outcome


def _followed(problem: Problem) -> str:
    """The figure that labels follow of those that do not add up."""
    names = [
        name
        for name in LARGEST_OF
        if name in problem.objective or problem.box.get(name, (None, None))[0] is not None
    ]
    if len(names) > 1:
        what = f"a search can follow one of {' and '.join(names)}"
        raise ArgumentError(explain(what, remedy="Limit one of them from above instead."))
    return names[0] if names else PEAK


class _AllRefused(Exception):
    """So many networks were refused, and none accepted, that going on is of no use."""


def _clamped(bound: int | None) -> int | None:
    """A limit that fits into 64 bits; no figure of a graph comes near their end."""
    return bound if bound is None else min(max(bound, -(1 << 62)), 1 << 62)


def stopped() -> SearchStopped:
    """The error of a search that ended without an answer."""
    what = "the search was stopped before it found a network, or proved that there is none"
    return SearchStopped(explain(what, remedy="Give it more time, or a smaller space."))


class _Search:
    def __init__(
        self,
        graph: Graph,
        problem: Problem,
        watch: Callable[[Progress], None],
        tick: Callable[[], None],
    ) -> None:
        self.graph, self.problem, self.watch, self.tick = graph, problem, watch, tick
        self.held = 0  # labels, of all levels
        self.values = transition_values(graph, problem.objective)
        self.limits = one_sided_limits(graph, problem.box)
        self.bounds: list[Bound] = []
        self.largest = _followed(problem)
        self.least_peak = problem.box.get(self.largest, (None, None))[0]
        self.needs_peak = self.least_peak is not None or self.largest in problem.objective
        if self.needs_peak:
            self.low_peaks = graph.peaks(self.largest, np.minimum)
            self.high_peaks = graph.peaks(self.largest, np.maximum)
        self.starts = [
            np.searchsorted(level.source, np.arange(count + 1))
            for level, count in zip(graph.levels, graph.states[:-1], strict=True)
        ]
        self.most = most_allowed(problem.objective, problem.box)
        self.best: list[Found] = []
        self.evaluated = 0
        self.ceiling = self._ceiling(int(graph.suffixes(self.values.added)[0][0]))
        self.set_aside = NEVER  # the highest value that this run does not know to be unwanted
        self.refused: dict[Spec, int] = {}  # values of networks that were not accepted
        self.keeps_all = False  # whether labels that others beat are continued too

    # ------------------------------------------------------------------ what is known

    def _ceiling(self, bound: int) -> int:
        """The highest value that a network outside the best can have."""
        if not self.values.peak_weight:
            return bound
        peaks = self.high_peaks if self.values.peak_weight > 0 else self.low_peaks
        return bound + self.values.peak_weight * int(peaks[0][0])

    @property
    def threshold(self) -> int:
        """The value that a network must exceed to be wanted."""
        if len(self.best) < self.problem.top:
            return NEVER
        return self.best[-1].value - bool(self.values.ties)  # an equal may still win a tie

    @property
    def outcome(self) -> Outcome:
        top = max(self.ceiling, self.best[0].value if self.best else NEVER)
        return Outcome(
            tuple(found.spec for found in self.best),
            self.ceiling <= self.threshold or self.goal_is_proven,
            self.values.objective_at_most(top) if self.best or self.refused else None,
            self.evaluated,
            tuple(self.refused),
            tuple(-part for part in self.best[0].key) if self.best else (),
        )

    @property
    def goal_is_proven(self) -> bool:
        """Whether no network outside the best has a higher objective, whatever breaks ties."""
        if len(self.best) < self.problem.top:
            return False
        at_most = self.values.objective_at_most
        return min(at_most(self.ceiling), self.most) <= at_most(self.best[-1].value)

    def _tell(self, room: int, share: float) -> None:
        self.watch(Progress(room, share, self.best[0].spec if self.best else None))

    # ------------------------------------------------------------------ the runs

    def run(self) -> None:
        """Search until the answer is proven."""
        self.bounds = lowest_bounds(self.graph, self.values.added, self.limits, self._see)
        self.ceiling = min(self.ceiling, self._ceiling(self.bounds[0].value))
        if self.ceiling <= self.threshold:
            return
        for room in ROOM:
            self._refill()
            self._sweep(room, whole=False)
            if self.ceiling <= self.threshold or (self.evaluated >= ENOUGH and self.goal_is_proven):
                return
        if self.refused and self.evaluated >= ENOUGH:
            return
        self._sweep(ROOM[-1], whole=True)
        if self.refused and not (self.ceiling <= self.threshold or self.goal_is_proven):
            self.keeps_all = True  # what was refused may have beaten what would be accepted
            self._sweep(ROOM[-1], whole=True)

    def _refill(self) -> None:
        """Look beside the best network for one that fills the limits better."""
        for seed in range(REFILLS):
            if not (self.best and self.limits) or self.goal_is_proven:
                return
            known = [found.key for found in self.best]
            for value, path in refill(
                self.graph, self.best[0].path, self.values.added, self.limits, self.largest,
                self._worth, self.problem.top, seed,
            ):  # fmt: skip
                self._keep(value, path)
            self.tick()
            if known == [found.key for found in self.best]:
                return

    def _worth(self, value: Ints, peak: Ints) -> Ints:
        """The value of complete networks; none if their peak is too low."""
        worth = value + self.values.peak_weight * peak
        return np.where(peak >= (self.least_peak or 0), worth, NEVER)

    def _sweep(self, room: int, whole: bool) -> None:
        """One pass from the input to complete networks.

        If there are more labels than `room`, only the most promising are continued; the `whole`
        pass continues all of them in turns.
        """
        self.set_aside = NEVER
        start = Labels.start(len(self.limits), len(self.values.ties))
        self._go_on(0, start, [], room, whole)
        self.ceiling = min(self.ceiling, max(self.set_aside, self.threshold))
        self._tell(room, 1.0)

    def _go_on(
        self, i: int, labels: Labels, history: list[tuple[Ints, Ints]], room: int, whole: bool
    ) -> None:
        if i == len(self.graph.levels) or not labels.count:
            return
        self._tell(room, i / len(self.graph.levels))
        labels = self._expand(i, labels)
        self._hold(labels.count)
        self._collect(i, labels, [*history, (labels.parent, labels.via)])
        order, turns = np.arange(labels.count), 1
        if labels.count > room:
            order = _by_promise(labels.bound, room)
            turns = -(-labels.count // room) if whole else 1
            if not whole:
                self.set_aside = max(self.set_aside, int(labels.bound[order[room:]].max()))
        for turn in range(turns):
            which = order[turn * room : (turn + 1) * room]
            some = labels.take(which[labels.bound[which] > self.threshold])
            self._go_on(i + 1, some, [*history, (some.parent, some.via)], room, whole)
        self._hold(-labels.count)

    def _hold(self, more: int) -> None:
        """Count the labels that are held, and stop before they fill memory."""
        self.held += more
        if self.held > MOST_LABELS:
            what = f"the search has more than {MOST_LABELS:,} partial networks open at once"
            remedy = "Use a smaller space or stricter limits."
            raise SearchStopped(explain(what, remedy=remedy))

    # ------------------------------------------------------------------ labels

    def _expand(self, i: int, labels: Labels) -> Labels:
        """All labels one stage longer that may lead to a wanted network."""
        starts = self.starts[i]
        counts = starts[labels.state + 1] - starts[labels.state]
        ends = np.cumsum(counts)
        bases = [self._base(labels, bound) for bound in self.bounds]
        made: list[Labels] = []
        low, pending = 0, 0
        while low < labels.count:
            done = int(ends[low - 1]) if low else 0
            high = max(low + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
            some = slice(low, high)
            rows = np.repeat(np.arange(low, high), counts[some])
            skipped = starts[labels.state[some]] - (ends[some] - counts[some] - done)
            via = np.arange(len(rows)) + np.repeat(skipped, counts[some])
            self.evaluated += len(rows)
            made.append(self._candidates(i, labels, rows, via, bases))
            pending += made[-1].count
            low = high
            if pending > CROWD and low < labels.count:  # before they fill memory
                made = [self._undominated(join(made))]
                self._hold(made[0].count)
                self._hold(-made[0].count)
                pending = made[0].count
            self.tick()
        found = self._undominated(join(made))
        if self.problem.top > 1:
            found.skeleton = np.unique(found.skeleton, return_inverse=True)[1].astype(np.int64)
        return found

    def _undominated(self, found: Labels) -> Labels:
        if self.keeps_all:
            return found
        return found.take(undominated(found, self._compared(found), self.problem.top))

    def _base(self, labels: Labels, bound: Bound) -> Ints:
        """What labels contribute to a bound: their value, and the credit for what they left."""
        credit = sum(int(m) * limit.bound
                     for m, limit in zip(bound.multipliers, self.limits, strict=True))  # fmt: skip
        return labels.value - bound.multipliers @ labels.uses + credit

    def _candidates(
        self, i: int, labels: Labels, rows: Ints, via: Ints, bases: list[Ints]
    ) -> Labels:
        """Labels `rows` continued by transitions `via`, as far as none of the proofs drops them."""
        level = self.graph.levels[i]
        bound = np.full(len(rows), -NEVER, np.int64)
        for base, relaxed in zip(bases, self.bounds, strict=True):
            more = base[rows] + relaxed.ahead[i][via]
            if self.values.peak_weight:
                more += self._peak_value(i, labels, rows, via)
            bound = np.minimum(bound, more)
            keep = bound > self.threshold
            rows, via, bound = rows[keep], via[keep], bound[keep]
        for j, limit in enumerate(self.limits):
            least = limit.costs[i] + limit.least[i + 1][level.target]
            keep = labels.uses[j][rows] + least[via] <= limit.bound
            rows, via, bound = rows[keep], via[keep], bound[keep]
        peak = labels.peak[rows]
        if self.needs_peak:
            peak = np.maximum(peak, level.costs[self.largest][via])
        if self.least_peak is not None:
            keep = np.maximum(peak, self.high_peaks[i + 1][level.target[via]]) >= self.least_peak
            rows, via, bound, peak = rows[keep], via[keep], bound[keep], peak[keep]
        uses, ties = labels.uses[:, rows], labels.ties[:, rows]
        for j, limit in enumerate(self.limits):
            uses[j] += limit.costs[i][via]
        for j, name in enumerate(self.values.ties):
            ties[j] += level.costs[name][via]
        skeleton = labels.skeleton[rows] * len(self.graph.stages) + level.stage[via]
        value = labels.value[rows] + self.values.added[i][via]
        return Labels(level.target[via], value, uses, ties, peak, rows, via, skeleton, bound)

    def _peak_value(self, i: int, labels: Labels, rows: Ints, via: Ints) -> Ints:
        """The most that the peak of a completed network can add to its value."""
        level = self.graph.levels[i]
        ahead = (self.high_peaks if self.values.peak_weight > 0 else self.low_peaks)[i + 1]
        peak = np.maximum(labels.peak[rows], level.costs[self.largest][via])
        return np.maximum(peak, ahead[level.target[via]]) * self.values.peak_weight

    def _compared(self, labels: Labels) -> list[Ints]:
        """Amounts of which less is better, beside the value that adds up."""
        rows = list(labels.uses)
        if self.values.peak_weight < 0:
            rows.append(labels.peak)
        if self.values.peak_weight > 0 or self.least_peak is not None:
            rows.append(-labels.peak)
        return rows

    # ------------------------------------------------------------------ complete networks

    def _collect(self, i: int, labels: Labels, history: list[tuple[Ints, Ints]]) -> None:
        """Keep the complete networks that are wanted."""
        value = labels.value + self.values.peak_weight * labels.peak
        ended = np.flatnonzero(self.graph.ends[i + 1][labels.state])
        most = len(self.refused) + TRIES
        for k in ended[np.argsort(-value[ended], kind="stable")]:
            if value[k] <= self.threshold:
                break
            if len(self.refused) >= most:
                self.set_aside = max(self.set_aside, int(value[k]))
                break
            steps, at = [], int(k)
            for j in range(i, -1, -1):
                parents, vias = history[j]
                steps.append((j, int(vias[at])))
                at = int(parents[at])
            self._keep(int(value[k]), steps[::-1])

    def _see(self, path: Path) -> int:
        """Keep a network met on the way to the bounds, if it is within the limits."""
        self.tick()
        within = all(use <= limit.bound for use, limit in zip(path.uses, self.limits, strict=True))
        peak = 0
        if self.needs_peak:
            peak = max(int(self.graph.levels[i].costs[self.largest][t]) for i, t in path.steps)
        if within and peak >= (self.least_peak or 0):
            self._keep(path.value + self.values.peak_weight * peak, path.steps)
        return self.best[0].value if self.best else NEVER

    def _keep(self, value: int, path: list[tuple[int, int]]) -> None:
        """Add a network within the limits to the best, if it is one of them."""
        levels = self.graph.levels
        steps = [(int(levels[i].stage[t]), int(levels[i].width[t])) for i, t in path]
        ties = [sum(int(levels[i].costs[name][t]) for i, t in path) for name in self.values.ties]
        skeleton = tuple(stage for stage, _ in steps) if self.problem.top > 1 else ()
        new = Found((-value, *ties), value, skeleton, self.graph.spec(steps), path)
        rivals = [found for found in self.best if found.skeleton == skeleton]
        if not any(found.key <= new.key for found in rivals) and self._accepts(new):
            kept = [found for found in self.best if found.skeleton != skeleton]
            self.best = sorted([*kept, new], key=lambda found: found.key)[: self.problem.top]

    def _accepts(self, new: Found) -> bool:
        """Whether a network is accepted. What it beat may be: so its value is not known as vain."""
        accept = self.problem.accept
        if accept is None or (new.spec not in self.refused and accept(new.spec)):
            return True
        self.refused[new.spec] = new.value
        if not self.keeps_all:
            self.set_aside = max(self.set_aside, new.value)
        if not self.best and len(self.refused) >= REFUSED:
            raise _AllRefused
        return False


def _by_promise(bound: Ints, room: int) -> Ints:
    """Labels in the order of their bounds, except for half of the first turn.

    That half lies at even distances among the rest: the best by their bounds are all alike, and
    none of them may fill a limit to the last unit.
    """
    order = np.argsort(-bound, kind="stable")
    spread = np.linspace(room // 2, len(order) - 1, room - room // 2).astype(np.int64)
    first = np.concatenate([order[: room // 2], order[spread]])
    return np.concatenate([first, np.delete(order, np.r_[: room // 2, spread])])
