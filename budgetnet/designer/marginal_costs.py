"""`marginal_costs`: where a chain's parameters are, and what one more channel would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.table import Column, Table
from ..budget.advice import output_stage
from ..budget.budget import Budget, with_limits
from ..budget.figures import FIGURES
from ..errors import SpecError
from ..spec.plan import Spec, plan
from ..spec.stages import with_width
from ..spec.text import write
from ..trace.account import spec_of


class StageShare(NamedTuple):
    """One stage's share of a network, and what one more channel in it would add to the whole.

    Attributes:
        name: of the stage, as `plan` names it.
        word: its text form.
        params: parameters of its layers.
        macs: MACs of its layers.
        more_params: parameters that one more output channel adds, next stage included; `None`
            if the stage has no width of its own, or groups do not divide the next width.
        more_macs: likewise.
        more_weight_bytes: likewise.
        more_peak_bytes: by how much the highest memory use of activations grows.
        fits: whether the budget would still hold.
    """

    name: str
    word: str
    params: int
    macs: int
    more_params: int | None = None
    more_macs: int | None = None
    more_weight_bytes: int | None = None
    more_peak_bytes: int | None = None
    fits: bool | None = None


@dataclass(frozen=True, slots=True)
class MarginalCosts:
    """A network's parameters and MACs stage by stage, and what one more channel would cost."""

    account: Account
    budget: Budget
    stages: tuple[StageShare, ...]

    def to_table(self) -> Table:
        """One line per stage."""
        columns = (
            Column("Stage"),
            Column("Word"),
            Column(FIGURES["params"].heading, numeric=True),
            Column("Share", numeric=True),
            Column(FIGURES["macs"].heading, numeric=True),
            Column("Share", numeric=True),
            Column(f"+1 channel: {FIGURES['params'].label}", numeric=True),
            Column(FIGURES["macs"].heading, numeric=True),
            Column(FIGURES["weight_bytes"].heading, numeric=True),
            Column(FIGURES["peak_activation_bytes"].heading, numeric=True),
            *((Column("Fits"),) if self.budget.limits else ()),
        )
        total = self.account
        rows = tuple(
            (
                stage.name,
                stage.word,
                f"{stage.params:,}" * bool(stage.params),
                _share(stage.params, total.params),
                f"{stage.macs:,}" * bool(stage.macs),
                _share(stage.macs, total.macs or 0),
                *map(_more, stage[4:8]),
                *((_fits(stage.fits),) if self.budget.limits else ()),
            )
            for stage in self.stages
        )
        totals = ("Total", "", f"{total.params:,}", "100.0 %", f"{total.macs:,}", "100.0 %")
        blank = ("",) * (len(columns) - len(totals))
        notes = tuple(
            f"{finding.name} {finding.limit}: {finding.measured_text}, {finding.headroom_text}"
            for finding in self.budget.check(total)
        )
        title = f"{total.name}  (input {total.input_text})"
        return Table(columns, rows, title, totals=(*totals, *blank), notes=notes)

    def __repr__(self) -> str:
        """One short line."""
        return f"MarginalCosts({self.account!r}, {len(self.stages)} stages)"

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        return self.to_table().to_html()


def marginal_costs(
    model: Any,
    input_shape: Any = None,
    budget: Budget | None = None,
    **limits: Any,
) -> MarginalCosts:
    """Show where the parameters of a chain are, and what one more channel in each stage would cost.

    Args:
        model: a `Spec`, its text form or the name of a reference network; a `Design`, or a module
            or `Account` that is such a chain.
        input_shape: `(C, H, W)` without the batch, as for `account`.
        budget: a `Budget` against which every additional channel is checked.
        **limits: limits of `Budget`, instead of or beside one.

    >>> first = marginal_costs("c8 c8 p gap10", (1, 28, 28), params=800).stages[0]
    >>> first.params, first.more_params, first.fits
    (88, 83, False)
    """
    spec, account = spec_of(model, input_shape)
    shape = account.input_shape
    wanted = with_limits(budget, limits)
    whole = account.by_module()
    shares = []
    for i, (name, stage) in enumerate(spec.named_stages()):
        row = whole[name]
        wider = _widened(spec, i, shape)
        share = StageShare(name, write((stage,)), row.params, row.macs or 0)
        if wider is not None:
            fits = all(finding.ok for finding in wanted.check(wider))
            share = share._replace(**_difference(account, wider), fits=fits)
        shares.append(share)
    return MarginalCosts(account, wanted, tuple(shares))


def _widened(spec: Spec, i: int, shape: tuple[int, ...]) -> Account | None:
    """The plan with one more channel (a group of them) in a stage; None if it has none to add.

    The width of the output is fixed by the task.
    """
    stage = spec.stages[i]
    if stage.width is None or i == output_stage(spec):
        return None
    more = with_width(stage, stage.width + stage.multiples[1])
    try:
        return plan(Spec((*spec.stages[:i], more, *spec.stages[i + 1 :])), shape)
    except SpecError:
        return None


def _difference(account: Account, wider: Account) -> dict[str, Any]:
    return {
        "more_params": wider.params - account.params,
        "more_macs": (wider.macs or 0) - (account.macs or 0),
        "more_weight_bytes": wider.weight_bytes - account.weight_bytes,
        "more_peak_bytes": (wider.peak_activation_bytes or 0)
        - (account.peak_activation_bytes or 0),
    }


def _share(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %" if part and total else ""


def _more(value: int | None) -> str:
    return "" if value is None else f"{value:+,}"


def _fits(fits: bool | None) -> str:
    return "" if fits is None else "yes" if fits else "no"
