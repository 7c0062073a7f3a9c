"""A structural copy of a model, so that a run leaves the model itself alone.

A copy has its own attributes, containers, hooks and flags; parameters and buffers are aliases that
share the storage, which no operation of a run writes to. So a run needs no restoring, and the model
may train or run elsewhere meanwhile.
"""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache, partial
from inspect import Parameter, signature
from operator import itemgetter
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from .modules import ModuleIndex, check_module, check_tensor

_ATOMS = {
    int, float, complex, bool, str, bytes, type(None), type(...), slice, range, type,
    torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format,
    BuiltinFunctionType, ModuleType,
}  # fmt: skip

# What every module has, and all that a plain layer has beside it.
_TABLES = ("_parameters", "_buffers", "_modules")
_EXAMPLE = nn.Identity().__dict__
_HOOKS = tuple(
    name for name, value in _EXAMPLE.items()
    if isinstance(value, dict | set) and name not in _TABLES
)  # fmt: skip
_STANDARD = {*_TABLES, *_HOOKS}
_SIMPLE = {*_ATOMS, tuple}  # a layer without layers in it keeps numbers in tuples
_hooks_of = itemgetter(*_HOOKS)
_DEEP, _LONG = 8, 10_000  # of objects in objects, and of containers in them, that are gone through
_alias = Tensor._make_subclass
_PLAIN_DISPATCH = Tensor.__torch_dispatch__


class HookAdded(BaseException):
    """A forward adds a hook while it runs, which copies that share their tables of hooks cannot do.

    No `except Exception` of a forward's may catch it.
    """


class _Fixed(OrderedDict[Any, Any]):
    """A table without hooks, shared by all modules: few forwards add one."""

    def __setitem__(self, key: Any, value: Any) -> None:
        raise HookAdded


_FIXED = {
    name: _Fixed() if isinstance(value, dict) else type(value)()
    for name, value in _EXAMPLE.items()
    if name in _HOOKS
}


class _Table(dict[str, Any]):
    """A layer's parameters or buffers: replaced by aliases on first access."""

    __slots__ = ("copies",)
    copies: ModuleCopies | None

    def _make_aliases(self) -> None:
        copies, self.copies = self.copies, None
        if copies is not None:
            with _disable_current_modes():
                for key, value in list(dict.items(self)):
                    dict.__setitem__(self, key, copies.copied(value))

    def __getitem__(self, key: str) -> Any:
        self._make_aliases()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._make_aliases()
        return super().get(key, default)

    def items(self) -> Any:
        self._make_aliases()
        return super().items()

    def values(self) -> Any:
        self._make_aliases()
        return super().values()

    def copy(self) -> Any:
        self._make_aliases()
        return super().copy()

    def pop(self, *args: Any) -> Any:
        self._make_aliases()
        return super().pop(*args)


@cache
def _attributes_of(cls: Any) -> int:
    """How many attributes a plain layer of torch's has."""
    wanted = [
        name
        for name, parameter in signature(cls).parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]
    with torch.device("meta"):
        return len(cls(*[1 for _ in wanted]).__dict__)


