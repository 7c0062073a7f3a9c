"""The short text form of a spec, such as `c16 c16 p c32k5s2 gap10`: parsing and writing it.

Which words and modifiers there are, the stages and their fields say: `STAGES` and `FIELDS` are the
grammar, and `words_table` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from ..accounting.geometry import even_padding
from ..accounting.table import Column, Table
from ..errors import SpecError, explain, shown, with_place
from .branches import Branching, Concat, Sum
from .fields import ACTIVATIONS, FIELDS, LARGEST, NUMBER, Choice, Size, Squeeze
from .stage import Stage
from .stages import STAGES

USAGE = 'Write words such as "c16 c16 p c16 gap10".'
MOST_STAGES = 100_000  # that repetitions may make
MOST_NESTED = 20  # brackets within brackets

_KINDS = {kind.prefix: kind for kind in STAGES}
_PADS = {"same": "same", "valid": (0, 0)}
_FLAGS: dict[str, tuple[str, Any]] = {word: ("padding", value) for word, value in _PADS.items()}
_FLAGS |= {
    word: (name, value)
    for name, field in FIELDS.items() if isinstance(field, Choice)
    for word, value in field.words
}  # fmt: skip
_LETTERS = {field.letter: name for name, field in FIELDS.items() if field.letter}
_LETTERS["hse"] = "se"

# Words that stand alone: from there on, they are what every word has that does not say otherwise.
SETTINGS = (*_PADS, *ACTIVATIONS, "-act", "-bn", "+bn")

_UNSET = "unset"  # of what a word has no field for

_START = re.compile("|".join(sorted(_KINDS, key=len, reverse=True)))  # gap before a g alone
_DIGITS = len(str(LARGEST))
_LONGEST = re.compile(rf"[0-9]{{{_DIGITS + 1}}}")  # no stage has such a number
_VALUES = {letter: FIELDS[name].pattern for letter, name in _LETTERS.items()}  # type: ignore[union-attr]  # a field with a letter has one
_MODIFIER = re.compile("|".join([
    *(rf"(?P<{letter}>{letter}{value})" for letter, value in sorted(_VALUES.items(), reverse=True)),
    *map(re.escape, sorted(_FLAGS, key=len, reverse=True)),
]))  # fmt: skip
_TIMES = re.compile(r"[0-9]+\*")
_TOKEN = re.compile(
    rf"\s*({_TIMES.pattern}|[\[(|]|\](?P<after>[^\s\[\]()|]*)|\)|\+(?=[\s\]]|$)|[^\s\[\]()|]+)"
)

# What may come next within a bracket, by what separates its branches so far.
_WITHIN = {"": "a word, + or |", "+": "a word or ]", "|": "a word, | or ]"}


class Token(NamedTuple):
    """A word, a bracket or what separates branches, and where it stands."""

    text: str
    start: int


@lru_cache(maxsize=512)  # stages are immutable, and a text is often read again
def parse(text: str) -> tuple[Stage, ...]:
    """Read the text form; raises `SpecError` that names the word and points at it."""
    return _Parser(text).parse()


@lru_cache(maxsize=512)
def write(stages: tuple[Stage, ...]) -> str:
    """Canonical text: `parse(write(stages)) == stages`."""
    says_padding = any(stage.pads for stage in _all(stages))
    return " ".join(_words(list(_items(stages, says_padding))))


class _Parser:
    """One text, from left to right; settings hold from where they stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [Token(match[1], match.start(1)) for match in _TOKEN.finditer(text)]
        self.at = self.words = self.made = 0
        self.settings: dict[str, Any] = {}
        self.silent: list[tuple[int, Token]] = []  # words that do not say how they pad

    def parse(self) -> tuple[Stage, ...]:
        """All stages; raises `SpecError`."""
        stages = self._stages(0)
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            what = f"{shown(token.text)} closes or separates nothing; expected a word or a bracket"
            raise self._wrong(token, what)
        if not stages:
            raise SpecError(explain("a spec needs at least one stage", remedy=USAGE))
        if self.silent and any(stage.pads for stage in _all(stages)):
            number, token = self.silent[0]
            pads = next(stage for stage in _all(stages) if stage.pads)
            what = f"does not say how it pads, while {pads.prefix} keeps the size of the map"
            remedy = "Begin the spec with same to pad all convolutions, or with valid."
            raise self._unreadable(number, token, what, remedy=remedy)
        return stages

    def _stages(self, depth: int) -> tuple[Stage, ...]:
        """Stages up to the end of a branch."""
        stages: list[Stage] = []
        while not self._ends():
            stages.extend(self._item(depth))
        return tuple(stages)

    def _ends(self) -> bool:
        """Whether neither a word nor a bracket comes next."""
        if self.at == len(self.tokens):
            return True
        text = self.tokens[self.at].text
        return text == "+" or text[0] in "|])"

    def _item(self, depth: int) -> tuple[Stage, ...]:
        token = self.tokens[self.at]
        if depth > MOST_NESTED:
            raise self._wrong(token, f"it is nested more than {MOST_NESTED} deep")
        self.at += 1
        if _TIMES.fullmatch(token.text):
            return self._repeated(token, depth)
        if token.text == "(":
            stages = self._stages(depth + 1)
            self._close(token, ")", "a word or )")
            return stages
        if token.text == "[":
            return (self._bracket(token, depth),)
        return self._word(token)

    def _repeated(self, token: Token, depth: int) -> tuple[Stage, ...]:
        """A word or a bracket, so many times."""
        times = int(token.text[:-1]) if len(token.text) <= _DIGITS else MOST_STAGES + 1
        if not 1 <= times <= MOST_STAGES:
            raise self._wrong(token, f"a word is repeated 1 to {MOST_STAGES:,} times")
        if self._ends():
            raise self._wrong(token, "there is nothing to repeat; expected a word or a bracket")
        before = self.made
        stages = self._item(depth + 1)
        self._count((self.made - before) * (times - 1), token)
        return stages * times

    def _count(self, more: int, token: Token) -> None:
        """Count stages, those within brackets too."""
        self.made += more
        if self.made > MOST_STAGES:
            raise self._wrong(token, f"a spec of more than {MOST_STAGES:,} stages is not read")

    def _close(self, opened: Token, bracket: str, expected: str) -> Token:
        """The token that closes a bracket."""
        if self.at == len(self.tokens):
            what = f"{shown(opened.text)} is not closed; expected {expected}"
            raise self._wrong(opened, what)
        token = self.tokens[self.at]
        if token.text[0] != bracket:
            raise self._wrong(token, f"{shown(token.text)} cannot stand here; expected {expected}")
        self.at += 1
        return token

    def _bracket(self, opened: Token, depth: int) -> Stage:
        """A sum or a concatenation."""
        branches, separator = [self._stages(depth + 1)], ""
        while self.at < len(self.tokens) and self.tokens[self.at].text in ("|", "+"):
            token = self.tokens[self.at]
            if separator and (token.text != separator or separator == "+"):
                what = f"{shown(token.text)} cannot stand here; expected {_WITHIN[separator]}"
                raise self._wrong(token, what)
            separator = token.text
            self.at += 1
            branches.append(self._stages(depth + 1))
        closed = self._close(opened, "]", _WITHIN[separator])
        self._count(1, opened)
        if not separator:
            what = "a bracket has two branches or more; expected + for a sum, or |"
            raise self._wrong(closed, what)
        if separator == "|" and closed.text != "]":
            what = f"{shown(closed.text[1:])} cannot follow a concatenation"
            raise self._wrong(closed, what, 1)
        act = self._act_of(closed) if separator == "+" else None
        try:
            if separator == "|":
                return Concat(tuple(branches))
            return Sum(branches[0], branches[1], act)
        except SpecError as error:
            where = f"the bracket at character {opened.start + 1}"
            raise SpecError(f"{where}: {error}{self._pointer(opened.start)}") from None

    def _act_of(self, closed: Token) -> Any:
        """The activation of a sum, from what follows its bracket."""
        modifier = closed.text[1:]
        if not modifier:
            return self.settings.get("act", "relu")
        name, value = _FLAGS.get(modifier, ("", None))
        if name != "act":
            what = f"{shown(modifier)} cannot follow a sum; expected {_listed('act')}, or nothing"
            raise self._wrong(closed, what, 1)
        return value

    def _word(self, token: Token) -> tuple[Stage, ...]:
        self.words += 1
        if token.text in SETTINGS:
            name, value = _FLAGS[token.text]
            self.settings[name] = value
            return ()
        try:
            stage, said = parse_word(token.text)
        except Unreadable as error:
            raise self._unreadable(self.words, token, error.what, error.at, error.remedy) from None
        except SpecError as error:
            where = f"word {self.words} of the spec"
            raise SpecError(f"{where}: {error}{self._pointer(token.start)}") from None
        self._count(1, token)
        return (self._as_set(stage, said, token),)

    def _as_set(self, stage: Any, said: frozenset[str], token: Token) -> Stage:
        """A stage with what the settings say and its word does not."""
        known = stage.__dataclass_fields__
        changed = {name: value for name, value in self.settings.items()
                   if name in known and name not in said}  # fmt: skip
        if not _says_padding(stage):
            changed.pop("padding", None)
        elif "padding" not in changed and "padding" not in said:
            self.silent.append((self.words, token))
        if changed.get("padding") == "same":
            changed["padding"] = padding_of_same(stage)
            if changed["padding"] is None:
                raise self._unreadable(self.words, token, UNEVEN)
        made: Stage = replace(stage, **changed) if changed else stage
        return made

    # ------------------------------------------------------------------ errors

    def _unreadable(
        self, number: int, token: Token, what: str, at: int = 0, remedy: str = USAGE
    ) -> SpecError:
        """An error about a word, with the place in the text where it is wrong."""
        text = explain(f"{shown(token.text)} {what}", remedy=remedy)
        return SpecError(f"word {number} of the spec: {text}{self._pointer(token.start + at)}")

    def _wrong(self, token: Token, what: str, at: int = 0) -> SpecError:
        """An error about a bracket or what separates branches."""
        place = token.start + at
        text = explain(what, remedy=USAGE)
        return SpecError(f"character {place + 1} of the spec: {text}{self._pointer(place)}")

    def _pointer(self, place: int) -> str:
        """The text around a place, and a mark below it."""
        text = re.sub(r"\s", " ", self.text)  # which may have several lines
        if len(self.tokens) == 1 or not text.isprintable():
            return ""
        low, high = max(0, place - 40), min(len(text), place + 24)
        before, after = "..." * (low > 0), "..." * (high < len(text))
        mark = " " * (len(before) + place - low) + "^"
        return f"\n  {before}{text[low:high]}{after}\n  {mark}"


