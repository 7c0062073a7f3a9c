"""What each command does: arguments in, the exit code out. Imports happen where they are used."""

from __future__ import annotations

import argparse
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..accounting.table import visible_lines
from ..errors import ArgumentError, explain
from .streams import complain, note, note_raw, tell, tell_raw

if TYPE_CHECKING:
    from ..accounting.table import Table


def account(args: argparse.Namespace) -> int:
    """Print what a network costs and sees."""
    from ..accounting.geometry import parse_shape
    from .targets import account_target, parse_options

    shape = parse_shape(args.input) if args.input else None
    options = parse_options(args.set)
    account = account_target(args.target, shape, options, strict=not args.lenient)
    content: Table | str
    if args.format == "markdown":
        content = account.to_markdown(args.depth)
    elif args.format == "csv":
        content = account.to_csv(args.depth).rstrip("\n")
    elif args.format == "json":
        content = _json(account.to_json(indent=2))
    else:
        content = account.to_table(args.depth)
    _deliver(content, args.output)
    return 0


def _deliver(content: Table | str, output: str | None) -> None:
    """Write what a command is asked for; text is of a format with an escaping of its own."""
    from ..accounting.files import write_whole

    if output:
        text = content if isinstance(content, str) else content.to_text()
        write_whole(Path(output), text + "\n")
    elif isinstance(content, str):
        tell_raw(content)
    else:
        tell(content)


def _json(text: str) -> str:
    """JSON in which no text passes for a command to the log of a CI, which may stand anywhere."""
    return text.replace("##", "#\\u0023")


