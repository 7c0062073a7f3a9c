"""Time one full account of a network, beside its plan and torchinfo, in one run on one thread.

    pip install torchinfo
    python examples/benchmarks/accounting.py

Medians after a first call, which pays for imports and caches and is reported by itself. The tools
take turns, ten calls each, so that a change of the machine's speed meets all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import torch
import torchinfo

import budgetnet
import run_folder
from budgetnet import models
from budgetnet.table import Column, Table

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "accounting.json"


def tools(name: str) -> dict[str, Callable[[], object]]:
    """Every way to count the network `name`, as a call without arguments."""
    reference = models.get_reference(name)
    shape = reference.input_shape
    model = models.get_model(name)
    return {
        "budgetnet.plan": lambda: budgetnet.plan(reference.spec, shape),
        "budgetnet.account": lambda: budgetnet.account(model, shape),
        "budgetnet.account, rules only": lambda: budgetnet.account(model, shape, shortcuts=False),
        "torchinfo.summary": lambda: torchinfo.summary(model, (1, *shape), verbose=0),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, object]]:
    """First call and median of the later ones, in milliseconds, for every tool."""
    first = {name: timed(call) for name, call in calls.items()}
    later: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            later[name].extend(timed(call) for _ in range(10))
    return [
        {
            "tool": name,
            "first_ms": first[name],
            "median_ms": statistics.median(later[name]),
            "least_ms": min(later[name]),
        }
        for name in calls
    ]


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="s6", choices=models.list_models())
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(tools(args.model), args.rounds)
    run_folder.write_json(
        RESULTS,
        {
            "command": f"python examples/benchmarks/accounting.py --rounds {args.rounds}",
            "model": args.model,
            "rows": rows,
            "versions": run_folder.versions() | {"torchinfo": torchinfo.__version__},
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )
    columns = (Column("Tool"), Column("First call, ms", True), Column("Median, ms", True))
    columns += (Column("Least, ms", True),)
    figures = ("first_ms", "median_ms", "least_ms")
    cells = tuple((str(row["tool"]), *(f"{row[key]:.3f}" for key in figures)) for row in rows)
    print(Table(columns, cells, title=f"One account of {args.model}, one thread").to_text())


if __name__ == "__main__":
    main()
