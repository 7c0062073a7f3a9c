"""What ends a classifier: from maps to one number for each class."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from einops import reduce
from torch import Tensor, nn

from .arguments import (
    ActivationLayer,
    NormLayer,
    check_at_least,
    check_probability,
    invalid,
)
from .convolution import ConvBNReLU


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
                raise invalid(
                    "GAP", "in_channels", None, "A classifier needs its input's channels."
                )
            check_at_least("GAP", 1, in_channels=in_channels, num_classes=num_classes)
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


class Classifier(nn.Sequential):
    """Flatten, drop, one linear layer: `(N, ...)` to `(N, num_classes)`.

    Parameters: `num_classes * (in_features + 1)`, or `num_classes * in_features` without bias. Maps
    `(N, C, H, W)` have `C * H * W` features; after a `GlobalAveragePool` there are `C`. Children
    are named `flatten`, `drop` and `linear`.

    Args:
        in_features: features of the input, all axes but the first multiplied.
        num_classes: features of the output.
        bias: whether the linear layer has one.
        dropout: probability with which `nn.Dropout` drops a feature; 0 adds no layer.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    >>> import torch
    >>> from budgetnet import blocks
    >>> head = torch.nn.Sequential(blocks.GlobalAveragePool(), blocks.Classifier(16, 10))
    >>> head(torch.zeros(2, 16, 4, 4)).shape, sum(p.numel() for p in head.parameters())
    (torch.Size([2, 10]), 170)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("Classifier", 1, in_features=in_features, num_classes=num_classes)
        children: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        if check_probability("Classifier", dropout=dropout):
            children["drop"] = nn.Dropout(dropout)
        children["linear"] = nn.Linear(in_features, num_classes, bias, device=device, dtype=dtype)
        super().__init__(children)


class LinearBNReLU(nn.Sequential):
    """Linear layer, normalisation, activation, dropout: `(N, F_in)` to `(N, F_out)`.

    Parameters: `F_in * F_out`, plus `F_out` with bias, plus `2 * F_out` with BatchNorm. Children
    are named `linear`, `norm`, `act` and `drop`.

    Args:
        in_features: features of the input.
        out_features: features of the output.
        bias: `None` means a bias only if there is no norm.
        norm_layer: called with the features; `None` drops it.
        activation_layer: called without arguments; `None` drops it.
        dropout: probability with which `nn.Dropout` drops a feature; 0 adds no layer.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    >>> from budgetnet import blocks
    >>> sum(p.numel() for p in blocks.LinearBNReLU(640, 128).parameters())
    82176
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool | None = None,
        norm_layer: NormLayer = nn.BatchNorm1d,
        activation_layer: ActivationLayer = nn.ReLU,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        check_at_least("LinearBNReLU", 1, in_features=in_features, out_features=out_features)
        has_bias = norm_layer is None if bias is None else bias
        children: OrderedDict[str, nn.Module] = OrderedDict()
        children["linear"] = nn.Linear(
            in_features, out_features, has_bias, device=device, dtype=dtype
        )
        if norm_layer is not None:
            children["norm"] = norm_layer(out_features).to(device=device, dtype=dtype)
        if activation_layer is not None:
            children["act"] = activation_layer()
        if check_probability("LinearBNReLU", dropout=dropout):
            children["drop"] = nn.Dropout(dropout)
        super().__init__(children)
