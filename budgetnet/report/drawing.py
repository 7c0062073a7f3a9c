"""The network as a picture: boxes below their inputs, branches side by side, folds that are open
around what they hold.

assets/drawing.js draws the same in the page; the tests compare both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..trace.account import account as account_of
from .folding import Fold, open_at_first, open_to_depth, tree_of
from .labels import NAME, TEXT, heading_of, shares_of, texts_of
from .layout import Edge
from .markup import Markup, asset, join, tag
from .scene import HEADER, INPUT, NAMED_PORT, PAD, PORT, WIDTH, Placed, is_free, placed
from .texts import BOLD, cut, local

BAR = 134  # the longest share
CORNER = 6
HUES = 5  # of lanes, so that those side by side are told apart


def draw_svg(model: Any, input_shape: Any = None, *, depth: int | None = None) -> str:
    """Draw the diagram as a standalone SVG that follows the reader's light or dark mode.

    Modules are folded until the network fits a screen; blocks that are alike stand once, as "x6".

    Args:
        model: an `Account`, or anything that `account` takes; an account saved by an early release
            has no edges to draw.
        input_shape: as for `account`; an `Account` knows its own.
        depth: show every module whose path has so many parts, and no repeats.

    >>> draw_svg("c8 p gap10", (1, 28, 28)).count('class="node"')
    4
    """
    account = account_of(model, input_shape, strict=False)
    layers = account.layers()
    root = tree_of(layers, levels=depth is None)
    opened = open_at_first(root) if depth is None else open_to_depth(root, depth)
    scene = placed(root, layers, opened, inputs=len(account.input_shapes))
    return f"{diagram(account, layers, scene, asset('diagram.css'))}\n"


def diagram(account: Account, layers: Sequence[Row], scene: Placed, style: str = "") -> Markup:
    """The diagram as an SVG element; with a style of its own it stands alone."""
    words = f"{account.name}: {len(layers)} layers from the input {account.input_text} down"
    wide, high = scene.size
    return tag(
        "svg",
        tag("title", words),
        tag("style", Markup(style)) if style else "",
        tag(
            "g", tag("defs", _arrowhead()), *Drawing(account, layers).inside(scene),
            id="network", cls="diagram",
        ),
        xmlns="http://www.w3.org/2000/svg" if style else None,
        viewBox=f"0 0 {wide} {high}", width=wide, height=high,
        role="img" if style else "group", aria_label=words,
    )  # fmt: skip


class Drawing:
    """Draws folds of an account."""

    def __init__(self, account: Account, layers: Sequence[Row]) -> None:
        """Bars are as long as shares; a tint is as deep as the MACs of the box."""
        self.account, self.layers = account, layers

    def inside(self, scene: Placed) -> list[Markup]:
        """Edges and boxes in an open fold, from its own corner."""
        grid, inside = scene.grid, scene.inside
        if grid is None or inside is None:
            return []
        edges = [_edge(edge, grid.path_of(edge), edge.reader == inside.exit) for edge in grid.edges]
        is_root = scene.fold.key == (0, len(self.layers))
        words = self.ports(inside.ports, is_root)
        sockets = [
            (_input if is_root else _socket)(*grid.corner(box), words[-1 - box])
            for box in grid.places if box < 0
        ]  # fmt: skip
        if inside.exit is not None:
            sockets.append(_socket(*grid.corner(inside.exit)))
        path = scene.fold.row.path
        boxes = [self.box(child, *grid.corner(i), path) for i, child in enumerate(scene.children)]
        return [*sockets, tag("g", *edges, cls="edges"), *boxes]

    def ports(self, ports: Sequence[int], is_root: bool) -> list[str]:
        """What stands at the inputs of the network, or where a fold reads what lies outside."""
        if is_root:
            shapes = self.account.input_shapes
            return [cut(f"input {shape_text(s)}", (WIDTH - 32) / BOLD, NAME) for s in shapes]
        return [f"from {self.named(port)}" for port in ports] if len(ports) > 1 else [""]

    def named(self, layer: int) -> str:
        """How a fold calls a layer outside of it."""
        if layer < 0:
            return "the input" if len(self.account.input_shapes) == 1 else f"input {-layer}"
        row = self.layers[layer]
        return local(row.path or row.kind, WIDTH - 110, TEXT)

    def box(self, scene: Placed, x: int, y: int, parent: str) -> Markup:
        """A layer, a fold that is shut, or one that is open, with its corner there."""
        fold, is_open = scene.fold, scene.grid is not None
        wide, high = scene.size
        place = {"data_layer": fold.first} if not fold.children else {"data_fold": _key(fold)}
        kind = "frame" if is_open else "node fold" if fold.children else "node"
        behind = [
            tag("rect", x=3 * k, y=3 * k, width=wide, height=high, rx=7, cls="behind")
            for k in (2, 1) if fold.repeats and not is_open
        ]  # fmt: skip
        texts = texts_of(self.account, fold, parent)
        parts = [tag("rect", width=wide, height=high, rx=7)]
        if is_open:
            parts += [*_header(fold, texts, wide), tag(
                "g", *self.inside(scene), transform=f"translate(0 {HEADER})"
            )]  # fmt: skip
        else:
            parts += _contents(fold, texts, shares_of(self.account, fold), high)
        return tag(
            "g", tag("title", texts["title"]), *behind, *parts,
            cls=kind, transform=f"translate({x} {y})", **place,
        )  # fmt: skip


def _key(fold: Fold) -> str:
    return f"{fold.first}-{fold.end}"


def _contents(
    fold: Fold, texts: dict[str, str], shares: tuple[float, float], high: int
) -> list[Markup]:
    """The texts and bars of a box that is shut."""
    middle = WIDTH // 2 + 4
    mark = 16 * bool(fold.children)
    tint = shares[1] ** 0.75
    return [
        tag("rect", width=WIDTH, height=high, rx=7, cls="tint", opacity=f"{0.6 * tint:.3f}")
        if tint else Markup(),
        _mark(PAD, 10, is_open=False) if mark else Markup(),
        _line(PAD + mark, 19, texts["name"], "name"),
        _line(WIDTH - PAD, 19, texts["shape"], "shape", end=True),
        _line(PAD, 36, texts["kind"], "kind"),
        _line(WIDTH - PAD, 36, texts["field"], "field", end=True),
        *([] if is_free(fold.row) else [
            _line(PAD, 53, texts["params"], "params"),
            _line(middle, 53, texts["macs"], "macs"),
            _bar(PAD, 59, shares[0], "params"),
            _bar(middle, 59, shares[1], "macs"),
        ]),
    ]  # fmt: skip


def _header(fold: Fold, texts: dict[str, str], wide: int) -> list[Markup]:
    """The title of a fold that is open; what it costs stands there where there is room."""
    words, needs = heading_of(fold, texts)
    costs = tag(
        "text",
        tag("tspan", texts["params"], cls="params"), "   ", tag("tspan", texts["macs"], cls="macs"),
        x=wide - PAD, y=17, text_anchor="end",
    )  # fmt: skip
    return [
        tag("rect", width=wide, height=HEADER, rx=7, cls="title"),
        _mark(PAD, 9, is_open=True),
        _line(PAD + 16, 17, words, "name"),
        costs if needs < wide and not is_free(fold.row) else Markup(),
    ]


def _mark(x: int, y: int, is_open: bool) -> Markup:
    """The triangle of a fold: it points down if it is open."""
    shape = f"M{x} {y}h10l-5 7z" if is_open else f"M{x} {y}v10l7 -5z"
    return tag("path", d=shape, cls="mark")


def _edge(edge: Edge, points: Sequence[tuple[float, float]], is_out: bool) -> Markup:
    """A line with round corners, and an arrowhead at its end unless it leaves the fold."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for before, (x, y), after in zip(points, points[1:], points[2:], strict=False):
        (a, b), (c, d) = _towards((x, y), before), _towards((x, y), after)
        path += f"L{a:g} {b:g}Q{x:g} {y:g} {c:g} {d:g}"
    path += f"L{points[-1][0]:g} {points[-1][1]:g}"
    is_skip = edge.column < 0 or (len(points) == 2 and points[0][1] == points[1][1])
    hue = f" skip hue{edge.source % HUES}" if is_skip else ""
    return tag(
        "path", d=path, cls=f"edge{hue}", data_from=edge.source, data_to=edge.reader,
        marker_end=None if is_out else "url(#arrow)",
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
        tag("rect", x=x, y=y, width=WIDTH, height=INPUT, rx=15),
        tag("text", words, x=x + 16, y=y + 20, cls="name"),
        cls="source",
    )


