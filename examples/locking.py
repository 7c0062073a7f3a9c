"""One process at a time in a run folder; a process that is killed leaves nothing that blocks.

The operating system holds the lock and lets go of it when the process ends, in whatever way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from run_folder import FolderError

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone; `FolderError` where another process holds it."""
    try:
        handle = _take(folder)
    except OSError as error:
        if error.errno in BUSY:
            raise FolderError(
                f"{folder} is in use: another process trains in it; wait for its end, or stop it"
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FolderError(f"{folder} is not the folder of a run: {error.strerror}") from error
        handle = None
        print(
            f"{folder} cannot be locked here ({error.strerror}): make sure that no other process "
            "trains in it",
            file=sys.stderr,
        )
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


if sys.platform == "win32":  # pragma: no cover  # of Windows

    def _take(folder: Path) -> int:
        """Lock a byte of a file beside the folder, for a folder cannot be opened."""
        import msvcrt

        folder = folder.resolve(strict=True)
        handle = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(handle)
            raise
        return handle

else:

    def _take(folder: Path) -> int:
        """Lock the folder itself: no file is left, and none can be deleted under the lock."""
        import fcntl

        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError as error:  # which is a busy one where a lock is asked for
            raise FolderError(f"cannot read {folder}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle
