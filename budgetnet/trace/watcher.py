"""The Watcher: a tracer that also records who reads each tensor and what each module runs on."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .modules import ModuleIndex
from .rules import Activation
from .tensors import tensors
from .tracer import Tracer


@dataclass(slots=True, eq=False)
class CallResult:
    """The result of one call of a watched module, and who read it.

    Attributes:
        by: the module.
        axes: of the tensor, the batch included.
        readers: ids of the modules in whose `forward` an operation took the tensor.
    """

    by: nn.Module
    axes: int
    tensor: weakref.ref[Activation]
    readers: set[int] = field(default_factory=set)

    @property
    def is_kept(self) -> bool:
        """Whether somebody still holds the tensor: a result of the model, or an attribute."""
        if self.tensor() is not None:
            gc.collect()  # what only a cycle holds is not kept
        return self.tensor() is not None


class Watcher(Tracer):  # type: ignore[no-untyped-call]  # torch's is
    """Watches a run at inference; shortcuts are off, so that every operation is seen.

    Attributes:
        calls: by module id, for each call what its only argument was made by, if by a watched one.
        readers: by id of a parameter or buffer, the modules in whose `forward` it was read.
    """

    def __init__(self, model: nn.Module, watched: tuple[type[nn.Module], ...]) -> None:
        """Watch the results of all modules of the given kinds."""
        super().__init__(model, ModuleIndex(model), strict=False, shortcuts=False)
        self.watched = watched
        self.calls: dict[int, list[CallResult | None]] = {}
        self.readers: dict[int, set[int]] = {}
        self._running = [id(model)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note who reads the operands, and answer the operation."""
        reader = self._running[-1]
        for tensor in tensors((*args, *(kwargs or {}).values())):
            made = getattr(tensor, "made", None)
            if made is not None:
                made.readers.add(reader)
            else:
                key = self.copies.tensors.get(id(tensor), id(tensor))
                if key in self.module_index.parameters or key in self.module_index.buffers:
                    self.readers.setdefault(key, set()).add(reader)
        return super().__torch_dispatch__(func, types, args, kwargs)

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Note what a module runs on, and answer its call."""
        original = self.modules[id(module)][1]
        only = args[0] if len(args) == 1 and not kwargs else None
        self.calls.setdefault(id(original), []).append(getattr(only, "made", None))
        self._running.append(id(original))
        try:
            out = super().call(module, *args, **kwargs)
        finally:
            self._running.pop()
        if isinstance(module, self.watched) and isinstance(out, Activation):
            out.made = CallResult(original, out.dim(), weakref.ref(out))  # type: ignore[attr-defined]  # a note of ours
        return out