def _socket(x: int, y: int, words: str = "") -> Markup:
    """Where something comes into a fold that is open, or leaves it."""
    bar = tag("rect", x=x + 8, y=y, width=52, height=NAMED_PORT if words else PORT, rx=2)
    label = tag("text", words, x=x + 68, y=y + 9, cls="kind") if words else ""
    return tag("g", bar, label, cls="socket")


def _line(x: int, y: int, words: str, cls: str, end: bool = False) -> Markup:
    if not words:
        return Markup()
    return tag("text", words, x=x, y=y, cls=cls, text_anchor="end" if end else None)


def _bar(x: int, y: int, share: float, cls: str) -> Markup:
    if not share:
        return Markup()
    back = tag("rect", x=x, y=y, width=BAR, height=4, rx=2, cls="rest")
    front = tag("rect", x=x, y=y, width=f"{max(1.0, BAR * share):.1f}", height=4, rx=2,
                cls=f"bar {cls}")  # fmt: skip
    return join((back, front))


def _arrowhead() -> Markup:
    tip = tag("path", d="M0 0L7 3.5L0 7z", cls="tip")
    return tag(
        "marker", tip, id="arrow", viewBox="0 0 7 7", refX=6, refY=3.5,
        markerWidth=7, markerHeight=7, orient="auto", markerUnits="userSpaceOnUse",
    )  # fmt: skip


def legend() -> Markup:
    """What the bars, the tint and the numbers in a box say."""
    return tag(
        "p",
        join((
            tag("span", "", cls="key params"), "parameters ",
            tag("span", "", cls="key macs"), "MACs, with their shares; the deeper the tint, the ",
            "more MACs. RF: receptive field / jump.",
        )),
        cls="legend",
    )  # fmt: skip
