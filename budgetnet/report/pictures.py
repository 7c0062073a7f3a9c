"""The picture under the overlay: the user's own, or a sample that needs no file."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, explain
from .samples import sample

_SIGNS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
LARGEST = 2 << 20  # bytes of a picture; a report is one file that people mail


def picture(image: str | Path | None, channels: int, height: int, width: int) -> str:
    """A picture as a `data:` address; it is shown stretched over the whole input.

    Raises `ArgumentError` if the file cannot be read, is not a picture, or is too large.
    """
    if image is None:
        return data_address(sample(channels, height, width))
    path = Path(image)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArgumentError(explain(f"cannot read {path}", numbers={"reason": error})) from error
    kind = next((kind for sign, kind in _SIGNS.items() if content.startswith(sign)), None)
    if kind is None:
        raise ArgumentError(
            explain(f"{path} is not a valid picture", remedy="Give a PNG, JPEG or GIF.")
        )
    if len(content) > LARGEST:
        numbers = {"bytes": f"{len(content):,}", "allowed": f"{LARGEST:,}"}
        remedy = "Scale it down; the report holds the picture itself."
        raise ArgumentError(explain(f"{path} is too large", numbers=numbers, remedy=remedy))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def data_address(levels: NDArray[np.uint8]) -> str:
    """A picture as PNG in text: grey levels `(H, W)`, or colours `(H, W, 3)`, 4 with opacity."""
    height, width = levels.shape[:2]
    kind = 0 if levels.ndim == 2 else {3: 2, 4: 6}[levels.shape[2]]
    lines = np.ascontiguousarray(levels).reshape(height, -1)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    packed = zlib.compress(raw, 9)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed)
    content += chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(content).decode()


def footprint_address(footprint: NDArray[np.generic]) -> str:
    """A measured footprint `(H, W)` as a picture over the input: opaque where it is strong."""
    strength = np.abs(np.asarray(footprint, float))
    most = strength.max(initial=0.0)
    # The square root keeps the weak rim visible, which is what one looks for.
    opacity = np.sqrt(strength / most) if most else strength
    colours = np.zeros((*strength.shape, 4), np.uint8)
    colours[..., :3] = (20, 160, 130)
    colours[..., 3] = np.ceil(220 * opacity)
    return data_address(colours)
