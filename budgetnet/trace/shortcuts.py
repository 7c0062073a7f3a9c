"""Shortcuts: what torch's own layers do, without running their `forward`.

Each gives the same `Effect` as the rules for the layer's operations, several times faster, because
no call passes through PyTorch's dispatcher. A shortcut is used only if the layer's class is exactly
torch's and unchanged, and the layer has no hooks and no methods of its own. It uses the current
state of the layer, and gives `None` if the layer's `forward` must run. Tests compare every shortcut
with the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from .rules.core import Activation, Effect, same_channels
from .rules.products import linear
from .rules.reductions import layer_norm
from .rules.sliding import Fit, adaptive_pool, fitted, slide

Shortcut: TypeAlias = Callable[[Any, Activation], Effect | None]


def _pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int


_get = dict.get  # of a plain dict: a copy's own would make aliases on mere access


def _weight(layer: nn.Module, x: Activation, dim: int) -> Any:
    """The weight, if it is a parameter of the input's type, as is the bias."""
    table = layer._parameters
    weight, bias = _get(table, "weight"), _get(table, "bias", layer)
    if weight is None or bias is layer or weight.dim() != dim or weight.dtype is not x.dtype:
        return None
    if bias is not None and (bias.dtype is not x.dtype or bias.shape != weight.shape[:1]):
        return None
    return weight


def _conv2d(layer: nn.Conv2d, x: Activation) -> Effect | None:
    weight = _weight(layer, x, 4)
    if weight is None or layer.padding_mode != "zeros":
        return None
    weights, shape = tuple(weight.shape), tuple(x.shape)
    out, inner, groups = weights[0], weights[1], layer.groups
    if type(groups) is not int or groups < 1 or out % groups or len(shape) != 4:
        return None
    if inner * groups != shape[1]:
        same_channels(x, inner * groups)
    fit = _fit(shape[2:], weights[2:], layer.stride, layer.padding, layer.dilation, False)
    if fit is None:
        return None
    effect = slide(x, out, fit, weight.numel(), groups)
    effect.role, effect.weight_shape = "convolution", weights
    effect.has_bias = _get(layer._parameters, "bias") is not None
    return effect


def _fit(size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: Any) -> Fit | None:
    """How a layer lies on its map; `None` if its arguments are not of the usual types."""
    try:
        return _checked_fit(size, kernel, stride, padding, dilation, ceil)
    except TypeError:  # a list, say, which torch takes as well
        return None


@lru_cache(maxsize=4096)
def _checked_fit(
    size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: Any
) -> Fit | None:
    if not (_pair(kernel) and _pair(stride) and _pair(padding) and _pair(dilation)):
        return None
    if min(*kernel, *stride, *dilation) < 1 or min(padding) < 0 or type(ceil) is not bool:
        return None
    top, left = padding
    return fitted(size, kernel, stride, ((top, top), (left, left)), dilation, ceil)


def _batch_norm(layer: nn.BatchNorm2d, x: Activation) -> Effect | None:
    mean, variance = _get(layer._buffers, "running_mean"), _get(layer._buffers, "running_var")
    shape = x.shape
    if mean is None or variance is None or layer.training or len(shape) != 4:
        return None  # without running statistics even inference looks at the batch
    size = mean.shape
    if variance.shape != size or len(size) != 1:
        return None
    table = layer._parameters
    scale, shift = _get(table, "weight", layer), _get(table, "bias", layer)
    if scale is layer or (scale is not None and scale.shape != size):
        return None
    if shift is layer or (shift is not None and shift.shape != size):
        return None
    if shape[1] != size[0]:
        same_channels(x, size[0])
    return _same(x, "batch norm")


def _max_pool(layer: nn.MaxPool2d, x: Activation) -> Effect | None:
    if layer.return_indices is not False:
        return None
    effect = _pool(layer, x, layer.dilation, "max pooling")
    if effect is not None:
        effect.extra = ((effect.shape, torch.int64),)
    return effect


def _avg_pool(layer: nn.AvgPool2d, x: Activation) -> Effect | None:
    return None if layer.divisor_override is not None else _pool(layer, x, 1, "average pooling")


def _pool(layer: Any, x: Activation, dilation: Any, role: str) -> Effect | None:
    if x.dim() != 4:
        return None
    kernel, padding = _twice(layer.kernel_size), _twice(layer.padding)
    sizes = (kernel, _twice(layer.stride), padding, _twice(dilation), layer.ceil_mode)
    fit = _fit(tuple(x.shape[2:]), *sizes)
    if fit is None or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None  # torch refuses it
    effect = slide(x, x.shape[1], fit, groups=0)
    effect.role = role
    return effect


def _twice(value: Any) -> Any:
    return (value, value) if type(value) is int else value


