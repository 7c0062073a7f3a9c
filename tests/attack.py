"""What the fuzzers share: a call in a process of its own, within bounds of memory and time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

GIB = 1 << 30


class Ended(NamedTuple):
    """How a call ended: its status, or the exception that left it; what it printed."""

    code: Any
    out: str
    err: str
    seconds: float


def apart(call: Callable[[], Any], *, seconds: float, memory: int = 6 * GIB) -> Ended:
    """Call in a child of this process, which shares what is imported and nothing that changes."""
    reader, writer = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reader)
        os.setsid()
        out, err = io.StringIO(), io.StringIO()
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_addresses() + memory,) * 2)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code: Any = call()
                except SystemExit as stop:
                    code = stop.code
                except BaseException as error:  # whatever it is, it is judged
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{Path(where.filename).name}:{where.lineno}"
                    code = f"{type(error).__name__} at {place}: {str(error)[:100]}"
            result = repr((code, out.getvalue()[-4000:], err.getvalue()[-4000:])).encode()
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(result)
        finally:
            os._exit(0)
    os.close(writer)
    found = _read(reader, started + seconds)
    if found is None:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    took = time.monotonic() - started
    if not found:
        return Ended("no end in time" if found is None else "killed", "", "", took)
    return Ended(*eval(found.decode()), took)  # of strings and numbers that the child made


def _read(handle: int, deadline: float) -> bytes | None:
    found = b""
    with os.fdopen(handle, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            part = pipe.read(1 << 16)
            if not part:
                return found
            found += part


def _addresses() -> int:
    """Bytes of addresses that this process has, of which torch takes gigabytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 16 * GIB


def misbehaved(ended: Ended, allowed: tuple[Any, ...]) -> str:
    """What is wrong with an end: a status that no page describes, or more than a line of error."""
    if ended.code not in allowed:
        return str(ended.code)
    lines = ended.err.splitlines()
    if lines and lines[0].startswith("usage:"):  # the parser's own help stands before its line
        lines = lines[-1:]
    if len(lines) > 1 or (ended.code and not lines and not ended.out):
        return f"{len(lines)} lines of error: {ended.err[:200]!r}"
    told = ended.err.replace("unexpected end of data", "")  # so a codec says it
    if "Traceback" in told + ended.out or "unexpected " in told:
        return f"not foreseen: {ended.err[-200:]!r}"
    return ""


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder by its digest, links as what they point to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def report(tried: int, fell: list[str]) -> None:
    """Say how many fell, and which."""
    sys.stdout.write(f"{tried} tried, {len(fell)} fell\n")
    assert not fell, f"{len(fell)} of {tried} fell:\n" + "\n".join(fell[:60])
