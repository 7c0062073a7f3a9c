"""Activations, as a run creates them, and the rows that it records."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..accounting.receptive_field import ReceptiveField
from ..accounting.roles import contradiction
from ..accounting.rows import Row
from ..accounting.table import compact
from ..accounting.window import Window
from ..errors import ArgumentError, BudgetnetError, UnsupportedOp, explain, with_place
from .constants import Constants
from .copies import ModuleCopies
from .frames import Frame, describe_leaf, gather, kind_of, role_without_operations, row_of
from .memory import Ledger, Storage
from .modules import ModuleIndex
from .rules import Activation, Effect
from .rules.core import NOTHING, REMEDY, ROLE_OF, seen
from .rules.readings import Reading, Unreadable
from .tensors import map_tensors, offset_of, sources
from .writes import Layout, Root


class Activations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Makes activations, keeps what they have read up to date, and writes the rows."""

    def __init__(
        self, model: nn.Module, module_index: ModuleIndex, copies: ModuleCopies, strict: bool
    ) -> None:
        """Start with no operation run and no parameter counted."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.module_index, self.copies, self.strict = module_index, copies, strict
        self.ledger = Ledger()
        self.constants = Constants(module_index, copies, self.ledger)
        sample = module_index.sample
        # Models on the meta device are accounted for as on the CPU, which real runs may take.
        self.device = torch.device("cpu") if sample.is_meta else sample.device
        self.dtype = sample.dtype
        self.frames: list[Frame] = [Frame("", model, is_leaf=False)]
        self.called: set[int] = set()
        self.rows: list[Row] = []
        self.refused: BudgetnetError | None = None  # the first operation that was

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Without this, torch wraps __torch_dispatch__ in a compiler guard at every call.
        return False

    # ---- activations

    def input(
        self,
        shape: tuple[int, ...],
        reads: ReceptiveField | Reading,
        place: int,
        dtype: torch.dtype | None = None,
    ) -> Activation:
        """An input of the model, and its place among the inputs."""
        out = self._allocate(shape, None, dtype or self.dtype)
        effect = seen(reads, shape=shape) if isinstance(reads, Reading) else Effect(shape, reads)
        self.nothing = ReceptiveField((NOTHING,) * len(effect.field.axes))
        self._imprint(out, effect, (), "")
        out.source, out.trunk = -1 - place, (-1, effect.field)
        return out

    def _allocate(
        self,
        shape: tuple[int, ...],
        strides: Any,
        dtype: torch.dtype,
        memory: Any = None,
        offset: int = 0,
    ) -> Activation:
        """An activation: a shape, a type and a device, but no memory."""
        out: Activation = torch.Tensor._make_wrapper_subclass(
            Activation, shape, strides, offset or None, dtype=dtype, device=self.device
        )
        out.memory = memory or Storage(self.ledger, prod(shape) * dtype.itemsize)
        out.version = out.memory.version
        return out

    def _imprint(
        self, out: Activation, effect: Effect, origins: Sequence[Activation], unknown: str
    ) -> Activation:
        """Set on an activation what is known about it."""
        out.field, out.reading, out.is_global = effect.field, effect.reading, effect.is_global
        out.unknown, out.source, out.stamp = unknown, len(self.rows), 0
        if unknown:
            self._stand_in(out)
        if not out.is_global:
            out.trunk = (len(self.rows), None if unknown else effect.field)
        elif len(origins) == 1:
            out.trunk = origins[0].trunk
        elif origins:
            out.trunk = max((x.trunk for x in origins), key=lambda trunk: trunk[0])
        else:
            out.trunk = (len(self.rows), None if unknown else effect.field)
        return out

    def _stand_in(self, out: Activation) -> None:
        """A plain map in place of an unknown one, for shapes and costs; no row shows it."""
        axes = len(out.field.axes)
        out.field, out.reading = ReceptiveField((Window(),) * axes), None
        out.is_global = out.dim() != axes + 2

    def _renewed(self, x: Activation) -> Activation:
        """An activation as it is now, if its memory was written to through another view."""
        if x.version != x.memory.version:
            root: Root = x.memory.root
            x.version, x.stamp = x.memory.version, 0
            if root.unknown:
                x.unknown, x.trunk = root.unknown, (x.memory.written, None)
                self._stand_in(x)
                return x
            try:
                reading = root.read(x.shape, x.stride(), offset_of(x))
            except Unreadable as error:
                refused = self._located(
                    untracked_error("a tensor written to elsewhere", error, [x])
                )
                if self.strict:
                    raise refused from None
                x.unknown = str(refused).removesuffix(f". {REMEDY}")
                self._stand_in(x)
                return x
            effect = seen(
                reading, shape=tuple(x.shape), is_global=root.is_global or not reading.axes
            )
            x.field, x.reading, x.is_global = effect.field, effect.reading, effect.is_global
            x.trunk = (x.memory.written, x.field)
        return x

    def current(self, value: Any) -> Any:
        """A structure with activations in place of constants that one was written into."""
        written = self.constants.written
        if not written:
            return self.constants.current(value)

        def change(tensor: Tensor) -> Any:
            if isinstance(tensor, Activation):
                return tensor
            found = written.get(tensor.untyped_storage()._cdata)
            if found is None:
                return self.constants.current(tensor)
            _, memory = found
            out = self._allocate(
                tuple(tensor.shape), tensor.stride(), tensor.dtype, memory, offset_of(tensor)
            )
            assert memory.root is not None  # `_promote` has made one
            self._imprint(out, Effect(tuple(tensor.shape), memory.root.reading.field), (), "")
            out.source, out.version = memory.written, -1
            return self._renewed(out)

        return map_tensors(change, value)

    def _share(self, x: Activation) -> None:
        """Note what a memory has read as a whole, before there are views of it."""
        memory = x.memory
        if not memory.shared:
            memory.shared = True
            reading = x.reading or Reading.of_map(tuple(x.shape), x.field)
            layout = Layout(tuple(x.shape), x.stride())
            memory.root = Root(layout, reading, x.is_global, x.unknown)

    def _promote(self, x: Tensor) -> None:
        """Let a constant that an activation is written into be read as one from now on."""
        base = x if x._base is None else x._base
        memory = Storage(self.ledger, 0)  # what the constant itself takes is counted already
        memory.shared = True
        shape, offset = tuple(base.shape), offset_of(base)
        reading = Reading.of_map(shape, self.nothing)
        memory.root = Root(Layout(shape, base.stride()), reading, False, "", offset)
        self.constants.write(x, memory)

    # ---- rows

    def _hand_on(self, x: Activation) -> Activation:
        """The input itself as output: from now on it stands for the row about to be added."""
        x.source = x.memory.written = len(self.rows)
        return x

    def _record(
        self, name: str, effect: Effect, args: Any, reads: tuple[int, ...], unknown: str
    ) -> None:
        self._check(name, effect)
        self._note(name, effect, args, reads, unknown)

    def _check(self, name: str, effect: Effect) -> None:
        """Give an effect the role of its rule, and raise if its facts contradict each other."""
        effect.role = effect.role or ROLE_OF.get(name, "")
        facts = (effect.role, effect.has_bias, effect.weight_shape)
        if reason := contradiction(*facts, max(effect.macs, 0), effect.sliding):
            raise self._located(
                ArgumentError(explain(f"the rule of {name} is not valid: {reason}"))
            )

    def _note(
        self, name: str, effect: Effect, args: Any, reads: tuple[int, ...], unknown: str
    ) -> None:
        """Write down an operation: in its leaf, or as a row."""
        frame = self.frames[-1]
        params = self.constants.new_in_arguments(args)
        if frame.is_leaf:
            frame.effects.append(effect)
            frame.reads += reads
            frame.params += params
            frame.unknown = frame.unknown or unknown
        else:
            self.rows.append(row_of(frame.path, name, effect, reads, params, unknown))

    def _close(self, frame: Frame, out: Any) -> None:
        """Add the row of a leaf whose operations have all run."""
        if frame.effects:
            effect, unknown = gather(frame.effects), frame.unknown
            if isinstance(out, Activation) and not unknown:  # a split has made other parts later
                seen = (tuple(out.shape), out.field, out.reading, out.is_global)
                effect.shape, effect.field, effect.reading, effect.is_global = seen
            describe_leaf(effect, frame, out.numel() if isinstance(out, Activation) else -1)
        elif isinstance(out, Activation):
            effect = Effect(tuple(out.shape), out.field, out.reading, is_global=out.is_global)
            effect.role, unknown = role_without_operations(frame.module), out.unknown
            frame.reads += sources((out,))
            self._hand_on(out)
        else:
            return
        own = len(self.rows)
        reads = tuple(dict.fromkeys(i for i in frame.reads if i != own))
        own_kind = frame.kind
        self._add_row(frame.path, frame.module, effect, reads, frame.params, unknown, own_kind)

    def _add_row(
        self,
        path: str,
        module: nn.Module,
        effect: Effect,
        reads: tuple[int, ...],
        params: int,
        unknown: str,
        kind: str = "",
    ) -> None:
        reused = id(module) in self.called
        self.called.add(id(module))
        kind = kind or kind_of(module)
        self.rows.append(row_of(path, kind, effect, reads, params, unknown, reused))

    def _located(self, error: BudgetnetError) -> BudgetnetError:
        return with_place(error, self.frames[-1].where)


def untracked_error(what: str, error: Exception, tracked: Sequence[Activation]) -> UnsupportedOp:
    """The error for an operation whose result a rule or a write cannot state exactly."""
    return UnsupportedOp(
        explain(
            f"{what} cannot be followed exactly: {error}",
            numbers={"input shapes": ", ".join(compact(x.shape) for x in tracked)},
            remedy=REMEDY,
        )
    )
