"""One convolution with what belongs to it: norm, activation, dropout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from torch import nn

from .arguments import (
    ActivationLayer,
    NormLayer,
    Size,
    as_pair,
    check_at_least,
    check_groups,
    check_probability,
    padding_of,
)


class ConvBNReLU(nn.Sequential):
    """Convolution, normalisation, activation, dropout: `(N, C_in, H, W)` to `(N, C_out, H', W')`.

    `H' = (H + 2p - d(k - 1) - 1) // s + 1`. Parameters: `C_out * C_in / groups * k * k`, plus
    `C_out` with bias, plus `2 * C_out` with BatchNorm.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int or a pair (height, width).
        stride: an int or a pair.
        padding: an int, a pair, "same" or "valid" as in `nn.Conv2d`; `None` keeps the size at
            stride 1, which needs an odd kernel.
        dilation: an int or a pair.
        groups: divides both channel counts.
        bias: `None` means a bias only if there is no norm.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        dropout: probability with which `nn.Dropout2d` drops a channel; 0 adds no layer.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    >>> from budgetnet import blocks
    >>> block = blocks.ConvBNReLU(16, 32, 3, stride=2)
    >>> [name for name, _ in block.named_children()]
    ['conv', 'norm', 'act']
    >>> sum(p.numel() for p in block.parameters())
    4672
    """

    _order: ClassVar[tuple[str, ...]] = ("conv", "norm", "act", "drop")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        *,
        padding: Size | str | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool | None = None,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        name = type(self).__name__
        check_at_least(name, 1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        kernel = as_pair(name, "kernel_size", kernel_size)
        strides = as_pair(name, "stride", stride)
        dilations = as_pair(name, "dilation", dilation)
        check_groups(name, groups, in_channels=in_channels, out_channels=out_channels)
        layers: dict[str, nn.Module] = {}
        layers["conv"] = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            strides,
            padding=padding_of(name, padding, kernel, strides, dilations),
            dilation=dilations,
            groups=groups,
            bias=norm_layer is None if bias is None else bias,
            device=device,
            dtype=dtype,
        )
        if norm_layer is not None:
            width = out_channels if self._order[0] == "conv" else in_channels
            layers["norm"] = norm_layer(width).to(device=device, dtype=dtype)
        if activation_layer is not None:
            layers["act"] = activation_layer()
        if check_probability(name, dropout=dropout):
            layers["drop"] = nn.Dropout2d(dropout)
        super().__init__(OrderedDict((n, layers[n]) for n in self._order if n in layers))


def conv_and_linear(
    norm_layer: NormLayer, activation_layer: ActivationLayer, device: Any, dtype: Any
) -> tuple[Callable[..., ConvBNReLU], Callable[..., ConvBNReLU]]:
    """`ConvBNReLU` with the layers that a block is given, and the same without activation."""
    conv = partial(
        ConvBNReLU,
        norm_layer=norm_layer,
        activation_layer=activation_layer,
        device=device,
        dtype=dtype,
    )
    return conv, partial(conv, activation_layer=None)


class BNReLUConv(ConvBNReLU):
    """The layers of `ConvBNReLU` in another order: normalisation, activation, convolution, dropout.

    `(N, C_in, H, W)` to `(N, C_out, H', W')`. The norm is over the input, so BatchNorm has
    `2 * C_in` parameters. All arguments mean what they mean in `ConvBNReLU`, `bias` too: `None`
    means a bias exactly if there is no norm.

    Source: He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027.

    >>> from budgetnet import blocks
    >>> block = blocks.BNReLUConv(16, 32, 1)
    >>> [name for name, _ in block.named_children()]
    ['norm', 'act', 'conv']
    >>> sum(p.numel() for p in block.parameters())
    544
    """

    _order = ("norm", "act", "conv", "drop")


class BNReLU(nn.Sequential):
    """Normalisation and activation without a convolution: `(N, C, H, W)` to the same shape.

    What ends networks of `BNReLUConv`, such as DenseNet. BatchNorm has `2 * C` parameters. Children
    are named `norm` and `act`.

    Args:
        in_channels: channels of the input.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Source: He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.BNReLU(16).parameters())
    32
    """

    def __init__(
        self,
        in_channels: int,
        *,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("BNReLU", 1, in_channels=in_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if norm_layer is not None:
            layers["norm"] = norm_layer(in_channels).to(device=device, dtype=dtype)
        if activation_layer is not None:
            layers["act"] = activation_layer()
        super().__init__(layers)


class Transition(ConvBNReLU):
    """1x1 convolution to fewer channels, then optional max pooling.

    `(N, C_in, H, W)` to `(N, C_out, H / pool, W / pool)`. A 1x1 convolution leaves the receptive
    field as it is. Children: those of `ConvBNReLU`, and `pool`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        pool: kernel and stride of the max pooling; 1 adds none.
        bias: `None` means a bias only if there is no norm.
        norm_layer: called with the channels; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        dropout: probability with which a channel is dropped; 0 adds no layer.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Source: Huang et al., "Densely Connected Convolutional Networks", 2016, arXiv:1608.06993.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.Transition(16, 10).parameters())
    180
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pool: int = 1,
        bias: bool | None = None,
        norm_layer: NormLayer = nn.BatchNorm2d,
        activation_layer: ActivationLayer = nn.ReLU,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("Transition", 1, pool=pool)
        super().__init__(
            in_channels,
            out_channels,
            1,
            bias=bias,
            norm_layer=norm_layer,
            activation_layer=activation_layer,
            dropout=dropout,
            device=device,
            dtype=dtype,
        )
        if pool > 1:
            self.add_module("pool", nn.MaxPool2d(pool))
