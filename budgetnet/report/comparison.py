"""Two networks side by side: their figures, their layers, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..budget.figures import LISTED, Figure, figure_text
from .grouping import name_of
from .markup import Markup, tag


def figures_beside(one: Account, two: Account) -> Markup:
    """Figures of both networks; the difference says which is better, in words, sign and colour."""
    names = [tag("th", name, scope="col", cls="num") for name in (one.name, two.name)]
    table = tag(
        "table",
        tag("caption", f"{one.name} against {two.name}"),
        tag("thead", tag("tr", tag("th", "Figure", scope="col"), *names,
                         tag("th", "Difference", scope="col", cls="num"))),
        tag("tbody", *(_figure(name, figure, one, two) for name, figure in LISTED.items())),
        id="against",
    )  # fmt: skip
    return tag("div", table, cls="fits")


def layers_beside(one: Account, two: Account) -> Markup:
    """Layers of both networks beside each other."""
    table = tag(
        "table",
        tag("caption", "Matched by name and kind, and between those by position; what differs "
                       "is set bold, less of a cost with ✓ and more with ✗."),
        tag("thead",
            tag("tr", *(tag("th", head or a.name, scope="col", cls=f"k{i}{' num' * bool(i)}")
                        for a in (one, two) for i, head in enumerate(_HEADS)))),
        tag("tbody", *_rows(one.layers(), two.layers())),
        id="side-by-side",
    )  # fmt: skip
    return tag("div", table, cls="fits")


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
    cls, words = quality(values[0], values[1], figure.more_is_better)
    apart = tag("td", words, difference(*values), cls=f"num {cls}".rstrip())
    return tag("tr", tag("th", figure.label, scope="row"), *cells, apart, data_figure=name)


def quality(one: object, two: object, more_is_better: bool = False) -> tuple[str, str]:
    """Whether the first figure is better than the second: a class, and a sign with a word.

    >>> quality(3, 4), quality(3, 4, more_is_better=True), quality(4, 4), quality(None, 4)
    (('better', '✓ better '), ('worse', '✗ worse '), ('', ''), ('differs', ''))
    """
    if one == two:
        return "", ""
    mine, theirs = (min(v, default=0) if isinstance(v, tuple) else v for v in (one, two))
    if not isinstance(mine, int) or not isinstance(theirs, int) or mine == theirs:
        return "differs", ""
    is_better = (mine > theirs) == more_is_better
    return ("better", "✓ better ") if is_better else ("worse", "✗ worse ")


def matched(one: Sequence[Row], two: Sequence[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Layers in pairs: of one name and kind; where names differ of one kind, then by position."""
    by_name, by_kind = (lambda row: (row.path, row.kind)), (lambda row: row.kind)
    for mine, theirs in _blocks(one, two, by_name):
        if [*map(by_name, mine)] == [*map(by_name, theirs)]:
            yield from zip(mine, theirs, strict=True)
            continue
        for left, right in _blocks(mine, theirs, by_kind):
            yield from zip_longest(left, right)


def _blocks(
    one: Sequence[Row], two: Sequence[Row], key: Callable[[Row], object]
) -> Iterator[tuple[Sequence[Row], Sequence[Row]]]:
    """Both lists in pieces that are alike, and pieces that are not."""
    matcher = SequenceMatcher(a=[*map(key, one)], b=[*map(key, two)], autojunk=False)
    for _, a, b, c, d in matcher.get_opcodes():
        yield one[a:b], two[c:d]


def _rows(one: Sequence[Row], two: Sequence[Row]) -> Iterator[Markup]:
    for mine, theirs in matched(one, two):
        mine_cells, their_cells = _cells(mine), _cells(theirs)
        signs: tuple[str, ...] = ("",) * 5
        if mine and theirs:
            costs = ((mine.params, theirs.params), (mine.macs, theirs.macs))
            signs = ("", "", "", *(quality(*pair)[0] for pair in costs))
        yield tag(
            "tr",
            *_half(mine_cells, their_cells, signs),
            *_half(their_cells, mine_cells, ("",) * 5),
        )


def _cells(row: Row | None) -> tuple[str, ...]:
    if row is None:
        return ("",) * 5
    field = "unknown" if row.receptive_field is None else str(row.receptive_field)
    macs = "unknown" if row.macs is None else f"{row.macs:,}" * bool(row.macs)
    shape = shape_text(row.output_shape)
    return name_of(row), shape, field, f"{row.params:,}" * bool(row.params), macs


def _half(cells: Sequence[str], others: Sequence[str], signs: Sequence[str]) -> list[Markup]:
    """Five cells of one network; those that differ are set bold, which print shows as well."""
    is_alone, out = not (cells[0] and others[0]), []
    for i, (cell, other, sign) in enumerate(zip(cells, others, signs, strict=True)):
        apart = "" if is_alone or not i or cell == other else sign or "differs"
        words = f"{_SIGNS[sign]} {cell}" if sign in _SIGNS else cell
        cls = " ".join(filter(None, (f"k{i}", "num" * bool(i), apart)))
        out.append(tag("td", words, cls=cls))
    return out


_SIGNS = {"better": "✓", "worse": "✗"}
_HEADS = ("", "Output", "RF", "Params", "MACs")
