"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from .errors import ArgumentError, explain


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the target first, then rename over it; what was there stays until then."""
    temporary = ""
    try:
        place = path.resolve().parent  # through a link, the file itself is replaced
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=place)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if path.exists():
            shutil.copymode(path, temporary)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path.resolve())
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ArgumentError(explain(f"cannot write {path}", numbers={"reason": error})) from error


def read_text(path: Path) -> str:
    """The text of a file; raises `ArgumentError` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(explain(f"cannot read {path}", numbers={"reason": error})) from error
