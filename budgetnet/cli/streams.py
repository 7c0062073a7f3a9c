"""Where text leaves a command: stdout and stderr, whatever they are connected to.

What a check has found is its status, which must not hang on a reader that leaves or on the
encoding of a console: see `allow_all_characters` and `print_result`. What comes from a model, such
as the names of its layers, is escaped when a line is made of it: see `table.visible`.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..accounting.table import Table, visible, visible_lines
from ..accounting.terminal import show
from ..errors import ArgumentError, explain

LONGEST = 2_000  # characters of an error: a line that one can read
_PLAIN = str.maketrans({
    "×": "x", "·": ".", "…": "...", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "±": "+-",
    "–": "-", "—": "-", "−": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "✓": "ok", "✗": "x",
})  # fmt: skip


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """ASCII that reads like what an encoding lacks: `-` for a rule, `x` for a times sign."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(sign: str) -> str:
    plain = sign.translate(_PLAIN)
    if plain.isascii():
        return plain
    name = unicodedata.name(sign, "")
    if name.startswith("BOX DRAWINGS"):
        return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("budgetnet.readable", _spelt)


@contextmanager
def allow_all_characters() -> Iterator[None]:
    """Let stdout and stderr take every character, those that their encoding lacks as ASCII.

    A pipe on Windows has the code page of the console, and PYTHONIOENCODING may ask for any. What
    was closed leads nowhere, so that no file that is opened later takes its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):
                before = stream.errors
                stream.reconfigure(errors="budgetnet.readable")
                changed.append((stream, before))
    try:
        yield
    finally:
        for stream, before in changed:
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=before)


def print_result(*parts: Table | str) -> None:
    """Print tables and lines on stdout; what a model may have named is escaped in them.

    A reader that has left, such as `head` or `true`, misses the rest, and nothing else changes.
    """
    _write(sys.stdout, *parts)


def print_raw_result(text: str) -> None:
    """Print what is of a format with an escaping of its own, as it is."""
    _write(sys.stdout, text, raw=True)


def _write(stream: TextIO | None, *parts: Table | str, raw: bool = False) -> None:
    if stream is None:  # the process was started without it
        return
    try:
        if raw:
            stream.write("".join(f"{part}\n" for part in parts))
        else:
            show(stream, *parts)
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
    except (OSError, ValueError) as error:  # a full disk; a file that is closed
        _discard(stream)
        raise _unwritten(error) from error


def _unwritten(error: Exception) -> ArgumentError:
    return ArgumentError(
        explain(
            "stdout could not be written",
            numbers={"reason": error},
            remedy="Redirect it to a place with free space.",
        )
    )


def _discard(stream: TextIO) -> None:
    """Discard the rest, so that Python does not fail to flush it at exit."""
    with suppress(OSError, ValueError):
        nobody = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nobody, stream.fileno())
        finally:
            os.close(nobody)


def print_note(text: str) -> None:
    """Print lines beside the result, on stderr; where that cannot be written, they are lost."""
    with suppress(ArgumentError):
        _write(sys.stderr, visible_lines(text), raw=True)


def print_raw_note(text: str) -> None:
    """The same for what has an escaping of its own."""
    with suppress(ArgumentError):
        _write(sys.stderr, text, raw=True)


def print_error(text: str) -> None:
    """Print an error as one line on stderr."""
    line = visible(" ".join(text.split("\n")))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print_note(f"budgetnet: {line}")


def print_mark(mark: str) -> None:
    """Print where in a text an error is, for someone who reads it on a terminal."""
    if mark and sys.stderr is not None and sys.stderr.isatty():
        print_note(mark)


def final_status(code: int) -> int:
    """The status, once all is written: 2 where stdout did not take what it was to hold."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except (OSError, ValueError) as error:
        print_error(str(_unwritten(error)))
        _discard(sys.stdout)
        code = 130 if code == 130 else 2
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)
    return code
