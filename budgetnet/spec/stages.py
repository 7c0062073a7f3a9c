"""The stages that a spec is made of: each knows its word, its layers, and what makes its block.

A new stage is a class, here or beside its kin, in `STAGES`, and its block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

from ..accounting.geometry import Count, Sliding
from .block_stages import (
    BasicBlock,
    Bottleneck,
    DenseBlock,
    FusedInvertedResidual,
    InvertedResidual,
    SqueezeExcite,
)
from .branches import Concat, Sum
from .calls import Call, short
from .fields import Squeeze
from .layers import CONV_FIRST, CONV_LAST, activation, batch_norm, convolution, linear_layers
from .parts import Chain, Layer, Part
from .stage import Stage

__all__ = [
    "AvgPool", "BasicBlock", "BatchNorm", "Bottleneck", "Classifier",
    "Concat", "Conv", "DenseBlock", "Dropout", "Flatten", "FusedInvertedResidual", "Head",
    "InvertedResidual", "Linear", "Pool", "PreactConv", "Separable", "Squeeze", "SqueezeExcite",
    "Stage", "Sum", "Transition", "TransposedConv", "Upsample",
]  # fmt: skip

Size: TypeAlias = Any  # given as an int or a pair, kept as a pair (height, width)


@dataclass(frozen=True, slots=True)
class _Convolution(Stage):
    """One convolution with norm and activation, in the `order` of its block."""

    number = "out_channels"
    order = CONV_FIRST

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    groups: int = 1
    norm: bool = True
    act: str | None = "relu"
    bias: bool | None = None
    dropout: float = 0

    def part(self, in_channels: Count) -> Part:
        """The convolution, and what comes before or after it."""
        return convolution(
            "", in_channels, self.out_channels, self.kernel_size, self.stride, self.padding,
            self.dilation, self.groups, norm=self.norm, act=self.act, bias=self.bias,
            dropout=self.dropout, order=self.order,
        )  # fmt: skip

    @property
    def multiples(self) -> tuple[int, int]:
        """What the channels of its input, and those of its output, are multiples of."""
        return self.groups, self.groups


@dataclass(frozen=True, slots=True)
class Conv(_Convolution):
    """Convolution, BatchNorm, ReLU: `blocks.ConvBNReLU`. Text form `c16`.

    `(C, H, W)` to `(out_channels, H', W')` with `H' = (H + 2 * padding - dilation * (kernel -
    1) - 1) // stride + 1`. `bias=None` adds a bias exactly if there is no norm. Sizes are
    `(height, width)`, or one number for both. `padding` is 0 as in `nn.Conv2d`.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, arXiv:1502.03167.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Conv(16, 5, stride=2)]), (3, 32, 32))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('c16k5s2', 1232, (16, 14, 14))
    """

    prefix, child, block = "c", "conv", "blocks.ConvBNReLU"


@dataclass(frozen=True, slots=True)
class Separable(Stage):
    """Depthwise then 1x1 convolution, each with norm and ReLU: `blocks.DepthwiseSeparable`.

    Text form `ds16`. `(C, H, W)` to `(out_channels, H', W')` as in `Conv`; kernel, stride,
    padding and dilation are those of the depthwise convolution.

    Source: Howard et al., "MobileNets", 2017, arXiv:1704.04861.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Separable(16, stride=2)]), (8, 32, 32))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('ds16s2', 248, (16, 15, 15))
    """

    prefix, number, child, block = "ds", "out_channels", "separable", "blocks.DepthwiseSeparable"

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    norm: bool = True
    act: str | None = "relu"
    dropout: float = 0

    def part(self, in_channels: Count) -> Part:
        """Both convolutions."""
        depthwise = convolution(
            "depthwise", in_channels, in_channels, self.kernel_size, self.stride, self.padding,
            self.dilation, in_channels, norm=self.norm, act=self.act,
        )  # fmt: skip
        pointwise = convolution(
            "pointwise", in_channels, self.out_channels, norm=self.norm, act=self.act,
            dropout=self.dropout,
        )  # fmt: skip
        return Chain("", (depthwise, pointwise))


@dataclass(frozen=True, slots=True)
class Transition(Stage):
    """1x1 convolution, norm, ReLU: `blocks.Transition`. Text form `t10`.

    `(C, H, W)` to `(out_channels, H, W)`.

    Source: Huang et al., "Densely Connected Convolutional Networks", 2016, arXiv:1608.06993.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Transition(10)]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('t10', 180, (10, 8, 8))
    """

    prefix, number, child, block = "t", "out_channels", "transition", "blocks.Transition"

    out_channels: int
    norm: bool = True
    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """The convolution and what follows it."""
        return convolution("", in_channels, self.out_channels, norm=self.norm, act=self.act)


@dataclass(frozen=True, slots=True)
class PreactConv(_Convolution):
    """BatchNorm, ReLU, convolution, as between dense blocks: `blocks.BNReLUConv`.

    Text form `pc16`. Shapes and fields are those of `Conv`; the norm is over the input.

    Source: He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv:1603.05027.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([PreactConv(16, 1)]), (32, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('pc16k1', 576, (16, 8, 8))
    """

    prefix, child, block = "pc", "preact", "blocks.BNReLUConv"
    order = CONV_LAST


@dataclass(frozen=True, slots=True)
class BatchNorm(Stage):
    """BatchNorm and ReLU without a convolution: `blocks.BNReLU`. Text form `bn`.

    `(C, H, W)` to the same shape.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, arXiv:1502.03167.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([BatchNorm()]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('bn', 32, (16, 8, 8))
    """

    prefix, child, block = "bn", "norm", "blocks.BNReLU"

    act: str | None = "relu"

    def part(self, in_channels: Count) -> Part:
        """The norm and the activation."""
        acts = (activation("act", in_channels, self.act),) if self.act else ()
        return Chain("", (batch_norm("norm", in_channels), *acts))


@dataclass(frozen=True, slots=True)
class _Pooling(Stage):
    """A pooling of torch; the stride defaults to the kernel."""

    number = "kernel_size"

    kernel_size: Size = (2, 2)
    stride: Size = None
    padding: Size = (0, 0)

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        Stage.__post_init__(self)
        axes = zip(self.padding, self.kernel_size, strict=True)
        if any(2 * pad > kernel for pad, kernel in axes):
            raise self._refused("padding", self.padding, "at most half the kernel, as in torch")

    def _pooled(self, kind: str, role: str, channels: Count) -> Layer:
        pads = tuple((p, p) for p in self.padding)
        sliding = Sliding(self.kernel_size, self.stride, pads)
        return Layer("", kind, channels, 0, 0, 0, sliding, sliding.windows, role=role)

    def _called(self, kind: str) -> Call:
        options = [(name, short(getattr(self, name))) for name in ("stride", "padding")
                   if getattr(self, name) != self.usual(name)]  # fmt: skip
        return Call(f"nn.{kind}", (short(self.kernel_size),), tuple(options), is_placed=False)

    def usual(self, name: str) -> Any:
        """The value of a field that its word need not say."""
        return self.kernel_size if name == "stride" else Stage.usual(self, name)


@dataclass(frozen=True, slots=True)
class Pool(_Pooling):
    """Max pooling: `torch.nn.MaxPool2d`. Text form `p`; the stride defaults to the kernel.

    `(C, H, W)` to `(C, H', W')` with `H' = (H + 2 * padding - kernel) // stride + 1`.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Pool(3)]), (16, 9, 9))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('p3', 0, (16, 3, 3))
    """

    prefix, child = "p", "pool"

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage."""
        return self._pooled("MaxPool2d", "max pooling", in_channels)

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        return self._called("MaxPool2d")


