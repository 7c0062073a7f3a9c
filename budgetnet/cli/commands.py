"""What each command does: arguments in, the exit code out. Imports happen where they are used."""

from __future__ import annotations

import argparse
import json
import os
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..accounting.formats import FORMATS, render
from ..accounting.table import visible_lines
from ..errors import ArgumentError, did_you_mean, explain, shown
from .streams import print_error, print_note, print_raw_note, print_raw_result, print_result

if TYPE_CHECKING:
    from ..accounting.account import Account
    from ..accounting.latency import Latency
    from ..accounting.table import Table
    from .checks import Outcome


CHECK_FORMATS = (*FORMATS, "json", "sarif", "junit", "badge")


def account(args: argparse.Namespace) -> int:
    """Print what a network costs and sees."""
    from ..accounting.geometry import parse_shape
    from .targets import account_target, parse_options

    shape = parse_shape(args.input) if args.input else None
    options = parse_options(args.set)
    account = account_target(args.target, shape, options, strict=not args.lenient)
    found: Account | Latency = account
    if args.table:
        from ..accounting.latency import latency_of
        from ..accounting.latency_table import LatencyTable

        found = latency_of(account, LatencyTable.load(args.table))
    _deliver(args, found.to_table(args.depth), json=partial(found.to_json, indent=2))
    return 0


def design(args: argparse.Namespace) -> int:
    """Print the networks that meet a budget."""
    from .design_command import run

    found = run(args)
    if _is_data(args.format) and not found.proven:
        print_note(f"budgetnet: {found.claim()}")  # which the table says below its lines
    as_json = partial(found.to_json, indent=2)
    _deliver(args, found.to_table(), json=as_json, python=found.to_python)
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a network as a file for other runtimes, and print what was written."""
    from .export_command import export

    print_result(*export(args))
    return 0


def check(args: argparse.Namespace) -> int:
    """Hold networks to their budgets; 0 within, 1 over, 3 unknown."""
    from . import verdicts
    from .baseline import NAME, parse_baseline, write_baseline
    from .checks import run_check
    from .selection import checks_asked

    form, annotates = _check_format(args.format or ["table"])
    saved = [_saved_format(text) for text in args.save]
    checks = checks_asked(args)
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
    own = _check_formats(outcomes)
    parts = {
        f: _check_parts(f, outcomes, why=args.why) for f in (form, *dict(saved)) if f not in own
    }
    _deliver(args, *parts.get(form, ()), form=form, **own)
    for other, file in saved:
        _write(_text(other, *parts.get(other, ()), **own), file)
    if args.debug:
        for outcome in outcomes:
            if outcome.error is not None:
                print_note("".join(traceback.format_exception(outcome.error)))
    # What programs read stays alone on stdout: GitHub reads annotations from either stream.
    beside = (_is_data(form) or form in own) and not args.output
    if annotates:
        if annotations := verdicts.to_annotations(outcomes):
            (print_raw_note if beside else print_raw_result)(annotations)
        _append_summary(render("markdown", *verdicts.to_parts(outcomes, why=args.why)))
    if args.update and folder:
        if code > 1:
            print_error("the baseline was not written, see above")
        else:
            write_baseline(folder / NAME, outcomes)
            (print_note if beside else print_result)(f"wrote {folder / NAME}; commit it")
    return code


def _check_formats(outcomes: Sequence[Outcome]) -> dict[str, Callable[[], str]]:
    """The formats of `check` that are no tables, each made on use."""
    from . import ci_formats, verdicts

    made = {
        "json": verdicts.to_json, "sarif": ci_formats.to_sarif, "junit": ci_formats.to_junit,
        "badge": ci_formats.to_badge,
    }  # fmt: skip
    return {name: partial(make, outcomes) for name, make in made.items()}


def _check_parts(form: str, outcomes: Sequence[Outcome], *, why: bool) -> list[Table | str]:
    """What a format of tables shows of checks."""
    from . import verdicts

    return [verdicts.to_table(outcomes)] if _is_data(form) else verdicts.to_parts(outcomes, why=why)


def _saved_format(text: str) -> tuple[str, str]:
    """The format and the file of FORMAT=FILE."""
    form, separator, file = text.partition("=")
    if form not in CHECK_FORMATS or not file:
        what = f"--save {shown(text)} is not FORMAT=FILE"
        remedy = did_you_mean(form, CHECK_FORMATS) if separator and file else "Write sarif=FILE."
        raise ArgumentError(explain(what, remedy=remedy))
    return form, file


def _check_format(asked: Sequence[str]) -> tuple[str, bool]:
    """The format on stdout, and whether GitHub annotations are printed as well."""
    forms = [form for form in dict.fromkeys(asked) if form != "github"]
    if len(forms) > 1:
        numbers = {"got": ", ".join(forms)}
        raise ArgumentError(
            explain("--format takes one format, and github beside it", numbers=numbers)
        )
    return (forms[0] if forms else "table"), "github" in asked


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
    from .selection import find_config
    from .targets import account_target, parse_options

    shape = parse_shape(args.input) if args.input else None
    options = parse_options(args.set)
    file = Path(args.config) if args.config else find_config()
    account = account_target(args.target, shape, options, strict=False)
    name = args.name or args.target
    line = add_check(file, name, args.target, args.input, options, account)
    print_result(f"added the check {name!r} at {file}:{line}")
    return 0


def deployment(args: argparse.Namespace) -> int:
    """Print what a runtime needs for a network: flash, RAM, and every step."""
    from .deployment_command import deployed, parts_of

    found = deployed(args)
    parts = [found.to_table()] if _is_data(args.format) else parts_of(found, args.board)
    _deliver(args, *parts, json=partial(found.to_json, indent=2))
    return 0


def training(args: argparse.Namespace) -> int:
    """Print what a training step of a network needs."""
    from .training_command import trained

    found = trained(args)
    _deliver(args, found.to_table(), json=partial(found.to_json, indent=2))
    return 0


def measure(args: argparse.Namespace) -> int:
    """Measure operators on this machine."""
    from .measure_command import measured

    print_result(measured(args))
    return 0


def plan_memory(args: argparse.Namespace) -> int:
    """Write a copy of a `.tflite` file that brings the least plan of memory."""
    from .deployment_command import plan_file

    print_result(plan_file(args))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the HTML report of a network."""
    from .report_command import report

    print_result(report(args))
    return 0


