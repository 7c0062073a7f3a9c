"""Outcomes of checks as other programs read them: SARIF, JUnit XML, and a badge as SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from .._version import __version__
from ..accounting.table import visible
from ..budget.figures import FIGURES
from .checks import Check, Outcome
from .verdicts import Violation, exit_code, violations, within_text

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_COLOURS = {"ok": "#2f7d32", "near": "#8a5a00", "over": "#b3261e", "unknown": "#5f6368"}
_LEVELS = {"unknown": "warning"}
_NARROW = " .,:;ijlIt()[]|'!/"
_FAILURES = ("over", "under")


def to_sarif(outcomes: Sequence[Outcome]) -> str:
    """What fails as SARIF 2.1.0, at the lines to edit; limits that hold give no result."""
    found = [(o.check, violation) for o in outcomes for violation in violations(o)]
    rules = dict.fromkeys(_rule(violation) for _, violation in found)
    run = {
        "tool": {"driver": {
            "name": "budgetnet", "version": __version__,
            "rules": [{"id": r, "shortDescription": {"text": _meaning(r)}} for r in rules],
        }},
        "invocations": [{
            "executionSuccessful": exit_code(outcomes) != 2, "exitCode": exit_code(outcomes),
        }],
        "results": [_result(check, violation) for check, violation in found],
    }  # fmt: skip
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(violation: Violation) -> str:
    return violation.key or ("error" if violation.verdict == "error" else "limit")


def _meaning(rule: str) -> str:
    """What a rule is about, in words."""
    figure = FIGURES.get(rule)
    known = {"growth": "growth over the baseline", "error": "a check that could not be judged"}
    return f"limit of {figure.meaning}" if figure else known.get(rule, f"limit {rule}")


def _result(check: Check, violation: Violation) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": _rule(violation),
        "level": _LEVELS.get(violation.verdict, "error"),
        "message": {"text": f"{check.name}: {violation.message}"},
        "partialFingerprints": {"budgetnet/v1": f"{check.name}/{violation.name}"},
    }
    if check.file:
        place = {"artifactLocation": {"uri": _uri(check.file)},
                 "region": {"startLine": check.line(violation.key)}}  # fmt: skip
        result["locations"] = [{"physicalLocation": place}]
    return result


def _uri(file: Path) -> str:
    """A file relative to the working directory, which CI runs in the root of the repository."""
    try:
        return quote(file.resolve().relative_to(Path.cwd()).as_posix())
    except ValueError:
        return file.resolve().as_uri()


class _Suite(NamedTuple):
    """A suite of JUnit, and what it counts."""

    tests: int
    failures: int
    errors: int
    text: str


def to_junit(outcomes: Sequence[Outcome]) -> str:
    """A suite for each check, with a test for each limit, as JUnit's readers take them."""
    suites = [_suite(outcome) for outcome in outcomes]
    counts = _counts(
        sum(suite.tests for suite in suites), sum(suite.failures for suite in suites),
        sum(suite.errors for suite in suites),
    )  # fmt: skip
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuites name="budgetnet" {counts}>']
    return "\n".join([*lines, *(suite.text for suite in suites), "</testsuites>"])


def _counts(tests: int, failures: int, errors: int) -> str:
    return f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="0"'


def _suite(outcome: Outcome) -> _Suite:
    """A check; a figure that is unknown is an error, as is what could not be judged."""
    bad = iter(violations(outcome))
    tests = [(f.name, f.key, None if f.ok else next(bad)) for f in outcome.findings]
    tests = tests or [("account", "", next(bad, None))]
    cases = [_case(outcome.check, *test) for test in tests]
    failures = sum(v is not None and v.verdict in _FAILURES for *_, v in tests)
    errors = sum(v is not None for *_, v in tests) - failures
    name, counts = _quoted(outcome.check.name), _counts(len(tests), failures, errors)
    head = f"  <testsuite name={name} {counts}>"
    return _Suite(len(tests), failures, errors, "\n".join([head, *cases, "  </testsuite>"]))


def _case(check: Check, name: str, key: str, violation: Violation | None) -> str:
    place = f' file={_quoted(str(check.file))} line="{check.line(key)}"' if check.file else ""
    head = f"    <testcase classname={_quoted(check.name)} name={_quoted(name)}{place}"
    if violation is None:
        return f"{head}/>"
    tag = "failure" if violation.verdict in _FAILURES else "error"
    told = f'<{tag} type="{violation.verdict}" message={_quoted(violation.message)}>'
    text = escape(visible(violation.message))
    return f"{head}>\n      {told}{text}</{tag}>\n    </testcase>"


def _quoted(text: str) -> str:
    return quoteattr(visible(text))


def to_badge(outcomes: Sequence[Outcome]) -> str:
    """A badge for a page: of one check its verdict, of several how many are within."""
    label = outcomes[0].check.name if len(outcomes) == 1 else "budget"
    words, tone = _verdict(outcomes)
    label, words = visible(label), visible(words)
    left, right = (_width(text) + 12 for text in (label, words))
    parts = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f"aria-label={quoteattr(f'{label}: {words}')}>",
        f"<title>{escape(f'{label}: {words}')}</title>",
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>',
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{_COLOURS[tone]}"/></g>',
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">',
        _text(label, 6), _text(words, left + 6), "</g></svg>",
    )  # fmt: skip
    return "\n".join(parts)


def _width(text: str) -> int:
    return sum(4 if sign in _NARROW else 7 for sign in text)


def _text(text: str, x: int) -> str:
    """A text of known length, whatever the font."""
    return f'<text x="{x}" y="14" textLength="{_width(text)}">{escape(text)}</text>'


def _verdict(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """The words of a badge, and their tone."""
    code = exit_code(outcomes)
    tone = {0: "ok", 1: "over", 2: "over", 3: "unknown"}[code]
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    if code == 0 and any(finding.is_near for finding in findings):
        tone = "near"
    if len(outcomes) != 1:
        return within_text(outcomes), tone
    (outcome,) = outcomes
    if outcome.account is None:
        return "error", tone
    broken = [finding for finding in findings if not finding.ok]
    if broken:
        return f"{broken[0].name} {broken[0].headroom_text}", tone
    if findings:
        return f"within budget, {outcome.account.params:,} params", tone
    return f"{outcome.account.params:,} params", tone