class ModuleCopies:
    """Every module of a model with a copy of its own, at inference.

    Attributes:
        model: the copy of the model.
        originals: the module that a copy, or the module itself, stands for, by id.
        modules: path, module and copy, by the id of the copy.
        tensors: ids of parameters and buffers, by the ids of their aliases.
    """

    def __init__(
        self,
        module_index: ModuleIndex,
        call: Callable[..., Any],
        layers: Collection[type[nn.Module]] = (),
        *,
        fixed: bool = False,
    ) -> None:
        """Copy the modules of the index, and the values that they refer to.

        Every call of a copy runs `call(reference to the copy, ...)`: `__call__` looks `_call_impl`
        up on the instance, so that neither class nor process change. Modules of a class in
        `layers` are copied the quick way. `fixed` shares tables of hooks, so that adding a hook
        raises `HookAdded`.
        """
        self.tensors: dict[int, int] = {}
        self.modules: dict[int, tuple[str, nn.Module, nn.Module]] = {}
        self._memo: dict[int, Any] = {}
        self._held: list[Any] = []  # what is keyed by id lives as long as the keys
        self._plain: list[tuple[Any, dict[str, Any]]] = []  # objects that are shared
        self._depth = 0
        self._fixed = fixed
        with torch.inference_mode(False):
            for path, module in module_index.modules.values():
                duplicate = object.__new__(type(module))
                self._memo[id(module)] = duplicate
                self.modules[id(duplicate)] = path, module, duplicate
            for _, module, duplicate in self.modules.values():
                quick = fixed and type(module) in layers
                attributes = (quick and self._of_layer(module)) or self._of_module(module)
                attributes["training"] = False
                attributes["_call_impl"] = partial(call, weakref.ref(duplicate))
                object.__setattr__(duplicate, "__dict__", attributes)
        self.model: nn.Module = self._memo[id(next(iter(module_index.modules.values()))[1])]

    @contextmanager
    def restoring_shared(self) -> Iterator[None]:
        """Put back the attributes of plain objects that copies share with their modules."""
        before = [(attributes, dict(attributes)) for _, attributes in self._plain]
        inside = [
            (value, copy.copy(value))
            for _, attributes in before
            for value in attributes.values()
            if type(value) in (list, dict, set)
        ]
        try:
            yield
        finally:
            for now, then in (*before, *inside):
                if now != then if isinstance(now, set) else not _alike(now, then):
                    now.clear()
                    now.extend(then) if isinstance(now, list) else now.update(then)

    def release(self) -> None:
        """Drop all copies, so that the memory that they hold is freed."""
        self._held, self._plain = [], []
        self.modules.clear()
        self._memo.clear()
        del self.model

    # ---- copies

    def _of_module(self, module: nn.Module) -> dict[str, Any]:
        attributes = module.__dict__.copy()
        memo = self._memo
        if any(_hooks_of(attributes)):
            for name in _HOOKS:
                attributes[name] = self.copied(attributes[name])
        elif self._fixed:
            attributes.update(_FIXED)
        else:
            attributes.update({name: type(_EXAMPLE[name])() for name in _HOOKS})
        for name in _TABLES:
            attributes[name] = made = attributes[name].copy()
            for key, inner in made.items():
                if inner is not None:
                    known = memo.get(id(inner))
                    made[key] = self.copied(inner) if known is None else known
        own = attributes.keys() - _STANDARD
        simple = _ATOMS if attributes["_modules"] else _SIMPLE
        if not simple.issuperset(map(type, map(attributes.__getitem__, own))):
            for name in own:
                attributes[name] = self.copied(attributes[name])
        attributes["_compiled_call_impl"] = None
        if type(module).__name__ == "OptimizedModule":  # what torch.compile wraps runs as it is
            attributes["forward"] = attributes["_modules"]["_orig_mod"]
        return attributes

    def _of_layer(self, module: nn.Module) -> dict[str, Any] | None:
        """The quick way for a plain layer of torch's, whose tables change only on access.

        None if it has more than its class gives it, such as hooks.
        """
        attributes, cls = module.__dict__.copy(), type(module)
        if (
            len(attributes) != _attributes_of(cls)  # type: ignore[arg-type]  # classes can be hashed
            or attributes["_forward_hooks"]
            or attributes["_forward_pre_hooks"]
            or attributes["_modules"]
        ):
            return None
        attributes.update(_FIXED)
        attributes["_modules"] = {}
        for name in ("_parameters", "_buffers"):
            table = attributes[name]
            if table:
                attributes[name] = made = _Table(table)
                made.copies = self
            else:
                attributes[name] = {}
        return attributes

    def copied(self, value: Any) -> Any:
        """The copy of a value; the value itself if nothing in it can change."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        found = self._memo.get(id(value))
        if found is not None:
            return found
        copier = _COPIERS.get(kind)
        if copier is None:
            copier = next(
                (c for base, c in _BASES.items() if isinstance(value, base)),
                ModuleCopies._plain_object,
            )
        made = copier(self, value)
        if made is not value:
            self._memo[id(value)] = made
            self._held.append(value)
        return made

    def _dict(self, value: Any) -> Any:
        made = value.copy() if type(value) in _COPIERS else copy.copy(value)
        self._memo[id(value)] = made
        for key, inner in list(made.items()):
            if type(inner) not in _ATOMS:
                changed = self.copied(inner)
                if changed is not inner:
                    made[key] = changed
        return made

    def _list(self, value: Any) -> Any:
        made = copy.copy(value)
        self._memo[id(value)] = made
        for place, inner in enumerate(value):
            changed = self.copied(inner)
            if changed is not inner:
                made[place] = changed
        return made

    def _tuple(self, value: Any) -> Any:
        parts = [self.copied(inner) for inner in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)._make(parts) if hasattr(value, "_make") else type(value)(parts)

    def _set(self, value: Any) -> Any:
        return type(value)(map(self.copied, value))

    def _method(self, value: Any) -> Any:
        owner = self.copied(value.__self__)
        return value if owner is value.__self__ else MethodType(value.__func__, owner)

    def _partial(self, value: Any) -> Any:
        options = {key: self.copied(inner) for key, inner in value.keywords.items()}
        return type(value)(self.copied(value.func), *map(self.copied, value.args), **options)

    def _function(self, value: Any) -> Any:
        """A function over copies of what it closes over, such as a hook's list of results."""
        cells = value.__closure__
        if not cells:
            return value
        self._memo[id(value)] = value  # it may close over itself
        changed = [self._cell(cell) for cell in cells]
        if all(new is old for new, old in zip(changed, cells, strict=True)):
            return value
        made = FunctionType(
            value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(changed)
        )
        made.__kwdefaults__ = value.__kwdefaults__
        made.__dict__.update(value.__dict__)
        return made

    def _cell(self, cell: CellType) -> CellType:
        found = self._memo.get(id(cell))
        if found is None:
            try:
                inner = cell.cell_contents
            except ValueError:  # empty
                return cell
            changed = self.copied(inner)
            found = cell if changed is inner else CellType(changed)
            self._memo[id(cell)] = found
            self._held.append(cell)
        return found

    def _reference(self, value: Any) -> Any:
        target = value()
        changed = None if target is None else self._memo.get(id(target))
        return value if changed is None else weakref.ref(changed)

    def _tensor(self, value: Tensor) -> Tensor:
        """An alias: the same storage, but flags, attributes and a version count of its own."""
        cls = type(value)
        if cls is not Tensor and cls is not nn.Parameter:
            check_tensor(value)
        if cls.__torch_dispatch__ is not _PLAIN_DISPATCH:
            return value  # what its storage is, only its class knows
        if value.layout is not torch.strided:
            return value
        data = self.data_of(value)
        made = data if cls is Tensor else _alias(cls, data, value.requires_grad)
        if vars(value):
            made.__dict__.update(vars(value))
        self.tensors[id(made)] = id(value)
        return made

    def data_of(self, value: Tensor) -> Tensor:
        """What the copy of a tensor holds: the same storage."""
        return _normal(value) if value.is_inference() else value.data

    def _module(self, value: nn.Module) -> nn.Module:
        """A module that no parent has registered; its mode stays, as `eval()` does not reach it."""
        check_module(type(value).__name__, value)
        duplicate: nn.Module = object.__new__(type(value))
        self._memo[id(value)] = duplicate
        object.__setattr__(duplicate, "__dict__", self._of_module(value))
        return duplicate

    def _plain_object(self, value: Any) -> Any:
        """An object of some other class: a copy, or shared if it cannot be copied or lies deep."""
        attributes = getattr(value, "__dict__", None)
        if type(attributes) is not dict or isinstance(value, type | Enum):
            return value
        self._memo[id(value)] = value
        made = None if self._depth > _DEEP else _bare(value)
        if made is None:
            self._plain.append((value, attributes))
            return value
        self._memo[id(value)] = made
        self._depth += 1
        for key, inner in attributes.items():
            large = type(inner) in (list, dict, set) and len(inner) > _LONG
            made.__dict__[key] = copy.copy(inner) if large else self.copied(inner)
        self._depth -= 1
        return made


