"""What a training step needs, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..errors import ArgumentError, did_you_mean, explain, shown
from .geometry import shapes_of
from .parsing import Fields
from .table import Column, Table, shape_text

DTYPES = ("float32", "float64", "float16", "bfloat16")
LARGEST = 2**31 - 1  # of a batch: PyTorch's kernels count in 32 bits

# By name the class in torch.optim, and what it is made with.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
    "adamax": ("Adamax", {}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
}


def optimizer_named(name: str) -> str:
    """The name itself, if it is that of a known optimiser; else raises `ArgumentError`."""
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise unknown_optimizer(name)
    return name


def unknown_optimizer(name: object) -> ArgumentError:
    """The error for what is neither a known optimiser nor makes one."""
    what = f"optimizer={shown(name)} is not a known optimizer"
    return ArgumentError(explain(what, remedy=did_you_mean(name, OPTIMIZERS)))


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """How a network trains, as far as it decides memory.

    Attributes:
        batch: inputs in a step.
        optimizer: its name, such as "adam"; of one of your own, what it is called.
        dtype: of parameters, buffers and inputs; "" for that of the model.
        checkpoint: patterns of the modules whose activations are computed again in the backward
            pass, such as `("layers.*",)`.
    """

    batch: int = 1
    optimizer: str = "sgd"
    dtype: str = ""
    checkpoint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked without a network."""
        if type(self.batch) is not int or not 1 <= self.batch <= LARGEST:
            what = f"batch={shown(self.batch)} is not a valid batch size"
            raise ArgumentError(explain(what, remedy=f"Pass a whole number from 1 to {LARGEST}."))
        if self.dtype not in ("", *DTYPES):
            what = f"dtype={shown(self.dtype)} is not a type to train in"
            raise ArgumentError(explain(what, remedy=did_you_mean(self.dtype, DTYPES)))

    def __str__(self) -> str:
        """Batch and optimiser, and what is not usual."""
        kept = f"checkpoints at {', '.join(self.checkpoint)}" if self.checkpoint else ""
        more = (self.dtype, kept)
        return ", ".join([f"batch {self.batch:,}", self.optimizer, *filter(None, more)])


class TrainingPeak(NamedTuple):
    """The peak of a training step, for the limits on it.

    Attributes:
        setup: how the network trains.
        bytes: the peak; `None` if unknown.
        unknown: why it is; "" if it is not.
    """

    setup: TrainingSetup
    bytes: int | None
    unknown: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self.setup), "bytes": self.bytes, "unknown": self.unknown}


def parse_peak(fields: Fields) -> TrainingPeak:
    """Read what `TrainingPeak.to_dict` gives."""
    texts = {key: fields.text(key, empty=True) for key in ("optimizer", "dtype")}
    batch = fields.count("batch", least=1)
    setup = TrainingSetup(batch, **texts, checkpoint=fields.texts("checkpoint"))
    peak = fields.optional("bytes", fields.count)
    reason = fields.text("unknown", empty=True)
    if (peak is None) != bool(reason):
        raise fields.wrong("unknown", reason, "not the reason for what is unknown")
    return TrainingPeak(setup, peak, reason)


@dataclass(frozen=True, slots=True)
class SavedRow:
    """What a module keeps for the backward pass.

    Attributes:
        path: the module's name as `state_dict` spells it; "" is the model itself.
        kind: its class.
        saved_bytes: of the activations that it is the first to save.
        forward_macs: multiply-accumulates of its forward pass, for the batch.
    """

    path: str
    kind: str
    saved_bytes: int
    forward_macs: int


