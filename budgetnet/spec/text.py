"""The short text form of a spec, such as `c16 c16 p c32k5s2 gap10`: reading and writing it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ..accounting.geometry import same_padding
from ..accounting.window import Pair
from ..errors import SpecError, explain, shown
from .stages import Conv, Head, Pool, Separable, Stage, Transition

_USAGE = 'Write words such as "c16 c16 p c16 gap10"; Spec.parse lists them all.'
_WORD = re.compile(r"(gap|ds|c|t|p)([0-9]+)?((?:[a-z+-].*)?)")
_MODIFIER = re.compile(r"([kspdg])([0-9]+)(?:x([0-9]+))?|same|[+-]bias|-bn|-act")
_LONGEST = re.compile(r"[0-9]{10}")  # a number that no layer can have
_FLAGS = {"-bn": ("norm", False), "-act": ("act", False), "+bias": ("bias", True)}
_FLAGS |= {"-bias": ("bias", False)}
_FIELDS = {"k": "kernel_size", "s": "stride", "p": "padding", "d": "dilation", "g": "groups"}
_KINDS: dict[str, type[Any]] = {
    "c": Conv, "ds": Separable, "t": Transition, "p": Pool, "gap": Head
}  # fmt: skip
_WORDS = {kind: word for word, kind in _KINDS.items()}


def parse(text: str) -> tuple[Stage, ...]:
    """Read the text form; raises `SpecError` that names the word."""
    words = text.split()
    if not words:
        raise SpecError(explain("a spec needs at least one stage", remedy=_USAGE))
    return tuple(_parse_word(word, i) for i, word in enumerate(words, start=1))


def write(stages: tuple[Stage, ...]) -> str:
    """Canonical text: `parse(write(stages)) == stages`."""
    return " ".join(map(_word, stages))


def _parse_word(word: str, position: int) -> Stage:
    match = _WORD.fullmatch(word)
    if _LONGEST.search(word):
        raise _unreadable(word, position, "a number has ten digits or more")
    if not match:
        raise _unreadable(word, position, "no stage begins so")
    kind, number, modifiers = match.groups()
    options = _parse_modifiers(word, position, modifiers)
    same = options.pop("same", False)
    if kind == "p":
        options.setdefault("kernel_size", (int(number or 2),) * 2)
        options.setdefault("stride", options["kernel_size"])
    elif kind == "gap":
        options["num_classes"] = int(number) if number else None
    elif not number:
        raise _unreadable(word, position, f"{kind} needs its channels, such as {kind}16")
    else:
        options["out_channels"] = int(number)
    stage_type = _KINDS[kind]
    known = stage_type.__dataclass_fields__
    for name in options:
        if name not in known:
            raise _unreadable(word, position, f"{kind} has no {name}")
    if same:
        options["padding"] = _same(word, position, stage_type(**options))
    _check_positive(word, position, options)
    return stage_type(**options)  # type: ignore[no-any-return]  # the table of stages is Any


def _parse_modifiers(word: str, position: int, text: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    while text:
        match = _MODIFIER.match(text)
        if not match:
            raise _unreadable(word, position, f"{shown(text)} is no modifier")
        letter, first, second = match.groups()
        name: str = match[0]
        value: Any = True
        if name in _FLAGS:
            name, value = _FLAGS[name]
        elif letter:
            name = _FIELDS[letter]
            value = int(first) if letter == "g" else (int(first), int(second or first))
        if name in options:
            raise _unreadable(word, position, f"{name} is given twice")
        options[name] = value
        text = text[match.end() :]
    return options


def _same(word: str, position: int, stage: Any) -> Pair:
    if not hasattr(stage, "dilation") or stage.padding != (0, 0):
        raise _unreadable(word, position, "same is for a convolution without its own padding")
    pads = [same_padding(k, d) for k, d in zip(stage.kernel_size, stage.dilation, strict=True)]
    if any(lo != hi for lo, hi in pads):
        raise _unreadable(word, position, "same needs an odd kernel; give p explicitly")
    return pads[0][0], pads[1][0]


def _check_positive(word: str, position: int, options: dict[str, Any]) -> None:
    for name, value in options.items():
        least = 0 if name == "padding" else 1
        values = value if isinstance(value, tuple) else (value,)
        if any(type(v) is int and v < least for v in values):
            raise _unreadable(word, position, f"{name} must be at least {least}")


def _unreadable(word: str, position: int, reason: str) -> SpecError:
    return SpecError(
        explain(
            f"cannot read {shown(word)}",
            where=f"word {position} of the spec",
            numbers={"reason:": reason},
            remedy=_USAGE,
        )
    )


@lru_cache(maxsize=4096)
def _word(stage: Stage) -> str:
    """Canonical word of a stage: what differs from the defaults, in a fixed order."""
    if isinstance(stage, Pool):
        (high, wide), stride = stage.kernel_size, stage.stride
        word = ("p" + ("" if high == 2 else str(high))) if high == wide else f"pk{high}x{wide}"
        return word + _sized("s", stride, stage.kernel_size) + _sized("p", stage.padding, (0, 0))
    number = stage.num_classes if isinstance(stage, Head) else stage.out_channels
    word = f"{_WORDS[type(stage)]}{number or ''}"
    if isinstance(stage, Conv | Separable):
        word += _sized("k", stage.kernel_size, (3, 3)) + _sized("s", stage.stride, (1, 1))
        word += _sized("p", stage.padding, (0, 0)) + _sized("d", stage.dilation, (1, 1))
    if isinstance(stage, Conv) and stage.groups != 1:
        word += f"g{stage.groups}"
    word += "" if stage.norm else "-bn"
    word += "" if getattr(stage, "act", True) else "-act"
    bias = getattr(stage, "bias", None)
    return word if bias is None else word + ("+bias" if bias else "-bias")


def _sized(letter: str, value: Pair, default: Pair) -> str:
    if value == default:
        return ""
    return f"{letter}{value[0]}" if value[0] == value[1] else f"{letter}{value[0]}x{value[1]}"
