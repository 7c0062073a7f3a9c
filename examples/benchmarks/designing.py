"""How fast `design` is, beside brute force and beside sampling, in one run.

    python examples/benchmarks/designing.py

Brute force plans networks one after the other; its rate is measured on random ones, and the time
for the whole space follows from the rate. Sampling draws random networks of the space and rejects
those outside the budget, until one is worth as much as the exact answer or the time is up; it stops
at the first that is, and the best of what it saw is told. A search is timed from the call to the
answer, graph and proof included, as the median of several calls.
"""

from __future__ import annotations

import argparse
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import arguments
import budgetnet
import run_folder
from budgetnet import Budget, SearchSpace, Spec, plan
from budgetnet.accounting.table import Column, Table
from budgetnet.designer.objectives import parse_objective
from budgetnet.designer.space import Place
from budgetnet.spec.stages import with_width

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "designing.json"
MNIST, LARGE = ((1, 28, 28), 10), ((3, 224, 224), 1000)
SMALL = ((3, 96, 96), 1000)
WIDE = SearchSpace(kernels=(3, 5), kinds=("plain", "separable"), monotone=False)
CASES: dict[str, dict[str, Any]] = {
    "MNIST: params 20k, RF 22": {"image": MNIST, "params": 20_000, "receptive_field": 22},
    "the same, top 10": {"image": MNIST, "params": 20_000, "receptive_field": 22, "top": 10},
    "the same, max params": {
        "image": MNIST, "params": 20_000, "receptive_field": 22, "objective": "max params",
    },
    "the same, two kernels and kinds, any order of widths": {
        "image": MNIST, "params": 20_000, "receptive_field": 22, "space": WIDE,
    },
    "224 px: params 5M, MACs 300M, five stages": {
        "image": LARGE, "params": "5M", "macs": "300M",
    },
    "mobile, 96 px: params 1M, MACs 30M": {
        "image": SMALL, "params": "1M", "macs": "30M", "space": "mobile",
    },
    "mobile, 224 px: params 2M, MACs 150M": {
        "image": LARGE, "params": "2M", "macs": "150M", "space": "mobile",
    },
    "mobile, 224 px: max macs, params 1M, RF 200": {
        "image": LARGE, "params": "1M", "receptive_field": 200, "space": "mobile",
    },
}  # fmt: skip


def answer(case: dict[str, Any]) -> budgetnet.Designs:
    case = dict(case)
    shape, classes = case.pop("image")
    return budgetnet.design(shape, classes, **case)


def drawn(space: SearchSpace, classes: int, shape: tuple[int, ...]) -> Iterator[Spec]:
    """Random networks of a space: at every stage any that may follow, with any of its widths.

    Once-for-all networks and MCUNet draw theirs likewise: of every block any kernel and expansion.
    """
    while True:
        place, stages, width = Place((shape[1], shape[2])), [], 0
        while True:
            steps = list(space.follow(place, classes))
            if not steps:
                break  # a dead end: begin anew
            step = random.choice(steps)
            if step.place is None:
                yield Spec((*stages, step.stage))
                break
            if not step.keeps_width:
                least = width + step.wider - 1 if step.wider else 0
                wide = [w for w in space.widths_at(step.place) if w >= least]
                if not wide:
                    break  # a stage that must be wider than the widest
                width = random.choice(wide)
            stages.append(with_width(step.stage, width) if width else step.stage)
            place = step.place


def brute_force(networks: Iterator[Spec], shape: tuple[int, ...], seconds: float) -> float:
    """Networks planned in a second; drawing them does not count."""
    count, spent = 0, 0.0
    while spent < seconds:
        specs = [next(networks) for _ in range(200)]
        started = time.perf_counter()
        for spec in specs:
            plan(spec, shape)
        spent += time.perf_counter() - started
        count += len(specs)
    return count / spent


def sample(
    networks: Iterator[Spec], shape: tuple[int, ...], budget: Budget,
    worth: Callable[[Any], Any], enough: Any, seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Draw and reject until a network is worth enough, or the time is up."""
    started, count, within, best = time.perf_counter(), 0, 0, None
    while time.perf_counter() - started < seconds and (best is None or best < enough):
        account = plan(next(networks), shape)
        count += 1
        if all(finding.ok for finding in budget.check(account)):
            within += 1
            best = worth(account) if best is None else max(best, worth(account))
    return {
        "seconds": time.perf_counter() - started,
        "drawn": count,
        "within_budget": within,
        "best": None if best is None else abs(float(best)),
        "reached": best is not None and best >= enough,
    }


def measure(case: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    times = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        found = answer(case)
        times.append(time.perf_counter() - started)
    shape, classes = case["image"]
    space = case.get("space") or "default"
    space = SearchSpace.preset(space, shape) if isinstance(space, str) else space
    goal = parse_objective(found.goal)
    networks = drawn(space, classes, shape)
    rate = brute_force(networks, shape, args.seconds / 4)
    value = goal.value(found[0].account)
    seconds = statistics.median(times)
    return {
        "goal": found.goal,
        "value": abs(float(value)),
        "best": str(found[0].spec),
        "proven": found.proven,
        "seconds": seconds,
        "all_seconds": times,
        "covered": found.covered,
        "evaluated": found.evaluated,
        "covered_per_second": found.covered / seconds,
        "evaluated_per_second": found.evaluated / seconds,
        "planned_per_second": rate,
        "brute_force_seconds": found.covered / rate,
        "times_brute_force": found.covered / seconds / rate,
        "sampling": sample(networks, shape, found.budget, goal.value, value, args.seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast design is.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="for sampling, each case")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    random.seed(0)
    answer(CASES["MNIST: params 20k, RF 22"])  # imports and caches
    cases = {}
    for name, case in CASES.items():
        cases[name] = measure(case, args)
        print(f"{name}: {cases[name]['seconds']:.3f} s", flush=True)
    columns = (Column("Case"), *(Column(name, numeric=True) for name in (
        "Seconds", "Networks covered", "Beginnings looked at", "Times brute force")),
        Column("Sampling"))  # fmt: skip
    rows = tuple(
        (
            name, f"{c['seconds']:.3f}", f"{c['covered']:,}", f"{c['evaluated']:,}",
            f"{c['times_brute_force']:.2g}",
            f"best {c['sampling']['best']} of {c['value']} in {c['sampling']['seconds']:.0f} s",
        )
        for name, c in cases.items()
    )  # fmt: skip
    print(Table(columns, rows).to_text())
    result = {
        "command": shlex.join(["python", "examples/benchmarks/designing.py", *sys.argv[1:]]),
        "rounds": args.rounds,
        "cases": cases,
        "versions": run_folder.versions(),
        "hardware": run_folder.hardware(arguments.pick_device("cpu")),
    }
    run_folder.write_json(args.out, result)


if __name__ == "__main__":
    main()
