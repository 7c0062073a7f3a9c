"""Time and size of reports and diagrams, for networks from small to large.

    pip install -e ".[browser]"
    python examples/benchmarks/reports.py

Medians of calls after a first one; the networks take turns. A chain is planned, others
are traced. A page is ready when Chromium has parsed it and its scripts have run, in a fresh tab;
without Playwright or Chromium that column is left out.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import torch
import torchvision

import budgetnet
import run_folder
from budgetnet import Account
from budgetnet.accounting.table import Column, Table
from budgetnet.report import draw_svg, render_html

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "reports.json"
NETWORKS = ("s6", "resnet50", "densenet121")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
READY = "Number(document.documentElement.dataset.ready)"  # as load.js says it, in milliseconds


def accounter(name: str) -> Callable[[], Account]:
    """A call that accounts for the network `name`."""
    if name not in torchvision.models.list_models():
        return lambda: budgetnet.plan(name)
    model = torchvision.models.get_model(name, weights=None).eval()
    return lambda: budgetnet.account(model, (3, 224, 224), name=name)


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measure(names: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Medians and sizes by network."""
    steps: dict[str, dict[str, Callable[[], Any]]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        count = accounter(name)
        account = count()
        steps[name] = {
            "account_ms": count,
            "page_ms": lambda account=account: render_html(account),
            "diagram_ms": lambda account=account: draw_svg(account),
        }
        page, diagram = render_html(account).encode(), draw_svg(account).encode()
        found[name] = {
            "layers": len(account.layers()),
            "page_bytes": len(page),
            "page_gzip_bytes": len(gzip.compress(page, mtime=0)),
            "diagram_bytes": len(diagram),
        }
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for name in names:
            for step, call in steps[name].items():
                times.setdefault((name, step), []).append(timed(call))
    for (name, step), spent in times.items():
        found[name][step] = statistics.median(spent[1:])
    return found


def ready(names: list[str], rounds: int) -> dict[str, float]:
    """Milliseconds until a page is ready in Chromium; nothing where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if not Path(CHROMIUM).exists():
        return {}
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for name in names:
            Path(folder, f"{name}.html").write_text(render_html(accounter(name)()), "utf-8")
        for _ in range(rounds + 1):
            for name in names:
                tab = browser.new_page()
                tab.goto(Path(folder, f"{name}.html").as_uri(), wait_until="load")
                tab.locator("html[data-ready]").wait_for(state="attached")
                times[name].append(tab.evaluate(READY))
                tab.close()
        browser.close()
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(args.networks, args.rounds)
    for name, ms in ready(args.networks, args.rounds).items():
        found[name]["ready_ms"] = ms
    run_folder.write_json(
        RESULTS,
        {
            "command": f"python examples/benchmarks/reports.py --rounds {args.rounds}",
            "networks": found,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )
    print(table(found).to_text())


def table(found: dict[str, dict[str, Any]]) -> Table:
    names = {
        "layers": "Layers", "account_ms": "Account, ms", "page_ms": "Page, ms",
        "page_bytes": "Page, KiB", "page_gzip_bytes": "gzipped, KiB", "ready_ms": "Ready, ms",
        "diagram_ms": "Diagram, ms", "diagram_bytes": "Diagram, KiB",
    }  # fmt: skip
    kept = [key for key in names if all(key in figures for figures in found.values())]

    def cell(key: str, value: float) -> str:
        if key.endswith("bytes"):
            return f"{value / 1024:,.0f}"
        return f"{value:.3g}" if key.endswith("ms") else str(value)

    rows = [(name, *(cell(key, figures[key]) for key in kept)) for name, figures in found.items()]
    columns = (Column("Network"), *(Column(names[key], numeric=True) for key in kept))
    return Table(columns, tuple(rows))


if __name__ == "__main__":
    main()