def design(args: argparse.Namespace) -> int:
    """Print the networks that meet a budget."""
    from .design_command import run

    _deliver(run(args), args.output)
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a network as an ONNX file, and print what was written."""
    from ..accounting.geometry import parse_shape
    from .targets import make_model, naming, parse_options

    shape = parse_shape(args.input) if args.input else None
    model, shape, spec = make_model(args.target, shape, parse_options(args.set), args.weights)
    from ..deploy.export import to_onnx
    from ..deploy.folding import find_folds

    folds = not args.no_fold
    with naming(args.target, shape):
        written = to_onnx(model, shape, args.output, fold=folds, name=args.target, spec=spec)
        found = find_folds(model, shape) if folds else ()
    macs = "unknown" if written.macs is None else f"{written.macs:,}"
    left = [fold for fold in found if fold.layer is None]
    params = f"{sum(p.numel() for p in model.parameters()):,} parameters"
    if folded := len(found) - len(left):
        params += f", {written.params:,} after folding {folded} norm{'s' * (folded > 1)}"
    tell(
        f"wrote {args.output}: {written.name} on {written.input_text}, {params}, "
        f"{macs} MACs, receptive field {written.receptive_field or 'unknown'}, "
        f"{Path(args.output).stat().st_size:,} bytes"
    )
    if left:
        tell(f"{len(left)} of {len(found)} BatchNorms are not folded; {left[0]}")
    if spec is not None and args.weights is None:
        tell("its weights are random: nothing has trained them")
    return 0


def check(args: argparse.Namespace) -> int:
    """Hold networks to their budgets; 0 within, 1 over, 3 unknown."""
    from . import verdicts
    from .baseline import NAME, parse_baseline, write_baseline
    from .checks import run_check

    checks = _checks(args)
    folder = checks[0].file.parent if checks[0].file else None
    if args.update:
        if folder is None or args.only:
            raise ArgumentError(explain("--update is for all checks of a configuration file"))
        parse_baseline(folder / NAME)  # one of another version is not overwritten
        checks = [check.without_growth() for check in checks]
    known = (
        parse_baseline(folder / NAME) if any(check.growth for check in checks) and folder else {}
    )
    outcomes = [run_check(check, known.get(check.name)) for check in checks]
    code = verdicts.exit_code(outcomes)
    if args.json:
        tell_raw(_json(verdicts.to_json(outcomes)))
    elif args.markdown:
        tell_raw(verdicts.to_markdown(outcomes, why=args.why))
    else:
        tell(*verdicts.to_parts(outcomes, why=args.why))
    if args.debug:
        for outcome in outcomes:
            if outcome.error is not None:
                note("".join(traceback.format_exception(outcome.error)))
    if args.github:
        # JSON stays JSON: GitHub reads annotations from either stream.
        if annotations := verdicts.to_annotations(outcomes):
            (note_raw if args.json else tell_raw)(annotations)
        _append_summary(verdicts.to_markdown(outcomes, why=args.why))
    if args.update and folder:
        if code > 1:
            complain("the baseline was not written, see above")
        else:
            write_baseline(folder / NAME, outcomes)
            (note if args.json else tell)(f"wrote {folder / NAME}; commit it")
    return code


def _checks(args: argparse.Namespace) -> list[Any]:
    """The checks that a call asks for: of the configuration, or of one target."""
    from ..accounting.geometry import parse_shape
    from ..budget.budget import LIMITS, Budget
    from .checks import Check
    from .targets import parse_options

    given = {name: value for name in LIMITS if (value := getattr(args, name)) is not None}
    if args.target:
        if args.config or args.only:
            raise ArgumentError(explain("--config and --only go without a TARGET"))
        shape = parse_shape(args.input) if args.input else None
        budget = Budget.from_dict(given)
        return [Check(args.target, args.target, shape, parse_options(args.set), budget)]
    if given or args.input or args.set:
        raise ArgumentError(
            explain("limits on the command line need a TARGET", remedy="Name it, or drop them.")
        )
    from .config import SECTION, checks_of

    file = Path(args.config) if args.config else _find_config()
    checks = list(checks_of(file))
    if not checks:
        remedy = "Add one with budgetnet init TARGET."
        raise ArgumentError(explain(f"there is no {SECTION}", where=str(file), remedy=remedy))
    if args.only:
        unknown = set(args.only) - {check.name for check in checks}
        if unknown:
            names = ", ".join(check.name for check in checks)
            what = f"there is no check named {sorted(unknown)[0]!r}"
            raise ArgumentError(explain(what, where=str(file), numbers={"there are": names}))
        checks = [check for check in checks if check.name in args.only]
    return checks


def _find_config() -> Path:
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


def _append_summary(summary: str) -> None:
    """Write the job summary of a GitHub workflow, if there is one."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if file:
        try:
            with Path(file).open("a", encoding="utf-8") as out:
                out.write(summary + "\n")
        except OSError as error:
            raise ArgumentError(
                explain(f"cannot write the job summary {file}", numbers={"reason": error})
            ) from error


def init(args: argparse.Namespace) -> int:
    """Add a check of a network as it is to the configuration."""
    from ..accounting.geometry import parse_shape
    from .adding import add_check
    from .targets import account_target, parse_options

    shape = parse_shape(args.input) if args.input else None
    options = parse_options(args.set)
    file = Path(args.config) if args.config else _find_config()
    account = account_target(args.target, shape, options, strict=False)
    name = args.name or args.target
    line = add_check(file, name, args.target, args.input, options, account)
    tell(f"added the check {name!r} at {file}:{line}")
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the HTML report of a network."""
    from .report_command import report

    tell(report(args))
    return 0


def draw(args: argparse.Namespace) -> int:
    """Draw a network."""
    from .report_command import draw

    _deliver(visible_lines(draw(args).rstrip("\n")), args.output)
    return 0


def models(args: argparse.Namespace) -> int:
    """Print the listed networks."""
    from ..accounting.table import Column, Table
    from ..models import get_reference, list_models
    from ..spec.plan import plan

    rows = []
    for name in list_models():
        reference = get_reference(name)
        account = plan(reference.spec, reference.input_shape)
        field = str(account.receptive_field)
        rows.append((name, f"{account.params:,}", field, reference.origin, str(reference.spec)))
    columns = (Column("Model"), Column("Params", numeric=True), Column("RF", numeric=True))
    tell(Table((*columns, Column("Origin"), Column("Spec")), tuple(rows)))
    return 0
