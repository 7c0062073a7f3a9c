"""Tables laid out as lines of text: in full, or in the widest form that fits into some room.

Every row stands on one line if it can: spaces between columns go first, then those around the signs
within a cell, then all but the first of its parts, then whole columns, the costs last. Only cells
that are sentences fold, between words. No number and no word is ever broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .table import Column, Table

Line: TypeAlias = list[tuple[str, str]]  # pieces of text, each with what it means, or ""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEAST_BAR, _MOST_BAR = 4, 16
_PIECE = re.compile(r"(?:━+ )?\S+(?: %\S*)?")  # a number keeps its percent sign, a bar its label
_BREAK = re.compile(r"(?<=[._/-])(?=.)")  # where the name of a layer breaks, if nothing else helps
_TOLD = "no room for: "
_WIDE, _NEAR, _TIGHT, _SHORT, _BROKEN = range(5)  # forms of a table, ever narrower


class Toned(str):
    """Text with a meaning that a terminal colours: "over", "near", "ok" or "unknown"."""

    tone: str

    def __new__(cls, text: str, tone: str = "") -> Toned:
        """The text with its tone."""
        made = super().__new__(cls, text)
        made.tone = tone
        return made


def tone_of(text: str) -> str:
    """The tone of a text; "" if it has none."""
    return getattr(text, "tone", "")


class Shown(NamedTuple):
    """A column in one form: its heading, its cells, that of the totals last, and its widths."""

    column: Column
    heading: str
    cells: tuple[str, ...]
    width: int = 0
    bars: tuple[str, ...] = ()  # beside its cells, all of one width


class Fitted(NamedTuple):
    """A table in one form."""

    table: Table
    shown: list[Shown]
    form: int

    @property
    def gap(self) -> int:
        """Spaces between two columns."""
        return 3 if self.form == _WIDE else 2

    @property
    def width(self) -> int:
        """Characters of its longest line; a wide one has a margin."""
        widths = sum(s.width + len(s.bars[0]) + 1 if s.bars else s.width for s in self.shown)
        return widths + self.gap * max(0, len(self.shown) - 1) + (self.form == _WIDE)


def fit(table: Table, room: int, bars: bool = False) -> Fitted:
    """A table in the widest form that fits into `room` characters, with bars if they are allowed.

    What does not fit even without the columns that may be spared exceeds the edge.
    """
    places = [i for i, column in enumerate(table.columns) if column.bar] if bars else []
    for forms in ((_WIDE, _NEAR), (_TIGHT,), (_SHORT,)):
        for count in range(len(places), -1, -1):
            for form in forms:
                made = _whole(table, form)
                if made.width + (_LEAST_BAR + 1) * count <= room:
                    return _with_bars(made, places[:count], room)
    made = _folded(table, _SHORT, room)
    spared = max(range(len(table.columns)), key=lambda i: table.columns[i].spared, default=0)
    if made.width <= room or not table.columns:
        return made
    if table.columns[spared].spared:
        return fit(_without(table, spared), room, bars)
    return _folded(table, _BROKEN, room)


def plain_lines(table: Table) -> list[str]:
    """A table in full as plain text, its title first and its notes last."""
    shown = table.visible()
    body = ("".join(text for text, _ in line).rstrip() for line in lines(_whole(shown, _WIDE)))
    return [*([shown.title] if table.title else []), *filter(None, body), *shown.notes]


def wrap(text: str, width: int, indent: str = "", names: bool = False) -> list[str]:
    """A text in lines of at most `width` characters, broken between words; a longer one is whole.

    `names` break behind their dots and the like as well.

    >>> wrap("conv4 2,336 (16.3 %)", 10)
    ['conv4', '2,336', '(16.3 %)']
    """
    if _length(text) <= width:
        return [text]
    made, line = [], ""
    for piece in _PIECE.findall(text):
        is_long = names and _length(indent + piece) > width
        parts = _BREAK.split(piece) if is_long else [piece]
        for i, part in enumerate(parts):
            more = f"{line}{'' if i or not line.strip() else ' '}{part}"
            if line.strip() and _length(more) > width:
                made.append(line)
                more = indent + part
            line = more
    return [*made, line]


def lines(made: Fitted) -> Iterator[Line]:
    """The heading, a rule, the rows, and the totals."""
    if not made.shown:
        return
    headings = [wrap(s.heading, s.width) for s in made.shown]
    most = max(map(len, headings))
    lowered = [[""] * (most - len(cell)) + cell for cell in headings]
    yield from _row(made, lowered, ["heading"] * len(lowered), [""] * len(lowered))
    margin = " " * (made.form == _WIDE)
    yield [(f"{margin}{'─' * (made.width - len(margin))}", "rule")]
    is_broken = made.form == _BROKEN
    count = len(made.shown[0].cells)
    for r in range(count):
        cells = [s.cells[r] for s in made.shown]
        is_total = bool(made.table.totals) and r == count - 1
        tones = ["heading" if is_total else tone_of(cell) for cell in cells]
        folded = [wrap(c, s.width, names=is_broken) for c, s in zip(cells, made.shown, strict=True)]
        yield from _row(made, folded, tones, [s.bars[r] if s.bars else "" for s in made.shown])


def _row(
    made: Fitted, cells: Sequence[Sequence[str]], tones: Sequence[str], bars: Sequence[str]
) -> Iterator[Line]:
    """The lines of one row, whose cells may have several."""
    for k, texts in enumerate(zip_longest(*cells, fillvalue="")):
        line: Line = [(" ", "")] if made.form == _WIDE else []
        for s, text, tone, bar in zip(made.shown, texts, tones, bars, strict=True):
            room = " " * (s.width - _length(text))
            line += [(room, ""), (text, tone)] if s.column.numeric else [(text, tone), (room, "")]
            if s.bars:
                line.append((f" {' ' * len(bar) if k else bar}", "bar"))
            line.append((" " * made.gap, ""))
        while line and not line[-1][0].strip():
            line.pop()
        yield line


def _whole(table: Table, form: int) -> Fitted:
    """A table whose cells stand on one line each."""
    shown = []
    for i in range(len(table.columns)):
        s = _column(table, i, form)
        least = _length(s.heading) if form == _WIDE else _narrowest(s.heading)
        shown.append(s._replace(width=max([least, *map(_length, s.cells)])))
    return Fitted(table, shown, form)


def _column(table: Table, i: int, form: int) -> Shown:
    column = table.columns[i]
    cells = tuple(row[i] for row in (*table.rows, *([table.totals] if table.totals else [])))
    if form < _TIGHT:
        return Shown(column, column.name, cells)
    if column.joint:
        cells = tuple(_kept(c, c.replace(f" {column.joint} ", column.joint)) for c in cells)
    if column.joint == "+" and form >= _SHORT:
        firsts = [_kept(cell, _first(cell)) for cell in cells]
        width = max(map(_length, firsts), default=0)
        cells = tuple(c if _length(c) <= width else f for c, f in zip(cells, firsts, strict=True))
    return Shown(column, column.short or column.name, cells)


def _kept(cell: str, text: str) -> str:
    """A text with the tone of a cell."""
    return Toned(text, tone_of(cell))


def _first(cell: str) -> str:
    """The first of parts that are added, and how many more there are.

    >>> _first("Conv2d+BatchNorm2d+ReLU"), _first("ReLU")
    ('Conv2d + 2 more', 'ReLU')
    """
    first, *more = cell.split("+")
    short = f"{first} + {len(more)} more"
    return short if more and _length(short) < _length(cell) else cell


def _narrowest(heading: str) -> int:
    """The least width in which a heading takes two lines at most."""
    words, most = _PIECE.findall(heading), _length(heading)
    longest = max(map(_length, words), default=0)
    return next((n for n in range(longest, most) if len(wrap(heading, n)) <= 2), most)


def _folded(table: Table, form: int, room: int) -> Fitted:
    """A table whose sentences fold, the longest first, until it fits."""
    made = _whole(table, form)
    least, widths = [_least(s, form) for s in made.shown], [s.width for s in made.shown]
    over = made.width - room
    while over > 0 and (slack := [(n, i) for i, n in enumerate(widths) if n > least[i]]):
        widths[max(slack)[1]] -= 1
        over -= 1
    shown = [s._replace(width=n) for s, n in zip(made.shown, widths, strict=True)]
    return made._replace(shown=shown)


def _least(s: Shown, form: int) -> int:
    """The least width of a column: the longest of its words, or of what is never folded."""
    pieces = [*s.cells]
    if not s.column.numeric and not s.column.joint:
        pieces = [piece for cell in pieces for piece in _PIECE.findall(cell)]
        if form == _BROKEN:
            pieces = [part for piece in pieces for part in _BREAK.split(piece)]
    return max([_narrowest(s.heading), *map(_length, pieces)])


def _with_bars(made: Fitted, places: Sequence[int], room: int) -> Fitted:
    """Bars beside the numbers of some columns, the largest number filling the room that is left."""
    if not places:
        return made
    width = min(_MOST_BAR, (room - made.width) // len(places) - 1)
    shown, rows = [*made.shown], len(made.table.rows)
    for i in places:
        cells = made.shown[i].cells
        numbers = [_number(cell) for cell in cells[:rows]]
        most = max([*numbers, 1e-9])
        bars = [bar(number / most, width) for number in numbers] + [""] * (len(cells) - rows)
        shown[i] = shown[i]._replace(bars=tuple(text.ljust(width) for text in bars))
    return made._replace(shown=shown)


def bar(share: float, width: int) -> str:
    """A bar of a length from 0 to `width`, to an eighth of a character; nothing is none.

    >>> bar(1, 4), bar(0.5, 3), bar(0.001, 4), bar(0, 4)
    ('████', '█▌', '▏', '')
    """
    full, eighths = divmod(max(round(share * width * 8), share > 0), 8)
    return ("█" * full + _EIGHTHS[eighths]).rstrip()


def _number(cell: str) -> float:
    """The number of a cell; 0 where it has none."""
    digits = cell.replace(",", "").removesuffix(" %")
    return float(digits) if digits.replace(".", "", 1).isdecimal() else 0.0


def _without(table: Table, spared: int) -> Table:
    """A table without a column, with a note that says so."""

    def cut(cells: tuple[Any, ...]) -> tuple[Any, ...]:
        return cells[:spared] + cells[spared + 1 :]

    name = table.columns[spared].name or table.columns[spared].short
    *notes, last = ("", *table.notes)
    notes = [*notes, f"{last}, {name}"] if last.startswith(_TOLD) else [*notes, last, _TOLD + name]
    return replace(
        table, columns=cut(table.columns), rows=tuple(map(cut, table.rows)),
        totals=cut(table.totals), notes=tuple(filter(None, notes)),
    )  # fmt: skip


def _length(text: str) -> int:
    from rich.cells import cell_len  # on use; some characters take two places

    return cell_len(text)
