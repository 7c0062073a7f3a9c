"""The blocks of DenseNet: every layer sees the outputs of all before it."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .arguments import ActivationLayer, NormLayer, Size, check_at_least, strides_of
from .convolution import BNReLUConv


class DenseLayer(nn.Sequential):
    """Append channels to those of the input: `(N, C, H, W)` to `(N, C + growth, H, W)`.

    Norm, activation and 1x1 convolution to `B = bottleneck * growth` channels, then norm,
    activation and convolution to `growth`; the block pads, so that the size stays. Weights:
    `C * B + k * k * B * growth`; BatchNorm adds `2 * C + 2 * B`. Without bottleneck
    `k * k * C * growth + 2 * C`. Children are named `reduce` and `grow`, each a `BNReLUConv`.

    Args:
        in_channels: `C`, channels of the input.
        growth_rate: channels that the layer adds.
        kernel_size: of the second convolution; odd, an int or a pair.
        bottleneck: width between the convolutions by `growth_rate`; `None` drops the first one.
        dilation: of the second convolution; an int or a pair.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        dropout: probability with which an added channel is dropped; 0 adds no layer.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Huang et al., "Densely Connected Convolutional Networks", 2016, arXiv:1608.06993.

    >>> import torch
    >>> from budgetnet import blocks
    >>> layer = blocks.DenseLayer(64, 32)
    >>> layer(torch.zeros(2, 64, 8, 8)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([2, 96, 8, 8]), 45440)
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        kernel_size: Size = 3,
        *,
        bottleneck: int | None = 4,
        dilation: Size = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("DenseLayer", 1, in_channels=in_channels, growth_rate=growth_rate)
        strides_of("DenseLayer", 1, kernel_size, dilation)
        conv = partial(
            BNReLUConv,
            norm_layer=norm_layer,
            activation_layer=activation_layer,
            device=device,
            dtype=dtype,
        )
        layers: dict[str, nn.Module] = {}
        width = in_channels
        if bottleneck is not None:
            check_at_least("DenseLayer", 1, bottleneck=bottleneck)
            width = bottleneck * growth_rate
            layers["reduce"] = conv(in_channels, width, 1)
        layers["grow"] = conv(width, growth_rate, kernel_size, dilation=dilation, dropout=dropout)
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers, and join what they give to their input."""
        added: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch's own
        return torch.cat([x, added], dim=-3)


class DenseBlock(nn.Sequential):
    """Dense layers in a row: `(N, C, H, W)` to `(N, C + num_layers * growth, H, W)`.

    Parameters: those of `num_layers` `DenseLayer`s, whose inputs have `C`, `C + growth`, ...
    channels. Children are named `layer1`, `layer2` and so on. DenseNet has
    `Sequential(BNReLUConv(C, C // 2, 1), AvgPool(2))` between its blocks.

    Args:
        in_channels: `C`, channels of the input.
        growth_rate: channels that each layer adds.
        num_layers: number of layers.
        kernel_size: as in `DenseLayer`.
        options: what else `DenseLayer` takes, by keyword.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Huang et al., "Densely Connected Convolutional Networks", 2016, arXiv:1608.06993.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.DenseBlock(64, 32, 6).parameters())
    335040
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        num_layers: int,
        kernel_size: Size = 3,
        **options: Any,
    ) -> None:
        """Check the number of layers and make them."""
        check_at_least(
            "DenseBlock",
            1,
            in_channels=in_channels,
            growth_rate=growth_rate,
            num_layers=num_layers,
        )
        widths = range(in_channels, in_channels + num_layers * growth_rate, growth_rate)
        layers = (DenseLayer(width, growth_rate, kernel_size, **options) for width in widths)
        super().__init__(OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers, 1)))
