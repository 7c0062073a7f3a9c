"""Verdicts as other programs read them: SARIF, JUnit XML and a badge."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetnet import Budget, plan
from budgetnet.budget.limits import Finding
from budgetnet.cli.checks import Check, Outcome
from budgetnet.cli.ci_formats import to_badge, to_junit, to_sarif
from budgetnet.cli.parser import main
from budgetnet.errors import ArgumentError, UnsupportedOp

CONFIG = """
[[tool.budgetnet.check]]
name = "digits"
model = "s6"
receptive_field = 22
params = "14k"
message = "Ask <us> & them."

[[tool.budgetnet.check]]
name = "small"
model = "c16 gap10"
input = "1x9x9"
params = 3_000

[[tool.budgetnet.check]]
name = "broken"
model = "c16 q"
input = "1x9x9"
params = 3
"""
ACCOUNT = plan("c16 gap10", (1, 9, 9), name="small")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcomes_of(verdicts, name="a", message="no rule"):
    findings = tuple(Finding(f"limit {i}", v, 1, "at most 2", reason=message)
                     for i, v in enumerate(verdicts))  # fmt: skip
    check = Check(name, name, file=Path("a b/pyproject.toml"), lines={"": 3})
    return [Outcome(check, ACCOUNT, findings=findings)]


def assert_sarif(log):
    """What the schema of SARIF 2.1.0 requires of each object, and GitHub of a location."""
    assert "2.1.0" == log["version"]
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = [rule["id"] for rule in driver["rules"]]
    assert len({*rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert all(isinstance(each["executionSuccessful"], bool) for each in run["invocations"])
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["ruleId"] in rules
        for location in result.get("locations", ()):
            place = location["physicalLocation"]
            uri = place["artifactLocation"]["uri"]
            assert uri
            assert " " not in uri
            assert place["region"]["startLine"] >= 1
    return run["results"]


def assert_junit(text):
    """What readers of JUnit's format rely on: counts that are right, at most one outcome a test."""
    root = ET.fromstring(text.encode())
    assert "testsuites" == root.tag
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in root:
        assert "testsuite" == suite.tag
        cases = suite.findall("testcase")
        found = {
            "tests": len(cases), "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")), "skipped": 0,
        }  # fmt: skip
        assert found == {name: int(suite.get(name)) for name in found}
        totals = {name: totals[name] + found[name] for name in totals}
        for case in cases:
            assert case.get("name")
            assert case.get("classname")
            assert len(case) <= 1
            assert all(child.get("message") and child.get("type") for child in case)
    assert totals == {name: int(root.get(name)) for name in totals}
    return root


def test_sarif_of_a_project(project, capsys):
    assert 2 == main(["check", "--format", "sarif"])
    over, broken = assert_sarif(json.loads(capsys.readouterr().out))
    assert "params" == over["ruleId"]
    assert "digits: params is 14,372, allowed at most 14,000" in over["message"]["text"]
    (place,) = over["locations"]
    assert "pyproject.toml" == place["physicalLocation"]["artifactLocation"]["uri"]
    line = place["physicalLocation"]["region"]["startLine"]
    assert 'params = "14k"' == CONFIG.splitlines()[line - 1]
    assert "error" == broken["ruleId"]


def test_junit_of_a_project(project, capsys):
    assert 2 == main(["check", "--format", "junit", "-o", "junit.xml"])
    root = assert_junit((project / "junit.xml").read_text(encoding="utf-8"))
    assert ["digits", "small", "broken"] == [suite.get("name") for suite in root]
    digits, small, broken = root
    assert ["params", "receptive_field"] == [case.get("name") for case in digits]
    assert ["over", None] == [c[0].get("type") if len(c) else None for c in digits]
    assert "Ask <us> & them." in digits[0][0].text
    assert CONFIG.splitlines().index('params = "14k"') + 1 == int(digits[0].get("line"))
    assert 0 == len(small[0])
    assert "error" == broken[0][0].tag


def test_without_a_file_nothing_has_a_place(capsys):
    assert 1 == main(["check", "s6", "--params", "14k", "--format", "sarif"])
    (over,) = assert_sarif(json.loads(capsys.readouterr().out))
    assert "locations" not in over
    assert 0 == main(["check", "s6", "--format", "junit"])
    assert "account" == assert_junit(capsys.readouterr().out)[0][0].get("name")


VERDICTS = st.lists(st.sampled_from(["within", "over", "under", "unknown"]), max_size=4)


@given(VERDICTS, st.text(min_size=1), st.text(min_size=1))
def test_any_outcome_and_any_text_make_valid_files(verdicts, name, message):
    outcomes = outcomes_of(verdicts, name, message)
    outcomes.append(Outcome(outcomes[0].check, error=ArgumentError(message)))
    outcomes.append(Outcome(outcomes[0].check, error=UnsupportedOp(message)))
    results = assert_sarif(json.loads(to_sarif(outcomes)))
    bad = [verdict for verdict in verdicts if verdict != "within"]
    assert len(bad) + 2 == len(results)
    root = assert_junit(to_junit(outcomes))
    assert len(bad) == sum(len(case) for case in root[0])
    ET.fromstring(to_badge(outcomes))
    ET.fromstring(to_badge(outcomes[:1]))


@pytest.mark.parametrize(
    ("limits", "words", "colour"),
    [
        ({}, "356 params", "#2f7d32"),
        ({"params": 400}, "within budget, 356 params", "#2f7d32"),
        ({"params": 360}, "within budget, 356 params", "#8a5a00"),
        ({"params": 340}, "params 16 over (4.7 %)", "#b3261e"),
    ],
)
def test_a_badge_says_the_verdict(limits, words, colour):
    findings = Budget(**limits).check(ACCOUNT)
    root = ET.fromstring(to_badge([Outcome(Check("s<6", "s6"), ACCOUNT, findings=findings)]))
    assert f"s<6: {words}" == root.get("aria-label") == root.find(f"{SVG}title").text
    texts = [*root.iter(f"{SVG}text")]
    assert ["s<6", words] == [text.text for text in texts]
    assert colour == [rect.get("fill") for rect in root.iter(f"{SVG}rect")][-1]
    assert int(root.get("width")) > sum(int(text.get("textLength")) for text in texts)


def test_a_badge_of_several_checks_counts_them(project, capsys):
    assert 2 == main(["check", "--format", "badge"])
    assert "budget: 1 of 3 within" == ET.fromstring(capsys.readouterr().out).get("aria-label")


def test_one_run_writes_every_format(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(CONFIG)
    forms = ("json", "sarif", "junit", "badge", "csv", "markdown")
    assert 2 == main(["check", *(f"--save={form}=a={form}" for form in forms)])
    assert "3 checks: " in capsys.readouterr().out
    for form in forms:
        assert 2 == main(["check", "--format", form])
        assert capsys.readouterr().out == Path(f"a={form}").read_text()


@pytest.mark.parametrize("text", ["", "sarif", "sarif=", "=a", "github=a", "srif=a"])
def test_what_cannot_be_saved(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(CONFIG)
    assert 2 == main(["check", "--save", text])
    captured = capsys.readouterr()
    assert "" == captured.out
    assert captured.err.startswith(f"budgetnet: --save {text!r} is not FORMAT=FILE. ")
    assert 1 == len(captured.err.splitlines())
