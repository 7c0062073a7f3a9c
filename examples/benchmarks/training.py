"""Training speed of the example beside the customary course set-up, in one run.

    python examples/benchmarks/training.py                 # images per second, side by side
    python examples/benchmarks/training.py --to-target     # and epochs and seconds to 99.4 %

Both sides train the same network with the same batch size on the same machine. The course set-up
augments one PIL image at a time in a DataLoader, keeps torch's default memory format and
optimiser, and reads the loss off the device at every step, as course notebooks do; it runs without
worker processes, which is the rule on a CPU, and with 4 (or as many as there are cores, if fewer),
which is the rule beside a GPU. The sides take turns, so that a slow minute of the machine falls on
all of them; medians are reported.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import arguments
import mnist_s6
import run_folder
from budgetnet import models
from mnist_data import MEAN, STD, Digits, Split, load

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results"
WARM_UP = 5  # steps that are not timed
WHOLE, EARLY, LATE = (f"example, default recipe{part}" for part in ("", ", early", ", late"))
WORKERS = (0, min(4, os.cpu_count() or 1))


class Stopwatch:
    """Images per second between the end of the warm-up and the last step."""

    def __init__(self, device: torch.device, batch_size: int, steps: int) -> None:
        self.device, self.batch_size, self.steps = device, batch_size, steps
        self.times: dict[int, float] = {}

    def step(self, number: int) -> None:
        if number in (WARM_UP, self.steps):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.times[number] = time.perf_counter()

    @property
    def images_per_second(self) -> float:
        images = (self.steps - WARM_UP) * self.batch_size
        return images / (self.times[self.steps] - self.times[WARM_UP])


def ours(digits: Digits, recipe: mnist_s6.Recipe, watch: Stopwatch, early: bool = False) -> None:
    """One epoch of the example's own training loop, an early one or a late one."""
    generator = mnist_s6.seed_everything(0, watch.device)
    once = replace(recipe, epochs=1, early=float(early))
    rows = mnist_s6.train(
        models.get_model("s6"), digits, once, generator, lambda _, step, *rest: watch.step(step)
    )
    next(rows)


class PilDigits(Dataset[tuple[Tensor, int]]):
    """What `torchvision.datasets.MNIST` does with an image: PIL, then the transforms."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images[:, 0], split.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
                transforms.Resize((28, 28)),
                transforms.RandomRotation((-15.0, 15.0), fill=0),
                transforms.ToTensor(),
                transforms.Normalize((MEAN,), (STD,)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


def course(digits: Digits, recipe: mnist_s6.Recipe, watch: Stopwatch, workers: int) -> None:
    """One epoch as course notebooks write it."""
    torch.manual_seed(0)
    model = models.get_model("s6").to(watch.device)
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum)
    loader = DataLoader(
        PilDigits(digits.train),
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=watch.device.type == "cuda",
    )
    model.train()
    for step, (images, labels) in enumerate(loader, start=1):
        images, labels = images.to(watch.device), labels.to(watch.device)
        optimizer.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        loss.item()
        (logits.argmax(1) == labels).sum().item()
        watch.step(step)


def throughput(digits: Digits, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """Median images per second of every side, and the example's ratio to each."""
    default, report = mnist_s6.RECIPES["default"], mnist_s6.RECIPES["report"]
    few = replace(
        digits,
        train=Split(*(t[: steps * default.batch_size] for t in vars(digits.train).values())),
        test=Split(*(t[:1000] for t in vars(digits.test).values())),
    )
    steps = mnist_s6.steps_per_epoch(few.train, default)
    if steps <= WARM_UP:
        raise SystemExit(f"training.py: error: --steps must exceed the {WARM_UP} of the warm-up")
    sides: dict[str, Callable[[Stopwatch], None]] = {
        EARLY: lambda watch: ours(few, default, watch, early=True),
        LATE: lambda watch: ours(few, default, watch),
        "example, report recipe": lambda watch: ours(few, report, watch),
    }
    for workers in WORKERS:
        sides[f"course set-up, {workers} workers"] = (
            lambda watch, workers=workers: course(few, report, watch, workers)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        )
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, train in sides.items():
            watch = Stopwatch(device, default.batch_size, steps)
            train(watch)
            rates[name].append(round(watch.images_per_second, 1))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    share = default.early  # of the epochs; rates of equal numbers of images add up as times
    example = round(1 / (share / medians[EARLY] + (1 - share) / medians[LATE]), 1)
    medians = {WHOLE: example, **medians}
    return {
        "steps": steps,
        "images_per_second": rates,
        "median": medians,
        "example_is_faster_by": {name: round(example / rate, 2) for name, rate in medians.items()},
    }


def to_target(digits: Digits, device: torch.device, name: str, most_epochs: int) -> dict[str, Any]:
    """Epochs and seconds, testing included, until the test accuracy first reaches the target."""
    generator = mnist_s6.seed_everything(0, device)
    seconds = 0.0
    for row in mnist_s6.train(models.get_model("s6"), digits, mnist_s6.RECIPES[name], generator):
        seconds += row["seconds"]
        print(f"{name}: epoch {row['epoch']}, {row['test_accuracy']:.2f} %, {seconds:.1f} s")
        if row["test_accuracy"] >= run_folder.TARGET or row["epoch"] == most_epochs:
            break
    reached = row["test_accuracy"] >= run_folder.TARGET
    return {"epochs": row["epoch"], "seconds": round(seconds, 1), "reached": reached}


def show(result: dict[str, Any]) -> None:
    table = Table("", "images/s", "example, default recipe, is faster by")
    for name, rate in result["throughput"]["median"].items():
        ratio = result["throughput"]["example_is_faster_by"][name]
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}x")
    Console().print(table)
    for name, found in result.get("to_target", {}).items():
        words = f"{run_folder.TARGET} %" if found["reached"] else f"no {run_folder.TARGET} %"
        print(f"{name} recipe: {words} in {found['epochs']} epochs, {found['seconds']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed beside the course set-up.")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60, help="steps a side and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to-target", action="store_true", help="also train to 99.4 %% twice")
    parser.add_argument("--most-epochs", type=int, default=20, help="give up after these")
    parser.add_argument("--out", type=Path, help="default: docs/results/training_DEVICE.json")
    args = parser.parse_args()
    device = arguments.pick_device(args.device)
    digits = load("auto", args.data_dir)
    result: dict[str, Any] = {
        "command": shlex.join(["python", "examples/benchmarks/training.py", *sys.argv[1:]]),
        "dataset": digits.name,
        "batch_size": mnist_s6.RECIPES["default"].batch_size,
        "versions": run_folder.versions(),
        "hardware": run_folder.hardware(device),
        "throughput": throughput(digits, device, args.steps, args.rounds),
    }
    if args.to_target and digits.name == "mnist":
        result["to_target"] = {
            name: to_target(digits, device, name, args.most_epochs)
            for name in ("default", "report")
        }
    show(result)
    run_folder.write_json(args.out or RESULTS / f"training_{device.type}.json", result)


if __name__ == "__main__":
    main()
