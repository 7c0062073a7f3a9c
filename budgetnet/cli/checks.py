"""Checks: a model with its input and limits, and the outcome of judging the model by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..budget.budget import Budget
from ..budget.limits import Finding, parse_growth
from ..errors import (
    ArgumentError,
    BudgetnetError,
    ShapeError,
    UnsupportedOp,
    explain,
    one_line,
    with_place,
)
from .targets import account_target


@dataclass(frozen=True, slots=True)
class Check:
    """One model with its limits.

    Attributes:
        name: of the check, for people and for the baseline.
        target: what to account for; paths in it are relative to `base`.
        shape: of the input; `None` if the target knows it.
        options: arguments of a callable target.
        budget: the limits that are absolute.
        growth: the limits relative to a baseline, by figure.
        message: what the team says to someone who breaks it.
        file: the configuration file; `None` if the limits come from the command line.
        lines: line of every key, and of the section's head under "".
    """

    name: str
    target: str
    shape: tuple[Any, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    growth: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    file: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def without_growth(self) -> Check:
        """The absolute limits alone."""
        return replace(self, growth={})

    def place(self, key: str = "") -> str:
        """`file:line` of a key, or of the section; "" on the command line."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line(key)}"

    def line(self, key: str = "") -> int:
        """Line of a key, or of the section."""
        return self.lines.get(key, self.lines.get("", 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check: findings on an account, or the error that left it undecided."""

    check: Check
    account: Account | None = None
    budget: Budget = field(default_factory=Budget)
    findings: tuple[Finding, ...] = ()
    error: BudgetnetError | None = None

    @property
    def code(self) -> int:
        """Exit code: 0 within, 1 beyond a limit, 2 an error, 3 a figure is unknown."""
        if self.error is not None:
            return 3 if isinstance(self.error, UnsupportedOp) else 2
        verdicts = {finding.verdict for finding in self.findings}
        return 1 if verdicts & {"over", "under"} else 3 if "unknown" in verdicts else 0


def run_check(check: Check, baseline: Mapping[str, int] | None) -> Outcome:
    """Account for a check's target and judge it; errors become part of the outcome.

    An error in one check does not stop the others, and is never reported as a broken limit.
    """
    base = check.file.parent if check.file else Path()
    try:
        account = account_target(
            check.target, check.shape, check.options, strict=False, base=base,
            training=check.budget.trainings,
        )  # fmt: skip
        limits = [
            parse_growth(name, allowed, _known(check, name, baseline))
            for name, allowed in check.growth.items()
        ]
        budget = Budget(*check.budget.limits, *limits)
        return Outcome(check, account, budget, budget.check(account))
    except BudgetnetError as error:
        return Outcome(check, error=_placed(error, check))
    except Exception as error:  # a mistake of ours, or a figure that nothing can hold
        unexpected = ArgumentError(
            explain(
                f"{check.target} could not be judged",
                numbers={type(error).__name__: one_line(error)},
                remedy="--debug shows where it was raised.",
            )
        )
        unexpected.__cause__ = error
        return Outcome(check, error=_placed(unexpected, check))


def _placed(error: BudgetnetError, check: Check) -> BudgetnetError:
    """The error with the line to edit, unless it names one."""
    place = check.place("input" if isinstance(error, ShapeError) else "model")
    if not place or str(check.file) in str(error):
        return error
    placed = with_place(error, place)
    placed.__cause__ = error
    return placed


def _known(check: Check, name: str, baseline: Mapping[str, int] | None) -> int:
    if baseline is None or name not in baseline:
        raise ArgumentError(
            explain(
                f"the baseline has no {name} of {check.name!r}",
                where=check.place("growth"),
                remedy="Write today's with budgetnet check --update, and commit the file.",
            )
        )
    return baseline[name]
