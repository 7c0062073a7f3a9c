"""Where the edges of a network run, when its layers stand below each other in execution order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..accounting import Row


class Lane(NamedTuple):
    """An edge, or several of one source, that pass other layers by.

    Attributes:
        source: the layer that is read; -1 and below are inputs.
        readers: who reads it, in order, but for a layer right behind it.
        track: 0 is the track next to the layers.
    """

    source: int
    readers: tuple[int, ...]
    track: int


def is_adjacent(source: int, reader: int, inputs: int = 1) -> bool:
    """Whether a reader stands right below its source; the last of the inputs is next to layer 0."""
    return reader == (source + 1 if source >= 0 else 0 if source == -inputs else -1)


def lanes_of(layers: Sequence[Row], inputs: int = 1) -> tuple[Lane, ...]:
    """The lanes beside the layers; short ones run inside, and no two share a place.

    >>> rows = [Row(n, "", (), 0, 0, None, reads=r) for n, r in
    ...         (("a", (-1,)), ("b", (0,)), ("c", (1,)), ("add", (2, 0)), ("cat", (3, -1)))]
    >>> [(lane.source, lane.readers, lane.track) for lane in lanes_of(rows)]
    [(0, (3,), 0), (-1, (4,), 1)]
    """
    readers: dict[int, list[int]] = {}
    for i, layer in enumerate(layers):
        for source in layer.reads:
            if not is_adjacent(source, i, inputs):
                readers.setdefault(source, []).append(i)
    spans = sorted((max(who) - source, source) for source, who in readers.items())
    tracks: list[list[tuple[int, int]]] = []
    lanes = []
    for length, source in spans:
        begin, end = source, source + length
        if begin > end:  # a fold whose members read it in a circle
            begin, end = end, begin
        free = (
            track
            for track, taken in enumerate(tracks)
            if all(end <= first or last <= begin for first, last in taken)
        )
        track = next(free, len(tracks))
        if track == len(tracks):
            tracks.append([])
        tracks[track].append((begin, end))
        lanes.append(Lane(source, tuple(readers[source]), track))
    return tuple(lanes)
