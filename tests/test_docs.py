"""Every snippet in README and docs runs, and prints what the page says; docstrings likewise."""

import contextlib
import doctest
import importlib
import io
import json
import os
import pkgutil
import re
from pathlib import Path

import pytest

import budgetnet
from budgetnet.checking.config import read_checks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UPDATE = "BUDGETNET_UPDATE_DOCS" in os.environ  # writes what the snippets print into the pages


def run_page(text):
    """Run the python blocks of a page in one namespace; return the page with its real outputs."""
    namespace, printed, pieces, end = {}, None, [], 0
    for block in FENCE.finditer(text):
        language, body = block.groups()
        pieces.append(text[end : block.start()])
        end = block.end()
        if language == "text" and printed is not None:
            body, printed = printed, None
        elif language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, f"<{language} block>", "exec"), namespace)
            printed = out.getvalue() or None
        else:
            assert printed is None, f"the output of a snippet is not shown:\n{printed}"
        pieces.append(f"```{language}\n{body}```")
    assert printed is None, f"the output of a snippet is not shown:\n{printed}"
    return "".join(pieces) + text[end:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_print_what_the_page_says(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = page.read_text(encoding="utf-8")
    actual = run_page(text)
    if UPDATE:
        page.write_text(actual, encoding="utf-8")
    else:
        assert text == actual


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_on_a_page_is_read(page, tmp_path):
    for i, block in enumerate(FENCE.finditer(page.read_text(encoding="utf-8"))):
        if block[1] == "toml":
            file = tmp_path / f"{i}.toml"
            file.write_text(block[2], encoding="utf-8")
            assert read_checks(file)


MODULES = [module.name for module in pkgutil.walk_packages(budgetnet.__path__, "budgetnet.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert 0 == result.failed


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_results_page_is_what_the_raw_results_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
    import write_results

    assert write_results.render() == (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_claim_in_the_example_is_the_measured_one():
    raw = json.loads((ROOT / "docs" / "results" / "default.json").read_text())
    row = raw["summary"]["default"]
    claim = (
        f"is {row['mean']:.3f} % on average over {row['n']} seeds\n"
        f"(sd {row['sd']:.3f}, least {row['least']:.2f};"
    )
    assert claim in (ROOT / "examples" / "mnist_s6.py").read_text(encoding="utf-8")
