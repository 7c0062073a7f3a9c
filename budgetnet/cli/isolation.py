"""Accounts of users' code, each in a process of its own: what it does affects only that process.

A module that a target names may exit, crash, print, change directories and settings of torch, or
have a `helper` beside it whose name another folder uses too. Putting all of that back within one
process cannot be complete (`os._exit` alone ends it), so none of it happens in this one. A process
that ends without an account, however it ends, is an error here, and what is judged is judged here.

Importing torch takes a second or two, so one process, the fork server, does so once, and forks for
every target. It starts no threads and runs no user's code, so that forking it is safe, which is not
true of the caller. This is done on Linux; elsewhere system libraries do not survive a fork, and
every target gets a new process.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import errors
from ..accounting.account import Account
from ..accounting.training import TrainingSetup
from ..errors import ArgumentError, BudgetnetError, explain, one_line

FORKS = sys.platform == "linux"
TOLD = 100_000  # bytes of what a target prints that are passed on
_PROGRAM = """
import sys; sys.path[:] = {path!r}
from budgetnet.cli.isolation import serve; serve(forks={forks!r})
"""


def account_isolated(
    target: str,
    shape: tuple[Any, ...],
    options: Mapping[str, Any],
    *,
    strict: bool,
    base: Path,
    training: tuple[TrainingSetup, ...] = (),
) -> Account:
    """Account for `module:callable` or `file.py:callable` in a process of its own.

    What it prints goes to stderr; its stdin is empty.

    Raises:
        ArgumentError: the target cannot be made or run, or ends the process.
        BudgetnetError: as `account` raises it.
    """
    with tempfile.TemporaryDirectory(prefix="budgetnet-", ignore_cleanup_errors=True) as folder:
        job = {
            "arguments": (target, shape, dict(options), strict, str(base), training),
            "environment": dict(os.environ), "path": sys.path, "argv": sys.argv, "folder": _here(),
        }  # fmt: skip
        Path(folder, "job").write_bytes(pickle.dumps(job))
        ended = _fork_server.run(folder)
        _pass_on(Path(folder, "output"))
        try:
            result = json.loads(Path(folder, "result").read_text(encoding="ascii"))
        except FileNotFoundError:
            raise ArgumentError(
                explain(
                    f"{target} ended the process that was accounting for it",
                    numbers={"it ended with": ended},
                    remedy="Make sure that its import, the callable and forward do not exit.",
                )
            ) from None
    if "account" in result:
        return Account.from_dict(result["account"])
    error: BudgetnetError = getattr(errors, result["error"])(result["message"])
    error.add_note(result["trace"])  # what --debug shows
    raise error


def _here() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return None


def _pass_on(output: Path) -> None:
    """Print what a target has printed on stderr, escaped: it may be read by a terminal or by CI."""
    from .streams import print_note

    with suppress(FileNotFoundError), output.open("rb") as file:
        text = file.read(TOLD).decode("utf-8", "backslashreplace")
        lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
        more = output.stat().st_size - TOLD
        lines += [f"... and {more:,} bytes more"] if more > 0 else []
        if text:
            print_note("\n".join(lines).rstrip("\n"))


class _ForkServer:
    """The other end of `serve`: started when first needed, and kept while this process runs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.owner = 0
        self.lock = threading.Lock()

    def run(self, folder: str) -> str:
        """Do the job that lies in a folder; returns how its process ended."""
        with self.lock:
            if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
                self.process, self.owner = self._start(), os.getpid()
            done = False
            try:
                assert self.process.stdin
                assert self.process.stdout
                self.process.stdin.write(json.dumps(folder) + "\n")
                self.process.stdin.flush()
                answer = self.process.stdout.readline()
                done = FORKS and bool(answer)
                return _how(int(answer)) if answer else _how(self.process.wait())
            except BrokenPipeError:  # it ended between two jobs
                return "no reason given"
            finally:
                if not done:  # Ctrl-C ends what runs, too
                    self.stop()

    def _start(self) -> subprocess.Popen[str]:
        # -P: nothing in the working directory passes for a module of ours. A group of its own: a
        # Ctrl-C reaches this process alone, which then ends the others.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM.format(path=sys.path, forks=FORKS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii", **group,
        )  # fmt: skip

    def stop(self) -> None:
        """End the process, and what it has started."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        with suppress(OSError):
            if os.name == "posix" and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()


_fork_server = _ForkServer()
atexit.register(_fork_server.stop)


def _how(code: int) -> str:
    """How a process ended, of its exit code or the signal that ended it."""
    if code >= 0:
        return f"status {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


# ---------------------------------------------------------------- in the other process


def serve(*, forks: bool) -> None:
    """Do the jobs whose folders are named on stdin, each in a fork of this process or in itself."""
    jobs, answers = os.dup(0), os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    with suppress(BaseException):  # who needs it meets what is wrong with it
        from ..trace import run  # noqa: F401  # and torch
    with os.fdopen(jobs, encoding="ascii") as lines:
        while line := lines.readline():
            folder = Path(json.loads(line))
            if not forks:
                _work(folder)
            with warnings.catch_warnings():  # numpy's idle threads are ready for a fork
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                os.close(lines.fileno())
                os.close(answers.fileno())
                _work(folder)
            print(_wait(child, lines.fileno()), file=answers, flush=True)


def _wait(child: int, jobs: int) -> int:
    """The exit code of a child; the parent may have ended by then, and nothing is left to do."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if select.select([jobs], [], [], 0.002)[0]:
            os.killpg(0, signal.SIGKILL)


def _work(folder: Path) -> None:
    """Do a job and end the process: with a result in its folder, whole, or without."""
    code = 1
    try:
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        for text in (sys.stdout, sys.stderr):
            text.reconfigure(  # type: ignore[union-attr]  # they are of files
                encoding="utf-8", errors="backslashreplace", line_buffering=True
            )
        result = _result(pickle.loads((folder / "job").read_bytes()))  # our own words
        unfinished = folder / "unfinished"
        unfinished.write_text(json.dumps(result), encoding="ascii")
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os.replace(unfinished, folder / "result")
        code = 0
    finally:
        # Neither threads that were left running nor what was registered for the exit matter.
        os._exit(code)


def _result(job: Mapping[str, Any]) -> dict[str, Any]:
    """The account, or what was raised in its place."""
    target, shape, options, strict, base, training = job["arguments"]
    try:
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.path[:], sys.argv[:] = job["path"], job["argv"]
        if job["folder"] is not None:
            os.chdir(job["folder"])
        from .loading import account_here

        account = account_here(
            target, shape, options, strict=strict, base=Path(base), training=training
        )
        return {"account": account.to_dict()}
    except BaseException as error:  # a target may raise anything, and exit
        kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, BudgetnetError)]
        kind = next((name for name in kinds if name in errors.__all__), "")
        if kind in ("", "BudgetnetError"):
            kind, message = "ArgumentError", _unexpected(target, error)
        else:
            message = one_line(error)
        return {"error": kind, "message": message, "trace": _trace(error)}


def _unexpected(target: str, error: BaseException) -> str:
    return explain(
        f"{target} could not be accounted for",
        numbers={type(error).__name__: one_line(error)},
        remedy="--debug shows where it was raised.",
    )


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # its own text may raise
        return type(error).__name__
