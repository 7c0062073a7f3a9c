"""The stages that a spec is made of, each as frozen data that lists its layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..accounting.geometry import Count, Sliding, conv_weights
from ..accounting.window import Pair, Window
from ..errors import SpecError, explain


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stage, as `plan` sees it: what it is, and how it slides and weighs."""

    name: str
    kind: str
    out_channels: int
    weights: int = 0
    biases: int = 0
    buffers: int = 0
    sliding: Sliding | None = None
    windows: tuple[Window, ...] = ()  # of `sliding`
    is_global: bool = False
    role: str = ""  # this and the next two as in `Row`
    has_bias: bool | None = None
    weight_shape: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution, BatchNorm, ReLU: `blocks.ConvBNReLU`. Text form `c16`.

    `bias=None` gives a bias exactly where there is no norm. Sizes are `(height, width)`.
    """

    out_channels: int
    kernel_size: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    norm: bool = True
    act: bool = True
    bias: bool | None = None

    def layers(self, in_channels: int, prefix: str = "") -> Iterator[Layer]:
        """The layers of this stage, in order."""
        _divisible(in_channels, self.out_channels, self.groups)
        out, bias = self.out_channels, not self.norm if self.bias is None else self.bias
        weights = conv_weights(in_channels, out, self.kernel_size, self.groups)
        pads = tuple((p, p) for p in self.padding)
        sliding = Sliding(self.kernel_size, self.stride, pads, self.dilation)
        yield Layer(
            f"{prefix}conv", "Conv2d", out, weights, out if bias else 0, 0, sliding,
            sliding.windows, role="convolution", has_bias=bias,
            weight_shape=(out, in_channels // self.groups, *self.kernel_size),
        )  # fmt: skip
        if self.norm:
            running = 2 * out + 1  # mean, variance, and one batch counter
            yield Layer(f"{prefix}norm", "BatchNorm2d", out, out, out, running, role="batch norm")
        if self.act:
            yield Layer(f"{prefix}act", "ReLU", out, role="activation")


@dataclass(frozen=True, slots=True)
class Separable:
    """Depthwise then 1x1 convolution, each with norm and ReLU: `blocks.DepthwiseSeparable`.

    Text form `ds16`.
    """

    out_channels: int
    kernel_size: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    norm: bool = True
    act: bool = True

    def layers(self, in_channels: int) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        depthwise = Conv(
            in_channels, self.kernel_size, self.stride, self.padding, self.dilation,
            groups=in_channels, norm=self.norm, act=self.act,
        )  # fmt: skip
        pointwise = Conv(self.out_channels, (1, 1), norm=self.norm, act=self.act)
        yield from depthwise.layers(in_channels, "depthwise.")
        yield from pointwise.layers(in_channels, "pointwise.")


@dataclass(frozen=True, slots=True)
class Transition:
    """1x1 convolution, norm, ReLU: `blocks.Transition`. Text form `t10`."""

    out_channels: int
    norm: bool = True
    act: bool = True

    def layers(self, in_channels: int) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        yield from Conv(self.out_channels, (1, 1), norm=self.norm, act=self.act).layers(in_channels)


@dataclass(frozen=True, slots=True)
class Pool:
    """Max pooling: `torch.nn.MaxPool2d`. Text form `p`; the stride defaults to the kernel."""

    kernel_size: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Pair = (0, 0)

    def layers(self, in_channels: int) -> Iterator[Layer]:
        """The one layer of this stage."""
        pads = tuple((p, p) for p in self.padding)
        sliding = Sliding(self.kernel_size, self.stride, pads)
        yield Layer(
            "", "MaxPool2d", in_channels, 0, 0, 0, sliding, sliding.windows, role="max pooling"
        )


@dataclass(frozen=True, slots=True)
class Head:
    """Global average pooling, behind a 1x1 classifier where `num_classes` is given: `blocks.GAP`.

    Text form `gap` or `gap10`. The classifier has a norm and no activation, since its outputs are
    logits.
    """

    num_classes: int | None = None
    norm: bool = True

    def layers(self, in_channels: int) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        out = self.num_classes or in_channels
        if self.num_classes:
            yield from Conv(out, (1, 1), norm=self.norm, act=False).layers(in_channels)
        yield Layer("pool", "GlobalAveragePool", out, is_global=True, role="average pooling")


Stage: TypeAlias = Conv | Separable | Transition | Pool | Head
NAMES = {Conv: "conv", Separable: "separable", Transition: "transition", Pool: "pool", Head: "head"}


def with_width(stage: Stage, width: Any) -> Stage:
    """A stage with its output channels set, where it has any of its own."""
    return replace(stage, out_channels=width) if hasattr(stage, "out_channels") else stage


def _divisible(in_channels: Count, out_channels: Count, groups: Count) -> None:
    if np.any((in_channels % groups) | (out_channels % groups)):
        raise SpecError(
            explain(
                "groups must divide the channels on both sides",
                numbers={"in": in_channels, "out": out_channels, "groups": groups},
                remedy="Choose widths that are multiples of groups.",
            )
        )