def _bare(value: Any) -> Any:
    """An object of the same class without attributes, but with what is in its slots."""
    cls = type(value)
    try:
        made = object.__new__(cls)
    except TypeError:  # built on a class that only makes its own
        return None
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                object.__setattr__(made, name, getattr(value, name))
    return made


def _normal(value: Tensor) -> Tensor:
    """An inference tensor as one that may be written to anywhere."""
    made = torch.empty(0, dtype=value.dtype, device=value.device)
    storage, offset = value.untyped_storage(), value.storage_offset()
    return made.set_(storage, offset, value.shape, value.stride())


def _alike(one: Any, two: Any) -> bool:
    """Whether two lists or dicts hold the very same things."""
    if len(one) != len(two):
        return False
    if isinstance(one, dict):
        return all(key in two and two[key] is value for key, value in one.items())
    return all(mine is theirs for mine, theirs in zip(one, two, strict=True))


_COPIERS: dict[type, Callable[[ModuleCopies, Any], Any]] = {
    dict: ModuleCopies._dict,
    OrderedDict: ModuleCopies._dict,
    defaultdict: ModuleCopies._dict,
    list: ModuleCopies._list,
    deque: ModuleCopies._list,
    tuple: ModuleCopies._tuple,
    set: ModuleCopies._set,
    frozenset: ModuleCopies._set,
    MethodType: ModuleCopies._method,
    partial: ModuleCopies._partial,
    FunctionType: ModuleCopies._function,
    weakref.ref: ModuleCopies._reference,
    nn.Parameter: ModuleCopies._tensor,
    Tensor: ModuleCopies._tensor,
}
_BASES: dict[type, Callable[[ModuleCopies, Any], Any]] = {
    Tensor: ModuleCopies._tensor,
    nn.Module: ModuleCopies._module,
    dict: ModuleCopies._dict,
    list: ModuleCopies._list,
    tuple: ModuleCopies._tuple,
    set: ModuleCopies._set,
}