def _adaptive(layer: nn.AdaptiveAvgPool2d, x: Activation) -> Effect | None:
    size: Any = layer.output_size
    sizes = (size, size) if type(size) is int else size
    if x.dim() != 4 or not _pair(sizes) or min(sizes) < 1 or x.reading is not None:
        return None
    effect = adaptive_pool(x, sizes)
    effect.role = "average pooling"
    return effect


def _linear(layer: nn.Linear, x: Activation) -> Effect | None:
    weight = _weight(layer, x, 2)
    if weight is None or x.shape[-1:] != weight.shape[1:] or not x.numel():
        return None
    if x.dim() != 2 and not x.is_contiguous():
        return None  # torch may copy it
    effect = linear(x, weight, _get(layer._parameters, "bias"))
    effect.role = "linear"
    return effect


def _layer_norm(layer: nn.LayerNorm, x: Activation) -> Effect | None:
    shape, table = layer.normalized_shape, layer._parameters
    if type(shape) is not tuple or not 0 < len(shape) <= x.dim() or not x.numel():
        return None
    affine: list[Any] = [_get(table, name, layer) for name in ("weight", "bias")]
    for value in affine:
        if value is layer or (value is not None and value.dtype is not x.dtype):
            return None
    effect = layer_norm(x, shape, *affine)
    effect.role = "norm"
    return effect


def _same(x: Activation, role: str) -> Effect:
    return Effect(tuple(x.shape), x.field, x.reading, is_global=x.is_global, role=role)


def _relu(layer: nn.Module, x: Activation) -> Effect:
    return _same(x, "relu")


def _activation(layer: nn.Module, x: Activation) -> Effect:
    return _same(x, "activation")


def _squashing(layer: nn.Module, x: Activation) -> Effect:
    return _same(x, "squashing")


def _identity(layer: nn.Module, x: Activation) -> Effect:
    return _same(x, "identity")


def _gelu(layer: nn.GELU, x: Activation) -> Effect | None:
    return _same(x, "activation") if layer.approximate in ("none", "tanh") else None


def _softplus(layer: nn.Softplus, x: Activation) -> Effect | None:
    numbers = (layer.beta, layer.threshold)
    return _same(x, "activation") if all(type(n) in (int, float) for n in numbers) else None


def _dropped(layer: Any, x: Activation) -> Effect | None:
    return None if layer.training or not 0 <= layer.p <= 1 else _same(x, "dropout")


_DROPS = {nn.Dropout, nn.Dropout2d, nn.Identity}
SHORTCUTS: dict[type[nn.Module], Shortcut] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.GELU: _gelu,
    nn.Softplus: _softplus,
    nn.Dropout: _dropped,
    nn.Dropout2d: _dropped,
    nn.Identity: _identity,
    nn.ReLU: _relu,
    **dict.fromkeys((nn.Hardsigmoid, nn.Sigmoid, nn.Tanh), _squashing),
    **dict.fromkeys(
        (nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU, nn.Mish, nn.Hardswish),
        _activation,
    ),
}

_IN_PLACE = {cls for cls in SHORTCUTS if "inplace" in signature(cls).parameters}
# What a call of these layers runs, as it was when this module was imported.
_INNER = {nn.Conv2d: ("_conv_forward",), nn.BatchNorm2d: ("_check_input_dim",)}
_METHODS = tuple(
    (cls, name)
    for cls in SHORTCUTS
    for name in ("__call__", "_call_impl", "forward", "__getattr__", *_INNER.get(cls, ()))
)
_FUNCTIONS = tuple(
    (F, name)
    for name in (
        "conv2d", "batch_norm", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "linear",
        "dropout", "dropout2d", "relu", "hardtanh", "leaky_relu", "elu", "selu", "gelu", "silu",
        "mish", "hardswish", "hardsigmoid", "softplus", "layer_norm",
    )
)  # fmt: skip


def _now(names: tuple[tuple[Any, str], ...]) -> list[Any]:
    return [getattr(owner, name) for owner, name in names]


_AS_MADE = _now(_METHODS), _now(_FUNCTIONS)


def live_shortcuts() -> dict[type[nn.Module], Shortcut]:
    """The shortcuts that hold now: not those of changed classes and functions."""
    methods, functions = _now(_METHODS), _now(_FUNCTIONS)
    if (methods, functions) == _AS_MADE:
        return SHORTCUTS
    if functions != _AS_MADE[1]:
        return {}
    changes = zip(_METHODS, methods, _AS_MADE[0], strict=True)
    changed = {cls for (cls, _), method, before in changes if method is not before}
    return {cls: answer for cls, answer in SHORTCUTS.items() if cls not in changed}


def returns_input(layer: nn.Module) -> bool:
    """Whether one of these layers returns its input at inference."""
    cls = type(layer)
    if cls in _DROPS:
        return True
    return cls in _IN_PLACE and bool(layer.inplace)
