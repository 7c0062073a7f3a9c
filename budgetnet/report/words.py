"""Figures in few words: large ones abbreviated, with the exact one at hand."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .markup import Markup, tag

_UNITS = (("", 1), ("k", 10**3), ("M", 10**6), ("G", 10**9), ("T", 10**12), ("P", 10**15))


def short(value: int | Fraction) -> str:
    """A number in at most three digits and a unit; below ten thousand it is exact.

    >>> short(9_999), short(14_372), short(999_999), short(103_809_024)
    ('9,999', '14.4k', '1M', '104M')
    """
    if not isinstance(value, int):
        return str(value)
    if abs(value) < 10_000:
        return f"{value:,}"
    for unit, size in _UNITS[1:]:
        if "e" not in (text := f"{value / size:.3g}"):
            return f"{text}{unit}"
    return f"{value:,}"


def shortened(value: int) -> Markup:
    """A number as `short` writes it, which tells the exact one to who points at it."""
    text = short(value)
    exact = f"{value:,}"
    return Markup(text) if text == exact else tag("abbr", text, title=exact)


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def holding(names: Sequence[str], costs: Sequence[int | None]) -> str:
    """Which few hold most of a cost, in words; "" if any cost is unknown or all are nothing.

    >>> holding(["a", "b", "c", "d", "e"], [3, 5, 5, 5, 3])
    'b to d hold 71 %'
    """
    known = [cost for cost in costs if cost is not None]
    total = sum(known)
    if len(known) < len(costs) or not total:
        return ""
    taken: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: -known[i]):
        if known[i] and len(taken) < 3 and 2 * sum(known[k] for k in taken) < total:
            taken.append(i)
    equal = [i for i, cost in enumerate(known) if cost == max(known)]
    if len(equal) > 3 and 5 * sum(known[i] for i in taken) < 2 * total:  # no few of them hold much
        each = round(100 * max(known) / total)
        return f"{names[equal[0]]} to {names[equal[-1]]} hold {each} % each"
    taken.sort()
    held = round(100 * sum(known[i] for i in taken) / total)
    own = [names[i] for i in taken]
    in_a_row = len(taken) > 2 and taken[-1] - taken[0] == len(taken) - 1
    words = f"{own[0]} to {own[-1]}" if in_a_row else listed(own)
    return f"{words} hold{'s' * (len(own) == 1)} {held} %"
