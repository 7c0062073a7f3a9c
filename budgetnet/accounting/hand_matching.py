"""Which layer of a network each row of a table made by hand is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import ArgumentError, explain, names_text, shown
from .account import Account
from .hand_table import HandRow
from .roles import POOLING
from .rows import Row, by_module, layer_paths

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


def readings(table: Sequence[HandRow], account: Account) -> list[list[int]]:
    """For every row of a table the row of an account that it is about; `INPUT` and `TOTAL` beside.

    Rows that are all called as layers of the network are, are matched by name. Rows are also
    matched in order by what they are, and no convolution, pooling or upsampling may lack between
    them; a table may list convolutions of 1x1 and those of shortcuts or not, which makes two
    readings. There is at least one, and the same one is not given twice.

    Raises:
        ArgumentError: a row has no layer, with the line and the layer that is next.
    """
    kinds = [_kind(row) for row in table]
    layers = [row for row, kind in zip(table, kinds, strict=True) if kind not in ("input", "total")]
    found: list[list[int]] = []
    failed: ArgumentError | None = None
    if (named := _by_name([row.label for row in layers], account)) is not None:
        found.append(named)
    for lists_all in (True, False):
        try:
            found.append(_by_kind(layers, account, lists_all=lists_all))
        except ArgumentError as error:
            failed = failed or error
    if not found and failed:
        raise failed
    ends = {"input": INPUT, "total": TOTAL}
    whole = []
    for one in dict.fromkeys(map(tuple, found)):
        places = iter(one)
        whole.append([ends[kind] if kind in ends else next(places) for kind in kinds])
    return whole


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


def _by_kind(table: Sequence[HandRow], account: Account, *, lists_all: bool) -> list[int]:
    """Rows in order, by what they are; `lists_all`: also convolutions that may be passed over."""
    found: list[int] = []
    left = _sorted(account)
    for row in table:
        kind, told = _kind(row), f"line {row.line}, {shown(row.label)}"
        for place, is_one, must in left:
            is_about = kind in is_one or (not kind and must)
            if not must and is_one & {"conv", "up"}:
                is_about = is_about and (lists_all or _kernel(row) == (1, 1))
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


def _kernel(hand: HandRow) -> tuple[int, ...]:
    """The kernel that a row tells, such as 3x3; () if it tells none."""
    told = _KERNEL.search(f"{hand.label} {hand.text}")
    return tuple(map(int, re.findall(r"\d", told[0]))) if told else ()


def _fits(hand: HandRow, row: Row) -> bool:
    """Whether a kernel that is told is that of the layer."""
    told = _kernel(hand)
    return row.sliding is None or len(told) != len(row.sliding.kernel) or told == row.sliding.kernel


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
