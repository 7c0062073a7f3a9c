"""Tables of receptive fields that people keep by hand, read; `hand_matching` finds their layers.

Markdown, CSV and columns set apart by tabs or spaces are read, with other text around them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ArgumentError, explain, shown


class HandRow(NamedTuple):
    """A row of a table.

    Attributes:
        line: in the file, from 1.
        label: what stands in the first column.
        text: all that stands beside the field.
        field: the number, one for each axis if there are several; () for none, as in "-".
        is_all: whether it is said to be that of the whole map, as in "28 (all)".
    """

    line: int
    label: str
    text: str
    field: tuple[int, ...]
    is_all: bool = False


_RULE = re.compile(r"[\s|:+=_\-─━│┼╋]*")
_NAMES = re.compile(r"(rf|receptivefield|theoreticalrf|receptive|rout|r)(size|out|output|px)?")
_NUMBER = r"\d{1,3}(?:,\d{3})+|\d{1,12}"
_FIELD = re.compile(
    rf"[(\[]?\s*({_NUMBER})((?:\s*[x×*,]\s*(?:{_NUMBER}))*)\s*[)\]]?\s*(?:px|pixels?)?"
)
_WIDE = re.compile(r"\S\s{2,}\S")
_NONE = ("", "-", "–", "—", "n/a", "na", "none", "?", "all", "global", "whole")
_ALL = re.compile(r"\(?\b(all|global|whole)\b[^)]*\)?", re.IGNORECASE)


def parse_table(text: str) -> list[HandRow]:
    """The rows of a table, whatever else is in the text.

    Raises:
        ArgumentError: there is no column of receptive fields, no row, or a cell is no field.

    >>> for row in parse_table("| Layer | RF |\\n|---|---|\\n| c3x3 | 3 |\\n| GAP | 28 (all) |"):
    ...     print(row.line, row.label, row.field, row.is_all)
    3 c3x3 (3,) False
    4 GAP (28,) True
    """
    lines = [*enumerate(text.splitlines(), start=1)]
    heads = (
        (i, column)
        for i, (_, line) in enumerate(lines)
        if not _is_rule(line) and (column := _column(_cells(line, line))) is not None
    )
    start, column = next(heads, (-1, -1))
    if start < 0:
        first = next((shown(line) for _, line in lines if line.strip()), "nothing")
        raise ArgumentError(
            explain(
                "the table has no column of receptive fields",
                numbers={"first line": first},
                remedy='Call it "RF" or "receptive field" in a line above the numbers.',
            )
        )
    head = lines[start][1]
    found: list[HandRow] = []
    for number, line in lines[start + 1 :]:
        if _is_rule(line):
            if found and not line.strip():
                break  # a blank line ends the table
        elif _is_part(line, head):
            found.append(_row(number, _cells(line, head), column))
        else:
            break
    if not found:
        raise ArgumentError(explain("the table has no rows below its column names"))
    return found


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch(line) is not None or line.lstrip().startswith(("#", "```"))


def _column(cells: Sequence[str]) -> int | None:
    """The place of the fields among the names of columns; that after a layer, if both are there."""
    names = [re.sub(r"[^a-z]", "", cell.lower()) for cell in cells]
    found = [i for i, name in enumerate(names) if _NAMES.fullmatch(name)]
    return found[-1] if found and len(cells) > 1 else None


def _cells(line: str, head: str) -> list[str]:
    """The cells of a line; where spaces set them apart, under which name of `head` they stand."""
    if "|" in head:
        return [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]
    for sign in ("\t", ";", ","):
        if sign in head:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=sign), [])]
    cells, names = _spans(line), _spans(head)
    if len(cells) == len(names):
        return [text for text, _, _ in cells]
    placed = [""] * len(names)
    for text, start, end in cells:
        place = min(range(len(names)), default=0, key=lambda i: min(
            abs(names[i][1] - start), abs(names[i][2] - end)))  # fmt: skip
        if placed:
            placed[place] = f"{placed[place]} {text}".strip()
    return placed


def _spans(line: str) -> list[tuple[str, int, int]]:
    """Cells between wide gaps, or between single spaces if there is no wide one."""
    cell = r"\S+(?: \S+)*" if _WIDE.search(line) else r"\S+"
    return [(found[0], found.start(), found.end()) for found in re.finditer(cell, line)]


def _is_part(line: str, head: str) -> bool:
    """Whether a line is of the table that has these names of columns, and not text below it."""
    for sign in ("|", "\t", ";", ","):
        if sign in head:
            return sign in line
    return bool(_WIDE.search(line)) or not _WIDE.search(head)


def _row(line: int, cells: list[str], column: int) -> HandRow:
    cells = cells + [""] * (column + 1 - len(cells))
    others = [cell for i, cell in enumerate(cells) if i != column]
    label = others[0] if others else ""
    cell = cells[column].rpartition("=")[2].strip()
    is_all, plain = bool(_ALL.search(cell)), _ALL.sub("", cell).strip()
    if plain.lower() in _NONE:
        return HandRow(line, label, " ".join(others), (), is_all)
    found = _FIELD.fullmatch(plain)
    if not found:
        raise ArgumentError(
            explain(
                f"{shown(cells[column])} is not a receptive field", where=f"line {line}, {label}",
                remedy='Write a number, a pair such as 7x3, or "-" for none.',
            )
        )  # fmt: skip
    numbers = (found[1], *re.findall(_NUMBER, found[2]))
    sizes = tuple(int(number.replace(",", "")) for number in numbers)
    return HandRow(line, label, " ".join(others), sizes, is_all)
