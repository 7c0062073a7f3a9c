"""The Operation: what is known about an ATen operation for all its calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Operation:
    """An ATen operation, as its schema describes it.

    Attributes:
        func: what the dispatcher passes.
        name: "relu_" of ATen, "mylib::op" of a library.
        base: the name that rules are keyed by; in-place variants have that of their plain form.
        is_inplace: it writes to its first argument and returns it.
        is_mutable: it writes to an argument.
        is_view: its results share the memory of an argument.
        makes: its results have memory of their own.
        is_random: it draws from the generator of the process.
        is_composite: torch itself breaks it up if autograd is on, but not in inference mode.
        results: how many it has.
        names: of its arguments in order.
    """

    func: Any
    name: str
    base: str
    is_inplace: bool
    is_mutable: bool
    is_view: bool
    makes: bool
    is_random: bool
    is_composite: bool
    results: int
    names: tuple[str, ...]

    def argument(self, key: int | str) -> str:
        """The name of an argument, given by position or name."""
        return key if isinstance(key, str) else self.names[key]


_KNOWN: dict[int, Operation] = {}


def operation_of(func: Any) -> Operation:
    """What an operation's schema says, read once; by id, since hashing `func` takes longer."""
    found = _KNOWN.get(id(func))
    if found is None:
        found = _KNOWN[id(func)] = _read(func)
    return found


def _read(func: Any) -> Operation:
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    inplace = name.endswith("_") and not name.endswith("__")
    if name.startswith("__i") and name.endswith("__"):  # x &= y
        name, inplace = f"__{name[3:]}", True
    aliases = [result.alias_info for result in schema.returns]
    return Operation(
        func=func,
        name=name,
        base=name[:-1] if inplace and not name.endswith("__") else name,
        is_inplace=inplace,
        is_mutable=schema.is_mutable,
        is_view=any(alias is not None and not alias.is_write for alias in aliases),
        makes=not any(aliases) or name == "lift_fresh",
        is_random=torch.Tag.nondeterministic_seeded in func.tags,
        is_composite=torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ),
        results=len(schema.returns),
        names=tuple(argument.name for argument in schema.arguments),
    )
