"""`budgetnet report` and `budgetnet draw`: what was typed as a page or a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..accounting.geometry import parse_shape
from ..errors import ArgumentError, explain
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
    measured = _footprints(args, check, account) if args.footprints else None
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
    if check.file and ".py:" in target:
        target = str(check.file.parent / target)
    from ..testing.footprints import centre_footprints

    model, _, _ = make_model(target, account.input_shape, check.options, args.weights)
    return centre_footprints(model, account.input_shape, [row.path for row in account.layers()])
