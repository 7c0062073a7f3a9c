"""Train many networks and seeds, and gather the last epoch of each: the engine behind the results.

    python examples/benchmarks/sweep.py frontier            # a list of experiments.py
    python examples/benchmarks/sweep.py findings --only "s6" "no pool"
    python examples/benchmarks/sweep.py frontier --engine ray --address auto    # over machines

On a GPU the seeds of an experiment train as one wide network, see crowd.py, and experiments whose
steps have equal shapes side by side, from recorded CUDA graphs; each has its own weights, random
state and optimiser and learns what it would alone, but for rounding. Elsewhere runs train one after
the other. On Ray such groups go to all machines of a cluster, see
docs/howto/sweep_over_machines.md. Every finished group of runs is in docs/results/LIST.json before
the next is waited for; a sweep that is started again trains only what that file does not hold.
Weights that an experiment keeps go to runs/sweep/LIST; lists with a teacher need those of the list
"teachers".
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from experiments import LISTS
from jobs import Job
from rich.console import Console
from rich.table import Table
from sweep_engines import Here, OnRay, cluster, resources, settle
from sweep_runs import Run, Setting, Trained, groups

import arguments
import run_folder
from locking import locked
from mnist_data import DataError

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def sweep(args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Train what `path` does not hold yet; its content afterwards."""
    kept = args.weights / args.list
    for folder in (path.parent, kept):  # now, and not when runs wait to be written
        folder.mkdir(parents=True, exist_ok=True)
    with locked(kept):
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        rows, machines = before.get("runs", []), before.get("machines", [])
        jobs = list(LISTS[args.list]())
        work = left_to_do([job for job in jobs if not args.only or job.name in args.only], rows)
        for trained in train(work, args) if work else ():
            keep_weights(trained, kept)
            rows, machines = merge(jobs, rows, machines, trained)
            run_folder.write_json(path, gather(args.list, jobs, rows, machines))
            names = ", ".join(dict.fromkeys(job.name for job, _ in trained.group))
            print(f"{trained.seconds:6.1f} s  {len(trained.group)} runs: {names}", flush=True)
    return gather(args.list, jobs, rows, machines)


def train(work: list[Run], args: argparse.Namespace) -> Iterator[Trained]:
    """All runs in groups, each given back once it is trained."""
    data_dir = args.data_dir.resolve() if args.data_dir else None
    teachers = read_teachers(work, args.weights)
    with engine_of(args) as engine:
        setting = Setting(engine.device, args.threads, data_dir, teachers)
        yield from engine.train(groups(work, engine.width(len(work))), setting)


@contextlib.contextmanager
def engine_of(args: argparse.Namespace) -> Iterator[Here | OnRay]:
    if args.engine == "here":
        yield Here(args.device)
        return
    with cluster(args.address) as ray:
        device, gpus = settle(resources(ray), args.device, args.threads)
        yield OnRay(ray, device, gpus, args.threads)


def left_to_do(jobs: list[Job], rows: list[dict[str, Any]]) -> list[Run]:
    """Every seed of every job that has no row."""
    found = {(row["name"], row["seed"]) for row in rows}
    every = [(job, seed) for job in jobs for seed in range(job.seeds)]
    return [(job, seed) for job, seed in every if (job.name, seed) not in found]


def read_teachers(work: list[Run], weights: Path) -> dict[str, tuple[Job, tuple[bytes, ...]]]:
    """The teachers that are needed, with the weights of every seed."""
    found = {}
    for job in {job.teacher: job for job, _ in work if job.teacher}.values():
        wanted = next(other for other in LISTS["teachers"]() if other.name == job.teacher)
        folder = weights / "teachers"
        paths = [folder / f"{wanted.name}-{seed}.safetensors" for seed in range(wanted.seeds)]
        for path in paths:
            if not path.exists():
                raise arguments.UsageError(f"{job.name} needs {path}: run sweep.py teachers first")
        found[job.teacher] = (wanted, tuple(path.read_bytes() for path in paths))
    return found


def keep_weights(trained: Trained, folder: Path) -> None:
    for (job, seed), data in zip(trained.group, trained.weights, strict=True):
        if data is not None:
            file = folder / f"{job.name}-{seed}.safetensors"
            run_folder.write_atomically(file, lambda part, data=data: part.write_bytes(data))


def merge(
    jobs: list[Job], rows: list[dict[str, Any]], machines: list[dict[str, Any]], trained: Trained
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows in the order of the list, whichever came first, one for a seed; and their machines."""
    if trained.machine not in machines:
        machines = [*machines, trained.machine]
    new = [row | {"machine": machines.index(trained.machine)} for row in trained.rows]
    one = {(row["name"], row["seed"]): row for row in (*new, *rows)}  # what was there, stays
    place = {job.name: number for number, job in enumerate(jobs)}
    in_order = sorted(one, key=lambda run: (place.get(run[0], len(place)), run))
    return [one[run] for run in in_order], machines


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
            "teachers": job.teachers if job.teacher else 0,
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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train many networks and seeds.")
    parser.add_argument("list", choices=LISTS)
    parser.add_argument("--only", nargs="+", help="names of experiments")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--threads",
        type=arguments.whole_number(1),
        default=torch.get_num_threads(),
        help="of a run on a CPU; the last digits of its numbers depend on it",
    )
    parser.add_argument("--engine", choices=("here", "ray"), default="here", help="where to train")
    parser.add_argument(
        "--address", help="of a Ray cluster, or auto; without one, Ray starts on this machine"
    )
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of LIST.json")
    parser.add_argument("--weights", type=Path, default=Path("runs/sweep"))
    args = parser.parse_args(argv)
    if args.address and args.engine != "ray":
        parser.error("--address is of a Ray cluster: it needs --engine ray")
    try:
        summary = sweep(args, args.out / f"{args.list}.json")["summary"]
    except (arguments.UsageError, DataError, run_folder.FolderError) as error:
        raise SystemExit(f"sweep.py: error: {error}") from error
    table = Table("experiment", "parameters", "n", "last epoch, mean %", "sd", "least", "shifted")
    for name, row in sorted(summary.items(), key=lambda item: -item[1]["mean"]):
        spread = "-" if row["sd"] is None else f"{row['sd']:.3f}"
        shifted = f"{row['shifted_mean']:.3f}" if "shifted_mean" in row else "-"
        cells = (f"{row['parameters']:,}", str(row["n"]), f"{row['mean']:.3f}", spread)
        table.add_row(name, *cells, f"{row['least']:.2f}", shifted)
    Console().print(table)


if __name__ == "__main__":
    main()
