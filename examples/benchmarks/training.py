"""Training speed of the example beside the customary course set-up, in one run.

    python examples/benchmarks/training.py                 # images per second, side by side
    python examples/benchmarks/training.py --to-target     # and epochs and seconds to 99.4 %

Both sides train the same network with the same batch size on the same machine. The course set-up
augments one PIL image at a time in a DataLoader, keeps torch's default memory format and
optimiser, and reads the loss off the device at every step, as course notebooks do; it runs without
worker processes, which is the rule on a CPU, and with 4 (or as many as there are cores, if fewer),
which is the rule beside a GPU. The sides take turns, so that a slow minute of the machine falls on
all of them; medians are reported. Where the time goes is read off torch's profiler, and what the
machine could do at best is the rate of a large matrix product.

With --to-target every way to 99.4 % is walked to its end, testing included: those
of experiments.TO_TARGET, and the course set-up with the report's recipe.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
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

from accuracy_tables import COURSE
from experiments import TO_TARGET, Job

import arguments
import budgetnet
import run_folder
from budgetnet import models
from data_sets import TARGET
from mnist_data import SIDE, Digits, Split, load
from mnist_s6 import seed_everything
from recipes import RECIPES, Recipe
from trainer import Training, train

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


def ours(digits: Digits, recipe: Recipe, watch: Stopwatch, early: bool = False) -> None:
    """One epoch of the example's own training loop, an early one or a late one."""
    once = replace(recipe, epochs=1, early=float(early))
    run = Training(models.get_model("s6"), digits, once, seed_everything(0, watch.device))
    next(train(run, lambda _, step, *rest: watch.step(step)))


class PilDigits(Dataset[tuple[Tensor, int]]):
    """What `torchvision.datasets.MNIST` does with an image: PIL, then the transforms."""

    def __init__(self, split: Split, training: bool) -> None:
        self.images, self.labels = split.images[:, 0], split.labels
        augment = [
            transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
            transforms.Resize((28, 28)),
            transforms.RandomRotation((-15.0, 15.0), fill=0),
        ]
        scale = split.normalise
        ready = [transforms.ToTensor(), transforms.Normalize((scale.mean,), (scale.std,))]
        self.transform = transforms.Compose([*(augment if training else []), *ready])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


def course(digits: Digits, recipe: Recipe, watch: Stopwatch, workers: int) -> None:
    """One epoch as course notebooks write it."""
    notebook = Notebook(digits, recipe, 0, watch.device, workers)
    notebook.epoch(watch.step)


class Notebook:
    """The course set-up between two epochs."""

    def __init__(
        self, digits: Digits, recipe: Recipe, seed: int, device: torch.device, workers: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.device, self.recipe, self.done = device, recipe, 0
        self.model = models.get_model("s6").to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), recipe.lr, recipe.momentum)
        pinned = device.type == "cuda"
        self.loader, self.tests = (
            DataLoader(
                PilDigits(split, training),
                recipe.batch_size,
                shuffle=training,
                num_workers=workers,
                pin_memory=pinned,
            )
            for split, training in ((digits.train, True), (digits.test, False))
        )

    def epoch(self, on_step: Callable[[int], None] = lambda _: None) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate((self.done + 1) / self.recipe.epochs)
        for step, (images, labels) in enumerate(self.loader, start=1):
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            loss.item()
            (logits.argmax(1) == labels).sum().item()
            on_step(step)
        self.done += 1

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        correct = 0
        for images, labels in self.tests:
            logits = self.model(images.to(self.device))
            correct += int((logits.argmax(1) == labels.to(self.device)).sum())
        return 100 * correct / len(self.tests.dataset)  # type: ignore[arg-type]  # ours has a length


def throughput(digits: Digits, device: torch.device, steps: int, rounds: int) -> dict[str, Any]:
    """Median images per second of every side, and the example's ratio to each."""
    default, report = RECIPES["default"], RECIPES["report"]
    few = replace(
        digits,
        train=digits.train[: steps * default.batch_size],
        test=digits.test[:1000],
    )
    steps = math.ceil(len(few.train) / default.batch_size)
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
        for name, side in sides.items():
            watch = Stopwatch(device, default.batch_size, steps)
            side(watch)
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


# ---------------------------------------------------------------------------- where the time goes


def ceiling(device: torch.device, size: int = 2048, rounds: int = 9) -> float:
    """Best rate of a matrix product, in 10**9 multiply-adds a second."""
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    best = math.inf
    for _ in range(rounds):
        started = time.perf_counter()
        torch.sum(a @ b).item()
        best = min(best, time.perf_counter() - started)
    return size**3 / best / 1e9


KINDS = {
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("mkldnn_convolution", "cudnn_convolution"),
    "BatchNorm": ("batch_norm",),
    "ReLU": ("threshold_backward", "clamp_min", "relu"),
    "pooling": ("max_pool",),
    "augmentation": ("grid_sampler", "affine_grid"),
    "optimiser": ("Optimizer.step", "_fused_sgd"),
}


