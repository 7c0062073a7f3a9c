"""What each tensor operation does to shape, receptive field and cost: one table, op to rule.

Rules are keyed by ATen operation, since PyTorch reduces the many spellings of an operation
(`nn.MaxPool2d`, `F.max_pool2d`, `torch.max_pool2d`) to one before it runs. A rule is a pure
function with the operation's own signature: activations in, an `Effect` out. In-place variants
share the rule of their plain form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .errors import ArgumentError, ShapeError, UnsupportedOp, explain
from .geometry import Pair, Sliding, Window, compact, conv_macs
from .receptive_field import ReceptiveField


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation gives: its output, and what the output has read.

    `pads` is set by padding operations only, so that a layer that pads and then slides can be
    shown as one.
    """

    shape: tuple[int, ...]
    field: ReceptiveField
    macs: int = 0
    sliding: Sliding | None = None
    is_global: bool = False
    global_context: bool = False
    pads: tuple[Pair, ...] | None = None


class Activation(Tensor):
    """A tensor without storage that knows which inputs each of its units has read."""

    field: ReceptiveField
    is_global: bool
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse to run outside `account`, where no rules apply."""
        raise UnsupportedOp(explain(f"{func} met an activation outside budgetnet.account"))


Rule: TypeAlias = Callable[..., Effect]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operations, by name without namespace, such as "relu"."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ArgumentError(explain(f"the operation {name} has a rule already"))
            RULES[name] = function
        return function

    return register


def same(x: Activation, *_: Any, **__: Any) -> Effect:
    """Effect of an operation on each unit alone."""
    return Effect(tuple(x.shape), x.field, is_global=x.is_global)


rule(
    "relu", "gelu", "silu", "elu", "celu", "selu", "leaky_relu", "hardtanh", "hardswish",
    "hardsigmoid", "sigmoid", "tanh", "mish", "softplus", "log_sigmoid_forward", "prelu",
    "_prelu_kernel", "abs", "neg", "exp", "log", "sqrt", "rsqrt", "square", "pow", "clamp",
    "clamp_min", "clamp_max", "native_dropout", "clone", "contiguous", "alias", "detach",
    "_to_copy", "lift_fresh",
)(same)  # fmt: skip


def _spatial(x: Activation) -> tuple[int, ...]:
    return tuple(x.shape[2:])


def _per_axis(values: Sequence[int] | int, axes: int) -> tuple[int, ...]:
    values = (values,) if isinstance(values, int) else tuple(values)
    return values * axes if len(values) == 1 else values


def slide(x: Activation, channels: int, sliding: Sliding, weights: int = 0) -> Effect:
    """Effect of a convolution or pooling; `weights` counts what each output position costs."""
    size = sliding.output_size(_spatial(x))
    return Effect(
        shape=(x.shape[0], channels, *size),
        field=x.field.then(sliding.windows),
        macs=conv_macs(weights, prod(size)),
        sliding=sliding,
        is_global=x.is_global,
    )


def whole(x: Activation, shape: tuple[int, ...]) -> Effect:
    """Effect of an operation whose every output reads the whole map."""
    if x.is_global:
        return Effect(shape, x.field, is_global=True)
    field = x.field.then(tuple(map(Window.whole, _spatial(x))))
    return Effect(shape, field, is_global=True)


@rule("convolution")
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
) -> Effect:
    """Convolution; a weight is `(C_out, C_in / groups, *kernel)`."""
    if transposed:
        raise _no_rule("transposed convolution", x)
    if x.dim() != weight.dim():
        raise _no_rule(f"convolution of a {weight.dim() - 2}-d kernel", x)
    _same_channels(x, weight.shape[1] * groups)
    axes = weight.dim() - 2
    pads = tuple((p, p) for p in _per_axis(padding, axes))
    kernel = tuple(weight.shape[2:])
    sliding = Sliding(kernel, _per_axis(stride, axes), pads, _per_axis(dilation, axes))
    return slide(x, weight.shape[0], sliding, weight.numel())


def _same_channels(x: Activation, expected: int) -> None:
    if x.shape[1] != expected:
        raise ShapeError(
            explain(
                "the layer expects other channels than it receives",
                numbers={"expected": expected, "got": x.shape[1]},
                remedy="Set its in_channels (or num_features) to what the layer before it gives.",
            )
        )


@rule(
    "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit",
    "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update",
    "batch_norm",
)  # fmt: skip
def batch_norm(x: Activation, weight: Tensor | None, *args: Any, **kwargs: Any) -> Effect:
    """BatchNorm at inference: each unit alone, with fixed statistics."""
    if weight is not None:
        _same_channels(x, weight.numel())
    return same(x)


@rule("max_pool2d_with_indices", "max_pool2d")
def max_pool2d(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Effect:
    """Max pooling; an empty stride means the kernel."""
    axes = x.dim() - 2
    pads = tuple((p, p) for p in _per_axis(padding, axes))
    kernel = _per_axis(kernel_size, axes)
    strides = _per_axis(stride, axes) or kernel
    sliding = Sliding(kernel, strides, pads, _per_axis(dilation, axes), ceil_mode)
    return slide(x, x.shape[1], sliding)


@rule("avg_pool2d")
def avg_pool2d(
    x: Activation,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Effect:
    """Average pooling."""
    return max_pool2d(x, kernel_size, stride, padding, (1,), ceil_mode)


@rule("_adaptive_avg_pool2d", "adaptive_max_pool2d")
def adaptive_pool(x: Activation, output_size: Sequence[int]) -> Effect:
    """Adaptive pooling to one position, or to the size that the map has already."""
    shape = (*x.shape[:2], *output_size)
    if tuple(output_size) == _spatial(x):
        return same(x)
    if prod(output_size) == 1:
        return whole(x, shape)
    raise _no_rule(f"adaptive pooling to {compact(output_size)}", x)


@rule("mean", "amax", "sum")
def reduce(
    x: Activation, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> Effect:
    """Mean, maximum or sum over the channels, or over the whole map."""
    dims = {d % x.dim() for d in (dim or range(x.dim()))}
    sizes = [(1 if i in dims else n) for i, n in enumerate(x.shape) if keepdim or i not in dims]
    spatial = set(range(2, x.dim()))
    if x.is_global or spatial <= dims:
        return whole(x, tuple(sizes))
    if not spatial & dims and keepdim:
        return Effect(tuple(sizes), x.field)
    raise _no_rule(f"reduction over dimensions {sorted(dims)}", x)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze")
def view(x: Activation, *args: Any, **kwargs: Any) -> Effect:
    """Views that keep the map, or flatten all of it."""
    shape = tuple(torch.empty(x.shape, device="meta").view(*args).shape)
    if shape == tuple(x.shape):
        return same(x)
    if x.is_global or (len(shape) <= 2 and prod(shape) == x.numel()):
        return whole(x, shape)
    raise _no_rule(f"a view as {compact(shape)}", x)


@rule("_softmax", "_log_softmax")
def softmax(x: Activation, dim: int, half_to_float: bool = False) -> Effect:
    """Softmax over the channels; over a spatial axis every unit depends on the whole map."""
    local = x.is_global or dim % x.dim() < 2
    return Effect(tuple(x.shape), x.field, is_global=x.is_global, global_context=not local)


@rule("add", "sub", "mul", "div", "maximum", "minimum")
def join(x: Any, y: Any = None, **_: Any) -> Effect:
    """Elementwise operation of two branches, or of one with a constant or a parameter."""
    tracked = [value for value in (x, y) if isinstance(value, Activation)]
    local = [value for value in tracked if not value.is_global]
    shapes = [tuple(value.shape) for value in (x, y) if isinstance(value, Tensor)]
    try:
        shape = tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ShapeError(
            explain(
                "maps of different size are joined elementwise",
                numbers={"shapes": ", ".join(map(compact, shapes))},
                remedy="Give both branches the same stride, padding and channels.",
            )
        ) from None
    if local and any(tuple(value.shape) != shape for value in local):
        raise _no_rule("an elementwise operation that broadcasts a map", local[0])
    if not local:
        return Effect(shape, _union(tracked), is_global=True)
    # A gate such as squeeze-excite's: the local window stands, the whole map is its context.
    return Effect(shape, _union(local), global_context=len(local) < len(tracked))


@rule("cat")
def cat(tensors: Sequence[Activation], dim: int = 0) -> Effect:
    """Concatenation of branches along the channels."""
    first = tensors[0]
    if not all(isinstance(value, Activation) for value in tensors) or dim % first.dim() != 1:
        raise _no_rule(f"concatenation along dimension {dim}", first)
    if len({(value.shape[0], *value.shape[2:], value.is_global) for value in tensors}) > 1:
        shapes = ", ".join(compact(value.shape[1:]) for value in tensors)
        raise ShapeError(
            explain("branches of different size are concatenated", numbers={"shapes": shapes})
        )
    channels = sum(value.shape[1] for value in tensors)
    shape = (first.shape[0], channels, *first.shape[2:])
    return Effect(shape, _union(tensors), is_global=first.is_global)


def _union(branches: Sequence[Activation]) -> ReceptiveField:
    field = branches[0].field
    for branch in branches[1:]:
        field = field.union(branch.field)
    return field


@rule("constant_pad_nd", "replication_pad2d")
def pad(x: Activation, padding: Sequence[int], value: float = 0) -> Effect:
    """Padding; repeated positions lie outside the input as zeros do."""
    pairs = [(padding[i], padding[i + 1]) for i in range(0, len(padding), 2)]
    axes = x.dim() - 2
    if len(pairs) > axes or x.is_global:
        raise _no_rule(f"padding by {list(padding)}", x)
    pads = tuple(
        reversed(pairs + [(0, 0)] * (axes - len(pairs)))
    )  # torch lists the last axis first
    size = tuple(n + lo + hi for n, (lo, hi) in zip(_spatial(x), pads, strict=True))
    field = x.field.then(tuple(Window(((-lo, 1),)) for lo, _ in pads))
    return Effect((*x.shape[:2], *size), field, pads=pads)


@rule("reflection_pad2d")
def reflection_pad2d(x: Activation, padding: Sequence[int]) -> Effect:
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


@rule("addmm")
def addmm(bias: Tensor, x: Activation, weight: Tensor, **_: Any) -> Effect:
    """Linear layer with bias on a vector."""
    return mm(x, weight)


@rule("mm")
def mm(x: Activation, weight: Tensor) -> Effect:
    """Linear layer on a vector; `weight` is `(in, out)`."""
    if isinstance(weight, Activation) or not x.is_global:
        raise _no_rule("a matrix product of activations", x)
    _same_channels(x, weight.shape[0])
    shape = (x.shape[0], weight.shape[1])
    return Effect(shape, x.field, macs=conv_macs(weight.numel(), x.shape[0]), is_global=True)


def _no_rule(what: str, x: Activation) -> UnsupportedOp:
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {what}",
            numbers={"input": compact(x.shape[1:])},
            remedy="This release accounts for chains, residual adds and channel concats.",
        )
    )
