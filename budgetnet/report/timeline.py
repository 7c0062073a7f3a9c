"""The memory of a device over the steps of a network: what is where, the peak, a better plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.device.deployment import Deployment, deployment_of
from ..accounting.device.least import LeastMemory
from ..accounting.device.memory import Plan
from ..accounting.device.target import Target
from ..accounting.rows import Row
from ..budget.budget import Budget
from ..errors import UnsupportedOp
from .markup import Markup, join, tag

_LISTED = 4  # buffers at the peak, the largest first
_SECONDS = 1.0  # of the search for a better plan: a report is to be there at once


class Timeline(NamedTuple):
    """What the section says, and what its picture is drawn from; `None` without a picture."""

    body: Markup
    data: dict[str, Any] | None


def timeline(account: Account, layers: Sequence[Row], budget: Budget | None) -> Timeline:
    """Steps, buffers and plans for the runtime of the budget, or for tflm in int8."""
    target, limit = _asked(budget)
    try:
        found = deployment_of(account, target)
    except UnsupportedOp as error:
        words = f"Its memory on {target} is unknown: {error}"
        return Timeline(tag("p", words, cls="note"), None)
    if not found.steps or found.plan is None:
        words = (
            f"{target} plans no memory; its peak is {found.ram_bytes:,} bytes."
            if found.graph is None
            else "No operator runs: what goes in comes out as it is."
        )
        return Timeline(tag("p", words, cls="note"), None)
    least = found.least(_SECONDS)
    return Timeline(_body(found, least, limit), _data(found, least, layers, limit))


def _asked(budget: Budget | None) -> tuple[Target, int | None]:
    """The runtime that a budget names, and its tightest limit on RAM."""
    limits = [limit for limit in (budget.ranges if budget else ()) if limit.target]
    high = [limit.high for limit in limits if limit.name == "ram" and limit.high is not None]
    targets = [limit.target for limit in limits if limit.target is not None]
    return (targets[0] if targets else Target()), min(high, default=None)


def _body(found: Deployment, least: LeastMemory, limit: int | None) -> Markup:
    plans = [("runtime", f"{found.target.runtime}'s plan")]
    if least.plan.size < found.ram_bytes:
        plans.append(("least", "least plan"))
    choice = tag(
        "fieldset",
        tag("legend", "Shown"),
        *(tag("label", tag("input", type="radio", name="plan", value=str(k), checked=k == 0), name)
          for k, (_, name) in enumerate(plans)),
        cls="plans",
    )  # fmt: skip
    words = "Memory of the device over the steps; arrow keys walk through them"
    return join((
        tag("p", *_told(found, least), id="memory-told"),
        _figures(found, least, limit),
        choice if len(plans) > 1 else "",
        _key(found, limit),
        tag("div", "", id="memory-stage", tabindex=0, role="application", aria_label=words,
            aria_describedby="memory-readout"),
        tag("p", "Point at a buffer or a step, or use the arrow keys on the picture.",
            id="memory-readout", aria_live="polite"),
        tag("p", "Of the report's own network; what-if plans no memory.", id="memory-stale",
            cls="note", hidden=True),
        _details("What these figures rest on", found.assumed),
        _details("What a converter may add", found.notes),
        tag("noscript", tag("p", "The picture needs scripts.")),
    ))  # fmt: skip


def _details(title: str, lines: Sequence[str]) -> Markup:
    if not lines:
        return Markup()
    items = (tag("li", f"{line[:1].upper()}{line[1:]}.") for line in lines)
    return tag("details", tag("summary", title), tag("ul", *items), cls="note")


def _told(found: Deployment, least: LeastMemory) -> list[object]:
    """The answer in words: where the peak is, what is in memory there, what a plan saves."""
    peak = found.peak
    assert peak is not None  # there are steps
    at = found.steps.index(peak) + 1
    sizes = [buffer.bytes for buffer in found.plan.buffers] if found.plan else []
    largest = sorted((i for i in peak.live if sizes[i]), key=lambda i: -sizes[i])
    held = ", ".join(f"{found.buffers[i]} {sizes[i]:,}" for i in largest[:_LISTED])
    held += f" and {len(largest) - _LISTED} more" if len(largest) > _LISTED else ""
    saved = found.ram_bytes - least.plan.size
    who = (
        "the least plan takes" if found.target.plan == "least" else f"{found.target.runtime} plans"
    )
    return [
        tag("b", f"The peak is {peak.layer}"),
        f", step {at} of {len(found.steps)}: {peak.bytes:,} bytes are in memory ({held}). ",
        _saving(who, found.ram_bytes, saved, least),
        " Some of it is assumed, see below." if found.assumed else "",
    ]


def _saving(who: str, planned: int, saved: int, least: LeastMemory) -> str:
    is_proven = least.bound == min(planned, least.plan.size)
    proven = "and no plan needs less" if is_proven else "the best that was found"
    if saved <= 0:
        return f"{who} {planned:,} bytes for maps, {proven}."
    order = "" if least.order == tuple(range(len(least.order))) else " in another order of steps"
    share = f"{saved / planned:.1%}".replace("%", " %")
    return (
        f"{who} {planned:,} bytes for maps; a better plan{order} takes "
        f"{least.plan.size:,}, {saved:,} less ({share}), {proven}."
    )


def _figures(found: Deployment, least: LeastMemory, limit: int | None) -> Markup:
    shown = [
        ("RAM", found.ram_bytes, "bytes of maps, as planned", "ram"),
        ("Least plan", least.plan.size, "proven" if least.proven else "found so far", "least"),
        ("Flash", found.flash_bytes, "bytes of weights and biases", "flash"),
    ]
    if found.ram_bound != least.plan.size:
        shown.insert(1, ("Most at one step", found.ram_bound, "bytes, in this order", "bound"))
    if found.persistent_bytes is not None:
        shown.append(
            ("Beside maps", found.persistent_bytes, "bytes of operators, an estimate", "beside")
        )
    if limit is not None:
        over = found.ram_bytes - limit
        words = f"{over:,} over" if over > 0 else f"{-over:,} left"
        shown.append(("RAM allowed", limit, words, "limit"))
    boxes = (
        tag("div", tag("dt", label), tag("dd", f"{value:,}", tag("span", words),
                                         data_memory=name, data_value=value))
        for label, value, words, name in shown
    )  # fmt: skip
    return join((
        tag("p", f"For {found.target}, with {found.target.kernels} kernels.", cls="note"),
        tag("dl", *boxes, cls="memory-figures"),
    ))  # fmt: skip


def _key(found: Deployment, limit: int | None) -> Markup:
    """What the colours and lines of the picture mean."""
    entries = [
        ("map", "a map, from the step that writes it to the last that reads it"),
        ("at-peak", "in memory at the peak"),
        *([("scratch", "scratch of a kernel")] if found.scratch_bytes else []),
        ("planned", "as planned"),
        ("bound", "most at one step"),
        *([("allowed", "allowed")] if limit is not None else []),
    ]
    items = (tag("li", tag("i", "", cls=name), words) for name, words in entries)
    return tag("ul", *items, cls="memory-key")


def _data(
    found: Deployment, least: LeastMemory, layers: Sequence[Row], limit: int | None
) -> dict[str, Any]:
    """For the script: names are numbers of layers where they are a layer's."""
    number = {row.path or row.kind: i for i, row in reversed([*enumerate(layers)])}
    assert found.plan is not None  # there are steps
    plans = [_placed(found.plan, range(len(found.steps)), found.buffers, number)]
    if least.plan.size < found.ram_bytes:  # steps are in the order of operators, if not planned so
        asked = found.graph.scratch if found.graph else ()
        own = [f"scratch of {found.steps[k].layer}" for k in least.order if asked for _ in asked[k]]
        names = (*found.buffers[: len(found.buffers) - len(own)], *own)
        plans.append(_placed(least.plan, least.order, names, number))
    steps = [[number.get(step.layer, step.layer), step.operator] for step in found.steps]
    return {"steps": steps, "plans": plans, "limit": limit}


def _placed(
    plan: Plan, order: Sequence[int], names: Sequence[str], number: dict[str, int]
) -> dict[str, Any]:
    """A plan: of every buffer its steps, offset, bytes and name."""
    at = [
        [buffer.first, buffer.last, offset, buffer.bytes, number.get(name, name)]
        for buffer, offset, name in zip(plan.buffers, plan.offsets, names, strict=True)
    ]
    return {"size": plan.size, "order": list(order), "at": at}
