"""Accuracy against parameters: our means with their spread, and the published points.

python examples/benchmarks/frontier_figure.py
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from accuracy_tables import OURS, OURS_FASHION, PUBLISHED
from labels import Labels, Point
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from raw_results import DOCS, read

from data_sets import FASHION, MNIST, DataSet
from figures import DPI, FAINT, INK, MARK, TEST, TRAIN, miss, quiet
from run_folder import write_atomically


@dataclass(frozen=True)
class Panel:
    """What is shown of a data set, and the ends and marks of its two scales."""

    source: DataSet
    ours: list[tuple[str, str, str]]
    height: float  # inches
    params: tuple[int, int]
    param_marks: tuple[int, ...]
    accuracies: tuple[float, float]
    accuracy_marks: tuple[float, ...]

    @property
    def target(self) -> list[Point]:
        """The line of the data set's target."""
        assert self.source.target is not None
        return [(params, miss(self.source.target)) for params in self.params]


# s6 stands there twice, after few epochs and after many; a third would be within their bars.
# Smaller networks than dsnet34 and dsnet38 are better.
SHOWN = [one for one in OURS if one[0] != "muon" and one[1] not in ("dsnet34", "dsnet38")]
PANELS = (
    Panel(
        MNIST, SHOWN, 6, (560, 30_000), (1_000, 2_000, 4_000, 8_000, 16_000),
        (98.65, 99.72), (98.8, 99, 99.1, 99.2, 99.3, 99.4, 99.5, 99.6, 99.7),
    ),
    Panel(
        FASHION, OURS_FASHION, 4.5, (2_800, 1_000_000),
        (4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000),
        (88.4, 94.2), (89, 90, 91, 92, 92.5, 93, 94),
    ),
)  # fmt: skip


def draw() -> Figure:
    heights = [panel.height for panel in PANELS]
    figure = Figure(figsize=(10, sum(heights)), dpi=DPI, layout="constrained")
    rows = figure.subplots(len(PANELS), height_ratios=heights)
    drawn = [(_draw(axes, panel), panel) for axes, panel in zip(rows, PANELS, strict=True)]
    _legend(rows[0])
    figure.suptitle("Test accuracy, %, against parameters", x=0.01, ha="left", fontsize=13,
                    color=INK)  # fmt: skip
    # Labels last, once everything that they must not touch has its place.
    for (labels, line), panel in drawn:
        labels.place(line, panel.target)
    return figure


def _draw(axes: Axes, panel: Panel) -> tuple[Labels, list[Point]]:
    """Everything but the labels, which are asked for, and the line through one shape's widths."""
    labels = Labels(axes)
    line = _draw_ours(axes, panel, labels)
    for params, best, last, evidence, who in PUBLISHED[panel.source.name]:
        if last is not None:
            style = "s" if "mean of" in evidence else "o"
            axes.plot(params, miss(last), style, color=TRAIN, ms=7)
        if best is not None:
            axes.plot(params, miss(best), "o", mfc="white", mec=TRAIN, ms=7)
            if last is not None:
                axes.plot([params] * 2, [miss(best), miss(last)], color=TRAIN, lw=1)
        ends = [(params, miss(n)) for n in (best, last) if n is not None]
        name = re.split("[/,]", who)[0].removeprefix("the ")
        labels.add(name, ends[-1], {"fontsize": 8, "color": FAINT}, ends)
    axes.set_title(panel.source.origin, loc="left", fontsize=11, color=FAINT)
    _scales(axes, panel)
    return labels, line


def _draw_ours(axes: Axes, panel: Panel, labels: Labels) -> list[Point]:
    line = []
    for source, key, name in panel.ours:
        row = read(source)["summary"][key]
        params, mean, sd = row["parameters"], row["mean"], row["sd"]
        axes.errorbar(params, miss(mean), yerr=sd, fmt="D", color=TEST, ms=7, capsize=4, lw=1.6)
        style = {"fontsize": 9, "color": TEST, "fontweight": "bold"}
        spread = [(params, miss(mean) - sd), (params, miss(mean) + sd)]
        label = f"{name}: {mean:.2f}".replace("epochs, ", "epochs,\n")
        labels.add(label, (params, miss(mean)), style, spread)
        if source in ("fewest", "frontier"):
            line.append((params, miss(mean)))
    if line:
        axes.plot(*zip(*line, strict=True), color=TEST, lw=1.4, alpha=0.5)
    return line


def _legend(axes: Axes) -> None:
    handles = (
        ("D", TEST, TEST, "ours: mean of last epochs ± sd, 5 seeds or more"),
        ("s", TRAIN, TRAIN, "published: mean of several runs"),
        ("o", TRAIN, TRAIN, "published: last epochs of one run"),
        ("o", "white", TRAIN, "published: best epoch, chosen on the test set, or not stated"),
    )
    for marker, face, edge, label in handles:
        axes.plot([], [], marker, mfc=face, mec=edge, ms=7, label=label)
    axes.legend(frameon=False, fontsize=9, loc="upper left", labelcolor=INK)


def _scales(axes: Axes, panel: Panel) -> None:
    (_, target), _ = panel.target
    axes.axhline(target, color=MARK, lw=1, ls=(0, (5, 3)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    low, high = panel.accuracies
    axes.set_ylim(miss(low), miss(high))  # upside down: better is higher
    axes.set_xticks(panel.param_marks)
    axes.set_xlim(*panel.params)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    marks = panel.accuracy_marks
    axes.set_yticks([miss(a) for a in marks], [f"{a:g}" for a in marks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("parameters", color=FAINT)
    quiet(axes)


def main() -> None:
    write_atomically(DOCS / "images" / "frontier.png", draw().savefig)


if __name__ == "__main__":
    main()
