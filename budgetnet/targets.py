"""What the command line accounts for: a listed model, a spec, or a callable in a module or file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .accounting import Account
from .errors import ArgumentError, SpecError, explain
from .models import get_reference, list_models
from .spec import Spec, plan

KINDS = (
    "a listed model (see budgetnet models), a spec in quotes, module:callable or file.py:callable"
)


def account_target(
    target: str, shape: tuple[int, ...] | None, options: Mapping[str, Any], *, strict: bool = True
) -> Account:
    """Account for a target; models and specs need no torch.

    Raises:
        ArgumentError: the target cannot be found or made; the message says what to change.
    """
    if ":" in target:
        if shape is None:
            raise _needs_input(target)
        from .trace import account

        return account(load(target, options), shape, name=target, strict=strict)
    known = get_reference(target) if target in list_models() else None
    if options:
        raise ArgumentError(explain("--set is for module:callable and file.py:callable"))
    try:
        spec = known.spec if known else Spec.parse(target)
    except SpecError as error:
        raise ArgumentError(
            explain(f"{target!r} is not {KINDS}", numbers={"as a spec": str(error).rstrip(".")})
        ) from error
    if shape is None and known is None:
        raise _needs_input(target)
    return plan(spec, shape or known.input_shape, name=target)  # type: ignore[arg-type,union-attr]


def load(target: str, options: Mapping[str, Any]) -> Any:
    """Import `module:callable` or `file.py:callable`, and call it with `options` for a module."""
    place, _, name = target.rpartition(":")
    made = _import(place)
    for part in name.split("."):
        if not hasattr(made, part):
            known = ", ".join(n for n in vars(made) if not n.startswith("_"))[:200]
            raise ArgumentError(explain(f"{place} has no {part!r}", numbers={"it has": known}))
        made = getattr(made, part)
    from torch import nn

    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ArgumentError(explain(f"{target} is no callable", remedy="Name a model's class."))
        try:
            made = made(**options)
        except Exception as error:  # a user's constructor may raise anything
            raise ArgumentError(
                explain(
                    f"{target} could not be called",
                    numbers={type(error).__name__: error},
                    remedy="Give its arguments with --set name=value.",
                )
            ) from error
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ArgumentError(explain(f"{target} gives no torch module", numbers={"it gives": kind}))
    return made


def _import(place: str) -> Any:
    try:
        if place.endswith(".py"):
            path = Path(place)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None or not path.exists():
                raise ArgumentError(explain(f"there is no file {place}"))
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)
            sys.path.insert(0, str(path.resolve().parent))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, "")
        return importlib.import_module(place)
    except ArgumentError:
        raise
    except Exception as error:  # a user's module may raise anything
        raise ArgumentError(
            explain(
                f"{place} could not be imported",
                numbers={type(error).__name__: error},
                remedy="Name it as package.module:callable or path/to/file.py:callable.",
            )
        ) from error


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs; values are Python literals, or else text.

    >>> read_options(["num_classes=10", "weights=None", "mode=fast"])
    {'num_classes': 10, 'weights': None, 'mode': 'fast'}
    """
    options = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.isidentifier():
            raise ArgumentError(
                explain(f"cannot read --set {pair!r}", remedy="Write --set name=value.")
            )
        try:
            options[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[key] = text
    return options


def read_shape(text: str) -> tuple[int, ...]:
    """Read `CxHxW`, or `CxL` or `CxDxHxW`; raises `ArgumentError` on anything else.

    >>> read_shape("3x224x224")
    (3, 224, 224)
    """
    parts = text.lower().replace(",", "x").split("x")
    if not 2 <= len(parts) <= 4 or not all(
        part.strip().isdecimal() and int(part) for part in parts
    ):
        raise ArgumentError(
            explain(
                f"cannot read {text!r} as an input shape",
                remedy="Write channels, height and width, such as 1x28x28.",
            )
        )
    return tuple(map(int, parts))


def _needs_input(target: str) -> ArgumentError:
    return ArgumentError(
        explain(f"{target} does not know its input", remedy="Add --input, such as --input 1x28x28.")
    )
