"""Ship the weights of an experiment: write MODEL-WEIGHTS.* to budgetnet/models/pretrained.

    python examples/benchmarks/sweep.py frontier
    python examples/benchmarks/ship_weights.py frontier dsnet16

The weights are named after the data set that they learned from: mnist, fashion_mnist.
Which seed is shipped is not chosen here: it is the median run, a rule that stood before the runs
(`budgetnet.models.shipping.median_run`). The figures in the sidecar are computed from the very
file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import LISTS
from jobs import Job
from safetensors.torch import load_file

from budgetnet import models
from budgetnet.models import shipping
from mnist_data import SIDE, Digits, load

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def about_data(digits: Digits) -> dict[str, Any]:
    """The fields of a sidecar that say what was learned from, and how it is fed."""
    source = digits.source
    return {
        "weights": source.name.replace("-", "_"),
        "dataset": {
            "name": source.origin,
            "train_images": len(digits.train),
            "test_images": len(digits.test),
        },
        "categories": list(source.classes),
        "preprocessing": {
            "size": SIDE,
            "channels": 1,
            "pixel_scale": 255,
            "mean": source.normalise.mean,
            "std": source.normalise.std,
            "ink": source.ink,
        },
        "licence": f"MIT, like the library. Trained on {source.origin} ({source.credit}); "
        "the file contains no image.",
    }


def about_training(job: Job, name: str) -> dict[str, Any]:
    return {
        "recipe": {
            "name": f"{job.name} of the list {name!r} in examples/benchmarks/experiments.py",
            "settings": asdict(job.recipe),
            "teacher": job.teacher or None,
            "teachers": job.teachers if job.teacher else 0,
            "bfloat16": job.amp,
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Ship the median run of an experiment.")
    parser.add_argument("list", choices=LISTS)
    parser.add_argument("experiment")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("runs/sweep"))
    args = parser.parse_args()
    jobs = {job.name: job for job in LISTS[args.list]()}
    if args.experiment not in jobs:
        parser.error(f"{args.experiment!r} is not one of {', '.join(jobs)}")
    job = jobs[args.experiment]
    results = json.loads((RESULTS / f"{args.list}.json").read_text(encoding="utf-8"))
    runs = {run["seed"]: run for run in results["runs"] if run["name"] == job.name}
    accuracies = {seed: run["last"] for seed, run in runs.items()}
    seed = shipping.median_run(accuracies)
    net = models.get_model(job.model)
    net.load_state_dict(load_file(args.weights / args.list / f"{job.name}-{seed}.safetensors"))
    digits = load(job.dataset, args.data_dir)
    meta = {
        "model": job.model,
        "seed": seed,
        "rule": shipping.MEDIAN_RULE,
        **about_data(digits),
        **about_training(job, args.list),
        **results["machines"][runs[seed]["machine"]],
        "command": results["command"],
    }
    found = shipping.save(net, meta, accuracies, digits.test.images, digits.test.labels)
    print(found.stem, found.meta["accuracy"], f"seed {seed}; in training {accuracies[seed]}")


if __name__ == "__main__":
    main()