class Unreadable(SpecError):
    """A word that cannot be read: why, where in it, and what to do."""

    def __init__(self, what: str, at: int = 0, remedy: str = USAGE) -> None:
        """Keep the parts of the message."""
        super().__init__(what)
        self.what, self.at, self.remedy = what, at, remedy


UNEVEN = "pads unevenly: same needs an odd kernel; give p instead"


@lru_cache(maxsize=1024)  # a network repeats few distinct words
def parse_word(word: str) -> tuple[Stage, frozenset[str]]:
    """The stage of a word, and the fields that it says; raises `SpecError`."""
    start = _START.match(word)
    if start is None:
        *most, last = _KINDS
        raise Unreadable(f"does not start with a stage: {', '.join(most)} or {last}")
    if match := _LONGEST.search(word):
        raise Unreadable(f"has a number of more than {_DIGITS} digits", match.start())
    kind = _KINDS[start[0]]
    options: dict[str, Any] = {}
    at = start.end()
    if kind.number:
        field: Any = FIELDS[kind.number]
        number = re.compile(NUMBER if isinstance(field, Size) else field.pattern).match(word, at)
        if number:
            options[kind.number] = field.read(number[0])
            at = number.end()
    for place, name, value in _modifiers(word, kind, at):
        if name in options:
            raise Unreadable(f"gives {name} twice", place)
        options[name] = value
    same = options.get("padding") == "same"
    said = frozenset(options)
    if same:
        del options["padding"]
    for given in fields(kind):
        if given.default is MISSING and given.name not in options:
            raise Unreadable(f"needs a number, such as {kind.prefix}16", at)
    try:
        stage = kind(**options)
    except SpecError as error:
        raise with_place(error, shown(word)) from None
    if same:
        pads = padding_of_same(stage)
        if pads is None:
            raise Unreadable(UNEVEN)
        stage = replace(stage, padding=pads)
    return stage, said


