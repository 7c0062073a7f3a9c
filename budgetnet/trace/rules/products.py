"""Rules of matrix products: linear layers, and products of activations as in attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from ...errors import ShapeError, explain
from .choices import all_of
from .core import Activation, Effect, Operand, no_rule, of, rule, same_channels, seen
from .readings import CHANNEL, Reading


@rule("mm", role="linear")
def mm(x: Any, y: Any) -> Effect:
    """Matrix product `(M, K) @ (K, N)`: `M*K*N` MACs; linear, if one of them is constant."""
    effect = _product(x, y, x.shape[0] * x.shape[1] * y.shape[1])
    if isinstance(x, Activation) and isinstance(y, Activation):
        effect.role = "product"
        return effect
    shape = x.shape if isinstance(y, Activation) else y.shape[::-1]
    effect.has_bias, effect.weight_shape = False, tuple(shape)
    return effect


@rule("addmm", role="linear")
def addmm(bias: Any, x: Any, y: Any, **_: Any) -> Effect:
    """Matrix product with bias."""
    effect = _biased(bias, x, y, mm)
    if effect.weight_shape and not isinstance(bias, Activation):
        effect.has_bias = True if bias.dim() == 1 else None
    return effect


@rule("bmm", role="product")
def bmm(x: Any, y: Any) -> Effect:
    """Batched matrix product `(B, M, K) @ (B, K, N)`: `B*M*K*N` MACs."""
    return _product(x, y, x.shape[0] * x.shape[1] * x.shape[2] * y.shape[2])


@rule("baddbmm", role="product")
def baddbmm(bias: Any, x: Any, y: Any, **_: Any) -> Effect:
    """Batched matrix product with bias."""
    return _biased(bias, x, y, bmm)


@rule("linear", role="linear")
def linear(x: Activation, weight: Tensor, bias: Any = None) -> Effect:
    """Linear layer over the last dimension; `weight` is `(out, in)`."""
    if not isinstance(x, Activation) or isinstance(weight, Activation):
        raise no_rule("a linear layer whose weight depends on the input", weight)
    if isinstance(bias, Activation):
        raise no_rule("a linear layer whose bias depends on the input", bias)
    same_channels(x, weight.shape[1], dim=-1)
    effect = _times_constant(x, weight.shape[0], x.numel() * weight.shape[0])
    effect.has_bias, effect.weight_shape = bias is not None, tuple(weight.shape)
    return effect


def _product(x: Any, y: Any, macs: int) -> Effect:
    if x.shape[-1] != y.shape[-2]:
        raise ShapeError(
            explain(
                "the layer expects a different number of features than it receives",
                numbers={"expected": y.shape[-2], "got": x.shape[-1]},
                remedy="Set its in_features to what the previous layer outputs.",
            )
        )
    if not isinstance(y, Activation):
        return _times_constant(x, y.shape[-1], macs)
    if not isinstance(x, Activation):
        return _constant_times(x, y, macs)
    return _attend(x, y, macs)


def _biased(bias: Any, x: Any, y: Any, product: Callable[[Any, Any], Effect]) -> Effect:
    """A product and what is added to it, which may have read something as well."""
    shape, macs = (*x.shape[:-1], y.shape[-1]), prod(x.shape) * y.shape[-1]
    tracked = [value for value in (x, y) if isinstance(value, Activation)]
    if not tracked:
        return replace(_met([of(bias).expand(shape)], [bias], shape, macs), role="pointwise")
    effect = product(x, y)
    if not isinstance(bias, Activation):
        return effect
    reading = effect.reading or Reading.of_map(shape, effect.field)
    met = _met([reading, of(bias).expand(shape)], [*tracked, bias], shape, effect.macs)
    return replace(
        met,
        global_context=met.global_context or effect.global_context,
        context=met.context | effect.context,
        role=effect.role,
        has_bias=effect.has_bias,
        weight_shape=effect.weight_shape,
    )


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

    An element reads its row of `x` and its column of `y`. What is summed over is read whole; so
    are the columns, if both rows and columns are positions of the map. If positions remain,
    a whole read is their context: the local window stands.
    """
    shape = (*x.shape[:-1], y.shape[-1])
    last = x.dim() - 1
    one, two = of(x), of(y)
    both = _axes(one, last - 1) and _axes(two, last)
    rows = one.gather([last]).expand(shape)
    columns = two.gather([last - 1, last] if both else [last - 1]).expand(shape)
    return _met([rows, columns], [x, y], shape, macs)


def _axes(reading: Reading, dim: int) -> bool:
    """Whether positions lie along a dimension."""
    return any(axis != CHANNEL for axis, _ in reading.dims[dim])


def _met(
    readings: Sequence[Reading], sources: Sequence[Activation], shape: tuple[int, ...], macs: int
) -> Effect:
    """Effect of operands whose readings are those of the output's elements."""
    return replace(all_of(readings, sources, shape), macs=macs)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention", "_scaled_dot_product_cudnn_attention", role="product",
)  # fmt: skip
def attention(
    query: Any, key: Any, value: Any, *args: Operand, attn_mask: Operand = None, **_: Any
) -> Effect:
    """Attention `softmax(Q K^T + mask) V`: two products, `B * M * N * (K + L)` MACs in all.

    Queries, keys or values that are constants have read nothing.
    """
    shared = any(part.shape[:-2] != query.shape[:-2] for part in (key, value))
    if shared and any(
        part.dim() != query.dim() or have not in (1, wanted)
        for part in (key, value)
        for have, wanted in zip(part.shape[:-2], query.shape[:-2], strict=False)
    ):
        raise no_rule("attention whose heads are shared among groups", query)
    shape, last = (*query.shape[:-1], value.shape[-1]), query.dim() - 1
    parts = [(query, [last]), (key, [last - 1, last]), (value, [last - 1])]
    parts += [(mask, [last]) for mask in (*args, attn_mask) if isinstance(mask, Tensor)]
    tracked = [part for part, _ in parts if isinstance(part, Activation)]
    readings = [
        of(part).gather([dim - last + part.dim() - 1 for dim in dims])
        for part, dims in parts
        if isinstance(part, Activation)
    ]
    scores = isinstance(query, Activation) or isinstance(key, Activation)  # else constants
    width = value.shape[-1] + (query.shape[-1] if scores else 0)
    macs = prod(query.shape[:-1]) * key.shape[-2] * width
    return _met([r.expand(shape) for r in readings], tracked, shape, macs)
