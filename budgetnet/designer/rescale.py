"""`rescale`: the widths of a given network, scaled to fill a budget."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from ..accounting.account import Account
from ..budget.advice import output_stage
from ..budget.budget import Budget, with_limits
from ..budget.figures import FIGURES
from ..errors import ArgumentError, SpecError, explain
from ..spec.branches import Branching
from ..spec.plan import Spec, plan
from ..spec.stages import Stage, with_width
from ..trace.account import spec_of
from .answers import Design
from .costs import FIXED, LATENCY, PLAIN, Setting
from .graph import Box, build, caps_of, survey
from .infeasible import diagnose
from .limits import box_of, counted_figure, setting_of
from .objectives import figure_of
from .search import Problem, solve, stopped
from .searches import acceptance
from .skeletons import ChainWidths

MOST_WIDTH = 100_000  # of all stages together
_WIDEST = 4  # times the given width: further than that nobody would call it the same network


def rescale(
    model: Any,
    input_shape: Any = None,
    budget: Budget | None = None,
    *,
    divisor: int = 1,
    **limits: Any,
) -> Design:
    """Scale the widths of a network in proportion until they fill a budget.

    All widths except the output's are scaled by the largest common factor that meets the budget.
    From there each may change by an eighth, and the exact search finds those that fill the first
    limit best; ties are broken by fewer MACs, then fewer parameters. If no such network meets the
    budget, widths may change further. Where there are too many to be searched to the end, it is the
    best that was found, and `proven` is false.

    Args:
        model: a `Spec`, its text form or the name of a reference network; a `Design`, or a module
            or `Account` that is such a chain.
        input_shape: `(C, H, W)` without the batch, as for `account`.
        budget: a `Budget` of limits on figures.
        divisor: every width is a multiple of it.
        **limits: limits of `Budget`, instead of or beside one.

    Raises:
        InfeasibleBudget: no widths up to four times the given ones meet the budget.
        ArgumentError: the budget limits a figure that widths do not change, or has no upper limit
            to fill, or the network is too wide for a search.

    >>> fitted = rescale("c16 c16 c16 c16 p c16 c16 c16 gap10", (1, 28, 28), params=8_000)
    >>> str(fitted.spec), fitted.account.params
    ('c12 c11 c12 c12 p c12 c12 c12 gap10', 7974)
    """
    spec, account = spec_of(model, input_shape)
    shape = account.input_shape
    wanted = with_limits(budget, limits)
    box = _sized(wanted, spec, account)
    upper = (name for name, (_, high) in box.items() if high is not None and name not in FIXED)
    objective = next(upper, None)
    if objective is None:
        what = "there is nothing to fill: the budget has no upper limit that depends on widths"
        raise ArgumentError(explain(what, remedy="Limit params, macs or bytes."))
    free = _free_widths(spec, shape)
    if sum(free.values()) > MOST_WIDTH:
        what = "the widths are too large to be rescaled at once"
        numbers = {"sum of widths": f"{sum(free.values()):,}", "at most": f"{MOST_WIDTH:,}"}
        raise ArgumentError(explain(what, numbers=numbers, remedy="Use narrower stages."))
    setting = setting_of(wanted, ())
    if setting.table is not None:
        figure_of(LATENCY, account, setting)  # which the table knows, or it knows too little
    middle = _scaled(spec, free, shape, box, setting)
    reach = Fraction(1, 8)
    while reach <= 2 * _WIDEST:
        widths = tuple(
            _near(middle[i], free[i], reach, divisor) if i in free else _own(stage)
            for i, stage in enumerate(spec.stages)
        )
        found = _best(spec, shape, widths, {objective: 1}, box, setting)
        if found is not None:
            return found
        reach *= 2
    whole = tuple(
        tuple(range(divisor, _WIDEST * free[i] + 1, divisor)) or (divisor,)
        if i in free
        else _own(stage)
        for i, stage in enumerate(spec.stages)
    )

    def best(objective: dict[str, int], box: Box) -> Design | None:
        return _best(spec, shape, whole, objective, box, setting, judges_plans=False)

    raise diagnose(wanted, box, best, partial(figure_of, setting=setting))


def _sized(budget: Budget, spec: Spec, account: Account) -> Box:
    """The limits on figures that depend on widths; those on the rest must hold already."""
    box = dict(box_of(budget))
    varies = any(map(_has_cases, spec.stages))  # a shortcut may need a convolution
    fixed = [name for name in FIXED if not (varies and name == "depth")]
    for name in fixed:
        box.pop(name, None)
    for finding in budget.check(account):
        if finding.figure in fixed and not finding.ok:
            raise ArgumentError(
                explain(
                    f"the {FIGURES[finding.figure].label} does not depend on widths",
                    numbers={"got": finding.measured_text, "limit": finding.limit},
                    remedy="Change kernels, strides or the number of layers, or use design.",
                )
            )
    return box


def _has_cases(stage: Stage) -> bool:
    """Whether widths decide which layers it has."""
    branches = stage.branches_by_name if isinstance(stage, Branching) else ()
    inner = [_has_cases(each) for _, branch in branches for each in branch]
    return type(stage).case is not Stage.case or any(inner)


def _free_widths(spec: Spec, shape: tuple[int, ...]) -> dict[int, int]:
    """The widths that may change, by stage; not those to which a bracket adds its own."""
    output = output_stage(spec)
    return {
        i: stage.width
        for i, stage in enumerate(spec.stages)
        if stage.width is not None and i != output and _is_free(spec, i, 2 * stage.width, shape)
    }


def _is_free(spec: Spec, i: int, width: int, shape: tuple[int, ...]) -> bool:
    wider = with_width(spec.stages[i], width)
    try:
        plan(Spec((*spec.stages[:i], wider, *spec.stages[i + 1 :])), shape)
    except SpecError:
        return False
    return True


def _scaled(
    spec: Spec, free: dict[int, int], shape: tuple[int, ...], box: Box, setting: Setting
) -> dict[int, int]:
    """The widths at the largest common factor that exceeds no upper limit."""

    def widths(factor: Fraction) -> dict[int, int]:
        return {i: max(1, int(factor * width)) for i, width in free.items()}

    def fits(factor: Fraction) -> bool:
        chosen = widths(factor)
        stages = tuple(
            with_width(stage, chosen[i]) if i in chosen else stage
            for i, stage in enumerate(spec.stages)
        )
        try:
            account = plan(Spec(stages), shape)
        except SpecError:  # groups that do not divide these widths
            return True
        return all(
            high is None or figure_of(name, account, setting) <= high
            for name, (_, high) in box.items()
            if name not in (*FIXED, LATENCY)  # of most widths a table says nothing
        )

    low, high = Fraction(0), Fraction(_WIDEST)
    if fits(high):
        return widths(high)
    # the least factors at which some width grows; between two of them nothing changes
    steps = sorted({Fraction(n, w) for w in free.values() for n in range(1, _WIDEST * w + 1)})
    below, above = -1, len(steps) - 1
    while above - below > 1:
        between = (below + above) // 2
        if fits(steps[between]):
            below = between
        else:
            above = between
    return widths(steps[below] if below >= 0 else low)


def _own(stage: Stage) -> tuple[int, ...] | None:
    """The width of the output, which stays; None if a stage has none of its own."""
    return None if stage.width is None else (stage.width,)


def _near(middle: int, given: int, reach: Fraction, divisor: int) -> tuple[int, ...]:
    """Widths within a share of the scaled one, at least one step to either side."""
    span = max(divisor, int(reach * middle))
    low, high = max(1, middle - span), min(middle + span, _WIDEST * given)
    return tuple(w for w in range(low, high + 1) if w % divisor == 0) or (divisor,)


def _best(
    spec: Spec,
    shape: tuple[int, ...],
    widths: Sequence[tuple[int, ...] | None],
    objective: dict[str, int],
    box: Box,
    setting: Setting,
    judges_plans: bool = True,
) -> Design | None:
    chains = ChainWidths(spec, shape, tuple(widths))
    graph = build(survey(chains, caps_of(box), setting=setting), skips=True)
    objective = {counted_figure(name): weight for name, weight in objective.items()}
    accept = acceptance(setting if judges_plans else PLAIN, shape, {}, box)
    outcome = solve(graph, Problem(objective, box, accept=accept))
    if outcome.specs:
        found = outcome.specs[0]
        return Design(found, plan(found, shape), outcome.proven)
    if not outcome.proven and not outcome.refused:
        raise stopped()
    return None
