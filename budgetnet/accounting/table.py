"""A grid of named columns, as terminal text, Markdown or CSV; and shapes as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

__all__ = ["Column", "Table"]

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

    A narrow terminal leaves out columns with the highest `spared` first, and says so.
    """

    name: str
    numeric: bool = False
    spared: int = 0


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
        from rich.console import Console

        out = io.StringIO()
        console = Console(file=out, width=10_000, color_system=None, force_terminal=False)
        shown = self.visible()
        console.print(shown._grid([None] * len(self.columns)))
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        body = [line for line in lines if line]
        return "\n".join([*([shown.title] if self.title else []), *body, *shown.notes])

    def visible(self) -> Table:
        """This table with all its text escaped; every format is made from it."""

        def clean(cells: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(map(visible, cells))

        return Table(
            tuple(replace(column, name=visible(column.name)) for column in self.columns),
            tuple(map(clean, self.rows)), visible(self.title), clean(self.totals),
            clean(self.notes),
        )  # fmt: skip

    def fitted(self, room: int) -> tuple[Table, list[int]]:
        """This table without the columns that do not fit into `room` characters, and its widths.

        Text folds between words, and no number is ever cut: what cannot fit exceeds the edge.
        """
        limits = [self._limits(i) for i in range(len(self.columns))]
        if sum(least for least, _ in limits) + 3 * len(limits) - 1 > room:
            spared = max(range(len(self.columns)), key=lambda i: self.columns[i].spared, default=0)
            if limits and self.columns[spared].spared:
                return self._without(spared).fitted(room)
        widths = [most for _, most in limits]
        while sum(widths) + 3 * len(widths) - 1 > room:
            slack = [(width, i) for i, width in enumerate(widths) if width > limits[i][0]]
            if not slack:
                break
            widths[max(slack)[1]] -= 1
        return self, widths

    def _limits(self, i: int) -> tuple[int, int]:
        """The least and the most characters that a column can use."""
        from rich.cells import cell_len  # some characters take two places

        column = self.columns[i]
        cells = [row[i] for row in (*self.rows, *([self.totals] if self.totals else []))]
        whole = max(map(cell_len, cells), default=0)
        folding = [column.name, *([] if column.numeric else cells)]
        longest = max((cell_len(word) for cell in folding for word in cell.split()), default=1)
        least = max(longest, whole if column.numeric else 1)
        return least, max(least, whole, cell_len(column.name))

    def _without(self, spared: int) -> Table:
        def cut(cells: tuple[Any, ...]) -> tuple[Any, ...]:
            return cells[:spared] + cells[spared + 1 :]

        name, told = self.columns[spared].name, "no room for: "
        *notes, last = ("", *self.notes)
        more = f"{last}, {name}" if last.startswith(told) else ""
        notes = [*notes, more] if more else [*notes, last, f"{told}{name}"]
        return Table(
            cut(self.columns), tuple(map(cut, self.rows)), self.title, cut(self.totals),
            tuple(note for note in notes if note),
        )  # fmt: skip

    def _grid(self, widths: Sequence[int | None]) -> Any:
        """The table for rich, folded to widths if they are given."""
        from rich import box  # on use, so that importing the package stays light
        from rich.table import Table as RichTable
        from rich.text import Text

        grid = RichTable(box=box.SIMPLE_HEAD, show_footer=bool(self.totals), pad_edge=False)
        foot: Sequence[str] = self.totals or [""] * len(self.columns)
        for column, total, width in zip(self.columns, foot, widths, strict=True):
            grid.add_column(
                Text(column.name),
                Text(total),
                justify="right" if column.numeric else "left",
                no_wrap=width is None,
                width=width,
            )
        for row in self.rows:
            grid.add_row(*map(Text, row))  # Text: a name in brackets is not markup
        return grid

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


def show(stream: TextIO, *parts: Table | str) -> None:
    """Print tables and lines: plain, as `to_text`, or folded to the width of a terminal.

    Characters that control a terminal or a log are escaped. rich decides what a terminal is and
    can show; NO_COLOR and COLUMNS are respected.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for part in parts:
        if not console.is_terminal:
            stream.write(f"{visible_lines(part) if isinstance(part, str) else part.to_text()}\n")
        elif isinstance(part, str):
            console.print(Text(visible_lines(part)))
        else:
            table, widths = part.visible().fitted(console.width)
            if table.title:
                console.print(Text(table.title, style="bold"))
            wide = max(console.width, sum(widths) + 3 * len(widths) - 1)
            Console(file=stream, width=wide).print(table._grid(widths))
            for note in table.notes:
                console.print(Text(note, style="dim"))
