"""Limits as small frozen values: each judges one figure of an account and says what it found."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ..accounting.account import Account
from ..accounting.device.target import Target
from ..accounting.latency import latency_of
from ..accounting.latency_table import LatencyTable
from ..errors import ArgumentError, explain, shown
from .figures import FIGURES, figure_text, read_on

__all__ = ["Finding", "Forbid", "Range", "Require"]


class Finding(NamedTuple):
    """What one limit found.

    Attributes:
        name: of the figure or rule.
        verdict: "within", "over", "under", or "unknown".
        measured: the figure; one entry per axis for a receptive field, `None` if unknown.
        limit: the limit in words, such as "at most 20,000".
        headroom: how far the figure may still move; negative by how far it is beyond the limit.
        bound: the limit that decides, a number; `None` if there is none.
        reason: why the verdict is what it is, if the numbers do not show it.
        figure: the figure that was measured, whatever it was compared with; "" if there is none.
        key: what a configuration calls the limit; "" for one that it cannot have.
    """

    name: str
    verdict: str
    measured: int | tuple[int, ...] | str | None
    limit: str
    headroom: int | None = None
    bound: int | None = None
    reason: str = ""
    figure: str = ""
    key: str = ""

    @property
    def ok(self) -> bool:
        """Whether the limit holds."""
        return self.verdict == "within"

    @property
    def is_near(self) -> bool:
        """Whether a cost is within its limit by less than a twentieth of it."""
        if not self.ok or not self.bound or not self.figure or not isinstance(self.measured, int):
            return False
        is_most = self.measured + (self.headroom or 0) == self.bound
        more_is_better = FIGURES[self.figure].more_is_better
        return is_most and not more_is_better and 20 * (self.bound - self.measured) < self.bound

    @property
    def measured_text(self) -> str:
        """The figure as people write it."""
        return figure_text(self.measured, self.figure)

    @property
    def headroom_text(self) -> str:
        """By how much the figure is within or beyond the limit, in units and percent."""
        if self.headroom is None:
            return self.reason
        word = "left" if self.ok else "under" if self.verdict == "under" else "over"
        share = f" ({abs(self.headroom) / self.bound:.1%})" if self.bound else ""
        amount = figure_text(abs(self.headroom), self.figure)
        return f"{amount} {word}{share.replace('%', ' %')}"


Limit: TypeAlias = Callable[[Account], Any]  # gives a Finding, several, or whether it holds


@dataclass(frozen=True, slots=True)
class Range:
    """A figure between two bounds, either of which may be `None`.

    A receptive field must reach `low` along its shortest axis, and `high` bounds its longest.

    >>> from budgetnet import plan
    >>> Range("params", high=7_000)(plan("c16 c16 p c32 gap10", (1, 28, 28))).headroom
    -524
    """

    name: str
    low: int | None = None
    high: int | None = None
    baseline: str = ""  # what the bound is relative to, if to anything: "baseline 14,372 +2%"
    target: Target | None = None  # of flash and RAM: the runtime
    table: LatencyTable | None = None  # of a latency: what it is added up from
    board: str = ""  # whose flash or RAM it is, if of one

    def __call__(self, account: Account) -> Finding:
        """Judge an account."""
        measured, why = self._measured(account)
        key = "growth" if self.baseline else "board" if self.board else self.name
        found = Finding(
            f"growth of {self.name}" if self.baseline else self.name, "unknown", None, self.text,
            figure=self.name, key=key,
        )  # fmt: skip
        if measured is None:
            reason = why or "; ".join(account.unknown) or "it could not be determined"
            return found._replace(reason=reason)
        return judged(found, measured, self.low, self.high)

    def _measured(self, account: Account) -> tuple[int | tuple[int, ...] | None, str]:
        """The figure, or `None` and why it is unknown, if that is not the account's own reason."""
        if FIGURES[self.name].on_device:
            return read_on(self.name, account, self.target)
        if self.table is not None:
            found = latency_of(account, self.table)
            return found.ns, found.reason
        return FIGURES[self.name].read(account), ""

    @property
    def text(self) -> str:
        """The limit in words."""
        beside = [self.baseline, self.board, f"{self.target}" if self.target else ""]
        beside.append(f"estimate by {self.table.name}" if self.table else "")
        said = ", ".join(filter(None, beside))
        words = bounds_text(self.low, self.high, self.name)
        return f"{words} ({said})" if said else words


