"""The block of MobileNetV1: a convolution split into depthwise and 1x1."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from .arguments import ActivationLayer, NormLayer, Size, check_at_least
from .convolution import conv_and_linear


class DepthwiseSeparable(nn.Sequential):
    """Depthwise convolution, then a 1x1 convolution, each with norm and activation.

    `(N, C_in, H, W)` to `(N, C_out, H', W')`. Weights: `C_in * k * k + C_in * C_out`. Children are
    named `depthwise` and `pointwise`, each a `ConvBNReLU`.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Howard et al., "MobileNets", 2017, arXiv:1704.04861.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.DepthwiseSeparable(16, 32).parameters())
    752
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        padding: Size | str | None = None,
        dilation: Size = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least(type(self).__name__, 1, in_channels=in_channels, out_channels=out_channels)
        conv, _ = conv_and_linear(norm_layer, activation_layer, device, dtype)
        depthwise = conv(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
        )
        pointwise = conv(in_channels, out_channels, 1, dropout=dropout)
        super().__init__(OrderedDict(depthwise=depthwise, pointwise=pointwise))
