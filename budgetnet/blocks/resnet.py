"""The two blocks of ResNet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from .arguments import (
    ActivationLayer,
    NormLayer,
    Size,
    SqueezeLayer,
    check_at_least,
    check_groups,
    check_probability,
    invalid,
    strides_of,
)
from .convolution import conv_and_linear
from .drop_path import DropPath
from .residual import Residual


class BasicBlock(Residual):
    """Two convolutions and a shortcut, activated after the sum; the first convolution strides.

    `(N, C_in, H, W)` to `(N, C_out, H', W')` with `H' = (H - 1) // s + 1`: the block pads. Where
    the stride is not 1 or the widths differ, the shortcut is a 1x1 convolution with norm. Weights:
    `k * k * C_out * (C_in + C_out)`, and `C_in * C_out` for that shortcut; each BatchNorm, two or
    three, adds `2 * C_out`. Children are those of `Residual`; its body has `conv1`, `conv2` and
    `drop`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of both convolutions; odd, an int or a pair.
        stride: of the first convolution and of the shortcut; an int or a pair.
        dilation: of both convolutions; an int or a pair.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        drop_path: probability with which `DropPath` drops the body of an example.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.BasicBlock(64, 128, stride=2).parameters())
    230144
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        dilation: Size = 1,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        drop_path: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("BasicBlock", 1, in_channels=in_channels, out_channels=out_channels)
        strides = strides_of("BasicBlock", stride, kernel_size, dilation)
        conv, linear = conv_and_linear(norm_layer, activation_layer, device, dtype)
        body: dict[str, nn.Module] = {
            "conv1": conv(in_channels, out_channels, kernel_size, strides, dilation=dilation),
            "conv2": linear(out_channels, out_channels, kernel_size, dilation=dilation),
        }
        fits = strides == (1, 1) and in_channels == out_channels
        shortcut = None if fits else linear(in_channels, out_channels, 1, strides)
        super().__init__(
            _body("BasicBlock", body, drop_path), shortcut, activation_layer=activation_layer
        )


class Bottleneck(Residual):
    """Narrow by 1x1, convolve, widen by 1x1, and a shortcut, activated after the sum.

    `(N, C_in, H, W)` to `(N, C_out, H', W')` with `H' = (H - 1) // s + 1`: the block pads. The
    middle convolution has the stride, as in torchvision. Where the stride is not 1 or the widths
    differ, the shortcut is a 1x1 convolution with norm. With hidden width `C` and `g` groups,
    weights are `C_in * C + k * k * C * C / g + C * C_out`, and `C_in * C_out` for that shortcut;
    BatchNorm adds `4 * C + 2 * C_out`, and `2 * C_out` for that shortcut. Children are those
    of `Residual`; its body has `conv1`, `conv2`, `se`, `conv3` and `drop`.

    ResNeXt-50 32x4d has `groups=32, base_width=4`; Wide ResNet-50 has `base_width=128`. RegNet has
    `hidden_channels=out_channels`, groups of one width, and RegNetY
    `partial(SqueezeExcite, squeeze_channels=in_channels // 4)` as `se_layer`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, 256 to 2048 in ResNet-50.
        kernel_size: of the middle convolution; odd, an int or a pair.
        stride: of the middle convolution and of the shortcut; an int or a pair.
        expansion: output width by the width that the hidden one is computed from.
        groups: of the middle convolution.
        base_width: the hidden width is `out_channels / expansion * base_width / 64 * groups`.
        hidden_channels: the hidden width itself, instead of `expansion` and `base_width`.
        dilation: of the middle convolution; an int or a pair.
        se_layer: called with the hidden width, such as `SqueezeExcite`; `None` drops it. It
            follows the middle convolution.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        drop_path: probability with which `DropPath` drops the body of an example.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385; Xie
    et al., "Aggregated Residual Transformations", 2016, arXiv:1611.05431; Radosavovic et al.,
    "Designing Network Design Spaces", 2020, arXiv:2003.13678.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.Bottleneck(64, 256).parameters())
    75008
    >>> blocks.Bottleneck(256, 256, groups=32, base_width=4).body.conv2.conv.weight.shape
    torch.Size([128, 4, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        expansion: int = 4,
        groups: int = 1,
        base_width: int = 64,
        hidden_channels: int | None = None,
        dilation: Size = 1,
        se_layer: SqueezeLayer = None,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        drop_path: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least(
            "Bottleneck", 1, in_channels=in_channels, out_channels=out_channels, groups=groups
        )
        hidden = hidden_channels
        if hidden is None:
            hidden = _hidden(out_channels, expansion, base_width, groups)
        check_at_least("Bottleneck", 1, hidden_channels=hidden)
        check_groups("Bottleneck", groups, hidden_channels=hidden)
        strides = strides_of("Bottleneck", stride, kernel_size, dilation)
        conv, linear = conv_and_linear(norm_layer, activation_layer, device, dtype)
        body: dict[str, nn.Module] = {"conv1": conv(in_channels, hidden, 1)}
        body["conv2"] = conv(hidden, hidden, kernel_size, strides, dilation=dilation, groups=groups)
        if se_layer is not None:
            body["se"] = se_layer(hidden).to(device=device, dtype=dtype)
        body["conv3"] = linear(hidden, out_channels, 1)
        fits = strides == (1, 1) and in_channels == out_channels
        shortcut = None if fits else linear(in_channels, out_channels, 1, strides)
        super().__init__(
            _body("Bottleneck", body, drop_path), shortcut, activation_layer=activation_layer
        )


def _body(block: str, layers: dict[str, nn.Module], drop_path: float) -> nn.Sequential:
    """The layers in a row, with a `DropPath` behind them if it ever drops any."""
    if check_probability(block, drop_path=drop_path):
        layers["drop"] = DropPath(drop_path)
    return nn.Sequential(OrderedDict(layers))


def _hidden(out_channels: int, expansion: int, base_width: int, groups: int) -> int:
    check_at_least("Bottleneck", 1, expansion=expansion, base_width=base_width)
    if out_channels % expansion:
        remedy = f"It must divide out_channels={out_channels} without remainder."
        raise invalid("Bottleneck", "expansion", expansion, remedy)
    hidden = out_channels // expansion * base_width // 64 * groups
    if not hidden:
        remedy = f"It leaves no channel of out_channels={out_channels}. Pass hidden_channels."
        raise invalid("Bottleneck", "base_width", base_width, remedy)
    return hidden
