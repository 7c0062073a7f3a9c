"""Accuracy against parameters: our means with their spread, and the published points.

python examples/benchmarks/frontier_figure.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from accuracy_tables import OURS, PUBLISHED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from raw_results import DOCS, read

from figures import ACCURACIES, DPI, FAINT, INK, MARK, TEST, TRAIN, miss, quiet
from run_folder import TARGET, write_atomically

BELOW = {"xytext": (0, -5), "ha": "center", "va": "top"}
PLACES = {  # of labels that would fall on a neighbour; offsets in points from the mean
    "dsnet16": {"xytext": (-4, -23), "ha": "left", "va": "top"},
    "dsnet34": {"xytext": (5, -47), "ha": "right", "va": "top"},
    "dsnet38": {"xytext": (-4, -41), "ha": "left", "va": "top"},
    "s6, 5 epochs": {"xytext": (10, 0), "ha": "left", "va": "center"},
    "s6, 20 epochs, distilled": {"xytext": (10, 16), "ha": "left", "va": "center"},
    "the report of s6": {"xytext": (-9, 0), "ha": "right", "va": "center"},
    "divya-r-kamat": {"xytext": (9, 0), "ha": "left", "va": "center"},
    "snehanshu-raj": {"xytext": (-9, 0), "ha": "right", "va": "center"},
}
PARAMETERS = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)


def draw() -> Figure:
    figure = Figure(figsize=(10, 5.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for params, best, last, evidence, who in PUBLISHED:
        name = who.split("/")[0]
        several = evidence.startswith("last")
        if last is not None:
            style = "s" if several else "o"
            axes.plot(params, miss(last), style, color=TRAIN, ms=7)
        if best is not None:
            axes.plot(params, miss(best), "o", mfc="white", mec=TRAIN, ms=7)
            if last is not None:
                axes.plot([params] * 2, [miss(best), miss(last)], color=TRAIN, lw=1)
        place = PLACES.get(name, {"xytext": (0, 8), "ha": "center"})
        axes.annotate(
            name, (params, miss(best)), **place, textcoords="offset points", fontsize=8, color=FAINT
        )
    line = []
    for source, key, name in OURS:
        row = read(source)["summary"][key]
        params, mean, sd = row["parameters"], row["mean"], row["sd"]
        axes.errorbar(params, miss(mean), yerr=sd, fmt="D", color=TEST, ms=7, capsize=4, lw=1.6)
        place = PLACES.get(name, BELOW)
        axes.annotate(
            f"{name}: {mean:.2f}", (params, miss(mean if name in PLACES else mean - sd)), **place,
            textcoords="offset points", fontsize=9, color=TEST, fontweight="bold",
        )  # fmt: skip
        if source == "frontier":
            line.append((params, miss(mean)))
    axes.plot(*zip(*line, strict=True), color=TEST, lw=1.4, alpha=0.5)
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
    return figure


def _scales(axes: Axes) -> None:
    axes.axhline(miss(TARGET), color=MARK, lw=1, ls=(0, (5, 3)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(520, 40_000)
    axes.set_ylim(1.35, 0.33)  # upside down: better is higher
    axes.set_xticks(PARAMETERS)
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
