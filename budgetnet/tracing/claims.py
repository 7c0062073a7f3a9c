"""Which parameters have been read: each belongs to the first row that does, tied ones once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .census import Census, Held
from .tensors import on_meta, tensors

_SMALL = 1 << 16  # constants up to so many elements are computed; larger ones stay shapes


class Claims:
    """Runs what is done to parameters and constants, and knows what was made of which."""

    def __init__(self, census: Census) -> None:
        """Start with nothing claimed."""
        self.census = census
        self.left: dict[int, Held] = dict(census.parameters)
        self._derived: dict[int, tuple[Tensor, list[int]]] = {}  # tensors made of parameters

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation that no activation takes part in; the model's own stay as they are."""
        found = list(tensors(args))
        if func._schema.is_mutable and found and self._is_owned(found[0]):
            return found[0]
        if any(t.is_meta or t.numel() > _SMALL for t in found):
            out = on_meta(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        origins = [key for t in found for key in self._parameters_in(t)]
        if origins:
            for value in out if isinstance(out, list | tuple) else [out]:
                if isinstance(value, Tensor):
                    self._derived[id(value)] = (value, origins)
        return out

    def of_module(self, module: nn.Module) -> int:
        """Claim a module's own parameters; returns how many elements were free."""
        return sum(self._claim(id(parameter)) for parameter in module._parameters.values())

    def of_arguments(self, args: Any) -> int:
        """Claim the parameters that an operation's arguments are or were made of."""
        return sum(self._claim(key) for t in tensors(args) for key in self._parameters_in(t))

    def _is_owned(self, tensor: Tensor) -> bool:
        base = tensor._base if tensor._base is not None else tensor
        return id(base) in self.census.parameters or id(base) in self.census.buffers

    def _parameters_in(self, tensor: Tensor) -> list[int]:
        if id(tensor) in self._derived:
            return self._derived[id(tensor)][1]
        return [id(tensor)] if id(tensor) in self.census.parameters else []

    def _claim(self, key: int) -> int:
        found = self.left.pop(key, None)
        return found.numel if found else 0
