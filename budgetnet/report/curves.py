"""Growth curves: receptive field, jump, map size and costs over depth, each layer and so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate
from math import prod
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.rows import Row
from ..budget.advice import coverage
from .grouping import name_of
from .markup import Markup, tag
from .words import short

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 330, 176, 46, 12, 16, 26
INSET = 10  # so that the first and the last bar have room
SCALE = (WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT, INSET)  # as the script draws
MOST_POINTS = 120  # with a mark each; more would touch, and the table has their values
Value = int | Fraction | None


class Curve(NamedTuple):
    """Values over the layers; a line at a value and a mark at a layer where they matter."""

    title: str
    values: tuple[Value, ...]
    cls: str
    line: tuple[int, str] | None = None
    mark: int | None = None
    note: str = ""
    bars: bool = False  # of each layer by itself
    whole: tuple[Value, ...] = ()  # of layers that have read the whole map, drawn apart


def curves(account: Account, layers: Sequence[Row]) -> Markup:
    """All curves, as a group of small charts on one scale of depth."""
    charts = [_chart(curve, layers) for curve in curves_of(account, layers)]
    return tag("div", *charts, cls="curves")


def curves_of(account: Account, layers: Sequence[Row]) -> tuple[Curve, ...]:
    """What is drawn; of maps that are not square the shorter axis, which covers the input last."""
    size = account.input_size
    line = (min(size), f"input {min(size)}") if size else None
    mark, note = _covering(account, layers)
    macs = [row.macs for row in layers]
    return (
        Curve(
            "Receptive field",
            _of(layers, _field),
            "field",
            line,
            mark,
            note,
            whole=_of(layers, _whole),
        ),
        Curve("Jump (effective stride)", _of(layers, _jump), "field"),
        Curve("Map size", _of(layers, partial(_map_size, len(size))), "plain", line),
        Curve("Elements of the output", _of(layers, lambda row: prod(row.output_shape)), "plain"),
        Curve("Parameters by layer", _of(layers, lambda row: row.params), "params", bars=True),
        Curve("Parameters so far", tuple(accumulate(row.params for row in layers)), "params"),
        Curve("MACs by layer", tuple(macs), "macs", bars=True),
        Curve("MACs so far", _running(macs), "macs"),
    )


def _covering(account: Account, layers: Sequence[Row]) -> tuple[int | None, str]:
    """The layer that first sees the whole input, by its window or as it reads the whole map."""
    if not account.input_size or not account.receptive_field:
        return None, ""
    first, _ = coverage(account)
    if first is not None:
        place = next(i for i, row in enumerate(layers) if row == first)
        return place, f"first to cover the input: {name_of(first)}"
    readers = (i for i, row in enumerate(layers) if row.is_global or row.context == "+all")
    reader = next(readers, None)
    if reader is None:
        return None, "no layer covers the input"
    return reader, f"no window covers the input; {name_of(layers[reader])} reads the whole map"


def is_map(row: Row) -> bool:
    """Whether a layer has a plain map whose units have regions."""
    field = row.receptive_field
    if field is None or row.is_global or -1 in field.places:
        return False
    return len(row.output_shape) == 1 + len(field.axes)


def _of(layers: Sequence[Row], read: Callable[[Row], Value]) -> tuple[Value, ...]:
    return tuple(map(read, layers))


def _field(row: Row) -> Value:
    if row.receptive_field is None or row.is_global:  # a global read sees all there is
        return None
    return min(row.receptive_field.size, default=None)


def _whole(row: Row) -> Value:
    if row.receptive_field is None or not row.is_global:
        return None
    return min(row.receptive_field.size, default=None)


def _jump(row: Row) -> Value:
    if row.receptive_field is None or row.is_global:
        return None
    return min(row.receptive_field.stride, default=None)


def _map_size(axes: int, row: Row) -> Value:
    """The shorter axis of a map; tokens and vectors are no map, and have channels there."""
    is_flat = axes and len(row.output_shape) != 1 + axes
    return min(row.output_shape[1:], default=None) if is_map(row) and not is_flat else None


def _running(counts: Sequence[int | None]) -> tuple[Value, ...]:
    """Sums up to each layer; unknown from the first unknown one on."""
    known = next((i for i, count in enumerate(counts) if count is None), len(counts))
    sums = accumulate(count or 0 for count in counts[:known])
    return (*sums, *[None] * (len(counts) - known))


def _chart(curve: Curve, layers: Sequence[Row]) -> Markup:
    known = [value for value in (*curve.values, *curve.whole) if value is not None]
    most = max([*known, curve.line[0] if curve.line else 0, 1])
    step = (WIDTH - LEFT - RIGHT - 2 * INSET) / max(1, len(layers) - 1)

    def x(i: int) -> float:
        return LEFT + INSET + i * step

    def y(value: int | Fraction) -> float:
        return TOP + (HEIGHT - TOP - FOOT) * float(1 - value / most)

    picture = tag(
        "svg",
        *_axes(most, len(layers), x, y),
        _line(curve, y),
        _mark(curve, x),
        *(_bars(curve, step, x, y) if curve.bars else _points(curve, layers, x, y)),
        tag("path", d=_path(curve.whole, x, y, "h0"), cls="whole") if any(curve.whole) else "",
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_words(curve, layers),
        cls=curve.cls,
    )  # fmt: skip
    note = tag("span", curve.note, cls="note") if curve.note else ""
    at = tag("span", "", cls="at")
    caption = tag("figcaption", tag("b", curve.title))
    return tag("figure", caption, picture, note, at, data_curve=curve.title, data_bars=curve.bars,
               data_line=curve.line and curve.line[0])  # fmt: skip


def _points(
    curve: Curve, layers: Sequence[Row], x: Callable[[int], float],
    y: Callable[[int | Fraction], float],
) -> tuple[Markup, ...]:  # fmt: skip
    """A line, with a circle for each layer where there is room."""
    circles = (
        tag("circle", cx=f"{x(i):.1f}", cy=f"{y(value):.1f}", r=3 if len(layers) <= 40 else 1.6)
        for i, value in enumerate(curve.values)
        if value is not None and len(layers) <= MOST_POINTS
    )
    return (tag("path", d=_path(curve.values, x, y), cls="curve"), *circles)


def _bars(
    curve: Curve, step: float, x: Callable[[int], float], y: Callable[[int | Fraction], float]
) -> tuple[Markup, ...]:
    """A bar for each layer that costs anything."""
    known = [(i, value) for i, value in enumerate(curve.values) if value]
    lines = "".join(f"M{x(i):.1f} {y(0):.1f}V{y(value):.1f}" for i, value in known)
    width = min(18, max(0.7, 0.7 * step))
    return (tag("path", d=lines, cls="bars", style=f"stroke-width:{width:.1f}"),)


def _axes(
    most: int | Fraction, count: int, x: Callable[[int], float], y: Callable[[int], float]
) -> tuple[Markup, ...]:
    bottom = f"{y(0):.1f}"
    return (
        tag("path", d=f"M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}", cls="axis"),
        tag("text", short(most), x=LEFT - 6, y=f"{TOP + 4}", text_anchor="end"),
        tag("text", "0", x=LEFT - 6, y=bottom, text_anchor="end"),
        tag("text", "layer 1", x=LEFT, y=HEIGHT - 8),
        tag("text", str(count), x=WIDTH - RIGHT, y=HEIGHT - 8, text_anchor="end"),
    )


def _line(curve: Curve, y: Callable[[int], float]) -> Markup:
    if curve.line is None:
        return Markup()
    at, words = curve.line
    height = y(at)
    below = height < TOP + 14
    known = [value for value in curve.values if value is not None]
    rises = bool(known) and known[-1] > known[0]  # then there is room for words at the left
    return tag(
        "g",
        tag("path", d=f"M{LEFT} {height:.1f}H{WIDTH - RIGHT}"),
        tag("text", words, x=LEFT + 8 if rises else (LEFT + WIDTH - RIGHT) / 2,
            y=f"{height + (13 if below else -4):.1f}", text_anchor=None if rises else "middle"),
        cls="limit-line",
    )  # fmt: skip


def _mark(curve: Curve, x: Callable[[int], float]) -> Markup:
    if curve.mark is None:
        return Markup()
    return tag("path", d=f"M{x(curve.mark):.1f} {TOP}V{HEIGHT - FOOT}", cls="mark")


def _path(
    values: Sequence[Value], x: Callable[[int], float], y: Callable[[int | Fraction], float],
    point: str = "",
) -> str:  # fmt: skip
    """A line through the values that are known, broken where one is not; `point` follows each."""
    parts, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
        else:
            parts.append(f"{pen}{x(i):.1f} {y(value):.1f}{point}")
            pen = "L"
    return "".join(parts)


def _words(curve: Curve, layers: Sequence[Row]) -> str:
    known = [(row, v) for row, v in zip(layers, curve.values, strict=True) if v is not None]
    if not known:
        return f"{curve.title}: unknown"
    (first, low), (last, high) = known[0], known[-1]
    ends = (
        f"{_number(low)} at {first.path or first.kind}, {_number(high)} at {last.path or last.kind}"
    )
    extra = "".join(f"; {words}" for words in (curve.line and curve.line[1], curve.note) if words)
    return f"{curve.title} over {len(layers)} layers: {ends}{extra}"


def _number(value: int | Fraction) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
