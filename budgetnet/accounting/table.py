"""A grid of named columns, as terminal text, Markdown or CSV; and shapes as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from .layout import Toned, plain_lines, tone_of

__all__ = ["Column", "Table", "Toned"]

# What a terminal obeys instead of showing it: control characters, and marks that turn the direction
# of writing; line separators; halves of characters, which no encoding has.
_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What a log of GitHub or Azure obeys: `::error::` at the start of a line, `##[error]` anywhere.
_COMMANDS = re.compile(r"(?<!\S)::|(?<=#)#(?=\w*\[)")
# With what a spreadsheet takes a cell for a formula; tabs and ends of lines are escaped before.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def compact(values: Iterable[object]) -> str:
    """One value if all axes agree, otherwise all of them joined by x.

    >>> compact((3, 3)), compact((3, 5))
    ('3', '3x5')
    """
    texts = [str(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


def shape_text(shape: Iterable[object]) -> str:
    """A shape as text.

    >>> shape_text((3, 224, 224))
    '3x224x224'
    """
    return "x".join(map(str, shape))


def time_text(nanoseconds: int) -> str:
    """A time as people read it, to four digits.

    >>> time_text(830), time_text(3_204_871), time_text(5_000_000), time_text(12_345_678_901)
    ('830 ns', '3.205 ms', '5 ms', '12.35 s')
    """
    for factor, unit in ((10**9, "s"), (10**6, "ms"), (1000, "us")):
        if nanoseconds >= factor:
            number = nanoseconds / factor
            return f"{round(number):,} {unit}" if number >= 1000 else f"{number:.4g} {unit}"
    return f"{nanoseconds} ns"


def visible(text: str) -> str:
    r"""Untrusted text, such as the name of a layer, with its control characters escaped.

    >>> print(visible("a\x1b[2Jb"), visible("::error::forged"))
    a\x1b[2Jb \::error::forged
    """
    text = _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    return _COMMANDS.sub(r"\\\g<0>", text)


def visible_lines(text: str) -> str:
    """`visible` for each line of a text."""
    return "\n".join(map(visible, text.split("\n")))


@dataclass(frozen=True, slots=True)
class Column:
    """A named column; numbers are right-aligned, words left-aligned.

    Attributes:
        name: its heading.
        numeric: whether it holds numbers.
        spared: a narrow terminal leaves out columns with the highest first, and says so; 0 stays.
        short: the heading where room is short.
        joint: the sign between the parts of a cell, such as "+"; a narrow terminal sets no spaces
            around it, and shows the first of parts that are added.
        bar: whether a terminal with room draws a bar beside each number.
    """

    name: str
    numeric: bool = False
    spared: int = 0
    short: str = ""
    joint: str = ""
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under named columns, with an optional title, a row of totals and notes."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    totals: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_text(self) -> str:
        """Plain text, for a terminal or a code block."""
        return "\n".join(plain_lines(self))

    def visible(self) -> Table:
        """This table with all its text escaped; every format is made from it."""

        def clean(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(Toned(visible(cell), tone_of(cell)) for cell in cells)

        return Table(
            tuple(replace(column, name=visible(column.name)) for column in self.columns),
            tuple(map(clean, self.rows)), visible(self.title), clean(self.totals),
            clean(self.notes),
        )  # fmt: skip

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown, columns aligned, the totals as a last bold row."""
        shown = self.visible()
        head = tuple(column.name for column in shown.columns)
        bold = tuple(f"**{cell}**" if cell else "" for cell in shown.totals)
        body = [*shown.rows, *([bold] if bold else [])]
        grid = [[_escape(cell) for cell in row] for row in [head, *body]]
        widths = [max(3, *(len(row[i]) for row in grid)) for i in range(len(head))]
        rule = [
            "-" * (width - 1) + ":" if column.numeric else "-" * width
            for column, width in zip(self.columns, widths, strict=True)
        ]
        lines = [self._markdown_line(row, widths) for row in [grid[0], rule, *grid[1:]]]
        title = [f"**{_escape(shown.title)}**", ""] if self.title else []
        notes = ["", *(f"{_escape(note)}  " for note in shown.notes)] if self.notes else []
        return "\n".join([*title, *lines, *notes])

    def to_csv(self) -> str:
        """Comma-separated values: the header and the rows, without title, totals and notes.

        Text that a spreadsheet would take for a formula gets a leading apostrophe.
        """
        shown = self.visible()
        texts = [not column.numeric for column in self.columns]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in shown.columns])
        for row in shown.rows:
            pairs = zip(row, texts, strict=True)
            writer.writerow(
                [f"'{c}" if text and c.startswith(_FORMULA) else c for c, text in pairs]
            )
        return out.getvalue()

    def to_html(self) -> str:
        """An HTML table for notebooks."""
        from markupsafe import escape  # on use: only notebooks and reports need it

        sides = ["right" if column.numeric else "left" for column in self.columns]

        def line(cells: Sequence[str], tag: str) -> str:
            pairs = zip(cells, sides, strict=True)
            made = (f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for c, s in pairs)
            return f"<tr>{''.join(made)}</tr>"

        shown = self.visible()
        parts = (
            f"<caption>{escape(shown.title)}</caption>" if self.title else "",
            f"<thead>{line([column.name for column in shown.columns], 'th')}</thead>",
            f"<tbody>{''.join(line(row, 'td') for row in shown.rows)}</tbody>",
            f"<tfoot>{line(shown.totals, 'th')}</tfoot>" if self.totals else "",
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in shown.notes)
        return f"<table>{''.join(parts)}</table>{notes}"

    def _markdown_line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(cells, widths, self.columns, strict=True)
        ]
        return "| " + " | ".join(padded) + " |"


def _escape(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|")
