"""What limits find in an account: a verdict, the measured figure and the headroom, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..accounting.account import Account
from ..accounting.table import Column, Table
from .limits import Finding, Limit


def check(limits: Iterable[Limit], account: Account) -> tuple[Finding, ...]:
    """Every limit's findings, in the order of the limits."""
    return tuple(found for limit in limits for found in findings_of(limit, account))


def findings_of(limit: Limit, account: Account) -> Iterable[Finding]:
    """What any limit found; a user's own may give a `Finding`, several, or a bool."""
    found = limit(account)
    if isinstance(found, Finding):
        return (found,)
    if isinstance(found, bool):
        name = getattr(limit, "__name__", type(limit).__name__)
        words = (getattr(limit, "__doc__", None) or "").strip().partition("\n")[0]
        verdict = "within" if found else "over"
        return (Finding(name, verdict, str(found), words or "True", reason="" if found else words),)
    return tuple(found)


def findings_table(title: str, findings: Sequence[Finding]) -> Table:
    """Findings as a table, one line each."""
    columns = (
        Column("Limit"), Column("Measured", True), Column("Allowed"), Column("Headroom"),
        Column("Verdict"),
    )  # fmt: skip
    rows = tuple(
        (f.name, f.measured_text, f.limit, f.headroom_text, "ok" if f.ok else f.verdict.upper())
        for f in findings
    )
    return Table(columns, rows, title)
