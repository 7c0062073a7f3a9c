"""Layers in groups: stages, modules that hold several layers, and what to call them."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounting.rows import Row

OPEN_AT_FIRST = 30  # lines of the table, so that a large network begins with its stages


def modules_of(path: str) -> list[str]:
    """The modules around a path, the outermost first.

    >>> modules_of("layer1.0.conv1")
    ['layer1', 'layer1.0']
    """
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def holders(layers: Sequence[Row]) -> dict[str, list[int]]:
    """Modules that hold several layers, each with the places of its layers.

    What a module's own `forward` does, such as the sum of a block, lies in it.
    """
    below: dict[str, list[int]] = {}
    for i, row in enumerate(layers):
        for module in modules_of(row.path):
            below.setdefault(module, []).append(i)
    for i, row in enumerate(layers):
        if row.path in below:
            below[row.path].append(i)
    return {module: sorted(set(own)) for module, own in below.items() if len(set(own)) > 1}


def parents(row: Row, held: dict[str, list[int]]) -> list[str]:
    """The modules that a layer lies in, of those that hold several."""
    return [m for m in [*modules_of(row.path), row.path] if m in held]


def stages(layers: Sequence[Row]) -> tuple[str, ...]:
    """The stage of every layer: the largest modules, none of which holds most of the network."""
    held = holders(layers)
    out = []
    for row in layers:
        within = parents(row, held)
        large = [m for m in within if 2 * len(held[m]) > len(layers)]
        rest = within[len(large) :]
        out.append(rest[0] if rest else row.path or row.kind)
    return tuple(out)


def folded_at_first(layers: Sequence[Row]) -> set[str]:
    """Modules that begin folded: all of the first depth at which the table would grow long."""
    held = holders(layers)
    chains = [parents(row, held) for row in layers]
    deepest = max(map(len, chains), default=0)
    for depth in range(deepest, 0, -1):  # modules below this depth are folded
        lines = {tuple(chain[: depth + 1]) or i for i, chain in enumerate(chains)}
        leaves = sum(len(chain) <= depth for chain in chains)
        if len({line for line in lines if not isinstance(line, int)}) + leaves <= OPEN_AT_FIRST:
            return {module for chain in chains for module in chain[depth:]}
    return set(held)


def name_of(row: Row) -> str:
    """What a layer is called where it stands alone."""
    return row.path or row.kind


def short_name(path: str) -> str:
    """The end of a path that still says what it is: numbers keep the name before them.

    >>> short_name("layer3.0.conv1"), short_name("features.denseblock1"), short_name("layer3.0")
    ('conv1', 'denseblock1', 'layer3.0')
    """
    parts = path.split(".")
    first = len(parts) - 1
    while first and parts[first].isdigit():
        first -= 1
    return ".".join(parts[first:])
