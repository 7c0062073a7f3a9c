"""Rules of convolutions, poolings and paddings: all that slides over a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...accounting.geometry import Sliding, conv_macs
from ...accounting.receptive_field import ReceptiveField, has_context
from ...accounting.table import compact
from ...accounting.window import Window
from ...errors import ShapeError, explain
from .core import Activation, Effect, no_rule, nothing, of, rule, same_channels, seen
from .joins import join
from .readings import CHANNEL, Reading


def spatial(x: Tensor) -> tuple[int, ...]:
    """The size of a map."""
    return tuple(x.shape[2:])


def _per_axis(values: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    values = (values,) if isinstance(values, int) else tuple(values)
    if len(values) == 1:
        return values * axes
    if values and len(values) != axes:
        raise ShapeError(
            explain(
                "the number of sizes does not match the number of axes",
                numbers={"sizes": values, "axes": axes},
            )
        )
    return values


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
    if x.reading is None and len(windows) == len(x.field.axes):
        field = x.field.then(windows)
        return Effect(shape, field, is_global=x.is_global, **more)
    if groups == 1 and x.reading is not None and x.reading.is_stack:
        context = has_context(x.reading.fields)
        field = x.field.then(windows)
        return Effect(shape, field, is_global=x.is_global, context=context, **more)
    reading = of(x).map_like()
    reading = mix(reading, channels, groups) if groups else reading
    for i, (window, n) in enumerate(zip(windows, size, strict=True), start=2):
        if window != Window() or n != x.shape[i]:
            _check_slides(x, reading, i, n)
            reading = reading.slid(i, window, n)
    return seen(reading, x, shape=shape, **more)


_MOST = 1 << 14  # channels that a window is put on one by one


def _check_slides(x: Activation, reading: Reading, i: int, count: int) -> None:
    """Raise if a window on a dimension cannot be tracked.

    Flattened positions would lose that they are positions. If fewer are left, as in a pooling
    before attention, that happens to them anyway.
    """
    axes = [axis for axis, _ in reading.dims[i] if axis != CHANNEL]
    if len(reading.dims[i]) == 1 and axes:
        return
    if reading.shape[i] > _MOST or (axes and count >= reading.shape[i]):
        raise no_rule("sliding along a dimension that is not an axis of the map", x)


def windowed(
    x: Activation, windows: Sequence[Window], size: Sequence[int] | None = None, macs: int = 0
) -> Effect:
    """Effect of a window per spatial dimension, every channel by itself, as in a pooling.

    Args:
        x: a map `(N, C, *spatial)`.
        windows: which positions each output reads, one `Window` per spatial dimension.
        size: spatial size of the output; that of `x` by default.
        macs: multiply-accumulates in all.
    """
    shape = tuple(x.shape[2:] if size is None else size)
    return put(x, x.shape[1], shape, tuple(windows), groups=0, macs=macs)


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
    batch, field = x.shape[0], x.field
    macs = conv_macs(weights, prod(size)) * batch
    if x.reading is None and len(windows) == len(field.axes):  # as `put` does; most are such
        shape = (batch, channels, *size)
        return Effect(shape, field.then(windows), None, macs, sliding, x.is_global)
    return put(x, channels, size, windows, groups, macs=macs, sliding=sliding)


@rule("convolution", "_convolution", role="convolution")
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
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ShapeError(
            explain(
                "the bias of a convolution does not have one number per channel",
                numbers={"bias": compact(bias.shape), "channels": channels},
            )
        )
    if transposed:
        same_channels(x, weight.shape[0])
        effect = _transposed(x, weight, *sizes, groups=groups)
        effect.role = "transposed convolution"
    else:
        same_channels(x, weight.shape[1] * groups)
        pads = tuple((p, p) for p in sizes[1])
        fit = fitted(spatial(x), tuple(weight.shape[2:]), sizes[0], pads, sizes[2])
        effect = slide(x, weight.shape[0], fit, weight.numel(), groups)
    effect.has_bias, effect.weight_shape = bias is not None, tuple(weight.shape)
    return effect


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
    pads = tuple((p, p) for p in padding)
    sliding = Sliding(tuple(weight.shape[2:]), stride, pads, dilation)
    size = sliding.spread_size(spatial(x), more)
    if any(extra >= max(s, d) for s, d, extra in zip(stride, dilation, more, strict=True)):
        raise ShapeError(
            explain(
                "the output padding is not smaller than the stride or the dilation",
                numbers={"output_padding": list(more), "stride": list(stride)},
            )
        )
    macs = conv_macs(weight.numel(), prod(spatial(x))) * x.shape[0]
    channels = weight.shape[1] * groups
    return put(x, channels, size, sliding.spread_windows, groups, macs=macs, sliding=sliding)


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
        raise no_rule("unfold of a tensor that is not a plain map", x)
    pads = tuple((p, p) for p in padding)
    size = fitted(spatial(x), tuple(kernel_size), tuple(stride), pads, tuple(dilation)).size
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


@dataclass(slots=True)
class Batched:
    """An unbatched activation as one of batch 1: all that the rules here look at."""

    shape: tuple[int, ...]
    field: ReceptiveField
    reading: Reading
    is_global: bool
    dtype: torch.dtype

    def dim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    def numel(self) -> int:
        """How many elements it has."""
        return prod(self.shape)


def batched(effect_of: Callable[[Any], Effect], x: Any, axes: int | None) -> Effect:
    """The effect on `(N, C, *spatial)`; also on `(C, *spatial)`, if `axes` says so."""
    if axes is None or x.dim() == axes + 2:
        return effect_of(x)
    if x.dim() != axes + 1:
        raise no_rule("sliding over a tensor with this number of dimensions", x)
    reading = of(x).insert(0)
    effect = effect_of(Batched((1, *x.shape), x.field, reading, x.is_global, x.dtype))
    shape = effect.shape[1:]
    made = effect.reading or Reading.of_map(effect.shape, effect.field)
    found = seen(made.select(0, 0), x, shape=shape)
    field, is_global = found.field, found.is_global
    return replace(effect, shape=shape, field=field, reading=found.reading, is_global=is_global)


def max_pool(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
    *,
    axes: int | None = None,
) -> Effect:
    """Max pooling; an empty stride means the kernel. The indices are a second result."""
    sizes = (kernel_size, stride, padding, dilation, ceil_mode)
    effect = batched(lambda x: pool(x, *sizes), x, axes)
    return replace(effect, extra=((effect.shape, torch.int64),))


def avg_pool(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    *_: Any,
    axes: int | None = None,
) -> Effect:
    """Average pooling."""
    return batched(lambda x: pool(x, kernel_size, stride, padding, (1,), ceil_mode), x, axes)


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
    if any(2 * p > d * (k - 1) + 1 for (p, _), k, d in zip(pads, kernel, dilations, strict=True)):
        raise ShapeError(
            explain(
                "the padding of a pooling is more than half of its kernel",
                numbers={"padding": list(_per_axis(padding, axes)), "kernel": compact(kernel)},
            )
        )
    fit = fitted(spatial(x), kernel, strides, pads, dilations, bool(ceil_mode))
    return slide(x, x.shape[1], fit, groups=0)


def adaptive_pool(x: Activation, output_size: Sequence[int], *, axes: int | None = None) -> Effect:
    """Adaptive pooling: output `i` of `m` reads inputs `floor(i*n/m)` to `ceil((i+1)*n/m) - 1`."""
    return batched(lambda x: _adapted(x, output_size), x, axes)


def adaptive_max_pool(
    x: Activation, output_size: Sequence[int], *, axes: int | None = None
) -> Effect:
    """Adaptive pooling by the maximum, whose places are a second result."""
    effect = adaptive_pool(x, output_size, axes=axes)
    return replace(effect, extra=((effect.shape, torch.int64),))


def _adapted(x: Activation, output_size: Sequence[int]) -> Effect:
    size = _per_axis(output_size, x.dim() - 2)
    if prod(size) == 1:
        shape = (*x.shape[:2], *size)
        if x.reading is None and not x.is_global:
            field = x.field.then(tuple(map(Window.whole, spatial(x))))
            return Effect(shape, field, is_global=True)
    windows = tuple(_adaptive(n, m) for n, m in zip(spatial(x), size, strict=True))
    effect = put(x, x.shape[1], size, windows, groups=0)
    return replace(effect, is_global=True) if prod(size) == 1 else effect


def _adaptive(n: int, m: int) -> Window:
    common = gcd(n, m)
    phases = (range(i * n // m, -(-(i + 1) * n // m)) for i in range(m // common))
    return Window.reading(*phases, advance=n // common) if m > 1 else Window.whole(n)


for _axes in (1, 2, 3):
    for _name in ("max_pool{}d", "max_pool{}d_with_indices"):
        rule(_name.format(_axes), role="max pooling")(partial(max_pool, axes=_axes))
    rule(f"avg_pool{_axes}d", role="average pooling")(partial(avg_pool, axes=_axes))
    for _name in ("adaptive_avg_pool{}d", "_adaptive_avg_pool{}d"):
        rule(_name.format(_axes), role="average pooling")(partial(adaptive_pool, axes=_axes))
    _name = f"adaptive_max_pool{_axes}d"
    rule(_name, role="max pooling")(partial(adaptive_max_pool, axes=_axes))


@rule("constant_pad_nd", role="padding")
def pad(x: Activation, padding: Sequence[int], value: float = 0) -> Effect:
    """Padding with a constant. Negative padding crops."""
    return _padded(x, padding, None)


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d", role="padding")
def replication_pad(x: Activation, padding: Sequence[int]) -> Effect:
    """Padding with the border; repeated positions lie outside the input as zeros do."""
    return _padded(x, padding, lambda i, n: min(max(i, 0), n - 1))


def _padded(
    x: Activation, padding: Sequence[int], source: Callable[[int, int], int] | None
) -> Effect:
    """Padding of the last dimensions; `source` says which channel a repeated one is."""
    pairs = [(padding[i], padding[i + 1]) for i in range(0, len(padding), 2)]
    every = [(0, 0)] * (x.dim() - len(pairs)) + pairs[::-1]  # torch lists the last dimension first
    if x.reading is None and len(pairs) <= x.dim() - 2:
        size = tuple(n + lo + hi for n, (lo, hi) in zip(spatial(x), every[2:], strict=True))
        windows = tuple(Window(((-lo, 1),)) for lo, _ in every[2:])
        effect = put(x, x.shape[1], size, windows, groups=0)
        return replace(effect, pads=tuple(every[2:]))
    reading = of(x)
    shape = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, every, strict=True))
    if not prod(shape):
        return nothing(x, shape)
    for dim, (low, high) in enumerate(every):
        if source and (len(reading.dims[dim]) != 1 or reading.dims[dim][0][0] == CHANNEL):
            n = x.shape[dim]
            reading = reading.choose(dim, [source(i, n) for i in range(-low, n + high)])
        elif low or high:
            reading = _pad_dim(reading, dim, low, high)
    return seen(reading, x, shape=shape)


def _pad_dim(reading: Reading, dim: int, low: int, high: int) -> Reading:
    """Padding of one dimension, of any factors."""
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


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", role="padding")
def reflection_pad(x: Activation, padding: Sequence[int]) -> Effect:
    """Padding with the mirrored map, which must be larger than the padding."""
    sizes = tuple(x.shape)[: -len(padding) // 2 - 1 : -1]
    pairs = [(padding[i], padding[i + 1]) for i in range(0, len(padding), 2)]
    if any(max(pair) >= n for pair, n in zip(pairs, sizes, strict=True)):
        raise ShapeError(
            explain(
                "reflected padding must be smaller than the map",
                numbers={"padding": list(padding), "map": compact(sizes[::-1])},
                remedy="Use a smaller padding, or another padding_mode.",
            )
        )
    return _padded(x, padding, lambda i, n: n - 1 - abs(n - 1 - abs(i)))
