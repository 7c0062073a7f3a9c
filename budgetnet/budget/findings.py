"""What limits find in an account: a verdict, the measured figure and the headroom, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..accounting.account import Account
from ..accounting.table import Column, Table, Toned
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
        Column("Limit"), Column("Measured", True, spared=1), Column("Allowed", spared=3),
        Column("Headroom", spared=2), Column("Verdict"),
    )  # fmt: skip
    rows = tuple(
        (f.name, f.measured_text, f.limit, Toned(f.headroom_text, _tone(f)),
         Toned("ok" if f.ok else f.verdict.upper(), _tone(f)))
        for f in findings
    )  # fmt: skip
    return Table(columns, rows, title)


def _tone(finding: Finding) -> str:
    if finding.ok:
        return "near" if finding.is_near else "ok"
    return "unknown" if finding.verdict == "unknown" else "over"
