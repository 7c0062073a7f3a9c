"""The verdict card: passed or over by how much, who holds most, and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounting.account import Account
from ..accounting.rows import Row
from ..budget.advice import Advice
from ..budget.figures import FIGURES, LISTED, Figure, figure_text
from ..budget.limits import Finding
from .grouping import short_name, stages
from .markup import Markup, tag
from .words import holding, short

_WORDS = {"within": "pass", "over": "fail: over", "under": "fail: under", "unknown": "unknown"}
_SIGNS = {"within": "✓", "over": "✗", "under": "✗", "unknown": "?"}


def verdict_card(
    account: Account,
    layers: Sequence[Row],
    findings: Sequence[Finding],
    advice: Advice,
    editable: str = "",
) -> Markup:
    """The card; `editable` is the text of the advised change, if the page can plan it."""
    heading = tag("h2", headline(findings), id="verdict-title")
    cls = "none" if not findings else "good" if all(f.ok for f in findings) else "bad"
    reasons = tag("ul", *(tag("li", line) for line in advice.lines), cls="reasons")
    return tag(
        "section",
        heading,
        tag("p", *_holders(account, layers, findings), cls="holders"),
        _change(advice, editable),
        tag("ul", *map(_limit, findings), cls="limits") if findings else "",
        tag("dl", *(_figure(account, name, figure) for name, figure in LISTED.items()),
            cls="figures"),
        tag("details", tag("summary", "Why, as check --why says it"), reasons, id="why"),
        id="verdict", cls=cls, aria_labelledby="verdict-title",
    )  # fmt: skip


def headline(findings: Sequence[Finding]) -> str:
    """What the findings come to, with the amounts that are beyond a limit.

    >>> headline([Finding("params", "over", 9, "at most 8", -1, 8, figure="params")])
    'OVER by 1 params'
    """
    if not findings:
        return "No limits given"
    failed = [finding for finding in findings if not finding.ok]
    count = f"{len(findings)} limit{'s' * (len(findings) > 1)}"
    if not failed:
        return f"Within budget: {count} met"
    words = "; ".join(map(_beyond, failed[:3]))
    rest = f"; {len(failed) - 3} more" if len(failed) > 3 else ""
    return words[0].upper() + words[1:] + rest


def _beyond(finding: Finding) -> str:
    """One limit that is not met, in words."""
    if finding.verdict == "unknown" or finding.headroom is None:
        return f"{_title(finding)}: {_WORDS[finding.verdict].removeprefix('fail: ')}"
    amount = figure_text(abs(finding.headroom), finding.figure)
    label = FIGURES[finding.figure].label if finding.figure else finding.name
    word = finding.verdict.upper()
    if label in ("receptive field", "depth"):
        return f"{label} {word} by {amount}"
    unit = f"bytes of {label}" if label in ("flash", "RAM") else label
    return f"{word} by {amount} {unit}"


def _holders(account: Account, layers: Sequence[Row], findings: Sequence[Finding]) -> list[str]:
    """Who holds most of what is over, or of parameters and MACs; and how the budget did."""
    drivers = [FIGURES[f.figure].driver for f in findings if f.verdict == "over" and f.figure]
    kinds = [kind for kind in ("params", "macs") if kind in drivers] or ["params", "macs"]
    of_stage = stages(layers)
    names = [*dict.fromkeys(of_stage)]
    said = []
    for kind in kinds:
        costs: dict[str, int | None] = dict.fromkeys(names, 0)
        for stage, row in zip(of_stage, layers, strict=True):
            now, more = costs[stage], row.params if kind == "params" else row.macs
            costs[stage] = None if now is None or more is None else now + more
        words = holding([*map(short_name, names)], [*costs.values()])
        if words:
            said.append(f"{words} of the {'parameters' if kind == 'params' else 'MACs'}. ")
    failed = sum(not finding.ok for finding in findings)
    if failed:
        said.append(f"{failed} of {len(findings)} limit{'s' * (len(findings) > 1)} not met.")
    return said


def _change(advice: Advice, editable: str) -> Markup:
    """The cheapest change, with a button that tries it where the page can."""
    if advice.change is None:
        return Markup()
    change, made = advice.change, advice.change.account
    words = change.text.replace(f" would ({change.spec})", "")
    field = figure_text(FIGURES["receptive_field"].read(made))
    gives = f"{made.params:,} params, {short(made.macs or 0)} MACs, receptive field {field}"
    button = tag("button", "Try it", type="button", id="try", data_spec=editable)
    others = f" {change.alternatives - 1:,} other single changes would do as well."
    return tag(
        "p", tag("b", f"{words[0].upper()}{words[1:]}"), f": {gives}.",
        others * (change.alternatives > 1) + " ", button if editable else "", cls="change",
    )  # fmt: skip


def _figure(account: Account, name: str, figure: Figure) -> Markup:
    value = figure.read(account)
    exact = figure_text(value)
    text = short(value) if isinstance(value, int) else exact
    number = tag("dd", text, title=None if text == exact else exact)
    return tag("div", tag("dt", figure.label), number, title=figure.meaning, data_figure=name)


def _limit(finding: Finding) -> Markup:
    cls = "unknown" if finding.verdict == "unknown" else "good" if finding.ok else "bad"
    return tag(
        "li",
        tag("span", _title(finding), cls="limit"),
        tag("span", _SIGNS[finding.verdict] + " ", _WORDS[finding.verdict], cls="verdict"),
        _bar(finding),
        tag("span", f"{finding.measured_text}, {finding.limit} ",
            tag("span", finding.headroom_text, cls="headroom"), cls="used"),
        cls=cls, data_limit=finding.name, data_verdict=finding.verdict,
    )  # fmt: skip


def _bar(finding: Finding) -> Markup:
    """Used against allowed, on a scale that holds both; a mark stands where the limit is."""
    measured, bound = finding.measured, finding.bound
    if isinstance(measured, tuple):
        # The axis that decides: the shortest against a minimum, the longest against a maximum.
        sizes = measured or (0,)
        is_least = bound is not None and finding.headroom == min(sizes) - bound
        measured = min(sizes) if is_least else max(sizes)
    if not isinstance(measured, int) or bound is None:
        return tag("span", "", cls="bar none")
    scale = max(measured, bound, 1)
    used, mark = 100 * measured / scale, 100 * bound / scale
    return tag(
        "span",
        tag("span", "", cls="fill", style=f"width:{used:.2f}%"),
        tag("span", "", cls="mark", style=f"left:{mark:.2f}%"),
        cls="bar", aria_hidden="true",
    )  # fmt: skip


def _title(finding: Finding) -> str:
    """A limit as people write it."""
    if not finding.figure:
        return finding.name
    label = FIGURES[finding.figure].label
    return f"growth of {label}" if finding.key == "growth" else label
