"""The Deployment: what a runtime needs for a network, step by step, as frozen values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import UnsupportedOp, explain
from ..account import Account
from ..table import Column, Table, Toned
from .arena import Activations, activations
from .least import LeastMemory, least_memory
from .lowering import Lowered, lower
from .memory import Buffer, Plan, executorch_plan, liveness_bound
from .model import TfliteModel
from .order import MemoryGraph
from .persistent import persistent_bytes
from .refusals import refusals
from .scratch import Scratch, cmsis_nn_scratch, reference_scratch
from .target import Target

_BAR = 24  # characters of the longest


@dataclass(frozen=True)
class Step:
    """One operator while it runs.

    Attributes:
        layer: whose operator it is, as tables name layers.
        kind: what it computes.
        operator: what the runtime calls it, in the words of TensorFlow Lite.
        live: the buffers that are in memory, by their place in `Deployment.buffers`.
        bytes: of all of them, each rounded up to 16.
    """

    layer: str
    kind: str
    operator: str
    live: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Deployment:
    """What a runtime needs for a network: flash, RAM, and what is in memory at every step.

    Attributes:
        name: of the network or the file.
        target: runtime, type and kernels.
        flash_bytes: of weights and biases; a file is larger by names, shapes and scales.
        ram_bytes: what the runtime's planner allocates for maps and scratch buffers.
        ram_bound: no plan of these steps needs less: the most that is in memory at one of them.
        scratch_bytes: the most scratch that one operator asks its kernel library for, which is part
            of `ram_bytes`; `None` if unknown.
        persistent_bytes: an estimate, on the safe side for a core of 32 bits, of what TensorFlow
            Lite Micro allocates beside: parameters of kernels, operators and tensors. `None` for
            others.
        steps: one for each operator, in the order in which they run; () if eager.
        buffers: the name of every buffer: maps, then scratch buffers.
        plan: the offset of every buffer; `None` if eager.
        assumed: what the figures rest on that is not known; empty if they are exact.
        notes: what a converter may write beside it.
        graph: which operator reads and writes which buffer; `None` if eager.
    """

    name: str
    target: Target
    flash_bytes: int
    ram_bytes: int
    ram_bound: int
    scratch_bytes: int | None = None
    persistent_bytes: int | None = None
    steps: tuple[Step, ...] = ()
    buffers: tuple[str, ...] = ()
    plan: Plan | None = None
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    graph: MemoryGraph | None = field(default=None, repr=False)

    @property
    def peak(self) -> Step | None:
        """The first step at which most is in memory; `None` if there are no steps."""
        return max(self.steps, key=lambda step: step.bytes, default=None)

    def least(self, seconds: float = 10.0) -> LeastMemory:
        """The order of the operators that needs least, and the least plan for it.

        It says what is proven of all others; when the time is up, it is the best so far.

        Raises:
            UnsupportedOp: eager PyTorch follows no plan.
        """
        if self.graph is None:
            raise UnsupportedOp(explain(f"{self.target.runtime} follows no plan of memory"))
        return least_memory(self.graph, seconds)

    def to_table(self) -> Table:
        """The steps with the bytes in memory at each, and the figures below."""
        columns = (
            Column("Layer"), Column("Computes", spared=2, joint="+"), Column("Operator", spared=3),
            Column("In memory", numeric=True), Column("", spared=1, short="Bar"),
        )  # fmt: skip
        most, peak, rows = max((step.bytes for step in self.steps), default=0), self.peak, []
        for step in self.steps:
            bar = "━" * max(1, round(_BAR * step.bytes / most)) if step.bytes else ""
            bar = Toned(f"{bar} peak", "near") if step is peak else Toned(bar, "bar")
            rows.append((step.layer, step.kind, step.operator, f"{step.bytes:,}", bar))
        title = f"{self.name} for {self.target} ({self.target.kernels} kernels)"
        return Table(columns, tuple(rows), title, notes=self._lines())

    def _lines(self) -> tuple[str, ...]:
        lines = [
            f"flash {self.flash_bytes:,} bytes of weights and biases",
            f"RAM {self.ram_bytes:,} bytes as {self.target.runtime} plans it",
        ]
        if self.steps:
            lines[-1] += f"; no plan of these steps needs less than {self.ram_bound:,}"
        elif self.graph is not None:
            lines.insert(0, "no operator runs: what goes in comes out as it is")
        if self.scratch_bytes:
            lines.append(f"at most {self.scratch_bytes:,} bytes of it are scratch of one operator")
        if self.persistent_bytes is not None:
            estimate = f"{self.persistent_bytes:,} bytes more for operators and tensors"
            lines.append(f"about {estimate} (an estimate)")
        lines += [f"assumed: {line}" for line in self.assumed]
        return (*lines, *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for other programs."""
        target, peak = self.target, self.peak
        offsets = self.plan.offsets if self.plan else ()
        places = zip(self.buffers, self.plan.buffers if self.plan else (), offsets, strict=True)
        return {
            "format": "budgetnet.deployment", "version": 1, "name": self.name,
            "runtime": target.runtime, "dtype": target.dtype, "kernels": target.kernels,
            "flash_bytes": self.flash_bytes, "ram_bytes": self.ram_bytes,
            "ram_bound": self.ram_bound, "scratch_bytes": self.scratch_bytes,
            "persistent_bytes_estimate": self.persistent_bytes,
            "peak": peak and self.steps.index(peak),
            "steps": [
                {
                    "layer": step.layer, "kind": step.kind, "operator": step.operator,
                    "bytes": step.bytes, "live": list(step.live),
                }
                for step in self.steps
            ],
            "buffers": [
                {
                    "name": name, "bytes": buffer.size, "offset": offset,
                    "first": buffer.first, "last": buffer.last,
                }
                for name, buffer, offset in places
            ],
            "assumed": list(self.assumed), "notes": list(self.notes),
        }  # fmt: skip

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()


