"""Operators as calls of PyTorch: modules where it has them, at inference, on random maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ..accounting.operators import Operator

Call = Callable[..., torch.Tensor]


def call_of(operator: Operator) -> Callable[[], torch.Tensor]:
    """The operator as a call without arguments, on inputs of its shapes at batch 1."""
    shapes = [s[1:] if operator.name == "linear" and s[0] == 1 else s for s in operator.inputs]
    run = _CALLS[operator.name](operator)
    if isinstance(run, nn.Module):
        run.eval()
    return partial(run, *(torch.randn(1, *shape) for shape in shapes))


def _of_axes(kind: str, axes: int) -> Any:
    """The module of a kind for so many axes, such as `nn.Conv2d`."""
    return getattr(nn, f"{kind}{axes}d")


def _sliding(each: Operator) -> dict[str, Any]:
    """Kernel, stride and padding, as modules take them."""
    slide = each.sliding
    assert slide is not None  # of convolutions and poolings
    pads = tuple(low for low, _ in slide.padding)
    return {"kernel_size": slide.kernel, "stride": slide.stride, "padding": pads}


def _conv(each: Operator) -> Call:
    assert each.sliding is not None
    more: dict[str, Any] = {"dilation": each.sliding.dilation, "groups": each.groups}
    kind, size = "Conv", each.inputs[0][1:]
    if each.name == "conv_transpose":
        plain = each.sliding.spread_size(size)
        more["output_padding"] = tuple(a - b for a, b in zip(each.output[1:], plain, strict=True))
        kind = "ConvTranspose"
    made: Call = _of_axes(kind, len(size))(
        each.inputs[0][0], each.output[0], **_sliding(each), **more, bias=each.has_bias
    )
    return made


def _pool(kind: str) -> Callable[[Operator], Call]:
    def make(each: Operator) -> Call:
        assert each.sliding is not None
        more = {"dilation": each.sliding.dilation} if kind == "MaxPool" else {}
        made: Call = _of_axes(kind, len(each.sliding.kernel))(
            **_sliding(each), **more, ceil_mode=each.sliding.ceil_mode
        )
        return made

    return make


def _linear(each: Operator) -> Call:
    return nn.Linear(each.inputs[0][1], each.output[1], bias=each.has_bias)


def _batch_norm(each: Operator) -> Call:
    channels, *size = each.inputs[0]
    made: Call = _of_axes("BatchNorm", max(1, len(size)))(channels)
    return made


def _average(each: Operator) -> Call:
    """The mean of a whole map, or of parts of it."""
    size = (1,) * (len(each.inputs[0]) - 1) if each.name == "mean" else each.output[1:]
    made: Call = _of_axes("AdaptiveAvgPool", len(size))(size)
    return made


def _of_two(run: Call) -> Callable[[Operator], Call]:
    return lambda _: lambda one, other=None: run(one, one if other is None else other)


def _always(kind: Callable[[], nn.Module]) -> Callable[[Operator], Call]:
    return lambda _: kind()


# By the name of an operator what makes its call; weights are made once, before it is timed.
_CALLS: dict[str, Callable[[Operator], Call]] = {
    "conv": _conv, "conv_transpose": _conv, "linear": _linear, "batch_norm": _batch_norm,
    "max_pool": _pool("MaxPool"), "avg_pool": _pool("AvgPool"),
    "adaptive_avg_pool": _average, "mean": _average,
    "add": _of_two(torch.add), "mul": _of_two(torch.mul),
    "cat": lambda _: lambda *maps: torch.cat(maps, 1),
    "relu": _always(nn.ReLU), "relu6": _always(nn.ReLU6), "hardswish": _always(nn.Hardswish),
    "silu": _always(nn.SiLU), "gelu": _always(nn.GELU), "elu": _always(nn.ELU),
    "leaky_relu": _always(nn.LeakyReLU), "sigmoid": _always(nn.Sigmoid),
    "tanh": _always(nn.Tanh), "hardsigmoid": _always(nn.Hardsigmoid),
}  # fmt: skip
