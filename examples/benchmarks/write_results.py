"""Render docs/results.md from the raw results under docs/results.

python examples/benchmarks/write_results.py
"""

from __future__ import annotations

from pathlib import Path

import accuracy_tables
import cost_tables
from raw_results import DOCS


def render() -> str:
    """The page: the words of results.md.in, with every table put in its place."""
    page = (Path(__file__).parent / "results.md.in").read_text(encoding="utf-8")
    for name, part in (accuracy_tables.PARTS | cost_tables.PARTS).items():
        page = page.replace(f"@{name}@", part())
    return page


if __name__ == "__main__":
    (DOCS / "results.md").write_text(render(), encoding="utf-8")
