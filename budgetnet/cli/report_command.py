"""`budgetnet report` and `budgetnet draw`: what was typed as a page or a picture."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.files import write_whole
from ..accounting.geometry import parse_shape
from ..budget.budget import Budget
from ..budget.limits import FIGURES, Limit
from ..errors import ArgumentError, did_you_mean, explain
from ..report.drawing import draw_svg
from ..report.page import render_html
from .targets import account_target, make_model, parse_options

_SHORT = {"rf": "receptive_field"}


def report(args: argparse.Namespace) -> str:
    """Write the report; returns what to tell."""
    limits = {name: value for name in FIGURES if (value := getattr(args, name)) is not None}
    configured: tuple[Limit, ...] = ()
    if args.budget and args.budget.endswith(".toml"):
        account, configured = _configured(args, Path(args.budget))
    else:
        if args.budget:
            limits = {**parse_limits(args.budget), **limits}
        account = _account(args, args.target)
    against = _account(args, args.against) if args.against else None
    budget = Budget(*configured, **limits) if configured or limits else None
    measured = _footprints(args, account) if args.footprints else None
    page = render_html(
        account, budget=budget, image=args.image, against=against, footprints=measured
    )
    write_whole(Path(args.output), page)
    return f"wrote {args.output} ({len(page.encode()):,} bytes)"


def draw(args: argparse.Namespace) -> str:
    """The diagram of a network as SVG."""
    if args.depth is not None and args.depth < 1:
        raise ArgumentError(explain("--depth must be at least 1", numbers={"got": args.depth}))
    account = _account(args, args.target)
    if args.plot:
        from ..report.plotting import plot_fields

        plot_fields(account, Path(args.plot))
        if not args.output:
            return f"wrote {args.plot}"
    return draw_svg(account, depth=args.depth)


def _configured(args: argparse.Namespace, file: Path) -> tuple[Account, tuple[Limit, ...]]:
    """The account and the limits of the check in a file that has this name or this model."""
    from .baseline import NAME, parse_baseline
    from .checks import run_check
    from .config import checks_of

    checks = checks_of(file)
    named = [check for check in checks if args.target in (check.name, check.target)]
    if len(named) != 1:
        remedy = "Name one of its checks as TARGET."
        numbers = {"checks": ", ".join(check.name for check in checks) or "none"}
        what = f"{len(named) or 'no'} checks are of {args.target!r}"
        raise ArgumentError(explain(what, where=str(file), numbers=numbers, remedy=remedy))
    if args.input or args.set:
        raise ArgumentError(explain(f"--input and --set are those of {file}", remedy="Drop them."))
    (check,) = named
    known = parse_baseline(file.parent / NAME).get(check.name) if check.growth else None
    outcome = run_check(check, known)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.account is not None  # there is the one or the other
    return outcome.account, outcome.budget.limits


def parse_limits(text: str) -> dict[str, str]:
    """Read limits as one argument.

    >>> parse_limits("params=20k,rf=22..28")
    {'params': '20k', 'receptive_field': '22..28'}
    """
    limits = {}
    for part in re.split(r",(?=\s*[A-Za-z])", text):  # other commas set thousands apart
        name, separator, value = (word.strip() for word in part.partition("="))
        name = _SHORT.get(name, name).replace("-", "_")
        if not separator or not value:
            raise ArgumentError(
                explain(f"cannot read --budget {part!r}", remedy="Write params=20k,rf=22.")
            )
        if name not in FIGURES:
            remedy = did_you_mean(name, [*FIGURES, *_SHORT])
            raise ArgumentError(explain(f"{name!r} is no limit", remedy=remedy))
        if name in limits:
            raise ArgumentError(explain(f"--budget gives {name} twice", remedy="Write it once."))
        limits[name] = value
    return limits


def _footprints(args: argparse.Namespace, account: Account) -> dict[str, Any]:
    """Gradients of the model itself, with the weights that it comes with or that were asked for."""
    target = args.target
    if target.endswith(".json") or len(account.input_shapes) > 1:
        remedy = "Name the model, or drop --footprints."
        raise ArgumentError(explain("--footprints needs a model of one input", remedy=remedy))
    if len(account.input_shape) != 3:
        raise ArgumentError(explain(f"--footprints needs an image, not {account.input_text}"))
    from ..testing.footprints import centre_footprints

    options = parse_options(args.set)
    model, _, _ = make_model(target, account.input_shape, options, args.weights)
    return centre_footprints(model, account.input_shape, [row.path for row in account.layers()])


def _account(args: argparse.Namespace, target: str) -> Account:
    """The account of a target; a saved one knows its own input."""
    is_saved, is_first = target.endswith(".json"), target == args.target
    takes_input = is_first or not is_saved  # what goes wrong with the first is told by name
    shape = parse_shape(args.input) if args.input and takes_input else None
    takes_options = is_first or (":" in target and not is_saved)
    options = parse_options(args.set) if takes_options else {}
    return account_target(target, shape, options, strict=False)
