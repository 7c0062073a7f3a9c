"""Exact integer arithmetic of convolutions and poolings: output sizes, weights and MACs.

A `Sliding` describes all axes of one of them. The formulas accept ints and integer arrays, so a
search can evaluate many networks at once with the same functions that account for one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from operator import index
from typing import Any, TypeAlias

from ..errors import ArgumentError, ShapeError, explain, shown
from .table import compact, shape_text
from .window import Pair, Window

__all__ = [
    "Sliding",
    "ceil_size",
    "conv_macs",
    "conv_size",
    "conv_weights",
    "same_padding",
    "scaled_channels",
]

Count: TypeAlias = Any  # an int, or an integer array


@dataclass(frozen=True, slots=True)
class Sliding:
    """How a convolution or pooling slides over a map: one entry per spatial axis.

    `padding` holds a pair per axis, before and after, since `padding="same"` with an even kernel
    pads unevenly.

    >>> Sliding((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)).output_size((28, 28))
    (28, 28)
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...] = (1, 1)
    ceil_mode: bool = False

    @property
    def windows(self) -> tuple[Window, ...]:
        """One `Window` per axis."""
        axes = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple([_window(k, s, pad[0], d) for k, s, pad, d in axes])

    def output_size(self, size: tuple[int, ...], where: str = "") -> tuple[int, ...]:
        """Spatial size of the output for an input of spatial size `size`.

        Raises `ShapeError`, naming the layer at `where`, when the kernel does not fit.
        """
        formula = ceil_size if self.ceil_mode else conv_size
        axes = zip(size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        out = tuple([formula(*axis) for axis in axes])
        if min(out) < 1:
            raise ShapeError(
                explain(
                    "the kernel does not fit into the map",
                    where=where,
                    numbers={"kernel / stride / padding": self, "map": shape_text(size)},
                    remedy="Use a larger input, fewer strides before this layer, or more padding.",
                )
            )
        return out

    @property
    def spread_windows(self) -> tuple[Window, ...]:
        """One `Window` per axis of a transposed convolution."""
        axes = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple([Window.transposed(k, s, pads[0], d) for k, s, pads, d in axes])

    def spread_size(
        self, size: tuple[int, ...], more: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """Spatial size of the output of a transposed convolution for an input of `size`.

        `more` is the output padding of each axis.
        """
        more = more or (0,) * len(size)
        axes = zip(size, self.kernel, self.stride, self.padding, self.dilation, more, strict=True)
        out = tuple([(n - 1) * s - sum(pads) + d * (k - 1) + extra + 1
                     for n, k, s, pads, d, extra in axes])  # fmt: skip
        if min(out) < 1:
            raise ShapeError(
                explain("the output map would be empty", numbers={"size": compact(out)})
            )
        return out

    def __str__(self) -> str:
        """Kernel / stride / padding, with the dilation if it is not 1."""
        pads = [str(lo) if lo == hi else f"{lo}+{hi}" for lo, hi in self.padding]
        parts = [shape_text(self.kernel), compact(self.stride), compact(pads)]
        if any(d != 1 for d in self.dilation):
            parts.append("d" + compact(self.dilation))
        return " / ".join(parts)


# Networks repeat few distinct windows, and axes that share one are composed once.
_window = lru_cache(maxsize=4096)(Window.sliding)


LONGEST = 18  # digits of a dimension; Python itself refuses to read thousands
SIZE = r"\s*0*[1-9][0-9]*\s*"  # of a dimension as text
_SIZE = re.compile(SIZE)


def check_shape(shape: Any, axes: int | None = 2) -> tuple[int, ...]:
    """Return an input shape as a tuple of positive ints, or raise `ArgumentError`.

    It is `(C, H, W)` for two spatial axes; `axes=None` allows up to three, or none. Text such as
    "1x28x28" is a shape as well, and so is a tensor or an array, whose first axis is the batch.

    >>> check_shape("1x28x28")
    (1, 28, 28)
    """
    given = parse_shape(shape) if isinstance(shape, str) else shape
    size = getattr(given, "shape", None)
    if isinstance(size, tuple) and len(size) > 1:  # of a row of numbers the values are the shape
        given = size[1:]
    try:
        values = tuple(index(n) for n in given)
    except TypeError:
        values = ()
    fits = 1 <= len(values) <= 4 if axes is None else len(values) == 1 + axes
    if fits and min(values) > 0:
        return values
    most = 4 if axes is None else 1 + axes
    without_batch = values[1:] if len(values) == most + 1 and min(values) > 0 else ()
    raise ArgumentError(
        explain(
            f"{shown(shape)} is not a valid input shape",
            numbers={"expected": "positive whole numbers, without the batch"},
            remedy=f"Did you mean {without_batch}?"
            if without_batch
            else "Pass (channels, height, width), such as (1, 28, 28).",
        )
    )


def parse_shape(text: str) -> tuple[Any, ...]:
    """Read `CxHxW`, or `F`, `CxL` or `CxDxHxW`; several inputs are joined by a plus sign.

    Raises `ArgumentError` on anything else.

    >>> parse_shape("3x224x224"), parse_shape("1x28x28+1x14x14")
    ((3, 224, 224), ((1, 28, 28), (1, 14, 14)))
    """
    if "+" in text:
        return tuple(parse_shape(part) for part in text.split("+"))
    parts = text.lower().replace(",", "x").split("x")
    if len(parts) > 4 or not all(len(part) <= LONGEST and _SIZE.fullmatch(part) for part in parts):
        raise ArgumentError(
            explain(
                f"{shown(text)} is not a valid input shape",
                remedy="Write channels, height and width, such as 1x28x28.",
            )
        )
    return tuple(map(int, parts))


def shapes_of(shape: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """The shapes of all inputs, given a single shape or a tuple of shapes.

    >>> shapes_of((1, 28, 28)), shapes_of(((1, 28, 28), (4,)))
    (((1, 28, 28),), ((1, 28, 28), (4,)))
    """
    return tuple(shape) if shape and isinstance(shape[0], tuple) else (tuple(shape),)


def as_tuples(value: Any) -> Any:
    """Nested lists from JSON, converted to nested tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def conv_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Output positions along one axis: `(n + p_lo + p_hi - d*(k - 1) - 1) // s + 1`.

    >>> conv_size(28, kernel=3, stride=2, padding=(1, 1), dilation=1)
    14
    """
    return (size + padding[0] + padding[1] - dilation * (kernel - 1) - 1) // stride + 1


def ceil_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Output positions of a pooling with `ceil_mode=True`.

    The division rounds up, and a last window that would start in the padding after the input is
    dropped, as in `torch.nn.MaxPool2d`.

    >>> ceil_size(5, kernel=2, stride=2, padding=(0, 0), dilation=1)
    3
    """
    span = size + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    count = -(-span // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding[0] else count


def same_padding(kernel: int, dilation: int = 1) -> Pair:
    """Padding that keeps the size at stride 1; the larger half goes after the map, as in torch.

    >>> same_padding(3), same_padding(4)
    ((1, 1), (1, 2))
    """
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def even_padding(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...] | None:
    """What `same_padding` puts on either side of each axis; `None` where the sides differ.

    >>> even_padding((3, 5), (2, 1)), even_padding((3, 4), (1, 1))
    ((2, 2), None)
    """
    pads = [same_padding(k, d) for k, d in zip(kernel, dilation, strict=True)]
    return tuple([lo for lo, _ in pads]) if all(lo == hi for lo, hi in pads) else None


def scaled_channels(channels: Count, ratio: float, divisor: int = 1) -> Count:
    """`channels * ratio` as a whole number: the nearest one, or the nearest multiple of a divisor.

    A multiple is at most a tenth below the product; the result is at least `divisor`.

    >>> scaled_channels(24, 0.25), scaled_channels(24, 0.25, 8), scaled_channels(12, 1.0, 8)
    (6, 8, 16)

    Source: `make_divisible` of MobileNet, as torchvision and timm have it.
    """
    product = channels * ratio
    if divisor == 1 and not isinstance(channels, int):
        import numpy as np  # on use: files are read without it

        return np.maximum(1, np.rint(product).astype(np.int64))
    if divisor == 1:
        return max(1, round(product))
    nearest = max(divisor, int(product + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * product else nearest


def conv_weights(
    in_channels: Count, out_channels: Count, kernel: tuple[int, ...], groups: int = 1
) -> Count:
    """Weights of a convolution, without bias: `out * (in / groups) * prod(kernel)`.

    >>> conv_weights(16, 32, (3, 3))
    4608
    """
    return out_channels * (in_channels // groups) * prod(kernel)


def conv_macs(weights: Count, positions: Count) -> Count:
    """Multiply-accumulates of a convolution: each weight once at each output position.

    Taps that fall on zero padding count, as they do in torchvision's published figures.
    """
    return weights * positions
