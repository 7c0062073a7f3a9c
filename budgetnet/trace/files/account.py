"""`account` of a file: the network that ships, whichever tool wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ...accounting.account import Account
from ...accounting.files import read_bytes
from ...accounting.geometry import parse_shape
from ...accounting.table import shape_text
from ...errors import ArgumentError, explain, shown
from .maps import Shape
from .onnx_rows import account_of_onnx
from .tflite_rows import account_of_tflite

SUFFIXES = (".onnx", ".tflite")


def is_file(value: Any) -> TypeGuard[str | Path]:
    """Whether a value names a file that holds a network.

    >>> is_file("net.tflite"), is_file("c16 p gap10")
    (True, False)
    """
    return isinstance(value, str | Path) and str(value).lower().endswith(SUFFIXES)


def account_of_file(
    path: str | Path, input_shape: Any = None, *, name: str = "", strict: bool = True
) -> Account:
    """The account of a `.tflite` or `.onnx` file, see `account`."""
    path = Path(path)
    given = None if input_shape is None else _shapes(input_shape)
    data, title = read_bytes(path), name or path.name
    if str(path).lower().endswith(".onnx"):
        return account_of_onnx(data, str(path), title, given, strict=strict)
    found = account_of_tflite(data, str(path), title, strict=strict)
    if given is not None and tuple(given) != found.input_shapes:
        numbers = {"it has": found.input_text, "asked for": " + ".join(map(shape_text, given))}
        what, remedy = f"{path} is for a different input shape", "Leave the shape out."
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy))
    return found


def _shapes(given: Any) -> Sequence[Shape]:
    """One shape for each input, of text, of numbers, or of several of these."""
    shape = parse_shape(given) if isinstance(given, str) else given
    shape = getattr(shape, "shape", (None, *shape))[1:] if hasattr(shape, "shape") else shape
    several = isinstance(shape, list | tuple) and all(isinstance(s, list | tuple) for s in shape)
    found = tuple(map(tuple, shape)) if several else (tuple(shape),)
    if not all(type(n) is int and n > 0 for one in found for n in one):
        remedy = "Pass (channels, height, width), such as (1, 28, 28)."
        raise ArgumentError(explain(f"{shown(given)} is not a valid input shape", remedy=remedy))
    return found
