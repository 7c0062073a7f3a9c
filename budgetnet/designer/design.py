"""`design`: the best networks of a space within a budget, found exactly, or why there are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isinf
from typing import Any

from ..accounting.device.deployment import deployment_of
from ..accounting.device.target import Target
from ..accounting.geometry import check_shape
from ..budget.budget import Budget, with_limits
from ..errors import ArgumentError, SearchStopped, explain
from .answers import Design, Designs
from .costs import LARGEST_WIDTH
from .graph import Box
from .infeasible import diagnose
from .limits import box_of, most_allowed, setting_of
from .objectives import parse_objective, parse_objectives
from .pareto import pareto_front
from .search import Progress
from .searches import Searches
from .space import SearchSpace

MOST_TOP = 1_000  # networks of different skeletons that are asked for
_MOST_SECONDS = 10**9
_CLASSES = LARGEST_WIDTH - 1


def design(
    input_shape: Any,
    num_classes: int,
    budget: Budget | None = None,
    *,
    space: SearchSpace | str | None = None,
    objective: Any = None,
    pareto: Any = None,
    top: int = 1,
    time_limit: float | None = None,
    watch: Callable[[Progress], None] | None = None,
    **limits: Any,
) -> Designs:
    """Find the best networks of a space that meet a budget, exactly and without training.

    Args:
        input_shape: `(C, H, W)` without the batch, text such as "1x28x28", or an example tensor.
        num_classes: outputs of the head.
        budget: a `Budget` of limits on figures.
        space: the `SearchSpace`, or the name of one of `SearchSpace.preset`; by default
            `SearchSpace.for_input(input_shape)`.
        objective: "max macs" or "min params" and so on, for any figure that a `Budget` limits, or
            weights such as `{"macs": 1, "params": -20}` to maximise a sum. By default "max macs"
            if the budget has a minimum receptive field and no maximum of MACs, else "max params".
        pareto: instead of an objective, figures or objectives such as "params,macs": finds every
            network that no other beats in one of them while equalling it in the rest.
        top: how many networks, at most 1,000. They differ in more than widths: each is the best
            of its skeleton, and the size of an input counts as part of that. A Pareto front is
            always complete.
        time_limit: seconds after which the best so far is returned, not proven.
        watch: called with the `Progress` of the search from time to time.
        **limits: limits of `Budget`, instead of or beside one.

    `KeyboardInterrupt` (Ctrl-C) returns the best so far, with `proven` false.

    Raises:
        InfeasibleBudget: no network of the space meets the budget; the error says which limits
            exclude each other, and what can be reached.
        SearchStopped: the time limit came before any answer.
        ArgumentError: an argument is not valid, or the space is too large to be searched; the
            error then says by how much (docs/limits.md).

    >>> found = design((1, 28, 28), 10, params=8_000, receptive_field=22, depth=8)
    >>> found.proven, str(found[0].spec)
    (True, 'c10p1 c12p1 c12p1 c12p1 p c12p1 c12p1 c12p1 gap10')
    """
    started = time.perf_counter()
    shape = check_shape(input_shape)
    for name, value, most in (("num_classes", num_classes, _CLASSES), ("top", top, MOST_TOP)):
        if type(value) is not int or not 1 <= value <= most:
            what = f"{name}={value!r} must be a whole number of at least 1 and at most {most:,}"
            raise ArgumentError(explain(what))
    if time_limit is not None and not _is_time(time_limit):
        what = (
            f"time_limit={time_limit!r} is not valid; expected seconds from 0 to {_MOST_SECONDS:,}"
        )
        raise ArgumentError(explain(what, remedy="Leave it out to wait for a proof."))
    if pareto is not None and objective is not None:
        what = "objective and pareto cannot be used together"
        numbers = {"objective": repr(objective), "pareto": repr(pareto)}
        raise ArgumentError(explain(what, numbers=numbers, remedy="Leave one of them out."))
    if pareto is not None and top != 1:
        what = f"top={top} cannot be used with pareto: a Pareto front is always complete"
        raise ArgumentError(explain(what, remedy="Leave one of them out."))
    wanted = with_limits(budget, limits)
    box = box_of(wanted)
    objective = default_objective(box) if objective is None else objective
    objectives = (parse_objective(objective),) if pareto is None else parse_objectives(pareto)
    if space is None or isinstance(space, str):
        space = SearchSpace.preset(space or "default", shape)
    named = [name for each in objectives for name, _ in each.weights]
    setting = setting_of(wanted, named)
    searches = Searches(shape, num_classes, space, time_limit, watch, setting)
    covered = searches.count()
    at_most = None
    if pareto is not None:
        designs, proven = pareto_front(objectives, box, searches.best, searches.figure)
    else:
        factor, weights = objectives[0].scaled()
        designs, proven, bound, refused = searches.run(weights, box, top)
        if refused and not designs:
            raise _too_much(refused[0], wanted, setting.target)
        bound = min(bound, most_allowed(weights, box))
        at_most = None if isinf(bound) else bound / factor
    if not designs:
        searches.judges_plans = False  # not even what is live keeps to the limits
        raise diagnose(wanted, box, searches.best, searches.figure)
    for found in designs:  # the search and the plan count by themselves
        wanted.enforce(found.account)
    return Designs(
        designs=tuple(designs),
        goal=", ".join(each.text for each in objectives),
        budget=wanted,
        proven=proven,
        at_most=at_most,
        covered=covered,
        evaluated=searches.evaluated,
        seconds=time.perf_counter() - started,
    )


def _too_much(found: Design, budget: Budget, target: Target | None) -> SearchStopped:
    """The error where networks were found, and the runtime's planner took too much for each."""
    assert target is not None
    deployment = deployment_of(found.account, target)
    numbers = {str(found.spec): f"{deployment.ram_bytes:,}", "live": f"{deployment.ram_bound:,}"}
    what = f"no network was found for which {target} plans as little RAM as the budget allows"
    remedy = 'Allow more, or add plan="least" and write that plan with budgetnet plan-memory.'
    return SearchStopped(explain(what, numbers=numbers, remedy=remedy))


def default_objective(box: Box) -> str:
    """What to maximise by default, as measured in docs/designing.md.

    More MACs at equal parameters make a network more accurate once its field is wide enough, and
    less so before: they are then spent on convolutions that see little.
    """
    wide = box.get("receptive_field", (None, None))[0] is not None
    free = box.get("macs", (None, None))[1] is None
    return "max macs" if wide and free else "max params"


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _MOST_SECONDS
