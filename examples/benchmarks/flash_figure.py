"""Accuracy in int8 against the bytes of flash that the weights take.

python examples/benchmarks/flash_figure.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labels import Labels
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from raw_results import DOCS, read

from data_sets import FASHION, MNIST, DataSet
from figures import DPI, FAINT, INK, TEST, TRAIN, miss, quiet
from run_folder import write_atomically

PANELS = (
    (MNIST, (99.25, 99.71), (99.3, 99.4, 99.5, 99.6, 99.7)),
    (FASHION, (91.3, 93.7), (91.5, 92, 92.5, 93, 93.5)),
)
AWARE = "int8, an epoch aware of it"
KINDS = {  # mark, inside and edge
    "float32": ("o", "white", TEST), "int8": ("D", TEST, TEST), AWARE: ("s", TRAIN, TRAIN),
}  # fmt: skip
FLASH, MARKS = (1_700, 24_000), (2_000, 4_000, 8_000, 16_000)


def draw() -> Figure:
    figure = Figure(figsize=(10, 4.2), dpi=DPI, layout="constrained")
    rows = figure.subplots(1, len(PANELS))
    drawn = [_draw(axes, *panel) for axes, panel in zip(rows, PANELS, strict=True)]
    rows[0].legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
    figure.suptitle(
        "Test accuracy of the shipped networks, %, against bytes of flash",
        x=0.01, ha="left", fontsize=13, color=INK,
    )  # fmt: skip
    for labels in drawn:
        labels.place()
    return figure


def _draw(
    axes: Axes, source: DataSet, accuracies: tuple[float, float], marks: tuple[float, ...]
) -> Labels:
    labels = Labels(axes)
    for kind, (mark, face, edge) in KINDS.items():
        axes.plot([], [], mark, mfc=face, mec=edge, ms=6, label=kind)
    for found in read("int8")["networks"].values():
        if found["dataset"] != source.name:
            continue
        flash, images = found["weight_bytes"], found["images"]
        points = [("float32", found["float_correct"]), ("int8", found["int8_correct"])]
        if "aware" in found:
            points.append((AWARE, found["aware"]["int8_correct"]))
        heights = [miss(100 * correct / images) for _, correct in points]
        axes.plot([flash] * len(points), heights, color=FAINT, lw=1, zorder=1)
        for (kind, _), height in zip(points, heights, strict=True):
            mark, face, edge = KINDS[kind]
            axes.plot(flash, height, mark, mfc=face, mec=edge, ms=6)
        name = f"{found['model']}: {flash:,} B"
        style = {"fontsize": 9, "color": TEST}
        labels.add(name, (flash, heights[0]), style, [(flash, height) for height in heights])
    axes.set_title(source.origin, loc="left", fontsize=11, color=FAINT)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    low, high = accuracies
    axes.set_ylim(miss(low), miss(high))  # upside down: better is higher
    axes.set_xlim(*FLASH)
    axes.set_xticks(MARKS)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yticks([miss(a) for a in marks], [f"{a:g}" for a in marks])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("bytes of flash: weights and biases", color=FAINT)
    quiet(axes)
    return labels


def main() -> None:
    write_atomically(DOCS / "images" / "flash.png", draw().savefig)


if __name__ == "__main__":
    main()
