"""The limits of a Budget as a box of figures for a search."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from ..budget.budget import Budget
from ..budget.figures import FIGURES
from ..budget.limits import Range
from ..errors import ArgumentError, explain
from .costs import COUNTED
from .graph import Box


def counted_figure(name: str) -> str:
    """The figure that a search counts: every parameter of a design trains.

    Raises:
        ArgumentError: a search does not count it.
    """
    name = "params" if name == "trainable_params" else name
    if name not in COUNTED:
        numbers = {"supported": ", ".join(COUNTED)}
        device = name in FIGURES and FIGURES[name].on_device
        remedy = "Hold what it finds against a Budget." if device else ""
        what = f"design cannot limit or optimise {name}"
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy))
    return name


def box_of(budget: Budget) -> Box:
    """The lowest and highest value of every figure that a budget limits.

    Raises:
        ArgumentError: a limit is not on a figure that a search counts.
    """
    box: dict[str, tuple[int | None, int | None]] = {}
    for limit in budget.limits:
        if not isinstance(limit, Range):
            raise ArgumentError(
                explain(
                    f"design accepts only limits on figures; {limit!r} is not one",
                    remedy="Express it in the search space, and check the result with the Budget.",
                )
            )
        name = counted_figure(limit.name)
        lows, highs = zip(box.get(name, (None, None)), (limit.low, limit.high), strict=True)
        low = max((v for v in lows if v is not None), default=None)
        high = min((v for v in highs if v is not None), default=None)
        box[name] = (low, high)
    return box


def most_allowed(weights: Mapping[str, int], box: Box) -> float:
    """The largest objective that the limits alone allow; infinite if they do not bound it.

    >>> most_allowed({"macs": 1, "params": -2}, {"macs": (None, 90), "params": (5, None)})
    80
    """
    total: float = 0
    for name, weight in weights.items():
        low, high = box.get(counted_figure(name), (None, None))
        if weight > 0 and high is None:
            return inf
        total += weight * ((high if weight > 0 else low) or 0)
    return total