@dataclass(frozen=True, slots=True)
class AvgPool(_Pooling):
    """Average pooling: `torch.nn.AvgPool2d`. Text form `ap`; the stride defaults to the kernel.

    Shapes are those of `Pool`. Padding counts as zeros, as torch has it.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([AvgPool(2)]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('ap', 0, (16, 4, 4))
    """

    prefix, child = "ap", "avgpool"

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage."""
        return self._pooled("AvgPool2d", "average pooling", in_channels)

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        return self._called("AvgPool2d")


@dataclass(frozen=True, slots=True)
class Upsample(Stage):
    """A map enlarged by a whole factor without weights: `torch.nn.Upsample`. Text form `u2`.

    `(C, H, W)` to `(C, scale * H, scale * W)`.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Upsample(2, "bilinear")]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('ubilinear', 0, (16, 16, 16))
    """

    prefix, number, child = "u", "scale", "upsample"

    scale: int = 2
    mode: str = "nearest"

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage."""
        return Layer("", "Upsample", in_channels, scale=self.scale, mode=self.mode, role="resizing")

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        mode = () if self.mode == "nearest" else (("mode", self.mode),)
        return Call("nn.Upsample", (), (("scale_factor", self.scale), *mode), is_placed=False)


@dataclass(frozen=True, slots=True)
class TransposedConv(Stage):
    """A convolution that enlarges its input: `torch.nn.ConvTranspose2d`. Text form `tc16`.

    `(C, H, W)` to `(out_channels, H', W')` with `H' = (H - 1) * stride + kernel - 2 * padding`.
    It has a bias, and neither norm nor activation, as in U-Net.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([TransposedConv(16)]), (32, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('tc16', 2064, (16, 16, 16))
    """

    prefix, number, child = "tc", "out_channels", "transposed"

    out_channels: int
    kernel_size: Size = (2, 2)
    stride: Size = (2, 2)
    padding: Size = (0, 0)

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage."""
        pads = tuple((p, p) for p in self.padding)
        weights = in_channels * self.out_channels * prod(self.kernel_size)
        return Layer(
            "", "ConvTranspose2d", self.out_channels, weights, self.out_channels, 0,
            Sliding(self.kernel_size, self.stride, pads), role="transposed convolution",
            has_bias=True, weight_shape=(in_channels, self.out_channels, *self.kernel_size),
        )  # fmt: skip

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        sizes = (short(self.kernel_size), short(self.stride))
        padding = () if self.padding == (0, 0) else (("padding", short(self.padding)),)
        return Call("nn.ConvTranspose2d", (in_channels, self.out_channels, *sizes), padding)


@dataclass(frozen=True, slots=True)
class Head(Stage):
    """Global average pooling, after a 1x1 classifier if `num_classes` is given: `blocks.GAP`.

    Text form `gap` or `gap10`. `(C, H, W)` to the vector `(num_classes,)`, or `(C,)`. The
    classifier has a norm and no activation, since its outputs are logits.

    Source: Lin, Chen and Yan, "Network in Network", 2013, arXiv:1312.4400.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Head(10)]), (16, 4, 4))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('gap10', 180, (10,))
    """

    prefix, number, child, block = "gap", "num_classes", "head", "blocks.GAP"
    gives, is_counted = "vector", False

    num_classes: int | None = None
    norm: bool = True

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        Stage.__post_init__(self)
        if self.num_classes is None:  # there is nothing to norm
            object.__setattr__(self, "norm", True)

    def part(self, in_channels: Count) -> Part:
        """The classifier, if any, and the pooling."""
        out = in_channels if self.num_classes is None else self.num_classes
        pool = Layer("pool", "GlobalAveragePool", out, ends_as="vector", role="average pooling")
        if self.num_classes is None:
            return Chain("", (pool,))
        return Chain("", (*convolution("", in_channels, out, norm=self.norm, act=None).parts, pool))

    @property
    def width(self) -> int | None:
        """The classes, if any."""
        return self.num_classes


@dataclass(frozen=True, slots=True)
class Flatten(Stage):
    """A map as one vector, `C * H * W` numbers: `torch.nn.Flatten`. Text form `flatten`.

    `(C, H, W)` to `(C * H * W,)`.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Flatten()]), (16, 5, 5))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('flatten', 0, (400,))
    """

    prefix, child = "flatten", "flatten"
    takes, gives = "any", "vector"

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage; `in_channels` are the features of its input."""
        return Layer("", "Flatten", in_channels, ends_as="vector", role="reshape")

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        return Call("nn.Flatten", is_placed=False)


@dataclass(frozen=True, slots=True)
class Linear(Stage):
    """A linear layer, BatchNorm, ReLU, of a vector: `blocks.LinearBNReLU`. Text form `l120`.

    `(F,)` to `(out_channels,)`; a map needs `flatten` or `gap` before it. `bias=None` adds a
    bias exactly if there is no norm.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, arXiv:1502.03167.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Linear(120)]), (400,))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('l120', 48240, (120,))
    """

    prefix, number, child, block = "l", "out_channels", "linear", "blocks.LinearBNReLU"
    takes, gives = "vector", "vector"

    out_channels: int
    norm: bool = True
    act: str | None = "relu"
    bias: bool | None = None
    dropout: float = 0

    def part(self, in_channels: Count) -> Part:
        """The linear layer and what follows it."""
        return Chain("", tuple(linear_layers(
            in_channels, self.out_channels, norm=self.norm, act=self.act, bias=self.bias,
            dropout=self.dropout,
        )))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Classifier(Stage):
    """Flatten, dropout, a linear layer that gives logits: `blocks.Classifier`. Text form `fc10`.

    `(C, H, W)`, or a vector, to `(out_channels,)`. There is a bias unless `bias=False`.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Classifier(10)]), (16, 5, 5))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('fc10', 4010, (10,))
    """

    prefix, number, child, block = "fc", "out_channels", "classifier", "blocks.Classifier"
    takes, gives = "any", "vector"

    out_channels: int
    bias: bool | None = None
    dropout: float = 0

    def part(self, in_channels: Count) -> Part:
        """Its layers; `in_channels` are the features of its input."""
        drop = (Layer("drop", "Dropout", in_channels, role="dropout"),) if self.dropout else ()
        bias = self.bias is not False
        linear = linear_layers(
            in_channels, self.out_channels, norm=False, act=None, bias=bias, dropout=0
        )
        flat = Layer("flatten", "Flatten", in_channels, ends_as="vector", role="reshape")
        return Chain("", (flat, *drop, *linear))


