"""Branches side by side, joined along the channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, explain
from .arguments import invalid


class Concat(nn.ModuleDict):
    """Run branches on the same input and join their channels: to `(N, C_1 + C_2 + ..., H', W')`.

    Every branch must give maps of one size. Branches by position are named `0`, `1` and so on,
    others as they are passed; their channels follow each other in this order. No parameters or
    MACs of its own. The layers of Inception and of SqueezeNet are made of it, and U-Nets: a
    `Concat` of `None` and of what lies deeper.

    Args:
        branches: modules, or `None` for the input itself.
        named: more of them.

    Raises:
        ArgumentError: a branch is not a module, or, when it runs, branches give maps of different
            sizes; a `ValueError`.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv:1409.4842.

    >>> import torch
    >>> from budgetnet import blocks
    >>> fire = torch.nn.Sequential(
    ...     blocks.ConvBNReLU(64, 16, 1, norm_layer=None),
    ...     blocks.Concat(
    ...         blocks.ConvBNReLU(16, 64, 1, norm_layer=None),
    ...         blocks.ConvBNReLU(16, 64, 3, norm_layer=None),
    ...     ),
    ... )
    >>> fire(torch.zeros(2, 64, 8, 8)).shape
    torch.Size([2, 128, 8, 8])
    """

    def __init__(self, *branches: nn.Module | None, **named: nn.Module | None) -> None:
        """Check the branches and keep them as children."""
        given = {str(place): branch for place, branch in enumerate(branches)} | named
        if not given:
            raise invalid("Concat", "branches", branches, "Pass at least one module.")
        for name, branch in given.items():
            if branch is not None and not isinstance(branch, nn.Module):
                raise invalid("Concat", f"branch {name}", branch, "Pass a module, or None.")
        super().__init__({n: nn.Identity() if b is None else b for n, b in given.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Run every branch and join what they give."""
        return join("Concat", {name: branch(x) for name, branch in self.items()})


def join(block: str, maps: Mapping[str, Tensor]) -> Tensor:
    """Maps one after the other along the channels; refuse those of different sizes by name."""
    first, *others = [m.shape[-2:] for m in maps.values()]
    if any(size != first for size in others):  # torch's own message would not name the maps
        raise ArgumentError(
            explain(
                "maps of different sizes cannot be joined",
                where=block,
                numbers={name: tuple(m.shape) for name, m in maps.items()},
                remedy="Give all of them the same stride and padding, or resize one before.",
            )
        )
    return torch.cat(list(maps.values()), dim=-3)
