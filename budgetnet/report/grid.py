"""A layout in pixels: positions of the boxes, and corners of the edges."""

from __future__ import annotations

from .layout import Edge, Layout

WIDTH, HEIGHT, MARGIN = 316, 74, 10
GAP, BESIDE = 22, 26  # below a rank and between columns, at least
STEP, GUTTER = 13, 78  # between lanes where few run side by side; room for all of them
ROOM = 9  # between tracks in a gap
HEAD, LOW = 30, 46  # heights of an input, and of a rank in which nothing costs anything
# Where edges meet a box, from its left: in their own column, leaving it, and come from another.
STRAIGHT, LEAVE, ENTER = 22, 34, 46


class Grid:
    """A layout in pixels; boxes that cost something need room to say so."""

    def __init__(self, found: Layout, costly: set[int]) -> None:
        """Give every rank its height; `costly` has the layers with parameters or MACs."""
        self.places, self.edges = found.places, found.edges
        self.step = min(STEP, GUTTER / max(1, found.lanes))
        self.left = MARGIN + round(self.step * found.lanes) + 12 * bool(found.lanes)
        self.heights = [HEAD] + [LOW] * (len(found.tracks) - 1)
        for box in costly:
            self.heights[found.places[box][0]] = HEIGHT
        self.tops, foot = [], MARGIN
        for height, tracks in zip(self.heights, found.tracks, strict=True):
            self.tops.append(foot)
            foot += height + max(GAP, ROOM * tracks + 16)
        columns = 1 + max(column for _, column in found.places.values())
        self.size = self.left_of(columns) - BESIDE + MARGIN, self.bottom_of(-1) + MARGIN

    def left_of(self, column: int) -> int:
        """Left end of a column."""
        return self.left + column * (WIDTH + BESIDE)

    def bottom_of(self, rank: int) -> int:
        """Lower end of a rank."""
        return self.tops[rank] + self.heights[rank]

    def corner(self, box: int) -> tuple[int, int]:
        """Upper left corner of a box."""
        rank, column = self.places[box]
        return self.left_of(column), self.tops[rank]

    def height(self, box: int) -> int:
        """Height of a box."""
        return self.heights[self.places[box][0]]

    def path_of(self, edge: Edge) -> list[tuple[float, float]]:
        """The corners of an edge, from its source down to its reader."""
        above, foot = self.places[edge.reader][0] - 1, self.bottom_of(self.places[edge.source][0])
        is_lane = edge.column < 0
        if is_lane:
            down = self.left - 16 + self.step * (edge.column + 1)
        else:
            down = self.left_of(edge.column) + (STRAIGHT if edge.leave is None else ENTER)
        x, _ = self.corner(edge.source)
        if edge.leave is not None:
            track = foot + ROOM * (edge.leave + 1)
            begin = [(x + LEAVE, foot), (x + LEAVE, track), (down, track)]
        else:
            begin = [(x, foot - 10), (down, foot - 10)] if is_lane else [(down, foot)]
        x, y = self.corner(edge.reader)
        if edge.enter is not None:
            track = self.bottom_of(above) + ROOM * (edge.enter + 1)
            return [*begin, (down, track), (x + ENTER, track), (x + ENTER, y - 1)]
        return [*begin, *([(down, y + 12), (x - 1, y + 12)] if is_lane else [(down, y - 1)])]
