"""Quantisation-aware training: a network learns with the rounding that its int8 file will have.

BatchNorms are folded first, as in the file. Then weights are rounded to 8 bits by output channel,
and the input and what convolutions and activations give to 8 bits by tensor; gradients pass the
rounding as if it were not there (the straight-through estimator of arXiv:1308.3432; the scheme is
that of arXiv:1712.05877). What is returned holds plain weights: the file is written as any other.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from budgetnet import fold_batchnorm
from mnist_data import Digits
from mnist_s6 import seed_everything
from recipes import Recipe
from trainer import Training, train

LEVELS = 127  # of a weight, to either side of zero
KEEP = 0.99  # of the range seen so far, a step
LR = 0.01  # at its peak; a network that has learned moves little


class RoundedWeight(nn.Module):
    """A weight of (out, ...) as int8 has it, at a scale an output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.detach().flatten(1)
        scales = rows.abs().amax(1).clamp_min(1e-8) / LEVELS
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -LEVELS, LEVELS)


class RoundedTensor(nn.Module):
    """A tensor as int8 has it, at a scale that follows the least and the most seen in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.follow(x)
        return self.rounded(x)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Move the range towards that of a tensor."""
        ends = torch.stack(x.aminmax())
        held = torch.stack([self.low, self.high])
        low, high = torch.where(held[1] > held[0], held.lerp(ends, 1 - KEEP), ends)
        self.low.copy_(low.clamp_max(0))  # zero is exact: padding is
        self.high.copy_(high.clamp_min(0))

    def rounded(self, x: Tensor) -> Tensor:
        """A tensor at the present scale."""
        scale = ((self.high - self.low) / 255).clamp_min(1e-8)
        zero = (-128 - (self.low / scale).round()).clamp(-128, 127).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127)


class Rounded(nn.Module):
    """A folded network of convolutions, with the rounding of its file."""

    def __init__(self, folded: nn.Module) -> None:
        super().__init__()
        self.net, self.first = folded, RoundedTensor()
        self.tensors = nn.ModuleList()
        modules = list(folded.modules())
        *_, last = (module for module in modules if isinstance(module, nn.Conv2d | nn.Linear))
        for module in modules:
            if isinstance(module, nn.Conv2d | nn.Linear):
                parametrize.register_parametrization(module, "weight", RoundedWeight())
            if isinstance(module, nn.ReLU) or module is last:
                rounded = RoundedTensor()
                self.tensors.append(rounded)
                module.register_forward_hook(lambda _m, _i, out, rounded=rounded: rounded(out))

    def forward(self, x: Tensor) -> Tensor:
        # The file averages the last map at the scale of that map, which is coarse for logits.
        return self.tensors[-1].rounded(self.net(self.first(x)))  # type: ignore[operator, no-any-return]  # a RoundedTensor

    def plain(self) -> nn.Module:
        """The network with the weights that were learned, before they are rounded."""
        for module in self.net.modules():
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            module._forward_hooks.clear()
        return self.net.eval()


def learn_rounding(
    net: nn.Module, shape: tuple[int, ...], digits: Digits, recipe: Recipe, seed: int = 0
) -> nn.Module:
    """One more epoch of a trained network with the rounding, by its own recipe at a low rate."""
    generator = seed_everything(seed, torch.device("cpu"))
    rounded = Rounded(fold_batchnorm(net, shape))
    once = replace(
        recipe, epochs=1, lr=LR, matrix_lr=0.0, batch_size=128, early=0.0, fade=0.0, distill=0.0
    )
    for row in train(Training(rounded, digits, once, generator)):
        print(row, flush=True)
    return rounded.plain()