@dataclass(frozen=True, slots=True)
class Training:
    """What a training step needs: `print` shows it as a table.

    Attributes:
        name: what was accounted for, as a title.
        input_shape: `(C, H, W)`, without the batch; a tuple of shapes for several inputs.
        setup: batch, optimiser and types.
        rows: one for every module that saves activations or multiplies, in the order in which they
            are first called.
        parameter_bytes: of all parameters, each once.
        buffer_bytes: of all buffers, such as running statistics.
        gradient_bytes: of the gradients of parameters that a step gives.
        state_bytes: what the optimiser keeps between steps.
        input_bytes: of the batch that is passed in.
        peak_bytes: the most bytes of tensors alive at once in a step after the first.
        peak_at: when that is: "forward", "backward" or "optimizer".
        forward_macs: multiply-accumulates of the forward pass, for the batch.
        backward_macs: those of the backward pass, with what is computed again for checkpoints.
    """

    name: str
    input_shape: tuple[Any, ...]
    setup: TrainingSetup
    rows: tuple[SavedRow, ...]
    parameter_bytes: int
    buffer_bytes: int
    gradient_bytes: int
    state_bytes: int
    input_bytes: int
    peak_bytes: int
    peak_at: str
    forward_macs: int
    backward_macs: int

    @property
    def saved_bytes(self) -> int:
        """Bytes of activations saved for the backward pass, every storage once.

        The input is among them if a layer saves it; parameters and buffers are not.
        """
        return sum(row.saved_bytes for row in self.rows)

    @property
    def peak(self) -> TrainingPeak:
        """The peak with its setup, as an `Account` holds it for limits."""
        return TrainingPeak(self.setup, self.peak_bytes)

    def to_table(self) -> Table:
        """What every module saves, and the figures below."""
        columns = (
            Column("Layer"), Column("Kind", spared=1), Column("Saved bytes", numeric=True),
            Column("Share", numeric=True, spared=3), Column("Forward MACs", numeric=True, spared=2),
        )  # fmt: skip
        total = self.saved_bytes
        rows = tuple(
            (row.path, row.kind, f"{row.saved_bytes:,}", share(row.saved_bytes, total),
             f"{row.forward_macs:,}" if row.forward_macs else "")
            for row in self.rows
        )  # fmt: skip
        shapes = " + ".join(map(shape_text, shapes_of(self.input_shape)))
        title = f"{self.name}  (input {shapes}, {self.setup})"
        totals = ("Total", "", f"{total:,}", "100.0 %" if total else "", f"{self.forward_macs:,}")
        return Table(columns, rows, title, totals, self._lines())

    def _lines(self) -> tuple[str, ...]:
        held = f"parameters {self.parameter_bytes:,}, gradients {self.gradient_bytes:,}"
        more = f"optimizer state {self.state_bytes:,}, buffers {self.buffer_bytes:,}"
        peak = f"peak of a step {self.peak_bytes:,} bytes ({in_units(self.peak_bytes)})"
        return (
            f"bytes: {held}, {more}, input {self.input_bytes:,}",
            f"{peak}, in the {self.peak_at} pass" if self.peak_at != "optimizer"
            else f"{peak}, in the optimizer's step",
            f"backward {self.backward_macs:,} MACs",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for other programs."""
        plain = asdict(self)
        own = {"format": "budgetnet.training", "version": 1, "saved_bytes": self.saved_bytes}
        return {**own, **plain}

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()


def share(part: int, whole: int) -> str:
    """A part of a whole in percent; "" for nothing."""
    return f"{part / whole:.1%}".replace("%", " %") if part else ""


def in_units(size: int) -> str:
    """Bytes as people read them.

    >>> in_units(1536), in_units(25_769_803_776)
    ('1.5 KiB', '24.0 GiB')
    """
    power = min(max(size.bit_length() - 1, 0) // 10, 4)
    return f"{size / 1024**power:,.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


_UNTOLD = "the account does not say what training needs: pass the model"


def find_peak(peaks: Sequence[TrainingPeak], setup: TrainingSetup) -> TrainingPeak:
    """The peak of a setup, which is unknown where it was not measured."""
    unknown = TrainingPeak(setup, None, _UNTOLD)
    return next((peak for peak in peaks if peak.setup == setup), unknown)
