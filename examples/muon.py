"""Muon: SGD whose steps of weight matrices are made orthogonal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024),
# https://kellerjordan.github.io/posts/muon: five turns of this quintic bring every singular value
# of a matrix near 1, as torch.optim.Muon does, which takes no weights of convolutions.
ROUNDS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum; weights of two and more dimensions take orthogonal steps.

    Such a weight counts as a matrix with a row for each output channel, and its rate is `lr` times
    `matrix_scale`; where `copies` of a network are joined in one, as a matrix for each of them.
    What has one dimension, the scales and shifts of BatchNorm, learns as by `torch.optim.SGD`. `lr`
    is a tensor, so that a recorded CUDA graph sees it change.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: Tensor,
        momentum: float,
        *,
        matrix_scale: float,
        copies: int = 1,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "matrix_scale": matrix_scale, "copies": copies}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move every parameter that has a gradient; a closure is not called."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(param)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(param.grad)
                ahead = param.grad.add(buffer, alpha=group["momentum"])
                alike[param.shape].append((param, ahead))
            for shape, some in alike.items():
                if len(shape) < 2:
                    for param, ahead in some:
                        param.sub_(ahead * group["lr"])
                    continue
                each = (group["copies"], shape[0] // group["copies"], -1)
                steps = orthogonal(torch.cat([ahead.reshape(each) for _, ahead in some]))
                tall = max(1, steps.shape[1] / steps.shape[2]) ** 0.5
                rate = group["lr"] * (group["matrix_scale"] * tall)
                for (param, _), step in zip(some, steps.chunk(len(some)), strict=True):
                    param.sub_(step.reshape(shape) * rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """Of every matrix of (many, rows, columns) one with its directions, all about equally long."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.mT
