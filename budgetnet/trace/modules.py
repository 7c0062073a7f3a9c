"""Every module, parameter and buffer of a model, and how to leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]  # it has

from ..errors import UnsupportedOp, explain

_USUAL = {nn.Parameter, Tensor}
_SCRIPTED = torch.jit.ScriptModule


class OwnedTensor(NamedTuple):
    """A parameter or buffer with its path and its number of elements."""

    path: str
    tensor: Tensor
    numel: int


def check_module(path: str, module: nn.Module) -> None:
    """Refuse a module that runs where rules cannot see it."""
    if isinstance(module, _SCRIPTED):
        raise UnsupportedOp(
            explain(
                f"{path or 'the model'} is a scripted or traced module, whose operations "
                "rules cannot see",
                remedy="Account for the nn.Module that it was made from.",
            )
        )


def check_tensor(tensor: Tensor) -> None:
    """Refuse a parameter or buffer of a lazy module that has not run."""
    if isinstance(tensor, UninitializedTensorMixin):
        raise UnsupportedOp(
            explain(
                "a lazy module has parameters whose shape is unknown until it has run",
                remedy="Run the model once on an input, then account for it.",
            )
        )


class ModuleIndex:
    """Every module, parameter and buffer with its path, each once."""

    def __init__(self, model: nn.Module) -> None:
        """Find all modules and tensors of the model."""
        self.modules: dict[int, tuple[str, nn.Module]] = {}
        self.parameters: dict[int, OwnedTensor] = {}
        self.buffers: dict[int, OwnedTensor] = {}
        self._walk("", "", model)

    def _walk(self, path: str, prefix: str, module: nn.Module) -> None:
        if isinstance(module, _SCRIPTED):
            check_module(path, module)
        self.modules[id(module)] = (path, module)
        own = module.__dict__
        if own["_parameters"]:
            self._hold(prefix, own["_parameters"], self.parameters)
        if own["_buffers"]:
            self._hold(prefix, own["_buffers"], self.buffers)
        for name, child in own["_modules"].items():
            if child is not None and id(child) not in self.modules:
                inner = prefix + name
                self._walk(inner, inner + ".", child)

    @staticmethod
    def _hold(prefix: str, table: dict[str, Any], found: dict[int, OwnedTensor]) -> None:
        for name, tensor in table.items():
            if tensor is not None and id(tensor) not in found:
                if type(tensor) not in _USUAL:
                    check_tensor(tensor)
                found[id(tensor)] = OwnedTensor(prefix + name, tensor, tensor.numel())

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
        tables = [table for _, module in self.modules.values() for table in _tables_of(module)]
        before = [(table, dict(table)) for table in tables]
        for _, module in self.modules.values():
            module.__dict__["training"] = False
        try:
            yield
        finally:
            for table, entries in before:
                table.clear()
                table.update(entries)


def _tables_of(module: nn.Module) -> Iterator[dict[str, Any]]:
    """The tables in which a module keeps its state."""
    own = module.__dict__
    yield from (own, own["_parameters"], own["_buffers"], own["_modules"])
