"""The tables of the results page that tell of training: accuracies, claims, times to a target."""

from __future__ import annotations

import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raw_results import figure, markdown, numbers, read, source, spread, sweep_source

from budgetnet.accounting.table import Column, Table
from data_sets import TARGET

OURS = [  # the sweep, its experiment, and what we call it
    ("fewest", "dsnet10", "dsnet10"),
    *(("frontier", name, name) for name in ("dsnet14", "dsnet16")),
    ("sizes", "dsnet24_40", "dsnet24_40"),
    *(("frontier", name, name) for name in ("dsnet34", "dsnet38")),
    ("sizes", "dsnet40", "dsnet40"),
    ("muon", "3 epochs, Muon", "s6, 3 epochs by Muon"),
    ("default", "default", "s6, 5 epochs"),
    ("together", "20 epochs, three teachers", "s6, 20 epochs, taught"),
]
# Of each published network: parameters, best, last or mean of the last three, evidence, source.
ON_MNIST = [
    (697, 99.03, None, "best of some 700 runs, chosen on the test set",
     "JoshWarn/Parameter-Efficient-MNIST"),
    (1_936, 99.10, None, "one run", "ruslangrimov/mnist-minimal-model"),
    (3_762, 99.52, 99.46, "one run", "adilsammar/woolly-of-cv"),
    (5_196, 99.43, 99.41, "one run", "Madhur-1/ERA-v1"),
    (7_918, 99.52, 99.48, "one run", "snehanshu-raj/ERA"),
    (9_436, 99.64, 99.52, "last: mean of 11 runs", "rohansh-tty/EVA4"),
    (14_372, 99.57, None, "one run", "the report of s6"),
    (15_794, 99.59, 99.55, "one run", "divya-r-kamat/EfficientMnist-Under20K"),
]  # fmt: skip
ON_FASHION = [  # the first is a preprint, the others stand in the data set's official table
    (14_862, 89.0, None, "epoch and number of runs not stated", "Isong, arXiv:2501.15547"),
    (83_466, None, 92.47, "one run", "hardmaru/pytorch_notebooks"),
    (113_000, None, 92.16, "last: mean of 10 runs", "abelusha/MNIST-Fashion-CNN"),
    (493_772, None, 93.43, "mean of 5 runs, each at its least validation loss",
     "cmasch/zalando-fashion-mnist"),
]  # fmt: skip
COURSE = "course set-up, report recipe"  # what training.py compares our ways to 99.4 % with
OURS_FASHION = [("fashion", name, name) for name in ("dsnet24p", "s6", "dsnet36p")]
AIMS = {"dsnet24p": 92.0, "s6": 92.5, "dsnet36p": 93.0}  # on Fashion-MNIST
PUBLISHED = {"mnist": ON_MNIST, "fashion-mnist": ON_FASHION}
CLAIMS = {  # of the report: best accuracy over 20 epochs
    "s6": "99.57, and 99.4 within 13 epochs",
    "s6_exp1": "98.1",
    "s6_exp2": "98.5",
    "s6_exp3": "98.75",
}
CLAIMS_MADE = [  # the report's, what measures them, the verdict; [x]: points lost by x,
    # <x>: its parameters
    ("BatchNorm helps (98.1 to 98.5)",
     ("s6", "no BatchNorm", "no BatchNorm, peak rate 0.05", "no BatchNorm, peak rate 0.02"),
     "holds: by [no BatchNorm, peak rate 0.02] and more; without it, it takes a tenth of the rate"),
    ("removing the last BatchNorm changes nothing", ("s6", "last BatchNorm removed"), "holds"),
    ("the drop of the learning rate ends the plateau",
     ("s6", "constant rate 0.2", "constant rate 0.05"),
     "holds: decay to zero is worth [constant rate 0.05] to [constant rate 0.2] points"),
    ("no dropout is needed", ("s6", "dropout 0.05", "dropout 0.1"),
     "holds: dropout costs [dropout 0.05] and [dropout 0.1] points"),
    ("pooling five layers before the output beats pooling one or two before it (98.75 at most)",
     ("s6", "pool after 1", "pool after 2", "pool after 3", "pool after 5", "pool after 6",
      "pool after 7", "no pool"),
     "barely: one or two layers before the output [pool after 6] to [pool after 7] less, which is "
     "near the noise; only removing the pool has a cost, [no pool]"),
    ("5x5 and 7x7 first kernels cost receptive field",
     ("s6", "first kernel 5", "first kernel 7"),
     "does not hold: they increase it and the parameters (<first kernel 5> and <first kernel 7>); "
     "within noise"),
    ("at most 16 channels beats 32 within 20k", ("s6", "widest 8", "widest 32",
     "widest 32, pool inside"),
     "holds, though the wide networks are shallow, with fields of 8 and 12; 8 channels in 23 "
     "layers are worse too"),
    ("a receptive field of 10 never passes 98.75, 22 reaches 99.4",
     ("s6", "pool after 1", "pool after 7", "no pool", "widest 32"),
     "partly: a field of 8 stays below, but at equal parameters one of 15 (no pool) is only "
     "[no pool] behind, 16 (pool after 7) [pool after 7], and 28 (pool after 1) no better than 22"),
    ("augmentation (rotation, crop)",
     ("s6", "no augmentation", "rotation only", "shift only", "scale only", "shear only"),
     "within noise at five epochs"),
    ("not in the report: averaging the weights", ("s6", "averaged weights"),
     "changes nothing under a rate that decays to zero"),
]  # fmt: skip


