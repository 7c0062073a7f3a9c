"""A layout in pixels: positions of the boxes, and corners of the edges.

assets/grid.js says the same, for folds that are opened in the page; the tests compare both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .layout import Edge, Layout

MARGIN = 12
GAP, BESIDE = 20, 26  # below a rank and between columns, at least
ACROSS = 72  # between the arms of a U
STEP, GUTTER = 13, 78  # between lanes where few run side by side; room for all of them
ROOM = 9  # between tracks in a gap
TURN = 34  # between parts that stand side by side, for the edge from one to the next
# Where edges meet a box, from its left: in their own column, leaving it, and come from another.
STRAIGHT, LEAVE, ENTER = 22, 34, 46
SIDE = 14  # below the top of a box, where they meet its side
MOST_PARTS = 6
BETTER = 1.05  # by which more must fit for another part

Size = tuple[int, int]


class Grid:
    """A layout in pixels.

    What is too high for its room stands in several parts side by side, as text does in columns; a
    part may end wherever a single edge goes on.
    """

    def __init__(self, found: Layout, sizes: Mapping[int, Size], room: Size) -> None:
        """Place boxes of these sizes, so that as much as can be fits the room."""
        self.places, self.edges, self.is_u = found.places, found.edges, found.is_u
        self.sizes, self.lanes = sizes, found.lanes
        self.step = min(STEP, GUTTER / max(1, found.lanes))
        self.aside = round(self.step * found.lanes) + 12 * bool(found.lanes)
        ranks = range(len(found.tracks))
        self.heights = [0 for _ in ranks]
        for box, (rank, _) in self.places.items():
            self.heights[rank] = max(self.heights[rank], sizes[box][1])
        self.gaps = [max(GAP, ROOM * tracks + 16 * bool(tracks)) for tracks in found.tracks]
        best, scale = [0], 0.0
        for starts in self._divisions():
            self._arrange(starts)
            fits = min(1.0, room[0] / self.size[0], room[1] / self.size[1])
            if fits > BETTER * scale:
                best, scale = starts, fits
        self._arrange(best)

    def _divisions(self) -> Iterator[list[int]]:
        """First ranks of the parts, for more and more parts of about one height."""
        crossing = [0 for _ in self.heights]
        for edge in self.edges:
            one, two = self.places[edge.source][0], self.places[edge.reader][0]
            for rank in range(min(one, two), max(one, two)):
                crossing[rank] += 1 if two == one + 1 else 2
        total = sum(self.heights) + sum(self.gaps)
        for parts in range(1, 2 if self.is_u else MOST_PARTS + 1):
            limit, starts = total / parts, self._starts(crossing, total / parts)
            while len(starts) > parts:
                limit *= 1.04
                starts = self._starts(crossing, limit)
            yield starts

    def _starts(self, crossing: list[int], limit: float) -> list[int]:
        """Where parts begin if none is higher than a limit, as far as edges let it."""
        starts, used = [0], 0
        for rank, height in enumerate(self.heights):
            if rank and crossing[rank - 1] < 2 and used + height > limit:
                starts.append(rank)
                used = 0
            used += height + self.gaps[rank]
        return starts

    def _arrange(self, starts: list[int]) -> None:
        """Give every rank its top, and every part its columns."""
        self.part_of = [0 for _ in self.heights]
        self.tops = [0 for _ in self.heights]
        self.lefts: list[list[int]] = []
        x, deepest = MARGIN, 0
        for part, start in enumerate(starts):
            end = starts[part + 1] if part + 1 < len(starts) else len(self.heights)
            y = MARGIN
            for rank in range(start, end):
                self.part_of[rank], self.tops[rank] = part, y
                y += self.heights[rank] + self.gaps[rank]
            last = end - 1
            foot = y - self.gaps[last] + (self.gaps[last] if end < len(self.heights) else 0)
            deepest = max(deepest, foot)
            widths: dict[int, int] = {}
            for box, (rank, column) in self.places.items():
                if start <= rank < end:
                    widths[column] = max(widths.get(column, 0), self.sizes[box][0])
            x += self.aside
            self.lefts.append([])
            for column in range(1 + max(widths, default=0)):
                self.lefts[-1].append(x)
                x += widths.get(column, 0) + (ACROSS if self.is_u else BESIDE)
            x += TURN - (ACROSS if self.is_u else BESIDE)
        self.size = x - TURN + MARGIN, deepest + MARGIN

    def corner(self, box: int) -> tuple[int, int]:
        """Upper left corner of a box."""
        rank, column = self.places[box]
        return self.lefts[self.part_of[rank]][column], self.tops[rank]

    def path_of(self, edge: Edge) -> list[tuple[float, float]]:
        """The corners of an edge, from its source to its reader."""
        (top, one), (foot, two) = self.places[edge.source], self.places[edge.reader]
        (x, y), (a, b) = self.corner(edge.source), self.corner(edge.reader)
        wide, high = self.sizes[edge.source]
        if self.is_u and one == two == 1:
            return [(x + STRAIGHT, y), (x + STRAIGHT, b + self.sizes[edge.reader][1] + 1)]
        if self.is_u and one != two:
            side = [(x + wide, y + SIDE)]
            if top == foot:
                return [*side, (a - 1, b + SIDE)]
            return [*side, (a + STRAIGHT, y + SIDE),
                    (a + STRAIGHT, b + self.sizes[edge.reader][1] + 1)]  # fmt: skip
        if self.part_of[top] != self.part_of[foot]:
            turn = self.lefts[self.part_of[foot]][0] - self.aside - TURN / 2
            below = self.tops[top] + self.heights[top] + GAP / 2
            return [(x + STRAIGHT, y + high), (x + STRAIGHT, below), (turn, below),
                    (turn, b - MARGIN / 2), (a + STRAIGHT, b - MARGIN / 2),
                    (a + STRAIGHT, b - 1)]  # fmt: skip
        return self._within(edge)

    def _within(self, edge: Edge) -> list[tuple[float, float]]:
        """The corners of an edge in one part, by its column or lane."""
        (x, y), (a, b) = self.corner(edge.source), self.corner(edge.reader)
        high, low = self.sizes[edge.source][1], self.sizes[edge.reader][1]
        y += high
        rank, above = self.places[edge.source][0], self.places[edge.reader][0] - 1
        lefts = self.lefts[self.part_of[rank]]
        is_lane = edge.column < 0
        if is_lane:
            down = lefts[0] - 16 + self.step * (edge.column + 1)
        else:
            down = lefts[edge.column] + (STRAIGHT if edge.leave is None else ENTER)
        begin: list[tuple[float, float]] = [(down, y)]
        if edge.leave is not None:
            track = self.tops[rank] + self.heights[rank] + ROOM * (edge.leave + 1)
            begin = [(x + LEAVE, y), (x + LEAVE, track), (down, track)]
        elif is_lane:
            side = y - (SIDE if high > 2 * SIDE + 2 else high) / 2
            begin = [(x, side), (down, side)]
        if edge.enter is not None:
            track = self.tops[above] + self.heights[above] + ROOM * (edge.enter + 1)
            return [*begin, (down, track), (a + ENTER, track), (a + ENTER, b - 1)]
        side = b + min(SIDE, low / 2)
        return [*begin, *([(down, side), (a - 1, side)] if is_lane else [(down, b - 1)])]
