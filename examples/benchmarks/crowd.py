"""Seeds of one network, trained as a single network that has a group of channels for each.

A small network leaves a GPU idle: its kernels are shorter than the time to start them. Side by side
in the channels, many seeds take as many kernels as one. A convolution of the wide network has the
groups of all, BatchNorm looks at each channel by itself, and the losses are added up, so that every
seed sees its own images, in its own order, and learns what it would alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnist_data import Digits
from recipes import Recipe
from trainer import Training, evaluate


class Crowd(Training):
    """The runs of several networks that differ in nothing but their weights."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        digits: Digits,
        recipe: Recipe,
        generators: Sequence[torch.Generator],
        *,
        teacher: nn.Module | None = None,
        amp: bool = False,
    ) -> None:
        self.copies, self.members = len(models), list(models)
        wide = widened(models)
        super().__init__(
            wide, digits, recipe, generators[0], teacher=teacher, amp=amp, wrap=lambda _: self.all
        )
        self.generators = list(generators)
        self.order = self.order.repeat(self.copies, 1)
        self.correct = self.correct.repeat(self.copies)
        for model in self.members:
            model.to(self.order.device)
        bind(wide, self.members)
        self.results = self.members
        if self.result is not wide:
            self.results = [copy.deepcopy(model) for model in self.members]
            bind(self.result, self.results)

    def shuffle(self) -> None:
        for order, generator in zip(self.order, self.generators, strict=True):
            torch.randperm(len(order), generator=generator, device=order.device, out=order)

    def draw(self, size: int) -> tuple[Tensor, Tensor]:
        """Seed after seed."""
        rows = self.order[:, self.position + torch.arange(size, device=self.order.device)]
        draws = [self.recipe.augment.draws(size, generator) for generator in self.generators]
        return rows.flatten(), torch.cat(draws)

    def all(self, images: Tensor) -> Tensor:
        """Logits, seed after seed, of images of all seeds in this order."""
        side_by_side = images.view(self.copies, -1, *images.shape[2:]).transpose(0, 1)
        logits = self.model(side_by_side.contiguous(memory_format=torch.channels_last))
        return logits.view(len(logits), self.copies, -1).transpose(0, 1).flatten(0, 1)

    def end_epochs(self) -> list[dict[str, Any]]:
        """The row of metrics of every seed."""
        rows = []
        for result, correct in zip(self.results, self.correct, strict=True):
            test_loss, test_accuracy = evaluate(result, self.test_set)
            rows.append(
                {
                    "epoch": self.epoch,
                    "train_accuracy": round(100 * float(correct) / len(self.train_set), 4),
                    "test_loss": round(test_loss, 6),
                    "test_accuracy": round(test_accuracy, 4),
                }
            )
        return rows


def widened(models: Sequence[nn.Module]) -> nn.Module:
    """A network as the given ones, side by side in its channels, with their weights."""
    wide = copy.deepcopy(models[0])
    for name, module in models[0].named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own:
            parent, _, last = name.rpartition(".")
            setattr(wide.get_submodule(parent), last, _wide(name, module, len(models)))
    joined = {
        name: value if value.dim() == 0 else torch.cat([m.state_dict()[name] for m in models])
        for name, value in models[0].state_dict().items()
    }
    wide.load_state_dict(joined)
    return wide


def _wide(name: str, module: nn.Module, copies: int) -> nn.Module:
    if type(module) is nn.Conv2d:
        given = {
            key: getattr(module, key)
            for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        return Grouped(
            module.in_channels * copies,
            module.out_channels * copies,
            groups=module.groups * copies,
            bias=module.bias is not None,
            **given,
        )
    if type(module) is nn.BatchNorm2d:
        given = {key: getattr(module, key) for key in ("eps", "momentum", "affine")}
        return nn.BatchNorm2d(module.num_features * copies, **given)
    raise TypeError(f"{name}: seeds of a {type(module).__name__} cannot train side by side")


class Grouped(nn.Conv2d):
    """A convolution of many groups; on a GPU, in bfloat16, by a kernel of our own."""

    def forward(self, x: Tensor) -> Tensor:
        side, padding = self.kernel_size[0], self.padding[0]
        plain = (
            self.groups > 1,
            self.groups < self.in_channels or self.in_channels < self.out_channels,
            x.is_cuda and torch.is_autocast_enabled("cuda"),
            self.bias is None and self.padding_mode == "zeros",
            self.stride == self.dilation == (1, 1),
            self.kernel_size == (side, side) and self.padding == (padding, padding),
        )
        if not all(plain):
            return super().forward(x)
        from grouped_conv import grouped_conv2d

        half = torch.bfloat16
        return grouped_conv2d(x.to(half), self.weight.to(half), self.groups, int(padding))


@torch.no_grad()
def bind(wide: nn.Module, models: Sequence[nn.Module]) -> None:
    """Let the models' tensors be parts of the wide one's, so that they learn with it."""
    whole = dict(wide.named_parameters()) | dict(wide.named_buffers())
    for index, model in enumerate(models):
        for name, own in [*model.named_parameters(), *model.named_buffers()]:
            all_of = whole[name].data
            own.data = all_of.chunk(len(models))[index] if own.dim() else all_of
