"""Tables and lines on a stream: on a terminal what fits, coloured by meaning; plain elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from .layout import Line, fit, lines, tone_of, wrap
from .table import Table, visible_lines

_STYLES = {
    "over": "bold red", "near": "yellow", "ok": "green", "unknown": "magenta",
    "heading": "bold", "rule": "dim", "note": "dim", "bar": "cyan",
}  # fmt: skip


def show(stream: TextIO, *parts: Table | str) -> None:
    """Print tables and lines: plain, as `to_text`, or folded to the width of a terminal.

    Characters that control a terminal or a log are escaped. rich decides what a terminal is and
    can show; COLUMNS is respected, and under NO_COLOR there is neither colour nor a bar.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        for part in parts:
            text = visible_lines(part) if isinstance(part, str) else part.to_text()
            stream.write(f"{text}\n")
        return
    coloured = console.color_system is not None and not console.no_color
    bars = coloured and not console.options.ascii_only
    for part in parts:
        for line in _lines_of(part, console.width, bars):
            if coloured:
                pieces = [(text, _STYLES.get(tone, "")) for text, tone in line]
                console.print(Text.assemble(*pieces), soft_wrap=True)
            else:
                stream.write("".join(text for text, _ in line).rstrip() + "\n")


def _lines_of(part: Table | str, width: int, bars: bool) -> Iterator[Line]:
    """Lines of at most `width` characters, each as pieces with what they mean."""
    if isinstance(part, str):
        yield from _folded(visible_lines(part), width, tone_of(part))
        return
    made = fit(part.visible(), width, bars)
    if made.table.title:
        yield from _folded(made.table.title, width, "heading")
    yield from lines(made)
    for note in made.table.notes:
        yield from _folded(note, width, tone_of(note) or "note")


def _folded(text: str, width: int, tone: str) -> Iterator[Line]:
    for line in text.split("\n"):
        yield from ([(folded, tone)] for folded in wrap(line, width, "  ", names=True))
