"""The command line: `budgetnet account`, `budgetnet models`. Imports happen where they are used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .errors import ArgumentError, BudgetnetError, explain

FORMATS = ("table", "markdown", "csv", "json")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 2 where the call cannot be understood."""
    args = _parser().parse_args(argv)
    try:
        text: str = args.run(args)
        if getattr(args, "output", None):
            _write(Path(args.output), text)
        else:
            print(text)
    except BudgetnetError as error:
        print(f"budgetnet: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has enough
        sys.stderr.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="budgetnet", description="Parameters, MACs and receptive field, exactly."
    )
    parser.add_argument("--version", action="version", version=f"budgetnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    account = commands.add_parser(
        "account",
        help="print what a network costs and sees",
        epilog="""examples: budgetnet account s6;
            budgetnet account "c16 p c32 gap10" --input 1x28x28;
            budgetnet account torchvision.models:resnet18 --input 3x224x224 --depth 2""",
    )
    account.add_argument(
        "target",
        metavar="TARGET",
        help="a listed model, a spec in quotes, package.module:callable or file.py:callable",
    )
    account.add_argument("--input", metavar="CxHxW", help="such as 1x28x28 (a model knows its own)")
    account.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="argument of the callable"
    )
    account.add_argument("--depth", type=int, metavar="N", help="sum rows N modules deep")
    account.add_argument(
        "--lenient", action="store_true", help="mark figures unknown where an operation has no rule"
    )
    account.add_argument("--format", choices=FORMATS, default="table")
    account.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    account.set_defaults(run=_account)
    models = commands.add_parser("models", help="list the named networks and where they come from")
    models.set_defaults(run=_models)
    return parser


def _account(args: argparse.Namespace) -> str:
    from .targets import account_target, read_options, read_shape

    shape = read_shape(args.input) if args.input else None
    options = read_options(args.set)
    account = account_target(args.target, shape, options, strict=not args.lenient)
    if args.format == "markdown":
        return account.to_markdown(args.depth)
    if args.format == "csv":
        return account.to_csv(args.depth).rstrip("\n")
    if args.format == "json":
        return account.to_json(indent=2)
    return account.to_table(args.depth).to_text()


def _models(args: argparse.Namespace) -> str:
    from .models import get_reference, list_models
    from .spec import plan
    from .table import Column, Table

    rows = []
    for name in list_models():
        reference = get_reference(name)
        account = plan(reference.spec, reference.input_shape)
        field = str(account.receptive_field)
        rows.append((name, f"{account.params:,}", field, reference.origin, str(reference.spec)))
    columns = (Column("Model"), Column("Params", numeric=True), Column("RF", numeric=True))
    return Table((*columns, Column("Origin"), Column("Spec")), tuple(rows)).to_text()


def _write(path: Path, text: str) -> None:
    """Write whole or not at all: beside the target first, then renamed over it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ArgumentError(explain(f"cannot write {path}", numbers={"reason": error})) from error


if __name__ == "__main__":
    sys.exit(main())
