"""`deployment`: what a runtime needs for any network, or for a `.tflite` file as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..accounting.device.deployment import Deployment, Step, deployment_of, deployment_of_model
from ..accounting.device.lowering import Lowered
from ..accounting.device.model import TfliteModel, TfliteOperator
from ..accounting.device.target import RUNTIMES, Target
from ..errors import ArgumentError, explain
from ..trace.files.tflite import read_tflite
from .tflite_figures import figures_of

__all__ = ["Deployment", "Step", "Target", "deployment"]


def deployment(
    model: Any,
    input_shape: Any = None,
    runtime: str = "tflm",
    dtype: str = "",
    *,
    kernels: str = "",
    plan: str = "own",
) -> Deployment:
    """Say what a runtime needs for a network: flash and RAM to the byte, step by step.

    The network is fused as the runtime fuses it: norms and ReLUs become part of the layer before
    them, unless something else reads that layer's output too. RAM is what the runtime's own planner
    allocates for the activations of one input. TensorFlow Lite Micro and ExecuTorch round each
    buffer up to 16 bytes, keep what an operator reads and writes while it runs, and compute nothing
    in place.

    Args:
        model: as for `account`: a spec or its text, the name of a reference network, an `nn.Module`
            or an `Account`; or the path of a `.tflite` file, whose own operators count.
        input_shape: `(C, H, W)` without the batch, as for `account`; a file knows its own.
        runtime: "tflm" for TensorFlow Lite Micro; "executorch", in int8 with its Cortex-M backend
            and inputs of int8, in float32 with its portable kernels; or "eager", PyTorch's own peak
            in float32.
        dtype: of maps: "int8", the default but for eager; "int16", with weights of int8; "float32".
        kernels: whose scratch buffers count: "reference", "cmsis-nn", or "cmsis-nn without dsp" for
            Cortex-M0 and M3. By default the first, with ExecuTorch in int8 the second.
        plan: "own" for the runtime's own planner; "least" for the order of operators and the plan
            that need least, which `budgetnet plan-memory` writes into a file for tflm.

    Raises:
        ArgumentError: a name is not known, the runtime has no such type, or a file cannot be read.
        FormatError: the file is damaged, or no `.tflite` file.
        UnsupportedOp: the memory of an operation is not known, such as that of a recurrent layer.

    >>> found = deployment("s6")
    >>> found.flash_bytes, found.ram_bytes, found.ram_bound, found.peak.layer
    (14616, 20032, 20032, 'conv2')
    """
    target = Target(runtime, dtype, kernels, plan)
    if is_tflite(model):
        return _of_file(Path(model), input_shape, target, dtype)
    from ..trace.account import account  # on use: a saved account and a file need no specs

    return deployment_of(account(model, input_shape), target)


def is_tflite(model: Any) -> bool:
    """Whether a value is the path of a file, which is then a `.tflite` file."""
    return isinstance(model, Path) or (isinstance(model, str) and model.endswith(".tflite"))


def _of_file(path: Path, input_shape: Any, target: Target, dtype: str) -> Deployment:
    """The deployment of a file, in the types that it has."""
    if input_shape is not None:
        raise ArgumentError(explain(f"{path} has an input shape of its own; pass none"))
    if target.runtime != "tflm":
        what = f"a .tflite file runs in tflm, not in {target.runtime}"
        raise ArgumentError(explain(what, where=str(path), remedy="Leave the runtime out."))
    model = read_tflite(path)
    has = _dtype(model)
    if has not in RUNTIMES["tflm"] or dtype not in ("", has):
        numbers = {"it has": has, "asked for": dtype or "any of " + ", ".join(RUNTIMES["tflm"])}
        raise ArgumentError(
            explain("the file is of another type", where=str(path), numbers=numbers)
        )
    kinds = tuple(
        " + ".join(filter(None, (operator.name, operator.options.activation)))
        for operator in model.operators
    )
    places = tuple(_place(model, operator) for operator in model.operators)
    lowered = Lowered(model, places, kinds, figures_of(model).weight_bytes)
    return deployment_of_model(lowered, Target("tflm", has, target.kernels, target.plan))


def _place(model: TfliteModel, operator: TfliteOperator) -> str:
    """What its result is called; converters join the names of all that they fused by semicolons."""
    names = [model.tensors[i].name for i in operator.outputs]
    return (names or [operator.name])[0].partition(";")[0]


def _dtype(model: TfliteModel) -> str:
    """The type of the map that its first operator writes, or of its input."""
    written = [i for operator in model.operators[:1] for i in operator.outputs]
    first = [model.tensors[i].dtype for i in (*written, *model.inputs)]
    return first[0] if first else "nothing"
