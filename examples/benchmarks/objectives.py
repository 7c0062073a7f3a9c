"""Which objective of `design` finds accurate networks: rank correlations, measured by training.

    python examples/benchmarks/objectives.py

Designs networks at several parameter counts for opposite objectives, so that they differ in depth,
width, receptive field and MACs; trains each with one fixed recipe on the first 55,000 training
images; reads the accuracy off the last 5,000 after the last epoch; and correlates every figure of
the account with it by rank (Spearman), over all networks and at about equal parameters. The test
images play no part. Results are written after every network, and networks that the file holds
already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import arguments
import budgetnet
import mnist_s6
import run_folder
from budgetnet import models
from budgetnet.limits import FIGURES
from budgetnet.table import Column, Table
from mnist_data import Split, load

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results" / "objectives.json"
HELD_OUT = 5_000
RECIPE = replace(mnist_s6.RECIPES["default"], early=0.0, epochs=3)
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
FIGURE_NAMES = [name for name in FIGURES if name != "trainable_params"]


def designed() -> Iterator[tuple[int, str, budgetnet.Account]]:
    """Networks with what was asked for them."""
    for params in PARAMETERS:
        for asked in ASKED:
            found = budgetnet.design((1, 28, 28), 10, params=(params * 9 // 10, params), **asked)
            text = ", ".join(f"{name} {value}" for name, value in asked.items())
            yield params, text.removeprefix("objective "), found[0].account


def figures(account: budgetnet.Account) -> dict[str, int]:
    """Every figure as one number."""
    values = {name: FIGURES[name].read(account) for name in FIGURE_NAMES}
    return {k: min(v) if isinstance(v, tuple) else int(v or 0) for k, v in values.items()}


def held_out_accuracy(spec: str, seed: int, args: argparse.Namespace) -> float:
    """Percent of the held-out images right after the last epoch of one run."""
    digits = load("mnist", args.data_dir)
    images, labels = digits.train.images, digits.train.labels
    digits = replace(
        digits,
        train=Split(images[:-HELD_OUT], labels[:-HELD_OUT]),
        test=Split(images[-HELD_OUT:], labels[-HELD_OUT:]),
    )
    generator = mnist_s6.seed_everything(seed, arguments.pick_device(args.device))
    rows = list(mnist_s6.train(models.build(spec), digits, RECIPE, generator))
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


def correlations(networks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of every figure with the accuracy: over all networks, and at each parameter count."""
    found: dict[str, dict[str, Any]] = {}
    for name in FIGURE_NAMES:
        level = {}
        for params in dict.fromkeys(n["level"] for n in networks):
            here = [n for n in networks if n["level"] == params]
            level[str(params)] = spearman([n[name] for n in here], [n["accuracy"] for n in here])
        known = [v for v in level.values() if v is not None]
        found[name] = {
            "all": spearman([n[name] for n in networks], [n["accuracy"] for n in networks]),
            "mean_at_equal_params": sum(known) / len(known) if known else None,
            "at_equal_params": level,
        }
    return found


def to_table(networks: list[dict[str, Any]]) -> Table:
    columns = (Column("Figure"), Column("All", True), Column("At equal params", True),
               Column("By level"))  # fmt: skip
    rows = tuple(
        (
            name,
            f"{row['all']:+.2f}",
            "" if row["mean_at_equal_params"] is None else f"{row['mean_at_equal_params']:+.2f}",
            " ".join("-" if v is None else f"{v:+.2f}" for v in row["at_equal_params"].values()),
        )
        for name, row in correlations(networks).items()
    )
    return Table(columns, rows, f"rank correlation with accuracy, {len(networks)} networks")


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
            "correlations": correlations(done) if len(done) > 2 else {},
            "networks": done,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(arguments.pick_device(args.device)),
        }
        run_folder.write_json(args.out, result)
    print(to_table(list(networks.values())).to_text())


if __name__ == "__main__":
    main()
