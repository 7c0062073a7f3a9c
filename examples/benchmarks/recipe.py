"""What each choice of the recipes is worth, measured away from the test set.

    python examples/benchmarks/recipe.py --jobs 16

Every variant trains on the first 55,000 training images and is read off the last 5,000 after its
last epoch, over several seeds; the 10,000 test images play no part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

import arguments
import mnist_s6
import run_folder
from budgetnet import models
from mnist_data import Affine, Split, load

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results" / "recipe_choices.json"
HELD_OUT = 5_000
DEFAULT, REPORT = mnist_s6.RECIPES["default"], mnist_s6.RECIPES["report"]
FULL = replace(DEFAULT, early=0.0)
VARIANTS = {
    "default": DEFAULT,
    "24 pixels for 3 epochs": replace(DEFAULT, early=0.6),
    "22 pixels for 4 epochs": replace(DEFAULT, early_side=22),
    "22 pixels for 3 epochs": replace(DEFAULT, early=0.6, early_side=22),
    "full size": FULL,
    "full size, 3 epochs": replace(FULL, epochs=3),
    "full size, 4 epochs": replace(FULL, epochs=4),
    "full size, peak learning rate 0.1": replace(FULL, lr=0.1),
    "full size, peak learning rate 0.4": replace(FULL, lr=0.4),
    "full size, no augmentation": replace(FULL, augment=Affine()),
    "report": REPORT,
    "report without momentum": replace(REPORT, momentum=0.0),
}


def held_out_accuracy(name: str, seed: int, device_name: str, data_dir: Path | None) -> float:
    """Percent of the held-out images right after the last epoch of one run."""
    digits = load("mnist", data_dir)
    images, labels = digits.train.images, digits.train.labels
    digits = replace(
        digits,
        train=Split(images[:-HELD_OUT], labels[:-HELD_OUT]),
        test=Split(images[-HELD_OUT:], labels[-HELD_OUT:]),
    )
    generator = mnist_s6.seed_everything(seed, arguments.pick_device(device_name))
    rows = list(mnist_s6.train(models.get_model("s6"), digits, VARIANTS[name], generator))
    return float(rows[-1]["test_accuracy"])


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Accuracies of every variant, one a seed."""
    context = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        runs = {
            name: [
                pool.submit(held_out_accuracy, name, seed, args.device, args.data_dir)
                for seed in range(args.seeds)
            ]
            for name in sorted(args.variants, key=lambda name: -VARIANTS[name].epochs)
        }
        return {name: [run.result() for run in runs[name]] for name in args.variants}


def main() -> None:
    parser = argparse.ArgumentParser(description="What each choice of the recipes is worth.")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    accuracies = measure(args)
    table = Table("recipe", "held-out %, mean", "sd", "min")
    summary: dict[str, dict[str, Any]] = {}
    for name, values in accuracies.items():
        mean, sd = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
        summary[name] = {"mean": round(mean, 3), "sd": round(sd, 3), "accuracies": values}
        table.add_row(name, f"{mean:.3f}", f"{sd:.3f}", f"{min(values):.2f}")
    Console().print(table)
    result = {
        "command": shlex.join(["python", "examples/benchmarks/recipe.py", *sys.argv[1:]]),
        "held_out": HELD_OUT,
        "seeds": args.seeds,
        "variants": summary,
        "versions": run_folder.versions(),
        "hardware": run_folder.hardware(arguments.pick_device(args.device)),
    }
    run_folder.write_json(args.out, result)


if __name__ == "__main__":
    main()
