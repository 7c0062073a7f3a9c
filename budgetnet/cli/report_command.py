"""`budgetnet report` and `budgetnet draw`: what was typed as a page or a picture."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..accounting.geometry import parse_shape
from ..errors import ArgumentError, explain, near_names, shown
from ..report.drawing import draw_svg
from ..report.page import render_html
from ..spec.plan import input_shape_of
from .baseline import NAME, parse_baseline
from .checks import Check, run_check
from .selection import checks_asked
from .targets import account_target, is_made, make_model, parse_options


def report(args: argparse.Namespace) -> str:
    """Write the report; returns the lines to print."""
    checks = checks_asked(args)
    if len(checks) > 1:
        numbers = {"there are": ", ".join(check.name for check in checks)}
        remedy = "Choose one with --only NAME, or name a TARGET."
        raise ArgumentError(explain("a report covers one check", numbers=numbers, remedy=remedy))
    (check,) = checks
    known = None
    if check.growth and check.file:
        known = parse_baseline(check.file.parent / NAME).get(check.name)
    outcome = run_check(check, known)
    if outcome.error is not None:
        raise outcome.error
    account, budget = outcome.account, outcome.budget
    assert account is not None  # there is the one or the other
    against = _against(args.against, check, account) if args.against else None
    asked = args.footprints or args.footprint
    measured = _footprints(args, check, account) if asked else None
    page = render_html(
        account, budget=budget if budget.limits else None, image=args.image, against=against,
        footprints=measured,
    )  # fmt: skip
    write_atomically(Path(args.output), page)
    return f"wrote {args.output} ({len(page.encode()):,} bytes)"


def draw(args: argparse.Namespace) -> str:
    """The diagram of a network as SVG."""
    if args.depth is not None and args.depth < 1:
        raise ArgumentError(explain("--depth must be at least 1", numbers={"got": args.depth}))
    shape = parse_shape(args.input) if args.input else None
    account = account_target(args.target, shape, parse_options(args.set), strict=False)
    if args.plot:
        from ..report.plotting import plot_fields

        plot_fields(account, Path(args.plot))
        if not args.output:
            return f"wrote {args.plot}"
    return draw_svg(account, depth=args.depth)


def _against(target: str, check: Check, account: Account) -> Account:
    """The account to compare with, on the same input unless it has one of its own."""
    shape = check.shape or (None if input_shape_of(target) else account.input_shape)
    shape = None if is_made(target) else shape
    options = check.options if ":" in target and not is_made(target) else {}
    return account_target(target, shape, options, strict=False)


def _footprints(args: argparse.Namespace, check: Check, account: Account) -> dict[str, Any]:
    """Gradients of the model itself, with the weights that it comes with or that were asked for."""
    target = check.target
    if is_made(target) or len(account.input_shapes) > 1:
        remedy = "Name the model, or drop --footprints."
        raise ArgumentError(explain("--footprints needs a model of one input", remedy=remedy))
    if len(account.input_shape) != 3:
        raise ArgumentError(explain(f"--footprints needs an image, not {account.input_text}"))
    units = _units(args.footprint or (), account)
    if check.file and ".py:" in target:
        target = str(check.file.parent / target)
    from ..testing.footprints import centre_footprints, unit_footprints

    model, _, _ = make_model(target, account.input_shape, check.options, args.weights)
    found: dict[str, Any] = unit_footprints(model, account.input_shape, units)
    if args.footprints:
        maps = [row for row in account.layers() if len(row.output_shape) == 3]
        middle = centre_footprints(model, account.input_shape, [row.path for row in maps])
        for row in maps:
            if row.path in middle:
                _, height, width = row.output_shape
                found.setdefault(row.path, {})[height // 2, width // 2] = middle[row.path]
    return found


def _units(asked: Sequence[str], account: Account) -> dict[str, list[tuple[int, int]]]:
    """The units `LAYER@row,column` that were asked for, by layer."""
    layers = (row for row in account.layers() if len(row.output_shape) == 3)
    maps = {row.path: row.output_shape[1:] for row in layers}
    found: dict[str, list[tuple[int, int]]] = {}
    for text in asked:
        path, unit = _unit(text, maps)
        found.setdefault(path, []).append(unit)
    return found


def _unit(text: str, maps: Mapping[str, tuple[int, ...]]) -> tuple[str, tuple[int, int]]:
    """The layer and the unit of `LAYER@row,column`; of LAYER alone the one in the middle."""
    path, at, place = text.rpartition("@") if "@" in text else (text, "", "")
    if path not in maps:
        near = near_names(path, maps, most=3) or [*maps][:3]
        remedy = f"Layers with one are such as {', '.join(near)}." if near else ""
        what = f"--footprint: {shown(path)} is no layer with a map"
        raise ArgumentError(explain(what, remedy=remedy))
    height, width = maps[path]
    if not at:
        return path, (height // 2, width // 2)
    match = re.fullmatch(r"([0-9]{1,9}),([0-9]{1,9})", place)
    if match is None:
        remedy = "Write LAYER@row,column, such as conv2@0,3."
        raise ArgumentError(explain(f"--footprint cannot read {shown(text)}", remedy=remedy))
    row, column = int(match[1]), int(match[2])
    if row >= height or column >= width:
        numbers = {"its map": f"{height}x{width}"}
        raise ArgumentError(explain(f"--footprint: {path} has no unit {place}", numbers=numbers))
    return path, (row, column)
