"""Which blocks a few stages in a row, or the branches of a residual, may be.

All of these are guesses by shape: whoever asks plans each of them, and keeps the one that agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose
from typing import Any, NamedTuple

from .fields import Squeeze
from .stage import Stage
from .stages import (
    BasicBlock,
    Bottleneck,
    Conv,
    DenseBlock,
    FusedInvertedResidual,
    InvertedResidual,
    PreactConv,
    Separable,
)
from .text import padding_of_same


class Gate(NamedTuple):
    """Squeeze-excite, which may be part of a block; `is_hard` as in `Squeeze`."""

    squeezed: int
    act: str | None
    is_hard: bool

    @property
    def takes(self) -> str:
        """What it reads, as of stages."""
        return "map"


class Piece(NamedTuple):
    """A stage, and the rows that it was read from, in the order of a plan.

    Attributes:
        before: the row that it reads; -1 is the input.
    """

    stage: Stage | Gate
    places: tuple[int, ...]
    before: int

    @property
    def end(self) -> int:
        """The row of its output."""
        return self.places[-1] if self.places else self.before


def residuals(body: Sequence[Piece], act: str | None, width: int) -> Iterator[Stage]:
    """Blocks whose body these pieces may be, with an activation after the sum."""
    squeeze, stages = _without_gate(body)
    if not stages or not all(isinstance(stage, Conv) and _is_odd(stage) for stage in stages):
        return
    first, last = stages[0], stages[-1]
    options: dict[str, Any] = {"norm": first.norm, "act": act}
    if len(stages) == 2 and squeeze is None:
        yield BasicBlock(last.out_channels, **_size(first), **options)
    if len(stages) == 3:
        middle = stages[1]
        options |= {"groups": middle.groups, "se": squeeze}
        options |= _bottleneck_width(last.out_channels, first.out_channels)
        yield Bottleneck(last.out_channels, **_size(middle), **options)
    if act is None:
        yield from _inverted(body, width)


def in_a_row(pieces: Sequence[Piece], width: int) -> Iterator[Stage]:
    """Blocks without a shortcut that these pieces may be."""
    stages: list[Any] = [piece.stage for piece in pieces]
    if len(stages) == 2 and all(isinstance(stage, Conv) for stage in stages):
        first, last = stages
        if first.groups == first.out_channels == width > 1:
            size = (first.kernel_size, first.stride, first.padding, first.dilation)
            yield Separable(last.out_channels, *size, first.norm, first.act)
    yield from _inverted(pieces, width)


def _inverted(pieces: Sequence[Piece], width: int) -> Iterator[Stage]:
    """Inverted residuals and fused ones, given the width of what they read."""
    squeeze, stages = _without_gate(pieces)
    if not stages or not all(isinstance(stage, Conv) and _is_odd(stage) for stage in stages):
        return
    last = stages[-1]
    full = stages[-2] if len(stages) > 1 else last
    out, hidden = last.out_channels, full.out_channels
    options: dict[str, Any] = {"se": squeeze, "norm": last.norm, "act": full.act, **_size(full)}
    if len(stages) in (2, 3) and full.groups == hidden:
        yield InvertedResidual(out, **_widening(width, hidden), **options)
    if len(stages) == 2 and full.groups == 1 and (squeeze or full.kernel_size != (1, 1)):
        yield FusedInvertedResidual(out, **_widening(width, hidden), **options)
    if len(stages) == 1 and len(pieces) <= 2:
        yield FusedInvertedResidual(out, expansion=1, **options)


def widened_dense(branches: Sequence[Sequence[Piece]]) -> DenseBlock | None:
    """The dense layer that these branches may be: the input, and what is appended to it."""
    if len(branches) != 2 or branches[0] or not 1 <= len(branches[1]) <= 2:
        return None
    stages: list[Any] = [piece.stage for piece in branches[1]]
    if not all(isinstance(stage, PreactConv) and _is_odd(stage) for stage in stages):
        return None
    grow = stages[-1]
    growth = grow.out_channels
    if len(stages) == 2 and stages[0].out_channels % growth:
        return None
    bottleneck = stages[0].out_channels // growth if len(stages) == 2 else 0
    return DenseBlock(growth, 1, grow.kernel_size, grow.dilation, bottleneck, grow.norm, grow.act)


def _without_gate(pieces: Sequence[Piece]) -> tuple[Squeeze | None, list[Any]]:
    """Squeeze-excite among pieces, and the others."""
    gates = [piece.stage for piece in pieces if isinstance(piece.stage, Gate)]
    others = [piece.stage for piece in pieces if not isinstance(piece.stage, Gate)]
    if len(gates) > 1:
        return None, []
    return (Squeeze(gates[0].squeezed, gates[0].is_hard) if gates else None), others


def _is_odd(stage: Any) -> bool:
    """Whether a block can pad both sides alike, as blocks do."""
    return padding_of_same(stage) is not None


def _size(stage: Conv) -> dict[str, Any]:
    return {name: getattr(stage, name) for name in ("kernel_size", "stride", "dilation")}


def _bottleneck_width(out: int, hidden: int) -> dict[str, Any]:
    if out % hidden:
        return {"hidden_channels": hidden}
    return {"expansion": out // hidden}


def _widening(width: int, hidden: int) -> dict[str, Any]:
    """The expansion that gives a hidden width if it is short, or the hidden width itself."""
    ratio = round(hidden / width, 2)
    if 0 < ratio <= 1000 and isclose(width * ratio, hidden):
        return {"expansion": ratio}
    return {"hidden_channels": hidden}
