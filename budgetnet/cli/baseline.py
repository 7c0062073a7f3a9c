"""The baseline: figures of an earlier day, committed, that growth is measured against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..accounting.files import parse_json, read_text, write_atomically
from ..accounting.parsing import Damaged, Fields
from ..budget.figures import FIGURES, GROWING
from ..budget.limits import MOST
from ..errors import ArgumentError, FormatError, explain, shown
from .checks import Outcome

NAME = "budgetnet-baseline.json"
FORMAT, VERSION = "budgetnet.baseline", 1


def parse_baseline(file: Path) -> dict[str, dict[str, int]]:
    """Figures of every check by name; empty if there is no file.

    Raises:
        FormatError: the file is not a baseline of this version.
    """
    try:
        data = parse_json(read_text(file))
    except ArgumentError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    except ValueError as error:
        raise _bad(file, f"not JSON: {error}") from error
    found = (data.get("format"), data.get("version")) if isinstance(data, dict) else (None, None)
    if repr(found) != repr((FORMAT, VERSION)):
        told = " ".join(part if part == FORMAT else shown(part) for part in found)
        raise _bad(file, f"{told}, not {FORMAT} {VERSION}")
    try:
        return _parse(Fields(data))
    except Damaged as error:
        raise _bad(file, str(error)) from error


def _parse(fields: Fields) -> dict[str, dict[str, int]]:
    """Figures by check; every name is that of a figure, and every figure a count."""
    checks: dict[str, dict[str, int]] = {}
    for name in fields.fields("checks").data:
        figures = Fields(fields.data["checks"][name], f"checks.{name}")
        for figure in figures.data:
            if figure not in GROWING:
                raise Damaged(f"{shown(figure)} of {shown(name)} is not a figure that may grow")
            figures.count(figure, most=MOST)
        checks[name] = figures.data
    return checks


def write_baseline(file: Path, outcomes: Iterable[Outcome]) -> None:
    """Write today's figures of every check, whole or not at all."""
    checks: dict[str, Mapping[str, int]] = {}
    for outcome in outcomes:
        if outcome.account is not None:
            read = {name: FIGURES[name].read(outcome.account) for name in GROWING}
            checks[outcome.check.name] = {k: n for k, n in read.items() if isinstance(n, int)}
    content = {"format": FORMAT, "version": VERSION, "checks": checks}
    write_atomically(file, json.dumps(content, indent=2) + "\n")


def _bad(file: Path, reason: str) -> FormatError:
    return FormatError(
        explain(
            "this is not a baseline that this release can read",
            where=str(file),
            numbers={"it is": reason},
            remedy="Remove it, and write today's with budgetnet check --update.",
        )
    )
