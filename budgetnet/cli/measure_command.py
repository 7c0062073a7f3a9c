"""`budgetnet measure`: a table of latencies, written or added to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from ..accounting.files import write_atomically
from ..accounting.geometry import parse_shape
from ..accounting.latency_table import LatencyTable
from ..accounting.operators import Operator, operator_at
from ..deploy.measuring import Measuring, measure
from ..designer.measured import operators_of_space
from ..designer.space import SearchSpace
from ..errors import ArgumentError, explain
from ..models import list_models
from .design_command import image_of, space_of
from .targets import account_target, parse_options


def measured(args: argparse.Namespace) -> str:
    """Measure what a call asks for, write the file, and say what is in it."""
    operators, left_out = _wanted(args)
    file = Path(args.output)
    known = None if args.again or not file.exists() else LatencyTable.load(file)
    with _progress() as watch:
        table = measure(operators, threads=args.threads, quick=args.quick, table=known, watch=watch)
    write_atomically(file, table.to_json(indent=1) + "\n")
    before = len(known.entries) if known else 0
    found = len(table.entries) - before
    missed = len(table.missing(operators))
    parts = [f"wrote {file}: {found:,} operators measured", f"{before:,} kept" * bool(before)]
    parts.append(f"stopped before {missed:,} of them" * bool(missed))
    told = ", ".join(filter(None, parts))
    return "\n".join([told, *(f"not measured: {why}" for why in left_out)])


def _wanted(args: argparse.Namespace) -> tuple[Sequence[Operator], list[str]]:
    """The operators to measure, and why others cannot be."""
    options = [f.name for f in fields(SearchSpace) if getattr(args, f.name, None) is not None]
    if args.target:
        if args.classes is not None or args.space or options:
            raise ArgumentError(explain("a TARGET and a search space cannot be measured at once"))
        return _of_targets([args.target], args)
    if args.classes is None and not (args.space or options or args.input or args.set):
        return _of_targets(list_models(), args)
    if args.input is None or args.classes is None or args.set:
        remedy = "Write --input 1x28x28 --classes 10, or name a TARGET."
        raise ArgumentError(explain("a search space needs an input and classes", remedy=remedy))
    shape = image_of(args.input)
    return operators_of_space(space_of(args, shape), shape, args.classes), []


def _of_targets(
    targets: Sequence[str], args: argparse.Namespace
) -> tuple[Sequence[Operator], list[str]]:
    shape = parse_shape(args.input) if args.input else None
    found: dict[Operator, None] = {}
    reasons: dict[str, None] = {}
    for target in targets:
        account = account_target(target, shape, parse_options(args.set), strict=False)
        for place in range(len(account.rows)):
            operator, why = operator_at(account, place)
            if operator is not None:
                found[operator] = None
            elif why:
                reasons[why] = None
    return list(found), list(reasons)


@contextmanager
def _progress() -> Iterator[Callable[[Measuring], None] | None]:
    """A bar on the terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("measuring {task.fields[operators]:,} operators"), BarColumn(24),
        TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn(),
        TextColumn("(Ctrl-C keeps what was measured)"),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=1, operators=0)

    def watch(now: Measuring) -> None:
        bar.update(task, completed=now.calls, total=now.whole, operators=now.operators)

    with bar:
        yield watch
