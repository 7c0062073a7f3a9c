"""A diagram before it is drawn: what stands inside each fold, how it is wired, and how large."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..accounting.rows import Row
from .folding import Fold, Key
from .grid import Grid, Size
from .layout import Layout, layout, u_layout
from .wiring import Reads, arms_of, wires_of

WIDTH, HEIGHT, LOW = 300, 70, 44  # of a box, and its height where nothing in it costs anything
PAD = 12  # between the edge of a box and its texts
INPUT = 30  # height of the network's input
PORT, NAMED_PORT, EXIT = 4, 10, 4  # heights of what comes into an open fold, and of what leaves it
HEADER = 24  # height of the title of an open fold
ROOM: Size = (1180, 760)  # of a picture: a screen


class Inside(NamedTuple):
    """What stands in an open fold: its boxes by place, and below them the exit, if there is one.

    `ports` are the layers outside that are read, -1 and below being inputs of the network; ()
    stands for one bundle of many.
    """

    found: Layout
    ports: tuple[int, ...]
    exit: int | None


def inside_of(fold: Fold, layers: Sequence[Row], inputs: int = 0) -> Inside:
    """What stands in a fold; with `inputs` it is the whole network."""
    boxes = [child.key for child in fold.children]
    wires = wires_of(boxes, layers, fold.first, fold.end, inputs)
    reads, shapes = [*wires.reads], [child.row.output_shape for child in fold.children]
    ends = None
    if not inputs and any(box.reads for box in reads):
        ends = len(boxes)
        reads.append(Reads(wires.leaves))
        shapes.append(())
    ports = tuple(range(-1, -1 - inputs, -1)) if inputs else wires.ports
    arms = arms_of(reads, shapes) if max(1, len(ports)) == 1 else None
    found = u_layout(len(reads), *arms) if arms else layout(reads, max(1, len(ports)))
    return Inside(found, ports, ends)


@dataclass(frozen=True, slots=True)
class Placed:
    """A fold with its size; an open one with its grid and what stands there."""

    fold: Fold
    size: Size
    grid: Grid | None = None
    inside: Inside | None = None
    children: tuple[Placed, ...] = ()


def placed(
    fold: Fold, layers: Sequence[Row], opened: Collection[Key], room: Size = ROOM, inputs: int = 0
) -> Placed:
    """Lay out a fold and what is open in it, each in its room as well as it goes."""
    is_root = inputs > 0
    if not is_root and (not fold.children or fold.key not in opened):
        return Placed(fold, (WIDTH, LOW if is_free(fold.row) else HEIGHT))
    inside = inside_of(fold, layers, inputs)
    children = tuple(placed(child, layers, opened, room) for child in fold.children)
    sizes: dict[int, Size] = {i: child.size for i, child in enumerate(children)}
    named = NAMED_PORT if len(inside.ports) > 1 else PORT
    for box in inside.found.places:
        if box < 0:
            sizes[box] = WIDTH, INPUT if is_root else named
    if inside.exit is not None:
        sizes[inside.exit] = WIDTH, EXIT
    grid = Grid(inside.found, sizes, room)
    wide, high = grid.size
    return Placed(fold, (wide, high + HEADER * (not is_root)), grid, inside, children)


def is_free(row: Row) -> bool:
    """Whether nothing in it costs anything, so that there is less to say."""
    return row.params == 0 and row.macs == 0
