"""Run the example over several seeds and gather the runs in one file.

    python examples/benchmarks/seeds.py recipe_default --seeds 20 --jobs 16
    python examples/benchmarks/seeds.py report_recipe --recipe report --seeds 3 --jobs 12 \
        --models s6 s6_exp1 s6_exp2 s6_exp3

Accuracies are those of the last epoch. Runs that share a machine say nothing about time, so
seconds are kept only with --jobs 1.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1]
RESULTS = EXAMPLES.parent / "docs" / "results"
sys.path.insert(0, str(EXAMPLES))

from rich.console import Console
from rich.table import Table

import run_folder

KEPT = ("model", "parameters", "receptive_field", "seed", "last", "best", "mean_of_last_three",
        "first_epoch_at_target", "epochs_at_target")  # fmt: skip


def one_run(model: str, seed: int, extra: list[str], timed: bool) -> dict[str, Any]:
    """Train once, in a process of its own; return its summary with the metrics of every epoch."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        call = [sys.executable, str(EXAMPLES / "mnist_s6.py"), "--model", model]
        call += ["--seed", str(seed), "--out", str(folder), "--dataset", "mnist", *extra]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{shlex.join(call)} failed:\n{done.stderr}")
        summary = json.loads((folder / "summary.json").read_text())
        epochs = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    for row in epochs:
        del row["dataset"]
        if not timed:
            del row["seconds"]
    print(f"{model}, seed {seed}: {summary['last']:.2f} %", flush=True)
    about = {name: summary[name] for name in ("settings", "versions", "hardware")}
    return {name: summary[name] for name in KEPT} | {"epochs": epochs, "about": about}


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, spread and range of the last epoch, and what is claimed beside it."""
    last = [run["last"] for run in runs]
    return {
        "parameters": runs[0]["parameters"],
        "receptive_field": runs[0]["receptive_field"],
        "n": len(runs),
        "last": last,
        "last_mean": round(statistics.mean(last), 3),
        "last_sd": round(statistics.stdev(last), 3) if len(last) > 1 else None,
        "best": [run["best"] for run in runs],
        "at_target": sum(value >= run_folder.TARGET for value in last),
        "first_epoch_at_target": [run["first_epoch_at_target"] for run in runs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the example over several seeds.")
    parser.add_argument("name", help="of the file under docs/results")
    parser.add_argument("--models", nargs="+", default=["s6"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the file")
    args, extra = parser.parse_known_args()
    work = [(model, seed) for seed in range(args.seeds) for model in args.models]
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(lambda job: one_run(*job, extra, args.jobs == 1), work))
    about = next(iter([run.pop("about") for run in runs]))
    by_model = {m: [run for run in runs if run["model"] == m] for m in args.models}
    result = {
        "command": shlex.join(["python", "examples/benchmarks/seeds.py", *sys.argv[1:]]),
        "summary": {model: summarise(found) for model, found in by_model.items()},
        **about,
        "runs": runs,
    }
    run_folder.write_json(args.out / f"{args.name}.json", result)
    table = Table("model", "n", "last epoch, mean %", "sd", "99.4 or above")
    for model, row in result["summary"].items():
        cells = (row["n"], row["last_mean"], row["last_sd"], f"{row['at_target']}/{row['n']}")
        table.add_row(model, *map(str, cells))
    Console().print(table)


if __name__ == "__main__":
    main()
