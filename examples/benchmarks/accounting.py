"""Time one full account of a network beside the peers, in one run on one thread.

    pip install torchinfo thop fvcore calflops transformers accelerate
    python examples/benchmarks/accounting.py

Medians of calls after a first one, which pays for imports and caches. The tools take turns, so that
a change of the machine's speed meets all of them alike, and each has a copy of the model to itself,
since some leave hooks or attributes behind. All run without gradients where they leave the choice.
A peer that can run on the meta device is timed there too. Extra memory is the growth of the highest
resident size during one call in a fresh process that has imported and built everything before.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import cProfile
import importlib.metadata
import io
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import calflops
import fvcore.nn
import thop
import torch
import torchinfo
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import budgetnet
import run_folder
from budgetnet import models
from budgetnet.accounting.table import Column, Table
from budgetnet.trace.run import account_of_module

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "accounting.json"
NETWORKS = (
    "s6", "resnet18", "resnet50", "mobilenet_v3_small", "vgg16", "efficientnet_b0", "densenet121",
    "vit_b_16", "swin_t", "convnext_tiny",
)  # fmt: skip
Call = Callable[[nn.Module, torch.Tensor], object]


def _account(model: nn.Module, x: torch.Tensor) -> object:
    return budgetnet.account(model, x.shape[1:])


def _rules_only(model: nn.Module, x: torch.Tensor) -> object:
    return account_of_module(model, x.shape[1:], shortcuts=False)


def _torchinfo(model: nn.Module, x: torch.Tensor) -> object:
    return torchinfo.summary(model, input_data=x, device=x.device, verbose=0)


def _thop(model: nn.Module, x: torch.Tensor) -> object:
    return thop.profile(model, (x,), verbose=False)


def _fvcore(model: nn.Module, x: torch.Tensor) -> object:
    analysis = fvcore.nn.FlopCountAnalysis(model, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis.total(), fvcore.nn.parameter_count(model)


def _calflops(model: nn.Module, x: torch.Tensor) -> object:
    # By itself it runs an input that it never fills, whose values may be slow to multiply.
    return calflops.calculate_flops(model, args=[x], print_results=False)


def _flop_counter(model: nn.Module, x: torch.Tensor) -> object:
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops(), sum(p.numel() for p in model.parameters())


OURS: dict[str, Call] = {"budgetnet.account": _account, "rules only": _rules_only}
PEERS: dict[str, Call] = {
    "torchinfo": _torchinfo,
    "thop": _thop,
    "fvcore": _fvcore,
    "calflops": _calflops,
    "FlopCounterMode": _flop_counter,
}


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network at inference, torchvision's if it has one of this name, and an input."""
    if name in torchvision.models.list_models():
        return torchvision.models.get_model(name, weights=None).eval(), torch.rand(1, 3, 224, 224)
    return models.get_model(name).eval(), torch.rand(1, *models.get_reference(name).input_shape)


def tools(name: str) -> dict[str, Callable[[], object]]:
    """Every way to count the network `name`, as a call without arguments."""
    model, x = build(name)
    calls: dict[str, Callable[[], object]] = {}
    if name in models.list_models():
        calls["budgetnet.plan"] = lambda: budgetnet.plan(name)
    for tool, call in (OURS | PEERS).items():
        own = copy.deepcopy(model)
        calls[tool] = lambda call=call, own=own: call(own, x)
    for tool, call in PEERS.items():
        if tool != "fvcore":  # it cannot run there
            own = copy.deepcopy(model).to("meta")
            calls[f"{tool}, meta"] = lambda call=call, own=own: call(own, x.to("meta"))
    return calls


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of one call, its printing silenced."""
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        started = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - started)


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Medians of all tools on one network, and by how much the fastest peer is slower."""
    calls = tools(name)
    first = {tool: timed(call) for tool, call in calls.items()}
    later: dict[str, list[float]] = {tool: [] for tool in calls}
    for _ in range(rounds):
        for tool, call in calls.items():
            # Ours are short: five calls count as one, so that one interruption weighs less.
            repeats = 5 if tool in OURS or tool == "budgetnet.plan" else 1
            later[tool].append(statistics.median(timed(call) for _ in range(repeats)))
    medians = {tool: statistics.median(times) for tool, times in later.items()}
    ours = medians["budgetnet.account"]
    peers = {tool: medians[tool] for tool in PEERS}
    on_meta = {tool: ms for tool, ms in medians.items() if tool.endswith("meta")}
    return {
        "first_ms": first,
        "median_ms": medians,
        "least_ms": {tool: min(times) for tool, times in later.items()},
        "fastest_peer": min(peers, key=peers.__getitem__),
        "faster_by": min(peers.values()) / ours,
        "faster_by_than_meta": min(on_meta.values()) / ours,
    }


