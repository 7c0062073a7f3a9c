"""For your own test suite: oracles that share no formula with the library, and strategies.

The oracles run the real network in float64 on the CPU and observe which inputs reach which
outputs. They are slow but exact:

    footprint = nan_footprint(model, (1, 28, 28))
    assert_field_matches(account(model, (1, 28, 28)).receptive_field, footprint)

`assert_reads_match` checks the rules of a function's operations against the function itself.

`assert_tiles_exactly` runs a network in tiles, and `effective_receptive_field` measures gradients.

The strategies need Hypothesis: `specs()`, `chains()` and `graphs()` draw random networks.
"""

from __future__ import annotations

from importlib import import_module as _import
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .effective import EffectiveField, effective_receptive_field
    from .footprints import centre_footprints, unit_footprints
    from .operators import assert_reads_match
    from .oracles import assert_field_matches, gradient_footprint, nan_footprint
    from .random_graphs import Graph, graphs
    from .strategies import chains, specs
    from .tiles import assert_tiles_exactly

_HOMES = {  # imported on first use: the pytest plugin needs no torch
    "EffectiveField": "effective",
    "Graph": "random_graphs",
    "assert_field_matches": "oracles",
    "assert_reads_match": "operators",
    "assert_tiles_exactly": "tiles",
    "centre_footprints": "footprints",
    "chains": "strategies",
    "effective_receptive_field": "effective",
    "gradient_footprint": "oracles",
    "graphs": "random_graphs",
    "nan_footprint": "oracles",
    "specs": "strategies",
    "unit_footprints": "footprints",
}
__all__ = [
    "EffectiveField",
    "Graph",
    "assert_field_matches",
    "assert_reads_match",
    "assert_tiles_exactly",
    "centre_footprints",
    "chains",
    "effective_receptive_field",
    "gradient_footprint",
    "graphs",
    "nan_footprint",
    "specs",
    "unit_footprints",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import(f".{_HOMES[name]}", __name__), name)