def experiments(name: str, *picked: str) -> str:
    """Every experiment of a sweep, best first, or those that are picked, in their order."""
    result = read(name)
    found = result["summary"]
    names = picked or sorted(found, key=lambda key: -found[key]["mean"])
    held_out = found[names[0]]["held_out"]
    rows = [
        (f"`{key}`" if " gap" in key else key, f"{row['parameters']:,}", str(row["n"]),
         *spread(row), f"{row['least']:.2f}")
        for key, row in ((key, found[key]) for key in names)
    ]  # fmt: skip
    mean = "held-out %, mean" if held_out else "mean of last epochs, %"
    columns = ["experiment", "parameters", "seeds", mean, "sd", "least"]
    return f"{markdown(columns, rows)}\n\n{sweep_source(name, result)}"


def frontier() -> str:
    """Networks of this library by parameters."""
    rows = [(name, read(source)["summary"][key]) for source, key, name in OURS]
    cells = [
        (name, f"{row['parameters']:,}", str(row["n"]), *spread(row), f"{row['least']:.2f}",
         f"{row['most']:.2f}", f"{row['shifted_mean']:.3f}")
        for name, row in rows
    ]  # fmt: skip
    columns = [
        "network", "parameters", "seeds", "mean of last epochs, %", "sd", "least", "most",
        "with shifts, mean",
    ]  # fmt: skip
    measured = (sweep_source(name, read(name)) for name in ("frontier", "sizes"))
    return "\n\n".join((markdown(columns, cells), *measured))


def fashion() -> str:
    """Networks that were measured on Fashion-MNIST, and whether each reached its aim."""
    result = read("fashion")
    rows = []
    for _, key, name in OURS_FASHION:
        row, aim = result["summary"][key], AIMS[key]
        rows.append(
            (name, f"{row['parameters']:,}", str(row["receptive_field"][0]), str(row["n"]),
             *spread(row), f"{row['least']:.2f}", f"{row['most']:.2f}", f"above {aim}",
             "met" if row["mean"] > aim else "**missed**")
        )  # fmt: skip
    columns = ["network", "parameters", "RF", "seeds", "mean of last epochs, %", "sd", "least",
               "most", "aim", "verdict"]  # fmt: skip
    return f"{markdown(columns, rows)}\n\n{sweep_source('fashion', result)}"


def published(dataset: str) -> str:
    rows = [
        (who, f"{params:,}", "" if best is None else f"{best:.2f}",
         "" if last is None else f"{last:.2f}", evidence)
        for params, best, last, evidence, who in PUBLISHED[dataset]
    ]  # fmt: skip
    words, figures = Column("published"), ("parameters", "best, %", "last, %")
    head = (words, *(Column(name, numeric=True) for name in figures), Column("evidence"))
    return Table(head, tuple(rows)).to_markdown()


def findings() -> str:
    result = read("findings")
    found = result["summary"]

    def measured(name: str) -> str:
        mean, sd = spread(found[name])
        return f"{name}: {mean} ± {sd}"

    def filled(verdict: str) -> str:
        text = re.sub(r"\[(.+?)\]", lambda name: gain("findings", name[1], "s6"), verdict)
        return re.sub(r"<(.+?)>", lambda name: f"{found[name[1]]['parameters']:,}", text)

    rows = [
        (claim, "; ".join(map(measured, names)), filled(verdict))
        for claim, names, verdict in CLAIMS_MADE
    ]
    head = (Column("claim"), Column("mean of last epochs ± sd, 3 seeds"), Column("verdict"))
    return f"{Table(head, tuple(rows)).to_markdown()}\n\n{sweep_source('findings', result)}"


def report_recipe() -> str:
    result = read("report")
    rows = []
    for model, row in result["summary"].items():
        epochs = [run["epochs"] for run in runs("report", model)]
        rows.append(
            (model, f"{row['parameters']:,}", str(row["receptive_field"][0]),
             numbers(firsts("report", model)), numbers([max(run) for run in epochs]),
             numbers([run[-1] for run in epochs]),
             f"{row['mean']:.2f}", CLAIMS[model])
        )  # fmt: skip
    columns = ["network", "parameters", "RF", "first epoch at 99.4", "best", "last", "mean last"]
    table = markdown([*columns, "the report: best"], rows)
    return f"{table}\n\n{sweep_source('report', result)}"


