"""What ends a classifier: from maps to one number for each class."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from einops import reduce
from torch import Tensor, nn

from .arguments import NormLayer, at_least, bad
from .convolution import ConvBNReLU


class GlobalAveragePool(nn.Module):
    """Mean over the whole map: `(N, C, H, W)` to `(N, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Average every channel."""
        return reduce(x, "n c h w -> n c", "mean")


class GAP(nn.Sequential):
    """Global average pooling head: `(N, C, H, W)` to `(N, num_classes)`, or to `(N, C)`.

    With `num_classes`, a 1x1 convolution makes the class maps first, without activation, since
    their means are the logits. Children are named `conv`, `norm` and `pool`.

    Args:
        in_channels: channels of the input; needed only with `num_classes`.
        num_classes: classes of the 1x1 classifier; `None` adds no classifier.
        bias: `None` means a bias exactly where there is no norm.
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
                raise bad("GAP", "in_channels", None, "A classifier needs its input's channels.")
            at_least("GAP", 1, in_channels=in_channels, num_classes=num_classes)
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
