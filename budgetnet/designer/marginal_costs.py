"""`marginal_costs`: where the parameters of a chain went, and what one more channel would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.geometry import check_shape
from ..accounting.table import Column, Table
from ..budget.advice import output_stage
from ..budget.budget import Budget, together
from ..budget.figures import FIGURES
from ..errors import SpecError
from ..spec.plan import Spec, plan
from ..spec.stages import with_width
from ..spec.text import write


class StageShare(NamedTuple):
    """What one stage has of a network, and what one more channel in it would add to the whole.

    Attributes:
        name: of the stage, as `plan` names it.
        word: its text form.
        params: of its layers.
        macs: of its layers.
        more_params: that one more output channel adds, in the next stage too; `None` where the
            stage has no width of its own, or groups do not divide the next one.
        more_macs: likewise.
        more_weight_bytes: likewise.
        more_peak_bytes: by how much the highest memory use of activations grows.
        fits: whether the budget still holds then.
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
    """Where a network's parameters and MACs went, stage by stage, and what the next would cost."""

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

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        return self.to_table().to_html()


def marginal_costs(
    spec: Spec | str,
    input_shape: tuple[int, int, int],
    budget: Budget | None = None,
    **limits: Any,
) -> MarginalCosts:
    """Say where the parameters of a chain went, and what one more channel here or there would cost.

    Args:
        spec: a `Spec`, or its text form.
        input_shape: `(C, H, W)`, without the batch.
        budget: a `Budget`, against which every further channel is judged.
        **limits: limits of `Budget`, instead of or beside one.

    >>> first = marginal_costs("c8 c8 p gap10", (1, 28, 28), params=800).stages[0]
    >>> first.params, first.more_params, first.fits
    (88, 83, False)
    """
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    shape = check_shape(input_shape)
    wanted = together(budget, limits)
    account = plan(spec, shape)
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
    """The plan with one more channel (a group of them) in a stage; None where it has none to add.

    The width of the output is not the network's to choose.
    """
    stage = spec.stages[i]
    if not hasattr(stage, "out_channels") or i == output_stage(spec):
        return None
    more = with_width(stage, stage.out_channels + getattr(stage, "groups", 1))
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
