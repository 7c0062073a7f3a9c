"""The parts of a stage: its layers as the modules of its block run them, branches included.

A part mirrors a module: a `Layer` one without children, a `Chain` an `nn.Sequential`, a `Join` one
whose `forward` runs branches and makes one map of them. From that follow, for every layer, its
path, what it reads, and which maps are held while it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..accounting.geometry import Count, Sliding
from ..accounting.window import Window

HANDED_ON = frozenset({"identity", "dropout"})  # roles of layers that give their very input back
VIEWS = HANDED_ON | {"reshape"}  # or another shape of it


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stage, as `plan` sees it: what it is, and how it slides and weighs.

    Attributes:
        name: of the module, within its parent.
        sliding: how a convolution or pooling slides; of a transposed one, how it spreads.
        windows: of `sliding`.
        scale: how many times larger each axis of a map becomes, by `mode`; 0 for other layers.
        ends_as: "vector" after a read of the whole map that leaves its channels, "point" where
            they are kept as a map of one position, and "" otherwise.
        role: this and the next two as in `Row`.
    """

    name: str
    kind: str
    out_channels: int
    weights: int = 0
    biases: int = 0
    buffers: int = 0
    sliding: Sliding | None = None
    windows: tuple[Window, ...] = ()
    scale: int = 0
    mode: str = ""
    ends_as: str = ""
    role: str = ""
    has_bias: bool | None = None
    weight_shape: tuple[Count, ...] = ()


class Chain(NamedTuple):
    """Parts that run one after another."""

    name: str
    parts: tuple[Part, ...]


class Join(NamedTuple):
    """Branches on one input, made one map by "add", "mul" or "cat".

    `None` is the input itself, which no module passes on. The parts of `then` run while `forward`
    still holds what the branches gave.
    """

    name: str
    kind: str
    branches: tuple[Part | None, ...]
    then: tuple[Part, ...] = ()


Part: TypeAlias = Layer | Chain | Join


class Step(NamedTuple):
    """A layer at its turn. Outputs are told by the place of their step; -1 is the stage's input.

    Attributes:
        path: within the stage; "" is the stage itself.
        reads: the outputs that it is made from.
        held: the memory that is held while it runs, its inputs' included, as the outputs that it
            was made for.
        memory: that of its own output: another step's if it is a view.
    """

    path: str
    layer: Layer
    reads: tuple[int, ...]
    held: tuple[int, ...]
    memory: int


def channels_of(part: Part | None, in_channels: Count) -> Count:
    """Channels of what a part gives."""
    if part is None:
        return in_channels
    if isinstance(part, Layer):
        return part.out_channels
    if isinstance(part, Chain):
        for each in part.parts:
            in_channels = channels_of(each, in_channels)
        return in_channels
    channels = [channels_of(branch, in_channels) for branch in part.branches]
    return sum(channels) if part.kind == "cat" else channels[0]


def steps_of(part: Part, in_channels: Count) -> tuple[Step, ...]:
    """The layers of a part in the order in which they run."""
    steps: list[Step] = []
    _run(part, "", -1, (-1,), in_channels, steps)
    return tuple(steps)


def _run(
    part: Part | None, path: str, source: int, held: tuple[int, ...], channels: Count,
    steps: list[Step],
) -> int:  # fmt: skip
    """Add the steps of a part that reads `source`; returns the place of its output."""
    if part is None:
        return source
    path = _below(path, part.name)
    if isinstance(part, Layer):
        return _put(Step(path, part, (source,), held, len(steps)), steps)
    if isinstance(part, Chain):
        for each in part.parts:  # the loop of nn.Sequential holds what its child reads
            given = channels if source < 0 else steps[source].layer.out_channels
            source = _run(each, path, source, (*held, source), given, steps)
        return source
    outs: tuple[int, ...] = ()
    for branch in part.branches:
        start = len(steps)
        outs += (_run(branch, path, source, (*held, source, *outs), channels, steps),)
        source = _handed_on(source, steps, start)
    joined = Layer("", part.kind, channels_of(part, channels), role="join")
    out = _put(Step(path, joined, outs, (*held, source), len(steps)), steps)
    for each in part.then:
        out = _run(each, path, out, (*held, source, *outs), channels, steps)
    return out


def _handed_on(source: int, steps: list[Step], start: int) -> int:
    """The last of the steps from `start` that hands `source` on: who reads it later reads that."""
    for place in range(start, len(steps)):
        step = steps[place]
        if step.layer.role in HANDED_ON and step.reads == (source,):
            source = place
    return source


def _put(step: Step, steps: list[Step]) -> int:
    """Add a step; what it holds is told by memory, each once."""
    held = {place if place < 0 else steps[place].memory for place in (*step.held, *step.reads)}
    memory = step.memory
    if step.layer.role in VIEWS:
        (source,) = step.reads
        memory = source if source < 0 else steps[source].memory
    steps.append(step._replace(held=tuple(sorted(held)), memory=memory))
    return len(steps) - 1


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def are_equal(one: Count, other: Count) -> bool:
    """Whether two counts are equal: of integer arrays all, or else none."""
    if type(one) is int and type(other) is int:
        return one == other
    same: Any = np.equal(one, other)
    if same.any() and not same.all():
        raise ValueError("some pairs of widths are equal: plan them apart")
    return bool(same.any())
