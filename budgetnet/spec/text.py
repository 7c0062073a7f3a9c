"""The short text form of a spec, such as `c16 c16 p c32k5s2 gap10`: parsing and writing it.

Which words and modifiers there are, the stages and their fields say.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from typing import Any

from ..accounting.geometry import same_padding
from ..errors import SpecError, explain, shown, with_place
from .fields import FIELDS, LARGEST, Flag, Size
from .stages import STAGES, Stage

USAGE = 'Write words such as "c16 c16 p c16 gap10".'
_KINDS = {kind.prefix: kind for kind in STAGES}
_FLAGS: dict[str, tuple[str, Any]] = {"same": ("same", True)} | {
    word: (name, value)
    for name, field in FIELDS.items() if isinstance(field, Flag)
    for word, value in field.words
}  # fmt: skip
_LETTERS = {field.letter: name for name, field in FIELDS.items() if field.letter}
_NAMES = _LETTERS | {word: name for word, (name, _) in _FLAGS.items()}
_START = re.compile("|".join(sorted(_KINDS, key=len, reverse=True)))  # gap before a g alone
_NUMBER = re.compile(r"[0-9]*")
_DIGITS = len(str(LARGEST))
_LONGEST = re.compile(rf"[0-9]{{{_DIGITS + 1}}}")  # no stage has such a number
_MODIFIER = re.compile(
    rf"([{''.join(_LETTERS)}])([0-9]+)(?:x([0-9]+))?|{'|'.join(map(re.escape, _FLAGS))}"
)


def parse(text: str) -> tuple[Stage, ...]:
    """Read the text form; raises `SpecError` that names the word."""
    words = text.split()
    if not words:
        raise SpecError(explain("a spec needs at least one stage", remedy=USAGE))
    stages = []
    for position, word in enumerate(words, start=1):
        try:
            stages.append(_parse_word(word))
        except SpecError as error:
            raise with_place(error, f"word {position} of the spec") from None
    return tuple(stages)


def write(stages: tuple[Stage, ...]) -> str:
    """Canonical text: `parse(write(stages)) == stages`."""
    return " ".join(map(_word, stages))


@lru_cache(maxsize=1024)  # a network repeats few distinct words
def _parse_word(word: str) -> Stage:
    start = _START.match(word)
    if start is None:
        *most, last = _KINDS
        raise _unreadable(word, f"does not start with a stage: {', '.join(most)} or {last}")
    if _LONGEST.search(word):
        raise _unreadable(word, f"has a number of more than {_DIGITS} digits")
    kind = _KINDS[start[0]]
    number = _NUMBER.match(word, start.end())[0]  # type: ignore[index]  # it matches anything
    options: dict[str, Any] = {kind.number: int(number)} if number else {}
    _parse_modifiers(word, kind, word[start.end() + len(number) :], options)
    same = options.pop("same", False)
    for field in fields(kind):
        if field.default is MISSING and field.name not in options:
            raise _unreadable(word, f"needs a number, such as {kind.prefix}16")
    try:
        stage = kind(**options)
    except SpecError as error:
        raise with_place(error, shown(word)) from None
    return _padded_same(word, stage) if same else stage


def _parse_modifiers(word: str, kind: type[Stage], text: str, options: dict[str, Any]) -> None:
    """Put what the modifiers say into `options`, by field."""
    known = {field.name for field in fields(kind)}
    known |= {"same"} if "dilation" in known else set()
    while text:
        match = _MODIFIER.match(text)
        found = match[0] if match else text
        name, value = _FLAGS.get(found, ("", None))
        if match and match[1]:
            letter, first, second = match.groups()
            name = _LETTERS[letter]
            value = int(first) if second is None else (int(first), int(second))
        if name not in known:
            fitting = [text for text, name in _NAMES.items() if name in known]
            what = f"has {shown(found)}, but {kind.prefix} can be followed by"
            raise _unreadable(word, f"{what} {', '.join(fitting)} only")
        if name in options:
            raise _unreadable(word, f"gives {name} twice")
        options[name] = value
        text = text[len(found) :]


def _padded_same(word: str, stage: Any) -> Stage:
    """The stage with the padding that keeps the size at stride 1."""
    if stage.padding != (0, 0):
        raise _unreadable(word, "gives padding twice")
    pads = [same_padding(k, d) for k, d in zip(stage.kernel_size, stage.dilation, strict=True)]
    if any(lo != hi for lo, hi in pads):
        raise _unreadable(word, "pads unevenly: same needs an odd kernel; give p instead")
    return replace(stage, padding=tuple(lo for lo, _ in pads))  # type: ignore[no-any-return]  # a stage again


def _unreadable(word: str, what: str) -> SpecError:
    return SpecError(explain(f"{shown(word)} {what}", remedy=USAGE))


@lru_cache(maxsize=4096)
def _word(stage: Stage) -> str:
    """Canonical word of a stage: what differs from the defaults, in the order of its fields."""
    word = stage.prefix
    for field in fields(stage):
        name, value = field.name, getattr(stage, field.name)
        if value == stage.usual(name):
            continue
        known = FIELDS[name]
        is_number = name == stage.number
        text = known.write(value)
        if is_number and isinstance(known, Size) and "x" not in text:
            text = text.removeprefix(known.letter)
        word += text
    return word
