"""The three pictures of a run: its curves, its digits, its mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from mnist_data import SIDE
from run_folder import TARGET

PREVIEW = 12  # digits, one column each
COLUMNS, MOST_ERRORS = 12, 60
GAP = 3  # pixels between two digits
TRAIN, TEST, MARK = "#d9742b", "#1f5fa8", "#b3261e"
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
DPI = 160
ACCURACIES = [0, 50, 80, 90, 95, 97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.8, 99.9, 99.95]


# ---------------------------------------------------------------------------- curves


def curves(runs: list[list[dict[str, Any]]], title: str) -> Figure:
    """Loss and accuracy of train and test over the epochs, the last few tenths in full view.

    Of several runs the mean is drawn, in a band from the least to the greatest.
    """
    figure = Figure(figsize=(10, 4.4), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = [epoch["epoch"] for epoch in runs[0]]
    lines = (("train", TRAIN, "train, augmented, while learning"), ("test", TEST, "test"))
    for part, colour, label in lines:
        for axes, values in (
            (left, [[epoch[f"{part}_loss"] for epoch in run] for run in runs]),
            (right, [[_miss(epoch[f"{part}_accuracy"]) for epoch in run] for run in runs]),
        ):
            style = {"color": colour, "marker": "o", "markersize": 4, "lw": 1.8, "label": label}
            axes.plot(numbers, np.mean(values, axis=0), **style)
            if len(runs) > 1:
                low, high = np.min(values, axis=0), np.max(values, axis=0)
                axes.fill_between(numbers, low, high, color=colour, alpha=0.18, lw=0)
    names = ("cross entropy", "accuracy, %, on the log scale of what is missing to 100")
    for axes, name in zip((left, right), names, strict=True):
        axes.set_title(name, loc="left", fontsize=10.5, color=FAINT)
        axes.set_yscale("log")
        _quiet(axes)
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.yaxis.set_minor_locator(NullLocator())
    left.legend(frameon=False, fontsize=10)
    _accuracy_axis(right, runs)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
    return figure


def _miss(accuracy: float) -> float:
    return max(100 - accuracy, 0.02)  # a log scale has no zero


def _quiet(axes: Axes) -> None:
    axes.set_xlabel("epoch", color=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=FAINT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _accuracy_axis(axes: Axes, runs: list[list[dict[str, Any]]]) -> None:
    epochs = [epoch for run in runs for epoch in run]
    both = [epoch[f"{part}_accuracy"] for epoch in epochs for part in ("train", "test")]
    low, high = _miss(min(both)) * 1.25, _miss(max(*both, 99.0)) / 1.35
    axes.set_ylim(low, high)  # upside down: better is higher
    axes.set_yticks([_miss(a) for a in ACCURACIES], [f"{a:g}" for a in ACCURACIES])
    axes.set_ylim(low, high)
    axes.yaxis.set_minor_locator(NullLocator())
    last = epochs[-1]
    mean = float(np.mean([run[-1]["test_accuracy"] for run in runs]))
    axes.annotate(
        f"{mean:.2f}", (last["epoch"], _miss(mean)),
        xytext=(8, 0), textcoords="offset points", annotation_clip=False,
        va="center", color=TEST, fontsize=10, fontweight="bold",
    )  # fmt: skip
    if last["dataset"] == "mnist":
        axes.axhline(_miss(TARGET), color=MARK, lw=1, ls=(0, (5, 3)))
        axes.get_yticklabels()[ACCURACIES.index(TARGET)].set_color(MARK)


# ---------------------------------------------------------------------------- digits


def preview(rows: list[Tensor], origin: str) -> Figure:
    """The same digits, normalised, in every row: plain in the first, augmented below.

    Rows of images that are cropped for the early epochs are set in frames of full size.
    """
    sides = [row.shape[-1] for row in rows]
    rows = [F.pad(row, [(SIDE - row.shape[-1]) // 2] * 4, value=math.nan) for row in rows]
    figure = Figure(figsize=(10, 0.72 * len(rows) + 0.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    low, high = float(rows[0].nan_to_num().min()), float(rows[0].nan_to_num().max())
    shown = axes.imshow(
        _mosaic(torch.cat(rows), len(rows[0])).numpy(), cmap="gray", vmin=low, vmax=high
    )
    names = ["plain"] + ["augmented" if side == SIDE else "early epochs" for side in sides[1:]]
    axes.set_yticks([(SIDE + GAP) * k + SIDE / 2 for k in range(len(rows))], names)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=10, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.015, 0.0, 0.013, 1.0)))
    bar.set_label("network input", color=FAINT)
    bar.ax.tick_params(colors=FAINT, length=0)
    bar.outline.set_visible(False)
    title = f"{origin}, as the network sees it"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
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


def errors(images: Tensor, labels: Tensor, logits: Tensor, name: str) -> Figure:
    """The misread test digits with truth and guess, the surest mistakes first."""
    sureness, guesses = logits.softmax(1).max(1)
    wrong = (guesses != labels).nonzero()[:, 0]
    wrong = wrong[sureness[wrong].argsort(descending=True, stable=True)]
    shown = wrong[:MOST_ERRORS]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    figure = Figure(figsize=(10, 1.08 * rows + 0.75), dpi=DPI)
    title = f"{name}: {len(wrong)} of {len(labels):,} test digits misread"
    if len(wrong) > len(shown):
        title += f", the {len(shown)} surest shown"
    figure.suptitle(title, x=0.02, y=1 - 0.16 / figure.get_figheight(), ha="left", va="top",
                    fontsize=13, color=INK)  # fmt: skip
    grid = figure.subplots(
        rows, COLUMNS, squeeze=False,
        gridspec_kw={"left": 0.02, "right": 0.98, "bottom": 0.3 / figure.get_figheight(),
                     "top": 1 - 0.55 / figure.get_figheight(), "wspace": 0.12, "hspace": 0.38},
    )  # fmt: skip
    for axes in grid.flat:
        axes.axis("off")
    for axes, k in zip(grid.flat, shown.tolist(), strict=False):
        axes.imshow(images[k, 0].numpy(), cmap="gray_r", vmin=0, vmax=255)
        caption = {"transform": axes.transAxes, "va": "top", "fontsize": 8.5}
        axes.text(0.0, -0.04, f"{labels[k]}", color=INK, fontweight="bold", **caption)
        axes.text(0.17, -0.04, f"read as {guesses[k]}", color=MARK, **caption)
    return figure
