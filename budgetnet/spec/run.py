"""Stages run on shapes alone: the steps of a stage for what it reads, and the rows they give.

No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress
from math import prod
from typing import Any

import numpy as np

from ..accounting.geometry import Count, conv_macs
from ..accounting.receptive_field import ReceptiveField, union_of
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..accounting.window import Window
from ..errors import ArgumentError, BudgetnetError, ShapeError, SpecError, explain, with_place
from .parts import Layer, Step, steps_of
from .stage import Stage


def link(
    name: str, stage: Stage, channels: int, size: tuple[int, ...] | None
) -> tuple[tuple[Step, ...], int]:
    """The steps of a stage that reads a map of a size, or a vector, whose size is `()`.

    Also gives what it counts as its channels: the features of the map where it is flattened.

    Raises:
        SpecError: it does not read what it is given, or the size that it needs is not known.
    """
    if stage.takes == "map" and size == ():
        what = f"{name} cannot follow a vector: the whole map has been read before it"
        raise SpecError(explain(what, remedy="Put gap, flatten and what follows them last."))
    if stage.takes == "vector" and size != ():
        what = f"{name} reads a vector, not a map"
        raise SpecError(explain(what, remedy="Put gap or flatten before it."))
    if stage.flattens:
        if size is None:
            what = f"{name} flattens a map, whose size is not known"
            raise SpecError(explain(what, remedy="Pass the shape of the input, (C, H, W)."))
        channels *= prod(size)
    try:
        return stage_steps(stage, channels), channels
    except (SpecError, ArgumentError) as error:
        raise with_place(error, name) from None


def size_after(
    stage: Stage, steps: tuple[Step, ...], size: tuple[int, ...] | None, name: str
) -> tuple[int, ...] | None:
    """The size of what a stage gives."""
    if stage.gives == "vector":
        return ()
    if not size:
        return size
    sizes: list[tuple[int, ...]] = []
    for step in steps:
        read = size if step.reads[0] < 0 else sizes[step.reads[0]]
        sizes.append(output_size(step.layer, read, name))
    return sizes[-1]


def output_size(layer: Layer, size: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The size of a layer's output; () is a vector."""
    if layer.sliding is not None:
        spreads = layer.role == "transposed convolution"
        slide = layer.sliding
        return slide.spread_size(size) if spreads else slide.output_size(size, where)
    if layer.scale:
        return tuple([n * layer.scale for n in size])
    if layer.ends_as:
        return () if layer.ends_as == "vector" else (1,) * len(size)
    return size


@lru_cache(maxsize=4096)
def stage_steps(stage: Stage, in_channels: int) -> tuple[Step, ...]:
    """The steps of a stage for the given input channels."""
    # A network repeats few distinct stages, and both are immutable: listing one once is safe.
    return steps_of(stage.part(in_channels), in_channels)


def unread(shape: tuple[int, ...]) -> ReceptiveField:
    """The field of the input itself."""
    return ReceptiveField((Window(),) * (len(shape) - 1))


class Run:
    """The rows of stages, one after another, and the bytes that live while each of them runs.

    Channels may be integer arrays: then so are parameters, MACs and bytes, of that many networks at
    once.

    Attributes:
        shape: of the last output.
        rows: one per layer.
        norm_buffers: buffers of every norm.
        live: bytes of float32 activations that every row needs at once, its input and output among
            them.
        peak: most bytes of float32 activations at once, as the network runs in a `nn.Sequential`
            whose caller holds the input.
    """

    def __init__(
        self, shape: tuple[Count, ...], outside: Count = 0, field: ReceptiveField | None = None
    ) -> None:
        """Start at an input of `shape`, and its `field` if it is not the network's own input.

        `outside` are bytes that live all the while beside it.
        """
        self.shape = shape
        self.rows: list[Row] = []
        self.norm_buffers: list[Count] = []
        self.live: list[Count] = []
        self.peak: Count = 0
        self._field: Any = field or unread(shape)  # of a Row it may be unknown, but a plan knows it
        self._outside = outside
        self._bytes: list[Count] = [4 * prod(shape)]  # of the input, and of the output of every row
        self._memory = 0  # which of them the last output lies in: it may be a view

    def add(self, name: str, steps: Sequence[Step]) -> None:
        """Run a stage on the last output."""
        rows, sizes, start = self.rows, self._bytes, len(self.rows)
        shape, field, memory, peak = self.shape, self._field, self._memory, self.peak
        outside = self._outside + sizes[0] if memory else self._outside
        for i, (path, layer, reads, held, own) in enumerate(steps):
            path = f"{name}.{path}" if path and name else path or name
            if len(reads) > 1:
                read = [rows[start + j] if j >= 0 else None for j in reads]
                places = tuple([start + j for j in reads])
                row = _joined(path, layer, read, shape, field, places)
            elif reads[0] < 0:
                row = _row(path, layer, shape, False, field, start - 1)
            else:
                last = rows[start + reads[0]]
                row = _row(path, layer, last.output_shape, last.is_global, last.receptive_field,
                           start + reads[0])  # fmt: skip
            rows.append(row)
            size = 4 * prod(row.output_shape)
            sizes.append(size)
            live = outside + sum([sizes[start + j + 1 if j >= 0 else memory] for j in held])
            if own == i:  # not a view
                live = live + (3 * size if layer.role == "max pooling" else size)
            self.live.append(live)
            peak = _larger(peak, live)
            if layer.role == "batch norm":
                self.norm_buffers.append(layer.buffers)
        self.peak, self.shape, self._field = peak, row.output_shape, row.receptive_field
        if own >= 0:
            self._memory = start + own + 1


