"""A grid of named columns, as terminal text, Markdown or CSV. Knows nothing of networks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

__all__ = ["Column", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """A named column; numbers are set right-aligned, words left-aligned."""

    name: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under named columns, with an optional title, a row of totals and notes."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    totals: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_text(self) -> str:
        """Plain text with ruled head and foot, for a terminal or a code block."""
        from rich.console import Console

        out = io.StringIO()
        console = Console(file=out, width=10_000, color_system=None, force_terminal=False)
        console.print(self._grid(fold=False))
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        body = [line for line in lines if line]
        return "\n".join([*([self.title] if self.title else []), *body, *self.notes])

    def show(self, stream: TextIO) -> None:
        """Print: folded to the width of a terminal, and plain as `to_text` where there is none.

        rich decides what a terminal is and can show; NO_COLOR and COLUMNS are respected.
        """
        from rich.console import Console
        from rich.text import Text

        console = Console(file=stream, highlight=False, soft_wrap=False)
        if not console.is_terminal:
            stream.write(self.to_text() + "\n")
            return
        if self.title:
            console.print(Text(self.title, style="bold"))
        console.print(self._grid(fold=True))
        for note in self.notes:
            console.print(Text(note, style="dim"))

    def _grid(self, fold: bool) -> Any:
        """The table for rich; folded, words break where numbers still stand in one line."""
        from rich import box  # on use, so that importing the package stays light
        from rich.table import Table as RichTable
        from rich.text import Text

        grid = RichTable(box=box.SIMPLE_HEAD, show_footer=bool(self.totals), pad_edge=False)
        foot: Sequence[str] = self.totals or [""] * len(self.columns)
        for column, total in zip(self.columns, foot, strict=True):
            grid.add_column(
                Text(column.name),
                Text(total),
                justify="right" if column.numeric else "left",
                no_wrap=column.numeric or not fold,
                overflow="fold" if fold else "ellipsis",
            )
        for row in self.rows:
            grid.add_row(*map(Text, row))  # Text: a name in brackets is not markup
        return grid

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown, columns aligned, the totals as a last bold row."""
        head = tuple(column.name for column in self.columns)
        bold = tuple(f"**{cell}**" if cell else "" for cell in self.totals)
        body = [*self.rows, *([bold] if bold else [])]
        grid = [[_escape(cell) for cell in row] for row in [head, *body]]
        widths = [max(3, *(len(row[i]) for row in grid)) for i in range(len(head))]
        rule = [
            "-" * (width - 1) + ":" if column.numeric else "-" * width
            for column, width in zip(self.columns, widths, strict=True)
        ]
        lines = [self._markdown_line(row, widths) for row in [grid[0], rule, *grid[1:]]]
        title = [f"**{_escape(self.title)}**", ""] if self.title else []
        notes = ["", *(f"{_escape(note)}  " for note in self.notes)] if self.notes else []
        return "\n".join([*title, *lines, *notes])

    def to_csv(self) -> str:
        """Comma-separated values: the header and the rows, without title, totals and notes."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows(self.rows)
        return out.getvalue()

    def _markdown_line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(cells, widths, self.columns, strict=True)
        ]
        return "| " + " | ".join(padded) + " |"


def _escape(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
