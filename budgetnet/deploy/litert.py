"""`to_tflite`: a model as a `.tflite` file, in float32 or int8, through Google's own converter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..accounting.account import Account
from ..accounting.files import read_bytes, write_atomically
from ..errors import ArgumentError, ExportError, explain, one_line
from ..trace.account import check_module
from ..trace.files.account import account_of_file
from .descriptors import without_stderr
from .export import at_inference, check_packages, check_weights, random_inputs, shapes_of_inputs
from .onnx_model import export_error, silenced

PACKAGES = ("litert_torch", "ai_edge_quantizer")
LEAST = 0.9  # correlation of int8 outputs with the model's: some 0.98 is usual, 0 if it is wrong


def to_tflite(
    model: nn.Module,
    input_shape: Any,
    path: str | Path,
    *,
    calibrate: Any = None,
    fold: bool = True,
    name: str = "",
    tolerance: float = 1e-4,
) -> Account:
    """Write a model at inference as a `.tflite` file, checked against the model.

    An image is read channels last, `(1, H, W, C)`, as the runtimes want it. Needs
    `pip install -e ".[litert]"`.

    Args:
        model: a module of one input.
        input_shape: `(C, H, W)`, without the batch, which is 1 in the file.
        path: the file to write, whole or not at all.
        calibrate: typical inputs `(N, C, H, W)`, a hundred or more, as the model takes them: then
            weights, activations, inputs and outputs are int8, at scales that these give. Without
            them the file is in float32.
        fold: fold every BatchNorm that can be folded, see `fold_batchnorm`.
        name: of the account; the class name by default.
        tolerance: largest allowed difference in float32, relative to the output's largest
            magnitude. Of int8, the correlation of outputs with the model's must be 0.9 on
            the calibration data.

    Returns:
        The account of the file, as `account(path)` gives it.

    Raises:
        ExportError: a package is missing, the model cannot be converted, or the file does not
            compute what the model does. Then nothing is written.
        ArgumentError: the file cannot be written, or an argument is not valid.
    """
    check_converter()
    check_weights(check_module(model, "an export"))
    shapes = shapes_of_inputs(input_shape)
    if len(shapes) > 1:
        remedy = "Use to_onnx, or make one tensor of them."
        raise ArgumentError(explain("a .tflite file is written of one input", remedy=remedy))
    typical = None if calibrate is None else _typical(calibrate, shapes[0])
    title = name or type(model).__name__
    ready = at_inference(model, input_shape, fold).cpu()
    content = _converted(ready, shapes[0], title)
    if typical is None:
        (x,) = random_inputs(model, shapes, 4)
        check_float(_run(content, x), _outputs(ready, x), title, tolerance)
    else:
        content = _quantized(content, typical, title)
        _check_int8(_run(content, typical[:64]), _outputs(ready, typical[:64]), title)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.tflite")
        file.write_bytes(content)
        result = account_of_file(file, name=title, strict=False)
    write_atomically(Path(path), content)
    return result


def load_calibration(path: str | Path) -> np.ndarray[Any, Any]:
    """Typical inputs from a `.npy` file; raises `ArgumentError` if it cannot be read."""
    read_bytes(Path(path))  # says why, if it is not there
    try:
        found: np.ndarray[Any, Any] = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several arrays")
    except (OSError, ValueError, EOFError) as error:
        remedy = "Write it with numpy.save(path, inputs), inputs of shape (N, C, H, W)."
        what, numbers = f"{path} is not a .npy file", {"reason": one_line(error)}
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy)) from error
    return found


def check_converter() -> None:
    """Raise the `ExportError` that says what to install, if something is missing."""
    check_packages(PACKAGES, ".tflite", "litert")


def _typical(given: Any, shape: tuple[int, ...]) -> Tensor:
    values = torch.as_tensor(np.asarray(given))
    if tuple(values.shape[1:]) != shape or not len(values) or not values.is_floating_point():
        got = f"{tuple(values.shape)} of {values.dtype}"
        numbers = {"got": got, "expected": f"(N, {', '.join(map(str, shape))}) of floats"}
        remedy = "Pass inputs as the model takes them, normalised floats with the batch first."
        raise ArgumentError(explain("calibrate is not valid", numbers=numbers, remedy=remedy))
    values = values.float()
    if not bool(values.isfinite().all()):
        raise ArgumentError(explain("calibrate holds numbers that are not finite"))
    return values


def _converted(model: nn.Module, shape: tuple[int, ...], title: str) -> bytes:
    """The content of a file in float32."""
    import litert_torch

    image = len(shape) == 3
    example = torch.zeros(1, *shape)
    try:
        with silenced(), without_stderr(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            ready = litert_torch.to_channel_last_io(model, args=[0]) if image else model
            made = litert_torch.convert(ready, (_as_stored(example) if image else example,))
            made.export(f"{folder}/net.tflite")
            return Path(folder, "net.tflite").read_bytes()
    except Exception as error:  # a converter raises many kinds
        raise export_error(title, "it cannot be written as .tflite", error) from error


def _as_stored(x: Tensor) -> Tensor:
    """Channels last, for images."""
    return x.movedim(1, -1).contiguous() if x.ndim == 4 else x


def _singly(inputs: Tensor) -> list[Tensor]:
    """Every input by itself, as the file takes it."""
    return [_as_stored(inputs[i : i + 1]) for i in range(len(inputs))]


def _quantized(content: bytes, typical: Tensor, title: str) -> bytes:
    """The content of a file in int8, at scales that typical inputs give."""
    from ai_edge_quantizer import quantizer, recipe

    signature, slot = _slot(content)
    samples = [{slot: each.numpy()} for each in _singly(typical)]
    try:
        with silenced(), without_stderr():
            maker = quantizer.Quantizer(content, recipe.static_wi8_ai8())
            scales = maker.calibrate({signature: samples}, num_threads=1)
            made = maker.quantize(scales, enable_progress_report=False).quantized_model
    except Exception as error:  # a quantizer raises many kinds
        raise export_error(title, "it cannot be quantised", error) from error
    return bytes(made)


def _slot(content: bytes) -> tuple[str, str]:
    """The signature of a file, and the name of its input."""
    (signature, slots), *_ = _interpreter(content).get_signature_list().items()
    return signature, slots["inputs"][0]


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with without_stderr():
        found = Interpreter(model_content=content)
        found.allocate_tensors()
    return found


def _run(content: bytes, inputs: Tensor) -> list[Tensor]:
    """The outputs of a file as floats, one input after another."""
    interpreter = _interpreter(content)
    (slot,), ends = interpreter.get_input_details(), interpreter.get_output_details()
    results: list[list[Tensor]] = [[] for _ in ends]
    for x in _singly(inputs):
        interpreter.set_tensor(slot["index"], _stored(x.numpy(), slot))
        interpreter.invoke()
        for into, end in zip(results, ends, strict=True):
            into.append(torch.as_tensor(_real(interpreter.get_tensor(end["index"]), end)))
    return [torch.cat(each) for each in results]


def _stored(x: Any, slot: Any) -> Any:
    """Real numbers as a tensor of a file holds them."""
    scale, zero = slot["quantization"]
    if not scale:
        return x
    ends = np.iinfo(slot["dtype"])
    return np.clip(np.round(x / scale) + zero, ends.min, ends.max).astype(slot["dtype"])


def _real(x: Any, slot: Any) -> Any:
    scale, zero = slot["quantization"]
    return (x.astype(np.float32) - zero) * scale if scale else x


def _outputs(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    from ..trace.tensors import tensors

    with torch.no_grad():
        return list(tensors((model(inputs),)))


def _pairs(
    found: Iterable[Tensor], expected: Iterable[Tensor], title: str
) -> list[tuple[Tensor, Tensor]]:
    pairs = list(zip(found, expected, strict=True))
    shapes = [[tuple(x.shape) for x in pair] for pair in pairs]
    if any(ours.numel() != its.numel() for ours, its in pairs):
        what = "the converted file gives other shapes than the model"
        raise ExportError(explain(what, where=title, numbers={"shapes": shapes}))
    return [(ours.double().flatten(), its.double().flatten()) for ours, its in pairs]


def check_float(found: list[Tensor], expected: list[Tensor], title: str, tolerance: float) -> None:
    """Refuse outputs of a file that differ from the model's by more than a share of their size."""
    for ours, its in _pairs(found, expected, title):
        difference, allowed = float((ours - its).abs().max()), tolerance * float(its.abs().max())
        if not difference <= allowed:  # written so that NaN is refused
            numbers = {"largest difference": f"{difference:.2g}", "allowed": f"{allowed:.2g}"}
            what = "the converted file does not compute what the model does"
            raise ExportError(explain(what, where=title, numbers=numbers))


def _check_int8(found: list[Tensor], expected: list[Tensor], title: str) -> None:
    for ours, its in _pairs(found, expected, title):
        if bool((its == its[0]).all()):
            continue
        alike = float(torch.corrcoef(torch.stack([ours, its]))[0, 1])
        if not alike >= LEAST:  # written so that NaN is refused
            numbers = {"correlation of outputs": f"{alike:.3f}", "at least": LEAST}
            what, remedy = (
                "the int8 file differs too much from the model",
                ("Calibrate with more typical inputs, normalised as the model takes them."),
            )
            raise ExportError(explain(what, where=title, numbers=numbers, remedy=remedy))
