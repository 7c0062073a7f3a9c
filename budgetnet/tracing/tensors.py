"""Tensors among the arguments of an operation, and the operation on their shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..rules import Activation


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


def on_meta(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on shapes alone."""

    def twin(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device="meta"
            )
        if isinstance(value, list | tuple):
            return type(value)(map(twin, value))
        return value

    options = {key: twin(value) for key, value in kwargs.items() if key != "device"}
    if "device" in kwargs:
        options["device"] = "meta"
    return func(*map(twin, args), **options)


def strides_like(x: Tensor, shape: tuple[int, ...]) -> Any:
    """Strides of a result on `x`: kept where the shape is, channels last where `x` has them so."""
    if tuple(x.shape) == shape:
        return torch.empty_like(torch.empty_strided(shape, x.stride(), device="meta")).stride()
    if x.dim() == len(shape) == 4 and x.is_contiguous(memory_format=torch.channels_last):
        _, channels, height, width = shape
        return (channels * height * width, 1, width * channels, channels)
    return None
