"""Sums of a body and a shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import ArgumentError, explain
from .arguments import ActivationLayer, invalid


class Residual(nn.Module):
    """Sum of a body and a shortcut: `act(body(x) + shortcut(x))`.

    Both must give the same shape; the shortcut is the identity if it is `None`, so that the
    body must then keep its input's shape. Children are named `body`, `shortcut` and `act`.

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
            raise invalid("Residual", "body", body, "Pass a module, such as a ConvBNReLU.")
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
