"""Checks in a configuration file, read with their line numbers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..accounting.files import read_text
from ..accounting.geometry import parse_shape
from ..accounting.table import shape_text
from ..budget.budget import LIMITS, SETTINGS, Budget
from ..budget.figures import GROWING
from ..budget.limits import parse_growth
from ..errors import ArgumentError, BudgetnetError, did_you_mean, explain, shown
from .checks import Check

KEYS = ("name", "model", "input", "set", "message", "growth", *LIMITS, *SETTINGS)
SECTION = "[[tool.budgetnet.check]]"
LONGEST_SHAPE = 200  # signs of an input as text


def checks_of(file: Path) -> tuple[Check, ...]:
    """Every `[[tool.budgetnet.check]]` of a file.

    Raises:
        ArgumentError: with file and line, if the file or one of its sections cannot be read.
    """
    return parse_checks(read_text(file), file)


def parse_checks(text: str, file: Path) -> tuple[Check, ...]:
    """Every check of a text, which is that of a file."""
    tables = _tables(text, str(file))
    places = _locate(text, len(tables))
    checks = tuple(
        _parse_check(table, file, places[i], f"check {i + 1}") for i, table in enumerate(tables)
    )
    names = [check.name for check in checks]
    for check in checks[::-1]:
        if names.count(check.name) > 1:
            raise ArgumentError(
                explain(
                    f"two checks are named {shown(check.name)}",
                    where=check.place("name"),
                    remedy="Give each a name of its own.",
                )
            )
    return checks


def _tables(text: str, where: str) -> list[dict[str, Any]]:
    try:
        data: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # too many digits, or too deep, are such too
        told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        found = re.search(r"at line (\d+)", told)
        where = f"{where}:{found[1] if found else len(text.splitlines())}"
        told = told.partition("; use sys.")[0]
        raise ArgumentError(explain(f"this is not TOML: {told}", where=where)) from None
    ours = data.get("tool", {})
    ours = ours.get("budgetnet", {}) if isinstance(ours, dict) else {}
    lines = (n for n, line in enumerate(text.split("\n"), start=1) if "budgetnet" in line)
    where = f"{where}:{next(lines, 1)}"
    if not isinstance(ours, dict):
        raise ArgumentError(explain("tool.budgetnet is not a table", where=where))
    for key in ours:
        if key != "check":
            what = f"unknown key {shown(key)} in tool.budgetnet"
            raise ArgumentError(explain(what, where=where, remedy=did_you_mean(key, ["check"])))
    tables = ours.get("check", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        what = "tool.budgetnet.check is not a list of sections"
        raise ArgumentError(explain(what, where=where, remedy=f"Begin each with {SECTION}."))
    return tables


def _parse_check(table: dict[str, Any], file: Path, lines: Mapping[str, int], number: str) -> Check:
    key = ""
    try:
        for key in table:
            if key not in KEYS:
                what = f"unknown key {shown(key)}"
                raise ArgumentError(explain(what, remedy=did_you_mean(key, KEYS)))
        key = "model"
        target = _text(table, "model")
        key = "input"
        shape = _shape(table["input"]) if "input" in table else None
        growth = {}
        key = "growth"
        for name, allowed in _table(table, "growth").items():
            if name not in GROWING:
                what = f"{shown(name)} is not a figure that may grow"
                raise ArgumentError(explain(what, remedy=did_you_mean(name, GROWING)))
            parse_growth(name, allowed, 0)
            growth[name] = allowed
        limits: dict[str, Any] = {}
        for key in (*SETTINGS, *LIMITS):
            if key in table:
                is_text = key in SETTINGS and key != "batch"
                limits[key] = _text(table, key) if is_text else table[key]
                if key == "table":  # as paths of a model, relative to this file
                    limits[key] = str(file.parent / limits[key])
                Budget.from_dict(limits)  # one more at a time: an error has its key
        budget = Budget.from_dict(limits)
        key = "name"
        name = _text(table, "name") if "name" in table else target
        key = "message"
        message = _text(table, "message") if "message" in table else ""
        key = "set"
        options = _table(table, "set")
    except BudgetnetError as error:
        line = lines.get(key, lines.get("", 1))
        names = (table.get("name"), table.get("model"))
        told = next((f"check {shown(n)}" for n in names if n and isinstance(n, str)), number)
        where = f"{told}, {key}" if key in KEYS else told
        raise ArgumentError(f"{file}:{line}: {where}: {error}") from error
    return Check(name, target, shape, options, budget, growth, message, file, lines)


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        what = f"{key} is missing" if value is None else f"{key}={shown(value)} is not text"
        raise ArgumentError(explain(what, remedy=f'Write {key} = "...".'))
    return value


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ArgumentError(
            explain(
                f"{key}={shown(value)} is not a table", remedy=f"Write {key} = {{ name = value }}."
            )
        )
    return value


def _shape(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list) and value and all(isinstance(part, list) for part in value):
        return tuple(map(_one_shape, value))
    return _one_shape(value)


def _one_shape(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list) and all(type(n) is int for n in value):
        value = shape_text(value)
    if isinstance(value, str) and len(value) <= LONGEST_SHAPE:
        return parse_shape(value)
    what = f"input={shown(value)} is not a valid input shape"
    raise ArgumentError(explain(what, remedy='Write input = "1x28x28".'))


_HEAD = re.compile(r"\s*\[\[\s*tool\s*\.\s*budgetnet\s*\.\s*check\s*\]\]")
_SUB = re.compile(r"\s*\[\s*tool\s*\.\s*budgetnet\s*\.\s*check\s*\.\s*(\w+)")
_KEY = re.compile(r"""\s*["']?([A-Za-z_-]+)["']?\s*[.=]""")


def _locate(text: str, count: int) -> list[dict[str, int]]:
    """For each section the lines of its head ("") and keys; the file's first where not found."""
    found: list[dict[str, int]] = []
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        if _HEAD.match(line):
            found.append({"": number})
            inside = True
        elif line.lstrip().startswith("["):
            inside = False
            if found and (sub := _SUB.match(line)):
                found[-1].setdefault(sub[1], number)
        elif inside and (match := _KEY.match(line)):
            found[-1].setdefault(match[1], number)
    return found if len(found) == count else [{"": 1} for _ in range(count)]
