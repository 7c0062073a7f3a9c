"""Tables of receptive fields that people keep by hand: read, and matched to the rows of an account.

Markdown, CSV and columns set apart by tabs or spaces are read, with other text around them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import ArgumentError, explain, names_text, shown
from .account import Account
from .roles import POOLING
from .rows import Row, by_module, layer_paths


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


# What a row is about, by the words in it; the first that is found counts.
_KINDS = {
    "input": r"^\W*(input|image)\b",
    "total": r"^\W*(total|network|overall|sum)\b",
    "global": r"\bgap\b|global|adaptive",
    "up": r"transpos|deconv|upsampl|\bup\d*\b|resize|interpolat",
    "conv": r"conv|point-?wise|depth-?wise|\b[dp]w\d*\b|^\W*c\d",
    "pool": r"pool|\bmp\d*\b|\bap\d*\b|^\W*p\d*\b|^\W*m\b",
    "linear": r"linear|\bfc\d*\b|dense|fully|classifier",
    "join": r"\badd\b|residual|concat|\bcat\b|shortcut|skip",
    "norm": r"norm|\bbn\d*\b|\b[lg]n\b",
    "act": r"relu|gelu|silu|swish|activation|sigmoid|tanh|softmax",
    "dropout": r"drop",
    "reshape": r"flatten|view|reshape",
}
_KERNEL = re.compile(r"(?<![\dx×])\d ?[x×] ?\d(?![\dx×])")  # of a convolution, if of nothing else
_ROLES = {
    "convolution": "conv", "transposed convolution": "up", "resizing": "up", "linear": "linear",
    "batch norm": "norm", "norm": "norm", "relu": "act", "activation": "act", "squashing": "act",
    "pointwise": "act", "dropout": "dropout", "reshape": "reshape", "join": "join",
}  # fmt: skip
INPUT, TOTAL = -1, -2


def matched(table: Sequence[HandRow], account: Account) -> list[int]:
    """For every row of a table the row of an account that it is about; `INPUT` and `TOTAL` beside.

    Rows that are all called as layers of the network are, are matched by name. Others are matched
    in order by what they are, and no convolution, pooling or upsampling may lack between them.

    Raises:
        ArgumentError: a row has no layer, with the line and the layer that is next.
    """
    kinds = [_kind(row) for row in table]
    layers = [row for row, kind in zip(table, kinds, strict=True) if kind not in ("input", "total")]
    named = _by_name([row.label for row in layers], account)
    places = iter(named if named is not None else _by_kind(layers, account))
    ends = {"input": INPUT, "total": TOTAL}
    return [ends[kind] if kind in ends else next(places) for kind in kinds]


def _kind(row: HandRow) -> str:
    for text in (row.label, row.text):
        for kind, words in _KINDS.items():
            if re.search(words, text, re.IGNORECASE):
                return kind
    return "conv" if _KERNEL.search(f"{row.label} {row.text}") else ""


def _by_name(labels: Sequence[str], account: Account) -> list[int] | None:
    """Rows by the names of layers and modules, in order; `None` if one is none."""
    whole = layer_paths(account.rows)
    last = {path: max(i for i, row in enumerate(account.rows)
                      if row.path == path or row.path.startswith(f"{path}."))
            for path in by_module(account.rows) if path}  # fmt: skip
    found: list[int] = []
    for label in labels:
        after = found[-1] if found else -1
        rows = (i for i, row in enumerate(account.rows)
                if i > after and label in (row.path or "(model)", whole.get(row.path)))  # fmt: skip
        place = next(rows, last.get(label, -1))
        if place <= after:
            return None
        found.append(place)
    return found


def _by_kind(table: Sequence[HandRow], account: Account) -> list[int]:
    """Rows in order, by what they are."""
    found: list[int] = []
    left = _sorted(account)
    for row in table:
        kind, told = _kind(row), f"line {row.line}, {shown(row.label)}"
        for place, is_one, must in left:
            is_about = kind in is_one or (not kind and must)
            if is_about and _fits(row, account.rows[place]):
                found.append(place)
                break
            if must:
                layer = account.rows[place]
                numbers = {"the layer that comes next": f"{layer.path} {layer.kind}".strip()}
                remedy = "Name rows as the network does, or add the row that lacks."
                raise ArgumentError(
                    explain("this row is about another layer", where=told, numbers=numbers,
                            remedy=remedy)
                )  # fmt: skip
        else:
            paths = [layer.path or layer.kind for layer in account.layers()]
            raise ArgumentError(
                explain("the network has no layer for this row", where=told,
                        numbers={"its layers": names_text(paths)})
            )  # fmt: skip
    return found


def _fits(hand: HandRow, row: Row) -> bool:
    """Whether a kernel that is told, such as 3x3, is that of the layer."""
    told = _KERNEL.search(f"{hand.label} {hand.text}")
    sizes = tuple(map(int, re.findall(r"\d", told[0]))) if told else ()
    return (
        row.sliding is None
        or len(sizes) != len(row.sliding.kernel)
        or (sizes == row.sliding.kernel)
    )


def _sorted(account: Account) -> Iterator[tuple[int, set[str], bool]]:
    """Every row with the kinds that it goes by, and whether a table cannot pass it over.

    Convolutions of 1x1 can be, and those of a shortcut, which see no more than was seen before.
    """
    largest: tuple[int, ...] = ()
    for i, row in enumerate(account.rows):
        size = row.receptive_field.size if row.receptive_field else ()
        kinds = _kinds_of(row)
        passed = row.is_global or (kinds & {"conv", "up"} and size < largest)
        passed = passed or (row.sliding is not None and {*row.sliding.kernel} == {1})
        yield i, kinds, bool(kinds & {"conv", "pool", "up"}) and not passed
        if not row.is_global:
            largest = max(largest, size)


def _kinds_of(row: Row) -> set[str]:
    if row.role in POOLING or row.role == "reduction":
        return {"global", "pool"} if row.is_global or row.sliding is None else {"pool"}
    return {_ROLES.get(row.role, row.role)}
