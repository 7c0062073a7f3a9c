"""The layer table: one line per layer under its modules; it can be sorted, folded and copied."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import compact, shape_text
from .grouping import folded_at_first, holders, parents, short_name
from .markup import Markup, join, tag

_STEPS = {"reset": "Execution order", "fold": "Fold all", "unfold": "Unfold all",
          "markdown": "Copy as Markdown", "csv": "Copy as CSV"}  # fmt: skip


def listing(account: Account, layers: Sequence[Row]) -> Markup:
    """The table with its buttons; scripts only move and hide what stands here."""
    table = account.to_table()
    head = [
        tag("th", tag("button", column.name, type="button", data_column=i),
            scope="col")
        for i, column in enumerate(table.columns)
    ]  # fmt: skip
    buttons = [tag("button", words, type="button", data_do=do) for do, words in _STEPS.items()]
    foot = [
        tag("td" if i else "th", cell, scope=None if i else "row")
        for i, cell in enumerate(table.totals)
    ]
    lines = _lines(account, layers, table.rows)
    grid = tag(
        "table",
        tag("caption", table.title),
        tag("thead", tag("tr", *head)),
        tag("tbody", *lines),
        tag("tfoot", tag("tr", *foot)),
        id="layers",
        cls="large" if (account.macs or 0) >= 10**8 else None,
    )
    notes = [tag("p", note, cls="note") for note in table.notes]
    return join((
        tag("div", *buttons, tag("output", "", id="copied", aria_live="polite"), cls="tools"),
        tag("div", grid, cls="fits"),
        *notes,
    ))  # fmt: skip


def _lines(
    account: Account, layers: Sequence[Row], cells: Sequence[tuple[str, ...]]
) -> list[Markup]:
    """Layers in execution order; each module that holds several of them has a line before them."""
    held, folded = holders(layers), folded_at_first(layers)
    sums = account.by_module()
    lines, seen = [], set()
    for i, row in enumerate(layers):
        modules = parents(row, held)
        for level, module in enumerate(modules):
            if module not in seen:
                seen.add(module)
                total, count = sums[module], len(held[module])
                lines.append(_module(account, total, module, level, count, module in folded))
        lines.append(_line(account, row, cells[i], i, modules))
    return lines


def _line(
    account: Account, row: Row, cells: Sequence[str], i: int, modules: Sequence[str]
) -> Markup:
    # What a module's own `forward` does has no name of its own: it is called what it does.
    own = not row.path or row.path in modules
    label = row.kind.partition(" ")[0] if own else short_name(row.path)
    pick = tag("button", tag("i", label) if own else label, type="button", cls="pick")
    shown = (cells[0], row.kind.replace("BatchNorm2d", "BN"), *cells[2:])
    return tag("tr", tag("th", pick, scope="row"), *_data_cells(account, row, shown),
               data_layer=i, style=_indent(len(modules)))  # fmt: skip


def _module(
    account: Account, total: Row, module: str, level: int, members: int, is_folded: bool
) -> Markup:
    share = f"{100 * total.params / account.params:.1f} %" if account.params else ""
    macs = "unknown" if total.macs is None else f"{total.macs:,}" * bool(total.macs)
    field = total.receptive_field
    sees = "unknown" if field is None else f"{field}{' (all)' * total.is_global}"
    jump = "" if field is None else "-" if total.is_global else compact(field.stride)
    cells = (module, f"{members} layers", "", shape_text(total.output_shape), sees, jump,
             f"{total.params:,}" * bool(total.params), share, macs)  # fmt: skip
    toggle = tag("button", short_name(module), type="button", cls="fold",
                 aria_expanded=str(not is_folded).lower())  # fmt: skip
    return tag("tr", tag("th", toggle, scope="row"), *_data_cells(account, total, cells),
               cls="module", data_path=module, style=_indent(level))  # fmt: skip


def _data_cells(account: Account, row: Row, cells: Sequence[str]) -> list[Markup]:
    """Cells after the name; costs carry their share, which is drawn behind them."""
    shares = {6: (row.params, account.params), 8: (row.macs, account.macs)}
    return [
        tag("td", cell, style=_share(*shares[i]) if i in shares else None)
        for i, cell in enumerate(cells)
        if i
    ]


def _indent(level: int) -> str | None:
    return f"--level:{level}" if level else None


def _share(part: int | None, whole: int | None) -> str | None:
    """The width of the bar behind a cost; none for what would not show."""
    if not part or not whole or 200 * part < whole:
        return None
    return f"--share:{100 * part / whole:.3g}"
