"""The stages that a spec is made of: each knows its word, its layers, and what makes its block.

A new stage is a class here, in `STAGES`, beside its block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..accounting.geometry import Count, Sliding, conv_weights
from ..accounting.window import Pair, Window
from ..errors import SpecError, explain, shown
from .fields import FIELDS

Size: TypeAlias = Any  # given as an int or a pair, kept as a pair (height, width)


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
class Call:
    """The call that makes a stage's block: `models.build` runs it, and `to_python` prints it.

    `target` is a block, such as `blocks.GAP`, or a layer of torch without weights, such as
    `nn.MaxPool2d`.

    >>> Call("blocks.ConvBNReLU", (16, 32, (3, 5)), (("bias", True),)).source()
    'blocks.ConvBNReLU(16, 32, (3, 5), bias=True)'
    """

    target: str
    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def source(self) -> str:
        """The call as Python source."""
        options = (f"{name}={value!r}" for name, value in self.options)
        return f"{self.target}({', '.join((*map(repr, self.args), *options))})"


class Stage:
    """What every stage can say; one is a frozen dataclass whose fields are some of `FIELDS`.

    Attributes:
        prefix: what its word begins with.
        number: the field that the number of its word gives.
        child: what a network calls it, followed by a number unless it `is_last`.
        is_last: whether nothing can follow, since it reads the whole map at once.
    """

    __slots__ = ()
    prefix: ClassVar[str]
    number: ClassVar[str]
    child: ClassVar[str]
    is_last: ClassVar[bool] = False
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if value is field.default:
                continue
            try:
                clean = FIELDS[name].clean(value)
            except (TypeError, ValueError):
                raise self._refused(name, value, FIELDS[name].expected) from None
            object.__setattr__(self, name, clean)

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        raise NotImplementedError

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        raise NotImplementedError

    @property
    def width(self) -> int | None:
        """Output channels that it sets itself; `None` if it keeps those of its input."""
        return getattr(self, "out_channels", None)

    def usual(self, name: str) -> Any:
        """The value of a field that its word need not say."""
        return self.__dataclass_fields__[name].default

    def _refused(self, name: str, value: object, expected: str) -> SpecError:
        what = f"{name}={shown(value)} is not valid; expected {expected}"
        return SpecError(explain(what, where=type(self).__name__))


@dataclass(frozen=True, slots=True)
class Conv(Stage):
    """Convolution, BatchNorm, ReLU: `blocks.ConvBNReLU`. Text form `c16`.

    `bias=None` adds a bias exactly if there is no norm. Sizes are `(height, width)`, or one
    number for both.

    >>> Conv(16, 5).kernel_size
    (5, 5)
    """

    prefix, number, child = "c", "out_channels", "conv"

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    groups: int = 1
    norm: bool = True
    act: bool = True
    bias: bool | None = None

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        return _convolution(
            in_channels, self.out_channels, self.kernel_size, self.stride, self.padding,
            self.dilation, self.groups, self.norm, self.act, self.bias,
        )  # fmt: skip

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        return _call("blocks.ConvBNReLU", self, in_channels, self.out_channels)


@dataclass(frozen=True, slots=True)
class Separable(Stage):
    """Depthwise then 1x1 convolution, each with norm and ReLU: `blocks.DepthwiseSeparable`.

    Text form `ds16`.
    """

    prefix, number, child = "ds", "out_channels", "separable"

    out_channels: int
    kernel_size: Size = (3, 3)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    norm: bool = True
    act: bool = True

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        yield from _convolution(
            in_channels, in_channels, self.kernel_size, self.stride, self.padding, self.dilation,
            in_channels, self.norm, self.act, prefix="depthwise.",
        )  # fmt: skip
        yield from _convolution(
            in_channels, self.out_channels, norm=self.norm, act=self.act, prefix="pointwise."
        )

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        return _call("blocks.DepthwiseSeparable", self, in_channels, self.out_channels)


@dataclass(frozen=True, slots=True)
class Transition(Stage):
    """1x1 convolution, norm, ReLU: `blocks.Transition`. Text form `t10`."""

    prefix, number, child = "t", "out_channels", "transition"

    out_channels: int
    norm: bool = True
    act: bool = True

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        return _convolution(in_channels, self.out_channels, norm=self.norm, act=self.act)

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        return _call("blocks.Transition", self, in_channels, self.out_channels)


@dataclass(frozen=True, slots=True)
class Pool(Stage):
    """Max pooling: `torch.nn.MaxPool2d`. Text form `p`; the stride defaults to the kernel.

    >>> Pool(3).stride
    (3, 3)
    """

    prefix, number, child = "p", "kernel_size", "pool"

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

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The one layer of this stage."""
        pads = tuple((p, p) for p in self.padding)
        sliding = Sliding(self.kernel_size, self.stride, pads)
        yield Layer(
            "", "MaxPool2d", in_channels, 0, 0, 0, sliding, sliding.windows, role="max pooling"
        )

    def call(self, in_channels: int) -> Call:
        """The call that makes its layer."""
        options = [(name, _short(getattr(self, name))) for name in ("stride", "padding")
                   if getattr(self, name) != self.usual(name)]  # fmt: skip
        return Call("nn.MaxPool2d", (_short(self.kernel_size),), tuple(options))

    def usual(self, name: str) -> Any:
        """The value of a field that its word need not say."""
        return self.kernel_size if name == "stride" else Stage.usual(self, name)


