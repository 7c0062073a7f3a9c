"""Stages whose blocks branch inside: residuals, inverted residuals, dense blocks, squeeze-excite.

Their figures depend on no more than their input's width and their own options. Their blocks pad so
that stride 1 keeps the size of the map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..accounting.geometry import Count, scaled_channels
from ..errors import SpecError, explain
from .calls import Call, block_call, inner_activation
from .fields import Squeeze
from .layers import CONV_LAST, activation, convolution, squeeze_excite, squeezes
from .parts import Chain, Join, Layer, Part, are_equal
from .stage import Stage

Size: TypeAlias = Any  # given as an int or a pair, kept as a pair (height, width)


class _Residual(Stage):
    """A block with a shortcut: the input itself where its shape stays."""

    __slots__ = ()

    def case(self, in_channels: Count) -> Count:
        """Whether the shortcut is the input itself."""
        return _case(self.stride == (1, 1) and np.equal(in_channels, self.out_channels))  # type: ignore[attr-defined]  # it has both


@dataclass(frozen=True, slots=True)
class BasicBlock(_Residual):
    """Two convolutions and a shortcut, activated after the sum: `blocks.BasicBlock`.

    Text form `bb64`. `(C, H, W)` to `(out_channels, H', W')` with `H' = (H - 1) // stride + 1`:
    the block pads. If the stride is not 1 or the widths differ, the shortcut is a 1x1
    convolution with norm.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([BasicBlock(64, stride=2)]), (32, 16, 16))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('bb64s2', 57728, (64, 8, 8))
    """

    prefix, number, child, pads = "bb", "out_channels", "basic", True
    block = "blocks.BasicBlock"

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    norm: bool = True
    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """Body, shortcut, their sum, and the activation."""
        out, kernel, dilation = self.out_channels, self.kernel_size, self.dilation
        first = convolution(
            "conv1", in_channels, out, kernel, self.stride, None, dilation, norm=self.norm,
            act=self.act,
        )  # fmt: skip
        second = convolution("conv2", out, out, kernel, dilation=dilation, norm=self.norm, act=None)
        return _residual(self, in_channels, Chain("body", (first, second)))


@dataclass(frozen=True, slots=True)
class Bottleneck(_Residual):
    """Narrow by 1x1, convolve, widen by 1x1, and a shortcut: `blocks.Bottleneck`.

    Text form `bt256`. `(C, H, W)` to `(out_channels, H', W')` with `H' = (H - 1) // stride +
    1`: the block pads. The hidden width is that of the output by the expansion, or
    `hidden_channels`. The shortcut is that of `BasicBlock`.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Bottleneck(256)]), (64, 56, 56))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('bt256', 75008, (256, 56, 56))
    """

    prefix, number, child, pads = "bt", "out_channels", "bottleneck", True
    block = "blocks.Bottleneck"

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    groups: int = 1
    expansion: float = 4
    hidden_channels: int | None = None
    se: Squeeze | None = None
    norm: bool = True
    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """Body, shortcut, their sum, and the activation."""
        hidden, norm, act = self.hidden, self.norm, self.act
        middle = convolution(
            "conv2", hidden, hidden, self.kernel_size, self.stride, None, self.dilation,
            self.groups, norm=norm, act=act,
        )  # fmt: skip
        body = (
            convolution("conv1", in_channels, hidden, norm=norm, act=act),
            middle,
            *squeezes(self.se, in_channels, hidden, act),
            convolution("conv3", hidden, self.out_channels, norm=norm, act=None),
        )
        return _residual(self, in_channels, Chain("body", body))

    @property
    def multiples(self) -> tuple[int, int]:
        """What the channels of its input, and those of its output, are multiples of."""
        fixed = self.hidden_channels is not None or type(self.expansion) is not int
        return 1, 1 if fixed else self.expansion * self.groups  # type: ignore[return-value]  # an int

    @property
    def hidden(self) -> Count:
        """Channels of the middle convolution."""
        if self.hidden_channels is not None:
            return self.hidden_channels
        if type(self.expansion) is not int or np.any(self.out_channels % self.expansion):
            what = "expansion must divide out_channels without remainder"
            numbers = {"out": self.out_channels, "expansion": self.expansion}
            remedy = "Give the hidden width instead, such as h64."
            raise SpecError(explain(what, numbers=numbers, remedy=remedy))
        return self.out_channels // self.expansion

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        # The block's expansion leaves its groups out, as in ResNeXt.
        said = self if self.groups == 1 else replace(self, hidden_channels=self.hidden)
        return Stage.call(said, in_channels)


@dataclass(frozen=True, slots=True)
class _Inverted(Stage):
    """A block that is wide inside; its input is added where its shape stays."""

    number, pads = "out_channels", True

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    expansion: float = 6
    hidden_channels: int | None = None
    se: Squeeze | None = None
    norm: bool = True
    act: str | None = "relu"

    def hidden(self, in_channels: Count) -> Count:
        """Channels inside."""
        if self.hidden_channels is not None:
            return self.hidden_channels
        return scaled_channels(in_channels, self.expansion)

    def case(self, in_channels: Count) -> Count:
        """Whether the input is added, and whether it is widened."""
        fits = self.stride == (1, 1) and np.equal(in_channels, self.out_channels)
        return _case(fits, np.equal(self.hidden(in_channels), in_channels))

    def added(self, in_channels: Count, row: tuple[Part, ...]) -> Part:
        """Layers in a row, and their input added where it fits."""
        fits = self.stride == (1, 1) and are_equal(in_channels, self.out_channels)
        return Join("", "add", (None, Chain("", row))) if fits else Chain("", row)


@dataclass(frozen=True, slots=True)
class InvertedResidual(_Inverted):
    """Widen by 1x1, convolve depthwise, narrow by 1x1: `blocks.InvertedResidual`.

    Text form `ir24`, as timm has it. `(C, H, W)` to `(out_channels, H', W')` with `H' = (H - 1)
    // stride + 1`: the block pads. The input is added if the stride is 1 and the widths agree.
    The hidden width is that of the input times the expansion, or `hidden_channels`.

    Source: Sandler et al., "MobileNetV2", 2018, arXiv:1801.04381.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([InvertedResidual(24, 5, stride=2, se=Squeeze(0.25))]), (16, 56, 56))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('ir24k5s2se0.25', 7540, (24, 28, 28))
    """

    prefix, child, block = "ir", "inverted", "blocks.InvertedResidual"

    def part(self, in_channels: Count) -> Part:
        """The layers in a row, and the sum if there is one."""
        hidden, norm, act = self.hidden(in_channels), self.norm, self.act
        widened = not are_equal(hidden, in_channels)
        depthwise = convolution(
            "depthwise", hidden, hidden, self.kernel_size, self.stride, None, self.dilation,
            hidden, norm=norm, act=act,
        )  # fmt: skip
        row = (
            *((convolution("expand", in_channels, hidden, norm=norm, act=act),) if widened else ()),
            depthwise,
            *squeezes(self.se, in_channels, hidden, act),
            convolution("project", hidden, self.out_channels, norm=norm, act=None),
        )
        return self.added(in_channels, row)


@dataclass(frozen=True, slots=True)
class FusedInvertedResidual(_Inverted):
    """Widen by a full convolution, narrow by 1x1: `blocks.FusedInvertedResidual`.

    Text form `er24`, as timm has it. Otherwise as `InvertedResidual`, with an expansion of 4.

    Source: Tan and Le, "EfficientNetV2", 2021, arXiv:2104.00298.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([FusedInvertedResidual(48, stride=2)]), (24, 56, 56))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('er48s2', 25632, (48, 28, 28))
    """

    prefix, child, block = "er", "fused", "blocks.FusedInvertedResidual"

    expansion: float = 4

    def part(self, in_channels: Count) -> Part:
        """The layers in a row, and the sum if there is one."""
        hidden, out, norm, act = self.hidden(in_channels), self.out_channels, self.norm, self.act
        size = (self.kernel_size, self.stride, None, self.dilation)
        squeezed = tuple(squeezes(self.se, in_channels, hidden, act))
        if are_equal(hidden, in_channels):
            full = convolution("project", in_channels, out, *size, norm=norm, act=act)
            return self.added(in_channels, (*squeezed, full))
        full = convolution("expand", in_channels, hidden, *size, norm=norm, act=act)
        linear = convolution("project", hidden, out, norm=norm, act=None)
        return self.added(in_channels, (full, *squeezed, linear))


@dataclass(frozen=True, slots=True)
class DenseBlock(Stage):
    """Layers that each append channels to those of their input: `blocks.DenseBlock`.

    Text form `db32n6`: growth rate and number of layers. `(C, H, W)` to `(C + num_layers *
    growth_rate, H, W)`. `bottleneck` is the width between the two convolutions of a layer by
    the growth rate; 0 leaves the first one out.

    Source: Huang et al., "Densely Connected Convolutional Networks", 2016, arXiv:1608.06993.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([DenseBlock(32, 6)]), (64, 56, 56))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('db32n6', 335040, (256, 56, 56))
    """

    prefix, number, child, pads = "db", "growth_rate", "dense", True
    block = "blocks.DenseBlock"

    growth_rate: int
    num_layers: int = 1
    kernel_size: Size = (3, 3)
    dilation: Size = (1, 1)
    bottleneck: int = 4
    norm: bool = True
    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """Its layers, of which each joins its input with what it gives."""
        growth = self.growth_rate
        widths = (in_channels + i * growth for i in range(self.num_layers))
        return Chain("", tuple(
            Join(f"layer{i}", "cat", (None, Chain("", tuple(self._layer(width)))))
            for i, width in enumerate(widths, start=1)
        ))  # fmt: skip

    def _layer(self, width: Count) -> Any:
        options: dict[str, Any] = {"norm": self.norm, "act": self.act, "order": CONV_LAST}
        if self.bottleneck:
            yield convolution("reduce", width, self.bottleneck * self.growth_rate, **options)
            width = self.bottleneck * self.growth_rate
        yield convolution(
            "grow", width, self.growth_rate, self.kernel_size, dilation=self.dilation, **options
        )

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        return block_call(self.block, self, in_channels, self.growth_rate, self.num_layers)


@dataclass(frozen=True, slots=True)
class SqueezeExcite(Stage):
    """Every channel weighed by a gate that reads the whole map: `blocks.SqueezeExcite`.

    Text form `se8`, with the channels that are squeezed to. `(C, H, W)` to the same shape.

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2017, arXiv:1709.01507.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([SqueezeExcite(8)]), (32, 16, 16))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('se8', 552, (32, 16, 16))
    """

    prefix, number, child = "se", "squeeze_channels", "se"

    squeeze_channels: int
    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """The gate, and the product."""
        return squeeze_excite("", in_channels, self.squeeze_channels, self.act)

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        return Call(
            "blocks.SqueezeExcite", (in_channels, self.squeeze_channels), inner_activation(self.act)
        )


def _case(*tests: Any) -> Count:
    """A number of what holds, for each of several widths; 0 if all are alike."""
    number = sum(np.asarray(test, np.int64) << i for i, test in enumerate(tests))
    return number if np.ndim(number) and np.ptp(number) else 0


def _residual(stage: Any, in_channels: Count, body: Chain) -> Join:
    """Body and shortcut, their sum, and the activation after it, as `blocks.Residual` has them."""
    out = stage.out_channels
    shortcut: Part = Layer("shortcut", "Identity", out, role="identity")
    if stage.stride != (1, 1) or not are_equal(in_channels, out):
        shortcut = convolution(
            "shortcut", in_channels, out, (1, 1), stage.stride, norm=stage.norm, act=None
        )
    return Join("", "add", (body, shortcut), (activation("act", out, stage.act),))
