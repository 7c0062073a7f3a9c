"""Accuracy against parameters: our means with their spread, and the published points.

python examples/benchmarks/frontier_figure.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from accuracy_tables import OURS, PUBLISHED
from labels import Labels
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from raw_results import DOCS, read

from data_sets import TARGET
from figures import ACCURACIES, DPI, FAINT, INK, MARK, TEST, TRAIN, miss, quiet
from run_folder import write_atomically

PARAMETERS = (1_000, 2_000, 4_000, 8_000, 16_000)


def draw() -> Figure:
    figure = Figure(figsize=(10, 6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    labels = Labels(axes)
    line = []
    for source, key, name in OURS:
        row = read(source)["summary"][key]
        params, mean, sd = row["parameters"], row["mean"], row["sd"]
        axes.errorbar(params, miss(mean), yerr=sd, fmt="D", color=TEST, ms=7, capsize=4, lw=1.6)
        style = {"fontsize": 9, "color": TEST, "fontweight": "bold"}
        spread = [(params, miss(mean) - sd), (params, miss(mean) + sd)]
        label = f"{name}: {mean:.2f}".replace("epochs, ", "epochs,\n")
        labels.add(label, (params, miss(mean)), style, spread)
        if source == "frontier":
            line.append((params, miss(mean)))
    axes.plot(*zip(*line, strict=True), color=TEST, lw=1.4, alpha=0.5)
    for params, best, last, evidence, who in PUBLISHED:
        several = evidence.startswith("last")
        if last is not None:
            style = "s" if several else "o"
            axes.plot(params, miss(last), style, color=TRAIN, ms=7)
        if best is not None:
            axes.plot(params, miss(best), "o", mfc="white", mec=TRAIN, ms=7)
            if last is not None:
                axes.plot([params] * 2, [miss(best), miss(last)], color=TRAIN, lw=1)
        ends = [(params, miss(n)) for n in (best, last) if n is not None]
        labels.add(
            who.split("/")[0].removeprefix("the "), ends[0], {"fontsize": 8, "color": FAINT}, ends
        )
    handles = (
        ("D", TEST, TEST, "ours: mean of last epochs ± sd, 5 seeds or more"),
        ("s", TRAIN, TRAIN, "published: mean of last epochs"),
        ("o", TRAIN, TRAIN, "published: last epochs of one run"),
        ("o", "white", TRAIN, "published: best epoch, chosen on the test set"),
    )
    for marker, face, edge, label in handles:
        axes.plot([], [], marker, mfc=face, mec=edge, ms=7, label=label)
    axes.legend(frameon=False, fontsize=9, loc="upper left", labelcolor=INK)
    _scales(axes)
    figure.suptitle(
        "MNIST test accuracy, %, against parameters", x=0.01, ha="left", fontsize=13, color=INK
    )
    target = [(params, miss(TARGET)) for params in axes.get_xlim()]
    labels.place(line, target)
    return figure


def _scales(axes: Axes) -> None:
    axes.axhline(miss(TARGET), color=MARK, lw=1, ls=(0, (5, 3)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(1.35, 0.33)  # upside down: better is higher
    axes.set_xticks(PARAMETERS)
    axes.set_xlim(560, 30_000)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    shown = [a for a in (*ACCURACIES, 98.8, 99.1, 99.3) if 98.65 <= a <= 99.67]
    axes.set_yticks([miss(a) for a in shown], [f"{a:g}" for a in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("parameters", color=FAINT)
    quiet(axes)


def main() -> None:
    write_atomically(DOCS / "images" / "frontier.png", draw().savefig)


if __name__ == "__main__":
    main()
