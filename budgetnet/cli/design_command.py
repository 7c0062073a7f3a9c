"""`budgetnet design`: what was typed as a call of `design`, and its answer as text or a picture."""

from __future__ import annotations

import argparse
import io
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..accounting.files import write_atomically
from ..accounting.geometry import parse_shape
from ..budget.figures import FIGURES
from ..designer.answers import Designs
from ..designer.design import design
from ..designer.objectives import figure_of, parse_objectives
from ..designer.search import Progress
from ..designer.space import SearchSpace
from ..errors import ArgumentError, explain
from .selection import limits_of

NAMES = ("kinds", "paddings", "downsampling", "heads", "activation")
PAIRS = ("convs", "stage_convs", "downsamples")  # LOW..HIGH are these two numbers alone
PICTURES = (".png", ".svg", ".pdf")
ROOM_FOR_A_NUMBER = 30  # pixels between the numbers of points
PATIENCE = 1.0  # seconds before a search shows how far it is


def run(args: argparse.Namespace) -> Designs:
    """The answer to a call, drawn as well if it asks for a picture."""
    shape = image_of(args.input)
    if args.plot:
        _check_plot(args)
    with _progress() as watch:
        found = design(
            shape, args.classes,
            space=space_of(args, shape),
            objective=args.objective,
            pareto=args.pareto, top=args.top, time_limit=args.time_limit,
            watch=watch, **limits_of(args),
        )  # fmt: skip
    if args.plot:
        _plot(found, args.pareto, Path(args.plot))
    return found


def image_of(text: str) -> tuple[int, ...]:
    """The shape of the one image that the networks of a space read."""
    shape = parse_shape(text)
    if len(shape) != 3 or not all(isinstance(n, int) for n in shape):
        raise ArgumentError(
            explain(f"design takes one image, not {text}", remedy="Write it as 1x28x28.")
        )
    return shape


def space_of(args: argparse.Namespace, shape: tuple[int, ...]) -> SearchSpace:
    """The space of a name, as it suits the input, with what was typed instead of its own."""
    given = {f.name: getattr(args, f.name, None) for f in fields(SearchSpace)}
    read: dict[str, Any] = {
        name: value if isinstance(value, bool) else _read(name, value)
        for name, value in given.items()
        if value is not None
    }
    return SearchSpace.preset(args.space or "default", shape, **read)


def _read(name: str, text: str) -> Any:
    """What was typed for a part of the space: names, or `4..32` or `8,16` as numbers."""
    if name in NAMES:
        names = tuple(part.strip() for part in text.split(","))
        return names[0] if len(names) == 1 else names
    if "/" in text:
        return tuple(_read(name, part) for part in text.split("/"))
    try:
        if ".." in text:
            low, high = (int(part) for part in text.split(".."))
            return (low, high) if name in PAIRS else range(low, high + 1)
        numbers = tuple(float(part) if "." in part else int(part) for part in text.split(","))
        return numbers[0] if len(numbers) == 1 else numbers
    except ValueError:
        return tuple(part.strip() for part in text.split(","))


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None] | None]:
    """A bar on the terminal, if the search takes longer than a moment."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("searching, {task.fields[room]:,} beginnings at a time"),
        BarColumn(24), TextColumn("{task.fields[seconds]:.0f} s"),
        TextColumn("best: {task.fields[best]}  (Ctrl-C takes it)"),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=1.0, room=0, best="none yet", seconds=0.0)
    started = time.monotonic()

    def watch(progress: Progress) -> None:
        seconds = time.monotonic() - started
        if not bar.live.is_started and seconds > PATIENCE:
            bar.start()
        best = "none yet" if progress.best is None else str(progress.best)
        bar.update(task, completed=progress.share, room=progress.room, best=best, seconds=seconds)

    try:
        yield watch
    finally:
        bar.stop()


def _check_plot(args: argparse.Namespace) -> None:
    """Check before the search that its answer can be drawn."""
    if not args.pareto or len(args.pareto.split(",")) != 2:
        what = "--plot draws a Pareto front of two figures"
        raise ArgumentError(explain(what, remedy="Add --pareto params,rf."))
    if Path(args.plot).suffix not in PICTURES:
        what = f"--plot cannot write {args.plot}"
        raise ArgumentError(explain(what, remedy=f"End its name in {', '.join(PICTURES)}."))
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        remedy = 'pip install -e ".[examples]"'
        raise ArgumentError(explain("--plot needs matplotlib", remedy=remedy))


def _plot(found: Designs, pareto: str, file: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    names = [goal.weights[0][0] for goal in parse_objectives(pareto)]
    x, y = ([figure_of(name, one.account) for one in found] for name in names)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(x, y, where="post", color="#9db7d5", linewidth=1)
    axes.plot(x, y, "o", color="#1f5a96", markersize=5)
    axes.margins(0.08)
    figure.draw_without_rendering()  # so that places on the page are known
    last: tuple[float, float] | None = None
    for rank, point in enumerate(zip(x, y, strict=True), start=1):
        right, up = axes.transData.transform(point)
        if last is None or abs(right - last[0]) + abs(up - last[1]) > ROOM_FOR_A_NUMBER:
            axes.annotate(
                f"#{rank}", point, xytext=(0, 7), textcoords="offset points", ha="center",
                fontsize=8, color="#555555",
            )  # fmt: skip
            last = right, up
    for axis, name in ((axes.xaxis, names[0]), (axes.yaxis, names[1])):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_label_text(FIGURES[name].label)
    axes.set_title(textwrap.fill(found.to_table().title, 90), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    picture = io.BytesIO()
    figure.savefig(picture, format=file.suffix[1:], dpi=150)
    write_atomically(file, picture.getvalue())
