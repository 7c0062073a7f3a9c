"""ONNX models as bytes: made from an exported program, described, and run for comparison."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._version import __version__
from ..accounting.account import Account
from ..errors import ExportError, explain

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from ..spec.plan import Spec

OPSET = 18  # the oldest that every supported torch writes; runtimes lag behind


def to_bytes(
    program: ExportedProgram, result: Account, *, spec: Spec | str | None, optimize: bool
) -> bytes:
    """Convert a program to the content of an ONNX file with a named batch axis and metadata.

    Raises `ExportError` if an operation has no ONNX form, or the batch size is fixed.
    """
    try:
        proto = _convert(program, result, optimize)
    except Exception as error:  # an exporter raises many kinds
        try:
            proto = _convert(_without_norms(program), result, optimize)
        except Exception:  # the first error says what the model lacks
            raise export_error(result.name, "it cannot be written as ONNX", error) from error
    _name_batch(proto, result.name)
    _write_metadata(proto, result, spec)
    try:
        content: bytes = proto.SerializeToString()
    except Exception as error:  # more than 2 GiB do not fit
        raise export_error(result.name, "it does not fit one ONNX file", error) from error
    return content


def open_session(content: bytes, name: str) -> Any:
    """Open an onnxruntime session; raises `ExportError` if it does not accept the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a runtime raises many kinds
        raise export_error(name, "onnxruntime does not take the exported program", error) from error


def check_equal(
    session: Any, inputs: Sequence[Tensor], expected: Sequence[Tensor], name: str, tolerance: float
) -> None:
    """Run a session, and raise `ExportError` if an output differs from the expected one."""
    slots = [slot.name for slot in session.get_inputs()]
    try:
        feed = {slot: x.cpu().numpy() for slot, x in zip(slots, inputs, strict=True)}
        actual = [torch.as_tensor(value) for value in session.run(None, feed)]
    except Exception as error:  # a runtime raises many kinds
        raise export_error(
            name, "the exported program does not run in onnxruntime", error
        ) from error
    shapes = [[tuple(value.shape) for value in values] for values in (expected, actual)]
    if shapes[0] != shapes[1]:
        what, numbers = "gives other shapes than the model", {"model": shapes[0], "it": shapes[1]}
        raise ExportError(explain(f"the exported program {what}", where=name, numbers=numbers))
    for i, (value, other) in enumerate(zip(expected, actual, strict=True)):
        mine, its = value.cpu().double(), other.double()
        allowed = tolerance * float(mine.abs().max())
        difference = float((mine - its).abs().max())
        if not difference <= allowed:  # written so that NaN is refused
            raise ExportError(
                explain(
                    "the exported program does not compute what the model does",
                    where=name,
                    numbers={
                        "output": i,
                        "largest difference": f"{difference:.2g}",
                        "allowed": f"{allowed:.2g}",
                    },
                    remedy="Nothing was written. Try fold=False, or a larger tolerance if the "
                    "difference is known.",
                )
            )


def export_error(name: str, what: str, error: BaseException, remedy: str = "") -> ExportError:
    """An `ExportError` with the first line of what torch or the runtime gave as its last reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return ExportError(explain(what, where=name, numbers={kind: said[:200]}, remedy=remedy))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep torch's progress, warnings and notes off the terminal; its errors still arise."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _without_norms(program: ExportedProgram) -> ExportedProgram:
    """Every BatchNorm in parts: torch 2.6 takes its three results for one, and fails."""
    aten = torch.ops.aten
    norms = (aten._native_batch_norm_legit_no_training, aten._native_batch_norm_legit)
    table: Any = torch.export.default_decompositions()
    table.update(torch._decomp.get_decompositions([norm.default for norm in norms]))
    with silenced():
        split: ExportedProgram = program.run_decompositions(table)
    return split


def _convert(program: ExportedProgram, result: Account, optimize: bool) -> Any:
    several = len(result.input_shapes) > 1
    with silenced():
        written = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=optimize,
            opset_version=OPSET,
            input_names=_numbered("input", len(result.input_shape) if several else 1),
            output_names=_numbered("output", len(result.output_shapes or ())),
        )
    assert written is not None
    return written.model_proto


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{i + 1}" for i in range(count)]


def _name_batch(proto: Any, name: str) -> None:
    """Give the batch axis its name, in place of the symbol that torch made up."""
    graph = proto.graph
    symbols = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input}
    if len(symbols) != 1 or "" in symbols:
        raise ExportError(explain("the batch size is fixed in the exported program", where=name))
    word = re.compile(rf"\b{re.escape(symbols.pop())}\b")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = word.sub("batch", dim.dim_param)


def _write_metadata(proto: Any, result: Account, spec: Spec | str | None) -> None:
    """Say what the network is, and leave out torch's notes, which tell paths of this machine."""
    graph = proto.graph
    noted = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (proto, *noted):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    facts = {
        "name": result.name,
        "spec": None if spec is None else str(spec),
        "input": result.input_text,
        "params": result.params,
        "macs": "unknown" if result.macs is None else result.macs,
        "receptive_field": result.receptive_field or "unknown",
        "version": __version__,
    }
    for key, value in facts.items():
        if value is not None:
            proto.metadata_props.add(key=f"budgetnet.{key}", value=str(value))
