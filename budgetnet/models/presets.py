"""Presets: transforms from an image to the tensor that a trained network expects.

They work like torchvision's presets, without needing torchvision.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ArgumentError, explain

SHAPES = "(H, W), (1, H, W) or (N, 1, H, W)"
EIGHT_BIT = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "PA", "La", "RGBa")
SLACK = 1e-5  # resizing in float32 may pass 1 by a rounding error


class GreyImage(nn.Module):
    """Prepare a grey image: scale to 0..1, resize to `size` x `size`, then `(x - mean) / std`.

    It takes a PIL image, a numpy array or a tensor: uint8, or floating-point from 0 to 1, of shape
    `(H, W)` or `(1, H, W)`, which give `(1, size, size)`, or `(N, 1, H, W)`, which gives
    `(N, 1, size, size)`; always float32, on the device of the input. PIL converts colours to grey
    and drops transparency. Other sizes are resized (bilinear, antialiased) without keeping their
    proportions, so crop a square first. Ink must be as bright as in training: white on black
    for MNIST, and clothes on black for Fashion-MNIST.

    Raises:
        ArgumentError: a type, shape or range is not valid; a `ValueError`.

    >>> GreyImage()(torch.zeros(5, 1, 56, 56)).shape
    torch.Size([5, 1, 28, 28])
    >>> GreyImage(mean=0.5, std=0.5)(np.full((28, 28), 255, np.uint8)).unique()
    tensor([1.])
    """

    def __init__(self, *, size: int = 28, mean: float = 0.1307, std: float = 0.3081) -> None:
        """Take the preset's settings."""
        super().__init__()
        self.size, self.mean, self.std = size, mean, std

    def forward(self, image: Any) -> Tensor:
        """`(H, W)`, `(1, H, W)` or `(N, 1, H, W)` to `(1, size, size)` or `(N, 1, size, size)`."""
        pixels = _to_tensor(image)
        _check_shape(pixels)
        scaled = pixels.float().div(255) if pixels.dtype == torch.uint8 else _in_range(pixels)
        batch = scaled.reshape(-1, 1, *scaled.shape[-2:])
        if (self.size, self.size) != batch.shape[-2:]:
            size = (self.size, self.size)
            batch = F.interpolate(batch, size, mode="bilinear", antialias=True)
        batch = batch.sub(self.mean).div(self.std)
        return batch if pixels.ndim == 4 else batch[0]

    def extra_repr(self) -> str:
        """The settings, as `repr` shows them."""
        return f"size={self.size}, mean={self.mean}, std={self.std}"


def _to_tensor(image: Any) -> Tensor:
    """The pixels as a tensor of the same numbers; colours of a PIL image become grey."""
    pillow = sys.modules.get("PIL.Image")  # an image exists only if it is imported
    if pillow is not None and isinstance(image, pillow.Image):
        if image.mode not in EIGHT_BIT:  # PIL would clip these without a word
            raise _refused(f"a PIL image of mode {image.mode!r}", "an image of 8 bits a channel")
        image = np.array(image.convert("L"))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 and image.dtype.kind != "f":
            raise _refused_type(image.dtype)
        # A copy: torch takes neither negative strides nor foreign byte order, and warns of arrays
        # that are not writable.
        kind = np.uint8 if image.dtype == np.uint8 else np.float32
        return torch.from_numpy(np.array(image, dtype=kind, order="C"))
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise _refused_type(str(image.dtype).removeprefix("torch."))
        return image
    raise _refused(type(image).__name__, "a PIL image, a numpy array or a tensor")


def _check_shape(pixels: Tensor) -> None:
    shape = tuple(pixels.shape)
    is_grey = pixels.ndim == 2 or (pixels.ndim == 3 and shape[0] == 1)
    if not (is_grey or (pixels.ndim == 4 and shape[1] == 1)):
        hints = {
            3: "A stack of images needs its channel: images[:, None].",
            4: "Average the channels of colour images: images.mean(1, keepdim=True).",
        }
        raise ArgumentError(
            explain(
                "this is not a valid shape of grey images",
                where="image",
                numbers={"got": shape, "expected": SHAPES},
                remedy=hints.get(pixels.ndim, ""),
            )
        )
    if 0 in shape:
        raise ArgumentError(explain("there are no pixels", where="image", numbers={"got": shape}))


def _in_range(pixels: Tensor) -> Tensor:
    low, high = pixels.min().item(), pixels.max().item()
    if low >= -SLACK and high <= 1 + SLACK:  # NaN is neither
        return pixels.float()
    remedy = "Clean up values that are not numbers."
    if low < 0:
        remedy = "Pass pixels as they are, not normalised: that happens here."
    elif high > 1:
        remedy = "Divide pixels of 0 to 255 by 255, or pass them as uint8."
    raise ArgumentError(
        explain(
            "floating-point pixels must lie from 0 to 1",
            where="image",
            numbers={"least": f"{low:g}", "greatest": f"{high:g}"},
            remedy=remedy,
        )
    )


def _refused(got: str, expected: str) -> ArgumentError:
    return ArgumentError(
        explain(
            "this is not a valid image", where="image", numbers={"got": got, "expected": expected}
        )
    )


def _refused_type(dtype: object) -> ArgumentError:
    return _refused(f"numbers of type {dtype}", "uint8, or floating-point from 0 to 1")
