"""The layer table: one line per layer under its modules; it can be sorted, folded and copied."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from .markup import Markup, join, tag

MANY = 60  # layers above which modules start folded
_STEPS = {"reset": "Execution order", "fold": "Fold all", "unfold": "Unfold all",
          "markdown": "Copy as Markdown", "csv": "Copy as CSV"}  # fmt: skip


def listing(account: Account, layers: Sequence[Row]) -> Markup:
    """The table with its buttons; scripts only move and hide what stands here."""
    table = account.to_table()
    head = [
        tag("th", tag("button", column.name, type="button", data_column=i),
            scope="col", cls="num" if column.numeric else None)
        for i, column in enumerate(table.columns)
    ]  # fmt: skip
    buttons = [tag("button", words, type="button", data_do=do) for do, words in _STEPS.items()]
    foot = [
        tag("td" if i else "th", cell, cls="num" if column.numeric else None,
            scope=None if i else "row")
        for i, (column, cell) in enumerate(zip(table.columns, table.totals, strict=True))
    ]  # fmt: skip
    lines = _lines(account, layers, table.rows)
    grid = tag(
        "table",
        tag("caption", table.title),
        tag("thead", tag("tr", *head)),
        tag("tbody", *lines),
        tag("tfoot", tag("tr", *foot)),
        id="layers", data_fold_at=1 if len(layers) > MANY else None,
    )  # fmt: skip
    notes = [tag("p", note, cls="note") for note in table.notes]
    return join((
        tag("div", *buttons, tag("output", "", id="copied", aria_live="polite"), cls="tools"),
        tag("div", grid, cls="scroll", tabindex=0, role="region", aria_label="Layer table"),
        *notes,
    ))  # fmt: skip


def _lines(
    account: Account, layers: Sequence[Row], cells: Sequence[tuple[str, ...]]
) -> list[Markup]:
    """Layers in execution order; each module that holds several of them has a line before them."""
    below: dict[str, list[int]] = {}
    for i, row in enumerate(layers):
        for module in _parents(row.path):
            below.setdefault(module, []).append(i)
    holders = {module for module, members in below.items() if len(members) > 1}
    sums = account.by_module()
    lines, seen = [], set()
    for i, row in enumerate(layers):
        modules = [m for m in _parents(row.path) if m in holders]
        for level, module in enumerate(modules):
            if module not in seen:
                seen.add(module)
                above = modules[level - 1] if level else ""
                lines.append(_module(account, sums[module], module, above, level, below[module]))
        lines.append(_line(row, cells[i], i, modules))
    return lines


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _line(row: Row, cells: Sequence[str], i: int, modules: Sequence[str]) -> Markup:
    indent = f"--level:{len(modules)}"
    name = tag("th", tag("button", cells[0], type="button", cls="pick", data_layer=i),
               scope="row", style=indent)  # fmt: skip
    return tag(
        "tr", name, *_data_cells(row, cells), data_layer=i, data_order=i,
        data_module=modules[-1] if modules else "",
    )  # fmt: skip


def _module(
    account: Account, total: Row, module: str, above: str, level: int, members: Sequence[int]
) -> Markup:
    count = f"{len(members)} layers"
    share = f"{100 * total.params / account.params:.1f} %" if account.params else ""
    macs = "unknown" if total.macs is None else f"{total.macs:,}" * bool(total.macs)
    shape = shape_text(total.output_shape)
    params = f"{total.params:,}" * bool(total.params)
    cells = (module, count, "", shape, "", "", params, share, macs)
    toggle = tag("button", module, type="button", cls="fold", aria_expanded="true")
    name = tag("th", toggle, scope="row", style=f"--level:{level}")
    return tag(
        "tr", name, *_data_cells(total, cells), cls="module", data_path=module,
        data_module=above, data_order=members[0],
    )  # fmt: skip


def _data_cells(row: Row, cells: Sequence[str]) -> list[Markup]:
    """Cells after the name; numbers carry the value that they are sorted by."""
    field = row.receptive_field
    values: tuple[Any, ...] = (
        None, None, None, _product(row.output_shape),
        field and min(field.size, default=0), field and min(field.stride, default=0),
        row.params, row.params, row.macs,
    )  # fmt: skip
    return [
        tag("td", cell, cls="num" if i >= 3 else None, data_value=_plain(values[i]))
        for i, cell in enumerate(cells)
        if i
    ]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def _product(shape: Sequence[int]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out
