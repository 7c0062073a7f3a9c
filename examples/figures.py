"""The three pictures of a run: its curves, its digits, its mistakes."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from data_sets import NUMERALS, target_of
from mnist_data import SIDE, Affine
from recipes import Recipe

PREVIEW = 12  # digits, one column each
COLUMNS, MOST_ERRORS = 12, 60
WIDTH = 10  # inches, of a figure
GAP = 3  # pixels between two digits
TRAIN, TEST, MARK = "#d9742b", "#1f5fa8", "#b3261e"
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
DPI = 160
ACCURACIES = [0, 50, 80, 90, 95, 97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.8, 99.9, 99.95]


def titled(figure: Figure, title: str, **place: Any) -> None:
    """Set the title over a figure, folded to its width."""
    figure.suptitle(folded(title, figure.get_figwidth()), x=0.01, ha="left", fontsize=13,
                    color=INK, **place)  # fmt: skip


def folded(title: str, inches: float) -> str:
    return textwrap.fill(title, int(inches * 9))  # so many of its letters fill an inch


def _box(figure: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Where axes go, in shares of the figure, from inches that are counted from its upper left."""
    wide, high = figure.get_size_inches()
    return left / wide, 1 - (top + height) / high, width / wide, height / high


# ---------------------------------------------------------------------------- curves

Runs = list[list[dict[str, Any]]]  # of every run the rows of its epochs


def curves(runs: Runs, title: str, recipe: Recipe, seeds: Sequence[int] = ()) -> Figure:
    """Loss and accuracy of train and test over the epochs, the last few tenths in full view.

    Of several runs the mean is drawn, in a band from the least to the greatest. A single epoch
    makes no curve: then the runs stand side by side.
    """
    figure = Figure(figsize=(WIDTH, 4.6), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw = _draw_epochs if len(runs[0]) > 1 else _draw_runs
    for part, colour, label in zip(("train", "test"), (TRAIN, TEST), measured(recipe), strict=True):
        style = {"color": colour, "marker": "o", "markersize": 4, "lw": 1.8, "label": label}
        draw(left, [[epoch[f"{part}_loss"] for epoch in run] for run in runs], style)
        draw(right, [[miss(epoch[f"{part}_accuracy"]) for epoch in run] for run in runs], style)
    loss = "loss: of train with the teacher's share" if recipe.distill else "cross entropy"
    names = (loss, "accuracy, %, on the log scale of what is missing to 100")
    for axes, name in zip((left, right), names, strict=True):
        axes.set_title(name, loc="left", fontsize=10.5, color=FAINT)
        axes.set_yscale("log")
        if len(runs[0]) > 1:
            axes.set_xlabel("epoch", color=FAINT)
            ticks = MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
            axes.xaxis.set_major_locator(ticks)
        else:
            _name_runs(axes, seeds or [0])
        quiet(axes)
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.yaxis.set_minor_locator(NullLocator())
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2,
                  frameon=False, fontsize=9.5)  # fmt: skip
    _accuracy_axis(right, runs)
    titled(figure, title)
    return figure


def measured(recipe: Recipe) -> tuple[str, str]:
    """How the two curves were measured, and so why test may be ahead of train."""
    moved = recipe.augment != Affine() or recipe.early
    return (
        f"train: mean of each epoch, while learning{' on augmented images' if moved else ''}",
        "test: after each epoch, on plain images (so it can beat train)",
    )


def _draw_epochs(axes: Axes, values: list[list[float]], style: dict[str, Any]) -> None:
    numbers = range(1, len(values[0]) + 1)
    axes.plot(numbers, np.mean(values, axis=0), **style)
    if len(values) > 1:
        low, high = np.min(values, axis=0), np.max(values, axis=0)
        axes.fill_between(numbers, low, high, color=style["color"], alpha=0.18, lw=0)


def _draw_runs(axes: Axes, values: list[list[float]], style: dict[str, Any]) -> None:
    mean = float(np.mean(values))
    axes.plot(
        range(len(values)), [value for (value,) in values], **style | {"lw": 0, "markersize": 7}
    )
    axes.axhline(mean, color=style["color"], lw=1.4, alpha=0.5)


