"""Which objective of `design` finds accurate networks: rank correlations, measured by training.

    python examples/benchmarks/objectives.py

Designs networks at several parameter counts for opposite objectives, so that they differ in depth,
width, receptive field and MACs; trains each with one fixed recipe on the first 55,000 training
images; reads the accuracy off the last 5,000 after the last epoch; and correlates every figure of
the account with it by rank (Spearman): over all networks, at about equal parameters, and there
among those with a receptive field of at least 18. Beside it stands how accurate the choice of every
objective is, by its rank at equal parameters. The test images play no part. Results are written
after every network, and networks that the file holds already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from sweep import HELD_OUT, hold_out

import arguments
import budgetnet
import run_folder
from budgetnet import models
from budgetnet.accounting.table import Column, Table
from budgetnet.budget.figures import LISTED
from mnist_data import load
from mnist_s6 import seed_everything
from recipes import RECIPES
from trainer import Training, train

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results" / "objectives.json"
RECIPE = replace(RECIPES["default"], early=0.0, epochs=3)
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
            found = budgetnet.design((1, 28, 28), 10, params=(params * 9 // 10, params), **asked)
            text = ", ".join(f"{name} {value}" for name, value in asked.items())
            yield params, text.removeprefix("objective "), found[0].account


def figures(account: budgetnet.Account) -> dict[str, int]:
    """Every figure as one number."""
    values = {name: LISTED[name].read(account) for name in FIGURE_NAMES}
    return {k: min(v) if isinstance(v, tuple) else int(v or 0) for k, v in values.items()}


def held_out_accuracy(spec: str, seed: int, args: argparse.Namespace) -> float:
    """Percent of the held-out images right after the last epoch of one run."""
    digits = hold_out(load("mnist", args.data_dir))
    generator = seed_everything(seed, arguments.pick_device(args.device))
    rows = list(train(Training(models.build(spec), digits, RECIPE, generator)))
    return float(rows[-1]["test_accuracy"])


def ranks(values: list[float]) -> np.ndarray:
    """Ranks from 0; equals share the mean of theirs."""
    found = np.array(values, float)
    return np.array([(found < v).sum() + ((found == v).sum() - 1) / 2 for v in found])


def spearman(a: list[float], b: list[float]) -> float | None:
    """Rank correlation; None where one of both is constant."""
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


def to_table(networks: list[dict[str, Any]]) -> Table:
    columns = ("Figure", "All", "At equal params", f"and RF >= {WIDE_FIELD}")
    rows = tuple(
        (name, *(signed(row[k]) for k in ("all", "mean_at_equal_params",
                                          "mean_at_equal_params_wide")))
        for name, row in correlations(networks).items()
    )  # fmt: skip
    heads = tuple(Column(name, numeric=i > 0) for i, name in enumerate(columns))
    return Table(heads, rows, f"rank correlation with accuracy, {len(networks)} networks")


def main() -> None:
    parser = argparse.ArgumentParser(description="Which objective finds accurate networks.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    known = {}
    if args.out.exists():
        known = {n["spec"]: n for n in json.loads(args.out.read_text())["networks"]}
    networks: dict[str, dict[str, Any]] = {}
    for level, asked, account in designed():
        spec = account.name
        if spec in networks:
            networks[spec]["asked"].append(asked)
            continue
        if spec in known:
            networks[spec] = known[spec] | {"level": level, "asked": [asked]}
            continue
        networks[spec] = {"spec": spec, "level": level, "asked": [asked], **figures(account)}
    print(f"{len(networks)} networks", flush=True)
    started = time.monotonic()
    for network in networks.values():
        if "accuracy" not in network:
            network["accuracy"] = held_out_accuracy(network["spec"], args.seed, args)
            minutes = (time.monotonic() - started) / 60
            print(f"{minutes:.1f} min  {network['accuracy']:.2f}  {network['spec']}", flush=True)
        done = [n for n in networks.values() if "accuracy" in n]
        result = {
            "command": shlex.join(["python", "examples/benchmarks/objectives.py", *sys.argv[1:]]),
            "epochs": RECIPE.epochs,
            "held_out": HELD_OUT,
            "seed": args.seed,
            "wide_field": WIDE_FIELD,
            "correlations": correlations(done),
            "choices": choices(done),
            "networks": done,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(arguments.pick_device(args.device)),
        }
        run_folder.write_json(args.out, result)
    print(to_table(list(networks.values())).to_text())


if __name__ == "__main__":
    main()
