"""Hypothesis strategies: random specs, and random chains of torch's own layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ..accounting.window import Pair
from ..spec.stages import STAGES, Stage

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from ..spec.spec import Spec


def specs(max_stages: int = 6, max_channels: int = 8) -> SearchStrategy[Spec]:
    """Random specs of stages of every kind; not all fit every input."""
    from hypothesis import strategies as st

    from ..spec.spec import Spec

    @st.composite
    def draw_spec(draw: DrawFn) -> Spec:
        inner = st.one_of([_stages(kind, max_channels) for kind in STAGES if not kind.is_last])
        last = st.one_of([_stages(kind, max_channels) for kind in STAGES if kind.is_last])
        stages = draw(st.lists(inner, min_size=1, max_size=max_stages))
        end = draw(st.none() | last)
        return Spec((*stages, end) if end else tuple(stages))

    return draw_spec()


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
        "act": st.booleans(),
        "bias": st.none() | st.booleans(),
    }

    @st.composite
    def draw_stage(draw: DrawFn) -> Stage:
        values = {name: draw(known[name]) for name in kind.__dataclass_fields__}
        if "groups" in values:
            values["out_channels"] *= values["groups"]
        if "padding" in values and "dilation" not in values:  # poolings: half a kernel at most
            axes = zip(values["padding"], values["kernel_size"], strict=True)
            values["padding"] = tuple(min(pad, kernel // 2) for pad, kernel in axes)
        return kind(**values)

    return draw_stage()


def chains(max_layers: int = 6, in_channels: int = 2) -> SearchStrategy[nn.Sequential]:
    """Random chains of torch's own layers, unequal on the two axes; not all fit every input."""
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
