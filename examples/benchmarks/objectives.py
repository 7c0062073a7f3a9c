"""Which objective of `design` finds accurate networks: rank correlations, measured by training.

    python examples/benchmarks/sweep.py objective_runs
    python examples/benchmarks/objectives.py

The first trains networks that were designed at several parameter counts for opposite objectives, so
that they differ in depth, width, receptive field and MACs: on every data set with one fixed recipe,
over several seeds, read off held-out training images after the last epoch. The test images play no
part. The second correlates every figure of the account with the mean of the seeds by rank
(Spearman): over all networks, at about equal parameters, and there among those with a receptive
field of at least 18. Beside it stands how accurate the choice of every objective is, by its rank at
equal parameters.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from jobs import IMAGE, Job

import budgetnet
import run_folder
from budgetnet.accounting.table import Column, Table
from budgetnet.budget.figures import LISTED
from recipes import RECIPES

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results"
RECIPE = replace(RECIPES["default"], early=0.0, epochs=3)
# So many epochs as give a few hundred steps at least; the digits are 1,437 images.
EPOCHS = {"mnist": 3, "fashion-mnist": 3, "digits": 40}
SEEDS = 3
PARAMETERS = (1_200, 3_000, 8_000, 20_000)
# Each pulls towards another corner of the space; the least share of parameters keeps them level.
ASKED: tuple[dict[str, Any], ...] = (
    {"objective": "max macs"},
    {"objective": "min macs"},
    {"objective": "max depth"},
    {"objective": "min depth"},
    {"objective": "max receptive_field"},
    {"objective": "min receptive_field"},
    {"objective": "max macs", "receptive_field": 28, "depth": (8, 12)},
    {"objective": "max macs", "receptive_field": (18, 26), "depth": (6, 8)},
)
WIDE_FIELD = 18
FIGURE_NAMES = [name for name in LISTED if name != "trainable_params"]


def designed() -> Iterator[tuple[int, str, budgetnet.Account]]:
    """Networks with what was asked for them."""
    for params in PARAMETERS:
        for asked in ASKED:
            found = budgetnet.design(IMAGE, 10, params=(params * 9 // 10, params), **asked)
            text = ", ".join(f"{name} {value}" for name, value in asked.items())
            yield params, text.removeprefix("objective "), found[0].account


@cache
def networks() -> dict[str, dict[str, Any]]:
    """The distinct ones by spec: level, what was asked, and every figure."""
    found: dict[str, dict[str, Any]] = {}
    for level, asked, account in designed():
        network = {"spec": account.name, "level": level, "asked": [], **figures(account)}
        found.setdefault(str(account.name), network)["asked"].append(asked)
    return found


def jobs() -> Iterable[Job]:
    """Every network on every data set."""
    for dataset, epochs in EPOCHS.items():
        recipe = replace(RECIPE, epochs=epochs)
        for spec in networks():
            name = f"{dataset}: {spec}"
            yield Job(name, spec, recipe, SEEDS, dataset=dataset, held_out=True, amp=False)


def figures(account: budgetnet.Account) -> dict[str, int]:
    """Every figure as one number."""
    values = {name: LISTED[name].read(account) for name in FIGURE_NAMES}
    return {k: min(v) if isinstance(v, tuple) else int(v or 0) for k, v in values.items()}


def ranks(values: list[float]) -> np.ndarray:
    """Ranks from 0; equals share the mean of theirs."""
    found = np.array(values, float)
    return np.array([(found < v).sum() + ((found == v).sum() - 1) / 2 for v in found])


def spearman(a: list[float], b: list[float]) -> float | None:
    """Rank correlation; None of fewer than three, or where one of both is constant."""
    if len(a) < 3:
        return None
    one, two = ranks(a), ranks(b)
    if not one.std() or not two.std():
        return None
    return float(np.corrcoef(one, two)[0, 1])


def levels(networks: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Networks by the parameters that they were designed for."""
    names = dict.fromkeys(str(n["level"]) for n in networks)
    return {name: [n for n in networks if str(n["level"]) == name] for name in names}


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def correlations(networks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every figure with the accuracy."""

    def of(name: str, some: list[dict[str, Any]]) -> float | None:
        return spearman([n[name] for n in some], [n["accuracy"] for n in some])

    found: dict[str, dict[str, Any]] = {}
    wide = [n for n in networks if n["receptive_field"] >= WIDE_FIELD]
    for name in FIGURE_NAMES:
        level = {params: of(name, some) for params, some in levels(networks).items()}
        wide_level = {params: of(name, some) for params, some in levels(wide).items()}
        found[name] = {
            "all": of(name, networks),
            "mean_at_equal_params": mean(level.values()),
            "at_equal_params": level,
            "mean_at_equal_params_wide": mean(wide_level.values()),
            "at_equal_params_wide": wide_level,
        }
    return found


def choices(networks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every objective: accuracy and rank, 1 being the best, of its network at each level."""
    found: dict[str, dict[str, Any]] = {}
    for params, some in levels(networks).items():
        accuracies = [n["accuracy"] for n in some]
        places = len(some) - ranks(accuracies)
        for network, place in zip(some, places, strict=True):
            for asked in network["asked"]:
                row = found.setdefault(asked, {"accuracy": {}, "rank": {}})
                row["accuracy"][params] = network["accuracy"]
                row["rank"][params] = float(place)
    for row in found.values():
        row["mean_rank"] = mean(row["rank"].values())
    return dict(sorted(found.items(), key=lambda item: item[1]["mean_rank"]))


def signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def to_table(networks: list[dict[str, Any]], dataset: str) -> Table:
    columns = ("Figure", "All", "At equal params", f"and RF >= {WIDE_FIELD}")
    rows = tuple(
        (name, *(signed(row[k]) for k in ("all", "mean_at_equal_params",
                                          "mean_at_equal_params_wide")))
        for name, row in correlations(networks).items()
    )  # fmt: skip
    heads = tuple(Column(name, numeric=i > 0) for i, name in enumerate(columns))
    return Table(
        heads, rows, f"rank correlation with accuracy on {dataset}, {len(networks)} networks"
    )


def main() -> None:
    source = RESULTS / "objective_runs.json"
    if not source.exists():
        raise SystemExit(f"no {source}: run sweep.py objective_runs first")
    trained = json.loads(source.read_text(encoding="utf-8"))
    accuracies: dict[str, list[float]] = {}
    for run in sorted(trained["runs"], key=lambda run: run["seed"]):
        accuracies.setdefault(run["name"], []).append(run["last"])
    datasets = {}
    for dataset, epochs in EPOCHS.items():
        rows = []
        for spec, network in networks().items():
            seeds = accuracies.get(f"{dataset}: {spec}", [])
            if seeds:
                rows.append(network | {"accuracy": statistics.mean(seeds), "accuracies": seeds})
        if not rows:
            continue
        found = {"correlations": correlations(rows), "choices": choices(rows)}
        datasets[dataset] = {"epochs": epochs, **found, "networks": rows}
        print(to_table(rows, dataset).to_text())
    result = {
        "command": "python examples/benchmarks/objectives.py",
        "trained_by": trained["command"],
        "wide_field": WIDE_FIELD,
        "datasets": datasets,
        "machines": trained["machines"],
    }
    run_folder.write_json(RESULTS / "objectives.json", result)


if __name__ == "__main__":
    main()
