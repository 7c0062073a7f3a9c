"""Labels of points where nothing lies below them, each nearer to its own point than to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from math import cos, hypot, radians, sin
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

Point = tuple[float, float]
MARK = 6.0  # points around the middle of a mark, which nothing may touch
WORDS = 8.0  # points between two labels on one line
DISTANCES = (9, 12, 16, 21, 27)
ANGLES = (180, 0, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 65, 115, 245, 295)


class Labels:
    """Labels that are placed once everything else is drawn."""

    def __init__(self, axes: Axes) -> None:
        """Labels of points in `axes`."""
        self.axes = axes
        self.asked: list[tuple[str, Point, dict[str, Any], Sequence[Point]]] = []

    def add(self, text: str, point: Point, style: dict[str, Any], line: Sequence[Point]) -> None:
        """Ask for a label of a point, whose line, such as a spread, no label may cross."""
        self.asked.append((text, point, style, line))

    def place(self, *lines: Sequence[Point]) -> None:
        """Place all labels, none on another, on a mark or on one of `lines`.

        Raises `ValueError` if there is no room for one.
        """
        figure: Any = self.axes.figure
        figure.draw_without_rendering()  # so that places on the page are known
        scale, on_page = figure.dpi / 72, self.axes.transData.transform
        marks = [on_page(point) for _, _, _, line in self.asked for point in line]
        marks += [on_page(point) for _, point, _, _ in self.asked]
        taken = [_around(mark, MARK * scale) for mark in marks]
        for line in (*lines, *(line for _, _, _, line in self.asked)):
            for one, two in pairwise(map(on_page, line)):
                taken += _along(one, two, scale)
        if (legend := self.axes.get_legend()) is not None:
            taken.append(legend.get_window_extent())
        for text, point, style, own in self.asked:
            label = self.axes.annotate(text, point, xytext=(0, 0), textcoords="offset points",
                                       ha="center", va="center", **style)  # fmt: skip
            box = label.get_window_extent()
            ends = [on_page(end) for end in (point, *own)]
            near = 2 * MARK * scale  # marks that touch its own: no place is nearer to one of them
            others = [m for m in marks if all(hypot(*(m - end)) > near for end in ends)]
            size = box.width / scale, box.height / scale
            for x, y in _places(ends, *size, scale):
                placed = _shifted(box, x, y)
                is_free = self._is_free(placed.padded(2 * scale), taken)
                if is_free and _is_nearest(placed, ends, others):
                    break
            else:
                raise ValueError(f"there is no room for {text}")
            label.set_position((x / scale, y / scale))
            taken.append(placed.padded(WORDS * scale, 0))

    def _is_free(self, box: Bbox, taken: Sequence[Bbox]) -> bool:
        frame = self.axes.get_window_extent()
        inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
        return inside and not any(box.overlaps(other) for other in taken)


def _places(
    ends: Sequence[Any], width: float, height: float, scale: float
) -> Iterator[tuple[float, float]]:
    """Pixels from a point, the first of `ends`, to the middle of its label; near ones first."""
    for distance, end, angle in product(DISTANCES, ends, ANGLES):
        right, up = cos(radians(angle)), sin(radians(angle))
        x = right * distance + width / 2 * max(-1, min(1, 2 * right))
        y = up * distance + height / 2 * max(-1, min(1, 2 * up))
        yield tuple(end - ends[0] + (x * scale, y * scale))


def _along(one: Any, two: Any, size: float) -> list[Bbox]:
    """Small boxes along a line."""
    steps = max(1, int(hypot(*(two - one)) / size))
    return [_around(one + (two - one) * k / steps, size) for k in range(steps + 1)]


def _around(middle: Any, size: float) -> Bbox:
    x, y = middle
    return Bbox.from_extents(x - size, y - size, x + size, y + size)


def _shifted(box: Bbox, x: float, y: float) -> Bbox:
    return Bbox.from_extents(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y)


def _closest(box: Bbox, point: Any) -> Any:
    """The place in a box that is nearest to a point."""
    return np.clip(point, box.min, box.max)


def _is_nearest(box: Bbox, own: Sequence[Any], others: Sequence[Any]) -> bool:
    distance = min(hypot(*(_closest(box, end) - end)) for end in own)
    return all(distance < hypot(*(_closest(box, other) - other)) for other in others)
