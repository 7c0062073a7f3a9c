"""Render docs/results.md, docs/audit.md and a part of README.md from the files in docs/results.

python examples/benchmarks/write_results.py

A template holds the words; `{{ ... }}` in it is an expression of the functions that make tables.
"""

from __future__ import annotations

import re
from pathlib import Path

import accuracy_tables
import cost_tables
import deployment_tables
import latency_tables
import raw_results
import summary_tables
import training_tables
from raw_results import DOCS

README = DOCS.parent / "README.md"
MODULES = (
    raw_results, accuracy_tables, cost_tables, deployment_tables, latency_tables, summary_tables,
    training_tables,
)  # fmt: skip
NAMES = {name: part for module in MODULES for name, part in vars(module).items()}


def render(page: str) -> str:
    """A page: the words of its template, with every table and number put in its place."""
    template = (Path(__file__).parent / f"{page}.in").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (.+?) \}\}", lambda found: str(eval(found[1], dict(NAMES))), template)


def pages() -> dict[Path, str]:
    """Every file that has results, and what it should say."""
    found = {DOCS / name: render(name) for name in ("results.md", "audit.md")}
    before, rest = README.read_text(encoding="utf-8").split("<!-- measured -->\n")
    after = rest[rest.index("<!-- end -->") :]
    return found | {README: f"{before}<!-- measured -->\n{render('measured.md')}{after}"}


if __name__ == "__main__":
    for path, page in pages().items():
        path.write_text(page, encoding="utf-8")
