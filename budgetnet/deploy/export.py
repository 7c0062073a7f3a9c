"""Models written for other runtimes: `torch.export` programs, and ONNX files checked before use."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..accounting.geometry import shapes_of
from ..errors import ArgumentError, ExportError, RunEnded, explain
from ..trace.account import account, check_module
from ..trace.modules import ModuleIndex
from ..trace.run import parse_inputs
from ..trace.tensors import tensors
from . import onnx_model
from .descriptors import without_stderr
from .folding import fold_batchnorm
from .onnx_model import export_error, silenced

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from ..spec.plan import Spec

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
BATCHES = (1, 3)  # neither is the batch that the program is traced with


def to_program(model: nn.Module, input_shape: Any, *, fold: bool = True) -> ExportedProgram:
    """Export a model for inference as a `torch.export` program that takes any batch size.

    `torch.export.save(program, "net.pt2")` writes it, and `torch.export.load("net.pt2").module()`
    computes the same without the model's Python code. torch may unpickle parts of such a file:
    load only those that you trust.

    Args:
        model: any module that `account` can run; it comes back as it was.
        input_shape: `(C, H, W)` without the batch, text or an example tensor, as for `account`; a
            tuple of shapes for several inputs.
        fold: fold every BatchNorm that can be folded, see `fold_batchnorm`.

    Raises:
        ExportError: torch cannot export the model, or only for a fixed batch size.

    >>> import torch
    >>> from budgetnet import models
    >>> program = to_program(models.get_model("s6"), (1, 28, 28))
    >>> program.module()(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    """
    shapes = shapes_of_inputs(input_shape)
    return _export(at_inference(model, input_shape, fold), shapes)


def to_onnx(
    model: nn.Module,
    input_shape: Any,
    path: str | Path,
    *,
    fold: bool = True,
    name: str = "",
    spec: Spec | str | None = None,
    tolerance: float = 1e-4,
) -> Account:
    """Write a model for inference as an ONNX file that takes any batch size.

    Before the file is put in place, onnxruntime runs it on random input of two batch sizes, and
    every output must equal the model's own. Its metadata contains `budgetnet.name`, `.spec`,
    `.input`, `.params`, `.macs`, `.receptive_field` and `.version`, all as text.

    Args:
        model: any module that `account` can run, with float32 weights; it comes back as it was.
        input_shape: `(C, H, W)` without the batch, text or an example tensor, as for `account`; a
            tuple of shapes for several inputs.
        path: the file to write, whole or not at all.
        fold: fold every BatchNorm that can be folded, see `fold_batchnorm`; otherwise all stay.
        name: written into the file; the class name by default.
        spec: written into the file, if the model was built from one.
        tolerance: largest allowed difference, relative to the output's largest magnitude.

    Returns:
        The account of what was written, after folding. The exporter omits parts that do
        nothing, such as a bias of zeros.

    Raises:
        ExportError: a package is missing, torch cannot export the model, or the exported program
            does not compute what the model does. Then nothing is written.
        ArgumentError: the file cannot be written, or this is not a module.

    >>> import tempfile
    >>> from budgetnet import models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = to_onnx(models.get_model("s6"), (1, 28, 28), f"{folder}/s6.onnx", name="s6")
    >>> written.name, written.params, written.macs
    ('s6', 14250, 3731008)
    """
    check_packages(PACKAGES, "ONNX", "onnx")
    ready, shapes, result = prepared(model, input_shape, fold, name)
    program = _export(ready, shapes)
    content = onnx_model.to_bytes(program, result, spec=spec, optimize=fold)
    session = onnx_model.open_session(content, result.name)
    for batch in BATCHES:
        inputs = random_inputs(model, shapes, batch)
        with ModuleIndex(model).at_inference(), torch.no_grad():
            expected = list(tensors((model(*inputs),)))
        onnx_model.check_equal(session, inputs, expected, result.name, tolerance)
    write_atomically(Path(path), content)
    return result


def prepared(
    model: nn.Module, input_shape: Any, fold: bool, name: str
) -> tuple[nn.Module, tuple[tuple[int, ...], ...], Account]:
    """A copy of a model that is ready to be written, the shapes of its inputs, and its account."""
    check_weights(check_module(model, "an export"))
    shapes = shapes_of_inputs(input_shape)
    ready = at_inference(model, input_shape, fold).cpu()
    result = account(ready, input_shape, name=name or type(model).__name__, strict=False)
    if not result.is_complete:
        raise RunEnded(result.unknown[-1])
    return ready, shapes, result


def check_packages(packages: Iterable[str], files: str, extra: str) -> None:
    """Raise the `ExportError` that says what to install, if something is missing."""
    missing = []
    for package in packages:
        try:
            with silenced(), without_stderr():  # some say much when they are imported
                __import__(package)
        except ImportError:
            missing.append(package)
    if missing:
        remedy = f'pip install -e ".[{extra}]"'
        raise ExportError(explain(f"{files} files need {', '.join(missing)}", remedy=remedy))


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose weights have no values, or are not in float32."""
    module_index = ModuleIndex(model)
    for path, tensor, _ in (*module_index.parameters.values(), *module_index.buffers.values()):
        if tensor.is_meta:
            what, remedy = "has no values to write", "Build the model on a real device."
        elif tensor.is_floating_point() and tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            what = f"is {kind}, and ONNX files are written in float32"
            remedy = "Export copy.deepcopy(model).float()."
        else:
            continue
        raise ExportError(explain(what, where=path, remedy=remedy))


def at_inference(model: nn.Module, input_shape: Any, fold: bool) -> nn.Module:
    """A copy in evaluation mode, its norms folded if they are to be.

    Its weights lie as a new module's do: litert-torch misreads those in channels-last order.
    """
    if fold:
        ready = fold_batchnorm(model, input_shape)
    else:
        account(check_module(model, "an export"), input_shape, strict=False)  # names a wrong shape
        ready = copy.deepcopy(model).eval()
    return ready.to(memory_format=torch.contiguous_format)


def shapes_of_inputs(input_shape: Any) -> tuple[tuple[int, ...], ...]:
    """The shape of every input; raises `ArgumentError` for inputs that are not floats."""
    given = parse_inputs(input_shape)
    every = list(tensors(given.args))
    if given.kwargs or not all(tensor.is_floating_point() for tensor in every):
        raise ArgumentError(
            explain(
                "an export needs floating-point inputs, given by position",
                remedy="Pass a floating-point tensor, a tuple of them, or their shapes.",
            )
        )
    return shapes_of(given.shapes)


def _export(model: nn.Module, input_shapes: tuple[tuple[int, ...], ...]) -> ExportedProgram:
    """Trace a model in evaluation mode, every first axis a symbol."""
    inputs = random_inputs(model, input_shapes, 2)
    batch = torch.export.Dim("batch")
    shapes: Any = tuple({0: batch} for _ in inputs)
    try:
        with silenced():
            return torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises many kinds
        what = "torch cannot export it for any batch size"
        remedy = "Keep the batch out of what forward computes: x.flatten(1), not x.view(2, -1)."
        raise export_error(type(model).__name__, what, error, remedy) from error


def random_inputs(
    model: nn.Module, shapes: tuple[tuple[int, ...], ...], batch: int
) -> tuple[Tensor, ...]:
    """Normal random inputs of the model's type and device, the same at every call."""
    sample = ModuleIndex(model).sample
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(batch, *shape, generator=generator).to(sample.device, sample.dtype)
        for shape in shapes
    )
