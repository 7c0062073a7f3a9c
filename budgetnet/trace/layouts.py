"""The memory layout of results, and the further results of an operation.

The order of a result decides whether a later reshape is a view or takes memory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from .operations import Operation
from .tensors import on_meta, tensors

# Results that lie row by row in memory however their operands lie.
_ROW_BY_ROW = {
    "mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "native_layer_norm", "_fused_rms_norm",
    "_softmax", "_log_softmax", "_safe_softmax",
}  # fmt: skip
_OF_NORMS = "batch_norm"  # none at inference, whatever their meta kernels say


class View(NamedTuple):
    """Where a view lies, counted from the tensor that it looks at."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype


_VIEWS: dict[Any, tuple[list[View], bool]] = {}
_MANY = 1 << 14


def views_of(operation: Operation, args: Any, kwargs: Any) -> tuple[list[View], bool]:
    """The views that an operation gives, and whether they come as a list."""
    x, *rest = args
    key: Any = (operation.func, x.dtype, x.shape, x.stride(), _hashable(rest), bool(kwargs))
    try:
        known = None if kwargs else _VIEWS.get(key)
    except TypeError:  # a tensor among the arguments
        known = key = None
    if known is None:
        found = on_meta(operation.func, args, kwargs)
        several = not isinstance(found, Tensor)
        known = (
            [
                View(tuple(v.shape), v.stride(), v.storage_offset(), v.dtype)
                for v in (found if several else [found])
            ],
            several,
        )
        if key is not None and not kwargs and len(_VIEWS) < _MANY:
            _VIEWS[key] = known
    return known


def _hashable(values: Any) -> Any:
    return tuple([_hashable(v) if isinstance(v, list | tuple) else v for v in values])


def strides_of(
    operation: Operation,
    operands: Sequence[Tensor],
    args: Any,
    kwargs: Any,
    shape: tuple[int, ...],
) -> Any:
    """Strides of an operation's result; `None` if it lies row by row."""
    base = operation.base
    if base in _ROW_BY_ROW:
        return None
    asked = kwargs.get("memory_format") if kwargs else None
    if asked is None or asked is torch.preserve_format:
        if all(x.is_contiguous() for x in operands):
            return None
    elif asked is torch.contiguous_format:
        return None
    if base == "convolution":
        return _of_convolution(args[0], args[1], shape)
    only = args[0] if len(args) == 1 and not kwargs else None
    if isinstance(only, Tensor) and tuple(only.shape) == shape:
        return _laid_out_like(shape, only.stride())
    try:
        found = next(tensors((on_meta(operation.func, args, kwargs),)))
    except Exception:  # a kernel that says nothing of shapes, or a library's own operation
        return None
    return found.stride() if tuple(found.shape) == shape else None


def layer_strides(layer: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Any:
    """Strides of the output of one of torch's plain layers."""
    weight = dict.get(layer._parameters, "weight")  # only looked at: no alias is needed
    if weight is not None and weight.dim() > 2:
        if x.is_contiguous() and weight.is_contiguous():
            return None
        return _of_convolution(x, weight, shape)
    if x.is_contiguous() or isinstance(layer, nn.Linear | nn.LayerNorm):
        return None
    if tuple(x.shape) == shape:
        return _laid_out_like(shape, x.stride())
    return _channels_last(shape) if _is_last(x) else None


def further_results(operation: Operation, args: Any, kwargs: Any) -> Any:
    """Shapes and types of all results but the first, if the rule does not give them."""
    if _OF_NORMS in operation.base:
        return ()
    try:
        _, *rest = on_meta(operation.func, args, kwargs)
    except Exception:  # as above
        return ()
    return tuple((tuple(x.shape), x.dtype) for x in rest if isinstance(x, Tensor))


def _of_convolution(x: Tensor, weight: Tensor, shape: tuple[int, ...]) -> Any:
    """Channels last if the input or the weight is, as the kernels prefer."""
    return _channels_last(shape) if _is_last(x) or _is_last(weight) else None


def _is_last(x: Tensor) -> bool:
    """Whether torch takes a map for one with its channels last, which may have gaps."""
    if x.dim() not in (4, 5) or x.is_contiguous():
        return False
    least, channels = 0, x.stride(1)
    for d in (1, *range(x.dim() - 1, 1, -1), 0):
        stride, size = x.stride(d), x.shape[d]
        if not channels or not size or stride < least or (d == 0 and least == channels):
            return False
        least = stride * size if size > 1 else stride
    return True


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(shape) not in (4, 5):
        return None
    strides = [1] * len(shape)
    size = shape[1]
    for i in range(len(shape) - 1, 1, -1):
        strides[i] = size
        size *= shape[i]
    strides[0] = size
    return tuple(strides)


@lru_cache(maxsize=1 << 12)
def _laid_out_like(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of the result of `empty_like`; the tracer must not see it, and count its memory."""
    with _disable_current_modes():
        return torch.empty_like(torch.empty_strided(shape, strides, device="meta")).stride()
