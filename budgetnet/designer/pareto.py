"""The Pareto front of several figures, found by one exact search per point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..accounting.account import Account
from ..errors import SearchStopped
from .answers import Design
from .graph import Box
from .limits import counted_figure
from .objectives import Objective

Corner: TypeAlias = tuple[int | None, ...]  # what each cost must stay below; None: anything


def pareto_front(
    objectives: Sequence[Objective],
    box: Box,
    best: Callable[[dict[str, int], Box], Design | None],
    figure: Callable[[str, Account], int],
) -> tuple[list[Design], bool]:
    """Find a network for every point of the Pareto front of several objectives.

    The second result says whether these are all: a search that is stopped ends the front.

    Every search minimises the sum of all costs below a corner: what it finds is on the front, and
    what is left to search lies below the corners without it (Klamroth, Lacour and Vanderpooten
    2015). A front is finite, and the last corners are empty.
    """
    names = [counted_figure(objective.weights[0][0]) for objective in objectives]
    signs = [-int(objective.weights[0][1]) for objective in objectives]  # of costs: less is better
    weights = {name: -sign for name, sign in zip(names, signs, strict=True)}
    front: list[Design] = []
    corners: list[Corner] = [(None,) * len(objectives)]
    while corners:
        corner = corners.pop(0)
        try:
            design = best(weights, _below(corner, names, signs, box))
        except (KeyboardInterrupt, SearchStopped):
            if not front:
                raise
            corners = [corner]  # not searched, so there may be more
            break
        if design is None:
            continue
        front.append(design)
        costs = tuple(
            sign * figure(name, design.account)
            for name, sign in zip(names, signs, strict=True)
        )  # fmt: skip
        corners = _without(costs, [corner, *corners])
    ordered = sorted(front, key=lambda found: signs[0] * figure(names[0], found.account))
    return ordered, not corners


def _below(corner: Corner, names: Sequence[str], signs: Sequence[int], box: Box) -> Box:
    limits = dict(box)
    for name, sign, bound in zip(names, signs, corner, strict=True):
        if bound is not None:
            low, high = limits.get(name, (None, None))
            if sign > 0:
                high = bound - 1 if high is None else min(high, bound - 1)
            else:
                low = 1 - bound if low is None else max(low, 1 - bound)
            limits[name] = (low, high)
    return limits


def _without(costs: tuple[int, ...], corners: Sequence[Corner]) -> list[Corner]:
    """Corners that together hold what these hold, except the points that `costs` dominates."""
    made: list[Corner] = []
    for corner in corners:
        if all(bound is None or cost < bound for cost, bound in zip(costs, corner, strict=True)):
            made.extend(
                (*corner[:i], cost, *corner[i + 1 :]) for i, cost in enumerate(costs)
            )  # fmt: skip
        else:
            made.append(corner)
    kept = list(dict.fromkeys(made))
    return [c for c in kept if not any(c != other and _holds(other, c) for other in kept)]


def _holds(outer: Corner, inner: Corner) -> bool:
    return all(
        big is None or (small is not None and small <= big)
        for big, small in zip(outer, inner, strict=True)
    )
