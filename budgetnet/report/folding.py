"""A network as a tree of folds: stages hold blocks, blocks hold layers, repeats stand once.

Layers run after all that they read, and a fold is a run of them: whatever lies on a way between
two of its members runs between those, and so belongs to it. So every fold is convex, and folds
read each other in no circle.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from ..accounting.rows import Row, summed
from .wiring import arms_of, wires_of

MOST_BOXES = 20  # that stand in a diagram before anyone has opened a fold

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fold:
    """One layer, or several as one box.

    Attributes:
        first: its first layer, by position among the layers.
        end: the layer after its last.
        row: the layer, or the sum of all; its path names the fold.
        children: what it holds, in order of execution; () for a layer, at least two otherwise.
        repeats: how many of its children are alike, if that is what it stands for; otherwise 0.
    """

    first: int
    end: int
    row: Row
    children: tuple[Fold, ...] = ()
    repeats: int = 0

    @property
    def key(self) -> Key:
        """What tells it from all others: no two hold the same layers."""
        return self.first, self.end


def tree_of(layers: Sequence[Row], *, levels: bool = True) -> Fold:
    """The whole network as one fold, by module; with `levels` a U-Net by those of its arms.

    >>> rows = [Row(path, "Conv2d", (), 1, 0, None) for path in
    ...         ("stem", "a.0.conv", "a.0.norm", "a.1.conv", "a.1.norm", "head")]
    >>> stem, blocks, head = tree_of(rows).children
    >>> blocks.row.path, blocks.repeats, [fold.row.path for fold in blocks.children]
    ('a', 2, ['a.0', 'a.1'])
    """
    children = _children(layers, 0, len(layers), "")
    if len(children) == 1 and children[0].children:  # all of it is in one module
        children = children[0].children
    if levels and not _is_u(children, layers):
        leaves = [Fold(i, i + 1, row) for i, row in enumerate(layers)]
        if _is_u(leaves, layers):
            children = tuple(_levels(leaves, layers))
    return Fold(0, len(layers), summed("", list(layers)), children) if layers else _NOTHING


_NOTHING = Fold(0, 0, Row("", "", (), 0, 0, None))


def shown(fold: Fold, opened: Collection[Key]) -> Iterator[Fold]:
    """The boxes of a diagram in which these folds are open."""
    if fold.children and fold.key in opened:
        for child in fold.children:
            yield from shown(child, opened)
    else:
        yield fold


def folds_of(fold: Fold) -> Iterator[Fold]:
    """A fold and all in it that hold something."""
    if fold.children:
        yield fold
        for child in fold.children:
            yield from folds_of(child)


def open_at_first(root: Fold, most: int = MOST_BOXES) -> frozenset[Key]:
    """What is open before anyone has chosen: whole levels, as long as few boxes stand there.

    Repeats stay shut: one of them says what all are.
    """
    level, found = [root], {root.key}
    count = len(root.children)
    while level:
        level = [c for fold in level for c in fold.children if c.children and not c.repeats]
        count += sum(len(fold.children) - 1 for fold in level)
        if count > most:
            break
        found |= {fold.key for fold in level}
    return frozenset(found)


def open_to_depth(root: Fold, depth: int) -> frozenset[Key]:
    """Folds open down to modules whose path has `depth` parts, repeats as well."""
    return frozenset({root.key} | {f.key for f in folds_of(root) if _depth_of(f) <= depth})


def _depth_of(fold: Fold) -> int:
    """How deep the modules are that it shows when it is open."""
    below = [_parts(child) for child in fold.children]
    own = _parts(fold) - (fold.repeats > 0 and _parts(fold) == max(below))
    return min((parts for parts in below if parts > own), default=own + 1)


def _parts(fold: Fold) -> int:
    return fold.row.path.count(".") + 1


def _children(layers: Sequence[Row], first: int, end: int, path: str) -> tuple[Fold, ...]:
    """The runs below a module, one after the other; what repeats is one fold of its own."""
    deep = path.count(".") + 1 if path else 0
    found, start = [], first
    for place in range(first + 1, end + 1):
        name = _part(layers[start], deep)
        if name and place < end and _part(layers[place], deep) == name:
            continue
        found.append(_run(layers, start, place, deep))
        start = place
    return _with_repeats(found, layers)


def _part(row: Row, place: int) -> str:
    """A part of a path; "" if an operation stands in the module itself."""
    parts = row.path.split(".")
    return parts[place] if place < len(parts) else ""


def _run(layers: Sequence[Row], first: int, end: int, deep: int) -> Fold:
    """A layer, or a module with what it holds; one that holds a single fold is that fold."""
    if end - first == 1:
        return Fold(first, end, layers[first])
    path = ".".join(layers[first].path.split(".")[: deep + 1])
    children = _children(layers, first, end, path)
    if len(children) > 1:
        return Fold(first, end, summed(path, [*layers[first:end]]), children)
    (only,) = children
    return replace(only, row=only.row._replace(path=path))


def _with_repeats(folds: list[Fold], layers: Sequence[Row]) -> tuple[Fold, ...]:
    """Folds that do the same one after the other as one; a single layer is no block."""
    out: list[Fold] = []
    for make, group in itertools.groupby(folds, lambda fold: _make(fold, layers)):
        alike = [*group]
        if make is None or len(alike) == 1:
            out += alike
            continue
        first, end = alike[0].first, alike[-1].end
        row = summed(_range(alike[0].row.path, alike[-1].row.path), [*layers[first:end]])
        out.append(Fold(first, end, row, tuple(alike), len(alike)))
    return tuple(out)


def _make(fold: Fold, layers: Sequence[Row]) -> object:
    """What folds of one make have in common: operations, how they slide, who reads whom inside."""
    if not fold.children:
        return None
    inside = layers[fold.first : fold.end]
    return tuple(
        (row.kind, row.sliding, frozenset(max(-1, i - fold.first) for i in row.reads))
        for row in inside
    )


def _range(one: str, two: str) -> str:
    """The name of several in a row, such as layer3.1–5.

    >>> _range("layer3.1", "layer3.5"), _range("b.dense1", "b.dense12"), _range("conv1", "add")
    ('layer3.1–5', 'b.dense1–12', 'conv1 – add')
    """
    parent, _, name = one.rpartition(".")
    other = two.removeprefix(f"{parent}." if parent else "")
    stem = name.rstrip("0123456789")
    last = other.removeprefix(stem)
    if name != stem and last.isdigit():
        return f"{one}–{last}"
    return f"{one} – {two.rpartition('.')[2]}"


def _is_u(folds: Sequence[Fold], layers: Sequence[Row]) -> bool:
    wires = wires_of([fold.key for fold in folds], layers, 0, len(layers))
    return arms_of(wires.reads, [fold.row.output_shape for fold in folds]) is not None


def _levels(leaves: Sequence[Fold], layers: Sequence[Row]) -> Iterator[Fold]:
    """The layers of a U-Net in runs that end where a skip connection begins or ends."""
    ends = {0, len(layers)}
    for i, row in enumerate(layers):
        for source in row.reads:
            if 0 <= source < i - 1:
                ends |= {source + 1, i}
    skips = len(ends) // 2 - 1
    for place, (first, end) in enumerate(itertools.pairwise(sorted(ends))):
        name = "floor" if place == skips else f"down {place + 1}"
        name = f"up {2 * skips + 1 - place}" if place > skips else name
        yield (
            leaves[first]
            if end - first == 1
            else Fold(first, end, summed(name, [*layers[first:end]]), tuple(leaves[first:end]))
        )
