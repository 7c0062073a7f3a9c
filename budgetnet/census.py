"""Every module, parameter and buffer of a model, and how to leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Held(NamedTuple):
    """A parameter or buffer with its path and its number of elements."""

    path: str
    tensor: Tensor
    numel: int


class Census:
    """Every module, parameter and buffer with its path, each once, in one walk."""

    def __init__(self, model: nn.Module) -> None:
        """Walk the model."""
        self.modules: dict[int, tuple[str, nn.Module]] = {}
        self.parameters: dict[int, Held] = {}
        self.buffers: dict[int, Held] = {}
        self._tables: list[dict[str, Any]] = []  # all that a module keeps its state in
        self._walk("", "", model)

    def _walk(self, path: str, prefix: str, module: nn.Module) -> None:
        self.modules[id(module)] = (path, module)
        attributes = module.__dict__
        tables = [attributes[name] for name in ("_parameters", "_buffers", "_modules")]
        self._tables += (attributes, *tables)
        for table, found in zip(tables, (self.parameters, self.buffers), strict=False):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) not in found:
                    found[id(tensor)] = Held(prefix + name, tensor, tensor.numel())
        for name, child in tables[2].items():
            if child is not None and id(child) not in self.modules:
                self._walk(prefix + name, f"{prefix}{name}.", child)

    @property
    def sample(self) -> Tensor:
        """A tensor of the device and floating type that the model works in."""
        floats = (held.tensor for held in self.parameters.values())
        return next(filter(torch.is_floating_point, floats), torch.empty(0))

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of all parameters and buffers by type."""
        counts: dict[torch.dtype, int] = {}
        for _, tensor, numel in (*self.parameters.values(), *self.buffers.values()):
            kind = tensor.dtype
            counts[kind] = counts.get(kind, 0) + numel
        return {str(kind)[len("torch.") :]: n * kind.itemsize for kind, n in counts.items()}

    @contextmanager
    def at_inference(self) -> Iterator[None]:
        """Set the training flags to inference; afterwards put every attribute back as it was."""
        # Straight into __dict__: a module's train() may be overridden, and its __setattr__ is slow.
        copies = [table.copy() for table in self._tables]
        training = [table for table in self._tables if table.get("training")]
        for attributes in training:
            attributes["training"] = False
        try:
            yield
        finally:
            for attributes in training:
                attributes["training"] = True
            if not self._is_as(copies):
                for table, before in zip(self._tables, copies, strict=True):
                    table.clear()
                    table.update(before)

    def _is_as(self, copies: list[dict[str, Any]]) -> bool:
        """Whether no module has an entry added, removed or replaced, by identity."""
        tables, flat = self._tables, chain.from_iterable
        return (
            [*map(len, tables)] == [*map(len, copies)]
            and all(map(is_, flat(map(dict.values, tables)), flat(map(dict.values, copies))))
            and all(map(is_, flat(tables), flat(copies)))
        )