def training(name: str) -> str:
    result = read(name)
    found = result["throughput"]
    rows = [
        (side, f"{rate:,.0f}", f"{found['example_is_faster_by'][side]:.2f}")
        for side, rate in found["median"].items()
    ]
    reference = next(iter(found["median"]))
    table = markdown(["way of training", "images/s", f'"{reference}" is faster by'], rows)
    note = f"\n\n{result['note']}" if "note" in result else ""
    return f"{table}{note}\n\n{source(name, result)}"


def to_target() -> str:
    result = read("training_cpu")
    rows = [
        (name, f"{found['reached']} of {found['n']}", str(found["mean"]["epochs"] or ""),
         str(found["mean"]["seconds"] or ""), numbers([run["seconds"] for run in found["runs"]]))
        for name, found in result["to_target"].items()
    ]  # fmt: skip
    columns = [
        "way of training",
        "seeds at 99.4 %",
        "epochs, mean",
        "seconds, mean",
        "seconds of every run",
    ]
    return f"{markdown(columns, rows)}\n\n{source('training_cpu', result)}"


def fastest_way() -> dict[str, Any]:
    """Of our ways to the target the fastest on which every run arrives."""
    ways = read("training_cpu")["to_target"]
    sure = [way for name, way in ways.items() if name != COURSE and way["reached"] == way["n"]]
    found: dict[str, Any] = min(sure, key=lambda way: way["mean"]["seconds"])
    return found


def faster_to_target() -> str:
    course = read("training_cpu")["to_target"][COURSE]
    return f"{course['mean']['seconds'] / fastest_way()['mean']['seconds']:.1f}"


def runs(name: str, experiment: str) -> list[dict[str, Any]]:
    return [run for run in read(name)["runs"] if run["name"] == experiment]


def summary(form: str, name: str, experiment: str, key: str) -> str:
    return figure(form, name, "summary", experiment, key)


def mean(name: str, experiment: str) -> str:
    """The mean of an experiment, with its spread and the number of seeds."""
    row = read(name)["summary"][experiment]
    return f"{row['mean']:.3f} ± {row['sd']:.3f} over {row['n']} seeds"


def gain(name: str, one: str, other: str) -> str:
    """By how many points the mean of the other experiment is higher."""
    found = read(name)["summary"]
    return f"{found[other]['mean'] - found[one]['mean']:.2f}"


def best(name: str, experiment: str) -> str:
    return f"{max(max(run['epochs']) for run in runs(name, experiment)):.2f}"


def firsts(name: str, experiment: str) -> list[int | None]:
    """The first epoch of every run that reaches the target."""
    accuracies = (run["epochs"] for run in runs(name, experiment))
    return [next((k for k, a in enumerate(run, 1) if a >= TARGET), None) for run in accuracies]


def best_over_last(name: str) -> str:
    found = read(name)["runs"]
    return f"{statistics.mean(max(run['epochs']) - run['last'] for run in found):.2f}"


def within(name: str, experiment: str, epochs: int) -> str:
    """How many runs reach the target by so many epochs."""
    found = firsts(name, experiment)
    return f"{sum(first is not None and first <= epochs for first in found)} of {len(found)}"


def test_noise() -> str:
    """Points by which 10,000 digits drawn again would move a network at the target."""
    share = TARGET / 100
    return f"{100 * math.sqrt(share * (1 - share) / 10_000):.2f}"


def seed_noise(seeds: int) -> str:
    """Two standard errors of a difference of means over so many seeds, each as s6's spread."""
    return f"{2 * read('default')['summary']['default']['sd'] * math.sqrt(2 / seeds):.2f}"


def fewest_published() -> str:
    """Of the published networks whose last epoch reaches the target."""
    reaching = (count for count, _, last, *_ in ON_MNIST if last is not None and last >= TARGET)
    return f"{min(reaching):,}"


def arrived(name: str, experiment: str) -> str:
    last = [run["last"] for run in runs(name, experiment)]
    return f"{sum(value >= TARGET for value in last)} of {len(last)}"


def gpu_run() -> str:
    """One run of the example on a GPU, in words."""
    run = read("gpu_run")
    return (
        f"{run['seconds_to_target']:.1f} seconds in {run['first_epoch_at_target']} epochs "
        f"(`{run['command']}`, a single run, seed {run['seed']}, {run['last']:.2f} %; "
        f"{run['hardware']['gpu']}, torch {run['versions']['torch']})"
    )


def where_time_goes() -> str:
    result = read("training_cpu")
    rows = [(part, f"{100 * share:.0f} %") for part, share in result["shares"].items()]
    return markdown(["part of a training step", "share"], rows)
