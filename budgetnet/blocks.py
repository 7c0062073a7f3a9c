"""CNN building blocks: plain `nn.Module`s with an exactly known cost.

They follow torchvision's conventions: `in_channels, out_channels, kernel_size, stride` by
position, everything else by keyword; `norm_layer` and `activation_layer` are any callables, and
`None` drops the layer. Children are named `conv`, `norm`, `act` and `drop`. Shapes are
`(N, C, H, W)`; every block takes `device` and `dtype`, as torch's own layers do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

from einops import reduce
from torch import Tensor, nn

from .accounting.geometry import same_padding
from .accounting.window import Pair
from .errors import ArgumentError, explain

__all__ = [
    "GAP",
    "ConvBNReLU",
    "DepthwiseSeparable",
    "GlobalAveragePool",
    "MaxPool",
    "Residual",
    "Transition",
]

Size: TypeAlias = int | Pair
NormLayer: TypeAlias = Callable[..., nn.Module] | None
ActivationLayer: TypeAlias = Callable[..., nn.Module] | None

MaxPool = nn.MaxPool2d  # torch's own: a wrapper would add nothing


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
        _at_least(name, 1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        kernel = _pair(name, "kernel_size", kernel_size)
        strides = _pair(name, "stride", stride)
        dilations = _pair(name, "dilation", dilation)
        _check_groups(name, in_channels, out_channels, groups)
        if not 0.0 <= dropout < 1.0:
            raise _bad(
                name, "dropout", dropout, "Pass a probability from 0 up to, not including, 1."
            )
        layers: list[tuple[str, nn.Module]] = []
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            strides,
            padding=_padding(name, padding, kernel, strides, dilations),
            dilation=dilations,
            groups=groups,
            bias=norm_layer is None if bias is None else bias,
            device=device,
            dtype=dtype,
        )
        layers.append(("conv", conv))
        if norm_layer is not None:
            layers.append(("norm", norm_layer(out_channels).to(device=device, dtype=dtype)))
        if activation_layer is not None:
            layers.append(("act", activation_layer()))
        if dropout:
            layers.append(("drop", nn.Dropout2d(dropout)))
        super().__init__(OrderedDict(layers))


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
        _at_least(type(self).__name__, 1, in_channels=in_channels, out_channels=out_channels)
        common: dict[str, Any] = {
            "norm_layer": norm_layer,
            "activation_layer": activation_layer,
            "device": device,
            "dtype": dtype,
        }
        depthwise = ConvBNReLU(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            **common,
        )
        pointwise = ConvBNReLU(in_channels, out_channels, 1, dropout=dropout, **common)
        super().__init__(OrderedDict(depthwise=depthwise, pointwise=pointwise))


class Residual(nn.Module):
    """Sum of a body and a shortcut: `act(body(x) + shortcut(x))`.

    Both must return the same shape. If the shortcut is `None` it is the identity, so the body
    must keep its input's shape. Children are named `body`, `shortcut` and `act`.

    Args:
        body: any module.
        shortcut: any module, or `None` for the identity.
        activation_layer: applied to the sum; `None` drops it.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.

    >>> import torch
    >>> from budgetnet import blocks
    >>> body = blocks.ConvBNReLU(8, 8, activation_layer=None)
    >>> blocks.Residual(body)(torch.zeros(2, 8, 6, 6)).shape
    torch.Size([2, 8, 6, 6])
    """

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None = None,
        *,
        activation_layer: ActivationLayer = nn.ReLU,
    ) -> None:
        """Keep the body, the shortcut and the activation as children."""
        super().__init__()
        if not isinstance(body, nn.Module):
            raise _bad("Residual", "body", body, "Pass a module, such as a ConvBNReLU.")
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.act = nn.Identity() if activation_layer is None else activation_layer()

    def forward(self, x: Tensor) -> Tensor:
        """Run both branches and add them."""
        out: Tensor = self.body(x)
        shortcut: Tensor = self.shortcut(x)
        # Broadcasting would hide a wrong stride or width; shapes are static, so compile folds this.
        if out.shape != shortcut.shape:
            raise ArgumentError(
                explain(
                    "body and shortcut give different shapes",
                    where="Residual",
                    numbers={"body": tuple(out.shape), "shortcut": tuple(shortcut.shape)},
                    remedy="Give the shortcut the same stride and channels, such as "
                    "ConvBNReLU(in_channels, out_channels, 1, stride, activation_layer=None).",
                )
            )
        result: Tensor = self.act(out + shortcut)
        return result


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
        _at_least("Transition", 1, pool=pool)
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


class GlobalAveragePool(nn.Module):
    """Mean over the whole map: `(N, C, H, W)` to `(N, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Average every channel."""
        return reduce(x, "n c h w -> n c", "mean")


class GAP(nn.Sequential):
    """Global average pooling head: `(N, C, H, W)` to `(N, num_classes)`, or to `(N, C)`.

    With `num_classes`, a 1x1 convolution first makes the class maps. It has no activation, since
    their means are the logits. Children are named `conv`, `norm` and `pool`.

    Args:
        in_channels: channels of the input; needed only with `num_classes`.
        num_classes: classes of the 1x1 classifier; `None` adds no classifier.
        bias: `None` means a bias only if there is no norm.
        norm_layer: called with `num_classes`; `None` drops it.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Source: Lin, Chen and Yan, "Network in Network", 2013, arXiv:1312.4400.

    >>> import torch
    >>> from budgetnet import blocks
    >>> blocks.GAP(16, 10)(torch.zeros(2, 16, 4, 4)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int | None = None,
        num_classes: int | None = None,
        *,
        bias: bool | None = None,
        norm_layer: NormLayer = nn.BatchNorm2d,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        children: OrderedDict[str, nn.Module] = OrderedDict()
        if num_classes is not None:
            if in_channels is None:
                raise _bad("GAP", "in_channels", None, "A classifier needs its input's channels.")
            _at_least("GAP", 1, in_channels=in_channels, num_classes=num_classes)
            classifier = ConvBNReLU(
                in_channels,
                num_classes,
                1,
                bias=bias,
                norm_layer=norm_layer,
                activation_layer=None,
                device=device,
                dtype=dtype,
            )
            children.update(classifier.named_children())
        children["pool"] = GlobalAveragePool()
        super().__init__(children)


def _bad(block: str, argument: str, value: object, remedy: str) -> ArgumentError:
    return ArgumentError(
        explain(f"{argument}={value!r} cannot be meant", where=block, remedy=remedy)
    )


def _at_least(block: str, least: int, **values: object) -> None:
    for argument, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise _bad(block, argument, value, f"Pass an int of at least {least}.")


def _pair(block: str, argument: str, value: Size, least: int = 1) -> Pair:
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2:
        raise _bad(block, argument, value, "Pass an int or a pair (height, width).")
    for part in values:
        _at_least(block, least, **{argument: part})
    return values[0], values[1]


def _check_groups(block: str, in_channels: int, out_channels: int, groups: int) -> None:
    for argument, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise _bad(
                block, "groups", groups, f"It must divide {argument}={channels} without remainder."
            )


def _padding(
    block: str, padding: Size | str | None, kernel: Pair, stride: Pair, dilation: Pair
) -> Pair | str:
    if padding == "valid":
        return 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise _bad(block, "padding", padding, f"torch allows it at stride 1, not {stride}.")
        return "same"
    if padding is not None:
        if isinstance(padding, str):
            raise _bad(block, "padding", padding, 'Pass an int, a pair, "same", "valid" or None.')
        return _pair(block, "padding", padding, least=0)
    pads = [same_padding(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if any(lo != hi for lo, hi in pads):
        low, high = pads[0]
        raise ArgumentError(
            explain(
                f"padding=None keeps the size, which kernel_size={kernel} cannot do evenly",
                where=block,
                numbers={"dilation": dilation, "needed before and after": pads},
                remedy=f'Pass padding={low} or padding={high}, or padding="same" to pad as torch '
                "does: the larger half after the map.",
            )
        )
    return pads[0][0], pads[1][0]
