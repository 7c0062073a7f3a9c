"""Shortcuts: what torch's own layers do, without running their `forward`.

Each gives the very `Effect` that the rules give for the layer's operations, several times faster,
because no call passes through PyTorch's dispatcher. A layer is taken only if its class is exactly
torch's, and it has no hooks; a function may give `None` where the layer's `forward` must run. Tests
hold every shortcut against the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from math import prod
from typing import Any

from torch import nn

from ..rules.core import Activation, Effect, same, same_channels
from ..rules.products import linear
from ..rules.sliding import adaptive_pool, avg_pool, fitted, max_pool, slide


def _conv2d(layer: nn.Conv2d, x: Activation) -> Effect | None:
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    # Uneven padding is an operation of its own, with a result that takes memory: let it run.
    if layer.padding_mode != "zeros" or x.dim() != 4 or left != right or top != bottom:
        return None
    same_channels(x, layer.in_channels)
    out, *rest = layer._parameters["weight"].shape  # type: ignore[union-attr]  # convs have one
    pads = ((top, top), (left, left))
    fit = fitted(tuple(x.shape[2:]), tuple(rest[1:]), layer.stride, pads, layer.dilation)
    return slide(x, out, fit, out * prod(rest), layer.groups)


def _batch_norm(layer: nn.BatchNorm2d, x: Activation) -> Effect | None:
    if not layer.track_running_stats or x.dim() != 4:
        return None  # without running statistics even inference looks at the batch
    same_channels(x, layer.num_features)
    return same(x)


def _max_pool(layer: nn.MaxPool2d, x: Activation) -> Effect | None:
    if layer.return_indices or x.dim() != 4:
        return None
    sizes: Any = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    return max_pool(x, *sizes)


def _avg_pool(layer: nn.AvgPool2d, x: Activation) -> Effect | None:
    if x.dim() != 4:
        return None
    sizes: Any = (layer.kernel_size, layer.stride, layer.padding)
    return avg_pool(x, *sizes, layer.ceil_mode)


def _adaptive(layer: nn.AdaptiveAvgPool2d, x: Activation) -> Effect | None:
    size: Any = layer.output_size
    sizes = (size, size) if isinstance(size, int) else size
    return adaptive_pool(x, sizes) if x.dim() == 4 and sizes and None not in sizes else None


def _linear(layer: nn.Linear, x: Activation) -> Effect | None:
    return linear(x, layer.weight) if x.dim() == 2 else None


def _unchanged(layer: nn.Module, x: Activation) -> Effect:
    return same(x)


_DROPS = {nn.Dropout, nn.Dropout2d, nn.Identity}
SHORTCUTS: dict[type[nn.Module], Callable[[Any, Activation], Effect | None]] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.Linear: _linear,
    **dict.fromkeys(
        (
            nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
            nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus,
            *_DROPS,
        ),
        _unchanged,
    ),
}  # fmt: skip


_IN_PLACE = {cls for cls in SHORTCUTS if "inplace" in signature(cls).parameters}


def returns_input(layer: nn.Module) -> bool:
    """Whether one of these layers gives its input back, at inference."""
    cls = type(layer)
    if cls in _DROPS:
        return True
    return cls in _IN_PLACE and layer.inplace  # type: ignore[return-value]  # a bool, by its class
