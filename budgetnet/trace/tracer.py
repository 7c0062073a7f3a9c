"""The Tracer: opens a frame for every module call, and gives the account of a run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _global_forward_hooks as _hooks
from torch.nn.modules.module import _global_forward_pre_hooks as _pre_hooks

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.saved import unexplained_output
from ..errors import BudgetnetError, RunEnded, StrideMismatch, UnsupportedOp, explain, with_place
from .answers import Answers
from .copies import ModuleCopies
from .frames import Frame, is_parametrized, kind_of, row_of
from .layouts import layer_strides
from .modules import ModuleIndex
from .recurrent import KINDS as RECURRENT
from .recurrent import Recurrent
from .rules import Activation, Effect
from .rules.readings import Unreadable
from .shortcuts import live_shortcuts, returns_input
from .tensors import activations, found_tensors, sources

_SEQUENCE = nn.Sequential.forward


def _as_composite(row: Row) -> Row:
    return row._replace(role="composite", has_bias=None, weight_shape=())


def _run(module: Any, *args: Any, **kwargs: Any) -> Any:
    """What a module's call does outside a run."""
    return type(module)._call_impl(module, *args, **kwargs)


class Tracer(Answers):  # type: ignore[no-untyped-call]  # torch's is
    """Answers operations and module calls while a model runs, and writes the rows."""

    def __init__(
        self,
        model: nn.Module,
        module_index: ModuleIndex,
        *,
        strict: bool,
        shortcuts: bool,
        fixed_hooks: bool = False,
    ) -> None:
        """Start with nothing run; `fixed_hooks` is as in `ModuleCopies`."""
        self.shortcuts = live_shortcuts() if shortcuts else {}
        copies = ModuleCopies(module_index, self._called, self.shortcuts, fixed=fixed_hooks)
        self.modules = copies.modules
        super().__init__(model, module_index, copies, strict)
        self.failed: Frame | None = None  # where an exception arose

    def _called(self, reference: weakref.ref[nn.Module], *args: Any, **kwargs: Any) -> Any:
        """Answer the call of a copy, unless the run is over."""
        module: Any = reference()
        answer = self.call if id(module) in self.modules else _run
        return answer(module, *args, **kwargs)

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Answer the call of a copy: by a shortcut, or by running its `forward` in a frame."""
        cls = type(module)
        if self.frames[-1].is_leaf:
            return _run(module, *args, **kwargs)
        path = self.modules[id(module)][0]
        own = module.__dict__
        is_plain = (
            len(args) == 1
            and not kwargs
            and not (own["_forward_hooks"] or own["_forward_pre_hooks"])
            and not (_hooks or _pre_hooks)
            and "forward" not in own
            and "_conv_forward" not in own
            and "_check_input_dim" not in own
        )
        if is_plain and type(args[0]) is Activation:
            answer = self.shortcuts.get(cls)
            out = answer and self._take_shortcut(path, module, answer, args[0])
            if out is not None:
                return out
        is_leaf = not own["_modules"] or is_parametrized(module)
        frame = Frame(path, module, is_leaf)
        self.frames.append(frame)
        try:
            if is_plain and cls.forward is _SEQUENCE and self.shortcuts:
                out = self._run_sequence(module, args[0])
            elif issubclass(cls, RECURRENT):
                with Recurrent(self.__torch_dispatch__):
                    out = _run(module, *args, **kwargs)
            else:
                out = _run(module, *args, **kwargs)
        except Exception:  # whatever it is: only the place is noted
            self.failed = self.failed or frame
            raise
        finally:
            self.frames.pop()
        if is_leaf:
            self._close(frame, self.current(out))
        return out

    def _run_sequence(self, module: nn.Module, x: Any) -> Any:
        """What `nn.Sequential.forward` does, without going through `__call__`."""
        for child in module._modules.values():
            if type(child).__call__ is nn.Module.__call__ and id(child) in self.modules:
                x = self.call(child, x)  # type: ignore[arg-type]  # never None here
            else:
                x = child(x)  # type: ignore[misc]  # never None here
        return x

    def _take_shortcut(
        self, path: str, module: nn.Module, answer: Callable[..., Effect | None], x: Activation
    ) -> Activation | None:
        if x.version != x.memory.version:
            self._renewed(x)
        dtype = x.dtype
        # Only the operations know what becomes of other types.
        if not dtype.is_floating_point or torch._C._is_any_autocast_enabled():
            return None
        try:
            effect = answer(module, x)
        except (UnsupportedOp, StrideMismatch, Unreadable):
            return None  # the operations themselves will say so
        except BudgetnetError as error:
            raise with_place(error, Frame(path, module, is_leaf=True).where) from None
        if effect is None:
            return None
        params = self.constants.new_in_module(module)
        reads = sources((x,))
        if returns_input(module):
            out = self._hand_on(x)
        else:
            strides = layer_strides(module, x, effect.shape)
            out = self._allocate(effect.shape, strides, dtype)
            self._imprint(out, effect, (x,), x.unknown)
            # Further results are let go at once, but count in the peak.
            [self._allocate(shape, None, kind) for shape, kind in effect.extra]
        self._add_row(path, module, effect, reads, params, x.unknown)
        return out

    def account(self, name: str, shape: tuple[Any, ...], outputs: Any) -> Account:
        """The account of what has run."""
        outs = [self._renewed(x) for x in activations([self.current(found_tensors(outputs))])]
        if not outs:
            raise UnsupportedOp(
                explain(
                    "no output depends on the input",
                    where=name,
                    numbers={"forward returned": type(outputs).__name__},
                    remedy="Return tensors, or containers or dataclasses of them.",
                )
            )
        found = self._account(
            name=name,
            input_shape=shape,
            output_shapes=tuple(tuple(out.shape[1:]) for out in outs),
            receptive_field=outs[0].trunk[1],
            peak_activation_bytes=self.ledger.peak,
            unused=tuple(held.path for held in self.constants.left.values()),
        )
        hiding = self._hiding(outs)
        if hiding and unexplained_output(found):
            rows = (_as_composite(row) if i in hiding else row for i, row in enumerate(self.rows))
            found = replace(found, rows=tuple(rows))
        return found

    def _hiding(self, outs: list[Activation]) -> set[int]:
        """The places of rows that gave an output, or the last map, but show a different one.

        An operation may have several results, and a leaf several maps.
        """
        rows = self.rows
        hiding = {out.source for out in outs if out.source >= 0
                  and rows[out.source].output_shape != out.shape[1:]}  # fmt: skip
        place, field = outs[0].trunk
        if place >= 0 and (rows[place].is_global or rows[place].receptive_field != field):
            hiding.add(place)
        return hiding

    def account_until(self, error: RunEnded, name: str, shape: tuple[Any, ...]) -> Account:
        """The account of a run that has ended early, at a last row that says why."""
        frame = self.failed or self.frames[-1]
        kind = kind_of(frame.module) if frame.is_leaf else error.operation
        reason = f"the run ends at {error.operation}: {str(error).removesuffix('.')}"
        reads = tuple(i for i in dict.fromkeys((*frame.reads, *error.reads)) if i < len(self.rows))
        last = Effect((1,), self.nothing, macs=-1)
        self.rows.append(row_of(frame.path, kind, last, reads, frame.params, reason))
        return self._account(
            name=name,
            input_shape=shape,
            output_shapes=None,
            receptive_field=None,
            peak_activation_bytes=None,
        )

    def _account(self, **figures: Any) -> Account:
        """An account with what the model owns, which no run changes."""
        parameters = self.module_index.parameters.values()
        by_type = self.module_index.weight_bytes()
        return Account(
            rows=tuple(self.rows),
            params=sum(held.numel for held in parameters),
            trainable_params=sum(held.numel for held in parameters if held.tensor.requires_grad),
            buffers=sum(held.numel for held in self.module_index.buffers.values()),
            weight_bytes_by_type=tuple(sorted(by_type.items())),
            **figures,
        )