def _name_runs(axes: Axes, seeds: Sequence[int]) -> None:
    step = math.ceil(len(seeds) / 20)
    axes.set_xticks(range(0, len(seeds), step), [str(seed) for seed in seeds[::step]])
    axes.set_xlim(-0.6, len(seeds) - 0.4)
    lines = "; the lines are their means" if len(seeds) > 1 else ""
    axes.set_xlabel(f"seed, after a single epoch{lines}", color=FAINT)


def miss(accuracy: float) -> float:
    return max(100 - accuracy, 0.02)  # a log scale has no zero


def quiet(axes: Axes) -> None:
    """A grid, and nothing else that could draw the eye off the points."""
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=FAINT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _accuracy_axis(axes: Axes, runs: Runs) -> None:
    epochs = [epoch for run in runs for epoch in run]
    both = [epoch[f"{part}_accuracy"] for epoch in epochs for part in ("train", "test")]
    target = target_of(epochs[0]["dataset"])
    low, high = miss(min(both)) * 1.25, miss(max(*both, target or 0)) / 1.35
    ticks = _ticks(100 - low, 100 - high)
    if target and target not in ticks:
        ticks = sorted([*ticks, target])
    axes.set_yticks([miss(a) for a in ticks], [f"{a:g}" for a in ticks])
    axes.set_ylim(low, high)  # upside down: better is higher
    axes.yaxis.set_minor_locator(NullLocator())
    mean = float(np.mean([run[-1]["test_accuracy"] for run in runs]))
    axes.annotate(
        f"{mean:.2f}", (1, miss(mean)), xycoords=("axes fraction", "data"),
        xytext=(4, 0), textcoords="offset points", annotation_clip=False,
        va="center", color=TEST, fontsize=10, fontweight="bold",
    )  # fmt: skip
    if target:
        axes.axhline(miss(target), color=MARK, lw=1, ls=(0, (5, 3)))
        axes.get_yticklabels()[ticks.index(target)].set_color(MARK)


def _ticks(least: float, most: float) -> list[float]:
    """The usual accuracies between two, or where these are few, as many as make a scale."""
    ticks = [accuracy for accuracy in ACCURACIES if least <= accuracy <= most]
    for step in (10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05):
        if len(ticks) > 4:
            break
        ticks = [round(k * step, 2) for k in range(math.ceil(least / step), int(most / step) + 1)]
        ticks = [accuracy for accuracy in ticks if accuracy >= 0]
    return ticks


# ---------------------------------------------------------------------------- digits


def views(recipe: Recipe) -> dict[str, int]:
    """The rows of a preview below the plain digits: their names, and the width of their images.

    There is one for every width that the recipe trains on, and a second where chance moves images.
    """
    rows: dict[str, int] = {}
    for side, group in itertools.groupby(range(1, recipe.epochs + 1), recipe.side):
        first, *_, last = [*group] * 2
        name = f"epoch {first}" if first == last else f"epochs {first}-{last}"
        rows[name + (f"\ncentre {side}x{side}" if side < SIDE else "")] = side
        if recipe.augment != Affine():
            rows[f"{name}\ndrawn again"] = side
    plain = recipe.augment == Affine() and not recipe.early
    return {} if plain else rows


