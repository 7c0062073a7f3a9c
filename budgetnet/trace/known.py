"""What operations gave on arguments alike: blocks of a network repeat each other, and so do runs.

A rule looks at shapes, types and what was read, and at no value of a constant among those
operations that are remembered here. So arguments alike in that give the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import rules
from .layouts import View
from .operations import Operation
from .rules import Activation, Effect
from .rules.readings import FEW

_MOST = 1 << 12  # operations remembered from run to run
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


_KNOWN: dict[Any, tuple[Known, list[Any]]] = {}


class Memory:
    """What is known of the operations of a run, and of earlier runs.

    Readings with many fields would fill the memory: they are forgotten with the run.
    """

    def __init__(self) -> None:
        """Begin with what earlier runs have left."""
        self._own: dict[Any, tuple[Known, list[Any]]] = {}

    def find(self, key: Any) -> Known | None:
        """What an operation with this key has given."""
        found = _KNOWN.get(key) or self._own.get(key)
        return found[0] if found else None

    def keep(self, key: Any, known: Known, tracked: list[Activation]) -> None:
        """Remember it, and hold the fields whose ids are in the key."""
        every: list[Activation | Effect] = [*tracked, *known.effects]
        small = all(x.reading is None or len(x.reading.fields) < FEW for x in every)
        if small and len(_KNOWN) >= _MOST:
            _KNOWN.clear()
        home = _KNOWN if small else self._own
        home[key] = known, [x.field for x in tracked]


class _NotKeyed(Exception):
    """An argument that says more than a key can hold."""


def key_of(operation: Operation, rule: Any, args: Any, kwargs: Any) -> Any:
    """All that the answer to an operation turns on; `None` if that cannot be said.

    What rules of a user's own look at is not known.
    """
    if not getattr(rule, "__module__", "").startswith(_OWN):
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
            reading = value.reading
            # A field by its value costs more; where there is a reading, it is kept with it.
            read = value.field if reading is None else (reading, id(value.field))
            key += (value.shape, value.stride(), value.dtype, value.is_global, read)
        elif kind in _ATOMS:
            key += (kind, value)  # 1 is not True
        elif kind is list or kind is tuple:
            key.append(len(value))
            _describe(value, key, base)
        elif kind in _CONSTANT and base in _BY_SHAPE:
            key += (Tensor, value.shape, value.stride(), value.dtype)
        else:
            raise _NotKeyed
