"""Attention over channels: each is weighted by what the whole map shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..accounting.geometry import scaled_channels
from .arguments import check_at_least, check_positive


class SqueezeExcite(nn.Module):
    """Weigh every channel by a gate that reads the whole map: `(N, C, H, W)` to the same shape.

    `x * gate(expand(act(reduce(mean(x)))))`, where `reduce` is a 1x1 convolution from `C` to `S`
    channels and `expand` one back, both with bias. Parameters: `2 * C * S + C + S`. MACs:
    `2 * C * S`. Children are named `pool`, `reduce`, `act`, `expand` and `gate`.

    Args:
        channels: `C`, of the input and of the output.
        squeeze_channels: `S`; `None` computes it from `ratio` and `divisor`.
        ratio: `S / C` before rounding.
        divisor: 1 rounds to the nearest whole number; 8 to multiples of 8, as MobileNetV3 does,
            but not down by more than a tenth.
        activation_layer: called without arguments.
        gate_layer: called without arguments; `nn.Hardsigmoid` in MobileNetV3.
        device: as in torch's layers.
        dtype: as in torch's layers.

    Raises:
        ArgumentError: an argument is not valid; a `ValueError`.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2017, arXiv:1709.01507.

    >>> import torch
    >>> from budgetnet import blocks
    >>> block = blocks.SqueezeExcite(72, divisor=8, gate_layer=torch.nn.Hardsigmoid)
    >>> block.reduce.out_channels, sum(p.numel() for p in block.parameters())
    (24, 3552)
    """

    def __init__(
        self,
        channels: int,
        squeeze_channels: int | None = None,
        *,
        ratio: float = 0.25,
        divisor: int = 1,
        activation_layer: Callable[..., nn.Module] = nn.ReLU,
        gate_layer: Callable[..., nn.Module] = nn.Sigmoid,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Check the arguments and make the children."""
        super().__init__()
        check_at_least("SqueezeExcite", 1, channels=channels, divisor=divisor)
        check_positive("SqueezeExcite", ratio=ratio)
        if squeeze_channels is None:
            squeeze_channels = scaled_channels(channels, ratio, divisor)
        check_at_least("SqueezeExcite", 1, squeeze_channels=squeeze_channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1, device=device, dtype=dtype)
        self.act = activation_layer()
        self.expand = nn.Conv2d(squeeze_channels, channels, 1, device=device, dtype=dtype)
        self.gate = gate_layer()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the gates and multiply."""
        gates: Tensor = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * gates
