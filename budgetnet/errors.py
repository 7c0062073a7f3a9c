"""Typed exceptions, and the one function that lays a message out."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = [
    "ArgumentError",
    "BudgetnetError",
    "ExportError",
    "FormatError",
    "ForwardError",
    "LeftBehind",
    "RunEnded",
    "SearchStopped",
    "ShapeError",
    "SpecError",
    "StrideMismatch",
    "UnsupportedOp",
    "WeightsError",
]


_LISTED = 8  # names of a list that a message shows


def explain(
    what: str, *, where: str = "", numbers: Mapping[str, object] | None = None, remedy: str = ""
) -> str:
    """Lay out a message: what happened, where, with which numbers, and what to do next.

    >>> explain("the map is too small", where="conv3", numbers={"kernel": 5, "map": 4},
    ...         remedy="Use a kernel of at most 4.")
    'conv3: the map is too small (kernel 5, map 4). Use a kernel of at most 4.'
    """
    text = f"{where}: {what}" if where else what
    if numbers:
        text += " (" + ", ".join(f"{name} {value}" for name, value in numbers.items()) + ")"
    return f"{text}. {remedy}" if remedy else f"{text}."


def shown(value: object, most: int = 80) -> str:
    """A value as a message shows it: on one line, cut if it is long, for any object.

    >>> shown("1,5k"), shown([0] * 1000, most=12)
    ("'1,5k'", '[0, 0, 0, 0...')
    """
    try:
        text = repr(value)
    except Exception as error:  # numbers of thousands of digits, deep nesting, a user's own repr
        text = f"a value of type {type(value).__name__} ({type(error).__name__})"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}..."


def near_names(name: object, known: Iterable[str], most: int = 1) -> list[str]:
    """The known names that look most like one that is not known; case does not matter.

    >>> near_names("ReLu", ["Conv2d", "ReLU"])
    ['ReLU']
    """
    from difflib import get_close_matches  # on use: it is needed where something is wrong

    by_case = {other.lower(): other for other in known}
    found = get_close_matches(str(name)[:40].lower(), by_case, n=most)
    return [by_case[other] for other in found]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The nearest known name if one is near, and all of them, as the end of a message.

    >>> did_you_mean("parms", ["params", "macs"]), did_you_mean("x", ["params", "macs"])
    ("Did you mean 'params'? Known: params, macs.", 'Known: params, macs.')
    """
    known = list(known)
    hint = "".join(f"Did you mean {near!r}? " for near in near_names(name, known))
    return f"{hint}Known: {', '.join(known)}."


def names_text(names: list[str]) -> str:
    """Names as a message lists them: whole ones, and how many more there are.

    >>> names_text(["a", "b"]), names_text([*"abcdefghij"])
    ('a, b', 'a, b, c, d, e, f, g, h and 2 more')
    """
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


class BudgetnetError(Exception):
    """Base of every error that budgetnet raises on purpose.

    All of them can be pickled and copied with their attributes, and so cross processes.
    """

    is_verdict = False  # whether the call was right, and the answer is no

    def __reduce__(self) -> tuple[Any, ...]:
        """Restore without `__init__`, whose arguments are not always those of the base class."""
        return _restore, (type(self), self.args), self.__dict__ or None


def _restore(cls: type[BudgetnetError], args: tuple[Any, ...]) -> BudgetnetError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


def with_place(error: BudgetnetError, where: str) -> BudgetnetError:
    """The same error with a place in front, for callers that know where it arose."""
    placed = copy.copy(error)
    placed.args = (f"{where}: {error}",)
    return placed


def one_line(error: BaseException) -> str:
    """What an exception says, as one line; without the mark that points into a text."""
    try:
        lines = [line.strip() for line in str(error).splitlines()]
        if lines and lines[-1] == "^":
            del lines[-2:]
        return " ".join(lines) or "no message"
    except BaseException:  # a user's own __str__ may fail
        return "no message"


def mark_of(error: BaseException) -> str:
    """The last two lines of a message that points into a text; "" if it does not."""
    lines = str(error).splitlines()[-2:]
    return "\n".join(lines) if len(lines) == 2 and lines[1].strip() == "^" else ""


class ArgumentError(BudgetnetError, ValueError):
    """An argument has a value that is not valid; the message names it and the remedy."""


class ShapeError(BudgetnetError, ValueError):
    """A layer cannot run on the map it receives."""


class SpecError(BudgetnetError, ValueError):
    """A spec or its text form cannot be read."""


class FormatError(BudgetnetError, ValueError):
    """A saved file is not of a format and version that this release reads."""


class WeightsError(BudgetnetError, ValueError):
    """Saved weights or their sidecar are damaged, incomplete, or belong to another network."""


@contextmanager
def name_in_errors(name: str) -> Iterator[None]:
    """Put the name of a file in front of the `FormatError`s of a block."""
    try:
        yield
    except FormatError as error:
        raise with_place(error, name if name.isprintable() else shown(name, 200)) from None


class StrideMismatch(BudgetnetError, ValueError):
    """Branches that meet in one map step over the input at different rates."""


class ForwardError(BudgetnetError, RuntimeError):
    """A model's own `forward` raised while it ran on shapes; the cause is what it raised."""


class LeftBehind(BudgetnetError, RuntimeError):
    """A run would leave something of its own outside the model that it ran."""


class ExportError(BudgetnetError, RuntimeError):
    """A model cannot be exported, or the exported program does not compute what the model does."""


class SearchStopped(BudgetnetError, TimeoutError):
    """A search was stopped before it found a network or a proof that there is none."""


class UnsupportedOp(BudgetnetError, NotImplementedError):
    """An operation on a tracked activation has no accounting rule."""


class RunEnded(UnsupportedOp):
    """A run cannot go on: what comes next depends on values, or has a shape that torch cannot tell.

    With `strict=False`, `account` gives the figures up to there.

    Attributes:
        operation: the one at which the run ends.
        reads: the rows that its operands come from, as in `Row.reads`.
    """

    def __init__(
        self, text: str, *, operation: str = "forward", reads: tuple[int, ...] = ()
    ) -> None:
        """Keep what the last row of an account says beside the text."""
        super().__init__(text)
        self.operation, self.reads = operation, reads