def judged(
    found: Finding, measured: int | tuple[int, ...], low: int | None, high: int | None
) -> Finding:
    """A finding with the verdict on a figure between two bounds."""
    sizes = measured if isinstance(measured, tuple) else (measured,)
    sides = []
    if low is not None:
        sides.append((min(sizes, default=0) - low, "under", low))
    if high is not None:
        sides.append((high - max(sizes, default=0), "over", high))
    headroom, beyond, bound = min(sides)
    verdict = "within" if headroom >= 0 else beyond
    return found._replace(verdict=verdict, measured=measured, headroom=headroom, bound=bound)


def bounds_text(low: int | None, high: int | None, name: str = "") -> str:
    """Two bounds of a figure in words."""
    least, most = figure_text(low, name), figure_text(high, name)
    if low is None:
        return f"at most {most}"
    if high is None:
        return f"at least {least}"
    return f"exactly {least}" if low == high else f"{least} to {most}"


@dataclass(frozen=True, slots=True)
class Require:
    """A layer or operation of this kind must be there; `*` and `?` match as in file names."""

    pattern: str

    def __call__(self, account: Account) -> Finding:
        """Judge an account."""
        found = _matching(account, self.pattern)
        if not found and not account.is_complete:
            return _of_kind("require", self.pattern, "unknown", None, "; ".join(account.unknown))
        verdict = "within" if found else "under"
        reason = "" if found else f"no layer matches {self.pattern}"
        return _of_kind("require", self.pattern, verdict, _places(found), reason)


@dataclass(frozen=True, slots=True)
class Forbid:
    """No layer or operation of this kind may be there; `*` and `?` match as in file names."""

    pattern: str

    def __call__(self, account: Account) -> Finding:
        """Judge an account."""
        found = _matching(account, self.pattern)
        if not found and not account.is_complete:
            return _of_kind("forbid", self.pattern, "unknown", None, "; ".join(account.unknown))
        verdict = "over" if found else "within"
        reason = f"take out {', '.join(found[:3])}" if found else ""
        return _of_kind("forbid", self.pattern, verdict, _places(found), reason)


def _of_kind(key: str, pattern: str, verdict: str, places: str | None, reason: str) -> Finding:
    """Finding of a kind; it is unknown if such a layer may be in a part that did not run."""
    limit = {"require": "at least one", "forbid": "none"}[key]
    return Finding(f"{key} {pattern}", verdict, places, limit, reason=reason, key=key)


def _matching(account: Account, pattern: str) -> list[str]:
    rows = (row for row in account.rows if fnmatchcase(row.kind, pattern))
    return list(dict.fromkeys(row.path or row.kind for row in rows))


def _places(found: list[str]) -> str:
    return "none" if not found else found[0] if len(found) == 1 else f"{len(found)} layers"


def parse_limit(
    name: str, value: Any, target: Target | None = None, table: LatencyTable | None = None
) -> Range:
    """A `Range` from what a user writes: one bound, or a (low, high) pair.

    One bound is a maximum, or a minimum if more is better, as of a receptive field; `target` is
    the runtime that a limit on flash or RAM is for, `table` what a latency is added up from. As
    text a pair is "16k..20k". Thousands are set apart in groups of three by commas or underscores.

    Raises:
        ArgumentError: a bound cannot be read, or low is above high.

    >>> parse_limit("macs", "3M").high, parse_limit("receptive_field", 22).low
    (3000000, 22)
    >>> parse_limit("weight_bytes", ("16 KiB", "60 KiB")).text
    '16,384 to 61,440'
    """
    figure = FIGURES[name]
    low, high = parse_bounds(name, value, figure.unit, figure.more_is_better)
    return Range(name, low, high, target=target, table=table)