@dataclass(frozen=True, slots=True)
class Dropout(Stage):
    """Dropout of single numbers: `torch.nn.Dropout`. Text form `drop0.2`.

    Any shape to the same shape; without effect on any figure.

    >>> from budgetnet import Spec, plan
    >>> account = plan(Spec([Dropout(0.2)]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('drop0.2', 0, (16, 8, 8))
    """

    prefix, number, child = "drop", "dropout", "drop"
    takes, gives = "any", "same"

    dropout: float = 0.5

    def part(self, in_channels: Count) -> Part:
        """The one layer of this stage."""
        return Layer("", "Dropout", in_channels, role="dropout")

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        return Call("nn.Dropout", (self.dropout,), is_placed=False)


# Words, of which each begins with the prefix of its stage.
STAGES: tuple[type[Stage], ...] = (
    Conv, Separable, Transition, PreactConv, BatchNorm,
    BasicBlock, Bottleneck, InvertedResidual, FusedInvertedResidual, DenseBlock, SqueezeExcite,
    Pool, AvgPool, Upsample, TransposedConv,
    Head, Flatten, Linear, Classifier, Dropout,
)  # fmt: skip

# Brackets around words.
BRANCHES: tuple[type[Stage], ...] = (Sum, Concat)


def with_width(stage: Stage, width: Any) -> Stage:
    """A stage with its output channels set, if it has any of its own."""
    if stage.width is None:
        return stage
    return replace(stage, **{stage.number: width})
