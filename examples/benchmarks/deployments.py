"""What the library says that a runtime allocates, beside what the runtimes say themselves.

    python examples/benchmarks/deployments.py

Networks are lowered to the operators of TensorFlow Lite Micro, written as `.tflite` files, and
loaded into its interpreter (`pip install --pre tflite-micro`), which prints the arena. So are the
files of MLPerf Tiny in `$BUDGETNET_DATA/mlperf_tiny`, as they are and with the least plan.
ExecuTorch (`pip install executorch`) exports the networks in float32 and plans their memory. What
is not installed is left out. Nothing is timed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import torch
from tflite_files import content_of, interpret
from torch import nn

import budgetnet
from budgetnet import models
from budgetnet.accounting.device.lowering import lower
from budgetnet.accounting.device.target import Target
from budgetnet.accounting.table import Column, Table
from budgetnet.cli import main as command
from budgetnet.errors import UnsupportedOp

TINY = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / "mlperf_tiny"
VISION = ("resnet18", "mobilenet_v2", "squeezenet1_0", "densenet121")
NONE = "-"


def networks() -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Networks with a name and the shape of their input."""
    for name in models.list_models():
        yield name, models.get_model(name).eval(), models.get_reference(name).input_shape
    try:
        import torchvision
    except ImportError:
        return
    for name in VISION:
        yield name, getattr(torchvision.models, name)().eval(), (3, 224, 224)


def real_tflm(content: bytes) -> str:
    """What the interpreter allocates for activations."""
    try:
        return f"{interpret(content, arena=1 << 26).head:,}"
    except ImportError:
        return NONE
    except RuntimeError:  # it has no kernel for an operator, or not for as many inputs
        return "refused"


def real_executorch(model: nn.Module, shape: tuple[int, ...]) -> str:
    """What ExecuTorch plans for an export in float32."""
    try:
        from executorch.exir import to_edge
    except ImportError:
        return NONE
    program = to_edge(torch.export.export(model, (torch.zeros(1, *shape),))).to_executorch()
    (plan,) = program.executorch_program.execution_plan
    return f"{plan.non_const_buffer_sizes[1]:,}"


def row_of(name: str, model: nn.Module, shape: tuple[int, ...]) -> tuple[str, ...]:
    """A network for both runtimes: what is said, and what they say."""
    account = budgetnet.account(model, shape)
    tflm = budgetnet.deployment(account)
    float32 = budgetnet.deployment(account, runtime="executorch", dtype="float32")
    lowered = lower(account, Target()).model
    unnamed = any(operator.name.startswith("CUSTOM") for operator in lowered.operators)
    real = NONE if unnamed else real_tflm(content_of(lowered))  # a file wants names
    least = tflm.least(5).plan.size
    planned = f"{float32.ram_bytes:,}" if not float32.assumed else "assumed"
    head = "assumed" if tflm.assumed else f"{tflm.ram_bytes:,}"
    return (
        name, f"{tflm.flash_bytes:,}", head, real, f"{tflm.ram_bound:,}",
        f"{least:,}", planned, real_executorch(model, shape),
    )  # fmt: skip


def rows_of_files() -> Iterator[tuple[str, ...]]:
    """The files of MLPerf Tiny, before and after planning."""
    for path in sorted(TINY.glob("*.tflite")):
        found = budgetnet.deployment(path)
        with tempfile.TemporaryDirectory() as folder:
            planned = Path(folder) / "planned.tflite"
            command(["plan-memory", str(path), "-o", str(planned)])
            after = real_tflm(planned.read_bytes())
        yield (
            path.name, f"{found.flash_bytes:,}", f"{found.ram_bytes:,}",
            real_tflm(path.read_bytes()), f"{found.ram_bound:,}", f"{after} in the interpreter",
            NONE, NONE,
        )  # fmt: skip


def main() -> None:
    """Print the table."""
    rows = list(rows_of_files())
    for name, model, shape in networks():
        try:
            rows.append(row_of(name, model, shape))
        except UnsupportedOp as error:
            rows.append((name, str(error), *[NONE] * 6))
    names = (
        "Flash",
        "tflm int8",
        "interpreter",
        "Bound",
        "Least plan",
        "executorch float32",
        "its",
    )
    columns = (Column("Network"), *(Column(name, numeric=True) for name in names))
    print(Table(columns, tuple(rows), "bytes, as said and as the runtimes say").to_text())


if __name__ == "__main__":
    main()
