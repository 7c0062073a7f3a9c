"""Rules of operations that look along dimensions: norms, reductions, sorting, transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ...accounting.table import compact
from ...errors import ShapeError, explain
from .core import (
    Activation,
    Effect,
    Operand,
    at,
    no_rule,
    of,
    rule,
    same,
    same_channels,
    seen,
    spread,
    whole,
)
from .pointwise import join
from .readings import CHANNEL


@rule(
    "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit",
    "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update", "batch_norm",
    role="batch norm",
)  # fmt: skip
def batch_norm(
    x: Activation, weight: Tensor | None, bias: Tensor | None = None, *args: Any
) -> Effect:
    """BatchNorm: each element alone with fixed statistics, else with those of the whole map."""
    if weight is not None:
        same_channels(x, weight.numel())
    training = any(value is True for value in args[:3])
    # Statistics are results as well; those of fixed ones are empty.
    stats = (x.shape[1] if training else 0,)
    kind = torch.float32 if x.dtype in (torch.half, torch.bfloat16) else x.dtype
    return replace(same(x), global_context=training and not x.is_global, extra=((stats, kind),) * 2)


@rule("_batch_norm_with_update", role="batch norm")
def batch_norm_updating(
    x: Activation, weight: Tensor | None, bias: Tensor | None, *args: Any
) -> Effect:
    """BatchNorm by statistics of the whole map, which it adds to its own."""
    effect = batch_norm(x, weight, bias, None, None, True)
    return replace(effect, extra=(*effect.extra, ((0,), torch.uint8)))


@rule("native_group_norm", role="norm")
def group_norm(
    x: Activation, weight: Tensor | None, bias: Tensor | None, n: int, c: int, hxw: int, group: int,
    eps: float,
) -> Effect:  # fmt: skip
    """Norms by statistics of the whole map: the window stays, the map is context."""
    return replace(_context(x), extra=(((n, group), x.dtype),) * 2)


@rule("instance_norm", role="norm")
def instance_norm(
    x: Activation, weight: Tensor | None = None, bias: Tensor | None = None, *_: Any
) -> Effect:
    """Norm of every channel by its statistics over the map."""
    return _context(x)


def _context(x: Activation) -> Effect:
    return replace(same(x), global_context=not x.is_global)


@rule("native_layer_norm", role="norm")
def layer_norm(
    x: Activation, normalized_shape: Sequence[int], weight: Tensor | None = None,
    bias: Tensor | None = None, eps: float = 1e-5,
) -> Effect:  # fmt: skip
    """Norm over the last dimensions: of the channels of one position, or of the whole map."""
    kept = x.dim() - len(normalized_shape)
    given = tuple(normalized_shape)
    held = [tuple(value.shape) for value in (weight, bias) if value is not None]
    if any(shape != given for shape in (tuple(x.shape[kept:]), *held)):
        raise ShapeError(
            explain(
                "a LayerNorm expects a different number of features than it receives",
                numbers={"expected": compact(given), "got": compact(x.shape[kept:])},
            )
        )
    stats = (*x.shape[:kept], *(1 for _ in normalized_shape))
    return replace(_over(x, range(kept, x.dim())), extra=((stats, x.dtype),) * 2)


@rule("_fused_rms_norm", role="norm")
def rms_norm(
    x: Activation, normalized_shape: Sequence[int], weight: Tensor | None = None, *_: Any
) -> Effect:
    """Norm by the mean square over the last dimensions."""
    kept = x.dim() - len(normalized_shape)
    stats = (*x.shape[:kept], *(1 for _ in normalized_shape))
    return replace(_over(x, range(kept, x.dim())), extra=((stats, x.dtype),))


@rule("_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax", role="squashing")
def softmax(x: Activation, dim: int, *_: Any, **__: Any) -> Effect:
    """Softmax over the channels of one position, or over positions of the map."""
    return _over(x, [at(x, dim)] if x.dim() else [])


def _over(x: Activation, dims: Sequence[int]) -> Effect:
    """Elements that depend on all along `dims`: channels are mixed, positions are context."""
    if x.reading is None and x.dim() == 2 + len(x.field.axes):
        mask = 0 if x.is_global else sum(1 << i - 2 for i in dims if i >= 2)
        return replace(same(x), context=bool(mask) << mask)
    reading = of(x)
    mask = sum({1 << axis for i in dims for axis, _ in reading.dims[i] if axis != CHANNEL})
    channels = [i for i in dims if all(axis == CHANNEL for axis, _ in reading.dims[i])]
    mixed = reading.gather(channels).expand(x.shape) if len(reading.fields) > 1 else reading
    return seen(mixed, x, context=bool(mask) << mask, shape=tuple(x.shape))


def _dims(x: Activation, dim: Sequence[int] | int | None) -> list[int]:
    """Dimensions as torch takes them: none means all."""
    given = [dim] if isinstance(dim, int) else list(dim or ())
    if not x.dim():
        return []
    return sorted({at(x, d) for d in given} if given else range(x.dim()))


@rule("sum", "nansum", "amin", "prod", "logsumexp", "median", "nanmedian", "min", role="reduction")
def reduce(
    x: Activation, dim: Sequence[int] | int | Operand = None, keepdim: bool = False, **more: Any
) -> Effect:
    """Reductions: every output reads all along the dimensions.

    If torch returns the places as well, they have read the same.
    """
    if isinstance(dim, Tensor):
        return join(x, dim)
    effect = whole(x, _dims(x, more.get("dim", dim)), more.get("keepdim", keepdim))
    return replace(effect, extra=((effect.shape, torch.int64),))


def pool(
    x: Activation, dim: Sequence[int] | int | Operand = None, keepdim: bool = False, **more: Any
) -> Effect:
    """Reductions that are a pooling if every channel stays by itself."""
    effect = reduce(x, dim, keepdim, **more)
    if not effect.role and not _are_positions(x, _dims(x, more.get("dim", dim))):
        effect.role = "reduction"
    return effect


rule("mean", "nanmean", role="average pooling")(pool)
rule("amax", "max", role="max pooling")(pool)


def _are_positions(x: Activation, dims: Sequence[int]) -> bool:
    """Whether these dimensions hold positions of the map and no channels."""
    if x.reading is None:
        return min(dims, default=0) >= 2
    found = [axis for dim in dims for axis, _ in x.reading.dims[dim]]
    return bool(found) and CHANNEL not in found


@rule("any", "all", role="reduction")
def truths(x: Activation, *dims: Any, **more: Any) -> Effect:
    """Whether any, or all, along dimensions are not zero."""
    kind = x.dtype if x.dtype == torch.uint8 else torch.bool
    return replace(reduce(x, *dims, **more), dtype=kind)


@rule("argmax", "argmin", "count_nonzero", role="reduction")
def counted(x: Activation, *dims: Any, **more: Any) -> Effect:
    """Places, or how many there are, along dimensions."""
    return replace(reduce(x, *dims, **more), dtype=torch.int64)


@rule("aminmax", role="reduction")
def extremes(x: Activation, *, dim: int | None = None, keepdim: bool = False) -> Effect:
    """The smallest and the largest along a dimension."""
    effect = whole(x, _dims(x, dim), keepdim)
    return replace(effect, extra=((effect.shape, x.dtype),))


@rule("mode", role="reduction")
def mode(x: Activation, dim: int = -1, keepdim: bool = False) -> Effect:
    """The most frequent value along a dimension, and its place."""
    return reduce(x, dim, keepdim)


@rule("norm", role="reduction")
def norm(
    x: Activation, p: Any = 2, dim: Sequence[int] | int | None = None, keepdim: bool = False,
    **_: Any,
) -> Effect:  # fmt: skip
    """Norm along dimensions, whatever its order."""
    return whole(x, _dims(x, dim), keepdim)


@rule("var", "std", "var_mean", "std_mean", role="reduction")
def variance(
    x: Activation,
    dim: Sequence[int] | None = None,
    unbiased: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Effect:
    """Variance along dimensions, and maybe the mean."""
    effect = whole(x, _dims(x, None if isinstance(dim, bool) else dim), keepdim)
    return replace(effect, extra=((effect.shape, x.dtype),))


@rule("linalg_vector_norm", role="reduction")
def vector_norm(
    x: Activation, ord: Any = 2, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Effect:
    """Norm along dimensions."""
    return whole(x, _dims(x, dim), keepdim)


@rule("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "_cummax_helper", "sort", "msort")
def along(x: Activation, dim: int = -1, *_: Any, **more: Any) -> Effect:
    """Elements that each depend on others along a dimension, selected by values."""
    if not x.dim():
        return replace(same(x), extra=(((), torch.int64),))
    along = at(x, more.get("dim", dim))
    effect = seen(spread(x, [along]), x, shape=tuple(x.shape))
    return replace(effect, extra=((effect.shape, torch.int64),))


@rule("argsort")
def argsort(x: Activation, dim: int = -1, *_: Any, **more: Any) -> Effect:
    """The sorted order of the elements along a dimension."""
    return replace(along(x, more.get("dim", dim)), dtype=torch.int64)


@rule("topk")
def topk(x: Activation, k: int, dim: int = -1, *_: Any) -> Effect:
    """The `k` largest along a dimension, and their places."""
    return _chosen(x, k, dim, keepdim=True)


@rule("kthvalue")
def kthvalue(x: Activation, k: int, dim: int = -1, keepdim: bool = False) -> Effect:
    """The `k`-th smallest along a dimension, and its place."""
    return _chosen(x, 1, dim, keepdim)


def _chosen(x: Activation, count: int, dim: int, keepdim: bool) -> Effect:
    if not x.dim():
        return replace(same(x), extra=(((), torch.int64),))
    dim %= x.dim()
    effect = whole(x, [dim], keepdim)
    if count != 1:
        shape = tuple(count if i == dim else n for i, n in enumerate(x.shape))
        effect = seen(of(x).gather([dim]).expand(shape), x, shape=shape)
    return replace(effect, extra=((effect.shape, torch.int64),))


@rule("_fft_c2c", "_fft_r2c")
def transform(x: Activation, dim: Sequence[int], *options: Any) -> Effect:
    """A Fourier transform: every output reads all along the dimensions."""
    if not dim:
        return same(x)
    halved = x.dtype.is_floating_point and options[-1] is True
    shape = list(x.shape)
    if halved:
        shape[dim[-1]] = shape[dim[-1]] // 2 + 1
    kind = torch.promote_types(x.dtype, torch.complex32)
    return replace(_transformed(x, dim, shape), dtype=kind)


@rule("_fft_c2r")
def transform_back(
    x: Activation, dim: Sequence[int], normalization: int, last_dim_size: int
) -> Effect:
    """A Fourier transform to real numbers."""
    shape = list(x.shape)
    shape[dim[-1]] = last_dim_size
    return replace(_transformed(x, dim, shape), dtype=x.dtype.to_real())


def _transformed(x: Activation, dim: Sequence[int], shape: Sequence[int]) -> Effect:
    reading = spread(x, [d % x.dim() for d in dim])
    if prod(shape) != x.numel():
        last = dim[-1] % x.dim()
        ((axis, _),) = reading.dims[last] or ((CHANNEL, 0),)
        if axis == CHANNEL:
            raise no_rule("a Fourier transform that changes the number of channels", x)
        dims = (*reading.dims[:last], ((axis, shape[last]),), *reading.dims[last + 1 :])
        reading = replace(reading, dims=dims)
    return seen(reading, x, shape=tuple(shape))
