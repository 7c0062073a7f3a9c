"""What the boxes in a fold read, and whether they make a U."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

from ..accounting.rows import Row

MOST_PORTS = 3  # what comes into a fold from more places comes as one bundle


class Reads(NamedTuple):
    """What a box reads: others by their place, -1 and below are what comes in from outside."""

    reads: tuple[int, ...]


class Wires(NamedTuple):
    """The graph inside a fold.

    Attributes:
        reads: of every box, what it reads.
        ports: the layers outside that are read, one port each, -1 for the first; (): one bundle.
        leaves: the boxes that are read outside of the fold, or by nobody at all.
    """

    reads: tuple[Reads, ...]
    ports: tuple[int, ...]
    leaves: tuple[int, ...]


def wires_of(
    boxes: Sequence[tuple[int, int]], layers: Sequence[Row], first: int, end: int, inputs: int = 0
) -> Wires:
    """The graph of boxes, each a run of layers, that together are the layers `first` to `end`.

    With `inputs` it is the whole network, whose ports are its inputs.
    """
    box_of = {i: place for place, run in enumerate(boxes) for i in range(*run)}
    outside = sorted({i for row in layers[first:end] for i in row.reads if i not in box_of})
    is_bundle = not inputs and len(outside) > MOST_PORTS
    port = {i: i if inputs else -1 if is_bundle else -1 - k for k, i in enumerate(outside)}
    reads = []
    for place, run in enumerate(boxes):
        found = (box_of.get(i, port.get(i)) for row in layers[slice(*run)] for i in row.reads)
        reads.append(Reads(tuple(dict.fromkeys(i for i in found if i is not None and i != place))))
    read_inside = {i for box in reads for i in box.reads}
    read_after = {box_of[i] for row in layers[end:] for i in row.reads if i in box_of}
    leaves = tuple(i for i in range(len(boxes)) if i in read_after or i not in read_inside)
    return Wires(tuple(reads), () if is_bundle else tuple(outside), leaves)


def arms_of(
    reads: Sequence[Reads], shapes: Sequence[tuple[int, ...]]
) -> tuple[int, tuple[tuple[int, int], ...]] | None:
    """The arms of a U: how many boxes go down, and the skips from one arm to the other.

    A U is a chain with at least two skip connections, each around the next. The lowest box is the
    last with the smallest map between the ends of the innermost.

    >>> chain = [Reads((-1,)), Reads((0,)), Reads((1,)), Reads((2, 1)), Reads((3, 0))]
    >>> arms_of(chain, [(1, 8, 8), (1, 4, 4), (1, 2, 2), (1, 4, 4), (1, 8, 8)])
    (3, ((0, 4), (1, 3)))
    """
    skips = []
    for i, box in enumerate(reads):
        if i - 1 not in box.reads:
            return None
        skips += [(source, i) for source in box.reads if source != i - 1]
    skips.sort()
    nested = all(one[0] < two[0] and two[1] < one[1] for one, two in pairwise(skips))
    if len(skips) < 2 or not nested or skips[0][0] < 0:
        return None
    low, high = skips[-1]
    deepest = min(range(low + 1, high), key=lambda i: (prod(shapes[i][1:]), -i))
    return deepest + 1, tuple(skips)
