"""Multiply-accumulates of the operations that a training step runs, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch

from .attention import KERNEL

aten = torch.ops.aten


def _of_conv(args: Any, out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return int((x if transposed else out).numel() * prod(weight.shape[1:]))


def _of_conv_backward(args: Any, out: Any) -> int:
    gradient, x, weight, transposed = args[0], args[1], args[2], args[7]
    once = (x if transposed else gradient).numel() * prod(weight.shape[1:])
    return int(once * sum(args[10][:2]))


def _of_product(place: int) -> Callable[[Any, Any], int]:
    def count(args: Any, out: Any) -> int:
        return int(out.numel() * args[place].shape[-1])

    return count


def _of_attention(products: int) -> Callable[[Any, Any], int]:
    first = 0 if products == 2 else 1

    def count(args: Any, out: Any) -> int:
        query, key = args[first], args[first + 1]
        return int(products * query.numel() * key.shape[-2])

    return count


MACS: dict[Any, Callable[[Any, Any], int]] = {
    aten.convolution.default: _of_conv,
    aten.convolution_backward.default: _of_conv_backward,
    **{op: _of_product(0) for op in (aten.mm.default, aten.bmm.default, aten.dot.default,
                                     aten.mv.default)},
    **{op: _of_product(1) for op in (aten.addmm.default, aten.baddbmm.default,
                                     aten.addmv.default, aten.addbmm.default)},
    KERNEL: _of_attention(2),
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _of_attention(5),
}  # fmt: skip
