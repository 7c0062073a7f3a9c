"""The limits of a Budget as a box of figures for a search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from ..accounting.device.target import Target
from ..budget.budget import Budget
from ..budget.limits import Range
from ..errors import ArgumentError, explain
from .costs import COUNTED, LATENCY, ON_DEVICE, OPTIONAL, PEAK, RAM, Setting
from .graph import Box


def counted_figure(name: str) -> str:
    """The figure that a search counts: every parameter of a design trains.

    Raises:
        ArgumentError: a search does not count it.
    """
    name = "params" if name == "trainable_params" else name
    if name not in (*COUNTED, *OPTIONAL):
        numbers = {"supported": ", ".join((*COUNTED, *OPTIONAL))}
        raise ArgumentError(explain(f"design cannot limit or optimise {name}", numbers=numbers))
    return name


_OF_EAGER = {"ram": PEAK, "flash": "weight_bytes"}  # what eager PyTorch needs


def box_of(budget: Budget) -> Box:
    """The lowest and highest value of every figure that a budget limits.

    Raises:
        ArgumentError: a limit is not on a figure that a search counts, or on the least RAM.
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
        if limit.target and limit.target.runtime == "eager":
            name = _OF_EAGER[name]
        elif name == RAM and limit.low is not None:
            what = f"design accepts only a highest RAM, not {limit.text}"
            raise ArgumentError(explain(what))
        lows, highs = zip(box.get(name, (None, None)), (limit.low, limit.high), strict=True)
        low = max((v for v in lows if v is not None), default=None)
        high = min((v for v in highs if v is not None), default=None)
        box[name] = (low, high)
    return box


def setting_of(budget: Budget, objectives: Iterable[str]) -> Setting:
    """What a search has to count beside the figures of every network.

    Raises:
        ArgumentError: as for the target, or the objective is on a latency without a table.
    """
    objectives = [*objectives]
    tables = list(dict.fromkeys(limit.table for limit in budget.ranges if limit.table))
    if len(tables) > 1:
        numbers = {"got": " and ".join(table.name for table in tables)}
        raise ArgumentError(explain("design counts by one table at a time", numbers=numbers))
    if LATENCY in objectives and not tables:
        remedy = "Add a limit that names one, such as latency='10 s', table='this-machine.json'."
        raise ArgumentError(explain("an objective on latency needs a table", remedy=remedy))
    return Setting(_target_of(budget, objectives), tables[0] if tables else None)


def _target_of(budget: Budget, objectives: Iterable[str]) -> Target | None:
    """The target whose flash and RAM a search has to count; `None` if it counts neither.

    Raises:
        ArgumentError: limits are for several targets, or the objective is on a RAM that depends on
            more than the least that is live.
    """
    targets = {limit.target: limit for limit in budget.ranges
               if limit.target and limit.target.runtime != "eager"}  # fmt: skip
    if len(targets) > 1:
        numbers = {f"limit on {limit.name}": limit.text for limit in targets.values()}
        raise ArgumentError(explain("design counts for one runtime at a time", numbers=numbers))
    asked = [name for name in objectives if name in ON_DEVICE]
    target = next(iter(targets), Target(plan="least") if asked else None)
    if RAM in asked and target and target.plan != "least":
        what = f"design can optimise the RAM of the least plan, not what {target} plans by itself"
        raise ArgumentError(explain(what, remedy='Add plan="least".'))
    return target


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