def deployment_of(account: Account, target: Target) -> Deployment:
    """The deployment of an account.

    Raises:
        UnsupportedOp: a row is unknown, is a recurrent layer, or is several operations in one.
    """
    if target.runtime != "eager":
        return deployment_of_model(lower(account, target), target)
    peak = account.peak_activation_bytes
    if peak is None:
        numbers = {"reason": "; ".join(account.unknown)} if account.unknown else {}
        raise UnsupportedOp(explain("the peak of eager PyTorch is unknown", numbers=numbers))
    return Deployment(account.name, target, account.weight_bytes, peak, peak)


def deployment_of_model(lowered: Lowered, target: Target) -> Deployment:
    """The deployment of operators and tensors, which come from an account or a file."""
    model, scratch = lowered.model, scratch_of(lowered.model, target)
    arena, requests = activations(model, scratch.requests), scratch.requests
    order = tuple(range(len(model.operators)))
    if target.plan == "least":
        order, plan = (least := least_memory(arena.graph)).order, least.plan
    elif target.runtime == "tflm":
        plan = arena.tflm_plan()
    else:
        plan = _executorch_plan(arena.graph.buffers(), arena)
    return Deployment(
        model.name, target, lowered.flash_bytes, plan.size, liveness_bound(plan.buffers),
        None if scratch.unknown else max((sum(r) for r in requests.values()), default=0),
        persistent_bytes(model) if target.runtime == "tflm" else None,
        _steps(lowered, plan.buffers, order), _names(lowered, arena, requests, order), plan,
        assumed_of(lowered, target, scratch), lowered.notes, arena.graph,
    )  # fmt: skip


def assumed_of(lowered: Lowered, target: Target, scratch: Scratch) -> tuple[str, ...]:
    """What figures of operators rest on that is not known; empty if they are exact."""
    assumed = lowered.assumed
    if target.runtime == "tflm":
        assumed = (*assumed, *refusals(lowered.model, lowered.places))
    custom = [name for name in scratch.unknown if not name.startswith("CUSTOM")]
    if custom:
        assumed = (*assumed, f"scratch that is not known is not counted: {', '.join(custom)}")
    return assumed


def scratch_of(model: TfliteModel, target: Target) -> Scratch:
    """What the kernels ask for; ExecuTorch's mean is an average pooling, as its backend has it."""
    if target.kernels == "reference":
        return reference_scratch(model)
    if target.kernels == "portable":
        return Scratch({}, ())
    if target.runtime == "executorch":
        operators = [
            replace(o, name="AVERAGE_POOL_2D") if o.name == "MEAN" else o for o in model.operators
        ]
        model = replace(model, operators=tuple(operators))
    return cmsis_nn_scratch(model, dsp=target.kernels == "cmsis-nn")


def _executorch_plan(buffers: Sequence[Buffer], arena: Activations) -> Plan:
    """ExecuTorch's plan; its graph names an operator's scratch before its results."""
    maps = len(arena.tensors)
    named = sorted(range(len(buffers)), key=lambda i: (buffers[i].first, i < maps, i))
    made = executorch_plan([buffers[i] for i in named])
    offsets = dict(zip(named, made.offsets, strict=True))
    return Plan(tuple(buffers), tuple(offsets[i] for i in range(len(buffers))))


def _steps(lowered: Lowered, buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[Step, ...]:
    steps = []
    for number, k in enumerate(order, start=1):
        operator, place, kind = lowered.model.operators[k], lowered.places[k], lowered.kinds[k]
        live = tuple(i for i, b in enumerate(buffers) if b.first <= number <= b.last)
        name = kind if operator.name.startswith("CUSTOM") else operator.name
        steps.append(Step(place, kind, name, live, sum(buffers[i].bytes for i in live)))
    return tuple(steps)


def _names(
    lowered: Lowered, arena: Activations, requests: dict[int, tuple[int, ...]],
    order: Sequence[int],
) -> tuple[str, ...]:  # fmt: skip
    """The name of every buffer of the arena's graph."""
    maps = [lowered.model.tensors[i].name for i in arena.tensors]
    own = (f"scratch of {lowered.places[k]}" for k in order for _ in requests.get(k, ()))
    return (*maps, *own)
