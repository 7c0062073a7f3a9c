"""Two networks side by side: their figures, their layers, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..budget.figures import FIGURES, Figure, figure_text
from .markup import Markup, join, tag


def comparison(one: Account, two: Account) -> Markup:
    """Figures of both networks with the difference, then their layers side by side."""
    names = [tag("th", name, scope="col", cls="num") for name in (one.name, two.name)]
    figures = tag(
        "table",
        tag("caption", f"{one.name} against {two.name}"),
        tag("thead", tag("tr", tag("th", "Figure", scope="col"), *names,
                         tag("th", "Difference", scope="col", cls="num"))),
        tag("tbody", *(_figure(name, figure, one, two) for name, figure in FIGURES.items())),
        id="against",
    )  # fmt: skip
    head = ("Layer", "Output", "RF", "Params", "MACs")
    layers = tag(
        "table",
        tag("caption", "Layer by layer, matched by name and kind"),
        tag("thead",
            tag("tr", *(tag("th", a.name, scope="colgroup", colspan=5) for a in (one, two))),
            tag("tr", *(tag("th", h, scope="col", cls="num" if i else None)
                        for _ in range(2) for i, h in enumerate(head)))),
        tag("tbody", *_pairs(one.layers(), two.layers())),
        id="side-by-side",
    )  # fmt: skip
    scroll = {"cls": "scroll", "tabindex": 0, "role": "region"}
    return join((
        tag("div", figures, **scroll, aria_label="Figures of both networks"),
        tag("div", layers, **scroll, aria_label="Layers of both networks"),
    ))  # fmt: skip


def difference(one: object, two: object) -> str:
    """The difference between two figures, in units and percent.

    >>> difference(120, 100), difference((3, 3), (3, 5)), difference(4, 4), difference(None, 4)
    ('+20 (+20.0 %)', 'differs', 'same', 'unknown')
    """
    if one is None or two is None:
        return "unknown"
    if isinstance(one, tuple) and isinstance(two, tuple) and len({*one}) == len({*two}) == 1:
        one, two = one[0], two[0]
    if one == two:
        return "same"
    if not isinstance(one, int) or not isinstance(two, int):
        return "differs"
    share = f" ({100 * (one - two) / two:+.1f} %)" if two else ""
    return f"{one - two:+,}{share}"


def _figure(name: str, figure: Figure, one: Account, two: Account) -> Markup:
    values = [figure.read(account) for account in (one, two)]
    cells = [tag("td", figure_text(value), cls="num") for value in values]
    apart = difference(*values)
    cls = "num" if apart == "same" else "num differs"
    return tag("tr", tag("th", figure.label, scope="row"), *cells, tag("td", apart, cls=cls),
               data_figure=name)  # fmt: skip


def _pairs(one: Sequence[Row], two: Sequence[Row]) -> Iterator[Markup]:
    mine_keys, their_keys = ([(row.path, row.kind) for row in rows] for rows in (one, two))
    matcher = SequenceMatcher(a=mine_keys, b=their_keys, autojunk=False)
    for step, a, b, c, d in matcher.get_opcodes():
        if step == "equal":
            pairs: list[tuple[Row | None, Row | None]] = [*zip(one[a:b], two[c:d], strict=True)]
        else:
            length = max(b - a, d - c)
            left = [*one[a:b], *[None] * (length - b + a)]
            right = [*two[c:d], *[None] * (length - d + c)]
            pairs = [*zip(left, right, strict=True)]
        for mine, theirs in pairs:
            mine_cells, their_cells = _cells(mine), _cells(theirs)
            yield tag(
                "tr",
                *_half(mine_cells, their_cells),
                *_half(their_cells, mine_cells),
            )


def _cells(row: Row | None) -> tuple[str, ...]:
    if row is None:
        return ("",) * 5
    field = "unknown" if row.receptive_field is None else str(row.receptive_field)
    macs = "unknown" if row.macs is None else f"{row.macs:,}" * bool(row.macs)
    shape = shape_text(row.output_shape)
    return row.path or row.kind, shape, field, f"{row.params:,}" * bool(row.params), macs


def _half(cells: Sequence[str], others: Sequence[str]) -> list[Markup]:
    """Five cells of one network; those that differ are set bold, which print shows as well."""
    out = []
    for i, (cell, other) in enumerate(zip(cells, others, strict=True)):
        cls = " ".join(["num"] * bool(i) + ["differs"] * (cell != other)) or None
        out.append(tag("td", cell, cls=cls))
    return out
