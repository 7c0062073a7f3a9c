"""Hypothesis strategies: random specs, and random chains of torch's own layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch import nn

from ..accounting.window import Pair
from ..spec.fields import ACTIVATIONS, Squeeze
from ..spec.stages import (
    BRANCHES,
    STAGES,
    BasicBlock,
    Concat,
    Conv,
    InvertedResidual,
    Pool,
    Separable,
    Stage,
    Sum,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from ..spec.spec import Spec


def specs(
    max_stages: int = 6, max_channels: int = 8, kinds: Sequence[type[Stage]] = (*STAGES, *BRANCHES)
) -> SearchStrategy[Spec]:
    """Random specs of stages of some kinds, in brackets too; not all fit every input."""
    from hypothesis import strategies as st

    from ..spec.spec import Spec

    drawn = {kind: _stages(kind, max_channels)  # type: ignore[arg-type]  # a class is hashable
             for kind in kinds if kind in STAGES}  # fmt: skip
    inner = [one.map(_alone) for kind, one in drawn.items() if kind.gives != "vector"]
    if set(BRANCHES) & set(kinds):
        inner.append(_brackets(max_channels))
    ends = [one for kind, one in drawn.items() if kind.gives == "vector" != kind.takes]
    tails = [one for kind, one in drawn.items() if kind.takes != "map"]
    body: Any = st.lists(st.one_of(inner), min_size=1, max_size=max_stages)
    tail: Any = st.lists(st.one_of(tails), max_size=2) if tails else st.just([])

    @st.composite
    def draw_spec(draw: Any) -> Spec:
        stages = list(chain.from_iterable(draw(body)))
        has_end = draw(st.booleans())
        if ends and has_end:
            stages += [draw(st.one_of(ends)), *draw(tail)]
        return Spec(tuple(stages))

    return draw_spec()


def _alone(stage: Stage) -> tuple[Stage, ...]:
    return (stage,)


@cache
def _brackets(max_channels: int) -> SearchStrategy[tuple[Stage, ...]]:
    """Sums and concatenations whose branches fit each other, with a stage before where one must."""
    from hypothesis import strategies as st

    channels, odd = st.integers(1, max_channels), st.sampled_from([1, 3, 3, 5])
    acts = st.sampled_from(["relu", None, "silu"])

    @st.composite
    def draw_same(draw: DrawFn, width: int | None = None) -> Stage:
        """A stage that keeps the size of the map."""
        kinds: list[Any] = [Conv, Separable, InvertedResidual, BasicBlock]
        make = draw(st.sampled_from(kinds if width else [*kinds, Pool]))
        if make is Pool:
            return Pool(3, 1, 1)
        kernel = draw(odd)
        padding = {} if make.pads else {"padding": kernel // 2}
        stage: Stage = make(width or draw(channels), kernel, act=draw(acts), **padding)
        return stage

    @st.composite
    def draw_bracket(draw: DrawFn) -> tuple[Stage, ...]:
        some = st.lists(draw_same(), max_size=2).map(tuple)
        if draw(st.booleans()):
            first, others = (draw(draw_same()),), draw(st.lists(some, min_size=1, max_size=2))
            return (Concat((first, *others) if others.count(()) < 2 else (first, ())),)
        width = draw(channels)
        body = (*draw(some), draw(draw_same(width)))
        if draw(st.booleans()):
            return (Sum(body, (*draw(some), draw(draw_same(width))), draw(acts)),)
        return Conv(width), Sum(body, (), draw(acts))

    return draw_bracket()


@cache  # a strategy takes longer to make than to draw from
def _stages(kind: type[Stage], max_channels: int) -> SearchStrategy[Stage]:
    """Stages of one kind: small values for each of its fields."""
    from hypothesis import strategies as st

    def pairs(least: int, most: int) -> SearchStrategy[Pair]:
        axis = st.integers(least, most)
        return st.tuples(axis, axis)

    channels = st.integers(1, max_channels)
    known: dict[str, SearchStrategy[Any]] = {
        "out_channels": channels,
        "num_classes": st.none() | channels,
        "kernel_size": pairs(1, 4),
        "stride": pairs(1, 2),
        "padding": pairs(0, 2),
        "dilation": pairs(1, 2),
        "groups": st.sampled_from([1, 1, 2]),
        "norm": st.booleans(),
        "act": st.none() | st.sampled_from(["relu", "relu", *ACTIVATIONS]),
        "bias": st.none() | st.booleans(),
        "growth_rate": channels,
        "squeeze_channels": channels,
        "scale": st.integers(1, 3),
        "num_layers": st.integers(1, 2),
        "expansion": st.sampled_from([1, 2, 6, 1.5]),
        "hidden_channels": st.none() | channels,
        "bottleneck": st.integers(0, 4),
        "se": st.none() | st.builds(Squeeze, channels | st.just(0.25), st.booleans()),
        "mode": st.sampled_from(["nearest", "bilinear"]),
        "dropout": st.sampled_from([0, 0, 0.2]),
    }

    @st.composite
    def draw_stage(draw: DrawFn) -> Stage:
        values = {name: draw(known[name]) for name in kind.__dataclass_fields__}
        if kind.pads and "kernel_size" in values:
            values["kernel_size"] = draw(st.sampled_from([1, 3, (5, 3)]))
        if "expansion" in values and "groups" in values:  # a bottleneck
            values["expansion"] = draw(st.sampled_from([1, 2]))
            values["out_channels"] *= values["expansion"] * values["groups"]
            values["hidden_channels"] = None
        elif "groups" in values:
            values["out_channels"] *= values["groups"]
        if "padding" in values and "dilation" not in values:  # poolings: half a kernel at most
            axes = zip(values["padding"], values["kernel_size"], strict=True)
            values["padding"] = tuple(min(pad, kernel // 2) for pad, kernel in axes)
        return kind(**values)

    return draw_stage()


def chains(max_layers: int = 6, in_channels: int = 2) -> SearchStrategy[nn.Sequential]:
    """Random chains of torch's own layers, different on the two axes; not all fit every input."""
    from hypothesis import strategies as st

    @st.composite
    def draw_chain(draw: DrawFn) -> nn.Sequential:
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(draw(st.integers(1, max_layers))):
            layer = draw(_torch_layers(channels))
            layers.append(layer)
            channels = getattr(layer, "out_channels", channels)
        return nn.Sequential(*layers)

    return draw_chain()


