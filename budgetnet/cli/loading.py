"""Users' code: a callable in a module or a file, found, imported and called."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..accounting.account import Account
from ..errors import ArgumentError, explain, told


def account_here(
    target: str,
    shape: tuple[Any, ...],
    options: Mapping[str, Any],
    *,
    strict: bool = True,
    base: Path = Path(),
) -> Account:
    """Account for a callable in this process, with all that it does to it."""
    model = load(target, options, base)
    from ..trace.account import account

    return account(model, shape, name=target, strict=strict)


def load(target: str, options: Mapping[str, Any], base: Path = Path()) -> Any:
    """Import `module:callable` or `file.py:callable`, and call it with `options` for a module."""
    place, _, name = target.rpartition(":")
    made = _import(place, base)
    for part in name.split("."):
        if not hasattr(made, part):
            home = getattr(made, "__name__", "")
            public = [n for n in vars(made) if not n.startswith("_")]
            own = [n for n in public if getattr(vars(made)[n], "__module__", "") == home] or public
            known = ", ".join(own)[:200]
            raise ArgumentError(explain(f"{place} has no {part!r}", numbers={"it has": known}))
        made = getattr(made, part)
    from torch import nn

    if not isinstance(made, nn.Module):
        if not callable(made):
            raise ArgumentError(explain(f"{target} is no callable", remedy="Name a model's class."))
        try:
            made = made(**options)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's constructor may raise anything, and exit
            raise ArgumentError(
                explain(
                    f"{target} could not be called",
                    numbers={type(error).__name__: told(error)},
                    remedy="Give its arguments: --set NAME=VALUE, or in a file set = { ... }.",
                )
            ) from error
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ArgumentError(explain(f"{target} gives no torch module", numbers={"it gives": kind}))
    return made


def _import(place: str, base: Path) -> Any:
    try:
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
    except (ArgumentError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's module may raise anything, and exit
        raise ArgumentError(
            explain(
                f"{place} could not be imported",
                numbers={type(error).__name__: told(error)},
                remedy="Name it as package.module:callable or path/to/file.py:callable.",
            )
        ) from error
