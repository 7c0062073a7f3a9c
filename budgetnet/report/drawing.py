"""The network as a diagram: each layer is a box below its inputs, branches are side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import compact, shape_text
from ..trace.account import account as account_of
from .grid import GAP, HEAD, WIDTH, Grid
from .layout import Edge, layout
from .markup import Markup, asset, join, tag

BAR = 140  # the longest share
CORNER = 6


def draw_svg(model: Any, input_shape: Any = None, *, depth: int | None = None) -> str:
    """Draw the diagram as a standalone SVG that follows the reader's light or dark mode.

    Args:
        model: an `Account`, or anything that `account` takes; an account saved by an early release
            has no edges to draw.
        input_shape: as for `account`; an `Account` knows its own.
        depth: sum layers by the first `depth` parts of their path, as `Account.fold` does.

    >>> draw_svg("c8 p gap10", (1, 28, 28)).count('class="node"')
    4
    """
    account = account_of(model, input_shape, strict=False)
    layers = account.layers() if depth is None else account.fold(depth)
    return f"{diagram(account, layers, grid_of(account, layers), asset('diagram.css'))}\n"


def diagram(account: Account, layers: Sequence[Row], grid: Grid, style: str = "") -> Markup:
    """The diagram as an SVG element; with a style of its own it stands alone."""
    inputs = _inputs(account)
    biggest = (
        max((row.params for row in layers), default=0),
        max((row.macs or 0 for row in layers), default=0),
    )
    words = f"{account.name}: {len(layers)} layers from the input {account.input_text} down"
    width, height = grid.size
    return tag(
        "svg",
        tag("title", words),
        tag("style", Markup(style)) if style else "",
        tag(
            "g",
            tag("defs", _arrowhead()),
            *(_input(*grid.corner(-1 - i), text) for i, text in enumerate(inputs)),
            tag("g", *(_edge(edge, grid.path_of(edge)) for edge in grid.edges), cls="edges"),
            *(_node(account, row, i, grid, biggest) for i, row in enumerate(layers)),
            id="network", cls="diagram",  # a slice for print takes this group alone
        ),
        xmlns="http://www.w3.org/2000/svg" if style else None,
        viewBox=f"0 0 {width} {height}", width=width, height=height,
        cls="wide" if width > 2 * WIDTH else None,
        role="img" if style else "group", aria_label=words,
    )  # fmt: skip


def slices(grid: Grid) -> Markup:
    """The diagram again, cut between ranks into pieces that paper has room for.

    Each piece is a view of the diagram in the page; paper cannot cut one picture.
    """
    width, height = grid.size
    is_narrow = width < 2.2 * WIDTH
    count = max(1 + is_narrow, math.ceil(height / (width * (2.2 if is_narrow else 1.2))))
    cuts = [0]
    for top in grid.tops[1:]:
        if top - cuts[-1] > height / count:
            cuts.append(top - GAP // 2)
    pieces = [
        tag("svg", tag("use", href="#network"), viewBox=f"0 {top} {width} {foot - top}",
            cls="half" if is_narrow else None)
        for top, foot in itertools.pairwise([*cuts, height])
    ]  # fmt: skip
    return tag("div", *pieces, cls="slices", aria_hidden="true")


def grid_of(account: Account, layers: Sequence[Row]) -> Grid:
    """Where all boxes and edges of these layers lie."""
    costly = {i for i, row in enumerate(layers) if row.params or row.macs != 0}
    return Grid(layout(layers, len(_inputs(account))), costly)


def _inputs(account: Account) -> list[str]:
    shapes = account.input_shape
    several = shapes if isinstance(shapes[0], tuple) else (shapes,)
    return [f"input {shape_text(shape)}" for shape in several]


def _edge(edge: Edge, points: Sequence[tuple[float, float]]) -> Markup:
    """A line with round corners, and an arrowhead at its end."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, (x, y), after in zip(points, points[1:], points[2:], strict=False):
        (a, b), (c, d) = _towards((x, y), before), _towards((x, y), after)
        path += f"L{a:g} {b:g}Q{x:g} {y:g} {c:g} {d:g}"
    path += f"L{points[-1][0]:g} {points[-1][1]:g}"
    return tag(
        "path", d=path, cls="edge", data_from=edge.source, data_to=edge.reader,
        marker_end="url(#arrow)",
    )  # fmt: skip


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The point where a round corner begins on the way to another."""
    (x, y), (a, b) = corner, other
    length = abs(a - x) + abs(b - y)  # edges run along the axes
    part = min(CORNER, length / 2) / length
    return x + part * (a - x), y + part * (b - y)


def _input(x: int, y: int, words: str) -> Markup:
    return tag(
        "g",
        tag("rect", x=x, y=y, width=WIDTH, height=HEAD, rx=15),
        tag("text", words, x=x + 16, y=y + 20, cls="name"),
        cls="source",
    )


def _node(account: Account, row: Row, i: int, grid: Grid, biggest: tuple[int, int]) -> Markup:
    x, y = grid.corner(i)
    field = _field(row)
    shape = shape_text(row.output_shape)
    kind = row.kind + (f"  {row.sliding}" if row.sliding else "")
    macs = "unknown" if row.macs is None else _amount(row.macs, account.macs)
    params = _amount(row.params, account.params)
    words = (
        f"{row.path or row.kind}: {kind}; output {shape}; {field}; "
        f"parameters {params or 'none'}; MACs {macs or 'none'}"
    )
    middle = x + WIDTH // 2 + 6
    return tag(
        "g",
        tag("title", words),
        tag("rect", x=x, y=y, width=WIDTH, height=grid.height(i), rx=7),
        _line(x + 12, y + 19, _cut(row.path or row.kind, 24), "name"),
        _line(x + WIDTH - 12, y + 19, shape, "shape", end=True),
        _line(x + 12, y + 37, _cut(kind.replace("BatchNorm2d", "BN"), 47 - len(field)), "kind"),
        _line(x + WIDTH - 12, y + 37, field, "field", end=True),
        _line(x + 12, y + 56, params, "params"),
        _line(middle, y + 56, macs, "macs"),
        _bar(x + 12, y + 62, row.params, biggest[0], "params"),
        _bar(middle, y + 62, row.macs or 0, biggest[1], "macs"),
        cls="node", data_layer=i,
    )  # fmt: skip


def _line(x: int, y: int, words: str, cls: str, end: bool = False) -> Markup:
    if not words:
        return Markup()
    return tag("text", words, x=x, y=y, cls=cls, text_anchor="end" if end else None)


def _bar(x: int, y: int, part: int, most: int, cls: str) -> Markup:
    if not part:
        return Markup()
    width = max(1.0, BAR * part / most)
    return tag("rect", x=x, y=y, width=f"{width:.1f}", height=5, rx=2, cls=f"bar {cls}")


def _field(row: Row) -> str:
    if row.receptive_field is None:
        return "RF unknown"
    if row.is_global:
        return f"RF {row.receptive_field} (all)"
    jump = compact(row.receptive_field.stride)
    return f"RF {row.receptive_field}{f' {row.context}' if row.context else ''} / {jump}"


def _amount(part: int, whole: int | None) -> str:
    if not part:
        return ""
    return f"{part:,}" + (f" · {100 * part / whole:.1f} %" if whole else "")


def _cut(words: str, room: int) -> str:
    return words if len(words) <= room else f"{words[: room // 2 - 1]}…{words[-(room // 2) :]}"


def _arrowhead() -> Markup:
    tip = tag("path", d="M0 0L7 3.5L0 7z", cls="tip")
    return tag(
        "marker", tip, id="arrow", viewBox="0 0 7 7", refX=6, refY=3.5,
        markerWidth=7, markerHeight=7, orient="auto",
    )  # fmt: skip


def legend() -> Markup:
    """What the bars and numbers in a box say."""
    return tag(
        "p",
        join((
            tag("span", "", cls="key params"), "parameters and their share ",
            tag("span", "", cls="key macs"), "MACs and their share; the longest bar is",
            " the largest. RF: receptive field / jump.",
        )),
        cls="legend",
    )  # fmt: skip
