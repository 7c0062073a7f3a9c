"""Growth curves: how receptive field, jump, map size, parameters and MACs change over depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from math import prod
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.rows import Row
from ..budget.advice import coverage
from .markup import Markup, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 330, 176, 46, 12, 16, 26
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


def curves(account: Account, layers: Sequence[Row]) -> Markup:
    """All curves, as a group of small charts on one scale of depth."""
    charts = [_chart(curve, layers) for curve in curves_of(account, layers)]
    return tag("div", *charts, cls="curves")


def curves_of(account: Account, layers: Sequence[Row]) -> tuple[Curve, ...]:
    """What is drawn; of maps that are not square the shorter axis, which covers the input last."""
    size = account.input_size
    line = (min(size), f"input {min(size)}") if size else None
    first, _ = coverage(account)
    mark, note = None, "no layer covers the input" if size and account.receptive_field else ""
    if first is not None:
        mark = next(i for i, row in enumerate(layers) if row == first)
        note = f"first to cover the input: {_name(first)}"
    return (
        Curve("Receptive field", _of(layers, _field), "field", line, mark, note),
        Curve("Jump (effective stride)", _of(layers, _jump), "field"),
        Curve("Map size", _of(layers, _map_size), "plain", line),
        Curve("Elements of the output", _of(layers, lambda row: prod(row.output_shape)), "plain"),
        Curve("Parameters so far", tuple(accumulate(row.params for row in layers)), "params"),
        Curve("MACs so far", _running([row.macs for row in layers]), "macs"),
    )


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


def _jump(row: Row) -> Value:
    if row.receptive_field is None or row.is_global:
        return None
    return min(row.receptive_field.stride, default=None)


def _map_size(row: Row) -> Value:
    return None if row.is_global else min(row.output_shape[1:], default=None)


def _running(counts: Sequence[int | None]) -> tuple[Value, ...]:
    """Sums up to each layer; unknown from the first unknown one on."""
    known = next((i for i, count in enumerate(counts) if count is None), len(counts))
    sums = accumulate(count or 0 for count in counts[:known])
    return (*sums, *[None] * (len(counts) - known))


def _chart(curve: Curve, layers: Sequence[Row]) -> Markup:
    known = [value for value in curve.values if value is not None]
    most = max([*known, curve.line[0] if curve.line else 0, 1])
    step = (WIDTH - LEFT - RIGHT) / max(1, len(layers) - 1)

    def x(i: int) -> float:
        return LEFT + i * step

    def y(value: int | Fraction) -> float:
        return TOP + (HEIGHT - TOP - FOOT) * float(1 - value / most)

    picture = tag(
        "svg",
        *_axes(most, len(layers), x, y),
        _line(curve, y),
        _mark(curve, x),
        tag("path", d=_path(curve.values, x, y), cls="curve"),
        *(
            tag("circle", tag("title", f"{_name(row)}: {_number(value)}"),
                cx=f"{x(i):.1f}", cy=f"{y(value):.1f}", r=3 if len(layers) <= 40 else 1.6)
            for i, (row, value) in enumerate(zip(layers, curve.values, strict=True))
            if value is not None and len(layers) <= MOST_POINTS
        ),
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_words(curve, layers),
        cls=curve.cls,
    )  # fmt: skip
    note = tag("span", curve.note, cls="note") if curve.note else ""
    caption = tag("figcaption", tag("b", curve.title), note)
    return tag("figure", caption, picture, data_curve=curve.title)


def _axes(
    most: int | Fraction, count: int, x: Callable[[int], float], y: Callable[[int], float]
) -> tuple[Markup, ...]:
    bottom = f"{y(0):.1f}"
    return (
        tag("path", d=f"M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}", cls="axis"),
        tag("text", _short(most), x=LEFT - 6, y=f"{TOP + 4}", text_anchor="end"),
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
    values: Sequence[Value], x: Callable[[int], float], y: Callable[[int | Fraction], float]
) -> str:
    """A line through the values that are known, broken where one is not."""
    parts, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
        else:
            parts.append(f"{pen}{x(i):.1f} {y(value):.1f}")
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


def _name(row: Row) -> str:
    return row.path or row.kind


def _number(value: int | Fraction) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(value: int | Fraction) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= 10 * size or (value >= size and unit != "k"):
            return f"{float(value) / size:.3g}{unit}"
    return _number(value)
