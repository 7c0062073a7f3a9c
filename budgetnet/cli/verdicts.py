"""Outcomes of checks for people and for CI: terminal text, Markdown, JSON, GitHub annotations.

The formats of other programs are in `ci_formats`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.rows import layer_paths
from ..accounting.table import Column, Table, Toned, visible
from ..budget.figures import LISTED, figure_text
from ..budget.findings import findings_table
from ..budget.limits import Finding
from ..errors import one_line
from .checks import Outcome

FORMAT, VERSION = "budgetnet.check", 1
_WORDS = {0: "within", 1: "over budget", 2: "error", 3: "unknown"}
_TONES = {0: "ok", 1: "over", 2: "over", 3: "unknown"}


class Violation(NamedTuple):
    """What fails a check: the limit, its key in a configuration, its verdict, and all in words."""

    name: str
    key: str
    verdict: str
    message: str


def to_parts(outcomes: Sequence[Outcome], *, why: bool = False) -> list[Table | str]:
    """All outcomes for a terminal, as tables and lines."""
    parts: list[Table | str] = []
    for outcome in outcomes:
        parts += [*_one(outcome, why=why), ""]
    return [*parts, _tally(outcomes)]


def to_table(outcomes: Sequence[Outcome]) -> Table:
    """All findings in one table, as programs read them; an error is a line of its own."""
    rows: list[tuple[str, ...]] = []
    for outcome in outcomes:
        lines = findings_table("", outcome.findings).rows
        if outcome.error is not None:
            lines = (("", "", "", one_line(outcome.error), "ERROR"),)
        elif outcome.account is not None and not lines:
            lines = tuple((*row[:2], "", "", "") for row in _figures("", outcome.account).rows)
        rows += [(outcome.check.name, *line) for line in lines]
    return Table((Column("Check"), *findings_table("", ()).columns), tuple(rows))


def to_json(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as JSON, with hints."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "exit_code": exit_code(outcomes),
        "checks": [_to_dict(outcome) for outcome in outcomes],
    }
    return json.dumps(content, indent=2)


def to_annotations(outcomes: Sequence[Outcome]) -> str:
    """GitHub workflow commands: one error per violation, at the line to edit."""
    lines = []
    for outcome in outcomes:
        check = outcome.check
        for violation in violations(outcome):
            options = {"title": f"budgetnet: {check.name}"}
            if check.file:
                line = str(check.line(violation.key))
                options = {"file": str(check.file), "line": line, **options}
            told = ",".join(f"{name}={_property(value)}" for name, value in options.items())
            lines.append(f"::error {told}::{_data(violation.message)}")
    return "\n".join(lines)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Exit code of all: an error counts most, then a broken limit, then an unknown figure."""
    codes = {outcome.code for outcome in outcomes}
    return next((code for code in (2, 1, 3) if code in codes), 0)


def _one(outcome: Outcome, *, why: bool) -> list[Table | str]:
    """A table of what was found and the lines below it, or the error alone."""
    check, account = outcome.check, outcome.account
    if account is None:
        message = one_line(outcome.error) if outcome.error else ""
        text = message if check.name in message else f"{check.name}: {message}"
        return [Toned(text, _TONES[outcome.code])]
    title = _title(outcome, account)
    findings, budget = outcome.findings, outcome.budget
    table = findings_table(title, findings) if findings else _figures(title, account)
    broken = [finding for finding in findings if not finding.ok]
    lines = []
    if broken or why:  # what explains is imported on use: most checks hold
        from ..budget.advice import reasons

        lines = reasons(budget.limits, account, findings if broken else ())
    if why:
        from ..budget.hints import find_hints

        shown = layer_paths(account.rows)  # rows are named as tables show them
        for hint in find_hints(account):
            lines.append(f"hint: {hint._replace(where=shown.get(hint.where, hint.where))}")
    if broken and check.file:
        lines.append(f"to change a limit, edit {_places(outcome, broken)}")
    if broken and check.message:
        lines.append(check.message)
    return [table, *lines]


def _title(outcome: Outcome, account: Account) -> str:
    check = outcome.check
    target = f": {check.target}" if check.target != check.name else ""
    place = f"  [{check.place()}]" if check.file else ""
    return f"{check.name}{target} on {account.input_text}{place}"


def _places(outcome: Outcome, broken: Sequence[Finding]) -> str:
    keys = dict.fromkeys(finding.key for finding in broken)
    return ", ".join(f"{outcome.check.place(key)} ({key})" for key in keys)


def _figures(title: str, account: Account) -> Table:
    """The figures of an account that nothing limits."""
    rows = []
    for name, figure in LISTED.items():
        rows.append((name, figure_text(figure.read(account)), figure.meaning))
    columns = (Column("Figure"), Column("Measured", True), Column("What it counts"))
    return Table(columns, tuple(rows), title)


def violations(outcome: Outcome) -> list[Violation]:
    """Everything that fails a check."""
    if outcome.error is not None:
        verdict = "unknown" if outcome.code == 3 else "error"
        return [Violation("account", "", verdict, one_line(outcome.error))]
    found = []
    for finding in outcome.findings:
        if not finding.ok:
            text = f"{finding.name} is {finding.measured_text}, allowed {finding.limit}"
            more = [part for part in (finding.headroom_text, outcome.check.message) if part]
            message = ". ".join([text, *more])
            found.append(Violation(finding.name, finding.key, finding.verdict, message))
    return found


def within_text(outcomes: Sequence[Outcome]) -> str:
    """How many checks are within."""
    within = sum(outcome.code == 0 for outcome in outcomes)
    return f"{within} of {len(outcomes)} within"


def _tally(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "no checks"
    codes = [outcome.code for outcome in outcomes]
    counts = [f"{codes.count(code)} {word}" for code, word in _WORDS.items() if code in codes]
    text = f"{len(codes)} check{'s' * (len(codes) > 1)}: {', '.join(counts)}"
    return Toned(text, _TONES[exit_code(outcomes)])


def _to_dict(outcome: Outcome) -> dict[str, Any]:
    from ..budget.hints import find_hints

    check, account = outcome.check, outcome.account
    return {
        "name": check.name,
        "target": check.target,
        "input": account.input_shape if account else check.shape,
        "file": str(check.file) if check.file else None,
        "line": check.line() if check.file else None,
        "verdict": _WORDS[outcome.code],
        "error": str(outcome.error) if outcome.error else None,
        "findings": [finding._asdict() for finding in outcome.findings],
        "hints": [hint._asdict() for hint in find_hints(account)] if account else [],
    }


def _data(text: str) -> str:
    """As GitHub reads the message of a command: percent-encoded, all else that commands escaped."""
    text = "\n".join(map(visible, text.split("\n")))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
