"""Ship the weights of an experiment: write MODEL-mnist.* and its sidecar to models/pretrained.

    python examples/benchmarks/sweep.py frontier
    python examples/benchmarks/ship_weights.py frontier dsnet16

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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import LISTS
from safetensors.torch import load_file

from budgetnet import models
from budgetnet.models import shipping
from mnist_data import SIDE, load

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
LICENCE = (
    "MIT, like the library. Trained on MNIST (LeCun, Cortes and Burges, from NIST's special "
    "databases 1 and 3); the file contains no image."
)


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
    digits = load("mnist", args.data_dir)
    meta = {
        "model": job.model,
        "weights": "mnist",
        "dataset": {
            "name": "MNIST",
            "train_images": len(digits.train),
            "test_images": len(digits.test),
        },
        "categories": [str(digit) for digit in range(10)],
        "seed": seed,
        "rule": shipping.MEDIAN_RULE,
        "recipe": {
            "name": f"{job.name} of the list {args.list!r} in examples/benchmarks/experiments.py",
            "settings": asdict(job.recipe),
            "teacher": job.teacher or None,
            "bfloat16": job.amp,
        },
        "preprocessing": {
            "size": SIDE,
            "channels": 1,
            "pixel_scale": 255,
            "mean": digits.source.normalise.mean,
            "std": digits.source.normalise.std,
            "ink": "white on black",
        },
        **results["machines"][runs[seed]["machine"]],
        "command": results["command"],
        "licence": LICENCE,
    }
    found = shipping.save(net, meta, accuracies, digits.test.images, digits.test.labels)
    print(found.stem, found.meta["accuracy"], f"seed {seed}; in training {accuracies[seed]}")


if __name__ == "__main__":
    main()
