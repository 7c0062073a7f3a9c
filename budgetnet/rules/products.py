"""Rules of matrix products: linear layers, and products of activations as in attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..errors import ShapeError, explain
from .core import Activation, Effect, no_rule, of, rule, same_channels, seen
from .joins import unite
from .reading import CHANNEL, Reading


@rule("mm")
def mm(x: Any, y: Any) -> Effect:
    """Matrix product `(M, K) @ (K, N)`: `M*K*N` MACs."""
    return _product(x, y, x.shape[0] * x.shape[1] * y.shape[1])


@rule("addmm")
def addmm(bias: Any, x: Any, y: Any, **_: Any) -> Effect:
    """Matrix product with bias."""
    return mm(x, y)


@rule("bmm")
def bmm(x: Any, y: Any) -> Effect:
    """Batched matrix product `(B, M, K) @ (B, K, N)`: `B*M*K*N` MACs."""
    return _product(x, y, x.shape[0] * x.shape[1] * x.shape[2] * y.shape[2])


@rule("baddbmm")
def baddbmm(bias: Any, x: Any, y: Any, **_: Any) -> Effect:
    """Batched matrix product with bias."""
    return bmm(x, y)


@rule("linear")
def linear(x: Activation, weight: Tensor, bias: Any = None) -> Effect:
    """Linear layer over the last dimension; `weight` is `(out, in)`."""
    same_channels(x, weight.shape[1], dim=-1)
    return _times_constant(x, weight.shape[0], x.numel() * weight.shape[0])


def _product(x: Any, y: Any, macs: int) -> Effect:
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            explain(
                "the layer expects other features than it receives",
                numbers={"expected": y.shape[-2], "got": x.shape[-1]},
                remedy="Set its in_features to what the layer before it gives.",
            )
        )
    if not isinstance(y, Activation):
        return _times_constant(x, y.shape[-1], macs)
    if not isinstance(x, Activation):
        return _constant_times(x, y, macs)
    return _attend(x, y, macs)


def _times_constant(x: Activation, features: int, macs: int) -> Effect:
    """Product with a weight: the last dimension is mixed."""
    shape = (*x.shape[:-1], features)
    if x.reading is None and x.is_global and x.dim() == 2:
        return Effect(shape, x.field, macs=macs, is_global=True)
    reading = of(x).gather([x.dim() - 1]).expand(shape)
    return seen(reading, x, shape=shape, macs=macs)


def _constant_times(x: Tensor, y: Activation, macs: int) -> Effect:
    """Product of a weight with an activation: the dimension before the last is mixed."""
    shape = (*y.shape[:-2], x.shape[-2], y.shape[-1])
    reading = of(y).gather([y.dim() - 2]).expand(shape)
    return seen(reading, y, shape=shape, macs=macs)


def _attend(x: Activation, y: Activation, macs: int) -> Effect:
    """Product of two activations, `(..., M, K) @ (..., K, N)`.

    Row `m` of the output belongs to row `m` of `x`. What `y` has read along its own positions,
    other than those of the batch, is context: the local window stands.
    """
    shape = (*x.shape[:-1], y.shape[-1])
    one, two = of(x), of(y)
    last = x.dim() - 1
    context = any(axis != CHANNEL for i in (last - 1, last) for axis, _ in two.dims[i])
    context |= any(axis != CHANNEL for axis, _ in one.dims[last])
    mine = _drop(one, [last]).expand(shape)
    if context:
        return seen(mine, x, shape=shape, macs=macs, global_context=not x.is_global)
    theirs = two.gather([last - 1]).expand(shape)
    if mine.dims != theirs.dims:
        return seen(mine, x, shape=shape, macs=macs, global_context=not x.is_global)
    return seen(unite(mine, theirs), x, y, shape=shape, macs=macs)


def _drop(reading: Reading, dims: Sequence[int]) -> Reading:
    """Mix the channels along `dims`; positions along them are forgotten as context."""
    for i in dims:
        if any(axis != CHANNEL for axis, _ in reading.dims[i]):
            kept = tuple(factor for factor in reading.dims[i] if factor[0] == CHANNEL)
            reading = replace(reading, dims=(*reading.dims[:i], kept, *reading.dims[i + 1 :]))
    return reading.gather(dims)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention", "_scaled_dot_product_cudnn_attention",
)  # fmt: skip
def attention(query: Activation, key: Any, value: Any, *_: Any, **__: Any) -> Effect:
    """Attention `softmax(Q K^T) V`: two products, `2 * B * M * N * K` MACs in all."""
    if not all(isinstance(part, Activation) for part in (query, key, value)):
        raise no_rule("attention over constants", query)
    count = query.numel() * key.shape[-2]
    scores = _attend_rows(query, key, count)
    return replace(scores, shape=(*query.shape[:-1], value.shape[-1]), macs=2 * count)


def _attend_rows(query: Activation, key: Activation, macs: int) -> Effect:
    one, two = of(query), of(key)
    last = query.dim() - 1
    mine = one.gather([last]).expand(query.shape)
    if any(axis != CHANNEL for axis, _ in two.dims[last - 1]):
        return seen(mine, query, macs=macs, global_context=not query.is_global)
    theirs = two.gather([last - 1, last]).expand(query.shape)
    if mine.dims != theirs.dims:
        return seen(mine, query, macs=macs, global_context=not query.is_global)
    return seen(unite(mine, theirs), query, key, macs=macs)
