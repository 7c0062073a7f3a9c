"""Parts that several stages are made of: a convolution with what follows it, and kin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..accounting.geometry import Count, Sliding, conv_weights, even_padding
from ..accounting.window import Pair
from ..errors import SpecError, explain
from .fields import ACTIVATIONS, Squeeze
from .parts import Chain, Join, Layer, Part

CONV_FIRST, CONV_LAST = ("conv", "norm", "act", "drop"), ("norm", "act", "conv", "drop")


def convolution(
    name: str, in_channels: Count, out: Count, kernel: Pair = (1, 1), stride: Pair = (1, 1),
    padding: Pair | None = None, dilation: Pair = (1, 1), groups: Count = 1, *, norm: bool = True,
    act: str | None = "relu", bias: bool | None = None, dropout: float = 0,
    order: tuple[str, ...] = CONV_FIRST,
) -> Chain:  # fmt: skip
    """A convolution with norm, activation and dropout, as `blocks.ConvBNReLU` has them.

    `padding=None` keeps the size at stride 1.
    """
    if np.any((in_channels % groups) | (out % groups)):
        raise SpecError(
            explain(
                "groups must divide the channels on both sides",
                numbers={"in": in_channels, "out": out, "groups": groups},
                remedy="Choose widths that are multiples of groups.",
            )
        )
    pads = even_padding(kernel, dilation) if padding is None else padding
    assert pads is not None  # stages whose blocks pad have odd kernels
    sliding = Sliding(kernel, stride, tuple((p, p) for p in pads), dilation)
    has_bias = not norm if bias is None else bias
    layers = {
        "conv": Layer(
            "conv", "Conv2d", out, conv_weights(in_channels, out, kernel, groups),
            out if has_bias else 0, 0, sliding, sliding.windows, role="convolution",
            has_bias=has_bias, weight_shape=(out, in_channels // groups, *kernel),
        )
    }  # fmt: skip
    before = order[0] != "conv"
    if norm:
        layers["norm"] = batch_norm("norm", in_channels if before else out)
    if act:
        layers["act"] = activation("act", in_channels if before else out, act)
    if dropout:
        layers["drop"] = Layer("drop", "Dropout2d", out, role="dropout")
    return Chain(name, tuple(layers[each] for each in order if each in layers))


def batch_norm(name: str, channels: Count, kind: str = "BatchNorm2d") -> Layer:
    """A batch norm: scale and shift, mean and variance, and one batch counter."""
    return Layer(name, kind, channels, channels, channels, 2 * channels + 1, role="batch norm")


def activation(name: str, channels: Count, act: str | None) -> Layer:
    """An activation by its name in specs; `None` is an `nn.Identity`."""
    kind, role = ACTIVATIONS[act] if act else ("Identity", "identity")
    return Layer(name, kind, channels, role=role)


def linear_layers(
    features: Count, out: Count, *, norm: bool, act: str | None, bias: bool | None, dropout: float
) -> Iterator[Layer]:
    """A linear layer with what follows it."""
    has_bias = not norm if bias is None else bias
    yield Layer(
        "linear", "Linear", out, features * out, out if has_bias else 0, role="linear",
        has_bias=has_bias, weight_shape=(out, features),
    )  # fmt: skip
    if norm:
        yield batch_norm("norm", out, "BatchNorm1d")
    if act:
        yield activation("act", out, act)
    if dropout:
        yield Layer("drop", "Dropout", out, role="dropout")


def squeeze_excite(
    name: str, channels: Count, squeezed: Count, act: str | None, gate: str = "Sigmoid"
) -> Join:
    """Every channel weighed by a gate that reads the whole map."""
    inner = convolution("", channels, squeezed, norm=False, act=act).parts
    outer = convolution("", squeezed, channels, norm=False, act=None).parts
    gates: tuple[Part, ...] = (
        Layer("pool", "AdaptiveAvgPool2d", channels, ends_as="point", role="average pooling"),
        _named(inner[0], "reduce"),
        inner[1] if act else activation("act", squeezed, None),
        _named(outer[0], "expand"),
        Layer("gate", gate, channels, role="squashing"),
    )
    return Join(name, "mul", (None, Chain("", gates)))


def squeezes(
    se: Squeeze | None, in_channels: Count, hidden: Count, act: str | None
) -> Iterator[Part]:
    """The squeeze-excite of a block, if it has one."""
    if se is not None:
        inside, gate = ("relu", "Hardsigmoid") if se.is_hard else (act, "Sigmoid")
        yield squeeze_excite("se", hidden, se.width(in_channels), inside, gate)


def _named(part: Part, name: str) -> Layer:
    assert isinstance(part, Layer)  # of a convolution
    return replace(part, name=name)