def parse_bounds(
    name: str, value: Any, unit: str, more_is_better: bool = False
) -> tuple[int | None, int | None]:
    """The lowest and the highest that a user allows; `None` for no such bound."""
    parse = parse_time if unit == "nanoseconds" else partial(parse_size, in_bytes=unit == "bytes")
    if isinstance(value, str) and ".." in value:
        value = value.split("..")
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ArgumentError(
                explain(
                    f"{name}={shown(value)} is not a valid range",
                    remedy="Write one bound, or a pair of the lowest and the highest.",
                )
            )
        low, high = (parse(bound, name) for bound in value)
        if low > high:
            raise ArgumentError(
                explain(
                    f"{name} can never be met: low is above high",
                    numbers={"low": figure_text(low, name), "high": figure_text(high, name)},
                    remedy="Write the lower bound first.",
                )
            )
        return low, high
    size = parse(value, name)
    return (size, None) if more_is_better else (None, size)


COUNTS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BYTES = {"": 1, "B": 1} | {
    prefix + unit: base**power
    for unit, base in (("B", 1000), ("iB", 1024))
    for power, prefixes in enumerate(("kK", "M", "G"), start=1)
    for prefix in prefixes
}
TIMES = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9}
# Digits alone, or in groups of three that one sign sets apart; a fraction, which needs a unit.
WHOLE = r"[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:_[0-9]{3})+"
_SIZE = re.compile(rf"({WHOLE})(\.[0-9]+)?\s*([A-Za-z]*)")
LONGEST = 40  # signs of a size as text
MOST = 2**63 - 1  # a count that is larger than this is a slip of the keyboard


def parse_size(value: Any, name: str = "size", in_bytes: bool = False) -> int:
    """A count or number of bytes, as an int or as readable text.

    >>> parse_size("14.4k"), parse_size("1,000,000"), parse_size("1.5 KiB", in_bytes=True)
    (14400, 1000000, 1536)
    """
    number: Fraction | None = None
    if isinstance(value, str):
        number = _spelled(value, BYTES if in_bytes else COUNTS)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Fraction(value)
    elif isinstance(value, float) and value.is_integer():
        number = Fraction(int(value))
    if number is None or not 0 <= number <= MOST or number.denominator != 1:
        examples = "61440, '60 KiB' or '60 kB'" if in_bytes else "20000, '20,000', '20k' or '3M'"
        raise ArgumentError(
            explain(
                f"{name}={shown(value)} is not a valid size",
                remedy=f"Write a whole number from 0 to 2**63 - 1, such as {examples}.",
            )
        )
    return int(number)


def parse_time(value: Any, name: str = "time") -> int:
    """Whole nanoseconds, from text with a unit: a number alone might be meant in any.

    >>> parse_time("3.2 ms"), parse_time("300us")
    (3200000, 300000)
    """
    number = _spelled(value, TIMES) if isinstance(value, str) else None
    if number is None or number > MOST or number.denominator != 1:
        remedy = "Write whole nanoseconds as text with a unit, such as '5 ms', '300us' or '0.1 s'."
        raise ArgumentError(explain(f"{name}={shown(value)} is not a valid time", remedy=remedy))
    return int(number)


def _spelled(text: str, units: Mapping[str, int]) -> Fraction | None:
    """The number that a text says; `None` if it is none."""
    match = _SIZE.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if match is None:
        return None
    digits, fraction, unit = match.groups()
    factor = units.get(unit, 0)
    if not factor or (factor == 1 and fraction):
        return None
    whole = digits.replace(",", "").replace("_", "")
    return Fraction(whole + (fraction or "")) * factor


PERCENT = r"\+?\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*%"


def parse_growth(name: str, allowed: Any, baseline: int) -> Range:
    """A `Range` relative to a baseline: "+2%", "+500", "+1 KiB" or 0.

    >>> parse_growth("params", "+2%", 14_372).text
    'at most 14,659 (baseline 14,372 +2%)'
    """
    text = allowed.strip() if isinstance(allowed, str) else allowed
    if isinstance(text, str) and (match := re.fullmatch(PERCENT, text)):
        more = int(baseline * Fraction(match[1]) / 100)
        said = f"+{match[1]}%"
    else:
        plain = text.removeprefix("+") if isinstance(text, str) else text
        try:
            more = parse_size(plain, in_bytes=FIGURES[name].is_bytes)
        except ArgumentError:
            what = f"{shown(allowed)} is not a valid growth of {name}"
            raise ArgumentError(explain(what, remedy="Write '+2%', '+500' or 0.")) from None
        said = f"+{more:,}"
    return Range(name, high=baseline + more, baseline=f"baseline {baseline:,} {said}")
