"""Tensors among the arguments of an operation, and running the operation on their shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from .rules import Activation


def tensors(values: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)
        elif isinstance(value, dict):
            yield from tensors(value.values())


def activations(values: Any) -> list[Activation]:
    """Every activation in nested lists, tuples and dicts."""
    return [value for value in tensors(values) if isinstance(value, Activation)]


def found_tensors(value: Any, depth: int = 4) -> list[Tensor]:
    """Every tensor in what a model returns: containers, dataclasses, plain objects."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list | tuple | set):
        if is_dataclass(value) and not isinstance(value, type):
            value = [getattr(value, field.name, None) for field in fields(value)]
        else:
            value = list(getattr(value, "__dict__", {}).values())
    if not depth:
        return []
    return [tensor for inner in value for tensor in found_tensors(inner, depth - 1)]


def offset_of(tensor: Tensor) -> int:
    """Where in its memory a tensor begins, in elements."""
    return int(tensor.storage_offset())


def sources(values: Sequence[Activation]) -> tuple[int, ...]:
    """The rows that these activations come from, each once, in this order."""
    if len(values) == 1:
        x = values[0]
        if x.source >= x.memory.written:
            return (x.source,)
    found: dict[int, None] = {}
    for x in values:
        found[x.source] = None
        if x.memory.written > x.source:  # through a view of it, since it was made
            found[x.memory.written] = None
    return tuple(found)


def map_tensors(change: Callable[[Tensor], Any], value: Any) -> Any:
    """The same structure with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        parts = [map_tensors(change, part) for part in value]
        return type(value)._make(parts) if hasattr(value, "_make") else type(value)(parts)
    if isinstance(value, dict):
        return {key: map_tensors(change, part) for key, part in value.items()}
    return value


def _meta_copy(tensor: Tensor) -> Tensor:
    if tensor.is_meta and not isinstance(tensor, Activation):
        return tensor  # itself, so that views of it stay views
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def on_meta(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on shapes alone."""
    options = {
        key: map_tensors(_meta_copy, value) for key, value in kwargs.items() if key != "device"
    }
    if "device" in kwargs:
        options["device"] = "meta"
    return func(*map_tensors(_meta_copy, tuple(args)), **options)
