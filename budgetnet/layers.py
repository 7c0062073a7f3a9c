"""Shortcuts: what torch's own layers do, without running their `forward`.

Each gives the very `Effect` that the rules give for the layer's operations, several times faster,
because no call passes through PyTorch's dispatcher. A layer is taken only if its class is
exactly torch's, and it has no hooks; tests hold every shortcut against the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from . import rules
from .geometry import Sliding
from .rules import Activation, Effect


def _conv2d(layer: nn.Conv2d, x: Activation) -> Effect | None:
    if layer.padding_mode != "zeros" or x.dim() != 4:
        return None
    rules._same_channels(x, layer.in_channels)
    # torch keeps the padding of both sides reversed, last axis first, whichever way it was given
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    pads = ((top, bottom), (left, right))
    weight = layer.weight
    sliding = Sliding(tuple(weight.shape[2:]), layer.stride, pads, layer.dilation)
    return rules.slide(x, weight.shape[0], sliding, weight.numel())


def _batch_norm(layer: nn.BatchNorm2d, x: Activation) -> Effect | None:
    rules._same_channels(x, layer.num_features)
    # Without running statistics even inference looks at the batch, which the rules account for.
    return rules.same(x) if layer.track_running_stats and x.dim() == 4 else None


def _max_pool(layer: nn.MaxPool2d, x: Activation) -> Effect | None:
    if layer.return_indices or x.dim() != 4:
        return None
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return rules.max_pool2d(x, *sizes, layer.ceil_mode)


def _avg_pool(layer: nn.AvgPool2d, x: Activation) -> Effect | None:
    if x.dim() != 4:
        return None
    sizes = (layer.kernel_size, layer.stride, layer.padding)
    return rules.avg_pool2d(x, *sizes, layer.ceil_mode)


def _linear(layer: nn.Linear, x: Activation) -> Effect | None:
    return rules.mm(x, layer.weight.t()) if x.dim() == 2 and x.is_global else None


def _unchanged(layer: nn.Module, x: Activation) -> Effect:
    return rules.same(x)


SHORTCUTS: dict[type[nn.Module], Callable[[Any, Activation], Effect | None]] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.Linear: _linear,
    **dict.fromkeys(
        (
            nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
            nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus,
            nn.Dropout, nn.Dropout2d, nn.Identity,
        ),
        _unchanged,
    ),
}  # fmt: skip


def shortcut(layer: nn.Module, x: Activation) -> Effect | None:
    """Effect of one of torch's own layers on `x`, or `None` where its `forward` must run."""
    function = SHORTCUTS.get(type(layer))
    if function is None or layer._forward_hooks or layer._forward_pre_hooks:
        return None
    return None if "forward" in layer.__dict__ else function(layer, x)
