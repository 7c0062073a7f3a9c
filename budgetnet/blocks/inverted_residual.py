"""The blocks of MobileNetV2, V3 and EfficientNet: wide inside, narrow between."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..accounting.geometry import scaled_channels
from .arguments import (
    ActivationLayer,
    NormLayer,
    Size,
    SqueezeLayer,
    check_at_least,
    check_positive,
    check_probability,
    strides_of,
)
from .convolution import conv_and_linear
from .drop_path import DropPath


class _Inverted(nn.Sequential):
    """Layers in a row; their input is added where `residual` says so."""

    def __init__(self, layers: dict[str, nn.Module], residual: bool, drop_path: float) -> None:
        if check_probability(type(self).__name__, drop_path=drop_path) and residual:
            layers["drop"] = DropPath(drop_path)
        super().__init__(OrderedDict(layers))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers, and add the input if the block is residual."""
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch's own
        return x + out if self.residual else out

    def extra_repr(self) -> str:
        """What `repr` shows besides the children."""
        return f"residual={self.residual}"


class InvertedResidual(_Inverted):
    """Widen by 1x1, convolve depthwise, narrow by 1x1 without activation; add the input if it fits.

    `(N, C_in, H, W)` to `(N, C_out, H', W')` with `H' = (H - 1) // s + 1`: the block pads. It adds
    its input if the stride is 1 and `C_in = C_out`. With hidden width `C`, weights are
    `C_in * C + C * k * k + C * C_out`, and BatchNorm adds `4 * C + 2 * C_out`; where `C = C_in`,
    there is no widening, so that `C_in * C + 2 * C` of it go. Children are named `expand`,
    `depthwise`, `se`, `project` and `drop`.

    MobileNetV2 has `activation_layer=nn.ReLU6`. V3 has `nn.ReLU` or `nn.Hardswish`, hidden widths
    of its own, and `partial(SqueezeExcite, divisor=8, gate_layer=nn.Hardsigmoid)` as `se_layer`.
    EfficientNet has `nn.SiLU` and `partial(SqueezeExcite, squeeze_channels=in_channels // 4,
    activation_layer=nn.SiLU)`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the depthwise convolution; odd, an int or a pair.
        stride: of the depthwise convolution; an int or a pair.
        expansion: hidden width by input width, rounded to a whole number.
        hidden_channels: the hidden width itself, instead of `expansion`.
        dilation: of the depthwise convolution; an int or a pair.
        se_layer: called with the hidden width, such as `SqueezeExcite`; `None` drops it.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        drop_path: probability with which `DropPath` drops the layers of an example; only where the
            input is added.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Sandler et al., "MobileNetV2", 2018, arXiv:1801.04381; Howard et al., "Searching for
    MobileNetV3", 2019, arXiv:1905.02244; Tan and Le, "EfficientNet", 2019, arXiv:1905.11946.

    >>> from budgetnet import blocks
    >>> block = blocks.InvertedResidual(24, 24, se_layer=blocks.SqueezeExcite)
    >>> block.residual, [name for name, _ in block.named_children()]
    (True, ['expand', 'depthwise', 'se', 'project'])
    >>> sum(p.numel() for p in blocks.InvertedResidual(24, 24).parameters())
    8832
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        expansion: float = 6,
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
        hidden = _hidden("InvertedResidual", in_channels, out_channels, expansion, hidden_channels)
        strides = strides_of("InvertedResidual", stride, kernel_size, dilation)
        conv, linear = conv_and_linear(norm_layer, activation_layer, device, dtype)
        layers: dict[str, nn.Module] = {}
        if hidden != in_channels:
            layers["expand"] = conv(in_channels, hidden, 1)
        layers["depthwise"] = conv(
            hidden, hidden, kernel_size, strides, dilation=dilation, groups=hidden
        )
        if se_layer is not None:
            layers["se"] = se_layer(hidden).to(device=device, dtype=dtype)
        layers["project"] = linear(hidden, out_channels, 1)
        super().__init__(layers, strides == (1, 1) and in_channels == out_channels, drop_path)


class FusedInvertedResidual(_Inverted):
    """Widen by a full convolution, narrow by 1x1 without activation; add the input if it fits.

    The widening and the depthwise convolution of `InvertedResidual` in one. `(N, C_in, H, W)` to
    `(N, C_out, H', W')` with `H' = (H - 1) // s + 1`: the block pads. It adds its input where the
    stride is 1 and `C_in = C_out`. With hidden width `C`, weights are `C_in * C * k * k` and
    `C * C_out`, and BatchNorm adds `2 * C + 2 * C_out`. Where `C = C_in`, the one convolution
    `project` is the full one, with activation, as in EfficientNetV2: `C_in * C_out * k * k` weights
    and `2 * C_out`. Children are named `expand`, `se`, `project` and `drop`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the full convolution; odd, an int or a pair.
        stride: of the full convolution; an int or a pair.
        expansion: hidden width by input width, rounded to a whole number.
        hidden_channels: the hidden width itself, instead of `expansion`.
        dilation: of the full convolution; an int or a pair.
        se_layer: called with the hidden width, such as `SqueezeExcite`; `None` drops it.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it. EfficientNetV2 has `nn.SiLU`.
        drop_path: probability with which `DropPath` drops the layers of an example; only where the
            input is added.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Gupta and Tan, "EfficientNet-EdgeTPU", Google AI Blog, 2019; Tan and Le,
    "EfficientNetV2", 2021, arXiv:2104.00298.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.FusedInvertedResidual(24, 48, stride=2).parameters())
    25632
    >>> [name for name, _ in blocks.FusedInvertedResidual(24, 24, expansion=1).named_children()]
    ['project']
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        expansion: float = 4,
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
        name = "FusedInvertedResidual"
        hidden = _hidden(name, in_channels, out_channels, expansion, hidden_channels)
        strides = strides_of(name, stride, kernel_size, dilation)
        conv, linear = conv_and_linear(norm_layer, activation_layer, device, dtype)
        full = partial(conv, kernel_size=kernel_size, stride=strides, dilation=dilation)
        layers: dict[str, nn.Module] = {}
        if hidden != in_channels:
            layers["expand"] = full(in_channels, hidden)
        if se_layer is not None:
            layers["se"] = se_layer(hidden).to(device=device, dtype=dtype)
        if hidden != in_channels:
            layers["project"] = linear(hidden, out_channels, 1)
        else:
            layers["project"] = full(in_channels, out_channels)
        super().__init__(layers, strides == (1, 1) and in_channels == out_channels, drop_path)


def _hidden(
    block: str, in_channels: int, out_channels: int, expansion: float, hidden: int | None
) -> int:
    check_at_least(block, 1, in_channels=in_channels, out_channels=out_channels)
    check_positive(block, expansion=expansion)
    if hidden is None:
        return int(scaled_channels(in_channels, expansion))
    check_at_least(block, 1, hidden_channels=hidden)
    return hidden
