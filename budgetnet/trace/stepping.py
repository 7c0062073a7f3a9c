"""A training step on shapes alone: what is saved, what is alive, and what is multiplied.

A structural copy of the model, whose tensors are on the meta device, trains on a batch without
values: the real `forward`, PyTorch's own autograd and a real optimiser run, and nothing is computed
or allocated. What is alive is seen by the lifetime of storages.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ..errors import UnsupportedOp, explain
from .attention import KERNEL, Attention
from .step_macs import MACS
from .tensors import map_tensors, tensors

aten = torch.ops.aten


class Steps(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Watches the operations of a training step.

    Attributes:
        live: bytes of what is alive and is no parameter or buffer of the model.
        peak: the most there were since `peak` was last set.
        macs: multiply-accumulates so far.
        saved: bytes that were saved for the backward pass, by the path of the module.
        forward_macs: those of the forward pass, by the path of the module.
        path: of the module that runs.
        is_forward: whether it does so in the forward pass.
    """

    def __init__(self, owned: Iterator[Tensor]) -> None:
        """`owned` are the parameters and buffers, which are not counted."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.live = self.peak = self.macs = 0
        self.saved: dict[str, int] = {}
        self.forward_macs: dict[str, int] = {}
        self.path, self.is_forward = "", True
        self._owned = {tensor.untyped_storage()._cdata for tensor in owned}
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._unshared = _unshared_holders()

    def hold(self, tensor: Tensor) -> None:
        """Count the storage of a tensor, once, for as long as it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._owned or key in self._alive:
            return
        size = storage.nbytes()
        self._alive[key] = weakref.ref(storage, partial(self._let_go, key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _let_go(self, key: int, size: int, _: Any) -> None:
        if self._alive.pop(key, None) is not None:
            self.live -= size

    def _give_up(self, tensor: Tensor) -> None:
        """No longer count what the result of an operation takes the place of."""
        storage = tensor.untyped_storage()
        if self._alive.pop(storage._cdata, None) is not None:
            self.live -= storage.nbytes()

    def forget_peak(self) -> None:
        """Begin to look for the most that is alive."""
        self.peak = self.live

    def left(self) -> int:
        """Bytes of what is alive on shapes alone."""
        stores = [store() for store in list(self._alive.values())]
        return sum(s.nbytes() for s in stores if s is not None and s.device.type == "meta")

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Note what the operations of a block save."""
        seen: set[int] = set()
        held = []

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._owned and key not in seen:
                seen.add(key)
                held.append(storage)
                self.hold(tensor)
                self.saved[self.path] = self.saved.get(self.path, 0) + storage.nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        held.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on shapes, and note what it makes."""
        kwargs = kwargs or {}
        given = list(tensors((args, kwargs)))
        if any(x.is_meta for x in given) and not all(x.is_meta for x in given):
            args, kwargs = map_tensors(_on_meta, (tuple(args), kwargs))
        if func is aten.add.Tensor and _is_accumulated(args, self._unshared):
            self._give_up(args[0])
        out = func(*args, **kwargs)
        alike = AS_ON_CPU.get(func)
        if alike is not None and given[0].is_meta:
            out = alike(args, kwargs, out)
        count = MACS.get(func)
        if count is not None:
            macs = count(args, out)
            self.macs += macs
            if self.is_forward:
                self.forward_macs[self.path] = self.forward_macs.get(self.path, 0) + macs
        for tensor in tensors((out,)):
            self.hold(tensor)
        return out


def _is_accumulated(args: Any, unshared: tuple[int, int]) -> bool:
    """Whether autograd adds a gradient to one that nothing else holds.

    It then adds in place; but not while a mode watches, for which it makes a new tensor.
    """
    one, two = args
    if torch.is_grad_enabled() or not isinstance(two, Tensor) or one.shape != two.shape:
        return False
    storage = one.untyped_storage()
    return storage.nbytes() == one.numel() * one.element_size() and _holders(one) == unshared


def _holders(tensor: Tensor) -> tuple[int, int]:
    """How many hold a tensor, and its storage, as PyTorch counts them."""
    storage = tensor.untyped_storage()
    count = getattr(tensor, "_use_count", int)  # 0 of a torch that does not tell
    return count(), torch._C._storage_Use_Count(storage._cdata)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Notes how many hold the first operand of every addition."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.found: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten.add.Tensor:
            one, _ = args
            self.found.append(_holders(one))
        return func(*args, **(kwargs or {}))


@cache
def _unshared_holders() -> tuple[int, int]:
    """What `_holders` counts, during an addition, of a gradient that only autograd holds."""
    with _disable_current_modes(), torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(1, device="meta", requires_grad=True)
        y = x.sigmoid() + x.tanh()
        with _Counting() as counting:
            torch.autograd.backward(y, torch.ones_like(y))
    holders: tuple[int, int] = counting.found[-1]
    return holders


def _on_meta(tensor: Tensor) -> Tensor:
    """A constant on the meta device, unless it is a number, which goes with any device."""
    if tensor.is_meta or not tensor.dim():
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


class OnCpu(TorchFunctionMode):
    """Chooses the kernel of an attention as the CPU does, and refuses what shapes do not tell."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take such an operation; let all else run."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:  # inside it, no mode is asked
            return _heads(*args, **kwargs)
        if func in REFUSED:
            raise _unknown(func.__name__)
        return func(*args, **kwargs)


def _unknown(what: str) -> UnsupportedOp:
    reason = {"reason": "its CPU kernels keep more than shapes tell"}
    return UnsupportedOp(explain(f"the training memory of {what} is not known", numbers=reason))


def _attend(*args: Any, **kwargs: Any) -> Any:
    given = Attention(*args, **kwargs)
    if not given.is_fused:
        return given.in_steps()
    mask = given.attn_mask
    if mask is not None and mask.dtype is torch.bool:  # as torch's own code does
        refused = mask.logical_not()
        mask = torch.zeros_like(mask, dtype=given.query.dtype).masked_fill_(refused, -1)
    parts = (*given.parts, given.dropout_p, given.is_causal)
    return KERNEL(*parts, attn_mask=mask, scale=given.scale)[0]


_heads: Any = FunctionType(
    F.multi_head_attention_forward.__code__,
    {
        **vars(F),
        "scaled_dot_product_attention": _attend,
        "has_torch_function": lambda _: False,
    },
    argdefs=F.multi_head_attention_forward.__defaults__,
)
# Their own kernels on the CPU save, or hold for a moment, other tensors than those for shapes.
REFUSED: frozenset[Any] = frozenset({
    torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu, torch.embedding_bag,
    F.mish, torch._C._nn.mish, torch._C._nn.mish_, F.embedding_bag,
})  # fmt: skip


def _loss(args: Any, kwargs: Any, out: Tensor) -> Tensor:
    """A reduced loss: the CPU reduces it in a storage of the size of its input."""
    x: Tensor = args[0]
    return out if out.dim() else x.new_empty(x.numel(), dtype=out.dtype).as_strided((), ())


def _batch_norm(args: Any, kwargs: Any, out: Any) -> Any:
    """A BatchNorm: with running statistics, the CPU gives no statistics of the batch."""
    if not args[5]:
        return out[0], *(part.new_empty(0) for part in out[1:])
    return _with_statistics(args[0], args[1:5], out)


def _layer_norm(args: Any, kwargs: Any, out: Any) -> Any:
    return _with_statistics(args[0], args[2:4], out)


def _with_statistics(x: Tensor, beside: Any, out: Any) -> Any:
    """The CPU keeps statistics in the type of the input, unless types are mixed."""
    if any(part is not None and part.dtype is not x.dtype for part in beside):
        return out
    return out[0], *(part.new_empty(part.shape, dtype=x.dtype) for part in out[1:])


def _group_norm(args: Any, kwargs: Any, out: Any) -> Any:
    if args[0].dtype.itemsize < 4:
        raise _unknown("native_group_norm in half precision")
    return out


AS_ON_CPU: dict[Any, Callable[[Any, Any, Any], Any]] = {
    **dict.fromkeys((aten.mse_loss.default, aten.smooth_l1_loss.default,
                     aten.soft_margin_loss.default, aten.binary_cross_entropy.default), _loss),
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    **dict.fromkeys((aten.native_batch_norm.default, aten._native_batch_norm_legit.default),
                    _batch_norm),
}  # fmt: skip