def _modifiers(word: str, kind: type[Stage], at: int) -> Iterator[tuple[int, str, Any]]:
    """The fields that the modifiers of a word give, and where."""
    known = modifiers_of(kind)
    while at < len(word):
        match = _MODIFIER.match(word, at)
        text = match[0] if match else ""
        letter = match.lastgroup if match else None
        if (letter or text) not in known:
            found = shown(text or word[at:])
            what = f"has {found}, but {kind.prefix} can be followed by {_names(known)} only"
            raise Unreadable(what, at)
        if letter:
            name, field = known[letter], FIELDS[known[letter]]
            value: Any = field.read(text.removeprefix(letter))  # type: ignore[union-attr]  # as above
            yield at, name, Squeeze(value, True) if letter == "hse" else value
        else:
            yield at, *_FLAGS[text]
        at += len(text)


def modifiers_of(kind: type[Stage]) -> dict[str, str]:
    """What can follow the number of a stage's word: letters and words, with their fields."""
    own = [field.name for field in fields(kind) if field.name != kind.number]
    own += [kind.number] if isinstance(FIELDS.get(kind.number), Size) else []  # pk2x3
    found = {letter: name for letter, name in _LETTERS.items() if name in own}
    can_pad = {"padding", "dilation"} <= set(own)
    found |= {word: name for word, (name, _) in _FLAGS.items()
              if name in own and (can_pad or word not in _PADS)}  # fmt: skip
    return found


