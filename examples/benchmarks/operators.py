"""Hold the rules against every operator in PyTorch's own test database.

    pip install expecttest
    python examples/benchmarks/operators.py

`op_db` is what PyTorch tests its operators with: each comes with arguments that somebody else
chose. Every tensor among them is tracked in turn, and `budgetnet.testing.judge` compares what the
rules claim with what the real operator does when an element changes. Modules follow: see
`modules.py`.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import modules
import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import run_folder
from budgetnet.testing.operators import CannotRun, Verdict, judge

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "operators.json"
OUTCOMES = ("right", "refused", "loose", "wrong", "crashed")
DTYPES = (torch.float32, torch.int64, torch.bool)
SAMPLES = 12  # of an operator in each type; they differ in shapes and options
LARGEST = (200, 512)  # elements of any tensor, each changed some ten times; the first that will do
GENERATED = 400  # samples that are looked at for ones that are small


class Sample(NamedTuple):
    """A call of an operator, as its database gives it."""

    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]


def database() -> dict[str, Any]:
    """Every operator by name; importing PyTorch's takes seconds."""
    with modules.unfrozen():
        from torch.testing._internal.common_methods_invocations import op_db

    return {op.full_name: op for op in op_db}


def dtypes_of(op: Any) -> list[torch.dtype]:
    """Those of `DTYPES` that an operator has on the CPU, or else one that it has."""
    supported = op.supported_dtypes("cpu")
    return [dtype for dtype in DTYPES if dtype in supported] or sorted(supported, key=str)[:1]


def samples_of(
    op: Any, dtype: torch.dtype, most: int = SAMPLES, largest: tuple[int, ...] = LARGEST
) -> list[Sample]:
    """Small samples of an operator, evenly spread over those that the database has."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    found = list(islice(op.sample_inputs("cpu", dtype, requires_grad=False), GENERATED))
    small = next(filter(None, ([s for s in found if fits(s, size)] for size in largest)), [])
    step = max(1, -(-len(small) // most))
    return [
        variant
        for sample in small[::step]
        for variant in variants(op, [sample.input, *sample.args], sample.kwargs)
    ]


def variants(op: Any, args: list[Any], kwargs: dict[str, Any]) -> Iterator[Sample]:
    """The call itself, and in place where the operator can be."""
    yield Sample(op.op, args, kwargs)
    inplace = op.inplace_variant
    if inplace is not None and isinstance(args[0], Tensor):
        yield Sample(lambda x, *more, **named: (inplace(x, *more, **named), x), args, kwargs)


def fits(sample: Any, largest: int) -> bool:
    """Whether a sample has tensors, and none of more elements."""
    leaves = pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
    sizes = [leaf.numel() for leaf in leaves if isinstance(leaf, Tensor)]
    return bool(sizes) and max(sizes) <= largest


def verdicts_of(
    op: Any, most: int = SAMPLES, types: int = len(DTYPES), largest: tuple[int, ...] = LARGEST
) -> Iterator[Verdict | None]:
    """All verdicts on an operator; `None` for a sample that cannot run here."""
    for dtype in dtypes_of(op)[:types]:
        try:
            samples = samples_of(op, dtype, most, largest)
        except Exception:  # the database itself cannot make them
            yield None
            continue
        for sample in samples:
            try:
                with seeding_the_cpu_alone():
                    found = list(judge(*sample))
            except CannotRun:
                yield None
            else:
                yield from found


@contextmanager
def seeding_the_cpu_alone() -> Iterator[None]:
    """Let `torch.manual_seed` do no more than the CPU needs, on which all runs; draws are the same.

    Operators that draw call it in every run, and for each kind of device that is not there yet
    it notes the whole stack, which takes longer than the operator.
    """
    before = torch.manual_seed
    torch.manual_seed = torch.default_generator.manual_seed
    try:
        yield
    finally:
        torch.manual_seed = before


def row_of(op: Any) -> dict[str, Any]:
    """Counts of outcomes, and the reasons."""
    found = list(verdicts_of(op))
    verdicts = [verdict for verdict in found if verdict is not None]
    counts = Counter(verdict.outcome for verdict in verdicts)
    return {
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "left_out": len(found) - len(verdicts),
        "reasons": modules.reasons_of((v.outcome, v.reason) for v in verdicts),
    }


def totals(rows: dict[str, Any]) -> dict[str, Any]:
    """Cases by outcome, and operators by the worst outcome that any of their cases has."""
    worst = Counter(worst_of(row) for row in rows.values())
    return {
        "cases": {outcome: sum(row[outcome] for row in rows.values()) for outcome in OUTCOMES},
        "operators": {outcome: worst[outcome] for outcome in (*OUTCOMES, "left_out")},
        "operators_never_refused": sum(
            row["refused"] == 0 < row["right"] + row["loose"] for row in rows.values()
        ),
    }


def worst_of(row: dict[str, Any]) -> str:
    order = ("crashed", "wrong", "loose", "refused", "right")
    return next((outcome for outcome in order if row[outcome]), "left_out")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of operators")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    rows = {}
    for name, op in database().items():
        if not options.only or name in options.only:
            print(name, end=" ", flush=True)  # first: a crash of the process names its operator
            rows[name] = row_of(op)
            print({outcome: rows[name][outcome] for outcome in OUTCOMES}, flush=True)
    layers = {
        name: modules.row_of(info)
        for name, info in modules.database().items()
        if not options.only or name in options.only
    }
    result = {
        "command": "python examples/benchmarks/operators.py",
        "samples_of_each_operator_and_type": SAMPLES,
        "totals": totals(rows),
        "operators": rows,
        "module_totals": {
            outcome: sum(row[outcome] for row in layers.values()) for outcome in modules.OUTCOMES
        },
        "modules": layers,
        "versions": run_folder.versions(),
        "hardware": run_folder.hardware(torch.device("cpu")),
    }
    print(result["totals"], result["module_totals"])
    run_folder.write_json(options.out, result)


if __name__ == "__main__":
    main()
