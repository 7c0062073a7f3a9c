"""Operations without a rule that are followed through their decomposition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .operations import Operation


def decomposition_of(operation: Operation) -> Callable[..., Any] | None:
    """The operation in terms of others: ours if torch has none, else PyTorch's own."""
    own = _OWN.get(operation.base)
    if own is not None:
        return own
    from torch._decomp import decomposition_table  # takes a while; few models need it

    found: Callable[..., Any] | None = decomposition_table.get(operation.func)
    return found


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention as `nn.MultiheadAttention` runs it at inference, as one operation."""
    sides = (query, key, value)
    pairs = zip(sides, qkv_weight.chunk(3), qkv_bias.chunk(3), strict=True)
    heads = [
        F.linear(x, weight, bias).view(*x.shape[:2], num_head, -1).transpose(1, 2)
        for x, weight, bias in pairs
    ]
    scores = heads[0] @ heads[1].transpose(-2, -1) / math.sqrt(embed_dim // num_head)
    if mask is not None:
        if mask_type == 1:  # which keys to leave out, of every input
            mask = mask[:, None, None, :]
        scores = scores.masked_fill(mask, float("-inf"))
    weights = scores.softmax(-1)
    out = F.linear((weights @ heads[2]).transpose(1, 2).flatten(2), proj_weight, proj_bias)
    if not need_weights:
        return out, query.new_empty(0)
    return out, weights.mean(1) if average_attn_weights else weights


def _encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """A layer of `nn.TransformerEncoder` as it runs at inference, as one operation."""

    def attend(x: Tensor) -> Tensor:
        return _attention(
            x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask,
            need_weights=False, mask_type=mask_type,
        )[0]  # fmt: skip

    def feed(x: Tensor) -> Tensor:
        inner = F.linear(x, ffn_weight_1, ffn_bias_1)
        return F.linear(F.gelu(inner) if use_gelu else F.relu(inner), ffn_weight_2, ffn_bias_2)

    def first(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def second(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    if norm_first:
        src = src + attend(first(src))
        return src + feed(second(src))
    src = first(src + attend(src))
    return second(src + feed(src))


_OWN: dict[str, Callable[..., Any]] = {
    "_native_multi_head_attention": _attention,
    "_transformer_encoder_layer_fwd": _encoder_layer,
}
