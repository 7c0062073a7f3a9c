"""`design`: the networks of a space that meet a budget, found exactly, or why there are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .budget import Budget, together
from .designing.answers import Design, Designs
from .designing.goal import read_goal, read_goals
from .designing.graph import ADDED, PEAK, Box, Graph, build
from .designing.infeasible import diagnose
from .designing.limits import canonical, read_box
from .designing.pareto import pareto_front
from .designing.search import Outcome, Problem, Progress, solve, stopped
from .designing.space import SearchSpace
from .designing.walks import SpaceWalk, count_networks
from .errors import ArgumentError, explain
from .geometry import check_shape
from .spec import Spec, plan


def design(
    input_shape: tuple[int, int, int],
    num_classes: int,
    budget: Budget | None = None,
    *,
    space: SearchSpace | None = None,
    objective: Any = None,
    pareto: Any = None,
    top: int = 1,
    time_limit: float | None = None,
    watch: Callable[[Progress], None] | None = None,
    **limits: Any,
) -> Designs:
    """The best networks of a space that meet a budget, found exactly; no data, no training.

    Args:
        input_shape: `(C, H, W)`, without the batch.
        num_classes: outputs of the head.
        budget: a `Budget` of limits on figures.
        space: the `SearchSpace`; by default `SearchSpace.for_input(input_shape)`.
        objective: "max macs" or "min params" and so on, for any figure that a `Budget` limits, or
            weights such as `{"macs": 1, "params": -20}` to maximise a sum. By default "max macs"
            where the receptive field has a least value and MACs no highest, else "max params".
        pareto: instead of an objective, figures or objectives such as "params,macs": every network
            of which none is better in one of them and as good in the others.
        top: how many networks. Each is the best of its kind: they differ in more than widths.
        time_limit: seconds after which the best so far is returned, not proven.
        watch: is called with the `Progress` of the search, now and then.
        **limits: limits of `Budget`, instead of or beside one.

    `KeyboardInterrupt` (Ctrl-C) returns the best so far, `proven` being false.

    Raises:
        InfeasibleBudget: no network of the space meets the budget; the error says which limits
            cannot hold together, and what can be reached.
        SearchStopped: the time limit came before any answer.
        ArgumentError: an argument cannot be meant.

    >>> found = design((1, 28, 28), 10, params=8_000, receptive_field=22, depth=8)
    >>> found.proven, str(found[0].spec)
    (True, 'c10p1 c12p1 c12p1 c12p1 p c12p1 c12p1 c12p1 gap10')
    """
    started = time.perf_counter()
    shape = check_shape(input_shape)
    for name, value in (("num_classes", num_classes), ("top", top)):
        if type(value) is not int or value < 1:
            what = f"{name}={value!r} must be a whole number of at least 1"
            raise ArgumentError(explain(what))
    wanted = together(budget, limits)
    box = read_box(wanted)
    objective = default_objective(box) if objective is None else objective
    goals = read_goals(pareto) if pareto else (read_goal(objective),)
    searches = _Searches(
        shape, num_classes, space or SearchSpace.for_input(shape), time_limit, watch
    )
    at_most = None
    if pareto:
        designs, proven = pareto_front(goals, box, searches.best)
    else:
        factor, weights = goals[0].scaled()
        outcome = searches.run(weights, box, top)
        designs = [searches.plan(spec) for spec in outcome.specs]
        proven = outcome.proven
        if outcome.at_most is not None:
            at_most = outcome.at_most / factor
    if not designs:
        raise diagnose(wanted, box, searches.best)
    for found in designs:  # the search and the plan count by themselves
        wanted.enforce(found.account)
    return Designs(
        designs=tuple(designs),
        goal=", ".join(goal.text for goal in goals),
        budget=wanted,
        proven=proven,
        at_most=at_most,
        covered=count_networks(searches.space, shape, num_classes),
        evaluated=searches.evaluated,
        seconds=time.perf_counter() - started,
    )


def default_objective(box: Box) -> str:
    """What to maximise where nothing is said, as measured in docs/designing.md.

    More MACs at equal parameters make a network more accurate once its field is wide enough, and
    less so before: they are then spent on convolutions that see little.
    """
    wide = box.get("receptive_field", (None, None))[0] is not None
    free = box.get("macs", (None, None))[1] is None
    return "max macs" if wide and free else "max params"


class _Searches:
    """Searches over one space, which share its graphs."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        space: SearchSpace,
        time_limit: float | None,
        watch: Callable[[Progress], None] | None,
    ) -> None:
        self.shape, self.num_classes, self.space = shape, num_classes, space
        self.deadline = None if time_limit is None else time.monotonic() + time_limit
        self.outer_watch = watch
        self.graphs: dict[object, Graph] = {}
        self.evaluated = 0

    def run(self, weights: dict[str, int], box: Box, top: int = 1) -> Outcome:
        """The best networks within a box."""
        walked = {name: box.get(name) for name in ("depth", "receptive_field")}
        key = tuple(walked.values())
        if key not in self.graphs:
            walk = SpaceWalk(self.space, self.shape, self.num_classes, box)
            self.graphs[key] = build(walk, (*ADDED, PEAK))
        rest = {name: limit for name, limit in box.items() if name not in walked}
        goal: dict[str, int] = {}
        for name, weight in weights.items():
            goal[canonical(name)] = goal.get(canonical(name), 0) + weight
        outcome = solve(self.graphs[key], Problem(goal, rest, top), self.watch)
        self.evaluated += outcome.evaluated
        return outcome

    def best(self, weights: dict[str, int], box: Box) -> Design | None:
        """The best network within a box, proven; None if it is proven that there is none."""
        outcome = self.run(weights, box)
        if not outcome.proven:
            raise stopped()
        return self.plan(outcome.specs[0]) if outcome.specs else None

    def plan(self, spec: Spec) -> Design:
        """A network with its account."""
        return Design(spec, plan(spec, self.shape))

    def watch(self, progress: Progress) -> None:
        """Stop at the deadline, and tell who asked."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise stopped()
        if self.outer_watch is not None:
            self.outer_watch(progress)
