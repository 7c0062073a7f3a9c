"""Convolutions with few channels in each of many groups, for GPUs, written in Triton.

cuDNN computes such a convolution group by group, backward at least, and a small network then waits
for the start of thousands of kernels. Here all groups are one kernel, an implicit matrix product
over channels-last tensors: forward, for the input's gradient (the same kernel, with the weights
turned round), and for the weights' gradient, in parts that are added up in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS = 128  # of a program, forward
TURN = 64  # pixels that a program adds up at a time, for the weights' gradient
PROGRAMS = 1024  # about, for the weights' gradient: some for every multiprocessor


# fmt: off
@triton.jit
def _gather(x, pixel, k, group, height, width, out_height, out_width, pixels, groups,
            FROM: tl.constexpr, SIDE: tl.constexpr, PAD: tl.constexpr):
    """What the k-th weight of a group is multiplied with at an output pixel; 0 beyond the edge."""
    tap, channel = k // FROM, k % FROM
    image, inside = pixel // (out_height * out_width), pixel % (out_height * out_width)
    row = inside // out_width + tap // SIDE - PAD
    column = inside % out_width + tap % SIDE - PAD
    there = (pixel < pixels) & (k < SIDE * SIDE * FROM)
    if PAD > 0:
        there &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = ((image * height + row) * width + column) * (groups * FROM) + group * FROM + channel
    return tl.load(x + place, mask=there, other=0.0)


@triton.jit
def _forward(x, weight, out, height, width, out_height, out_width, pixels, groups,
             FROM: tl.constexpr, TO: tl.constexpr, SIDE: tl.constexpr,
             PAD: tl.constexpr, P: tl.constexpr, K: tl.constexpr, N: tl.constexpr):
    group = tl.program_id(1)
    pixel = tl.program_id(0) * P + tl.arange(0, P)
    o = tl.arange(0, N)
    total = tl.zeros((P, N), tl.float32)
    many: tl.constexpr = SIDE * SIDE * FROM
    for start in range(0, many, K):
        k = start + tl.arange(0, K)
        seen = _gather(x, pixel[:, None], k[None, :], group, height, width, out_height, out_width,
                       pixels, groups, FROM, SIDE, PAD)
        mine = (group * TO + o)[None, :] * many + k[:, None]
        w = tl.load(weight + mine, mask=(o < TO)[None, :] & (k < many)[:, None], other=0.0)
        total = tl.dot(seen, w, total, input_precision="ieee")
    place = pixel[:, None] * (groups * TO) + group * TO + o[None, :]
    kept = (pixel < pixels)[:, None] & (o < TO)[None, :]
    tl.store(out + place, total.to(out.dtype.element_ty), mask=kept)


@triton.jit
def _weights(x, grad, parts, height, width, out_height, out_width, pixels, groups, rounds,
             FROM: tl.constexpr, TO: tl.constexpr, SIDE: tl.constexpr,
             PAD: tl.constexpr, P: tl.constexpr, K: tl.constexpr, N: tl.constexpr):
    part, group = tl.program_id(0), tl.program_id(2)
    k = tl.program_id(1) * K + tl.arange(0, K)
    o = tl.arange(0, N)
    total = tl.zeros((K, N), tl.float32)
    many: tl.constexpr = SIDE * SIDE * FROM
    for turn in range(rounds):
        pixel = (part * rounds + turn) * P + tl.arange(0, P)
        seen = _gather(x, pixel[None, :], k[:, None], group, height, width, out_height, out_width,
                       pixels, groups, FROM, SIDE, PAD)
        place = pixel[:, None] * (groups * TO) + group * TO + o[None, :]
        kept = (pixel < pixels)[:, None] & (o < TO)[None, :]
        total = tl.dot(seen, tl.load(grad + place, mask=kept, other=0.0), total,
                       input_precision="ieee")
    place = ((part * groups + group) * TO + o[None, :]) * many + k[:, None]
    tl.store(parts + place, total, mask=(k < many)[:, None] & (o < TO)[None, :])

# fmt: on


def _size(count: int) -> int:
    """Of a tile: a power of two, and at least what a matrix product takes."""
    return max(16, triton.next_power_of_2(count))


def _run(x: Tensor, weight: Tensor, groups: int, padding: int) -> Tensor:
    """Weights of (outputs, side, side, inputs of a group)."""
    count, _, height, width = x.shape
    outputs, side, _, given = weight.shape
    high, wide = (n + 2 * padding - side + 1 for n in (height, width))
    shape, order = (count, outputs, high, wide), torch.channels_last
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=order)
    pixels, to = count * high * wide, outputs // groups
    _forward[(triton.cdiv(pixels, PIXELS), groups)](
        x, weight, out, height, width, high, wide, pixels, groups,
        given, to, side, padding, PIXELS, 32 if given > 16 else 16, _size(to),
    )  # fmt: skip
    return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int, padding: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        taps_first = weight.permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(x, taps_first)
        ctx.groups, ctx.padding = groups, padding
        return _run(x, taps_first, groups, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        outputs, side, _, given = weight.shape
        to = outputs // ctx.groups
        before = None
        if ctx.needs_input_grad[0]:
            turned = weight.view(ctx.groups, to, side, side, given).flip(2, 3)
            turned = turned.permute(0, 4, 2, 3, 1).reshape(-1, side, side, to).contiguous()
            before = _run(grad, turned, ctx.groups, side - 1 - ctx.padding)
        count, _, high, wide = grad.shape
        pixels, many = count * high * wide, side * side * given
        k = 32 if many > 16 else 16
        blocks = triton.cdiv(many, k)
        rounds = max(1, triton.cdiv(pixels * ctx.groups * blocks, TURN * PROGRAMS))
        some = triton.cdiv(triton.cdiv(pixels, TURN), rounds)
        partial = torch.empty((some, outputs, side, side, given), device=x.device)
        _weights[(some, blocks, ctx.groups)](
            x, grad, partial, *x.shape[2:], high, wide, pixels, ctx.groups, rounds,
            given, to, side, ctx.padding, TURN, k, _size(to),
        )  # fmt: skip
        return before, partial.sum(0).permute(0, 3, 1, 2).to(weight.dtype), None, None


def grouped_conv2d(x: Tensor, weight: Tensor, groups: int, padding: int) -> Tensor:
    """As `F.conv2d` of stride 1, for kernels and paddings that are square."""
    return _Convolution.apply(x, weight, groups, padding)
