"""Limits on how a network reads its input, for tiles and streams: whole numbers of positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..accounting.account import Account
from ..errors import ArgumentError, explain, shown
from .limits import Finding

Sizes = tuple[int, ...] | None


def _halo(account: Account) -> Sizes:
    halo = account.halo
    return None if halo is None else tuple(max(both) for both in halo)


def _of_field(name: str) -> Callable[[Account], Sizes]:
    return lambda a: None if a.receptive_field is None else getattr(a.receptive_field, name)


# They are no figures: no search optimises them, and a table of every network has no use for them.
CONTRACT: Mapping[str, Callable[[Account], Sizes]] = {
    "halo": _halo,
    "lookahead": _of_field("lookahead"),
    "dilation_gaps": _of_field("dilation_gaps"),
    "covers": lambda account: account.covers,
}


@dataclass(frozen=True, slots=True)
class Contract:
    """How many input positions a network may read beside its own, or must cover, on every axis."""

    name: str
    bound: int

    def __call__(self, account: Account) -> Finding:
        """Judge an account."""
        least = self.name == "covers"  # more is better
        words = f"at {'least' if least else 'most'} {self.bound:,}"
        measured = CONTRACT[self.name](account)
        found = Finding(self.name, "unknown", None, words, key=self.name)
        if measured is None:
            reason = "; ".join(account.unknown) or "it could not be determined"
            return found._replace(reason=reason)
        headroom = min(measured) - self.bound if least else self.bound - max(measured)
        verdict = "within" if headroom >= 0 else "under" if least else "over"
        return found._replace(
            verdict=verdict, measured=measured, headroom=headroom, bound=self.bound
        )


def contracts(given: Mapping[str, Any]) -> Iterator[Contract]:
    """The limits among keywords of a `Budget`."""
    for name in CONTRACT:
        value = given[name]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            remedy = "Write a whole number of input positions, 0 or more."
            raise ArgumentError(explain(f"{name}={shown(value)} is not valid", remedy=remedy))
        yield Contract(name, value)
