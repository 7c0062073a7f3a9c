"""The formats that tables are printed in: every command offers those of `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from .table import Table, visible, visible_lines


class Format(NamedTuple):
    """A format.

    Attributes:
        render: tables, and lines between them, as one text; "" separates what belongs together.
        is_data: whether programs read it, so that it holds one table and no lines.
    """

    render: Callable[[Sequence[Table | str]], str]
    is_data: bool = False


def _text(parts: Sequence[Table | str]) -> str:
    return "\n".join(visible_lines(p) if isinstance(p, str) else p.to_text() for p in parts)


def _markdown(parts: Sequence[Table | str]) -> str:
    """Sections with a blank line between them; the lines below the first of each are a list."""
    sections = []
    for is_section, members in groupby(parts, key=lambda part: part != ""):
        if is_section:
            head, *lines = members
            first = visible(head) if isinstance(head, str) else head.to_markdown()
            listed = [f"- {visible(str(line))}" for line in lines]
            sections.append("\n".join([first, *([""] if lines else []), *listed]))
    return "\n\n".join(sections)


def _csv(parts: Sequence[Table | str]) -> str:
    return "".join(part.to_csv() for part in parts if isinstance(part, Table)).rstrip("\n")


FORMATS: Mapping[str, Format] = {
    "table": Format(_text),
    "markdown": Format(_markdown),
    "csv": Format(_csv, is_data=True),
}


def render(name: str, *parts: Table | str) -> str:
    """Tables and lines as the text of a format; names of layers and the like are made harmless.

    >>> from .table import Column
    >>> print(render("csv", Table((Column("Figure"), Column("Value", True)), (("depth", "8"),))))
    Figure,Value
    depth,8
    """
    return FORMATS[name].render(parts)