def draw(args: argparse.Namespace) -> int:
    """Draw a network."""
    from .report_command import draw

    _write(visible_lines(draw(args).rstrip("\n")), args.output)
    return 0


def models(args: argparse.Namespace) -> int:
    """Print the listed networks."""
    from ..accounting.table import Column, Table, shape_text
    from ..budget.figures import FIGURES
    from ..models import get_reference, list_models
    from ..spec.plan import plan

    rows, content = [], []
    for name in list_models():
        reference = get_reference(name)
        account = plan(reference.spec, reference.input_shape)
        shape, field = reference.input_shape, account.receptive_field
        rows.append((name, shape_text(shape), f"{account.params:,}", str(field), reference.origin,
                     reference.text))  # fmt: skip
        content.append({
            "name": name, "input_shape": shape, "params": account.params,
            "receptive_field": field and field.size, "origin": reference.origin,
            "spec": reference.text, "note": reference.note,
        })  # fmt: skip
    figures = (Column(FIGURES[name].heading, True) for name in ("params", "receptive_field"))
    columns = (Column("Model"), Column("Input"), *figures, Column("Origin"), Column("Spec"))
    _deliver(args, Table(columns, tuple(rows)), json=partial(json.dumps, content, indent=2))
    return 0


def words(args: argparse.Namespace) -> int:
    """Print what a spec is written of."""
    from ..spec.text import words_table

    table = words_table()
    names = [column.name.lower() for column in table.columns]
    content = [dict(zip(names, row, strict=True)) for row in table.rows]
    _deliver(args, table, json=partial(json.dumps, content, indent=2))
    return 0


def check_table(args: argparse.Namespace) -> int:
    """Hold a table of receptive fields made by hand against a network."""
    from ..accounting.geometry import parse_shape
    from . import table_command
    from .targets import account_target, parse_options

    shape = parse_shape(args.input) if args.input else None
    account = account_target(args.target, shape, parse_options(args.set), strict=False)
    found = table_command.judge_file(args.file, account)
    _deliver(args, *table_command.to_parts(found), json=partial(table_command.to_json, found))
    return found.code


def schema(args: argparse.Namespace) -> int:
    """Print the schema of a configuration."""
    from .schema import schema

    _write(json.dumps(schema(), indent=2), args.output)
    return 0


def _deliver(
    args: argparse.Namespace, *parts: Table | str, form: str = "", **own: Callable[[], str]
) -> None:
    """Write what was found in the format that was asked for; `own` are those that tables lack."""
    form = form or args.format
    if form == "table" and not args.output:
        print_result(*parts)
        return
    _write(_text(form, *parts, **own), args.output)


def _text(form: str, *parts: Table | str, **own: Callable[[], str]) -> str:
    """What was found in a format."""
    text = own[form]() if form in own else render(form, *parts)
    # In which no text passes for a command to a CI's log, wherever it stands.
    return text.replace("##", "#\\u0023") if form in ("json", "sarif") else text


def _write(text: str, output: str | None) -> None:
    if output:
        from ..accounting.files import write_atomically

        write_atomically(Path(output), text + "\n")
    else:
        print_raw_result(text)


def _is_data(form: str) -> bool:
    return form in FORMATS and FORMATS[form].is_data
