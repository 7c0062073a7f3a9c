"""The layout of a network's diagram: boxes and edges in ranks and columns.

Ranks go downwards: a box is below everything that it reads. Branches are side by side in columns.
An edge runs down a free column, or else down a lane to the left of all columns. To change column,
it uses a track in the gap between two ranks, which edges share only at their own ends.

A U has two columns: one arm runs down, the other up, and skips cross between boxes of one rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .wiring import Reads

MOST_COLUMNS = 6  # side by side; what is more stands below


class Edge(NamedTuple):
    """How an edge runs.

    Attributes:
        source: the layer that is read; -1 and below are inputs.
        reader: the layer that reads it.
        column: it runs down this column; -1 and below are lanes, -1 next to column 0.
        leave: track in the gap below the source, where it moves to that column; `None`: no move.
        enter: track in the gap above the reader, where it moves to that of the reader.
    """

    source: int
    reader: int
    column: int
    leave: int | None = None
    enter: int | None = None


class Run(NamedTuple):
    """Part of a track that edges of one source, or to one reader, use together."""

    owner: tuple[str, int]
    low: int
    high: int

    def meets(self, other: Run) -> bool:
        """Whether both cannot lie on one track."""
        return self.owner != other.owner and self.low <= other.high and other.low <= self.high


class Layout(NamedTuple):
    """Rank and column of every box, inputs first (the last of them is -1), and all edges.

    `tracks` has how many tracks lie in the gap below each rank; `is_u` tells a U.
    """

    places: dict[int, tuple[int, int]]
    edges: tuple[Edge, ...]
    tracks: tuple[int, ...]
    lanes: int
    is_u: bool = False


def layout(layers: Sequence[Reads], inputs: int = 1) -> Layout:
    """Place the boxes, and find a way for every edge.

    >>> found = layout([Reads((-1,)), Reads((0,)), Reads((0,)), Reads((1, 2)), Reads((3, 0))])
    >>> found.places
    {-1: (0, 0), 0: (1, 0), 1: (2, 0), 2: (2, 1), 3: (3, 0), 4: (4, 0)}
    >>> [(e.source, e.reader) for e in found.edges if e.column < 0], found.lanes
    ([(0, 4)], 1)
    """
    places = _placed(layers, inputs)
    edges = _routed(layers, places)
    lanes = _in_lanes([edge for edge in edges if edge.column < 0], places)
    edges = [edge._replace(column=lanes.get(edge.source, -1)) if edge.column < 0 else edge
             for edge in edges]  # fmt: skip
    edges, tracks = _on_tracks(edges, places)
    return Layout(places, tuple(edges), tracks, -min(lanes.values(), default=0))


def _placed(layers: Sequence[Reads], inputs: int) -> dict[int, tuple[int, int]]:
    """A box goes below what it reads, into the column of one of those, or the next that is free."""
    places = {-1 - i: (0, i) for i in range(inputs)}
    taken = set(places.values())
    has_edges = any(layer.reads for layer in layers)  # files of an earlier release have none
    for i, layer in enumerate(layers):
        above = [places[source] for source in layer.reads if source in places]
        rank = 1 + max((rank for rank, _ in above), default=0 if has_edges else i)
        column = min((column for _, column in above), default=0)
        while (rank, column) in taken:
            column += 1
            if column >= max(MOST_COLUMNS, inputs):
                rank, column = rank + 1, 0
        places[i] = (rank, column)
        taken.add((rank, column))
    return places


def _routed(layers: Sequence[Reads], places: dict[int, tuple[int, int]]) -> list[Edge]:
    """Edges with their columns; short ones choose first, and -1 stands for any lane."""
    pairs = [(source, i) for i, layer in enumerate(layers) for source in dict.fromkeys(layer.reads)]
    pairs.sort(key=lambda pair: places[pair[1]][0] - places[pair[0]][0])
    boxes = set(places.values())
    used: dict[tuple[int, int], set[tuple[int, int]]] = {}  # edges that pass a place

    def is_free(column: int, pair: tuple[int, int], top: int, foot: int) -> bool:
        passed = [(rank, column) for rank in range(top + 1, foot)]
        return not any(
            place in boxes or any(not {*pair} & {*other} for other in used.get(place, ()))
            for place in passed
        )

    edges = []
    for pair in pairs:
        (top, one), (foot, two) = places[pair[0]], places[pair[1]]
        column = next((c for c in (two, one) if is_free(c, pair, top, foot)), -1)
        for rank in range(top + 1, foot) if column >= 0 else ():
            used.setdefault((rank, column), set()).add(pair)
        edges.append(Edge(*pair, column))
    return edges


def _in_lanes(edges: Sequence[Edge], places: dict[int, tuple[int, int]]) -> dict[int, int]:
    """A lane for every source that needs one; short ones run inside, and none overlap."""
    spans: dict[int, list[int]] = {}
    for edge in edges:
        top, foot = places[edge.source][0], places[edge.reader][0]
        ends = spans.setdefault(edge.source, [top, foot])
        ends[:] = min(ends[0], top), max(ends[1], foot)
    lanes: list[list[tuple[int, int]]] = []
    found = {}
    for source, (top, foot) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        free = (i for i, lane in enumerate(lanes) if all(foot <= a or b <= top for a, b in lane))
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((top, foot))
        found[source] = -1 - lane
    return found


def _on_tracks(
    edges: Sequence[Edge], places: dict[int, tuple[int, int]]
) -> tuple[list[Edge], tuple[int, ...]]:
    """Edges with a track wherever they move sideways, and how many tracks each gap has."""
    ranks = 1 + max(rank for rank, _ in places.values())
    gaps: list[list[list[Run]]] = [[] for _ in range(ranks)]

    def track(rank: int, owner: tuple[str, int], column: int, other: int) -> int | None:
        if column == other or (column == 0 and other < 0):  # lanes are reached from the side
            return None
        run = Run(owner, min(column, other), max(column, other))
        tracks = gaps[rank]
        for i, runs in enumerate(tracks):
            if not any(run.meets(one) for one in runs):
                runs.append(run)
                return i
        tracks.append([run])
        return len(tracks) - 1

    left = []
    for edge in edges:
        rank, column = places[edge.source]
        left.append(edge._replace(leave=track(rank, ("from", edge.source), column, edge.column)))
    out = []
    for edge in left:
        rank, column = places[edge.reader]
        found = track(rank - 1, ("to", edge.reader), column, edge.column)
        out.append(edge._replace(enter=found))
    return out, tuple(map(len, gaps))


def u_layout(count: int, down: int, skips: Sequence[tuple[int, int]]) -> Layout:
    """Place a chain as a U: boxes before `down` in the left arm, the rest upwards in the right.

    Both ends of a skip have one rank, so that it crosses between the arms on a straight line.

    >>> u_layout(5, 3, ((0, 4), (1, 3))).places
    {-1: (0, 0), 0: (1, 0), 4: (1, 1), 1: (2, 0), 3: (2, 1), 2: (3, 0)}
    """
    places: dict[int, tuple[int, int]] = {}
    top, source, reader = 0, -2, count
    for one, other in (*skips, (down - 1, down - 1)):
        left, right = range(source + 1, one + 1), range(reader - 1, max(other, down) - 1, -1)
        foot = top + max(len(left), len(right)) - 1
        is_floor = one == other  # where the right arm may end above the left
        for column, arm in enumerate((left, right)):
            places |= {box: (top + i, column) for i, box in enumerate(arm)}
            if arm and not (is_floor and column):
                places[arm[-1]] = (foot, column)
        top, source, reader = foot + 1, one, other
    chain = [Edge(i - 1, i, places[i][1]) for i in range(count)]
    across = [Edge(*skip, 1) for skip in skips]
    ranks = 1 + max(rank for rank, _ in places.values())
    return Layout(places, (*chain, *across), (0,) * ranks, 0, is_u=True)
