"""Rows folded into fewer: a layer with its followers, a module with all that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accounting import Row


def layers(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Rows with a norm, activation or dropout merged into the layer before it."""
    rows = tuple(row for row in rows if row.kind != "Identity")
    groups: list[list[Row]] = []
    for row in rows:
        if groups and _follows(row, groups[-1][-1]):
            groups[-1].append(row)
        else:
            groups.append([row])
    return tuple(_merge(group, rows) for group in groups)


def to_depth(rows: tuple[Row, ...], depth: int) -> tuple[Row, ...]:
    """Rows summed by the first `depth` parts of their path."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(".".join(row.path.split(".")[:depth]), []).append(row)
    return tuple(_sum(path, group) for path, group in groups.items())


def by_module(rows: tuple[Row, ...]) -> dict[str, Row]:
    """For every module path the sum of the rows below it."""
    groups: dict[str, list[Row]] = {"": list(rows)}
    for row in rows:
        parts = row.path.split(".") if row.path else []
        for end in range(1, len(parts) + 1):
            groups.setdefault(".".join(parts[:end]), []).append(row)
    return {path: _sum(path, group) for path, group in groups.items()}


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
        global_context=any(row.global_context for row in group),
    )


def _sum(path: str, group: list[Row]) -> Row:
    """The last row, with the costs of all."""
    counts = [row.macs for row in group]
    return group[-1]._replace(
        path=path,
        kind=group[0].kind if len(group) == 1 else f"{len(group)} calls",
        params=sum(row.params for row in group),
        macs=None if None in counts else sum(filter(None, counts)),
        sliding=group[0].sliding if len(group) == 1 else None,
        global_context=any(row.global_context for row in group),
        reused=all(row.reused for row in group),
        unknown=next((row.unknown for row in group if row.unknown), ""),
    )