def preview(rows: Mapping[str, Tensor], origin: str, classes: Sequence[str] = ()) -> Figure:
    """The same images, normalised, in every named row: plain in the first, augmented below.

    Rows of images that are cropped for the early epochs are set in frames of full size. Above them
    stand their `classes`, where given.
    """
    images = [
        F.pad(row, [(SIDE - row.shape[-1]) // 2] * 4, value=math.nan) for row in rows.values()
    ]
    mosaic = _mosaic(torch.cat(images), len(images[0]))
    left, right = 1.0, 0.85  # inches, for names and scale
    head = 0.65 if classes else 0.45  # and for the title
    width = WIDTH - left - right
    height = width * mosaic.shape[0] / mosaic.shape[1]
    figure = Figure(figsize=(WIDTH, head + height + 0.1), dpi=DPI)
    axes = figure.add_axes(_box(figure, left, head, width, height))
    low, high = float(images[0].nan_to_num().min()), float(images[0].nan_to_num().max())
    shown = axes.imshow(mosaic.numpy(), cmap="gray", vmin=low, vmax=high)
    axes.set_yticks([(SIDE + GAP) * k + SIDE / 2 for k in range(len(rows))], [*rows])
    axes.set_xticks([(SIDE + GAP) * k + SIDE / 2 for k in range(len(classes))], [*classes])
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=7.5, labelbottom=False, labeltop=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    scale = figure.add_axes(_box(figure, left + width + 0.12, head, 0.1, height))
    bar = figure.colorbar(shown, cax=scale)
    bar.set_label("network input" if len(rows) > 1 else "input", color=FAINT)
    bar.ax.tick_params(colors=FAINT, length=0)
    bar.outline.set_visible(False)
    titled(
        figure, f"{origin}, as the network sees it", y=1 - 0.1 / figure.get_figheight(), va="top"
    )
    return figure


def _mosaic(images: Tensor, columns: int) -> Tensor:
    """(N, 1, H, W) to one picture of `columns` columns; what lies between and after is NaN."""
    rows = math.ceil(len(images) / columns)
    cells = F.pad(images[:, 0].float(), (0, GAP, 0, GAP), value=math.nan)
    blank = cells.new_full((rows * columns - len(cells), *cells.shape[1:]), math.nan)
    grid = torch.cat([cells, blank]).view(rows, columns, *cells.shape[1:])
    mosaic: Tensor = grid.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return mosaic[:-GAP, :-GAP]


# ---------------------------------------------------------------------------- mistakes


def errors(
    images: Tensor, labels: Tensor, logits: Tensor, name: str, classes: Sequence[str] = NUMERALS
) -> Figure:
    """The mistaken test images with truth and guess, the surest mistakes first.

    Few are drawn large, so that they fill the width.
    """
    sureness, guesses = logits.softmax(1).max(1)
    wrong = (guesses != labels).nonzero()[:, 0]
    wrong = wrong[sureness[wrong].argsort(descending=True, stable=True)]
    shown = wrong[:MOST_ERRORS].tolist()
    title = f"{name}: {len(wrong):,} of {len(labels):,} test images mistaken"
    if len(wrong) > len(shown):
        title += f", the {len(shown)} surest shown"
    numerals = all(len(name) == 1 for name in classes)
    if shown and not numerals:
        title += "; in red, what the network says"
    rows = math.ceil(len(shown) / COLUMNS)
    columns = math.ceil(len(shown) / max(rows, 1))
    cell, caption = WIDTH / max(columns, 4), 0.18 if numerals else 0.32  # inches
    width = max(columns * cell, WIDTH / 2)
    head = 0.2 + 0.22 * (1 + folded(title, width).count("\n"))
    figure = Figure(figsize=(width, head + rows * (cell + caption)), dpi=DPI)
    titled(figure, title, y=1 - 0.1 / figure.get_figheight(), va="top")
    for place, k in enumerate(shown):
        row, column = divmod(place, columns)
        box = _box(figure, column * cell + 0.05, head + row * (cell + caption), *[cell - 0.1] * 2)
        axes = figure.add_axes(box)
        axes.axis("off")
        axes.imshow(images[k, 0].numpy(), cmap="gray_r", vmin=0, vmax=255)
        write = _caption if numerals else _worded
        write(axes, classes[labels[k]], classes[guesses[k]], min(11, 10 * cell))
    return figure


def _caption(axes: Axes, truth: str, guess: str, size: float) -> None:
    """Both in the middle below a digit, in colours of their own."""
    start = -3 * size  # half the width of both
    _below(axes, truth, (start, -2), size, color=INK, fontweight="bold")
    _below(axes, f"read as {guess}", (start + size, -2), size, color=MARK)


def _worded(axes: Axes, truth: str, guess: str, size: float) -> None:
    """A line each, for classes that have names."""
    _below(axes, truth, (0, -2), size, color=INK, fontweight="bold", ha="center")
    _below(axes, guess, (0, -3 - 1.2 * size), size, color=MARK, ha="center")


def _below(axes: Axes, text: str, points: tuple[float, float], size: float, **style: Any) -> None:
    axes.annotate(text, (0.5, 0), xytext=points, xycoords="axes fraction",
                  textcoords="offset points", va="top", fontsize=size, **style)  # fmt: skip
