"""What the boxes of a diagram say."""

from __future__ import annotations

from collections import Counter

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import compact, shape_text
from .folding import Fold
from .scene import PAD, WIDTH
from .texts import BOLD, cut, local, short, width

TEXT = 11.5  # size of letters, but of names
NAME = 13


def texts_of(account: Account, fold: Fold, parent: str = "") -> dict[str, str]:
    """What a box says; each text fits its room. `parent` is the path of the fold around it."""
    row = fold.row
    is_operation = not fold.children and row.path == parent  # in the `forward` of what is around
    count = fold.end - fold.first
    field = _field(row)
    shape = shape_text(row.output_shape)
    name, kind = row.path or row.kind, row.kind.replace("BatchNorm2d", "BN")
    if fold.children:
        kind = _held(fold)
    elif is_operation:
        name, kind = kind, f"in {row.path}" if row.path else ""
    kind += f"  {row.sliding}" if row.sliding else ""
    macs = "unknown" if row.macs is None else _amount(row.macs, account.macs)
    params = _amount(row.params, account.params)
    exact = "unknown" if row.macs is None else f"{row.macs:,}"
    before = f"{count} layers" if fold.children else row.kind
    before += f"  {row.sliding}" if row.sliding else ""
    title = (
        f"{row.path or row.kind}: {before}; output {shape}; {field}; "
        f"parameters {row.params:,}{_share(row.params, account.params)}; "
        f"MACs {exact}{_share(row.macs or 0, account.macs)}"
    )
    inner = WIDTH - 2 * PAD
    mark = 16 * bool(fold.children)
    shape = cut(shape, inner / 2, TEXT)
    name_room = (inner - mark - width(shape, TEXT) - 8) / BOLD
    return {
        "name": (cut if is_operation else local)(name, name_room, NAME),
        "shape": shape,
        "kind": cut(kind, inner - width(field, TEXT) - 8, TEXT),
        "field": field,
        "params": params,
        "macs": macs,
        "title": title,
    }


def heading_of(fold: Fold, texts: dict[str, str]) -> tuple[str, int]:
    """The title of a fold that is open, and how wide it must be for its costs to stand there."""
    words = f"×{fold.repeats}  {texts['name']}" if fold.repeats else texts["name"]
    costs = f"{texts['params']}   {texts['macs']}"
    return words, round(2 * PAD + 28 + BOLD * width(words, NAME) + width(costs, TEXT))


def shares_of(account: Account, fold: Fold) -> tuple[float, float]:
    """Parts of all parameters and of all MACs, from 0 to 1."""
    return (
        fold.row.params / account.params if account.params else 0.0,
        (fold.row.macs or 0) / account.macs if account.macs else 0.0,
    )


def _held(fold: Fold) -> str:
    """What a fold holds, in a few words: of repeats, what each holds."""
    one = fold.children[0] if fold.repeats else fold
    count = one.end - one.first
    kinds = Counter(
        f"×{child.repeats}" if child.repeats else child.row.kind.partition(" ")[0]
        for child in one.children
    )
    is_short = len(kinds) <= 3 and not any(c.children and not c.repeats for c in one.children)
    held = ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in kinds.items())
    words = f"{count} layers" + f": {held}".replace("BatchNorm2d", "BN") * is_short
    return f"×{fold.repeats} of {words}" if fold.repeats else words


def _field(row: Row) -> str:
    if row.receptive_field is None:
        return "RF unknown"
    if row.is_global:
        return f"RF {row.receptive_field} (all)"
    jump = compact(row.receptive_field.stride)
    return f"RF {row.receptive_field}{f' {row.context}' if row.context else ''} / {jump}"


def _amount(part: int, whole: int | None) -> str:
    return f"{short(part)}{_share(part, whole)}" if part else ""


def _share(part: int, whole: int | None) -> str:
    return f" · {100 * part / whole:.1f} %" if part and whole else ""
