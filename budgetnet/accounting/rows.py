"""Rows of an account, and rows folded into fewer: a layer with its followers, a module whole."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ArgumentError, explain
from .geometry import Sliding
from .receptive_field import ReceptiveField


class Row(NamedTuple):  # a frozen dataclass takes four times as long to make
    """One layer call, or one functional operation in a container's `forward`.

    Attributes:
        path: the module's name as `state_dict` spells it; "" is the model itself.
        kind: the module's class, or the operation's name.
        output_shape: without the batch, `(C, H, W)` for a map and `(C,)` after a global read; ()
            if the run ends at this row.
        params: parameters that this row is the first to use.
        macs: multiply-accumulates for one input; `None` if unknown.
        receptive_field: what one output unit reads of the network's input; `None` if unknown.
        sliding: kernel, stride, padding and dilation, if the operation has them.
        is_global: the whole map has been read at once, here or before.
        global_context: the output also depends on statistics of the whole map (squeeze-excite,
            GroupNorm), or of lines of it, while `receptive_field` tells its local window. Rows that
            are made from this one do not repeat it.
        reused: the module ran before, with the same parameters.
        unknown: why a figure is unknown, or "".
        reads: which rows the output was made from, by their place in `Account.rows`; -1 is the
            input, -2 a second one. Empty if a file of an earlier release does not say.
        lines: with `global_context`, the axes along which whole lines of the map are read, as by
            the row and column means of coordinate attention; () if it is the whole map.
        role: what it is, one of `ROLES`; "" if unknown, as for an operation without a rule
            and in a file of an earlier release.
        has_bias: whether a convolution or linear layer adds a bias; `None` for others, and if
            unknown.
        weight_shape: of a convolution or linear layer, as torch's layers have it: `(out, in /
            groups, *kernel)`, of a transposed one `(in, out / groups, *kernel)`, and `(out, in)`;
            () for others, and if unknown.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int | None
    receptive_field: ReceptiveField | None
    sliding: Sliding | None = None
    is_global: bool = False
    global_context: bool = False
    reused: bool = False
    unknown: str = ""
    reads: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()
    role: str = ""
    has_bias: bool | None = None
    weight_shape: tuple[int, ...] = ()

    @property
    def context(self) -> str:
        """What the output depends on beside its window, as tables say it; "" for nothing."""
        if not self.global_context or not self.lines:
            return "+all" if self.global_context else ""
        names = _LINES if len(self.output_shape) == 3 else {}
        return "".join(names.get(axis, f"+axis {axis}") for axis in self.lines)


_LINES = {0: "+columns", 1: "+rows"}  # a line along the width is a row


def layers(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Rows with a norm, activation or dropout merged into the layer before it."""
    groups, places = _grouped(rows)
    return _joined(_merged(groups), groups, places)


def layer_paths(rows: tuple[Row, ...]) -> dict[str, str]:
    """For the path of every row that of the layer which it is merged into."""
    groups, _ = _grouped(rows)
    pairs = zip(groups, _merged(groups), strict=True)
    return {row.path: layer.path for group, layer in pairs for row in group}


def layer_places(rows: tuple[Row, ...]) -> list[int]:
    """For every row the place among the layers of the one that it is merged into."""
    return _grouped(rows)[1]


def _merged(groups: list[list[Row]]) -> list[Row]:
    kept = tuple(row for group in groups for row in group)
    return [_merge(group, kept) for group in groups]


def _grouped(rows: tuple[Row, ...]) -> tuple[list[list[Row]], list[int]]:
    """The rows of every layer, and for every row the place of its layer."""
    groups: list[list[Row]] = []
    places: list[int] = []  # of every row: the group that its readers read
    for row in rows:
        origins = [i if i < 0 else places[i] for i in row.reads]
        if row.role == "identity":
            places.append(origins[0] if origins else len(groups) - 1)
            continue
        if groups and _follows(row, groups[-1][-1]) and set(origins) <= {len(groups) - 1}:
            groups[-1].append(row)
        else:
            groups.append([row])
        places.append(len(groups) - 1)
    return groups, places


def to_depth(rows: tuple[Row, ...], depth: int) -> tuple[Row, ...]:
    """Rows summed by the first `depth` parts of their path."""
    if depth < 0:
        what = f"rows cannot be summed {depth} modules deep"
        raise ArgumentError(explain(what, remedy="Use a depth of 0, the whole model, or more."))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_top(row, depth), []).append(row)
    sums = [summed(path, group) for path, group in groups.items()]
    return _joined(sums, list(groups.values()), fold_places(rows, depth))


def fold_places(rows: tuple[Row, ...], depth: int) -> list[int]:
    """For every row the place among the sums of the one that it is part of."""
    paths = [_top(row, depth) for row in rows]
    order = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    return [order[path] for path in paths]


def _top(row: Row, depth: int) -> str:
    return ".".join(row.path.split(".")[:depth])


def _joined(folded: list[Row], groups: list[list[Row]], places: list[int]) -> tuple[Row, ...]:
    """Folded rows that read each other as their members do; `places` has each member's group."""
    out = []
    for place, (row, group) in enumerate(zip(folded, groups, strict=True)):
        origins = (i if i < 0 else places[i] for member in group for i in member.reads)
        out.append(row._replace(reads=tuple(dict.fromkeys(i for i in origins if i != place))))
    return tuple(out)


def by_module(rows: tuple[Row, ...]) -> dict[str, Row]:
    """For every module path the sum of the rows below it."""
    groups: dict[str, list[Row]] = {"": list(rows)}
    for row in rows:
        parts = row.path.split(".") if row.path else []
        for end in range(1, len(parts) + 1):
            groups.setdefault(".".join(parts[:end]), []).append(row)
    return {path: summed(path, group)._replace(reads=()) for path, group in groups.items()}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _follows(row: Row, before: Row) -> bool:
    return (
        row.macs == 0
        and row.sliding is None
        and not row.is_global
        and row.output_shape == before.output_shape
        and row.receptive_field == before.receptive_field
        and _same_module(row.path, before.path)
    )


def _same_module(one: str, two: str) -> bool:
    """Whether one `forward` runs both: two children, or a child and an operation beside it."""
    return _parent(one) in (two, _parent(two)) or one == _parent(two)


def _merge(group: list[Row], rows: tuple[Row, ...]) -> Row:
    """One row for a layer and its followers, named after their module if they are all of it."""
    if len(group) == 1:
        return group[0]
    parent = _parent(group[0].path)
    whole = parent and sum(row.path.startswith(parent + ".") for row in rows) == len(group)
    return group[0]._replace(
        path=parent if whole else group[0].path,
        kind=" + ".join(row.kind for row in group),
        params=sum(row.params for row in group),
        **_context(group),
    )


def _context(group: list[Row]) -> dict[str, Any]:
    """What a group depends on beside its windows: lines of the map, if none on all of it."""
    found = [row.lines for row in group if row.global_context]
    lines = () if () in found else tuple(sorted({axis for axes in found for axis in axes}))
    return {"global_context": bool(found), "lines": lines}


def summed(path: str, group: list[Row]) -> Row:
    """The last row, with the costs of all, and named by the path."""
    counts = [row.macs for row in group]
    first, is_one = group[0], len(group) == 1
    return group[-1]._replace(
        path=path,
        kind=first.kind if is_one else f"{len(group)} calls",
        params=sum(row.params for row in group),
        macs=None if None in counts else sum(filter(None, counts)),
        sliding=first.sliding if is_one else None,
        **_context(group),
        reused=all(row.reused for row in group),
        unknown=next((row.unknown for row in group if row.unknown), ""),
        role=first.role if is_one else "composite",
        has_bias=first.has_bias if is_one else None,
        weight_shape=first.weight_shape if is_one else (),
    )
