"""What operations gave on arguments alike: blocks of a network repeat each other, and so do runs.

A rule looks at shapes, types and what was read, and at no value of a constant among those
operations that are remembered here. So arguments alike in that give the same.
"""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..accounting.receptive_field import ReceptiveField
from . import rules
from .layouts import View
from .operations import Operation
from .rules import Activation, Effect
from .rules.readings import Reading

_MOST = 1 << 25  # bytes, about, of what is remembered
_ENTRY, _FIELD = 1024, 256  # bytes of an operation and of a field, about
# Operations whose rules look at no value of the constants among their arguments.
_BY_SHAPE = {
    "mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "add", "sub", "mul", "div", "cat",
    "native_layer_norm", "native_group_norm", "native_batch_norm", "_fused_rms_norm",
    "_native_batch_norm_legit_no_training", "_scaled_dot_product_flash_attention_for_cpu",
}  # fmt: skip
_CONSTANT = {Tensor, nn.Parameter}
_ATOMS = {
    int, float, bool, complex, str, type(None),
    torch.dtype, torch.device, torch.layout, torch.memory_format,
}  # fmt: skip


_OWN = rules.__name__


class Known(NamedTuple):
    """What an operation gives, apart from who made its operands.

    Attributes:
        effects: of every result; one if there is one.
        views: where the results lie in the memory of an operand, if they do.
        several: whether the views come as a list.
        dtype: of the first result, if it has memory of its own.
        strides: of it; `None` if it lies row by row.
        kinds: types of the further results.
    """

    effects: tuple[Effect, ...]
    views: tuple[View, ...] | None = None
    several: bool = False
    dtype: Any = None
    strides: tuple[int, ...] | None = None
    kinds: tuple[torch.dtype, ...] = ()


class Memory:
    """What is known of operations, from run to run; emptied when it has grown large."""

    def __init__(self) -> None:
        """Begin empty."""
        self._known: dict[Any, Known] = {}
        self._stamps: dict[Any, tuple[int, ReceptiveField]] = {}
        self._fields: dict[ReceptiveField, ReceptiveField] = {}
        self._ids: set[int] = set()  # of these fields
        self._numbers = count(1)  # none is given twice, whatever is forgotten
        self._size = 0

    def find(self, key: Any) -> Known | None:
        """What an operation with this key has given."""
        return self._known.get(key)

    def keep(self, key: Any, known: Known) -> None:
        """Remember it."""
        readings = {x.reading for x in known.effects if x.reading is not None}
        self._grow(_ENTRY + sum(map(_size_of, readings)))
        self._known[key] = known

    def stamp(self, x: Activation) -> int:
        """A number for all that rules look at in an activation."""
        if not x.stamp:
            field = self._shared(x.field)
            facts = (x.shape, x.stride(), x.dtype, x.is_global, id(field), x.reading)
            found = self._stamps.get(facts)
            if found is None:
                self._grow(_ENTRY)
                # The field is held, so that its id is not given away.
                found = self._stamps[facts] = next(self._numbers), field
            x.stamp = found[0]
        return x.stamp

    def _shared(self, field: ReceptiveField) -> ReceptiveField:
        """One object for equal fields, so that its id stands for it; hashing it takes longer."""
        if id(field) not in self._ids:
            field = self._fields.setdefault(field, field)
            self._ids.add(id(field))
        return field

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > _MOST:
            self.clear()

    def clear(self) -> None:
        """Forget all."""
        for table in (self._known, self._stamps, self._ids, self._fields):
            table.clear()
        self._size = 0

    def __len__(self) -> int:
        """How many operations are known."""
        return len(self._known)


MEMORY = Memory()


def _size_of(reading: Reading) -> int:
    """Bytes that a reading takes, about."""
    return sum(_FIELD * len(part.fields) + part.classes.nbytes for part in reading.parts)


class _NotKeyed(Exception):
    """An argument that says more than a key can hold."""


def key_of(operation: Operation, rule: Any, args: Any, kwargs: Any) -> Any:
    """All that the answer to an operation turns on; `None` if that cannot be said.

    What rules of a user's own look at is not known.
    """
    if not str(getattr(rule, "__module__", None)).startswith(_OWN):  # None where it was typed in
        return None
    try:
        key = [operation.func, rule]
        _describe(args, key, operation.base)
        if kwargs:
            key.extend(kwargs)
            _describe(kwargs.values(), key, operation.base)
    except _NotKeyed:
        return None
    return tuple(key)


def _describe(values: Any, key: list[Any], base: str) -> None:
    for value in values:
        kind = type(value)
        if kind is Activation:
            key += (Activation, value.stamp or MEMORY.stamp(value))
        elif kind in _ATOMS:
            key += (kind, value)  # 1 is not True
        elif kind is list or kind is tuple:
            key.append(len(value))
            _describe(value, key, base)
        elif kind in _CONSTANT and base in _BY_SHAPE:
            key += (Tensor, value.shape, value.stride(), value.dtype)
        else:
            raise _NotKeyed
