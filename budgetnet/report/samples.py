"""What lies under the receptive fields if no picture was given: drawn here, so that it is nobody's.

A digit for inputs as small as MNIST's, a landscape for images, and waves for all that is neither,
such as sound. Each has parts of many sizes, so that a field of any size has something to show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DIGIT = 40  # positions: a larger input is no digit
_FINEST = 192  # positions of a sample along its longer side
_OVER = 3  # samples per position and axis, for smooth edges

# A seven with a bar and a foot, as strokes between points of the unit square.
_STROKES = (
    ((0.26, 0.24), (0.74, 0.24)),
    ((0.74, 0.24), (0.45, 0.78)),
    ((0.40, 0.52), (0.68, 0.52)),
)


def sample(channels: int, height: int, width: int) -> NDArray[np.uint8]:
    """Levels `(H, W)`, or colours `(H, W, 3)` for inputs of three channels or more."""
    least, most = sorted((height, width))
    finer = min(1.0, _FINEST / most)
    rows, columns = (max(1, round(n * finer)) for n in (height, width))
    if least < 8 or most > 4 * least:
        return _waves(rows, columns)
    if channels == 1 and most <= _DIGIT:
        return _digit(rows, columns)
    scene = _landscape(rows, columns)
    return scene if channels > 1 else np.asarray(scene @ (0.3, 0.59, 0.11), np.uint8)


def _digit(rows: int, columns: int) -> NDArray[np.uint8]:
    """A handwritten-looking digit, light on dark as in MNIST."""
    y, x = (np.arange(n) + 0.5 for n in (rows, columns))
    side = min(rows, columns)
    points = np.stack(
        np.broadcast_arrays(
            (x - columns / 2)[None, :] / side + 0.5, (y - rows / 2)[:, None] / side + 0.5
        ),
        axis=-1,
    )
    away = np.full((rows, columns), np.inf)
    for begin, end in _STROKES:
        start, step = np.array(begin), np.subtract(end, begin)
        along = np.clip(((points - start) @ step) / (step @ step), 0, 1)
        away = np.minimum(away, np.linalg.norm(points - start - along[..., None] * step, axis=-1))
    ink = np.clip((0.075 - away) * max(side, 12) / 2 + 0.5, 0, 1)
    return np.asarray(235 * ink + 12, np.uint8)


def _waves(rows: int, columns: int) -> NDArray[np.uint8]:
    """Waves that become shorter along the longer axis, fainter along the other."""
    y, x = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    along, across = (x, y) if columns >= rows else (y, x)
    swing = np.sin(2 * np.pi * (2 * along + 6 * along**2)) * (1 - 0.8 * across)
    return np.asarray(120 + 80 * swing, np.uint8)


def _landscape(rows: int, columns: int) -> NDArray[np.uint8]:
    """A house between trees under hills, in flat colours, which PNG packs well."""
    y, x = np.meshgrid(
        (np.arange(rows * _OVER) + 0.5) / (rows * _OVER),
        (np.arange(columns * _OVER) + 0.5) / (columns * _OVER),
        indexing="ij",
    )
    paint = np.empty((*y.shape, 3))
    band = np.floor(y * 24)[..., None] / 24  # in steps: a smooth sky would be half of the file
    paint[:] = (126, 178, 224) + band * np.array((150, 90, 10))
    for shape, colour in _parts(x, y):
        paint[shape] = colour
    blocks = paint.reshape(rows, _OVER, columns, _OVER, 3)
    return np.asarray(np.clip(blocks.mean((1, 3)), 0, 255), np.uint8)


def _parts(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> list[tuple[NDArray[np.bool_], tuple[int, int, int]]]:
    """Parts of the landscape from back to front, each with its colour."""

    def disc(column: float, row: float, radius: float) -> NDArray[np.bool_]:
        return (x - column) ** 2 + (y - row) ** 2 < radius**2

    def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.bool_]:
        return (left < x) & (x < right) & (top < y) & (y < bottom)

    def roof(left: float, right: float, top: float, bottom: float) -> NDArray[np.bool_]:
        half = (right - left) / 2
        inside = abs(x - left - half) * (bottom - top) < (y - top) * half
        return inside & (y < bottom)

    far = 0.50 - 0.13 * np.sin(5.2 * x + 0.9) - 0.04 * np.sin(13 * x)
    near = 0.62 - 0.06 * np.sin(4.1 * x + 3.4)
    path = abs(x - 0.545 - 0.5 * (y - 0.80) ** 1) < 0.02 + 0.16 * (y - 0.80)
    return [
        (disc(0.80, 0.20, 0.085), (255, 244, 205)),
        (disc(0.20, 0.17, 0.045) | disc(0.26, 0.15, 0.06) | disc(0.33, 0.175, 0.04),
         (240, 246, 252)),
        (y > far, (120, 142, 170)),
        (y > near, (108, 154, 96)),
        (y > 0.74 - 0.03 * np.sin(6 * x), (134, 178, 92)),
        ((y > 0.80) & path, (222, 204, 160)),
        (box(0.42, 0.56, 0.66, 0.80), (236, 226, 206)),
        (roof(0.38, 0.70, 0.42, 0.57), (176, 74, 58)),
        (box(0.60, 0.43, 0.635, 0.53), (120, 60, 50)),
        (box(0.52, 0.67, 0.57, 0.80), (110, 78, 52)),
        (box(0.445, 0.62, 0.495, 0.68) | box(0.595, 0.62, 0.645, 0.68), (70, 98, 130)),
        (box(0.468, 0.62, 0.472, 0.68) | box(0.618, 0.62, 0.622, 0.68), (236, 226, 206)),
        (box(0.185, 0.66, 0.215, 0.84), (96, 70, 48)),
        (disc(0.20, 0.55, 0.115) | disc(0.135, 0.62, 0.075) | disc(0.265, 0.62, 0.075),
         (58, 110, 66)),
        (box(0.865, 0.70, 0.885, 0.88), (96, 70, 48)),
        (roof(0.79, 0.96, 0.44, 0.66) | roof(0.77, 0.98, 0.54, 0.80), (44, 92, 72)),
        (disc(0.10, 0.93, 0.012) | disc(0.30, 0.90, 0.012) | disc(0.39, 0.95, 0.012)
         | disc(0.72, 0.93, 0.012) | disc(0.93, 0.95, 0.012), (246, 214, 96)),
    ]  # fmt: skip
