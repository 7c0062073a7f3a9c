"""A check added to a configuration file; everything else in the file stays as it is."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from ..accounting.account import Account
from ..accounting.files import read_text, write_atomically
from ..budget.figures import LISTED
from ..errors import ArgumentError, explain, shown
from .config import SECTION, parse_checks

_BY_HAND = "Nothing was written. Write the check by hand."
_REFUSED = (ValueError, TypeError, RecursionError, TOMLKitError)


def add_check(
    file: Path,
    name: str,
    target: str,
    input_text: str | None,
    options: Mapping[str, Any],
    account: Account,
) -> int:
    """Add a check with an account's figures as limits; returns its line.

    The file is written once the new text has been read again, and says what the old one said and
    the check beside it; comments, order and line endings stay.

    Raises:
        ArgumentError: there is a check of this name, the file cannot be read or written, or TOML
            has no form for a value.
    """
    text = read_text(file, newlines=True) if os.path.lexists(file) else ""
    for check in parse_checks(text, file):
        if check.name == name:
            raise ArgumentError(
                explain(
                    f"a check named {shown(name)} already exists",
                    where=check.place(),
                    remedy="Edit it, or choose another with --name.",
                )
            )
    content, lines = _check_of(name, target, input_text, options, account)
    expected = tomllib.loads(text)
    tables = expected.setdefault("tool", {}).setdefault("budgetnet", {}).setdefault("check", [])
    tables.append(deepcopy(content))
    for changed, line in (_appended(text, lines), _inlined(text, content)):
        if _says(changed, expected):
            write_atomically(file, changed.encode())
            return line
    what = f"the check {shown(name)} cannot be added to the file as it is"
    raise ArgumentError(explain(what, where=str(file), remedy=_BY_HAND))


def _check_of(
    name: str,
    target: str,
    input_text: str | None,
    options: Mapping[str, Any],
    account: Account,
) -> tuple[dict[str, Any], list[str]]:
    """A check as data, and as the lines of a section."""
    content: dict[str, Any] = {"name": name, "model": target}
    if input_text:
        content["input"] = input_text
    lines = [SECTION, *(f"{key} = {_toml(key, value)}" for key, value in content.items())]
    if options:
        content["set"] = dict(options)
        pairs = (
            f"{tomlkit.key(key).as_string()} = {_toml(f'set {key}', v)}"
            for key, v in options.items()
        )
        lines.append(f"set = {{ {', '.join(pairs)} }}")
    for key, figure in LISTED.items():
        measured = figure.read(account) if figure.init else ()
        if measured is None:
            reasons = "; ".join(account.unknown)
            lines.append(
                "".join(c if c.isprintable() else " " for c in f"# {key} is unknown: {reasons}")
            )
        elif measured != ():
            least = min(measured) if isinstance(measured, tuple) else measured
            content[key] = least
            lines.append(f"{key} = {least:_}")
    return content, lines


def _toml(key: str, value: Any) -> str:
    """A value as TOML, which gives back what was written."""
    try:
        text = str(tomlkit.item(value).as_string())
        text.encode()
        back = tomllib.loads(f"value = {text}")["value"]
        is_same = repr(back) == repr(value) and _fits(value)
    except _REFUSED:
        is_same = False
    if not is_same:
        raise ArgumentError(
            explain(
                f"--{key}={shown(value)} cannot be written as TOML",
                remedy="Nothing was written. Use text, or for --set a function that calls the "
                "model with it.",
            )
        )
    return text


def _fits(value: Any) -> bool:
    """Whether every whole number in a value is one that all readers of TOML take."""
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _appended(text: str, lines: list[str]) -> tuple[str, int]:
    """The text with a section at its end, in its own line endings, and the section's line."""
    end = "\r\n" if text.rpartition("\n")[0].endswith("\r") else "\n"
    head = text if not text or text.endswith("\n") else text + end
    head += end if head else ""
    return head + end.join(lines) + end, head.count("\n") + 1


def _inlined(text: str, content: Mapping[str, Any]) -> tuple[str, int]:
    """The text with a check in the list that it writes inline, and the line that changes.

    A text that has no such list stays as it is.
    """
    try:
        document: Any = tomlkit.parse(text)
        table = tomlkit.inline_table()
        for key, value in content.items():
            if isinstance(value, dict):
                inner = tomlkit.inline_table()
                for name, option in value.items():
                    inner.append(name, option)
                value = inner
            table.append(key, value)
        place = document
        for name in ("tool", "budgetnet"):
            if name not in place:
                place[name] = tomlkit.inline_table()
            place = place[name]
        if "check" not in place:
            place["check"] = tomlkit.array()
        place["check"].append(table)
        changed = tomlkit.dumps(document)
    except (*_REFUSED, LookupError, AttributeError):  # whatever it is, it is no such list
        return text, 1
    lines = zip(text.split("\n"), changed.split("\n"), strict=False)
    return changed, next((i for i, (old, new) in enumerate(lines, start=1) if old != new), 1)


def _says(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        text.encode()
        # By their text: nan is not equal to itself, and 1 is to true.
        return repr(tomllib.loads(text)) == repr(expected)
    except (ValueError, RecursionError):
        return False
