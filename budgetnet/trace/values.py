"""Values of masks and similar inputs, in which no receptive field is measured."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .constants import SMALL, targets_of
from .memory import Storage
from .operations import Operation, operation_of
from .rules import Activation
from .tensors import map_tensors, tensors
from .tracer import Tracer


def can_be_kept(tensor: Tensor) -> bool:
    """Whether an input's values may decide for `forward`: small, and integers or booleans."""
    plain = not (tensor.is_meta or tensor.is_floating_point() or tensor.is_complex())
    return plain and tensor.numel() <= SMALL


class _Unknown(Exception):
    """Some operand has no known value."""


class ValueTracer(Tracer):  # type: ignore[no-untyped-call]  # torch's is
    """A tracer that answers questions of `forward` about such values, such as `mask.all()`.

    Their activations stay activations: computing with them has its usual cost. In addition,
    integers and booleans that depend on nothing else are computed for real.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start without values."""
        super().__init__(*args, **options)
        self._writes: WeakKeyDictionary[Storage, int] = WeakKeyDictionary()

    def keep(self, x: Activation, value: Tensor) -> None:
        """Know the value of an activation, until its memory is written to."""
        x.value = (value, self._writes.get(x.memory, 0))  # type: ignore[attr-defined]  # a note of ours

    def _value_of(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, Activation):
            value, writes = getattr(tensor, "value", (None, 0))
            if value is None or writes != self._writes.get(tensor.memory, 0):
                raise _Unknown
            return value  # type: ignore[no-any-return]  # as `keep` has noted
        if tensor.untyped_storage()._cdata in self.constants.written:
            raise _Unknown
        found: Tensor = self.constants.current(tensor)
        if found.is_meta or found.numel() > SMALL or (found.is_floating_point() and found.dim()):
            raise _Unknown
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer an operation, and also compute it if all values are known."""
        kwargs = kwargs or {}
        if not any(isinstance(x, Activation) for x in tensors((args, kwargs))):
            return super().__torch_dispatch__(func, types, args, kwargs)
        operation = operation_of(func)
        targets = targets_of(operation, args, kwargs) if operation.is_mutable else []
        known = None
        if not operation.is_random and all(isinstance(x, Activation) for x in targets):
            with suppress(_Unknown):
                known = map_tensors(self._value_of, (tuple(args), kwargs))
        if known and torch.Tag.data_dependent_output in func.tags:
            return func(*known[0], **known[1])
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for x in targets:
            if isinstance(x, Activation):
                self._writes[x.memory] = self._writes.get(x.memory, 0) + 1
        if known:
            self._compute(operation, known, list(tensors((out,))))
        return out

    def _compute(self, operation: Operation, known: Any, outs: list[Tensor]) -> None:
        """Keep the values of results; not of floats, which layers may change without operations."""
        kinds = [x.dtype for x in outs]
        if not outs or any(kind.is_floating_point or kind.is_complex for kind in kinds):
            return
        if any(x.numel() > SMALL for x in outs):
            return
        try:
            values = list(tensors((operation.func(*known[0], **known[1]),)))
        except (RuntimeError, NotImplementedError):  # a layout or device that fits the shapes alone
            return
        for x, value in zip(outs, values, strict=True):
            if isinstance(x, Activation) and value.shape == x.shape and value.dtype == x.dtype:
                self.keep(x, value)
