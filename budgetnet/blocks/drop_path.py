"""Stochastic depth: a branch of a sum that is left out at random in training."""

from __future__ import annotations

from torch import Tensor, nn

from .arguments import check_probability


class DropPath(nn.Module):
    """Drop whole examples of a batch in training, `(N, ...)` to `(N, ...)`; idle in eval mode.

    At the end of a branch it leaves the branch out. What stays is divided by `1 - p`, so that the
    mean stays. No parameters.

    Args:
        p: probability with which an example is dropped.

    Raises:
        ArgumentError: `p` is not a probability below 1; a `ValueError`.

    Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, arXiv:1603.09382.

    >>> import torch
    >>> from budgetnet import blocks
    >>> blocks.DropPath(0.2).eval()(torch.ones(2, 1)).tolist()
    [[1.0], [1.0]]
    """

    def __init__(self, p: float) -> None:
        """Check and keep the probability."""
        super().__init__()
        check_probability("DropPath", p=p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each example by 0 or by `1 / (1 - p)`."""
        if not self.training:
            return x
        kept = nn.functional.dropout(x.new_ones(len(x), *[1] * (x.dim() - 1)), self.p)
        return x * kept

    def extra_repr(self) -> str:
        """What `repr` shows after the name."""
        return f"p={self.p}"
