"""What tables of latencies say of networks, beside the clock on the whole network.

python examples/benchmarks/latency.py

In every round the operators of a network are measured, then the network itself; and the operators
of all networks for one table. One thread works, and its own clock counts, which stands still while
other programs run; so what they do to caches and memory is in the numbers, and alike in both.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import torch
import torchvision.models as tv
from torch import nn

import run_folder
from budgetnet import Account, LatencyTable, account, latency, measure, models
from budgetnet.accounting.operators import Operator
from budgetnet.deploy.measuring import clock_of

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "latency.json"
OURS = ("s6", "dsnet38")
NETWORKS = (
    *OURS, "squeezenet1_1", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_b0",
    "regnet_y_400mf", "resnet18", "resnet50", "densenet121", "shufflenet_v2_x1_0",
)  # fmt: skip
RUNS, UNTIMED = 15, 3  # of the whole network, in every round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nets = {name: network(name) for name in args.only}
    every = operators(*(found for _, found in nets.values()))
    rounds: dict[str, list[dict[str, int | None]]] = {name: [] for name in nets}
    for turn in range(args.rounds):
        whole = measure(every, threads=1, quick=True)
        for name, (net, found) in nets.items():
            own = measure(found, threads=1, quick=True)
            once = {
                "clock_ns": clocked(net, found),
                "own_ns": latency(found, table=own).ns,
                "shared_ns": latency(found, table=whole).ns,
            }
            rounds[name].append(once)
            print(turn + 1, name, once, flush=True)
    run_folder.write_json(
        args.output,
        {
            "command": "python examples/benchmarks/latency.py",
            "clock": clock_of(1)[0],
            "load": os.getloadavg()[0],
            "operators": len(every),
            "networks": {
                name: summary(found, whole, rounds[name]) for name, (_, found) in nets.items()
            },
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


def network(name: str) -> tuple[nn.Module, Account]:
    """A network at inference, and its account."""
    if name in OURS:
        net = models.get_model(name).eval()
        return net, account(net, models.get_reference(name).input_shape, name=name)
    net = getattr(tv, name)().eval()
    return net, account(net, (3, 224, 224), name=name)


def operators(*accounts: Account) -> tuple[Operator, ...]:
    """The operators of all of them, each once."""
    empty = LatencyTable({}, {})
    return tuple(dict.fromkeys(o for one in accounts for o in latency(one, table=empty).missing))


def clocked(net: nn.Module, found: Account) -> int:
    """The median time of a run of the whole network."""
    clock: Callable[[], int] = clock_of(1)[1]
    image = torch.randn(1, *found.input_shape)
    times = []
    with torch.inference_mode():
        for _ in range(UNTIMED + RUNS):
            started = clock()
            net(image)
            times.append(clock() - started)
    return round(median(times[UNTIMED:]))


def summary(
    found: Account, table: LatencyTable, rounds: list[dict[str, int | None]]
) -> dict[str, Any]:
    """The medians of the rounds, and all of them."""
    told: dict[str, Any] = {
        "input": list(found.input_shape), "macs": found.macs,
        "operators": len(operators(found)), "unknown": latency(found, table=table).reason,
    }  # fmt: skip
    for key in rounds[0]:
        values = [each[key] for each in rounds]
        told[key] = None if None in values else round(median(v for v in values if v is not None))
    return told | {"rounds": rounds}


if __name__ == "__main__":
    main()
