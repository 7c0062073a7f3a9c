"""The baseline: figures of an earlier day, committed, that growth is measured against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import FormatError, explain
from ..files import read_text, write_whole
from ..limits import FIGURES, GROWING
from .checks import Outcome

NAME = "budgetnet-baseline.json"
FORMAT, VERSION = "budgetnet.baseline", 1


def read_baseline(file: Path) -> dict[str, dict[str, int]]:
    """Figures of every check by name; empty where there is no file.

    Raises:
        FormatError: the file is no baseline of this version.
    """
    if not file.exists():
        return {}
    try:
        data = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise _bad(file, f"no JSON: {error}") from error
    found = (data.get("format"), data.get("version")) if isinstance(data, dict) else (None, None)
    if found != (FORMAT, VERSION):
        raise _bad(file, f"{found[0]} {found[1]}, not {FORMAT} {VERSION}")
    checks = data.get("checks")
    if not isinstance(checks, dict) or not all(
        isinstance(figures, dict) and all(type(n) is int for n in figures.values())
        for figures in checks.values()
    ):
        raise _bad(file, "checks without whole numbers")
    return checks


def write_baseline(file: Path, outcomes: Iterable[Outcome]) -> None:
    """Write today's figures of every check, whole or not at all."""
    checks: dict[str, Mapping[str, int]] = {}
    for outcome in outcomes:
        if outcome.account is not None:
            read = {name: FIGURES[name].read(outcome.account) for name in GROWING}
            checks[outcome.check.name] = {k: n for k, n in read.items() if isinstance(n, int)}
    content = {"format": FORMAT, "version": VERSION, "checks": checks}
    write_whole(file, json.dumps(content, indent=2) + "\n")


def _bad(file: Path, reason: str) -> FormatError:
    return FormatError(
        explain(
            "this is no baseline that this release reads",
            where=str(file),
            numbers={"it is": reason},
            remedy="Remove it, and write today's with budgetnet check --update.",
        )
    )
