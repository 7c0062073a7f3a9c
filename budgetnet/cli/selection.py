"""Which checks a call asks for: those of a configuration, or one of a TARGET with limits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..accounting.geometry import parse_shape
from ..budget.budget import LIMITS, SETTINGS, Budget
from ..errors import ArgumentError, explain
from .checks import Check
from .config import SECTION, checks_of
from .targets import parse_options


def limits_of(args: argparse.Namespace) -> dict[str, Any]:
    """The limits that were typed, by name, and what they are for."""
    names = (*LIMITS, *SETTINGS)
    return {name: found for name in names if (found := getattr(args, name, None)) is not None}


def checks_asked(args: argparse.Namespace) -> list[Check]:
    """The checks that a call asks for; there is at least one.

    Raises:
        ArgumentError: there is none, or the arguments do not fit together.
    """
    limits = limits_of(args)
    if args.target:
        if args.config or args.only:
            raise ArgumentError(explain("--config and --only cannot be combined with a TARGET"))
        shape = parse_shape(args.input) if args.input else None
        options = parse_options(args.set)
        return [Check(args.target, args.target, shape, options, Budget.from_dict(limits))]
    if limits or args.input or args.set:
        raise ArgumentError(
            explain("limits on the command line need a TARGET", remedy="Name it, or drop them.")
        )
    file = Path(args.config) if args.config else find_config()
    checks = list(checks_of(file))
    if not checks:
        remedy = "Add one with budgetnet init TARGET."
        raise ArgumentError(explain(f"there is no {SECTION}", where=str(file), remedy=remedy))
    names = [check.name for check in checks]
    for name in args.only or ():
        if name not in names:
            numbers = {"there are": ", ".join(names)}
            what = f"there is no check named {name!r}"
            raise ArgumentError(explain(what, where=str(file), numbers=numbers))
    return [check for check in checks if not args.only or check.name in args.only]


def find_config() -> Path:
    """pyproject.toml here or in a folder above, as other tools look for it."""
    try:
        here = Path.cwd()
    except OSError as error:
        raise ArgumentError(
            explain("the working directory cannot be read", numbers={"reason": error})
        ) from error
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return file.relative_to(here) if folder == here else file
    raise ArgumentError(
        explain(
            "there is no pyproject.toml here or above",
            remedy="Name a TARGET with limits, or a file with --config.",
        )
    )
