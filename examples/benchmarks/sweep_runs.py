"""How the runs of a sweep are trained: a group of them side by side, wherever an engine puts it.

What goes in and what comes out can be sent to another machine: no run reads or writes the sweep's
results, and weights travel as the bytes of their file.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jobs import Job
from safetensors.torch import load as unpack

import arguments
import run_folder
from mnist_data import Digits, load
from mnist_s6 import seed_everything
from trainer import Stepper, Training, predict_shifted

HELD_OUT = 5_000
Run = tuple[Job, int]  # a seed of an experiment


@dataclass(frozen=True)
class Setting:
    """What all groups of a sweep share, on every machine."""

    device: str
    threads: int
    data_dir: Path | None  # without one, that of $BUDGETNET_DATA where the group trains
    teachers: Mapping[str, tuple[Job, bytes]]  # with their weights


@dataclass(frozen=True)
class Trained:
    """A finished group: a row and, where they are kept, the weights of every run."""

    group: tuple[Run, ...]
    rows: tuple[dict[str, Any], ...]
    weights: tuple[bytes | None, ...]
    machine: dict[str, Any]
    seconds: float


def groups(work: list[Run], width: int) -> list[tuple[Run, ...]]:
    """Runs that can step together, at most `width` of them."""
    alike: dict[Any, list[Run]] = defaultdict(list)
    for job, seed in work:
        recipe = job.recipe
        sides = [recipe.side(epoch) for epoch in range(1, recipe.epochs + 1)]
        # MNIST and Fashion-MNIST have as many images, and so as many steps.
        few = job.dataset == "digits"
        key = (bool(job.teacher), job.amp, few, job.held_out, recipe.batch_size, *sides)
        alike[key].append((job, seed))
    return [
        tuple(some[k : k + width]) for some in alike.values() for k in range(0, len(some), width)
    ]


def train_group(group: tuple[Run, ...], setting: Setting) -> Trained:
    """Train every run of a group to its end, here."""
    started = time.perf_counter()
    torch.set_num_threads(setting.threads)
    device = arguments.pick_device(setting.device)
    runs = [prepare(job, seed, device, setting) for job, seed in group]
    rows, weights = [], []
    for (job, seed), run, epochs in zip(group, runs, train_together(runs), strict=True):
        rows.append(record(job, seed, run, epochs))
        about = {"model": job.model, "dataset": job.dataset, "recipe": job.name}
        packed = run_folder.pack_tensors(run.result.state_dict(), about) if job.keep else None
        weights.append(packed)
    machine = {"versions": run_folder.versions(), "hardware": run_folder.hardware(device)}
    seconds = time.perf_counter() - started
    return Trained(group, tuple(rows), tuple(weights), machine, seconds)


@functools.cache
def data(name: str, data_dir: Path | None, held_out: bool) -> Digits:
    digits = load(name, data_dir)
    return hold_out(digits) if held_out else digits


def hold_out(digits: Digits) -> Digits:
    """Training images to learn from, and the last 5,000 of them, or a fifth, to choose by."""
    count = min(HELD_OUT, len(digits.train) // 5)
    return replace(digits, train=digits.train[:-count], test=digits.train[-count:])


def prepare(job: Job, seed: int, device: torch.device, setting: Setting) -> Training:
    generator = seed_everything(seed, device)
    teacher = None
    if job.teacher:
        wanted, weights = setting.teachers[job.teacher]
        with torch.random.fork_rng():
            teacher = wanted.build()
        teacher.load_state_dict(unpack(weights))
    digits = data(job.dataset, setting.data_dir, job.held_out)
    return Training(job.build(), digits, job.recipe, generator, teacher=teacher, amp=job.amp)


def train_together(runs: list[Training]) -> list[list[dict[str, Any]]]:
    """All runs to their end, epoch by epoch; rows of metrics for each."""
    stepper = Stepper(runs, graphs=True)
    recipe = runs[0].recipe
    rows: list[list[dict[str, Any]]] = [[] for _ in runs]
    for epoch in range(1, recipe.epochs + 1):
        sizes = [run.begin_epoch() for run in runs]
        for size in sizes[0]:  # equal in all
            stepper.step(size, recipe.side(epoch))
        for run, kept in zip(runs, rows, strict=True):
            kept.append(run.end_epoch())
    return rows


def record(job: Job, seed: int, run: Training, rows: list[dict[str, Any]]) -> dict[str, Any]:
    shifted = predict_shifted(run.result, run.test_set).argmax(1) == run.test_set.labels
    return {
        "name": job.name,
        "seed": seed,
        "last": rows[-1]["test_accuracy"],
        "shifted": round(100 * float(shifted.float().mean()), 4),
        "train_accuracy": rows[-1]["train_accuracy"],
        "epochs": [row["test_accuracy"] for row in rows],
    }
