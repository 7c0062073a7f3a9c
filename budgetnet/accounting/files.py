"""Files: text and JSON read strictly, and what is written is written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ArgumentError, FormatError, explain, shown

MOST_BYTES = 1 << 29  # of a file that is read: a device such as /dev/zero has no end


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; write through a device, a pipe or an open descriptor.

    A file is written beside the old one and renamed over it, so that what was there stays until
    then; its permissions and owner stay. Through a link the file that it names is replaced, and the
    link stays.

    Raises:
        ArgumentError: the file cannot be written.
    """
    # Bytes that are not text, as in the name of a file, are shown by their code.
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        descriptor = _descriptor(path)
        if descriptor is not None:
            if sys.stdout is not None:
                sys.stdout.flush()  # what was printed before comes first
            with os.fdopen(os.dup(descriptor), "wb") as open_file:
                open_file.write(data)
            return
        try:
            before = os.stat(path)
        except FileNotFoundError:
            before = None
        if before is None or stat.S_ISREG(before.st_mode):
            _replace(Path(os.path.realpath(path)), before, data)
        elif stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(0, "it is a folder")
        else:
            with os.fdopen(os.open(path, os.O_WRONLY), "wb") as device:  # a pipe waits for a reader
                device.write(data)
    except (OSError, ValueError) as error:
        raise _failed("write", path, error) from error


def _replace(path: Path, before: os.stat_result | None, data: bytes) -> None:
    """Write beside the target first, then rename over it."""
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(0, "it may not be written")
    handle, temporary = tempfile.mkstemp(prefix=".budgetnet-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if before is None:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        else:
            now = os.stat(temporary)
            if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                os.chown(temporary, before.st_uid, before.st_gid)
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too leaves nothing behind
        Path(temporary).unlink(missing_ok=True)
        raise


def _descriptor(path: Path) -> int | None:
    """The open descriptor of this process that a path such as /dev/stdout names, if it does."""
    place = os.path.abspath(path)
    for _ in range(40):  # as many links as the system follows
        folder, name = os.path.split(place)
        if name.isdecimal() and os.path.realpath(folder) in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(name)
        if not os.path.islink(place):
            return None
        place = os.path.normpath(os.path.join(folder, os.readlink(place)))
    return None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; raises `ArgumentError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    except (OSError, ValueError) as error:
        raise _failed("read", path, error) from error
    return data


def read_text(path: Path, *, newlines: bool = False) -> str:
    """The text of a file, every line ended by a single `\\n` unless `newlines` are asked for.

    Raises `ArgumentError` if it cannot be read.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _failed("read", path, error) from error
    return text if newlines else text.replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes) -> Any:
    """JSON as its standard has it: no key twice, no `NaN`, no number beyond a float.

    Raises `ValueError` with the reason on one line.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    except ValueError as error:  # a JSONDecodeError is one; so is a number of 5,000 digits
        raise ValueError(str(error).partition("; use sys.")[0]) from error


def parse_saved(text: str) -> Any:
    """What a file of this library's says; raises `FormatError` if it is not JSON."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise FormatError(explain("this is not JSON", numbers={"reason": error})) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} appears twice")
        found[key] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a valid number")


def _finite(text: str) -> float:
    number = float(text)
    return number if abs(number) != float("inf") else _no_number(shown(text))


def _failed(verb: str, path: Path, error: Exception) -> ArgumentError:
    name = str(path) if str(path).isprintable() else shown(str(path), 200)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ArgumentError(explain(f"cannot {verb} {name}", numbers={"reason": reason}))
