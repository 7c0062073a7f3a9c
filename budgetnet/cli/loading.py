"""Users' code: a callable in a module or a file, found, imported and called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..accounting.training import TrainingSetup
from ..errors import ArgumentError, explain, names_text, near_names, one_line


def account_here(
    target: str,
    shape: tuple[Any, ...],
    options: Mapping[str, Any],
    *,
    strict: bool = True,
    base: Path = Path(),
    training: tuple[TrainingSetup, ...] = (),
) -> Account:
    """Account for a callable in this process, with all that it does to it."""
    model = load(target, options, base)
    from ..trace.account import account

    found = account(model, shape, name=target, strict=strict)
    if not training:
        return found
    from ..trace.training import training_peaks

    return replace(found, training=training_peaks(model, shape, training))


def load(target: str, options: Mapping[str, Any], base: Path = Path()) -> Any:
    """Import `module:callable` or `file.py:callable`, and call it with `options` for a module."""
    place, _, name = target.rpartition(":")
    module = _import(place, base)
    try:
        made = attrgetter(name)(module)
    except AttributeError as error:
        raise _no_such(place, error, module) from None
    from torch import nn

    if not isinstance(made, nn.Module):
        if not callable(made):
            remedy = "Name a class, or a function that makes the model."
            raise ArgumentError(explain(f"{target} is not callable", remedy=remedy))
        remedy = "Give its arguments: --set NAME=VALUE, or in a file set = { ... }."
        with users_code(f"{target} could not be called", remedy):
            made = made(**options)
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ArgumentError(
            explain(f"{target} does not make an nn.Module", numbers={"it makes": kind})
        )
    return made


def _no_such(place: str, error: AttributeError, module: Any) -> ArgumentError:
    """The error for a name that is not there: near ones, or those that there are."""
    holder = module if error.obj is None else error.obj
    home, found = getattr(holder, "__name__", ""), getattr(holder, "__dict__", {})
    public = [name for name in found if name[:1] != "_" and callable(found[name])]
    public.sort(key=lambda name: getattr(found[name], "__module__", "") != home)  # its own first
    near = near_names(error.name, public, most=3)
    remedy = f"Did you mean {' or '.join(near)}?" if near else f"It has {names_text(public)}."
    return ArgumentError(explain(f"{place} has no {error.name!r}", remedy=remedy))


def _import(place: str, base: Path) -> Any:
    remedy = "Name it as package.module:callable or path/to/file.py:callable."
    with users_code(f"{place} could not be imported", remedy, passing=ArgumentError):
        if place.endswith(".py"):
            path = base / place
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None or not path.exists():
                raise ArgumentError(explain(f"there is no file {path}"))
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)
            sys.path.insert(0, str(path.resolve().parent))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, str(base) if base != Path() else "")
        return importlib.import_module(place)


@contextmanager
def users_code(
    what: str, remedy: str, passing: type[BaseException] = KeyboardInterrupt
) -> Iterator[None]:
    """Turn whatever users' code raises, and its exits, into one error; Ctrl-C and `passing` pass.

    Raises:
        ArgumentError: of `what`, with the exception's own words and a `remedy`.
    """
    try:
        yield
    except (KeyboardInterrupt, passing):
        raise
    except BaseException as error:  # users' code may raise anything, and exit
        numbers = {type(error).__name__: one_line(error)}
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy)) from error