def _larger(one: Count, other: Count) -> Count:
    if type(one) is int and type(other) is int:
        return one if one > other else other
    return np.maximum(one, other)


def _row(
    path: str, layer: Layer, shape: tuple[Count, ...], was_global: bool,
    field: Any, read: int,
) -> Row:  # fmt: skip
    """The row of a layer that reads one map or vector."""
    macs: Count = 0
    sliding, size = layer.sliding, shape[1:]
    made = output_size(layer, size, path)
    if sliding is not None:
        spreads = layer.role == "transposed convolution"
        field = _then(field, sliding.spread_windows if spreads else layer.windows, path)
        macs = conv_macs(layer.weights, prod(size if spreads else made))
    elif layer.ends_as:
        if size:  # a vector is a whole read already
            field = _then(field, map(Window.whole, size), path)
    elif layer.role == "linear":
        macs = layer.weights
    elif layer.scale:
        field = _then(field, [_resized(n, layer.scale, layer.mode) for n in size], path)
    is_global = was_global or not size or bool(layer.ends_as)  # without a size it is a vector
    return Row(
        path, layer.kind, (layer.out_channels, *made), layer.weights + layer.biases, macs, field,
        sliding, is_global, False, False, "", (read,), (), layer.role, layer.has_bias,
        layer.weight_shape,
    )  # fmt: skip


def _joined(
    path: str, layer: Layer, reads: Sequence[Row | None], shape: tuple[Count, ...],
    field: ReceptiveField, places: tuple[int, ...],
) -> Row:  # fmt: skip
    """The row of branches made one; `None` is what the stage reads, of `shape` and `field`."""
    shapes = [shape if row is None else row.output_shape for row in reads]
    local = [row is None or not row.is_global for row in reads]
    fields: list[Any] = [
        field if row is None else row.receptive_field for row in compress(reads, local)
    ]
    sizes = {each[1:] for each in compress(shapes, local)}
    if len(sizes) > 1:
        what = "branches give maps of different sizes"
        numbers = {f"branch {i}": shape_text(each) for i, each in enumerate(shapes)}
        remedy = "Give all of them the same stride and padding."
        raise ShapeError(explain(what, where=path, numbers=numbers, remedy=remedy))
    try:
        seen = union_of(fields)
    except BudgetnetError as error:
        raise with_place(error, path) from None
    return Row(
        path, layer.kind, (layer.out_channels, *sizes.pop()), 0, 0, seen, None, False,
        not all(local), False, "", places, (), "join",
    )  # fmt: skip


def _resized(n: int, scale: int, mode: str) -> Window:
    from ..accounting.resampling import linear_reads, nearest_window, resampled_window

    if mode == "nearest":
        return nearest_window(n, n * scale, 1 / scale)
    return resampled_window(n, n * scale, float(scale), False, np.float32, linear_reads)


def _then(field: ReceptiveField, windows: Iterable[Window], path: str) -> ReceptiveField:
    try:
        return field.then(tuple(windows))
    except ArgumentError as error:  # too wide to be followed
        raise with_place(error, path) from None