@dataclass(frozen=True, slots=True)
class Head(Stage):
    """Global average pooling, after a 1x1 classifier if `num_classes` is given: `blocks.GAP`.

    Text form `gap` or `gap10`. The classifier has a norm and no activation, since its outputs are
    logits.
    """

    prefix, number, child = "gap", "num_classes", "head"
    is_last = True

    num_classes: int | None = None
    norm: bool = True

    def layers(self, in_channels: Count) -> Iterator[Layer]:
        """The layers of this stage, in order."""
        out = in_channels if self.num_classes is None else self.num_classes
        if self.num_classes is not None:
            yield from _convolution(in_channels, out, norm=self.norm, act=False)
        yield Layer("pool", "GlobalAveragePool", out, is_global=True, role="average pooling")

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        classes = () if self.num_classes is None else (self.num_classes,)
        return _call("blocks.GAP", self, in_channels, *classes)

    @property
    def width(self) -> int | None:
        """The classes, if any."""
        return self.num_classes


STAGES: tuple[type[Stage], ...] = (Conv, Separable, Transition, Pool, Head)


def with_width(stage: Stage, width: Any) -> Stage:
    """A stage with its output channels set, if it has any of its own."""
    return replace(stage, out_channels=width) if hasattr(stage, "out_channels") else stage


def _convolution(
    in_channels: Count, out: Count, kernel: Pair = (1, 1), stride: Pair = (1, 1),
    padding: Pair = (0, 0), dilation: Pair = (1, 1), groups: Count = 1, norm: bool = True,
    act: bool = True, bias: bool | None = None, prefix: str = "",
) -> Iterator[Layer]:  # fmt: skip
    """The layers of a convolution with what follows it."""
    if np.any((in_channels % groups) | (out % groups)):
        raise SpecError(
            explain(
                "groups must divide the channels on both sides",
                numbers={"in": in_channels, "out": out, "groups": groups},
                remedy="Choose widths that are multiples of groups.",
            )
        )
    weights = conv_weights(in_channels, out, kernel, groups)
    sliding = Sliding(kernel, stride, tuple((p, p) for p in padding), dilation)
    has_bias = not norm if bias is None else bias
    yield Layer(
        f"{prefix}conv", "Conv2d", out, weights, out if has_bias else 0, 0, sliding,
        sliding.windows, role="convolution", has_bias=has_bias,
        weight_shape=(out, in_channels // groups, *kernel),
    )  # fmt: skip
    if norm:
        running = 2 * out + 1  # mean, variance, and one batch counter
        yield Layer(f"{prefix}norm", "BatchNorm2d", out, out, out, running, role="batch norm")
    if act:
        yield Layer(f"{prefix}act", "ReLU", out, role="relu")


def _call(target: str, stage: Stage, *channels: int) -> Call:
    """A block's call: its channels, and what differs from the defaults of blocks."""
    own = {name: getattr(stage, name) for name in stage.__dataclass_fields__}
    args: tuple[Any, ...] = channels
    options: dict[str, Any] = {}
    if "kernel_size" in own:
        kernel, stride, padding, dilation = (
            own[name] for name in ("kernel_size", "stride", "padding", "dilation")
        )
        if (kernel, stride) != ((3, 3), (1, 1)):
            args = (*args, _short(kernel))
        if stride != (1, 1):
            options["stride"] = _short(stride)
        axes = zip(padding, dilation, kernel, strict=True)
        if any(2 * pad != d * (k - 1) for pad, d, k in axes):  # the default pads odd kernels so
            options["padding"] = _short(padding)
        if dilation != (1, 1):
            options["dilation"] = _short(dilation)
    if own.get("groups", 1) != 1:
        options["groups"] = own["groups"]
    if own.get("bias") is not None:
        options["bias"] = own["bias"]
    if not own.get("norm", True):
        options["norm_layer"] = None
    if not own.get("act", True):
        options["activation_layer"] = None
    return Call(target, args, tuple(options.items()))


def _short(size: Pair) -> Size:
    """One number for both axes if one is enough."""
    return size[0] if size[0] == size[1] else size
