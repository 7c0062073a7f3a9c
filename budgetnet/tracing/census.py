"""Every module, parameter and buffer of a model, and how to leave them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]  # it has

from ..errors import UnsupportedOp, explain

flat = chain.from_iterable
_USUAL = {nn.Parameter, Tensor}


class Held(NamedTuple):
    """A parameter or buffer with its path and its number of elements."""

    path: str
    tensor: Tensor
    numel: int


def check_module(path: str, module: nn.Module) -> None:
    """Refuse a module that runs where rules cannot see it."""
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedOp(
            explain(
                f"{path or 'the model'} is a scripted or traced module, whose operations run "
                "where rules cannot see them",
                remedy="Account for the nn.Module that it was made from.",
            )
        )


def check_tensor(tensor: Tensor) -> None:
    """Refuse a parameter or buffer of a lazy module that has not run."""
    if isinstance(tensor, UninitializedTensorMixin):
        raise UnsupportedOp(
            explain(
                "a lazy module has parameters whose shape is not known before it has run",
                remedy="Run the model once on an input, then account for it.",
            )
        )


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
        check_module(path, module)
        self.modules[id(module)] = (path, module)
        own = module.__dict__
        parameters, buffers, children = own["_parameters"], own["_buffers"], own["_modules"]
        self._tables += (own, parameters, buffers, children)
        for table, found in ((parameters, self.parameters), (buffers, self.buffers)):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) not in found:
                    if type(tensor) not in _USUAL:
                        check_tensor(tensor)
                    found[id(tensor)] = Held(prefix + name, tensor, tensor.numel())
        for name, child in children.items():
            if child is not None and id(child) not in self.modules:
                inner = prefix + name
                self._walk(inner, inner + ".", child)

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
        keys, before = [*flat(self._tables)], self._state()
        training = [table for table in self._tables if table.get("training")]
        for attributes in training:
            attributes["training"] = False
        try:
            yield
        finally:
            for attributes in training:
                attributes["training"] = True
            self._restore(keys, before)

    def _state(self) -> tuple[list[int], list[Any]]:
        """Lengths and values of all tables: two flat lists, where copies would be many."""
        return [*map(len, self._tables)], [*flat(map(dict.values, self._tables))]

    def _restore(self, keys: list[str], before: tuple[list[int], list[Any]]) -> None:
        """Put back every entry that was added, removed or replaced, by identity."""
        lengths, values = before
        now = self._state()
        if lengths == now[0] and all(map(is_, values, now[1])):
            return
        entries = zip(keys, values, strict=True)
        for table, length in zip(self._tables, lengths, strict=True):
            table.clear()
            table.update(islice(entries, length))
