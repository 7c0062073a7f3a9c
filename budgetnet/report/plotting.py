"""A static picture of receptive fields: regions over the input, and their growth over depth."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..accounting.rows import Row
from ..errors import ArgumentError, explain
from .curves import Curve, curves_of, is_map
from .samples import sample

PICTURES = (".png", ".svg", ".pdf")
MOST_NAMED = 14  # regions and layers whose names have room
LONGEST_NAME = 22


def plot_fields(account: Account, file: Path) -> None:
    """Draw the inputs that the middle unit of each map reads, and how the fields grow.

    Raises `ArgumentError` if matplotlib is missing, the file's suffix is unknown, or the input
    is not one image.
    """
    check_plot(account, file)
    picture = io.BytesIO()
    draw_fields(account).savefig(picture, format=file.suffix[1:], dpi=150)
    write_atomically(file, picture.getvalue())


def draw_fields(account: Account) -> Any:
    """The figure of matplotlib that `plot_fields` writes."""
    from matplotlib.figure import Figure

    layers = account.layers()
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    regions, growth = figure.subplots(1, 2, width_ratios=(1, 1.25))
    colours = _colours(layers)
    _draw_regions(regions, account, layers, colours)
    _draw_growth(growth, curves_of(account, layers)[0], layers, colours)
    figure.suptitle(f"{account.name}  (input {account.input_text})", fontsize=11)
    return figure


def check_plot(account: Account, file: Path) -> None:
    """Raise `ArgumentError` for what cannot be drawn."""
    if file.suffix not in PICTURES:
        remedy = f"End its name in {', '.join(PICTURES)}."
        raise ArgumentError(explain(f"--plot cannot write {file}", remedy=remedy))
    if len(account.input_size) != 2:
        raise ArgumentError(explain(f"--plot needs one image, not {account.input_text}"))
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        remedy = 'pip install -e ".[examples]"'
        raise ArgumentError(explain("--plot needs matplotlib", remedy=remedy))


def _colours(layers: Sequence[Row]) -> dict[int, Any]:
    """A colour for every map, the same on both sides of the picture."""
    from matplotlib import colormaps

    maps = [i for i, row in enumerate(layers) if is_map(row)]
    last = max(1, len(maps) - 1)
    return {i: colormaps["plasma"](0.3 + 0.6 * k / last) for k, i in enumerate(maps)}


def _draw_regions(
    axes: Any, account: Account, layers: Sequence[Row], colours: Mapping[int, Any]
) -> None:
    from matplotlib.patches import Rectangle

    height, width = account.input_shape[1:]
    extent = (0, width, height, 0)
    axes.imshow(sample(*account.input_shape), cmap="gray", extent=extent, interpolation="nearest")
    edges = [0, height, 0, width]
    for i, colour in colours.items():
        row = layers[i]
        assert row.receptive_field is not None  # maps have one
        unit = [n // 2 for n in row.output_shape[1:]]
        (top, bottom), (left, right) = row.receptive_field.region(*unit)
        box = (right - left + 1, bottom - top + 1)
        axes.add_patch(Rectangle((left, top), *box, fill=False, edgecolor=colour, linewidth=1.6))
        edges = [min(edges[0], top), max(edges[1], bottom + 1),
                 min(edges[2], left), max(edges[3], right + 1)]  # fmt: skip
    margin = 0.03 * max(edges[1] - edges[0], edges[3] - edges[2])
    axes.set_xlim(edges[2] - margin, edges[3] + margin)
    axes.set_ylim(edges[1] + margin, edges[0] - margin)
    axes.set_title("what the middle unit of each map reads", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8)


def _draw_growth(
    axes: Any, curve: Curve, layers: Sequence[Row], colours: Mapping[int, Any]
) -> None:
    known = {i: float(value) for i, value in enumerate(curve.values) if value is not None}
    axes.plot([*known], [*known.values()], color="#9aa3af", linewidth=1.2, zorder=1)
    shades = [colours.get(i, "#556070") for i in known]
    axes.scatter([*known], [*known.values()], c=shades, s=26, zorder=2)
    whole = {i: field for i, row in enumerate(layers) if (field := _whole(row)) is not None}
    axes.scatter([*whole], [*whole.values()], c="white", edgecolors="#9aa3af", s=20, zorder=1)
    if curve.line:
        axes.axhline(curve.line[0], color="#556070", linestyle="--", linewidth=1)
        axes.annotate(curve.line[1], (0, curve.line[0]), xytext=(2, 3),
                      textcoords="offset points", fontsize=8, color="#556070")  # fmt: skip
    if curve.mark is not None:
        axes.axvline(curve.mark, color="#b8400a", linestyle=":", linewidth=1)
    hollow = "hollow: after the whole map was read" if whole else ""
    axes.set_title("\n".join(filter(None, (curve.note, hollow))), fontsize=9)
    drawn = sorted({*known, *whole})
    places = drawn[:: max(1, -(-len(drawn) // MOST_NAMED))]
    names = [_ending(layers[i].path or layers[i].kind) for i in places]
    axes.set_xticks(places, names, rotation=40, ha="right", fontsize=7.5)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel("receptive field", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)


def _whole(row: Row) -> int | None:
    """What a layer sees that reads the whole map, or comes after one that does."""
    if row.receptive_field is None or not row.is_global:
        return None
    return min(row.receptive_field.size, default=None)


def _ending(name: str) -> str:
    """The end of a name, which tells layers apart."""
    return name if len(name) <= LONGEST_NAME else f"...{name[-LONGEST_NAME:]}"
