"""What a target that does not exist may have meant, found without importing users' code."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from ..errors import names_text, near_names
from ..spec.references import list_models

_REGISTERED = re.compile(r"^@register_model\(.*?^def (\w+)", re.DOTALL | re.MULTILINE)


def suggest_target(target: str, base: Path = Path()) -> str:
    """The next step after a target that is not a listed model, a spec or a file, or "" for none.

    >>> suggest_target("S6")
    "Did you mean 's6'?"
    """
    if target.endswith(".py"):
        return _suggest_callable(target, base / target)
    if " " in target or not target:
        return ""
    listed = list_models()
    near = near_names(target, [*listed, *_torchvision_models()])
    if near and near[0] in listed:
        return f"Did you mean {near[0]!r}?"
    if near:
        return f"Did you mean torchvision.models:{near[0]} with --input 3x224x224?"
    package = target.partition(".")[0]
    if package.isidentifier() and find_spec(package):
        return f"It is a module: name a callable in it, as {target}:NAME."
    return ""


def _suggest_callable(target: str, path: Path) -> str:
    try:
        body = ast.parse(path.read_bytes()).body
    except OSError:
        return f"There is no file {path}."
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # of no Python, or nested deeply
        return f"Name a callable in it, as {target}:NAME."
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in body if isinstance(node, kinds) and node.name[0] != "_"]
    if not names:
        return "It defines no function and no class."
    return f"Name a callable in it, as {target}:{names[0]} (it has {names_text(names)})."


def _torchvision_models() -> list[str]:
    """Names of torchvision's models, read from its files: to import it takes seconds."""
    package = find_spec("torchvision")
    folders = (package.submodule_search_locations or []) if package else []
    files = [file for folder in folders for file in Path(folder).glob("models/*.py")]
    return [name for file in files for name in _REGISTERED.findall(file.read_text("utf-8"))]
