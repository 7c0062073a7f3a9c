"""The section of the page that shows the network, and what its script needs to fold and unfold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..accounting.account import Account
from ..accounting.rows import Row
from .drawing import Drawing, diagram, legend
from .folding import Fold, open_at_first, tree_of
from .labels import heading_of, texts_of
from .markup import Markup, join, tag
from .scene import inside_of, placed

_BUTTONS = {
    "out": ("−", "Zoom out"), "in": ("+", "Zoom in"), "fit": ("Fit", "Show all of it"),
    "shut": ("Fold", "Fold as at first"), "open": ("Unfold", "Open every fold"),
}  # fmt: skip


def network_map(account: Account, layers: Sequence[Row]) -> Markup:
    """The diagram with its buttons; the script draws it anew when a fold is opened."""
    root = tree_of(layers)
    scene = placed(root, layers, open_at_first(root), inputs=len(account.input_shapes))
    known = not layers or any(row.reads for row in layers)
    note = "This account was saved by an earlier release and has no edges."
    buttons = [
        tag("button", sign, type="button", data_map=do, title=words,
            aria_label=words if len(sign) == 1 else None)
        for do, (sign, words) in _BUTTONS.items()
    ]  # fmt: skip
    search = tag(
        "label", "Find ",
        tag("input", type="search", id="find", placeholder="layer or kind", autocomplete="off",
            spellcheck="false", aria_describedby="found"),
        tag("output", "", id="found", aria_live="polite"),
    )  # fmt: skip
    frame = tag(
        "div",
        diagram(account, layers, scene),
        tag("div", "", cls="minimap", hidden=True, aria_hidden="true"),
        cls="map", role="region", aria_label="Network diagram", aria_describedby="map-hint",
    )  # fmt: skip
    hint = (
        "Drag to move, or zoom with Ctrl and the wheel. Arrow keys go from box to box; Right opens "
        "a fold, Left shuts it."
    )
    return join((
        legend(),
        "" if known else tag("p", note, cls="note"),
        tag("div", search, *buttons, cls="tools", id="map-tools"),
        frame,
        tag("p", hint, cls="note", id="map-hint"),
    ))  # fmt: skip


def map_data(account: Account, layers: Sequence[Row]) -> dict[str, Any]:
    """The tree of folds with the texts and the wiring of each."""
    root = tree_of(layers)
    return {
        "totals": [account.params, account.macs],
        "open": sorted(f"{first}-{end}" for first, end in open_at_first(root)),
        "root": _data(account, layers, root, len(account.input_shapes)),
    }


def _data(
    account: Account, layers: Sequence[Row], fold: Fold, inputs: int = 0, parent: str = ""
) -> dict[str, Any]:
    """One fold; what follows from its layers is left to the script, a network has hundreds."""
    texts = texts_of(account, fold, parent)
    data: dict[str, Any] = {
        "at": [fold.first, fold.end],
        "texts": [texts[name] for name in ("name", "kind", "field")],
        "costs": [fold.row.params, fold.row.macs],
    }
    if fold.row.sliding:
        data["sliding"] = str(fold.row.sliding)
    if fold.children or inputs:
        inside = inside_of(fold, layers, inputs)
        found = inside.found
        data |= {
            "path": fold.row.path,
            "repeats": fold.repeats,
            "folds": [_data(account, layers, child, parent=fold.row.path)
                      for child in fold.children],
            "needs": heading_of(fold, texts)[1],
            "ports": Drawing(account, layers).ports(inside.ports, inputs > 0),
            "exit": inside.exit,
            "places": [[box, *place] for box, place in found.places.items()],
            "edges": [edge[: 3 if edge[3:] == (None, None) else 5] for edge in found.edges],
            "tracks": found.tracks,
            "lanes": found.lanes,
            "u": found.is_u,
        }  # fmt: skip
    return data
