"""ExecuTorch programs: a network in float32 as a `.pte` file, run by that runtime before use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..trace.tensors import tensors
from .descriptors import without_stderr
from .export import check_packages, prepared, random_inputs
from .litert import check_float
from .onnx_model import export_error, silenced

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("executorch.exir", "executorch.runtime")


def to_pte(
    model: nn.Module,
    input_shape: Any,
    path: str | Path,
    *,
    fold: bool = True,
    name: str = "",
    tolerance: float = 1e-4,
) -> Account:
    """Write a model for inference as an ExecuTorch program in float32, for one input at a time.

    Before the file is put in place, ExecuTorch runs it on random input, and every output must equal
    the model's own. `deployment(model, runtime="executorch", dtype="float32")` says beforehand what
    it allocates for activations.

    Args:
        model: any module that `account` can run, with float32 weights; it comes back as it was.
        input_shape: `(C, H, W)` without the batch, text or an example tensor, as for `account`; a
            tuple of shapes for several inputs.
        path: the file to write, whole or not at all.
        fold: fold every BatchNorm that can be folded, see `fold_batchnorm`; otherwise all stay.
        name: for messages and the account; the class name by default.
        tolerance: largest allowed difference, relative to the output's largest magnitude.

    Returns:
        The account of what was written, after folding.

    Raises:
        ExportError: a package is missing, ExecuTorch cannot take the model, or its program does not
            compute what the model does. Then nothing is written.
        ArgumentError: the file cannot be written, or this is not a module.
    """
    check_packages(PACKAGES, ".pte", "executorch")
    ready, shapes, result = prepared(model, input_shape, fold, name)
    inputs = random_inputs(ready, shapes, 1)
    content, _ = program_of(ready, inputs, result.name)
    with torch.no_grad():
        expected = list(tensors((ready(*inputs),)))
    check_float(_run(content, inputs), expected, result.name, tolerance)
    write_atomically(Path(path), content)
    return result


def program_of(model: nn.Module, inputs: tuple[torch.Tensor, ...], title: str) -> tuple[bytes, int]:
    """A program, and the bytes that it allocates for activations."""
    from executorch import exir

    try:
        with silenced(), without_stderr():
            edge = exir.to_edge(torch.export.export(model, inputs))
            made = edge.to_executorch()
            sizes = made.executorch_program.execution_plan[0].non_const_buffer_sizes
            return bytes(made.buffer), int(sizes[1])
    except Exception as error:  # its passes raise many kinds
        raise export_error(title, "it cannot be written as .pte", error) from error


def _run(content: bytes, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    from executorch.runtime import Runtime

    with without_stderr():
        method = Runtime.get().load_program(content).load_method("forward")
        assert method is not None  # every program that is made here has it
        return list(method.execute(inputs))
