"""What a run does to tensors that are not activations: parameters, buffers, and new tensors."""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from ..errors import UnsupportedOp, explain
from .copies import ModuleCopies
from .memory import Ledger, Storage
from .modules import ModuleIndex, OwnedTensor
from .operations import Operation
from .tensors import map_tensors, on_meta, tensors

SMALL = 1 << 16  # constants up to so many elements are computed; larger ones stay shapes
HUGE = 1 << 24  # not even new ones of more elements are filled


class Constants:
    """Runs what is done to constants, without a write to a tensor that was there before.

    It also records which parameters have been read: each belongs to the first row that reads it,
    tied ones once.
    """

    def __init__(self, module_index: ModuleIndex, copies: ModuleCopies, ledger: Ledger) -> None:
        """Start with no tensor made and no parameter counted."""
        self.module_index, self.ledger = module_index, ledger
        self.left: dict[int, OwnedTensor] = dict(module_index.parameters)
        self.origin = copies.tensors
        # Storages by their identity: those made in the run, each with its size and whether what it
        # holds is what a real run would have put there; copies of those
        # that the run would write to, and what has been written into others by activations.
        # A weak reference keeps an identity from being given away again.
        self._made: dict[int, tuple[StorageWeakRef, int, bool]] = {}
        self.copies: dict[int, tuple[StorageWeakRef, Tensor]] = {}
        self.written: dict[int, tuple[StorageWeakRef, Storage]] = {}
        # Tensors made of parameters, by id; held weakly, since their memory counts.
        self._derived: dict[int, tuple[weakref.ref[Tensor], list[int]]] = {}
        self._generator: torch.Generator | None = None

    # ---- operations

    def run(self, operation: Operation, args: Any, kwargs: Any) -> Any:
        """Run an operation that no activation takes part in."""
        given = list(tensors((*args, *kwargs.values())))
        if operation.is_view or operation.base == "_unsafe_view":
            # A view of what was there, not of the run's copy, so that writes to it are recognized.
            out = operation.func(*args, **kwargs)
        else:
            out = self._computed(operation, args, kwargs, given)
        if operation.makes:
            self._note(out)
        origins = [key for t in given for key in self._parameters_in(t)]
        if origins:
            for value in tensors((out,)):
                self._derived[id(value)] = (weakref.ref(value), origins)
        return out

    def _computed(self, operation: Operation, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        """The results; what it writes to is a copy, and given back as what it stands for."""
        found = list(map(self._copy_of, given)) if self.copies else given
        large = any(t.is_meta or t.numel() > SMALL for t in found)
        targets = targets_of(operation, args, kwargs) if operation.is_mutable else []
        if targets:
            large = large or any(t.untyped_storage().nbytes() > SMALL * 8 for t in targets)
            self._keep_off(targets, large)
        if self.copies:
            args, kwargs = map_tensors(self._copy_of, (args, kwargs))
        if operation.is_random and not _is_certain(operation, args, kwargs):
            out = self._draw(operation, args, kwargs, large)
        elif large or _is_huge(args):
            out = self._shape_of(operation, args, kwargs)
        else:
            out = operation.func(*args, **kwargs)
        if not targets:
            return out
        return targets[0] if isinstance(out, Tensor) else type(out)(targets) if out else out

    def _draw(self, operation: Operation, args: Any, kwargs: Any, large: bool) -> Any:
        """Random numbers from a generator of the run's own: the process's stays as it is."""
        func = operation.func
        if large or _is_huge(args):
            return on_meta(func, args, kwargs)
        if self._generator is None:
            self._generator = torch.Generator()
            self._generator.manual_seed(0)
        try:
            return func.overloadpacket(*args, **{**kwargs, "generator": self._generator})
        except (RuntimeError, TypeError):  # it takes none
            return on_meta(func, args, kwargs)

    def _shape_of(self, operation: Operation, args: Any, kwargs: Any) -> Any:
        try:
            return on_meta(operation.func, args, kwargs)
        except (RuntimeError, NotImplementedError) as error:
            raise UnsupportedOp(
                explain(
                    f"{operation.func} needs the values of a tensor without values: it is on "
                    f"the meta device, or larger than {SMALL:,} elements",
                    numbers={"reason": str(error).partition("\n")[0]},
                    remedy="Move it out of forward, or compute it once when the model is created.",
                )
            ) from None

    # ---- writes

    def _keep_off(self, targets: list[Tensor], large: bool) -> None:
        """Make a copy for the run of what it is about to write to, if the run has not made it.

        Where no values will be computed, the copy is one without values, of what the run has made
        as well.
        """
        self.count()
        for tensor in targets:
            storage = tensor.untyped_storage()
            key = storage._cdata
            known = self.copies.get(key)
            if known is not None and (known[1].is_meta or not large):
                continue
            if large:
                numel = storage.nbytes() // tensor.dtype.itemsize
                whole = torch.empty(numel, dtype=tensor.dtype, device="meta")
            elif key in self._made:
                continue
            else:
                whole = _seen_whole(tensor).clone()
            self.copies[key] = (_weakly(storage), whole)

    def _copy_of(self, tensor: Tensor) -> Tensor:
        if type(tensor) not in (Tensor, nn.Parameter):
            return tensor
        found = self.copies.get(tensor.untyped_storage()._cdata)
        if found is None:
            return tensor
        out = torch.empty(0, dtype=tensor.dtype, device=found[1].device)
        out.set_(found[1].untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
        origins = self._parameters_in(tensor)
        if origins:
            self._derived[id(out)] = (weakref.ref(out), origins)
        return out

    def write(self, target: Tensor, memory: Storage) -> None:
        """Note that an activation is written into a constant: `memory` says what it has read."""
        storage = target.untyped_storage()
        self.written[storage._cdata] = (_weakly(storage), memory)

    def current(self, value: Any) -> Any:
        """Arguments with what the run has written to in place of what it left alone."""
        return map_tensors(self._copy_of, value) if self.copies else value

    # ---- memory

    def _note(self, out: Any) -> None:
        """Count the memory of what the run has made, for as long as it is held."""
        for tensor in tensors((out,)):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._made:
                self._made[key] = (_weakly(storage), size, not tensor.is_meta)
                self.ledger.take(size)
        self.ledger.constants = self if self._made else None

    def count(self) -> None:
        """Release the memory of constants that nobody holds any more."""
        gone = [key for key, (ref, *_) in self._made.items() if _is_gone(ref)]
        for key in gone:
            self.ledger.live -= self._made.pop(key)[1]
        for table in (self.written, self.copies):
            for key in [key for key, (ref, _) in table.items() if _is_gone(ref)]:
                del table[key]
        if gone and not self._made:
            self.ledger.constants = None

    def kept(self) -> int:
        """Bytes of constants that outlive the run and are what a real run would have left."""
        if self._generator is not None:  # random numbers would be others
            return 0
        altered = self.written.keys() | self.copies.keys()  # what they hold, only the run knows
        return sum(
            size for key, (_, size, real) in self._made.items() if real and key not in altered
        )

    # ---- parameters

    def new_in_module(self, module: nn.Module) -> int:
        """Elements of a module's own parameters that no earlier row has counted."""
        count, origin = 0, self.origin
        for parameter in dict.values(module._parameters):
            key = id(parameter)
            count += self._count_once(origin.get(key, key))
        return count

    def new_in_arguments(self, args: Any) -> int:
        """Elements of the parameters behind these arguments that no earlier row has counted."""
        return sum(self._count_once(key) for t in tensors(args) for key in self._parameters_in(t))

    def _parameters_in(self, tensor: Tensor) -> list[int]:
        derived = self._derived.get(id(tensor))
        if derived is not None and derived[0]() is tensor:
            return derived[1]
        key = self.origin.get(id(tensor), id(tensor))
        return [key] if key in self.module_index.parameters else []

    def _count_once(self, key: int) -> int:
        found = self.left.pop(key, None)
        return found.numel if found else 0


def targets_of(operation: Operation, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation writes to."""
    found = []
    for place, argument in enumerate(operation.func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[place] if place < len(args) else kwargs.get(argument.name))
    return list(tensors(found))


def _is_certain(operation: Operation, args: Any, kwargs: Any) -> bool:
    """Whether an attention that could drop some of its weights drops none."""
    if "dropout_p" not in operation.names:
        return False
    place = operation.names.index("dropout_p")
    return not (args[place] if place < len(args) else kwargs.get("dropout_p", 0.0))


def _is_huge(args: Any) -> bool:
    """Whether a factory is asked for more than it should fill."""
    size = args[0] if args else None
    return isinstance(size, list | tuple) and _numel(size) > HUGE


def _numel(size: Any) -> int:
    return prod(size) if all(isinstance(n, int) for n in size) else 0


def _seen_whole(tensor: Tensor) -> Tensor:
    """All of the memory that a tensor looks at."""
    storage = tensor.untyped_storage()
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return whole.set_(storage, 0, (storage.nbytes() // tensor.dtype.itemsize,))  # type: ignore[call-overload,no-any-return]  # it takes one


def _weakly(storage: Any) -> StorageWeakRef:
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # torch's


def _is_gone(ref: StorageWeakRef) -> bool:
    return bool(ref.expired())  # type: ignore[no-untyped-call]  # torch's
