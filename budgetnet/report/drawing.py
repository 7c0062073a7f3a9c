"""The network as a diagram: a box per layer in execution order, branches as lanes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

from ..accounting import Account, Row
from ..geometry import compact
from .layout import Lane, is_adjacent, lanes_of
from .markup import Markup, join, tag

WIDTH, HEIGHT, GAP, MARGIN = 316, 74, 22, 10
TRACK, GUTTER = 13, 78  # between lanes where few run side by side; room for all of them
HEAD = 30  # height of an input
BAR = 140  # the longest share


def draw_svg(account: Account, depth: int | None = None) -> str:
    """The diagram as a standalone SVG picture, in the colours that the reader's system prefers.

    Args:
        account: of any network; one that an earlier release saved has no edges to draw.
        depth: sum the layers so many modules deep, as `Account.fold` does.

    >>> from budgetnet import plan
    >>> draw_svg(plan("c8 p gap10", (1, 28, 28))).count('class="node"')
    4
    """
    layers = account.layers() if depth is None else account.fold(depth)
    style = files(__package__).joinpath("assets/diagram.css").read_text(encoding="utf-8")
    return diagram(account, layers, style) + "\n"


def diagram(account: Account, layers: Sequence[Row], style: str = "") -> Markup:
    """The diagram as an SVG element; with a style of its own it stands alone."""
    inputs = _inputs(account)
    lanes = lanes_of(layers, len(inputs))
    tracks = 1 + max((lane.track for lane in lanes), default=-1)
    track = min(TRACK, GUTTER / max(1, tracks))
    left = MARGIN + round(track * tracks) + 12 * bool(lanes)
    place = _Places(left, len(inputs))
    width, height = left + WIDTH + MARGIN, place.top(len(layers)) - GAP + MARGIN
    biggest = (
        max((row.params for row in layers), default=0),
        max((row.macs or 0 for row in layers), default=0),
    )
    words = f"{account.name}: {len(layers)} layers from the input {account.input_text} down"
    return tag(
        "svg",
        tag("title", words),
        tag("style", Markup(style)) if style else "",
        tag("defs", _arrowhead()),
        tag("g", *_straight(layers, place, len(inputs)), *_lanes(lanes, place, track), cls="edges"),
        *(_input(place, i, text) for i, text in enumerate(inputs)),
        *(_node(account, row, i, place, biggest) for i, row in enumerate(layers)),
        xmlns="http://www.w3.org/2000/svg" if style else None,
        viewBox=f"0 0 {width} {height}", width=width, height=height, cls="diagram",
        role="img" if style else "group", aria_label=words,
    )  # fmt: skip


def _inputs(account: Account) -> list[str]:
    shapes = account.input_shape
    several = shapes if isinstance(shapes[0], tuple) else (shapes,)
    return [f"input {'x'.join(map(str, shape))}" for shape in several]


class _Places:
    """Where a layer stands; inputs are -1 and below, the first on top."""

    def __init__(self, left: int, inputs: int) -> None:
        self.left, self.inputs = left, inputs

    def top(self, i: int) -> int:
        if i < 0:
            return MARGIN + (-1 - i) * (HEAD + GAP)
        return MARGIN + self.inputs * (HEAD + GAP) + i * (HEIGHT + GAP)

    def bottom(self, i: int) -> int:
        return self.top(i) + (HEAD if i < 0 else HEIGHT)


def _straight(layers: Sequence[Row], place: _Places, inputs: int) -> Iterator[Markup]:
    x = place.left + 22
    for i, layer in enumerate(layers):
        for source in layer.reads:
            if is_adjacent(source, i, inputs):
                path = f"M{x} {place.bottom(source)}V{place.top(i) - 1}"
                yield tag("path", d=path, cls="edge", data_from=source, marker_end="url(#arrow)")


def _lanes(lanes: Sequence[Lane], place: _Places, track: float) -> Iterator[Markup]:
    """A lane leaves its source low on the left, and enters its readers high."""
    r = 6
    for lane in lanes:
        x = round(place.left - 16 - track * lane.track, 1)
        begin = place.bottom(lane.source) - 10
        reached = 0
        for reader in lane.readers:
            end = place.top(reader) + 12
            turn = r if end > begin else -r
            path = f"M{place.left} {begin}H{x + r}Q{x} {begin} {x} {begin + turn}"
            if begin < reached < end:  # further along what is drawn already
                path = f"M{x} {reached}"
            path += f"V{end - turn}Q{x} {end} {x + r} {end}H{place.left - 1}"
            reached = end - turn
            yield tag("path", d=path, cls="edge", data_from=lane.source, marker_end="url(#arrow)")


def _input(place: _Places, i: int, words: str) -> Markup:
    x, y = place.left, place.top(-1 - i)
    return tag(
        "g",
        tag("rect", x=x, y=y, width=WIDTH, height=HEAD, rx=15),
        tag("text", words, x=x + 16, y=y + 20, cls="name"),
        cls="source",
    )


def _node(account: Account, row: Row, i: int, place: _Places, biggest: tuple[int, int]) -> Markup:
    x, y = place.left, place.top(i)
    field = _field(row)
    shape = "x".join(map(str, row.output_shape))
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
        tag("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=7),
        _line(x + 12, y + 19, _cut(row.path or row.kind, 24), "name"),
        _line(x + WIDTH - 12, y + 19, shape, "shape", end=True),
        _line(x + 12, y + 37, _cut(kind.replace("BatchNorm2d", "BN"), 35), "kind"),
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
    return f"RF {row.receptive_field}{' +all' if row.global_context else ''} / {jump}"


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
