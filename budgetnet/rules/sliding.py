"""Rules of convolutions, poolings, paddings and upsamplings: all that slides over a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import torch
from numpy import float32  # torch computes source positions in single precision
from torch import Tensor

from ..errors import ShapeError, explain
from ..geometry import Sliding, compact, conv_macs
from ..receptive_field import has_context
from ..window import Window
from .core import Activation, Effect, no_rule, of, rule, same_channels, seen
from .joins import join
from .reading import CHANNEL, Reading


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:])


def _per_axis(values: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    values = (values,) if isinstance(values, int) else tuple(values)
    return values * axes if len(values) == 1 else values


def put(
    x: Activation,
    channels: int,
    size: tuple[int, ...],
    windows: tuple[Window, ...],
    groups: int = 1,
    **more: Any,
) -> Effect:
    """Effect of windows on all spatial dimensions, with `channels` mixed within `groups`.

    `groups=0` says that every channel stays by itself, as in a pooling.
    """
    shape = (x.shape[0], channels, *size)
    if x.reading is None:
        field = x.field.then(windows)
        return Effect(shape, field, is_global=x.is_global, **more)
    if groups == 1 and x.reading.is_stack:
        context = has_context(x.reading.fields)
        field = x.field.then(windows)
        return Effect(shape, field, is_global=x.is_global, global_context=context, **more)
    reading = of(x).map_like()
    reading = mix(reading, channels, groups) if groups else reading
    axes = {}
    dims = list(reading.dims)
    for i, (window, n) in enumerate(zip(windows, size, strict=True), start=2):
        if len(dims[i]) != 1 or dims[i][0][0] == CHANNEL:
            if window == Window() and n == x.shape[i]:
                continue
            raise no_rule("sliding along a dimension that is no axis of the map", x)
        axis = dims[i][0][0]
        axes[axis] = window
        dims[i] = ((axis, n),)
    return seen(replace(reading.slide(axes), dims=tuple(dims)), x, shape=shape, **more)


def mix(reading: Reading, channels: int, groups: int) -> Reading:
    """Dimension 1 after a convolution: every output channel reads its group's inputs."""
    batch, width, *size = reading.shape
    if any(axis != CHANNEL for axis, _ in reading.dims[1]):
        reading = reading.enumerated(1)
    if groups == 1:
        one = reading.gather([1])
        return one.expand((batch, channels, *size))
    split = reading.reshape((batch, groups, width // groups, *size)).gather([2])
    spread = split.expand((batch, groups, channels // groups, *size))
    return spread.reshape((batch, channels, *size)).distinct()


class Fit(NamedTuple):
    """How a convolution or pooling lies on a map."""

    sliding: Sliding
    size: tuple[int, ...]
    windows: tuple[Window, ...]


@lru_cache(maxsize=4096)
def fitted(size: tuple[int, ...], *sliding: Any) -> Fit:
    """A `Sliding` of these arguments, on a map of this size.

    A network repeats few distinct layers, and all of this is immutable: once is enough.
    """
    made = Sliding(*sliding)
    return Fit(made, made.output_size(size), made.windows)


def slide(x: Activation, channels: int, fit: Fit, weights: int = 0, groups: int = 1) -> Effect:
    """Effect of a convolution or pooling; `weights` counts what each output position costs."""
    sliding, size, windows = fit
    macs = conv_macs(weights, prod(size)) * x.shape[0]
    return put(x, channels, size, windows, groups, macs=macs, sliding=sliding)


@rule("convolution", "_convolution")
def convolution(
    x: Activation,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *_: Any,
) -> Effect:
    """Convolution; a weight is `(C_out, C_in / groups, *kernel)`, transposed the other way."""
    axes = weight.dim() - 2
    if not isinstance(x, Activation) or isinstance(weight, Activation) or x.dim() != axes + 2:
        raise no_rule("a convolution whose kernel is computed from the input", weight)
    sizes = [_per_axis(value, axes) for value in (stride, padding, dilation, output_padding)]
    if transposed:
        same_channels(x, weight.shape[0])
        return _transposed(x, weight, *sizes, groups=groups)
    same_channels(x, weight.shape[1] * groups)
    pads = tuple((p, p) for p in sizes[1])
    fit = fitted(_spatial(x), tuple(weight.shape[2:]), sizes[0], pads, sizes[2])
    return slide(x, weight.shape[0], fit, weight.numel(), groups)


def _transposed(
    x: Activation,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    more: tuple[int, ...],
    *,
    groups: int,
) -> Effect:
    """Every input position spreads over the outputs: it costs input positions times weights."""
    each = list(zip(weight.shape[2:], stride, padding, dilation, strict=True))
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, (k, s, p, d), extra in zip(_spatial(x), each, more, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(explain("nothing is left of the map", numbers={"size": compact(size)}))
    windows = tuple(Window.transposed(k, s, p, d) for k, s, p, d in each)
    pads = tuple((p, p) for p in padding)
    sliding = Sliding(tuple(weight.shape[2:]), stride, pads, dilation)
    macs = conv_macs(weight.numel(), prod(_spatial(x))) * x.shape[0]
    channels = weight.shape[1] * groups
    return put(x, channels, size, windows, groups, macs=macs, sliding=sliding)


@rule("im2col")
def unfold(
    x: Activation,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Effect:
    """Patches: `(N, C, H, W)` to `(N, C * prod(kernel), positions)`, a channel for every tap."""
    if x.dim() != 4 or x.reading is not None or x.is_global:
        raise no_rule("unfold of what is no plain map", x)
    pads = tuple((p, p) for p in padding)
    size = fitted(_spatial(x), tuple(kernel_size), tuple(stride), pads, tuple(dilation)).size
    taps = product(*(range(k) for k in kernel_size))
    fields = [
        x.field.then(tuple(
            Window(((d * j - p, 1),), s)
            for j, s, p, d in zip(tap, stride, padding, dilation, strict=True)
        ))
        for tap in taps
    ]  # fmt: skip
    batch, channels = x.shape[:2]
    maps = Reading.of_maps([1] * len(fields), size, fields)
    copies = join([maps] * channels, 1) if channels > 1 else maps
    shape = (batch, channels * len(fields), prod(size))
    return seen(copies.expand((batch, *copies.shape[1:])).reshape(shape), x, shape=shape)


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d", "max_pool1d_with_indices")
def max_pool(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Effect:
    """Max pooling; an empty stride means the kernel. The indices are a second result."""
    effect = pool(x, kernel_size, stride, padding, dilation, ceil_mode)
    return replace(effect, extra=((effect.shape, torch.int64),))


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *_: Any,
) -> Effect:
    """Average pooling."""
    return pool(x, kernel_size, stride, padding, (1,), ceil_mode)


def pool(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Effect:
    """Effect of any pooling: every channel by itself."""
    axes = x.dim() - 2
    pads = tuple((p, p) for p in _per_axis(padding, axes))
    kernel = _per_axis(kernel_size, axes)
    strides = _per_axis(stride, axes) or kernel
    dilations = _per_axis(dilation, axes)
    fit = fitted(_spatial(x), kernel, strides, pads, dilations, bool(ceil_mode))
    return slide(x, x.shape[1], fit, groups=0)


@rule(
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "adaptive_max_pool1d",
)  # fmt: skip
def adaptive_pool(x: Activation, output_size: Sequence[int]) -> Effect:
    """Adaptive pooling: output `i` of `m` reads inputs `floor(i*n/m)` to `ceil((i+1)*n/m) - 1`."""
    size = _per_axis(output_size, x.dim() - 2)
    if prod(size) == 1:
        shape = (*x.shape[:2], *size)
        if x.reading is None and not x.is_global:
            field = x.field.then(tuple(map(Window.whole, _spatial(x))))
            return Effect(shape, field, is_global=True)
    windows = tuple(_adaptive(n, m) for n, m in zip(_spatial(x), size, strict=True))
    effect = put(x, x.shape[1], size, windows, groups=0)
    return replace(effect, is_global=True) if prod(size) == 1 else effect


def _adaptive(n: int, m: int) -> Window:
    common = gcd(n, m)
    phases = (range(i * n // m, -(-(i + 1) * n // m)) for i in range(m // common))
    return Window.reading(*phases, advance=n // common) if m > 1 else Window.whole(n)


@rule("constant_pad_nd", "replication_pad1d", "replication_pad2d", "replication_pad3d")
def pad(x: Activation, padding: Sequence[int], value: float = 0) -> Effect:
    """Padding; repeated positions lie outside the input as zeros do. Negative padding crops."""
    pairs = [(padding[i], padding[i + 1]) for i in range(0, len(padding), 2)]
    every = [(0, 0)] * (x.dim() - len(pairs)) + pairs[::-1]  # torch lists the last dimension first
    if x.reading is None and len(pairs) <= x.dim() - 2:
        size = tuple(n + lo + hi for n, (lo, hi) in zip(_spatial(x), every[2:], strict=True))
        windows = tuple(Window(((-lo, 1),)) for lo, _ in every[2:])
        effect = put(x, x.shape[1], size, windows, groups=0)
        return replace(effect, pads=tuple(every[2:]))
    reading = of(x)
    for dim, pair in enumerate(every):
        if any(pair):
            reading = _pad_dim(reading, dim, *pair)
    return seen(reading, x)


def _pad_dim(reading: Reading, dim: int, low: int, high: int) -> Reading:
    """Padding of one dimension, whatever it is made of."""
    if len(reading.dims[dim]) == 1 and reading.dims[dim][0][0] != CHANNEL:
        ((axis, size),) = reading.dims[dim]
        dims = (*reading.dims[:dim], ((axis, size + low + high),), *reading.dims[dim + 1 :])
        return replace(reading.slide({axis: Window(((-low, 1),))}), dims=dims)
    if low < 0 or high < 0:
        cut = max(0, -low)
        count = reading.shape[dim] - cut - max(0, -high)
        reading = reading.take(dim, cut, 1, count)
    parts = [reading]
    if low > 0:
        parts.insert(0, reading.nothing(dim, low))
    if high > 0:
        parts.append(reading.nothing(dim, high))
    return join(parts, dim) if len(parts) > 1 else reading


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(x: Activation, padding: Sequence[int]) -> Effect:
    """Padding with the mirrored map, which must be larger than the padding."""
    effect = pad(x, padding)
    assert effect.pads is not None
    if any(max(pair) >= n for pair, n in zip(effect.pads, _spatial(x), strict=True)):
        raise ShapeError(
            explain(
                "reflected padding must be smaller than the map",
                numbers={"padding": list(padding), "map": compact(_spatial(x))},
                remedy="Use a smaller padding, or another padding_mode.",
            )
        )
    return effect


def _scales(
    x: Activation, size: Sequence[int], scales: Sequence[Any]
) -> list[tuple[int, int, float]]:
    """Per axis: inputs, outputs, and inputs per output as torch computes it."""
    given = [*scales, *[None] * (len(size) - len(scales))]
    return [
        (n, m, 1 / scale if scale else n / m)
        for n, m, scale in zip(_spatial(x), size, given, strict=True)
    ]


def _resize(x: Activation, size: tuple[int, ...], windows: tuple[Window, ...]) -> Effect:
    return put(x, x.shape[1], size, windows, groups=0)


def _sampled(n: int, m: int, sets: Any) -> Window:
    """Window of `m` outputs given as sets of inputs; periodic where the size is."""
    common = gcd(n, m)
    period, advance = m // common, n // common
    listed = [sets(i) for i in range(m)]
    clipped = [{min(max(j, 0), n - 1) for j in read} for read in listed]
    regular = all(listed[i] == {j + advance for j in listed[i - period]} for i in range(period, m))
    if regular:
        return Window.reading(*listed[:period], advance=advance)
    return Window.reading(*clipped, advance=n) if m > 1 else Window.reading(clipped[0], advance=0)


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(x: Activation, output_size: Sequence[int] | None, *scales: Any) -> Effect:
    """Nearest upsampling: output `i` reads input `floor(i * n / m)`."""
    size, flat = _output_size(x, output_size, scales)
    each = _scales(x, size, flat)
    windows = tuple(
        _sampled(n, m, lambda i, n=n, ratio=ratio: {min(int(float32(i) * float32(ratio)), n - 1)})
        for n, m, ratio in each
    )
    return _resize(x, size, windows)


@rule("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def upsample_exact(x: Activation, output_size: Sequence[int] | None, *scales: Any) -> Effect:
    """Nearest upsampling by centres: output `i` reads input `floor((i + 1/2) * n / m)`."""
    size, flat = _output_size(x, output_size, scales)
    windows = tuple(
        _sampled(
            n, m, lambda i, n=n, ratio=ratio: {min(int(float32(i + 0.5) * float32(ratio)), n - 1)}
        )
        for n, m, ratio in _scales(x, size, flat)
    )
    return _resize(x, size, windows)


@rule("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa")
def upsample_linear(
    x: Activation, output_size: Sequence[int] | None, align_corners: bool, *scales: Any
) -> Effect:
    """Linear upsampling: output `i` reads the one or two inputs around its source position.

    At the border torch clamps the source position into the map; a neighbour of weight zero is not
    read.
    """
    size, flat = _output_size(x, output_size, scales)
    windows = tuple(
        _sampled(n, m, lambda i, e=(n, m, ratio): _linear_reads(i, e, align_corners))
        for n, m, ratio in _scales(x, size, flat)
    )
    return _resize(x, size, windows)


def _linear_reads(i: int, each: tuple[int, int, float], align_corners: bool) -> set[int]:
    n, m, ratio = each
    if n == m:
        return {i}
    if align_corners:
        source = i * (n - 1) / (m - 1) if m > 1 else 0.0
    else:
        source = max((i + 0.5) * ratio - 0.5, 0.0)
    low = min(int(source), n - 1)
    return {low, min(low + 1, n - 1)} if source > low else {low}


def _output_size(
    x: Activation, output_size: Sequence[int] | None, scales: Any
) -> tuple[tuple[int, ...], list[Any]]:
    """Output size and scale factors, from either overload's arguments."""
    flat: list[Any] = []
    for scale in scales:
        flat.extend(scale if isinstance(scale, list | tuple) else [scale])
    if output_size is not None:
        return tuple(output_size), flat
    return tuple(int(n * s) for n, s in zip(_spatial(x), flat, strict=True)), flat
