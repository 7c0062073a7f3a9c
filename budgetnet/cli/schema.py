"""The JSON Schema of a configuration, made from the tables that its parser reads by.

What it cannot say, the parser still refuses: a low bound above the high one, a size that is no
whole number or has more than 63 bits, and two checks of one name. `schema.json` beside this module
is the same as a file, for editors: `BUDGETNET_UPDATE_GOLDEN=1 pytest tests/test_schema.py` writes
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..accounting.device.boards import BOARDS
from ..accounting.device.target import RUNTIMES, Target, plans_of
from ..accounting.geometry import LONGEST as DIGITS
from ..accounting.geometry import SIZE
from ..accounting.training import LARGEST, OPTIMIZERS
from ..budget.contract import CONTRACT
from ..budget.figures import FIGURES, GROWING, Figure
from ..budget.limits import BYTES, COUNTS, LONGEST, MOST, PERCENT, TIMES, WHOLE
from .config import KEYS, LONGEST_SHAPE

_UNITS = {"count": COUNTS, "bytes": BYTES, "nanoseconds": TIMES}
_END = r"(?![\s\S])"  # a dollar sign would let a line end follow


def schema() -> dict[str, Any]:
    """The schema of a file that has `[[tool.budgetnet.check]]` sections beside any others."""
    ours = {
        "description": "Settings of budgetnet.",
        "type": "object",
        "properties": {"check": {"type": "array", "items": {"$ref": "#/$defs/check"}}},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pyproject.toml, as budgetnet reads it",
        "type": "object",
        "properties": {"tool": {"properties": {"budgetnet": ours}}},
        "$defs": {"check": _check()} | {name: _size(units) for name, units in _UNITS.items()},
    }


def _check() -> dict[str, Any]:
    figures = {name: _limit(figure) for name, figure in FIGURES.items()}
    known = _texts() | figures | dict.fromkeys(CONTRACT, _POSITIONS) | _others()
    return {
        "description": "A model and the limits that it is held to.",
        "type": "object",
        "properties": {key: known[key] for key in KEYS},
        "required": ["model"],
        "additionalProperties": False,
        "dependentRequired": {"training_memory": ["batch"], "latency": ["table"]},
        "allOf": [_settings(runtime) for runtime in RUNTIMES],
    }


def _texts() -> dict[str, dict[str, Any]]:
    """The keys that say what is checked."""
    told = {
        "name": "Of the check, the model by default; no two checks may share one.",
        "model": "A listed model, a spec, module:callable, file.py:callable, a .tflite or .onnx "
        "file, or a saved account.json.",
        "message": "What to tell someone who breaks the check.",
    }
    return {
        **{key: {"description": text, "type": "string", "minLength": 1}
           for key, text in told.items()},
        "input": {"description": 'Its shape, such as "1x28x28"; several are joined by +.',
                  **_shape()},
        "set": {"description": "Arguments of a callable.", "type": "object"},
        "growth": _growth(),
    }  # fmt: skip


def _others() -> dict[str, dict[str, Any]]:
    """The limits that are no figures, and what some of them are for."""
    names = {"anyOf": [{"type": "string", "minLength": 1},
                       {"type": "array", "items": {"type": "string", "minLength": 1}}]}  # fmt: skip
    types = sorted({dtype for types in RUNTIMES.values() for dtype in types})
    plans = dict.fromkeys(plan for runtime in RUNTIMES for plan in plans_of(runtime))
    return {
        "board": {"description": "Whose flash and RAM are limits.",
                  "anyOf": [{"enum": [*BOARDS]}, {"type": "string", "pattern": _any_case(BOARDS)}]},
        "require": {"description": 'Kinds of layers that must be there: "BatchNorm*".', **names},
        "forbid": {"description": 'Kinds of layers that must not be: "Dropout*".', **names},
        "table": {"description": "Of latency: a file that budgetnet measure wrote.",
                  "type": "string", "minLength": 1},
        "runtime": {"description": "What flash and RAM are of.", "enum": [*RUNTIMES]},
        "dtype": {"description": "Of the maps, for flash and RAM.", "enum": types},
        "training_memory": _bounds("bytes at the peak of a training step", "bytes"),
        "batch": {"description": "Of the training step.", "type": "integer", "minimum": 1,
                  "maximum": LARGEST},
        "optimizer": {"description": "Of the training step.", "enum": [*OPTIMIZERS]},
        "plan": {"description": "Of RAM: the runtime's own, or the least.", "enum": [*plans]},
    }  # fmt: skip


def _settings(runtime: str) -> dict[str, Any]:
    """What may stand beside a runtime; where none is named, the usual one counts."""
    is_it: dict[str, Any] = {"properties": {"runtime": {"const": runtime}}}
    if runtime != Target().runtime:
        is_it["required"] = ["runtime"]
    allowed = {"dtype": {"enum": [*RUNTIMES[runtime]]}, "plan": {"enum": [*plans_of(runtime)]}}
    return {"if": is_it, "then": {"properties": allowed}}


_POSITIONS = {"description": "Input positions, on every axis.", "type": "integer", "minimum": 0}


def _limit(figure: Figure) -> dict[str, Any]:
    unit = figure.unit if figure.unit in _UNITS else "count"
    return _bounds(figure.meaning, unit, is_least=figure.more_is_better)


def _bounds(meaning: str, unit: str, *, is_least: bool = False) -> dict[str, Any]:
    """One bound or a pair."""
    one = {"$ref": f"#/$defs/{unit}"}
    size = _size_pattern(_UNITS[unit])
    pair = {"type": "string", "pattern": rf"^\s*{size}\s*\.\.\s*{size}\s*{_END}"}
    both = {"type": "array", "prefixItems": [one, one], "items": False, "minItems": 2}
    bound = "a minimum" if is_least else "a maximum"
    return {
        "description": f"{meaning[0].upper()}{meaning[1:]}: {bound}, "
        "[low, high] or \"low..high\".",
        "anyOf": [one, pair, both],
    }  # fmt: skip


def _growth() -> dict[str, Any]:
    def allowed(figure: Figure) -> dict[str, Any]:
        size = _size_pattern(BYTES if figure.is_bytes else COUNTS)
        percent = PERCENT.replace("(", "(?:", 1)
        text = rf"^\s*(?:{percent}|\+?\s*{size})\s*{_END}"
        return {"anyOf": [_WHOLE_NUMBER, {"type": "string", "pattern": text}]}

    return {
        "description": 'Limits relative to the committed baseline: "+2%", "+500" or 0.',
        "type": "object",
        "properties": {name: allowed(FIGURES[name]) for name in GROWING},
        "additionalProperties": False,
    }


_WHOLE_NUMBER = {"type": "integer", "minimum": 0, "maximum": MOST}


def _size(units: Mapping[str, int]) -> dict[str, Any]:
    pattern = rf"^\s*{_size_pattern(units)}\s*{_END}"
    text = {"type": "string", "maxLength": LONGEST, "pattern": pattern}
    return {"anyOf": [_WHOLE_NUMBER, text]} if "" in units else text


def _size_pattern(units: Mapping[str, int]) -> str:
    """A size with one of these units; as many decimals as leave a whole number, where tens do."""
    by_factor: dict[int, list[str]] = {}
    for unit, factor in units.items():
        by_factor.setdefault(factor, []).append(unit)
    ways = []
    for factor, names in by_factor.items():
        tens = len(str(factor)) - 1
        fraction = ""
        if factor > 1:
            decimals = rf"[0-9]{{1,{tens}}}0*" if factor == 10**tens else "[0-9]+"
            fraction = rf"(?:\.{decimals})?"
        ways.append(rf"{fraction}\s*(?:{'|'.join(names)})")
    return rf"(?:{WHOLE})(?:{'|'.join(ways)})"


def _shape() -> dict[str, Any]:
    """An input, or several."""
    size = rf"(?=[^xX,+]{{1,{DIGITS}}}(?:[xX,+]|{_END})){SIZE}"
    one = rf"{size}(?:[xX,]{size}){{0,3}}"
    dimension = {"type": "integer", "minimum": 1, "maximum": 10**DIGITS - 1}
    plain = {"type": "array", "items": dimension, "minItems": 1, "maxItems": 4}
    return {
        "anyOf": [
            {"type": "string", "maxLength": LONGEST_SHAPE,
             "pattern": rf"^{one}(?:\+{one})*{_END}"},
            plain, {"type": "array", "items": plain, "minItems": 1},
        ]
    }  # fmt: skip


def _any_case(names: Iterable[str]) -> str:
    """A pattern of names in capitals or not, which JSON Schema has no flag for."""
    spelled = (
        "".join(f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in name)
        for name in names
    )
    return rf"^(?:{'|'.join(spelled)}){_END}"
