"""How the runs of a sweep are trained: a group of them side by side, wherever an engine puts it.

The seeds of an experiment are one wide network, see crowd.py, and experiments step in parallel.

What goes in and what comes out can be sent to another machine: no run reads or writes the sweep's
results, and weights travel as the bytes of their file.
"""

from __future__ import annotations

import copy
import functools
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from crowd import Crowd
from jobs import IMAGE, Job
from safetensors.torch import load as unpack
from torch import Tensor, nn

import arguments
import budgetnet
import run_folder
from mnist_data import Digits, Split, load
from mnist_s6 import seed_everything
from trainer import Stepper, predict_shifted

HELD_OUT = 5_000
Run = tuple[Job, int]  # a seed of an experiment


@dataclass(frozen=True)
class Setting:
    """What all groups of a sweep share, on every machine."""

    device: str
    threads: int
    data_dir: Path | None  # without one, that of $BUDGETNET_DATA where the group trains
    teachers: Mapping[str, tuple[Job, tuple[bytes, ...]]]  # with the weights of every seed


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
    seeds: dict[Job, list[int]] = defaultdict(list)
    for job, seed in group:
        seeds[job].append(seed)
    crowds = [prepare(job, some, device, setting) for job, some in seeds.items()]
    found = {}
    for (job, some), crowd, epochs in zip(
        seeds.items(), crowds, train_together(crowds), strict=True
    ):
        for place, seed in enumerate(some):
            model, each = crowd.results[place], [row[place] for row in epochs]
            about = {"model": job.model, "dataset": job.dataset, "recipe": job.name}
            kept = copy.deepcopy(model).state_dict() if job.keep else None  # its own part alone
            packed = run_folder.pack_tensors(kept, about) if kept else None
            found[job, seed] = record(job, seed, model, crowd.test_set, each), packed
    rows, weights = zip(*(found[run] for run in group), strict=True)
    machine = {"versions": run_folder.versions(), "hardware": run_folder.hardware(device)}
    seconds = time.perf_counter() - started
    return Trained(group, rows, weights, machine, seconds)


@functools.cache
def data(name: str, data_dir: Path | None, held_out: bool) -> Digits:
    digits = load(name, data_dir)
    return hold_out(digits) if held_out else digits


def hold_out(digits: Digits) -> Digits:
    """Training images to learn from, and the last 5,000 of them, or a fifth, to choose by."""
    count = min(HELD_OUT, len(digits.train) // 5)
    return replace(digits, train=digits.train[:-count], test=digits.train[-count:])


class Ensemble(nn.Module):
    """Several networks as one: the mean of their logits."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(0)


def teacher_of(job: Job, setting: Setting) -> nn.Module | None:
    """The first seeds of the teaching experiment, as many as the job learns from."""
    if not job.teacher:
        return None
    wanted, weights = setting.teachers[job.teacher]
    members = []
    for packed in weights[: job.teachers]:
        model = wanted.build()
        model.load_state_dict(unpack(packed))
        members.append(budgetnet.fold_batchnorm(model.eval(), IMAGE))
    return Ensemble(members)


def prepare(job: Job, seeds: list[int], device: torch.device, setting: Setting) -> Crowd:
    digits = data(job.dataset, setting.data_dir, job.held_out)
    teacher = teacher_of(job, setting)
    generators, models = [], []
    for seed in seeds:
        generators.append(seed_everything(seed, device))
        models.append(job.build())
    return Crowd(models, digits, job.recipe, generators, teacher=teacher, amp=job.amp)


def train_together(crowds: list[Crowd]) -> list[list[list[dict[str, Any]]]]:
    """All to their end, epoch by epoch; for every crowd and epoch a row of metrics a seed."""
    stepper = Stepper(crowds, graphs=True)
    recipe = crowds[0].recipe
    rows: list[list[list[dict[str, Any]]]] = [[] for _ in crowds]
    for epoch in range(1, recipe.epochs + 1):
        sizes = [crowd.begin_epoch() for crowd in crowds]
        for size in sizes[0]:  # equal in all
            stepper.step(size, recipe.side(epoch))
        for crowd, kept in zip(crowds, rows, strict=True):
            kept.append(crowd.end_epochs())
    return rows


def record(
    job: Job, seed: int, model: nn.Module, test_set: Split, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    shifted = predict_shifted(model, test_set).argmax(1) == test_set.labels
    return {
        "name": job.name,
        "seed": seed,
        "last": rows[-1]["test_accuracy"],
        "shifted": round(100 * float(shifted.float().mean()), 4),
        "train_accuracy": rows[-1]["train_accuracy"],
        "epochs": [row["test_accuracy"] for row in rows],
    }
