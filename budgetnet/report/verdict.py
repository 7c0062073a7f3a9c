"""The verdicts: one bar per limit, or only the figures if there are no limits."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounting.account import Account
from ..budget.figures import FIGURES, Figure, figure_text
from ..budget.limits import Finding
from .markup import Markup, join, tag

_WORDS = {"within": "pass", "over": "fail: over", "under": "fail: under", "unknown": "unknown"}
_SIGNS = {"within": "✓", "over": "✗", "under": "✗", "unknown": "?"}


def verdict_list(account: Account, findings: Sequence[Finding]) -> Markup:
    """A list of limits, each with what is used and allowed; without limits the figures."""
    if not findings:
        return tag("dl", *(_figure(account, figure) for figure in FIGURES.values()), cls="figures")
    failed = sum(not finding.ok for finding in findings)
    total = f"{len(findings)} limit{'s' if len(findings) > 1 else ''}"
    words = f"Within budget: {total} met" if not failed else f"{failed} of {total} not met"
    return join((
        tag("p", words, cls=f"outcome {'bad' if failed else 'good'}"),
        tag("ul", *map(_limit, findings), cls="limits"),
    ))  # fmt: skip


def _figure(account: Account, figure: Figure) -> Markup:
    value = figure_text(figure.read(account))
    return tag("div", tag("dt", figure.label), tag("dd", value), title=figure.meaning)


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