def _torch_layers(channels: int) -> SearchStrategy[nn.Module]:
    from hypothesis import strategies as st

    def pairs(least: int, most: int) -> SearchStrategy[Pair]:
        axis = st.integers(least, most)
        return st.tuples(axis, axis)

    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    kernels = {"kernel_size": pairs(1, 4), "dilation": pairs(1, 2)}
    modes = st.sampled_from(["zeros", "reflect", "replicate"])

    @st.composite
    def draw_conv(draw: DrawFn) -> nn.Module:
        groups = draw(st.sampled_from(divisors))
        options = {name: draw(values) for name, values in kernels.items()}
        same = draw(st.booleans()) and draw(st.booleans())
        padding: Any = "same" if same else draw(pairs(0, 2))
        stride = (1, 1) if same else draw(pairs(1, 3))
        out = groups * draw(st.integers(1, max(1, 6 // groups)))
        mode: Any = draw(modes) if not same else "zeros"
        return nn.Conv2d(
            channels, out, stride=stride, padding=padding, groups=groups, padding_mode=mode,
            bias=draw(st.booleans()), **options,
        )  # fmt: skip

    @st.composite
    def draw_pool(draw: DrawFn) -> nn.Module:
        kernel, stride = draw(pairs(1, 4)), draw(pairs(1, 3))
        padding: Any = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        ceil = draw(st.booleans())
        if draw(st.booleans()):
            return nn.AvgPool2d(kernel, stride, padding, ceil)
        return nn.MaxPool2d(kernel, stride, padding, draw(pairs(1, 2)), ceil_mode=ceil)

    pointwise = st.sampled_from([nn.ReLU, nn.SiLU, nn.Hardswish, nn.Identity, nn.Dropout2d])
    return st.one_of(
        draw_conv(), draw_conv(), draw_pool(), st.just(channels).map(nn.BatchNorm2d),
        pointwise.map(lambda layer: layer()),
    )  # fmt: skip
