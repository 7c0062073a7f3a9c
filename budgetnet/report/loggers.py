"""What an account says, in the loggers that trainings have: figures, verdicts and the report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.table import Column, Table
from ..budget.budget import Budget
from ..budget.figures import LISTED
from ..budget.limits import Finding
from ..errors import ArgumentError, explain
from ..trace.account import account as account_of
from .page import render_html

_KNOWN = "a SummaryWriter of TensorBoard, a Lightning logger, the module mlflow, a run of wandb"


def metrics(
    model: Any, input_shape: Any = None, *, budget: Budget | None = None
) -> dict[str, float]:
    """What is known of a network as numbers by name, for any logger that takes a dictionary.

    Args:
        model: an `Account`, or anything that `account` takes.
        input_shape: as for `account`; an `Account` knows its own.
        budget: limits to judge it by: of each, 1 if it holds and 0 if it does not or is unknown.

    A figure that is unknown is left out; a receptive field is that of its shortest axis.

    >>> found = metrics("s6", budget=Budget(params="14k"))
    >>> found["budgetnet/params"], found["budgetnet/within/params"]
    (14372, 0)
    """
    found = account_of(model, input_shape, strict=False)
    values: dict[str, float] = {}
    for name, figure in LISTED.items():
        value = figure.read(found)
        value = min(value, default=None) if isinstance(value, tuple) else value
        if value is not None:
            values[f"budgetnet/{name}"] = value
    for finding in _findings(found, budget):
        values[f"budgetnet/within/{finding.name}"] = int(finding.ok)
    return values


def log_to(
    logger: Any,
    model: Any,
    input_shape: Any = None,
    *,
    budget: Budget | None = None,
    step: int = 0,
) -> dict[str, float]:
    """Log figures, verdicts, the table of layers and the report of a network.

    A `SummaryWriter` of `torch.utils.tensorboard` gets scalars and the tables as text; a Lightning
    logger the figures, and the rest if it holds one of the others; `mlflow` and a run of `wandb`
    the report as an artefact of HTML as well.

    Args:
        logger: a `SummaryWriter`, a Lightning logger, the module `mlflow` within a run or its
            `MlflowClient`, or a run of `wandb`.
        model: an `Account`, or anything that `account` takes.
        input_shape: as for `account`; an `Account` knows its own.
        budget: limits to judge it by.
        step: of the training, for loggers that have one.

    Returns:
        What `metrics` says.

    Raises:
        ArgumentError: it is none of these loggers.

    >>> log_to({}, "s6")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    budgetnet.errors.ArgumentError: a dict is not a logger that is known here ...
    """
    found = account_of(model, input_shape, strict=False)
    values = metrics(found, budget=budget)
    if not _logged(logger, found, budget, values, step):
        what = f"a {type(logger).__name__} is not a logger that is known here"
        remedy = "Log the dictionary that metrics() gives."
        raise ArgumentError(explain(what, numbers={"known": _KNOWN}, remedy=remedy))
    return values


def _logged(
    logger: Any, found: Account, budget: Budget | None, values: dict[str, float], step: int
) -> bool:
    """Log to what a logger is, by the methods that it has; whether it is one."""
    if hasattr(logger, "add_scalar") and hasattr(logger, "add_text"):
        for name, value in values.items():
            logger.add_scalar(name, value, step)
        for name, table in _tables(found, budget).items():
            logger.add_text(f"budgetnet/{name}", table.to_markdown(), step)
    elif type(logger).__module__.partition(".")[0] == "wandb":
        _log_to_wandb(logger, found, budget, values, step)
    elif hasattr(logger, "log_metrics") and hasattr(logger, "log_text"):  # the module mlflow
        logger.log_metrics(values, step=step)
        logger.log_text(render_html(found, budget=budget), "budgetnet.html")
    elif hasattr(logger, "log_metrics") and hasattr(logger, "experiment"):  # of Lightning
        inner = logger.experiment
        if not _logged(inner, found, budget, values, step):
            logger.log_metrics(values, step=step)
    else:
        return False
    return True


def _log_to_wandb(
    run: Any, found: Account, budget: Budget | None, values: dict[str, float], step: int
) -> None:
    import wandb

    run.summary.update(values)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "budgetnet.html")
        file.write_text(render_html(found, budget=budget), encoding="utf-8")
        run.log({"budgetnet/report": wandb.Html(str(file), inject=False)}, step=step)


def _findings(found: Account, budget: Budget | None) -> tuple[Finding, ...]:
    return budget.check(found) if budget else ()


def _tables(found: Account, budget: Budget | None) -> dict[str, Table]:
    """The layers, and the verdicts if there are limits."""
    tables = {"layers": found.to_table()}
    if findings := _findings(found, budget):
        columns = (Column("Limit"), Column("Measured", numeric=True), Column("Allowed"),
                   Column("Verdict"))  # fmt: skip
        rows = tuple((f.name, f.measured_text, f.limit, f.verdict) for f in findings)
        tables["verdicts"] = Table(columns, rows, "Budget")
    return tables
