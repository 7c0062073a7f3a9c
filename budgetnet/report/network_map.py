"""The section of the page that shows the network, and what its script needs to fold and unfold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..accounting.account import Account
from ..accounting.rows import Row
from .drawing import diagram, legend, shares_of, texts_of
from .folding import Fold, open_at_first, tree_of
from .markup import Markup, join, tag
from .scene import inside_of, is_free, placed

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
        tag("button", sign, type="button", data_map=do, title=words, aria_label=words)
        for do, (sign, words) in _BUTTONS.items()
    ]
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
        "inputs": len(account.input_shapes),
        "open": sorted(f"{first}-{end}" for first, end in open_at_first(root)),
        "root": _data(account, layers, root, len(account.input_shapes)),
    }


def _data(account: Account, layers: Sequence[Row], fold: Fold, inputs: int = 0,
          parent: str = "") -> dict[str, Any]:
    """One fold; short names, since a network has hundreds."""
    texts = texts_of(account, fold, parent)
    data: dict[str, Any] = {
        "at": [fold.first, fold.end],
        "texts": [texts[name] for name in ("name", "shape", "kind", "field", "params", "macs")],
        "title": texts["title"],
        "shares": [round(share, 4) for share in shares_of(account, fold)],
    }
    if is_free(fold.row):
        data["free"] = 1
    if fold.children:
        inside = inside_of(fold, layers, inputs)
        found = inside.found
        data |= {
            "repeats": fold.repeats,
            "folds": [_data(account, layers, child, parent=fold.row.path) for child in fold.children],
            "ports": inside.ports,
            "exit": inside.exit,
            "places": [[box, *place] for box, place in found.places.items()],
            "edges": found.edges,
            "tracks": found.tracks,
            "lanes": found.lanes,
            "u": found.is_u,
        }
    return data
