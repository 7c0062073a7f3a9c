"""`budgetnet export`: a network as a file for other runtimes, and what was written in a line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..accounting.account import Account
from ..accounting.device.target import Target
from ..accounting.geometry import parse_shape
from ..errors import ArgumentError, explain
from .targets import errors_of_target, make_model, parse_options

if TYPE_CHECKING:
    from torch import nn


def export(args: argparse.Namespace) -> list[str]:
    """Write the file; returns the lines to print."""
    ending = Path(args.output).suffix.lower().removeprefix(".")
    form = args.format or (ending if ending in ("tflite", "pte") else "onnx")
    if args.int8 is not bool(args.calibrate) or (args.int8 and form != "tflite"):
        remedy = "Write --format tflite --int8 --calibrate inputs.npy."
        raise ArgumentError(explain("--int8 needs a .tflite file and --calibrate", remedy=remedy))
    shape = parse_shape(args.input) if args.input else None
    model, shape, spec = make_model(args.target, shape, parse_options(args.set), args.weights)
    from ..deploy.folding import find_folds

    folds = not args.no_fold
    with errors_of_target(args.target, shape):
        written = _written(args, form, model, shape, spec)
        found = find_folds(model, shape) if folds else ()
    left = [fold for fold in found if fold.layer is None]
    params = f"{sum(p.numel() for p in model.parameters()):,} parameters"
    if folded := len(found) - len(left):
        params += f", {written.params:,} after folding {folded} norm{'s' * (folded > 1)}"
    macs = "unknown" if written.macs is None else f"{written.macs:,}"
    lines = [
        f"wrote {args.output}: {written.name} on {written.input_text}, {params}, "
        f"{macs} MACs, receptive field {written.receptive_field or 'unknown'}, "
        f"{Path(args.output).stat().st_size:,} bytes"
    ]
    if form == "tflite":
        lines.append(_arena(Path(args.output), written))
    if form == "pte":
        lines.append(_planned(written))
    if left:
        lines.append(f"{len(left)} of {len(found)} BatchNorms are not folded; {left[0]}")
    if spec is not None and args.weights is None:
        lines.append("its weights are random: nothing has trained them")
    return lines


def _written(
    args: argparse.Namespace, form: str, model: nn.Module, shape: Any, spec: Any
) -> Account:
    folds = not args.no_fold
    if form == "onnx":
        from ..deploy.export import to_onnx

        return to_onnx(model, shape, args.output, fold=folds, name=args.target, spec=spec)
    if form == "pte":
        from ..deploy.pte import to_pte

        return to_pte(model, shape, args.output, fold=folds, name=args.target)
    from ..deploy.litert import check_converter, load_calibration, to_tflite

    check_converter()
    typical = load_calibration(args.calibrate) if args.calibrate else None
    return to_tflite(model, shape, args.output, calibrate=typical, fold=folds, name=args.target)


def _arena(file: Path, written: Account) -> str:
    """The bytes of weights, and what TensorFlow Lite Micro plans for activations."""
    from ..accounting.device.arena import activations
    from ..accounting.device.scratch import reference_scratch
    from ..trace.files.tflite import read_tflite

    model = read_tflite(file)
    planned = activations(model, reference_scratch(model).requests).tflm_plan().size
    text = f"{written.weight_bytes:,} bytes of weights; "
    text += f"TensorFlow Lite Micro plans {planned:,} bytes of activations"
    real = _real_arena(file)
    return text + (f", and allocates {real[0]:,} with {real[1]:,} beside them" if real else "")


def _planned(written: Account) -> str:
    """What ExecuTorch plans for activations in float32."""
    from ..budget.figures import read_on

    planned, why = read_on("ram", written, Target("executorch", "float32"))
    told = f"unknown: {why}" if planned is None else f"{planned:,} bytes"
    return f"ExecuTorch plans for activations: {told}"


def _real_arena(file: Path) -> tuple[int, int] | None:
    """Bytes of activations and of all else that the interpreter allocates, if it is installed."""
    from ..deploy.tflite_micro import allocated

    try:
        return allocated(file.read_bytes())
    except ImportError:
        return None
