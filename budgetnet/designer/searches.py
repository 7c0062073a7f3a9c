"""Searches over one space, for each resolution and width multiplier that it offers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.device.deployment import deployment_of
from ..errors import SearchStopped
from ..spec.plan import Spec, plan
from ..spec.stages import with_width
from .answers import Design
from .costs import FIXED, PLAIN, RAM, Setting
from .graph import Box, Graph, Lacking, Survey, build, caps_of, survey
from .limits import counted_figure
from .measured import operators_of_survey
from .objectives import figure_of
from .search import Outcome, Problem, Progress, solve, stopped
from .skeletons import SpaceChains, count_networks
from .space import SearchSpace
from .timing import no_entries

LOWER = (15, 14, 13, 12, 11, 10, 9, 8)  # sixteenths of a highest RAM, once plans took too much
_MANY = 1 << 20  # transitions; with fewer, one graph for every question is made fastest


class Answer(NamedTuple):
    """The best networks, the best first; whether that is proven; and a bound of the objective."""

    designs: list[Design]
    proven: bool
    at_most: float  # infinite if part of the space was not searched
    refused: tuple[Design, ...] = ()  # for which the runtime plans more RAM than is live


class Searches:
    """Searches over one space, which share its graphs."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        space: SearchSpace,
        time_limit: float | None,
        watch: Callable[[Progress], None] | None,
        setting: Setting = PLAIN,
    ) -> None:
        """Nothing is searched yet; the time limit counts from here."""
        self.setting, self.judges_plans = setting, True
        self.shape, self.num_classes, self.space = shape, num_classes, space
        self.variants = space.variants(shape)
        self.deadline = None if time_limit is None else time.monotonic() + time_limit
        self.outer_watch = watch
        self.graphs: dict[object, list[tuple[Survey, Graph]]] = {}
        self.evaluated = 0

    def count(self) -> int:
        """How many networks the space holds."""
        return count_networks(self.space, self.shape, self.num_classes, self.tick)

    def run(self, weights: dict[str, int], box: Box, top: int = 1) -> Answer:
        """The best networks within a box, over all variants of the space.

        Raises:
            SearchStopped, KeyboardInterrupt: stopped before a network was found.
        """
        best: dict[object, tuple[tuple[int, ...], Design]] = {}
        proven, at_most = True, -inf
        refused: list[Design] = []
        for place, (space, shape) in enumerate(self.variants):
            try:
                outcome = self._solve(space, shape, weights, box, top)
            except (KeyboardInterrupt, SearchStopped):
                if not best:
                    raise
                proven, at_most = False, inf
                break
            for spec in outcome.specs:
                found = Design(spec, plan(spec, shape))
                entry = (self._key(weights, found), found)
                best[_skeleton(found)] = min(entry, best.get(_skeleton(found), entry), key=_first)
            refused += [Design(spec, plan(spec, shape)) for spec in outcome.refused[:1]]
            at_most = max(at_most, -inf if outcome.at_most is None else outcome.at_most)
            if not outcome.proven:
                proven = False
                at_most = inf if place + 1 < len(self.variants) else at_most
                break
        ordered = sorted(best.values(), key=_first)[:top]
        return Answer([found for _, found in ordered], proven, at_most, tuple(refused))

    def best(self, weights: dict[str, int], box: Box) -> Design | None:
        """The best network within a box, proven; None if it is proven that there is none."""
        answer = self.run(weights, box)
        if not answer.proven:
            raise stopped()
        return answer.designs[0] if answer.designs else None

    def _solve(
        self,
        space: SearchSpace,
        shape: tuple[int, ...],
        weights: dict[str, int],
        box: Box,
        top: int,
    ) -> Outcome:
        """The best networks of one variant."""
        fixed = {name: box[name] for name in FIXED if name in box and space.is_plain}
        rest = {name: limit for name, limit in box.items() if name not in fixed}
        graph = self._graph(space, shape, fixed, rest)
        objective: dict[str, int] = {}
        for name, weight in weights.items():
            objective[counted_figure(name)] = objective.get(counted_figure(name), 0) + weight
        judged = self.setting if self.judges_plans else PLAIN
        accept = acceptance(judged, shape, objective, box)

        def run(limits: Box) -> Outcome:
            found = solve(graph, Problem(objective, limits, top, accept), self.watch, self.tick)
            self.evaluated += found.evaluated
            return found

        outcome = best = run(rest)
        high = box.get(RAM, (None, None))[1]
        if high is None or outcome.proven or not outcome.refused:
            return outcome
        for share in LOWER:  # with less that is live, a planner may keep to what is allowed
            try:
                found = run({**rest, RAM: (None, high * share // 16)})
            except (KeyboardInterrupt, SearchStopped):
                if not best.specs:
                    raise
                break
            if found.specs and (not best.specs or found.value > best.value):
                best = found
            if not found.refused:  # still less cannot be better
                break
        return best._replace(proven=False, at_most=outcome.at_most, refused=outcome.refused)

    def _graph(self, space: SearchSpace, shape: tuple[int, ...], fixed: Box, rest: Box) -> Graph:
        """A graph that holds every network within a box, made on first use.

        A large one is made without the transitions that exceed the box by themselves.
        """
        key = (space, shape, tuple(fixed.items()))
        for surveyed, graph in self.graphs.get(key, ()):
            if surveyed.covers(rest):
                return graph
        chains = SpaceChains(space, shape, self.num_classes, fixed)
        surveyed = survey(chains, (), self.tick, self.setting)
        if surveyed.transitions > _MANY:
            surveyed = survey(chains, caps_of(rest), self.tick, self.setting)
            surveyed.check()
            self.graphs.clear()  # two of these might not fit into memory
        try:
            graph = build(surveyed, self.tick)
        except Lacking:
            table = self.setting.table
            assert table is not None
            missing = table.missing(operators_of_survey(surveyed, self.tick))
            raise no_entries(table, missing) from None
        self.graphs.setdefault(key, []).append((surveyed, graph))
        return graph

    def figure(self, name: str, account: Account) -> int:
        """A figure of an account, as a search counts it."""
        return figure_of(name, account, self.setting)

    def _key(self, weights: dict[str, int], found: Design) -> tuple[int, ...]:
        """What orders networks of different variants: as a search orders those of one."""
        account = found.account
        value = sum(weight * self.figure(name, account) for name, weight in weights.items())
        return -value, figure_of("macs", account), account.params

    def watch(self, progress: Progress) -> None:
        """Stop at the deadline, and report progress to the caller."""
        self.tick()
        if self.outer_watch is not None:
            self.outer_watch(progress)

    def tick(self) -> None:
        """Stop at the deadline."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise stopped()


def _first(entry: tuple[tuple[int, ...], Design]) -> tuple[int, ...]:
    return entry[0]


def acceptance(
    setting: Setting, shape: tuple[int, ...], objective: Mapping[str, int], box: Box
) -> Callable[[Spec], bool] | None:
    """Whether a plan of memory keeps to a highest RAM, if one is asked for.

    A search counts what is live, which is no plan yet. Where RAM is part of the objective, the plan
    must need no more than that.
    """
    high, target = box.get(RAM, (None, None))[1], setting.target
    if target is None or (high is None and RAM not in objective):
        return None

    def accept(spec: Spec) -> bool:
        found = deployment_of(plan(spec, shape), target)
        most = found.ram_bound if RAM in objective else high
        return most is None or found.ram_bytes <= most

    return accept


def _skeleton(found: Design) -> object:
    """What is left of a network without its widths."""
    return found.account.input_shape, tuple(with_width(stage, 1) for stage in found.spec.stages)
