"""Checks in a configuration file: reading them with their line numbers, and adding one."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..accounting import Account
from ..budget import LIMITS, Budget, did_you_mean
from ..errors import ArgumentError, BudgetnetError, explain
from ..files import read_text, write_whole
from ..limits import FIGURES, GROWING, read_growth
from ..targets import read_shape
from .checks import Check

KEYS = ("name", "model", "input", "set", "message", "growth", *LIMITS)
SECTION = "[[tool.budgetnet.check]]"


def read_checks(file: Path) -> tuple[Check, ...]:
    """Every `[[tool.budgetnet.check]]` of a file.

    Raises:
        ArgumentError: with file and line, where the file or one of its sections cannot be read.
    """
    text = read_text(file)
    tables = _tables(text, str(file))
    places = _locate(text, len(tables))
    checks = tuple(
        _read_check(table, file, lines) for table, lines in zip(tables, places, strict=True)
    )
    names = [check.name for check in checks]
    for check in checks[::-1]:
        if names.count(check.name) > 1:
            raise ArgumentError(
                explain(
                    f"two checks are named {check.name!r}",
                    where=check.place("name"),
                    remedy="Give each a name of its own.",
                )
            )
    return checks


def _tables(text: str, where: str) -> list[dict[str, Any]]:
    try:
        data: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        where = f"{where}:{found[1] if found else len(text.splitlines())}"
        raise ArgumentError(explain(f"this is no TOML: {error}", where=where)) from None
    ours = data.get("tool", {})
    ours = ours.get("budgetnet", {}) if isinstance(ours, dict) else {}
    lines = (n for n, line in enumerate(text.splitlines(), start=1) if "budgetnet" in line)
    where = f"{where}:{next(lines, 1)}"
    if not isinstance(ours, dict):
        raise ArgumentError(explain("tool.budgetnet is no table", where=where))
    for key in ours:
        if key != "check":
            what = f"unknown key {key!r} in tool.budgetnet"
            raise ArgumentError(explain(what, where=where, remedy=did_you_mean(key, ["check"])))
    tables = ours.get("check", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        what = "tool.budgetnet.check is no list of sections"
        raise ArgumentError(explain(what, where=where, remedy=f"Begin each with {SECTION}."))
    return tables


def _read_check(table: dict[str, Any], file: Path, lines: Mapping[str, int]) -> Check:
    key = ""
    try:
        for key in table:
            if key not in KEYS:
                raise ArgumentError(explain(f"unknown key {key!r}", remedy=did_you_mean(key, KEYS)))
        key = "model"
        target = _text(table, "model")
        key = "input"
        shape = _shape(table["input"]) if "input" in table else None
        growth = {}
        key = "growth"
        for name, allowed in _table(table, "growth").items():
            if name not in GROWING:
                what = f"{name!r} is no figure that may grow"
                raise ArgumentError(explain(what, remedy=did_you_mean(name, GROWING)))
            read_growth(name, allowed, 0)
            growth[name] = allowed
        budget = Budget()
        for key in LIMITS:
            if key in table:
                budget = Budget(*budget.limits, *Budget.from_dict({key: table[key]}).limits)
        key = "name"
        name = _text(table, "name") if "name" in table else target
        key = "message"
        message = _text(table, "message") if "message" in table else ""
        key = "set"
        options = _table(table, "set")
    except BudgetnetError as error:
        line = lines.get(key, lines.get("", 1))
        raise ArgumentError(f"{file}:{line}: {error}") from error
    return Check(name, target, shape, options, budget, growth, message, file, lines)


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        what = f"{key} is missing" if value is None else f"{key}={value!r} is no text"
        raise ArgumentError(explain(what, remedy=f'Write {key} = "...".'))
    return value


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ArgumentError(
            explain(f"{key}={value!r} is no table", remedy=f"Write {key} = {{ name = value }}.")
        )
    return value


def _shape(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return read_shape(value)
    if isinstance(value, list) and value and all(isinstance(n, list) for n in value):
        return tuple(_shape(part) for part in value)
    if isinstance(value, list) and all(type(n) is int for n in value):
        return read_shape("x".join(map(str, value)))
    raise ArgumentError(explain(f"cannot read input={value!r}", remedy='Write input = "1x28x28".'))


_HEAD = re.compile(r"\s*\[\[\s*tool\s*\.\s*budgetnet\s*\.\s*check\s*\]\]")
_SUB = re.compile(r"\s*\[\s*tool\s*\.\s*budgetnet\s*\.\s*check\s*\.\s*(\w+)")
_KEY = re.compile(r"""\s*["']?([A-Za-z_-]+)["']?\s*[.=]""")


def _locate(text: str, count: int) -> list[dict[str, int]]:
    """For each section the lines of its head ("") and keys; the file's first where not found."""
    found: list[dict[str, int]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
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


def add_check(
    file: Path,
    name: str,
    target: str,
    input_text: str | None,
    options: Mapping[str, Any],
    account: Account,
) -> int:
    """Append a section with an account's figures as limits; returns its line.

    Raises:
        ArgumentError: there is a check of this name, or the file cannot be read or written.
    """
    text = read_text(file) if file.exists() else ""
    for check in read_checks(file) if text else ():
        if check.name == name:
            raise ArgumentError(
                explain(
                    f"there is a check named {name!r} already",
                    where=check.place(),
                    remedy="Edit it, or choose another with --name.",
                )
            )
    lines = [SECTION, f"name = {json.dumps(name)}", f"model = {json.dumps(target)}"]
    if input_text:
        lines.append(f"input = {json.dumps(input_text)}")
    if options:
        pairs = ", ".join(f"{key} = {_toml(key, value)}" for key, value in options.items())
        lines.append(f"set = {{ {pairs} }}")
    for figure in ("params", "macs", "receptive_field", "weight_bytes", "peak_activation_bytes"):
        measured = FIGURES[figure].read(account)
        if measured is None:
            lines.append(f"# {figure} is unknown: {'; '.join(account.unknown)}")
        elif measured != ():
            least = min(measured) if isinstance(measured, tuple) else measured
            lines.append(f"{figure} = {least:_}")
    head = text if not text or text.endswith("\n") else text + "\n"
    head += "\n" if head else ""
    write_whole(file, head + "\n".join(lines) + "\n")
    return head.count("\n") + 1


def _toml(key: str, value: Any) -> str:
    """An option as TOML, whose simple values are spelt as in JSON."""
    if value is None or not isinstance(value, str | int | float | bool | list):
        raise ArgumentError(
            explain(
                f"--set {key}={value!r} cannot be written as TOML",
                remedy="Name a function that calls the model with it.",
            )
        )
    return json.dumps(value)
