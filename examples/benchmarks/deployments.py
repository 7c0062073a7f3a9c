"""What the library says that a runtime allocates, beside what the runtimes say themselves.

    pip install executorch tosa-tools && pip install --pre tflite-micro
    python examples/benchmarks/deployments.py

Every named network is lowered to the operators of TensorFlow Lite Micro, written as a `.tflite`
file, and loaded into the interpreter, as it is and with the least plan. So are the files of MLPerf
Tiny in `$BUDGETNET_DATA/mlperf_tiny`. ExecuTorch exports the networks in float32, and in int8 with
its Cortex-M backend, and plans their memory. Nothing is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests")]

import numpy as np
import torch
from executorch.backends.cortex_m.passes.cortex_m_pass_manager import CortexMPassManager
from executorch.backends.cortex_m.quantizer.quantizer import CortexMQuantizer
from executorch.backends.cortex_m.target_config import CortexM, CortexMTargetConfig
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.exir.passes.quantize_io_pass import QuantizeInputs, QuantizeOutputs
from tflite_files import content_of, interpret
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

import budgetnet
import run_folder
from budgetnet import models
from budgetnet.accounting.device.lowering import lower
from budgetnet.accounting.device.target import Target
from budgetnet.cli import main as command

TINY = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / "mlperf_tiny"
RESULTS = ROOT / "docs" / "results" / "deployments.json"
KEPT = [  # what the Cortex-M backend has kernels for, and torch would take apart
    getattr(torch.ops.aten, name).default
    for name in ("linear", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_")
]
Found = dict[str, Any]


def in_tflm(content: bytes, found: budgetnet.Deployment) -> Found:
    """A file in the interpreter, as it is and with the least plan."""
    with tempfile.TemporaryDirectory() as folder:
        file, planned = Path(folder, "model.tflite"), Path(folder, "planned.tflite")
        file.write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()):
            assert command(["plan-memory", str(file), "-o", str(planned)]) == 0
        after = planned.read_bytes()
    real, better = (interpret(each, arena=1 << 26) for each in (content, after))
    return {
        "real": real.head,
        "least": found.least(5).plan.size,
        "least_real": better.head,
        "same_outputs": np.array_equal(output(real.interpreter), output(better.interpreter)),
    }


def output(interpreter: Any) -> Any:
    """What an interpreter makes of one random image."""
    shape = interpreter.get_input_details(0)["shape"]
    image = np.random.default_rng(0).integers(-128, 128, shape, np.int8)
    interpreter.set_input(image, 0)
    interpreter.invoke()
    return interpreter.get_output(0)


def executorch(network: nn.Module, shape: tuple[int, ...], dtype: str) -> int:
    """The bytes that ExecuTorch plans for an export."""
    image = torch.zeros(1, *shape)
    if dtype == "float32":
        return planned(to_edge(torch.export.export(network, (image,))))
    if len(shape) == 3:
        image = image.to(memory_format=torch.channels_last)
        network = network.to(memory_format=torch.channels_last)
    graph = torch.export.export(network, (image,)).module(check_guards=False)
    graph = prepare_pt2e(graph, CortexMQuantizer())
    graph(image)  # its scales change no size
    exported = torch.export.export(convert_pt2e(graph), (image,))
    config = EdgeCompileConfig(_check_ir_validity=False, preserve_ops=KEPT)
    edge = to_edge(exported, compile_config=config)
    edge = edge.transform([QuantizeInputs(edge, [0]), QuantizeOutputs(edge, [0])])
    passes = CortexMPassManager(
        edge.exported_program(), target_config=CortexMTargetConfig(cpu=CortexM.M4)
    )
    edge._edge_programs["forward"] = passes.transform()
    return planned(edge)


def planned(edge: Any) -> int:
    """What the plan of a program needs for all that is not constant."""
    plans = {plan.name: plan for plan in edge.to_executorch().executorch_program.execution_plan}
    return int(plans["forward"].non_const_buffer_sizes[1])


def measured(name: str) -> Found:
    """A named network: what is said for each runtime, and what it says itself."""
    network, shape = models.get_model(name).eval(), models.get_reference(name).input_shape
    account = budgetnet.account(network, shape)
    tflm = budgetnet.deployment(account)
    said = {"tflm int8": told(tflm)}
    if not tflm.assumed:
        said["tflm int8"] |= in_tflm(content_of(lower(account, Target()).model), tflm)
        del said["tflm int8"]["same_outputs"]  # such a file has no weights
    for dtype in ("int8", "float32"):
        found = budgetnet.deployment(account, runtime="executorch", dtype=dtype)
        said[f"executorch {dtype}"] = told(found)
        if not found.assumed:
            said[f"executorch {dtype}"]["real"] = executorch(network, shape, dtype)
    return said


def told(found: budgetnet.Deployment) -> Found:
    """What the library says; nothing where it assumes an operator."""
    if found.assumed:
        return {"assumed": list(found.assumed)}
    return {"said": found.ram_bytes, "bound": found.ram_bound, "flash": found.flash_bytes}


def main() -> None:
    """Write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=models.list_models())
    parser.add_argument("-o", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.manual_seed(0)
    files, networks = {}, {}
    for path in sorted(TINY.glob("*.tflite")):
        found = budgetnet.deployment(path)
        files[path.name] = told(found) | in_tflm(path.read_bytes(), found)
        print(path.name, files[path.name], flush=True)
    for name in args.networks:
        networks[name] = measured(name)
        print(name, networks[name], flush=True)
    tools = {name: version(name) for name in ("executorch", "torchao", "tflite-micro")}
    run_folder.write_json(
        args.o,
        {
            "command": "python examples/benchmarks/deployments.py",
            "files": files,
            "networks": networks,
            "versions": run_folder.versions() | tools,
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


if __name__ == "__main__":
    main()
