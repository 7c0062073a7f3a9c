"""Train many networks and seeds, and gather the last epoch of each: the engine behind the results.

    python examples/benchmarks/sweep.py frontier            # a list of experiments.py
    python examples/benchmarks/sweep.py findings --only "s6" "no pool"

On a GPU, runs whose steps have equal shapes train side by side in one process, from recorded CUDA
graphs; each has its own weights, random state and optimiser and learns as it would alone. Elsewhere
they train one after the other. Every finished group of runs is in docs/results/LIST.json before the
next begins; a sweep that is started again trains only what that file does not hold. Weights that
an experiment keeps go to runs/sweep/LIST; lists with a teacher need those of the list "teachers".
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from experiments import LISTS, Job
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

import arguments
import run_folder
from mnist_data import Digits, load
from mnist_s6 import seed_everything
from trainer import Stepper, Training, predict_shifted

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
HELD_OUT = 5_000
SIDE_BY_SIDE = 16  # runs on a GPU; more are not faster


def hold_out(digits: Digits) -> Digits:
    """Training images to learn from, and the last 5,000 of them, or a fifth, to choose by."""
    count = min(HELD_OUT, len(digits.train) // 5)
    return replace(digits, train=digits.train[:-count], test=digits.train[-count:])


def groups(work: list[tuple[Job, int]], width: int) -> list[list[tuple[Job, int]]]:
    """Runs that can step together, at most `width` of them."""
    alike: dict[Any, list[tuple[Job, int]]] = defaultdict(list)
    for job, seed in work:
        recipe = job.recipe
        sides = [recipe.side(epoch) for epoch in range(1, recipe.epochs + 1)]
        images = (job.dataset == "digits", job.held_out)  # MNIST and Fashion-MNIST are as large
        key = (bool(job.teacher), job.amp, *images, recipe.batch_size, *sides)
        alike[key].append((job, seed))
    return [runs[k : k + width] for runs in alike.values() for k in range(0, len(runs), width)]


def prepare(job: Job, seed: int, digits: Digits, device: torch.device, weights: Path) -> Training:
    generator = seed_everything(seed, device)
    teacher = None
    if job.teacher:
        wanted = next(other for other in LISTS["teachers"]() if other.name == job.teacher)
        path = weights / "teachers" / f"{wanted.name}-0.safetensors"
        if not path.exists():
            raise SystemExit(f"{job.name} needs {path}: run sweep.py teachers first")
        with torch.random.fork_rng():
            teacher = wanted.build()
        teacher.load_state_dict(load_file(path))
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


def sweep(args: argparse.Namespace, path: Path, jobs: list[Job]) -> dict[str, Any]:
    """Train what `path` does not hold yet; its content afterwards."""
    device = arguments.pick_device(args.device)
    path.parent.mkdir(parents=True, exist_ok=True)  # now, and not when runs wait to be written
    sets: dict[tuple[str, bool], Digits] = {}
    for name in {job.dataset for job in jobs}:
        sets[name, False] = load(name, args.data_dir)
        sets[name, True] = hold_out(sets[name, False])
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows, machines = before.get("runs", []), before.get("machines", [])
    found = {(row["name"], row["seed"]) for row in rows}
    work = [
        (job, seed)
        for job in jobs
        if not args.only or job.name in args.only
        for seed in range(job.seeds)
        if (job.name, seed) not in found
    ]
    here = {"versions": run_folder.versions(), "hardware": run_folder.hardware(device)}
    if here not in machines:
        machines.append(here)
    for group in groups(work, SIDE_BY_SIDE if device.type == "cuda" else 1):
        started = time.perf_counter()
        runs = [
            prepare(job, seed, sets[job.dataset, job.held_out], device, args.weights)
            for job, seed in group
        ]
        for (job, seed), run, epochs in zip(group, runs, train_together(runs), strict=True):
            rows.append(record(job, seed, run, epochs) | {"machine": machines.index(here)})
            if job.keep:
                kept = args.weights / args.list
                kept.mkdir(parents=True, exist_ok=True)
                about = {"model": job.model, "dataset": job.dataset, "recipe": job.name}
                path_of_run = kept / f"{job.name}-{seed}.safetensors"
                run_folder.write_tensors(path_of_run, run.result.state_dict(), about)
        run_folder.write_json(path, gather(args.list, jobs, rows, machines))
        names = ", ".join(dict.fromkeys(job.name for job, _ in group))
        print(f"{time.perf_counter() - started:6.1f} s  {len(group)} runs: {names}", flush=True)
    return gather(args.list, jobs, rows, machines)


def gather(
    name: str, jobs: list[Job], rows: list[dict[str, Any]], machines: list[dict[str, Any]]
) -> dict[str, Any]:
    """Mean and spread of the last epoch of every experiment, and all runs."""
    summary = {}
    for job in jobs:
        runs = sorted((row for row in rows if row["name"] == job.name), key=lambda row: row["seed"])
        if not runs:
            continue
        account, last = job.account(), [run["last"] for run in runs]
        summary[job.name] = {
            "model": job.model,
            "dataset": job.dataset,
            "parameters": account.params,
            "macs": account.macs,
            "receptive_field": list(account.receptive_field.size),
            "recipe": asdict(job.recipe),
            "teacher": job.teacher or None,
            "dropout": job.dropout,
            "bfloat16": job.amp,
            "held_out": job.held_out,
            "n": len(last),
            "mean": round(statistics.mean(last), 4),
            "sd": round(statistics.stdev(last), 4) if len(last) > 1 else None,
            "least": min(last),
            "most": max(last),
        }
        if all(run["shifted"] is not None for run in runs):
            shifted = statistics.mean(run["shifted"] for run in runs)
            summary[job.name]["shifted_mean"] = round(shifted, 4)
    command = shlex.join(["python", "examples/benchmarks/sweep.py", name])
    return {"command": command, "machines": machines, "summary": summary, "runs": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train many networks and seeds.")
    parser.add_argument("list", choices=LISTS)
    parser.add_argument("--only", nargs="+", help="names of experiments")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of LIST.json")
    parser.add_argument("--weights", type=Path, default=Path("runs/sweep"))
    args = parser.parse_args()
    path = args.out / f"{args.list}.json"
    summary = sweep(args, path, list(LISTS[args.list]()))["summary"]
    table = Table("experiment", "parameters", "n", "last epoch, mean %", "sd", "least", "shifted")
    for name, row in sorted(summary.items(), key=lambda item: -item[1]["mean"]):
        spread = "-" if row["sd"] is None else f"{row['sd']:.3f}"
        shifted = f"{row['shifted_mean']:.3f}" if "shifted_mean" in row else "-"
        cells = (f"{row['parameters']:,}", str(row["n"]), f"{row['mean']:.3f}", spread)
        table.add_row(name, *cells, f"{row['least']:.2f}", shifted)
    Console().print(table)


if __name__ == "__main__":
    main()