def shares(digits: Digits, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Parts of the time of a training step, by kind of operation."""
    run = Training(models.get_model("s6"), digits, recipe, seed_everything(0, device))
    run.begin_epoch()
    for _ in range(WARM_UP):
        run.step(recipe.batch_size, SIDE)
    with torch.profiler.profile() as profile:
        for _ in range(20):
            run.step(recipe.batch_size, SIDE)
    spent = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    whole = sum(spent.values())
    found = dict.fromkeys(KINDS, 0.0)
    for name, microseconds in spent.items():
        kind = next((k for k, words in KINDS.items() if any(w in name for w in words)), None)
        if kind:
            found[kind] += microseconds / whole
    return {k: round(v, 3) for k, v in found.items()} | {
        "all else": round(1 - sum(found.values()), 3)
    }


# ---------------------------------------------------------------------------- the way to 99.4 %


Way = Iterator[tuple[float, float]]  # accuracy, and seconds since the start, after every epoch


def our_way(job: Job, digits: Digits, generator: torch.Generator) -> Way:
    """The example's own training."""
    spent = 0.0
    for row in train(Training(job.build(), digits, job.recipe, generator, amp=job.amp)):
        spent += row["seconds"]
        yield row["test_accuracy"], spent


def course_way(notebook: Notebook) -> Way:
    """The course set-up by the report's recipe."""
    spent = 0.0
    for _ in range(notebook.recipe.epochs):
        started = time.perf_counter()
        notebook.epoch()
        accuracy = notebook.accuracy()
        spent += time.perf_counter() - started
        yield accuracy, spent


def walk(name: str, way: Way) -> dict[str, Any]:
    """Until the first test accuracy at the target, or to the end."""
    epochs, accuracy, spent = 0, 0.0, 0.0
    for accuracy, spent in way:
        epochs += 1
        print(f"{name}: epoch {epochs}, {accuracy:.2f} %, {spent:.1f} s", flush=True)
        if accuracy >= TARGET:
            break
    reached = accuracy >= TARGET
    return {"epochs": epochs, "seconds": round(spent, 1), "last": accuracy, "reached": reached}


def to_target(digits: Digits, device: torch.device, seeds: int, course_seeds: int) -> Any:
    """Every way over its seeds, in turns, and the mean of the runs that arrive."""

    def ours(job: Job, seed: int) -> Way:
        generator = seed_everything(seed, device)
        return our_way(job, digits, generator)

    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for job in TO_TARGET:
            found.setdefault(job.name, []).append(walk(job.name, ours(job, seed)))
        if seed < course_seeds:
            notebook = Notebook(digits, RECIPES["report"], seed, device)
            found.setdefault(COURSE, []).append(walk(COURSE, course_way(notebook)))
    result = {}
    for name, runs in found.items():
        arrived = [run for run in runs if run["reached"]]
        means = {
            key: round(statistics.mean(run[key] for run in arrived), 1) if arrived else None
            for key in ("epochs", "seconds")
        }
        result[name] = {"n": len(runs), "reached": len(arrived), "mean": means, "runs": runs}
    return result


def show(result: dict[str, Any]) -> None:
    table = Table("", "images/s", "example, default recipe, is faster by")
    for name, rate in result["throughput"]["median"].items():
        ratio = result["throughput"]["example_is_faster_by"][name]
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}x")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed beside the course set-up.")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=60, help="steps a side and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to-target", action="store_true", help="also train to 99.4 %%")
    parser.add_argument("--seeds", type=int, default=5, help="runs to the target on our side")
    parser.add_argument("--course-seeds", type=int, default=1, help="and on the other")
    parser.add_argument("--out", type=Path, help="default: docs/results/training_DEVICE.json")
    args = parser.parse_args()
    device = arguments.pick_device(args.device)
    digits = load("auto", args.data_dir)
    default = RECIPES["default"]
    rates = throughput(digits, device, args.steps, args.rounds)
    macs = budgetnet.plan(models.get_reference("s6").spec, arguments.IMAGE).macs
    result: dict[str, Any] = {
        "command": shlex.join(["python", "examples/benchmarks/training.py", *sys.argv[1:]]),
        "dataset": digits.name,
        "batch_size": default.batch_size,
        "versions": run_folder.versions(),
        "hardware": run_folder.hardware(device),
        "throughput": rates,
        "gmacs_per_second": {
            "matrix product": round(ceiling(device), 1),
            # Backward a convolution is done twice: for its input and for its weights.
            "training": round(rates["median"][LATE] * 3 * macs / 1e9, 1),
        },
        "shares": shares(digits, replace(default, early=0.0), device),
    }
    if args.to_target and digits.name == "mnist":
        result["to_target"] = to_target(digits, device, args.seeds, args.course_seeds)
    show(result)
    run_folder.write_json(args.out or RESULTS / f"training_{device.type}.json", result)


if __name__ == "__main__":
    main()