def _names(known: dict[str, str]) -> str:
    return ", ".join(known) if known else "nothing"


def _listed(name: str) -> str:
    return ", ".join(word for word, (field, _) in _FLAGS.items() if field == name)


def padding_of_same(stage: Any) -> Any:
    """The padding that keeps the size at stride 1; `None` if both sides cannot be alike."""
    return even_padding(stage.kernel_size, stage.dilation)


def _says_padding(stage: Any) -> bool:
    """Whether padding makes a difference to a stage that same and valid are meant for."""
    has = hasattr(stage, "padding") and hasattr(stage, "dilation")
    return has and stage.kernel_size != (1, 1)


def _all(stages: tuple[Stage, ...]) -> Iterator[Stage]:
    """Every stage, those within brackets too."""
    for stage in stages:
        yield stage
        if isinstance(stage, Branching):
            yield from _all(tuple(chain.from_iterable(b for _, b in stage.branches_by_name)))


# ---------------------------------------------------------------------- writing


class _Item(NamedTuple):
    """A word, or what closes a bracket, with what settings may say for it."""

    stage: Any
    text: str  # of a bracket or separator; "" for words
    act: Any = _UNSET
    padding: Any = _UNSET  # "same" or "valid"


def _items(stages: tuple[Stage, ...], says_padding: bool) -> Iterator[_Item]:
    """All words and brackets, from left to right."""
    for stage in stages:
        act = getattr(stage, "act", _UNSET)
        if not isinstance(stage, Branching):
            yield _Item(stage, "", act, _kind_of_padding(stage) if says_padding else _UNSET)
            continue
        yield _Item(None, "[")
        for i, (_, branch) in enumerate(stage.branches_by_name):
            if i:
                yield _Item(None, "|" if isinstance(stage, Concat) else "+")
            yield from _items(branch, says_padding)
        yield _Item(None, "]", act)


def _kind_of_padding(stage: Any) -> Any:
    if not _says_padding(stage):
        return _UNSET
    if padding_of_same(stage) == stage.padding:
        return "same"
    return "valid" if stage.padding == (0, 0) else _UNSET


