"""The cost strips: the whole network as one bar, a segment for each layer, as wide as it costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.rows import Row, layer_places
from ..budget.budget import Budget
from ..budget.limits import Range
from ..spec.chains import Chain
from ..spec.plan import live_bytes
from .grouping import short_name, stages
from .markup import Markup, join, tag
from .words import short

Costs = Sequence[int | None]


class Cost(NamedTuple):
    """One cost of a network: its name, what each layer pays, the total and the least limit."""

    name: str
    label: str
    values: Costs
    total: int | None
    limit: int | None = None
    adds_up: bool = True


def costs_of(
    account: Account, layers: Sequence[Row], live: Costs, budget: Budget | None
) -> list[Cost]:
    """MACs and parameters, and the memory of activations where it is known."""
    peak = account.peak_activation_bytes
    found = [
        Cost("macs", "MACs", [row.macs for row in layers], account.macs, _limit(budget, "macs")),
        Cost("params", "Parameters", [row.params for row in layers], account.params,
             _limit(budget, "params")),
    ]  # fmt: skip
    if live:
        label = "Live memory, bytes in float32"
        allowed = _limit(budget, "peak_activation_bytes")
        found.append(Cost("live", label, live, peak, allowed, adds_up=False))
    return found


def live_of(account: Account, layers: Sequence[Row], chain: Chain | None) -> list[int]:
    """Bytes of activations alive while each layer runs, if the plan of its spec tells; else []."""
    if chain is None or chain.planned.peak_activation_bytes != account.peak_activation_bytes:
        return []
    places = layer_places(chain.planned.rows)
    most = [0] * (max(places) + 1)
    for place, live in zip(places, live_bytes(chain.spec, account.input_shape), strict=True):
        most[max(place, 0)] = max(most[max(place, 0)], live)
    return most if len(most) == len(layers) else []


class Network(NamedTuple):
    """A network's name, its layers, and what they cost."""

    name: str
    layers: Sequence[Row]
    costs: Sequence[Cost]


def strips(one: Network, other: Network | None = None) -> Markup:
    """A strip for each cost; with another network one below it, on the same scale."""
    rest = {cost.name: cost for cost in other.costs} if other else {}
    out = []
    for cost in one.costs:
        below = rest.get(cost.name)
        totals = [c.total or 0 for c in (cost, below) if c]
        scale = max(*totals, cost.limit or 0, 1)
        parts = [_head(cost), _strip(cost, one.layers, scale)]
        if other and below:
            told = f"{other.name}: {_total(below)} {cost.label}"
            parts.append(
                tag("p", f"against {other.name}: ", tag("b", _total(below)), cls="of-other")
            )
            parts.append(tag("div", *_segments(below, other.layers, scale), role="img",
                             cls=f"strip other {cost.name}", aria_label=told))  # fmt: skip
        out.append(tag("div", *parts, cls="cost", data_cost=cost.name, data_high=cost.limit))
    hint = "Point at a segment for its name; a click selects the layer."
    return join((*out, tag("p", hint, id="cost-readout", cls="note")))


def _head(cost: Cost) -> Markup:
    allowed = "" if cost.limit is None else f" of at most {short(cost.limit)}"
    return tag(
        "p", tag("b", cost.label), " ",
        tag("span", _total(cost), cls="total", title=_exact(cost.total)),
        tag("span", allowed, title=_exact(cost.limit), cls="allowed"), cls="cost-head",
    )  # fmt: skip


def _strip(cost: Cost, layers: Sequence[Row], scale: int) -> Markup:
    words = f"{cost.label} by layer; the arrow keys select"
    most = len(layers)
    bar = tag("div", *_segments(cost, layers, scale), cls=f"strip {cost.name}", role="slider",
              tabindex=0, aria_label=words, aria_valuemin=1, aria_valuemax=max(most, 1),
              aria_valuenow=1)  # fmt: skip
    line: Markup | str = ""
    if cost.limit is not None:
        at = f"{100 * cost.limit / scale:.2f}%"
        line = tag("span", "", cls="limit-at", style=f"{'left' if cost.adds_up else 'bottom'}:{at}")
        if cost.adds_up:  # what is beyond the limit is hatched
            over = max(0, 100 * ((cost.total or 0) - cost.limit) / scale)
            line += tag("span", "", cls="beyond", style=f"left:{at};width:{over:.2f}%")
    names = tag("div", *_names(cost, layers, scale), cls="stage-names", aria_hidden="true")
    frame = tag("div", bar, line, cls="strip-frame")
    return join((frame, names if cost.adds_up else ""))


def _segments(cost: Cost, layers: Sequence[Row], scale: int) -> list[Markup]:
    """A segment for each layer that costs anything; stages take turns in their shade."""
    of_stage = stages(layers)
    turn = {stage: i % 2 for i, stage in enumerate(dict.fromkeys(of_stage))}
    out, before = [], ""
    for i, (value, stage) in enumerate(zip(cost.values, of_stage, strict=True)):
        if value:
            size = f"flex:{value}" if cost.adds_up else f"height:{100 * value / scale:.1f}%"
            cls = " ".join(["odd"] * turn[stage] + ["first"] * (stage != before))
            out.append(tag("i", data_layer=i, cls=cls or None, style=size))
            before = stage
    if cost.adds_up and (spare := scale - sum(v or 0 for v in cost.values)) > 0:
        out.append(tag("i", cls="spare", style=f"flex:{spare}"))
    return out


def _names(cost: Cost, layers: Sequence[Row], scale: int) -> list[Markup]:
    """The names of stages below their segments; a script hides those without room."""
    pairs = zip(stages(layers), cost.values, strict=True)
    out, used = [], 0
    for stage, group in groupby(pairs, key=lambda pair: pair[0]):
        size = sum(value or 0 for _, value in group)
        used += size
        if size:
            name = short_name(stage) if 120 * size >= scale * len(short_name(stage)) else ""
            out.append(tag("span", name, style=f"flex:{size}"))
    return [*out, tag("span", style=f"flex:{scale - used}")] if scale > used else out


def _limit(budget: Budget | None, name: str) -> int | None:
    limits = budget.limits if budget else ()
    highs = [x.high for x in limits if isinstance(x, Range) and x.name == name]
    return min((high for high in highs if high is not None), default=None)


def _total(cost: Cost) -> str:
    return "unknown" if cost.total is None else short(cost.total)


def _exact(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"
