"""Blocks of decoders: from small maps back to large ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .arguments import (
    ActivationLayer,
    NormLayer,
    Size,
    check_at_least,
    invalid,
    strides_of,
)
from .concat import join
from .convolution import conv_and_linear

MODES = ("nearest", "bilinear", "transposed")


class UpBlock(nn.Module):
    """Enlarge, join a skip connection, two convolutions: to `(N, C_out, scale * H, scale * W)`.

    Called with `(N, C_in, H, W)`, and with a map `(N, skip_channels, scale * H, scale * W)` where
    `skip_channels` is not 0; its channels come last. "nearest" and "bilinear" enlarge without
    weights; "transposed" by a transposed convolution to `C_out` channels, whose kernel and stride
    are `scale`, with `C_out * (C_in * scale * scale + 1)` parameters. With `C` channels after that
    (`C_in` or `C_out`) and `S` of the second input, the convolutions have
    `k * k * C_out * (C + S + C_out)` weights; BatchNorm adds `4 * C_out`. Children are
    named `up`, `conv1` and `conv2`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of both convolutions; odd, an int or a pair.
        scale: how many times higher and wider the output is.
        skip_channels: channels of the second input; 0 means that there is none.
        mode: "nearest", "bilinear" or "transposed".
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid, or, when it runs, the skip connection is missing
            or of another size; a `ValueError`.

    Source: Ronneberger, Fischer and Brox, "U-Net", 2015, arXiv:1505.04597.

    >>> import torch
    >>> from budgetnet import blocks
    >>> up = blocks.UpBlock(32, 16, skip_channels=16)
    >>> up(torch.zeros(2, 32, 7, 7), torch.zeros(2, 16, 14, 14)).shape
    torch.Size([2, 16, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        *,
        scale: int = 2,
        skip_channels: int = 0,
        mode: str = "nearest",
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        super().__init__()
        check_at_least(
            "UpBlock", 1, in_channels=in_channels, out_channels=out_channels, scale=scale
        )
        check_at_least("UpBlock", 0, skip_channels=skip_channels)
        strides_of("UpBlock", 1, kernel_size, 1)
        if mode not in MODES:
            raise invalid("UpBlock", "mode", mode, f"Pass one of {', '.join(MODES)}.")
        self.skip_channels = skip_channels
        self.up: nn.Module
        if mode == "transposed":
            self.up = nn.ConvTranspose2d(
                in_channels, out_channels, scale, scale, device=device, dtype=dtype
            )
        else:
            self.up = nn.Upsample(scale_factor=scale, mode=mode)
        width = (out_channels if mode == "transposed" else in_channels) + skip_channels
        conv, _ = conv_and_linear(norm_layer, activation_layer, device, dtype)
        self.conv1 = conv(width, out_channels, kernel_size)
        self.conv2 = conv(out_channels, out_channels, kernel_size)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Enlarge `x`, join `skip` to it, and convolve."""
        x = self.up(x)
        if (skip is None) == bool(self.skip_channels):
            given = None if skip is None else tuple(skip.shape)
            remedy = f"The block was made with skip_channels={self.skip_channels}."
            raise invalid("UpBlock", "skip", given, remedy)
        if skip is not None:
            x = join("UpBlock", {"enlarged": x, "skip": skip})
        out: Tensor = self.conv2(self.conv1(x))
        return out