def _words(items: list[_Item]) -> Iterator[str]:
    """The words, with the settings that make them short: one that two words in a row need.

    Padding is said only in specs whose blocks pad, where every convolution says how it does.
    """
    now: dict[str, Any] = {"act": "relu", "padding": None}
    following = {name: _following([getattr(item, name) for item in items]) for name in now}
    for i, item in enumerate(items):
        said: dict[str, str] = {}
        for name in now:
            value = getattr(item, name)
            if value in (now[name], _UNSET):
                continue
            word = "-act" if value is None else value
            if value == following[name][i]:
                now[name] = value
                yield word
            else:
                said[name] = word
        if item.text:
            yield item.text + said.get("act", "")
        else:
            usual = {name: getattr(item.stage, name) for name in now
                     if getattr(item, name) != _UNSET}  # fmt: skip
            yield _word(item.stage, frozenset(usual)) + "".join(said.values())


def _following(values: list[Any]) -> list[Any]:
    """For each place the value that is set next."""
    found, after = [], _UNSET
    for value in reversed(values):
        found.append(after)
        after = after if value == _UNSET else value
    return found[::-1]


@lru_cache(maxsize=4096)
def _word(stage: Any, silent: frozenset[str] = frozenset()) -> str:
    """Canonical word of a stage: what differs from the defaults, in the order of its fields.

    Of the `silent` fields it says nothing.
    """
    word: str = stage.prefix
    for field in fields(stage):
        name, value = field.name, getattr(stage, field.name)
        if name in silent or value == stage.usual(name):
            continue
        known: Any = FIELDS[name]
        text = known.write(value)
        if name == stage.number:
            text = text.removeprefix(known.letter) if "x" not in text else text
        word += text
    return word


def words_table() -> Table:
    """The grammar: every word, what it is, and what may follow its number.

    >>> words_table().rows[2]
    ('t16', '1x1 convolution, norm, ReLU: blocks.Transition', 'norm act')
    """
    rows = []
    for kind in STAGES:
        example = kind.prefix + ("16" if _needs_number(kind) else "")
        known = dict.fromkeys(modifiers_of(kind).values())
        rows.append((example, _first_line(kind), " ".join(_short(name) for name in known)))
    rows += [("[a + b]", _first_line(Sum), "act"), ("[a | b]", _first_line(Concat), "")]
    rows += [(form, meaning, "") for form, meaning in _FORMS.items()]
    columns = (Column("Word"), Column("What it is"), Column("May be followed by"))
    notes = tuple(f"{_short(name)}: {meaning}" for name, meaning in _MEANINGS.items())
    return Table(columns, tuple(rows), notes=notes)


def _first_line(kind: type[Stage]) -> str:
    """What the docstring of a stage says first."""
    what = (kind.__doc__ or "").split(" Text form")[0].split("\n\n")[0]
    return " ".join(what.split()).partition(". ")[0].rstrip(".").replace("`", "")


def _needs_number(kind: type[Stage]) -> bool:
    return any(f.default is MISSING for f in fields(kind))


def _short(name: str) -> str:
    """A field as the table names it: its letter, or its name if words give it."""
    return getattr(FIELDS[name], "letter", "") or name


# What is neither a word nor a bracket of its own.
_FORMS = {
    "3*a": "so many times a word or a bracket",
    "(a b)": "words taken together, to repeat them: 3*(c16 p)",
    "same": "the padding of all that follows; valid likewise",
    "relu6": "the activation of all that follows, any of those below; -act for none",
    "-bn": "no norm from there on; +bn for one again",
}

# What a modifier says, where its name does not.
_MEANINGS = {
    "kernel_size": "kernel, k5 or k3x5",
    "stride": "stride, s2 or s2x1",
    "padding": "padding, p1 or p1x2; same keeps the size at stride 1, valid pads nothing",
    "dilation": "dilation",
    "groups": "groups",
    "num_layers": "layers of a dense block",
    "expansion": "hidden width by the width of the input (ir, er) or of the output (bt)",
    "hidden_channels": "the hidden width itself",
    "bottleneck": "width between the convolutions of a dense layer by its growth; b0 for none",
    "se": "squeeze-excite to so many channels, or below 1 to that share of the input's; hse with "
    "ReLU and a hard sigmoid, as in MobileNetV3",
    "norm": "-bn for none",
    "act": f"{', '.join(ACTIVATIONS)}, or -act for none",
    "bias": "+bias or -bias; as a rule there is one exactly where there is no norm",
    "mode": "nearest or bilinear",
    "dropout": "dropout, drop0.2",
}
