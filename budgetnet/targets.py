"""What the command line accounts for: a listed model, a spec, or a callable in a module or file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .accounting import Account
from .errors import ArgumentError, BudgetnetError, FormatError, SpecError, explain, told
from .files import read_text

if TYPE_CHECKING:
    from torch import nn

    from .spec import Spec

KINDS = (
    "a listed model (see budgetnet models), a spec in quotes, module:callable, file.py:callable "
    "or a saved account.json"
)
LONGEST = 18  # digits of a dimension; Python itself refuses to read thousands


def account_target(
    target: str,
    shape: tuple[Any, ...] | None,
    options: Mapping[str, Any],
    *,
    strict: bool = True,
    base: Path = Path(),
) -> Account:
    """Account for a target; models, specs and saved accounts need no torch.

    Paths of files and the search for modules begin at `base`.

    Raises:
        ArgumentError: the target cannot be found, made or run; the message says what to change.
        FormatError: a saved account cannot be read.
    """
    if target.endswith(".json"):
        return _saved(base / target, shape, options)
    if ":" in target:
        if shape is None:
            raise _needs_input(target)
        from .isolation import account_alone

        return account_alone(target, shape, options, strict=strict, base=base)
    spec, shape = _chain(target, shape, options)
    from .spec import plan  # on use: a saved account needs no specs

    return plan(spec, shape, name=target)


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
    from .trace import account

    return account(model, shape, name=target, strict=strict)


@contextmanager
def naming(target: str, shape: tuple[Any, ...]) -> Iterator[None]:
    """Turn what a user's `forward` raises, which may be anything, into an error of the target.

    What it prints goes to stderr.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (BudgetnetError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's forward may raise anything
        shapes = shape if isinstance(shape[0], tuple) else (shape,)
        size = " + ".join("x".join(map(str, one)) for one in shapes)
        raise ArgumentError(
            explain(
                f"{target} could not be run on an input of {size}",
                numbers={type(error).__name__: told(error)},
                remedy="Check the shape of the input, and that forward takes tensors alone.",
            )
        ) from error


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
    if target.endswith(".json"):
        raise ArgumentError(explain(f"{target} is an account, from which no model can be built"))
    if ":" in target:
        if shape is None:
            raise _needs_input(target)
        if weights is not None:
            raise ArgumentError(explain("--weights is for listed models", numbers={"got": target}))
        with redirect_stdout(sys.stderr):
            return load(target, options), shape, None
    from .models import build, get_model, list_models

    spec, shape = _chain(target, shape, options)
    if target in list_models():
        return get_model(target, weights), shape, spec
    if weights is not None:
        raise ArgumentError(explain("--weights is for listed models", numbers={"got": target}))
    return build(spec, shape[0]), shape, spec


def _chain(
    target: str, shape: tuple[Any, ...] | None, options: Mapping[str, Any]
) -> tuple[Spec, tuple[Any, ...]]:
    """The spec of a listed model or of a text, and the shape of its input."""
    from .models import get_reference, list_models  # on use: a saved account needs neither
    from .spec import Spec

    known = get_reference(target) if target in list_models() else None
    if options:
        raise ArgumentError(explain("--set is for module:callable and file.py:callable"))
    try:
        spec = known.spec if known else Spec.parse(target)
    except SpecError as error:
        raise ArgumentError(
            explain(f"{target!r} is not {KINDS}", numbers={"as a spec": str(error).rstrip(".")})
        ) from error
    if shape is None:
        if known is None:
            raise _needs_input(target)
        shape = known.input_shape
    return spec, shape


def _saved(path: Path, shape: tuple[Any, ...] | None, options: Mapping[str, Any]) -> Account:
    if shape is not None or options:
        raise ArgumentError(explain(f"{path} is a saved account: it takes no input and no --set"))
    try:
        return Account.from_json(read_text(path))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


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
        except (MemoryError, RecursionError, TypeError) as error:  # too deep, or no such dict
            raise ArgumentError(
                explain(f"cannot read --set {key}", numbers={"reason": told(error)})
            ) from error
    return options


def read_shape(text: str) -> tuple[Any, ...]:
    """Read `CxHxW`, or `CxL` or `CxDxHxW`; several inputs are joined by a plus sign.

    Raises `ArgumentError` on anything else.

    >>> read_shape("3x224x224"), read_shape("1x28x28+1x14x14")
    ((3, 224, 224), ((1, 28, 28), (1, 14, 14)))
    """
    if "+" in text:
        return tuple(read_shape(part) for part in text.split("+"))
    parts = text.lower().replace(",", "x").split("x")
    if not 2 <= len(parts) <= 4 or not all(
        part.strip().isdecimal() and len(part) <= LONGEST and int(part) for part in parts
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
        explain(
            f"{target} does not know its input",
            remedy='Add --input 1x28x28, or input = "1x28x28" in a file.',
        )
    )
