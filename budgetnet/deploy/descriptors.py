"""What libraries print from C++, past Python's own streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_into(descriptor: int) -> Iterator[None]:
    """Send what this process writes to its standard error elsewhere for a while."""
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def without_stderr() -> Iterator[None]:
    """Drop what this process writes to its standard error for a while."""
    with open(os.devnull, "wb") as nowhere, stderr_into(nowhere.fileno()):
        yield
