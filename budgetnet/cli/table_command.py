"""`budgetnet check-table`: the receptive fields of a table made by hand, and what went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.files import read_text
from ..accounting.hand_matching import INPUT, TOTAL, readings
from ..accounting.hand_table import HandRow, parse_table
from ..accounting.mistakes import Explanation, explanations, layer_name, right_column
from ..accounting.table import Column, Table, compact
from ..errors import ArgumentError, explain, with_place

FORMAT, VERSION = "budgetnet.check-table", 1


class Judged(NamedTuple):
    """A row of a table with its layer, what is right, and a verdict.

    Attributes:
        row: as it was read.
        place: of its layer among the rows of the account; `INPUT` or `TOTAL`.
        right: the field, one number for each axis; `None` if it is unknown.
        verdict: "ok", "wrong", "unknown", "follows" from a mistake before it, or "" for no number.
    """

    row: HandRow
    place: int
    right: tuple[int, ...] | None
    verdict: str


class Verdict(NamedTuple):
    """What came of a table: its rows, and the mistakes any of which gives it."""

    account: Account
    rows: tuple[Judged, ...]
    mistakes: tuple[Explanation, ...] = ()

    @property
    def first(self) -> Judged | None:
        """The first wrong row."""
        return next((row for row in self.rows if row.verdict == "wrong"), None)

    @property
    def code(self) -> int:
        """Exit code: 0 all right, 1 a row is wrong, 3 the right field of a row is unknown."""
        unknown = any(row.verdict == "unknown" for row in self.rows)
        return 1 if self.first else 3 if unknown else 0


def judge(text: str, account: Account) -> Verdict:
    """Hold a table against an account, in the reading of it that has most rows right."""
    table = parse_table(text)
    column = right_column(account)
    judged = [
        tuple(_judged(*pair, column, account) for pair in zip(table, places, strict=True))
        for places in readings(table, account)
    ]
    # What the writer meant is most likely what is right in most rows.
    rows = max(judged, key=lambda rows: sum(row.verdict == "ok" for row in rows))
    first = Verdict(account, rows).first
    if first is None or first.place < 0:
        return Verdict(account, rows)
    axes = len(first.right or ())
    given = {judged.place: judged.row.field * (axes if len(judged.row.field) == 1 else 1)
             for judged in rows
             if judged.place >= 0 and judged.row.field and judged.right}  # fmt: skip
    found = explanations(account, given, first.place)
    explained = found[0].explained if found else frozenset()
    return Verdict(account, tuple(
        row._replace(verdict="follows")
        if row.verdict == "wrong" and row is not first and row.place in explained else row
        for row in rows
    ), tuple(found))  # fmt: skip


def _judged(
    row: HandRow, place: int, column: Sequence[tuple[int, ...] | None], account: Account
) -> Judged:
    if place == INPUT:
        right: tuple[int, ...] | None = (1,) * len(row.field or (1,))
    elif place == TOTAL:
        right = account.receptive_field.size if account.receptive_field else None
    else:
        right = column[place]
        field = account.rows[place].receptive_field
        if row.is_all and account.rows[place].is_global and field:
            right = field.size  # it says itself that the whole map is read
    if not row.field:
        return Judged(row, place, right, "")
    if right is None:
        return Judged(row, place, right, "unknown")
    given = row.field * len(right) if len(row.field) == 1 else row.field
    return Judged(row, place, right, "ok" if given == right else "wrong")


def to_parts(verdict: Verdict) -> list[Table | str]:
    """The table with its verdicts, and what went wrong, for people."""
    columns = (Column("Line", True), Column("Row"), Column("Layer"), Column("Given", True),
               Column("Right", True), Column("Verdict"))  # fmt: skip
    words = {"ok": "ok", "wrong": "WRONG", "unknown": "UNKNOWN", "follows": "follows", "": ""}
    rows = tuple(
        (str(j.row.line), j.row.label, _layer(verdict.account, j.place),
         _text(j.row.field), _text(j.right), words[j.verdict])
        for j in verdict.rows
    )  # fmt: skip
    return [Table(columns, rows), *_lines(verdict)]


def _lines(verdict: Verdict) -> list[str]:
    first = verdict.first
    judged = [row for row in verdict.rows if row.verdict]
    if first is None:
        unknown = sum(row.verdict == "unknown" for row in judged)
        told = f", {unknown} unknown" if unknown else ""
        return [f"{len(judged) - unknown} of {len(judged)} rows are right{told}"]
    head = (f"line {first.row.line}, {first.row.label}: {_text(first.row.field)} is wrong, "
            f"{_text(first.right)} is right{_sum(verdict.account, first.place)}")  # fmt: skip
    if not verdict.mistakes:
        return [head, "no known mistake gives this"]
    told, *others = (f"{one.mistake}: {one.text}" for one in verdict.mistakes)
    follow = sum(row.verdict == "follows" for row in verdict.rows)
    more = [f"{follow} more wrong {'row follows' if follow == 1 else 'rows follow'} from it"]
    return [head, told, *(f"or {text}" for text in others), *(more if follow else [])]


def _sum(account: Account, place: int) -> str:
    """How a field comes about, if by one kernel: " (10 + (3 - 1) * 2)"."""
    row = account.rows[place] if place >= 0 else None
    if row is None or row.sliding is None or row.is_global or row.receptive_field is None:
        return ""
    before = account.rows[row.reads[0]].receptive_field if row.reads[0] >= 0 else None
    size, jump = (before.size[0], before.stride[0]) if before else (1, 1)
    kernel, dilation = row.sliding.kernel[0], row.sliding.dilation[0]
    spread = f" * {dilation}" if dilation > 1 else ""
    if size + (kernel - 1) * dilation * jump != row.receptive_field.size[0]:
        return ""
    return f": {size} + ({kernel} - 1){spread} * {jump}"


def _layer(account: Account, place: int) -> str:
    return {INPUT: "input", TOTAL: "network"}.get(place) or layer_name(account, place)


def _text(size: Sequence[int] | None) -> str:
    return "unknown" if size is None else compact(size) if size else "-"


def to_json(verdict: Verdict) -> str:
    """The verdict as JSON."""
    first = verdict.first
    content: dict[str, Any] = {
        "format": FORMAT, "version": VERSION, "exit_code": verdict.code,
        "first_wrong_line": first and first.row.line,
        "mistakes": [
            {"mistake": m.mistake, "layer": _layer(verdict.account, m.row), "text": m.text}
            for m in verdict.mistakes
        ],
        "rows": [
            {"line": j.row.line, "label": j.row.label, "layer": _layer(verdict.account, j.place),
             "given": j.row.field, "right": j.right, "verdict": j.verdict}
            for j in verdict.rows
        ],
    }  # fmt: skip
    return json.dumps(content, indent=2)


def read_table(file: str) -> str:
    """The text of a file, or of stdin for "-"."""
    if file != "-":
        return read_text(Path(file))
    try:
        return sys.stdin.read()
    except (AttributeError, OSError, ValueError) as error:  # none, closed, or no text
        raise ArgumentError(explain("stdin is not text", numbers={"reason": error})) from error


def judge_file(file: str, account: Account) -> Verdict:
    """`judge` for a file, whose name stands in front of what is wrong with it."""
    text = read_table(file)
    try:
        return judge(text, account)
    except ArgumentError as error:
        raise with_place(error, file) from None
