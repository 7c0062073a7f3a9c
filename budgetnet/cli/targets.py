"""What the command line accounts for: a listed model, a spec, or a callable in a module or file."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..accounting.account import Account
from ..accounting.files import read_text
from ..accounting.geometry import shapes_of
from ..accounting.table import shape_text
from ..accounting.training import TrainingSetup
from ..errors import ArgumentError, BudgetnetError, FormatError, SpecError, explain, one_line, shown
from ..trace.files.account import account_of_file, is_file
from .loading import load, users_code

if TYPE_CHECKING:
    from torch import nn

    from ..spec.plan import Spec

KINDS = (
    "a listed model (see budgetnet models), a spec in quotes, module:callable, file.py:callable, "
    "a model.tflite or model.onnx, or a saved account.json"
)


def account_target(
    target: str,
    shape: tuple[Any, ...] | None,
    options: Mapping[str, Any],
    *,
    strict: bool = True,
    base: Path = Path(),
    training: tuple[TrainingSetup, ...] = (),
) -> Account:
    """Account for a target; models, specs, files and saved accounts need no torch.

    Paths of files and the search for modules begin at `base`. The peaks of `training` steps are
    part of the account of what can train.

    Raises:
        ArgumentError: the target cannot be found, made or run; the message says what to change.
        FormatError: a file or a saved account cannot be read.
    """
    if target.endswith(".json"):
        return _saved(base / target, shape, options)
    if is_file(target):
        if options:
            raise ArgumentError(explain(f"{target} is a file: it takes no --set"))
        return account_of_file(base / target, shape, name=target, strict=strict)
    if ":" in target:
        if shape is None:
            raise _needs_input(target)
        from .isolation import account_isolated

        return account_isolated(target, shape, options, strict=strict, base=base, training=training)
    spec, shape = _chain(target, shape, options, base)
    from ..spec.plan import plan  # on use: a saved account needs no specs

    found = plan(spec, shape, name=target)
    if not training:
        return found
    from ..trace.training import training_peaks

    return replace(found, training=training_peaks(spec, shape, training))


@contextmanager
def errors_of_target(target: str, shape: tuple[Any, ...]) -> Iterator[None]:
    """Turn what a user's `forward` raises, which may be anything, into an error of the target.

    What it prints goes to stderr.
    """
    what = (
        f"{target} could not be run on an input of {' + '.join(map(shape_text, shapes_of(shape)))}"
    )
    remedy = "Check the shape of the input, and that forward takes tensors alone."
    with users_code(what, remedy, passing=BudgetnetError), redirect_stdout(sys.stderr):
        yield


def make_model(
    target: str,
    shape: tuple[Any, ...] | None,
    options: Mapping[str, Any],
    weights: str | None = None,
) -> tuple[nn.Module, tuple[Any, ...], Spec | None]:
    """Build what a target names: the model, the shape of its input, and its spec if it has one.

    Raises:
        ArgumentError: the target cannot be found or made, or has no such weights.
    """
    if is_made(target):
        what = "a file" if is_file(target) else "a saved account"
        raise ArgumentError(explain(f"{target} is {what}; no model can be built from it"))
    if ":" in target:
        if shape is None:
            raise _needs_input(target)
        if weights is not None:
            raise ArgumentError(explain("--weights is for listed models", numbers={"got": target}))
        with redirect_stdout(sys.stderr):
            return load(target, options), shape, None
    from ..models import build, get_model, list_models

    spec, shape = _chain(target, shape, options)
    if target in list_models():
        return get_model(target, weights), shape, spec
    if weights is not None:
        raise ArgumentError(explain("--weights is for listed models", numbers={"got": target}))
    return build(spec, shape), shape, spec


def is_made(target: str) -> bool:
    """Whether a target is a file that knows its input, and cannot be called."""
    return target.endswith(".json") or is_file(target)


def _chain(
    target: str, shape: tuple[Any, ...] | None, options: Mapping[str, Any], base: Path = Path()
) -> tuple[Spec, tuple[Any, ...]]:
    """The spec of a listed model or of a text, and the shape of its input."""
    from ..spec.plan import as_spec, input_shape_of  # on use: a saved account needs neither

    if options:
        raise ArgumentError(explain("--set is for module:callable and file.py:callable"))
    try:
        spec = as_spec(target)
    except SpecError as error:
        if len(target.split()) > 1:  # nothing but a spec
            raise
        from .suggestions import suggest_target

        remedy = suggest_target(target, base)
        numbers = {} if remedy else {"as a spec": str(error).rstrip(".")}
        what = f"{shown(target)} is not {KINDS}"
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy)) from error
    shape = input_shape_of(target) if shape is None else shape
    if shape is None:
        raise _needs_input(target)
    return spec, shape


def _saved(path: Path, shape: tuple[Any, ...] | None, options: Mapping[str, Any]) -> Account:
    if shape is not None or options:
        raise ArgumentError(explain(f"{path} is a saved account: it takes no input and no --set"))
    try:
        return Account.from_json(read_text(path))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs; values are Python literals, or else text.

    >>> parse_options(["num_classes=10", "weights=None", "mode=fast"])
    {'num_classes': 10, 'weights': None, 'mode': 'fast'}
    """
    options = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise ArgumentError(
                explain(f"--set {pair!r} is not valid", remedy="Write --set name=value.")
            )
        try:
            options[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[key] = text
        except (MemoryError, RecursionError, TypeError) as error:  # too deep, or no such dict
            raise ArgumentError(
                explain(f"cannot read --set {key}", numbers={"reason": one_line(error)})
            ) from error
    return options


def _needs_input(target: str) -> ArgumentError:
    like = "3x224x224" if ":" in target else "1x28x28"  # what most modules take, and most specs
    return ArgumentError(
        explain(
            f"{target} has no known input shape",
            remedy=f'Add the shape, such as --input {like}, or input = "{like}" in a file.',
        )
    )
