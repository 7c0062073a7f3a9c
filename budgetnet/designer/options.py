"""The options of a search space: made canonical one by one, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from ..accounting.window import Pair
from ..errors import ArgumentError, explain

# What a search is meant for: it says so beyond, rather than leave 64 bits or never end.
MOST_VALUES = 10_000  # of one list of choices
_MOST = {"kernels": 1_023, "stem_kernels": 1_023, "convs": 200, "downsamples": 30, "strides": 8,
         "stem_stride": 8, "dense_layers": 200}  # fmt: skip
_LARGEST = (1 << 31) - 1


def counts(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Whole numbers, given as one or several."""
    values = (value,) if isinstance(value, int) else listed(name, value)
    if not values or any(type(v) is not int or v < least for v in values):
        raise invalid(name, value, f"write whole numbers of at least {least}")
    most = _MOST.get(name, _LARGEST)
    if max(values) > most:
        raise invalid(name, value, f"the largest may be {most:,}")
    return values


def one_count(name: str, value: Any, least: int = 1) -> int:
    """One whole number."""
    values = counts(name, value, least)
    if len(values) > 1:
        raise invalid(name, value, "write one number")
    return values[0]


def choices(name: str, value: Any, least: int = 1, *, or_none: bool = False) -> tuple[int, ...]:
    """Different whole numbers in order; none at all if that is allowed."""
    if or_none and isinstance(value, list | tuple) and not value:
        return ()
    return tuple(sorted(set(counts(name, value, least))))


def span(name: str, value: Any, least: int) -> Pair:
    """The least and the most."""
    pair = counts(name, value, least)
    low, high = pair if len(pair) == 2 else (pair[0], pair[-1])
    if len(pair) > 2 or low > high:
        raise invalid(name, pair, "write one number, or the minimum and the maximum")
    return low, high


def ratios(name: str, value: Any, most: int, *, or_zero: bool = False) -> tuple[float, ...]:
    """Different numbers from 0.01 to `most`, in order; 0 as well if that is allowed."""
    values = (value,) if isinstance(value, int | float) else listed(name, value)
    fine = [type(v) in (int, float) and (0.01 <= v <= most or (or_zero and v == 0)) for v in values]
    if not fine or not all(fine):
        remedy = f"write numbers from 0.01 to {most:,}{', or 0' * or_zero}"
        raise invalid(name, value, remedy)
    return tuple(sorted({int(v) if v == int(v) else round(float(v), 6) for v in values}))


def names(name: str, value: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Some of the known names, in their order."""
    given = (value,) if isinstance(value, str) else listed(name, value)
    if not given or any(one not in known for one in given):
        raise invalid(name, value, f"expected some of {', '.join(known)}")
    return tuple(each for each in known if each in given)


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """The values of a list, of limited length."""
    try:
        values = tuple(islice(value, MOST_VALUES + 1))
    except TypeError:
        raise invalid(name, value, "write one value, or several") from None
    if len(values) > MOST_VALUES:
        remedy = f"a list may have {MOST_VALUES:,} values; take some of them, with a step"
        raise invalid(name, value, remedy)
    return values


def invalid(name: str, value: Any, remedy: str) -> ArgumentError:
    """The error of an option."""
    text = repr(value)
    shown = text if len(text) <= 80 else f"{text[:60]}..."
    return ArgumentError(
        explain(f"{name}={shown} is not valid for a search space", numbers={"reason:": remedy})
    )