PARTS = {  # of an account, by the files whose functions run
    "copying the model's structure": ("modules.py", "copies.py", "process.py"),
    "answering module calls and operations": (
        "tracer.py", "trace.py", "tensors.py", "memory.py", "constants.py", "operations.py",
        "known.py", "layouts.py", "writes.py", "decompositions.py",
    ),
    "rules": (
        "layers.py", "core.py", "sliding.py", "pointwise.py", "reductions.py", "views.py",
        "products.py", "choices.py", "sampling.py", "recurrent.py",
    ),
    "windows and fields": (
        "window.py", "receptive_field.py", "reading.py", "parts.py", "joins.py", "geometry.py",
    ),
    "rows": ("frames.py", "accounting.py"),
}  # fmt: skip


def shares(name: str, calls: int = 20) -> dict[str, float]:
    """Share of an account's time that every part takes, built-in functions by their callers."""
    model, x = build(name)
    timed(lambda: _account(model, x))
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(calls):
            _account(model, x)
    spent: dict[str, float] = dict.fromkeys([*PARTS, "the model's own forward and PyTorch"], 0.0)
    for entry in profiler.getstats():
        if isinstance(entry.code, str):
            continue  # a built-in: counted below, with each function that calls it
        own = [part for part, files in PARTS.items() if Path(entry.code.co_filename).name in files]
        ours = "budgetnet" in Path(entry.code.co_filename).parts
        part = own[0] if own and ours else "the model's own forward and PyTorch"
        builtin = sum(c.inlinetime for c in entry.calls or () if isinstance(c.code, str))
        spent[part] += entry.inlinetime + builtin
    return {part: seconds / sum(spent.values()) for part, seconds in spent.items()}


def extra_memory(tool: str, name: str) -> float:
    """MiB by which one call raises the highest resident size of a fresh process."""
    command = [sys.executable, __file__, "--memory-of", tool, name]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def raise_of_resident_size(tool: str, name: str) -> float:
    calls = tools(name)
    timed(tools("s6")[tool])  # what a first call imports and keeps is not the network's
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest so far

    def highest() -> int:
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1])

    before = highest()
    timed(calls[tool])
    return (highest() - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    if args.memory_of:
        print(raise_of_resident_size(*args.memory_of))
        return
    found = {}
    for name in args.networks:
        found[name] = measure(name, args.rounds)
        print(table(name, found[name]).to_text(), flush=True)
    memory = {tool: extra_memory(tool, "resnet50") for tool in ("budgetnet.account", *PEERS)}
    print(json.dumps(memory, indent=2))
    peers = ("torchinfo", "thop", "fvcore", "calflops", "transformers")
    run_folder.write_json(
        RESULTS,
        {
            "command": f"python examples/benchmarks/accounting.py --rounds {args.rounds}",
            "networks": found,
            "extra_memory_mib": memory,
            "shares": {name: shares(name) for name in args.networks},
            "versions": run_folder.versions() | {p: importlib.metadata.version(p) for p in peers},
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


def table(name: str, found: dict[str, Any]) -> Table:
    """All figures of one network."""
    ours = found["median_ms"]["budgetnet.account"]
    cells = tuple(
        (tool, f"{found['first_ms'][tool]:.2f}", f"{ms:.2f}", f"{ms / ours:.1f}")
        for tool, ms in found["median_ms"].items()
    )
    columns = (Column("Tool"), Column("First, ms", True), Column("Median, ms", True))
    title = f"One account of {name}, one thread"
    return Table((*columns, Column("To account", True)), cells, title=title)


if __name__ == "__main__":
    main()
