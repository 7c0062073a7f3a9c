"""The SearchSpace: the chains of stages from which a design is chosen, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeAlias

from ..accounting.geometry import check_shape, conv_size, scaled_channels
from ..accounting.window import Pair
from ..errors import ArgumentError, did_you_mean, explain
from ..spec.fields import ACTIVATIONS
from ..spec.stages import (
    AvgPool,
    BatchNorm,
    Classifier,
    Conv,
    DenseBlock,
    Head,
    Pool,
    PreactConv,
    Stage,
    Transition,
)
from .kinds import KINDS, UNPADDED
from .options import choices, counts, invalid, listed, names, one_count, ratios, span
from .presets import PRESETS

Shape: TypeAlias = tuple[int, ...]

HEADS = ("gap", "fc", "conv-fc", "map")
_NAMES = {
    "kinds": tuple(KINDS),
    "paddings": ("valid", "same"),
    "downsampling": ("pool", "average", "stride"),
    "heads": HEADS,
}
_STAGED = ("stem_widths", "stage_widths", "width_multipliers", "output_stride")  # need `strides`


class Place(NamedTuple):
    """The state of a chain that decides which stages may follow."""

    size: tuple[int, ...]  # () behind the pooling of a head
    padding: str = ""  # open until the first kernel above 1
    downsamples: int = 0  # or stages that have begun, where these have their strides
    stage_convs: int = 0  # convolutions at this resolution, or in this stage
    convs: int = 0
    after_pool: bool = False
    untouched: bool = True  # the channels are still those of the input
    grown: int = 0  # channels that a dense block has appended to one of the widths
    phase: str = ""  # what a dense block or a head has begun, and must follow through


class Step(NamedTuple):
    """A stage that may come next, its width left at 1."""

    stage: Stage
    place: Place | None  # None behind the head
    keeps_width: bool = False  # has that of the map it reads
    wider: int = 0  # 1: has no width below that of the map it reads; 2: has one above it


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """A set of chains: convolutions, blocks, downsamplings and a head, in all allowed choices.

    A network is `convs` convolutions, with `downsamples` downsamplings between them, and
    `stage_convs` convolutions at each resolution, followed by a head. A block of any kind counts as
    one convolution. Every convolution has a norm and an activation. The first one is plain; the
    others are of any of the `kinds`. A pooling may be followed by a 1x1 convolution
    (`transitions`). All convolutions of a network have the same kind of padding; blocks are in
    networks with "same" padding only. A dense block is the last of its resolution: before the head
    a norm follows it, and before a pooling a norm and a 1x1 convolution.

    With `strides`, a network is a plain convolution, the stem, and one stage after another. Each
    has `stage_convs` convolutions, of which the first has the stride of the stage. All padding is
    "same"; `convs`, `downsamples`, `positions`, `downsampling`, `transitions` and `paddings` say
    nothing then.

    Attributes:
        widths: output channels that a convolution may have.
        divisor: every width is a multiple of it.
        kernels: kernel sizes; each convolution has one of its own.
        kinds: some of "plain", "separable" (depthwise, then 1x1), "inverted", "fused", "basic",
            "bottleneck" and "dense".
        paddings: "valid", "same", or both.
        convs: least and most convolutions, without the head and transitions.
        stage_convs: least and most convolutions before, between and after downsamplings, or in a
            stage. A strided convolution counts among those after.
        downsamples: least and most downsamplings.
        positions: how many convolutions may lie before a downsampling; empty for any number.
        downsampling: "pool" (max pooling, 2x2), "average" (likewise), "stride" (a convolution with
            stride 2), or several.
        transitions: whether a pooling may be followed by a 1x1 convolution.
        monotone: whether widths may never become smaller.
        uniform: whether all convolutions at one resolution, or in one stage, have one width.
        expansions: of inverted residuals and fused ones: hidden width by the width of the input.
        squeeze_excite: of inverted, fused and bottleneck blocks: channels that are squeezed to, by
            those of the input; 0 for no squeeze-excite.
        growths: channels that each layer of a dense block appends.
        dense_layers: layers of a dense block.
        activation: of all convolutions. No figure depends on it, so it is not searched.
        heads: "gap" (1x1 classifier, then global average pooling), "fc" (pooling, then a linear
            layer), "conv-fc" (a 1x1 convolution before these two) and "map" (a 1x1 classifier of
            every position, for dense prediction).
        head_widths: output channels of the convolution of "conv-fc"; empty for `widths`.
        strides: of the stages, in order. A stage that begins with stride 1, beside the first, is
            wider than the one before it, which tells them apart; it needs `uniform`.
        stem_stride: of the first convolution, if there are `strides`.
        stem_kernels: of the first convolution; empty for `kernels`.
        stem_widths: of the first convolution, if there are `strides`; empty for `widths`.
        stage_widths: what takes the place of `widths` in each stage, in order; empty for none.
        output_stride: what all strides come to at most; further ones become dilation, as in
            DeepLab. `None` for no limit.
        resolutions: sizes of square inputs to choose from; empty for that of the call.
        width_multipliers: factors to choose from; each multiplies every width of stem and stages,
            of which each then has one.

    Raises:
        ArgumentError: an option is not valid.

    >>> SearchSpace(widths=range(1, 20), divisor=4).widths
    (4, 8, 12, 16)
    """

    widths: tuple[int, ...] = field(default=tuple(range(4, 33, 2)))
    divisor: int = 1
    kernels: tuple[int, ...] = (3,)
    kinds: tuple[str, ...] = ("plain",)
    paddings: tuple[str, ...] = ("valid", "same")
    convs: Pair = (2, 9)
    stage_convs: Pair = (1, 4)
    downsamples: Pair = (0, 2)
    positions: tuple[int, ...] = ()
    downsampling: tuple[str, ...] = ("pool",)
    transitions: bool = True
    monotone: bool = True
    uniform: bool = False
    expansions: tuple[float, ...] = (6,)
    squeeze_excite: tuple[float, ...] = (0,)
    growths: tuple[int, ...] = (12,)
    dense_layers: tuple[int, ...] = (4,)
    activation: str = "relu"
    heads: tuple[str, ...] = ("gap",)
    head_widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    stem_stride: int = 1
    stem_kernels: tuple[int, ...] = ()
    stem_widths: tuple[int, ...] = ()
    stage_widths: tuple[tuple[int, ...], ...] = ()
    output_stride: int | None = None
    resolutions: tuple[int, ...] = ()
    width_multipliers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Normalise the options, and refuse invalid ones."""
        put = object.__setattr__
        for name, value in self._cleaned():
            put(self, name, value)
        self._check()

    def _cleaned(self) -> Iterator[tuple[str, Any]]:
        """Every option made canonical by itself."""
        divisor = one_count("divisor", self.divisor)
        yield "divisor", divisor
        for name in ("transitions", "monotone", "uniform"):
            if type(getattr(self, name)) is not bool:
                raise invalid(name, getattr(self, name), "write True or False")
        yield "widths", _multiples("widths", self.widths, divisor)
        for name in ("stem_widths", "head_widths"):
            given = choices(name, getattr(self, name), or_none=True)
            yield name, _multiples(name, given, divisor) if given else ()
        stages = listed("stage_widths", self.stage_widths)
        yield "stage_widths", tuple(_multiples("stage_widths", each, divisor) for each in stages)
        for name in ("kernels", "growths", "dense_layers"):
            yield name, choices(name, getattr(self, name))
        for name in ("stem_kernels", "resolutions"):
            yield name, choices(name, getattr(self, name), or_none=True)
        yield "positions", choices("positions", self.positions, 0, or_none=True)
        strides = self.strides
        yield "strides", () if strides in ((), []) else counts("strides", strides)
        yield "stem_stride", one_count("stem_stride", self.stem_stride)
        if self.output_stride is not None:
            yield "output_stride", one_count("output_stride", self.output_stride)
        yield "expansions", ratios("expansions", self.expansions, 1_000)
        squeezes = ratios("squeeze_excite", self.squeeze_excite, 10_000, or_zero=True)
        if any(v > 1 and v != int(v) for v in squeezes):
            raise invalid("squeeze_excite", squeezes, "above 1, it is whole channels")
        yield "squeeze_excite", squeezes
        if self.width_multipliers not in ((), []):
            yield "width_multipliers", ratios("width_multipliers", self.width_multipliers, 16)
        for name, known in _NAMES.items():
            yield name, names(name, getattr(self, name), known)
        for name, least in (("convs", 1), ("stage_convs", 0), ("downsamples", 0)):
            yield name, span(name, getattr(self, name), least)
        if self.activation not in ACTIVATIONS:
            raise invalid(
                "activation", self.activation, f"expected one of {', '.join(ACTIVATIONS)}"
            )

    def _check(self) -> None:
        """Refuse options that do not fit each other."""
        pads = [kind for kind in self.kinds if kind not in UNPADDED]
        if self.strides:
            object.__setattr__(self, "paddings", ("same",))
        elif given := [name for name in _STAGED if getattr(self, name)]:
            raise invalid(given[0], getattr(self, given[0]), "it needs strides of stages")
        elif self.stem_stride > 1:
            raise invalid("stem_stride", self.stem_stride, "it needs strides of stages")
        if pads and "same" not in self.paddings:
            raise invalid("paddings", self.paddings, f"{pads[0]} blocks pad: add same")
        kernels = {*self.kernels, *self.stem_kernels}
        if "same" in self.paddings and any(k % 2 == 0 for k in kernels):
            raise invalid("kernels", tuple(sorted(kernels)), "same padding needs odd kernels")
        if "dense" in self.kinds and (self.uniform or self.strides):
            what = (
                "dense blocks grow the width, and end at a pooling: leave out uniform and strides"
            )
            raise invalid("kinds", self.kinds, what)
        stalls = [self._pace(i)[0] == 1 for i in range(2, len(self.strides) + 1)]
        if any(stalls) and not self.uniform:
            what = "only uniform tells a stage with stride 1 from the one before it"
            raise invalid("strides", self.strides, what)
        if self.stage_widths and len(self.stage_widths) != len(self.strides):
            raise invalid(
                "stage_widths", self.stage_widths, "write one list for each of the strides"
            )
        each = (self.stem_widths, *self.stage_widths)
        if self.width_multipliers and not (self.stage_widths and all(len(w) == 1 for w in each)):
            what = "give the stem and every stage one width, which they multiply"
            raise invalid("width_multipliers", self.width_multipliers, what)

    @classmethod
    def for_input(cls, input_shape: Any) -> SearchSpace:
        """The default space of `design`: small chains, or five stages from 64 pixels on.

        The former covers published networks for MNIST, with widths of 4 to 32. The latter
        covers mobile networks for 224 pixels: strides, plain and separable convolutions, one
        width per stage, in multiples of 16 up to 512.
        """
        return cls.preset("default", input_shape)

    @classmethod
    def preset(cls, name: str, input_shape: Any = (3, 224, 224), /, **options: Any) -> SearchSpace:
        """A space by its name, as it suits an input; `options` take the place of its own.

        Names: "default"; "mobile", five stages of inverted residuals with kernels of 3 to 7,
        expansions of 3 to 6 and optional squeeze-excite, as once-for-all networks and MCUNet are
        drawn from; "residual", stages of basic and bottleneck blocks; "dense", dense blocks.

        Raises:
            ArgumentError: there is no such preset, or an option is not valid.

        >>> SearchSpace.preset("mobile", widths=range(16, 97, 16)).expansions
        (3, 4, 6)
        """
        if not isinstance(name, str) or name not in PRESETS:
            remedy = did_you_mean(name, PRESETS)
            raise ArgumentError(explain(f"{name!r} is not the name of a space", remedy=remedy))
        if wrong := [each for each in options if each not in {f.name for f in fields(cls)}]:
            remedy = did_you_mean(wrong[0], [f.name for f in fields(cls)])
            raise ArgumentError(explain(f"a space has no option {wrong[0]!r}", remedy=remedy))
        usual = PRESETS[name](min(check_shape(input_shape)[1:]))
        return cls(**(usual | options))

    def variants(
        self, input_shape: tuple[int, ...]
    ) -> tuple[tuple[SearchSpace, tuple[int, ...]], ...]:
        """The space for each resolution and width multiplier, with the shape of its input.

        No network is in two of them.
        """
        shapes: list[tuple[int, ...]] = [(input_shape[0], n, n) for n in self.resolutions] or [
            input_shape
        ]
        spaces = [self._times(factor) for factor in self.width_multipliers] or [self]
        return tuple((space, shape) for shape in shapes for space in dict.fromkeys(spaces))

    def _times(self, factor: float) -> SearchSpace:
        """The space with its widths multiplied, each of which is the only one of its stage."""
        stem, *stages = (
            (scaled_channels(width, factor, self.divisor),)
            for (width,) in (self.stem_widths, *self.stage_widths)
        )
        return replace(self, stem_widths=stem, stage_widths=tuple(stages), width_multipliers=())

    @property
    def is_plain(self) -> bool:
        """Whether the kinds, kernels and strides of a network decide its depth and field.

        With blocks there are too many of both to follow, and widths can change the depth: a
        residual of equal widths needs no convolution on its shortcut.
        """
        return set(self.kinds) <= set(UNPADDED) and not self.strides

    # ------------------------------------------------------------------ what may follow

    def widths_at(self, place: Place) -> tuple[int, ...]:
        """The widths that a map there may have; the input has its own."""
        if place.phase in ("wide", "wide-pooled"):
            return self.head_widths or self.widths
        widths = self.widths
        if self.strides and not place.downsamples:
            widths = self.stem_widths or widths
        elif self.stage_widths:
            widths = self.stage_widths[place.downsamples - 1]
        return tuple(width + place.grown for width in widths) if place.grown else widths

    def jump(self, place: Place) -> int:
        """The effective stride of a map there."""
        return self._pace(place.downsamples)[1] if not place.untouched else 1

    def _pace(self, stage: int) -> tuple[int, int, int]:
        """The stride that a stage begins with, the effective stride after it, and its dilation."""
        if not self.strides:
            return 2 if stage else 1, 2**stage, 1
        jump = dilation = step = 1
        for step in (self.stem_stride, *self.strides)[: stage + 1]:
            if self.output_stride and jump * step > self.output_stride:
                dilation, step = dilation * step, 1
            jump *= step
        return step, jump, dilation

    def follow(self, place: Place, num_classes: int) -> Iterator[Step]:
        """Every stage that may come next, with widths left at 1."""
        if place.phase:
            yield from self._follow_through(place, num_classes)
        elif self.strides:
            yield from self._stages(place, num_classes)
        else:
            yield from self._chain(place, num_classes)

    def _chain(self, place: Place, num_classes: int) -> Iterator[Step]:
        """What may follow between downsamplings at any place."""
        full = self.stage_convs[0] <= place.stage_convs  # enough convolutions at this resolution
        here = not self.positions or place.convs in self.positions
        if place.convs < self.convs[1]:
            if place.stage_convs < self.stage_convs[1]:
                yield from self._convs(place, 1, self.uniform and place.stage_convs > 0)
            first = place.convs == place.downsamples == 0  # a network may begin with a stride
            fits = place.downsamples < self.downsamples[1]
            if "stride" in self.downsampling and self.stage_convs[1] and here and (full or first):
                yield from self._convs(place, 2, False) if fits else ()
        if place.after_pool and self.transitions:
            after = place._replace(after_pool=False, untouched=False)
            yield Step(Transition(1, act=self.activation), after, wider=self._wider(place))
        yield from self._pools(place)
        if self._may_end(place):
            yield from self._heads(place, num_classes)

    def _may_end(self, place: Place) -> bool:
        full = self.stage_convs[0] <= place.stage_convs
        return full and place.convs >= self.convs[0] and place.downsamples >= self.downsamples[0]

    def _pools(self, place: Place) -> Iterator[Step]:
        full = self.stage_convs[0] <= place.stage_convs
        here = not self.positions or place.convs in self.positions
        if not (full and here and place.downsamples < self.downsamples[1] and min(place.size) > 1):
            return
        high, wide = (conv_size(n, 2, 2, (0, 0), 1) for n in place.size)
        down = place._replace(
            size=(high, wide), downsamples=place.downsamples + 1, stage_convs=0, after_pool=True,
            phase="",
        )  # fmt: skip
        for name, pool in (("pool", Pool()), ("average", AvgPool())):
            if name in self.downsampling:
                yield Step(pool, down, keeps_width=True)

    def _stages(self, place: Place, num_classes: int) -> Iterator[Step]:
        """What may follow in stages that have their strides."""
        begun, done = place.downsamples, self.stage_convs[0] <= place.stage_convs
        if place.untouched:
            yield from self._convs(place, self._pace(0)[0], False)
            return
        if begun and place.stage_convs < self.stage_convs[1]:
            yield from self._convs(place, 1, self.uniform)
        if begun < len(self.strides) and (done or not begun):
            next_ = place._replace(downsamples=begun + 1, stage_convs=0)
            stride = self._pace(begun + 1)[0]
            for step in self._convs(next_, stride, False):
                yield step._replace(wider=2) if begun and stride == 1 else step
        if begun == len(self.strides) and done:
            yield from self._heads(place, num_classes)

    def _wider(self, place: Place) -> int:
        return int(self.monotone and not place.untouched)

    def _convs(self, place: Place, stride: int, keeps_width: bool) -> Iterator[Step]:
        """Every convolution and block that may come next."""
        first = place.untouched if self.strides else not place.convs
        dilation = self._pace(place.downsamples)[2]
        downsamples = place.downsamples
        stage_convs = place.stage_convs + 1
        if self.strides:
            stage_convs -= first  # the stem is in no stage
        elif stride > 1:
            downsamples, stage_convs = downsamples + 1, 1
        for kind in ("plain",) if first else self.kinds:
            for kernel in (self.stem_kernels or self.kernels) if first else self.kernels:
                # a padding that no kernel uses would give the same network twice
                open_or_mine = self.paddings if kernel > 1 else (place.padding,)
                for padding in open_or_mine:
                    if kernel > 1 and place.padding not in ("", padding):
                        continue
                    if kernel > 1 and padding == "valid" and kind not in UNPADDED:
                        continue
                    apart = dilation if kernel > 1 else 1
                    pad = apart * (kernel - 1) // 2 if padding == "same" else 0
                    high, wide = (
                        conv_size(n, kernel, stride, (pad, pad), apart) for n in place.size
                    )
                    if min(high, wide) < 1:
                        continue
                    after = Place(
                        (high, wide), padding, downsamples, stage_convs,
                        0 if self.strides else place.convs + 1, untouched=False,
                    )  # fmt: skip
                    size = {
                        name: (n, n)
                        for name, n in (
                            ("kernel_size", kernel),
                            ("stride", stride),
                            ("dilation", apart),
                        )
                    }
                    if kind in UNPADDED:
                        size["padding"] = (pad, pad)
                    yield from self._of_kind(kind, size, after, keeps_width, self._wider(place))

    def _of_kind(
        self, kind: str, size: dict[str, Pair], after: Place, keeps_width: bool, wider: int
    ) -> Iterator[Step]:
        for stage in KINDS[kind](self, **size):
            if isinstance(stage, DenseBlock):
                grown = stage.growth_rate * stage.num_layers
                yield Step(stage, after._replace(grown=grown, phase="dense"), keeps_width=True)
            else:
                yield Step(stage, after, keeps_width, wider)

    def _follow_through(self, place: Place, num_classes: int) -> Iterator[Step]:
        """What must follow a dense block, or the beginning of a head."""
        if place.phase == "dense":
            if self._may_end(place):
                after = place._replace(phase="normed")
                yield Step(BatchNorm(self.activation), after, keeps_width=True)
            narrowed = place._replace(phase="narrowed", grown=0)
            if any(self._pools(narrowed)):
                yield Step(PreactConv(1, (1, 1), act=self.activation), narrowed)
        elif place.phase == "narrowed":
            yield from self._pools(place)
        elif place.phase == "normed":
            yield from self._heads(place, num_classes)
        elif place.phase == "wide":
            pooled = place._replace(size=(), phase="wide-pooled")
            yield Step(Head(), pooled, keeps_width=True)
        else:
            yield Step(Classifier(num_classes), None)

    def _heads(self, place: Place, num_classes: int) -> Iterator[Step]:
        """Every way to begin a head."""
        for head in self.heads:
            if head == "gap":
                yield Step(Head(num_classes), None)
            elif head == "map":
                yield Step(Conv(num_classes, (1, 1), norm=False, act=None), None)
            elif head == "fc":
                pooled = Place((), downsamples=place.downsamples, untouched=False,
                               grown=place.grown, phase="pooled")  # fmt: skip
                yield Step(Head(), pooled, keeps_width=True)
            else:
                wide = Place(
                    place.size, downsamples=place.downsamples, untouched=False, phase="wide"
                )
                yield Step(Transition(1, act=self.activation), wide, wider=int(self.monotone))


def _multiples(name: str, value: Any, divisor: int) -> tuple[int, ...]:
    """The widths that are multiples of the divisor."""
    kept = tuple(width for width in choices(name, value) if width % divisor == 0)
    if not kept:
        raise invalid(name, value, f"none is a multiple of {divisor}")
    return kept
