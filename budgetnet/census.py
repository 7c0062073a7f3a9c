"""Every module, parameter and buffer of a model, and how to leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_TABLES = ("_parameters", "_buffers", "_modules")


class Census:
    """Every module, parameter and buffer with its path, each once, in one walk."""

    def __init__(self, model: nn.Module) -> None:
        """Walk the model."""
        self.modules: dict[int, tuple[str, nn.Module]] = {}
        self.parameters: dict[int, tuple[str, Tensor]] = {}
        self.buffers: dict[int, tuple[str, Tensor]] = {}
        self._walk("", model)

    def _walk(self, path: str, module: nn.Module) -> None:
        if id(module) in self.modules:
            return
        self.modules[id(module)] = (path, module)
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self.parameters.setdefault(id(parameter), (prefix + name, parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                self.buffers.setdefault(id(buffer), (prefix + name, buffer))
        for name, child in module._modules.items():
            if child is not None:
                self._walk(prefix + name, child)

    @property
    def tensors(self) -> list[Tensor]:
        """All parameters and buffers."""
        return [tensor for _, tensor in (*self.parameters.values(), *self.buffers.values())]

    @property
    def sample(self) -> Tensor:
        """A tensor of the device and floating type that the model works in."""
        floats = (p for _, p in self.parameters.values() if p.is_floating_point())
        return next(floats, torch.empty(0))

    def weight_bytes(self) -> dict[str, int]:
        """Bytes of all parameters and buffers by type."""
        table: dict[str, int] = {}
        for tensor in self.tensors:
            name = str(tensor.dtype).removeprefix("torch.")
            table[name] = table.get(name, 0) + tensor.numel() * tensor.element_size()
        return table

    @contextmanager
    def at_inference(self) -> Iterator[None]:
        """Set the training flags to inference; afterwards put every attribute back as it was."""
        # Straight into __dict__: a module's train() may be overridden, and its __setattr__ is slow.
        saved: list[tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = []
        for _, module in self.modules.values():
            attributes = module.__dict__
            tables = [attributes[name].copy() for name in _TABLES]
            saved.append((attributes, attributes.copy(), tables))
        try:
            for attributes, _, _ in saved:
                attributes["training"] = False
            yield
        finally:
            for attributes, before, tables in saved:
                attributes.clear()
                attributes.update(before)
                for name, table in zip(_TABLES, tables, strict=True):
                    attributes[name].clear()
                    attributes[name].update(table)
