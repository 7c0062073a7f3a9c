"""The Tracer: answers every tensor operation by its rule, and every module call by a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..accounting import Account, Row
from ..errors import BudgetnetError, StrideMismatch, UnsupportedOp, explain, located
from ..geometry import compact
from ..receptive_field import ReceptiveField
from ..rules import RULES, Activation, Effect
from ..rules.core import REMEDY
from ..rules.pointwise import JOINS
from ..rules.reading import Unreadable
from ..window import Window
from .census import Census
from .claims import Claims
from .frames import Frame, gather, is_parametrized, kind_of, row_of
from .layers import SHORTCUTS, returns_input
from .memory import Ledger, Storage
from .tensors import activations, on_meta, sources, strides_like, tensors

# Operations that take an activation for its shape only.
_CONSTANTS = {
    "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "empty_like",
    "full_like", "rand_like", "randn_like", "new_empty_strided",
}  # fmt: skip
_TYPES = dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "any", "all"), torch.bool)
_TYPES |= dict.fromkeys(("argmax", "argmin"), torch.int64)
_SEQUENCE = nn.Sequential.forward
_NO_SHAPE = (
    "Not even the shape of its output is known, so strict=False cannot go on. Register a rule with "
    "budgetnet.rule, or tell torch its shape with register_fake."
)


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is
    """Answers operations and module calls while a model runs, and writes the rows."""

    def __init__(self, model: nn.Module, census: Census, *, strict: bool, shortcuts: bool) -> None:
        """Start with nothing run and nothing claimed."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is
        self.census, self.strict = census, strict
        self.shortcuts = SHORTCUTS if shortcuts else {}
        self.claims = Claims(census)
        sample = census.sample
        self.device, self.dtype = sample.device, sample.dtype
        self.ledger = Ledger()
        self.frames: list[Frame] = [Frame("", model, is_leaf=False)]
        self.called: set[int] = set()
        self.rows: list[Row] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Without this, torch wraps __torch_dispatch__ in a compiler guard at every call.
        return False

    # ---- activations

    def input(self, shape: tuple[int, ...], reads: ReceptiveField, place: int) -> Activation:
        """An input of the model, and its place among the inputs."""
        out = self._allocate(shape, None, self.dtype)
        out.source = -1 - place
        out.field, out.reading, out.is_global, out.unknown = reads, None, False, ""
        out.trunk = (-1, reads)
        return out

    def _allocate(
        self, shape: tuple[int, ...], strides: Any, dtype: torch.dtype, memory: Any = None
    ) -> Activation:
        """An activation: a shape, a type and a device, but no memory."""
        out: Activation = torch.Tensor._make_wrapper_subclass(
            Activation, shape, strides, dtype=dtype, device=self.device
        )
        out.memory = memory or Storage(self.ledger, prod(shape) * dtype.itemsize)
        return out

    def _make(
        self, effect: Effect, origins: Sequence[Activation], unknown: str, dtype: torch.dtype
    ) -> Activation:
        """The output of an operation."""
        x = origins[0]
        strides = None if x.is_contiguous() else strides_like(x, effect.shape)
        out = self._allocate(effect.shape, strides, dtype)
        return self._imprint(out, effect, origins, unknown)

    def _imprint(
        self, out: Activation, effect: Effect, origins: Sequence[Activation], unknown: str
    ) -> Activation:
        """Write on an activation what is known of it."""
        out.field, out.reading, out.is_global = effect.field, effect.reading, effect.is_global
        out.unknown, out.source = unknown, len(self.rows)
        if unknown:  # a stand-in, so that shapes and costs go on; no row shows it
            axes = len(effect.field.axes)
            out.field, out.reading = ReceptiveField((Window(),) * axes), None
            out.is_global = out.dim() != axes + 2
        if not out.is_global:
            out.trunk = (len(self.rows), None if unknown else effect.field)
        elif len(origins) == 1:
            out.trunk = origins[0].trunk
        else:
            out.trunk = max((x.trunk for x in origins), key=lambda trunk: trunk[0])
        return out

    # ---- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one operation."""
        kwargs = kwargs or {}
        tracked = activations((*args, *kwargs.values()))
        if not tracked:
            return self.claims.run(func, args, kwargs)
        name = func._schema.name.removeprefix("aten::")
        inplace = name.endswith("_") and not name.endswith("__")
        base = name[:-1] if inplace else name
        if base in _CONSTANTS:
            return on_meta(func, args, kwargs)
        unknown = next((x.unknown for x in tracked if x.unknown), "")
        reads = sources(tracked)  # before an output in place takes over
        try:
            found = RULES.get(base)
            if found is None:
                raise _no_rule(func, args)
            effect = found(*args, **kwargs)
        except (UnsupportedOp, StrideMismatch, Unreadable) as error:
            return self._unruled(func, args, kwargs, error, tracked, reads)
        except TypeError as error:  # an overload whose arguments the rule does not know
            return self._unruled(func, args, kwargs, Unreadable(str(error)), tracked, reads)
        except BudgetnetError as error:
            raise self._located(error) from None
        if isinstance(effect, list):
            return self._views(func, args, kwargs, effect, tracked, unknown)
        if effect.is_view and not inplace:
            return self._views(func, args, kwargs, [effect], tracked, unknown)
        if inplace:
            out = self._overwrite(func, args[0], effect, tracked, unknown)
            out.memory.written = out.source
            self._record(base, effect, args, reads, unknown)
            return out
        dtype = kwargs.get("dtype") or _TYPES.get(base) or tracked[0].dtype
        if base == "clone" and kwargs.get("memory_format") is torch.contiguous_format:
            out = self._allocate(effect.shape, None, dtype)
            self._imprint(out, effect, tracked, unknown)
        else:
            out = self._make(effect, tracked, unknown, dtype)
        extra = len(func._schema.returns) - 1
        # Further results are of no use to a network, but for the indices of a max pooling.
        more = (effect.extra or (((0,), self.dtype),) * extra) if extra else ()
        rest = [self._allocate(shape, None, kind) for shape, kind in more]
        rest = [self._imprint(other, effect, tracked, unknown) for other in rest]
        self._record(base, effect, args, reads, unknown)
        return (out, *rest) if extra else out

    def _views(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        effects: list[Effect],
        tracked: list[Activation],
        unknown: str,
    ) -> Any:
        """The views that an operation gives of an activation; they share its memory."""
        found, x = on_meta(func, args, kwargs), tracked[0]
        twins = [found] if isinstance(found, Tensor) else list(found)
        if [tuple(twin.shape) for twin in twins] != [effect.shape for effect in effects]:
            shapes = ", ".join(compact(effect.shape) for effect in effects)
            reason = Unreadable(f"its rule gives the shape {shapes}")
            return self._unruled(func, args, kwargs, reason, [x], sources([x]))
        x.memory.shared = True
        outs, reads = [], sources(tracked)
        for effect, twin in zip(effects, twins, strict=True):
            out = self._allocate(effect.shape, twin.stride(), x.dtype, x.memory)
            outs.append(self._imprint(out, effect, tracked, unknown))
            self._record(func._schema.name.removeprefix("aten::"), effect, args, reads, unknown)
        return outs[0] if isinstance(found, Tensor) else outs

    def _overwrite(
        self, func: Any, x: Any, effect: Effect, tracked: list[Activation], unknown: str
    ) -> Activation:
        if not isinstance(x, Activation):
            raise self._located(_no_rule(func, (x,)))
        changed = x.field != effect.field or effect.reading is not x.reading
        if changed and x.memory.shared:
            what = f"{func} writes into memory that another view shares"
            raise self._located(UnsupportedOp(explain(what, remedy="Use the plain form.")))
        return self._imprint(x, effect, tracked, unknown)

    def _unruled(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        error: Exception,
        tracked: list[Activation],
        reads: tuple[int, ...],
    ) -> Any:
        """Raise, or go on with the shape alone."""
        if isinstance(error, Unreadable):
            error = UnsupportedOp(
                explain(
                    f"{func} cannot be followed exactly: {error}",
                    numbers={"input shapes": ", ".join(compact(x.shape) for x in tracked)},
                    remedy=REMEDY,
                )
            )
        assert isinstance(error, BudgetnetError)
        name = func._schema.name.removeprefix("aten::")
        costs_nothing = isinstance(error, StrideMismatch) and name.removesuffix("_") in JOINS
        error = self._located(error)
        if self.strict or func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero"):
            raise error from None
        try:
            twin = on_meta(func, args, kwargs)
        except Exception:  # whatever a kernel says of shapes, the missing rule is the reason
            told = str(error).removesuffix(REMEDY)
            raise UnsupportedOp(f"{told}{_NO_SHAPE}") from None
        reason = str(error).removesuffix(f". {REMEDY}")
        outs = [
            self._blank(value, tracked, reason)
            for value in (twin if isinstance(twin, list | tuple) else [twin])
        ]
        if isinstance(outs[0], Activation):
            effect = Effect(tuple(outs[0].shape), outs[0].field, macs=0 if costs_nothing else -1)
            self._record(name, effect, args, reads, reason)
        return type(twin)(outs) if isinstance(twin, list | tuple) else outs[0]

    def _blank(self, value: Any, tracked: list[Activation], reason: str) -> Any:
        if not isinstance(value, Tensor):
            return value
        shape = tuple(value.shape)
        out = self._allocate(shape, value.stride(), value.dtype)
        return self._imprint(out, Effect(shape, tracked[0].field), tracked, reason)

    # ---- module calls

    def call(self, module: nn.Module, args: Any, kwargs: Any, run: Callable[..., Any]) -> Any:
        """Answer one module call: by a shortcut, or by running its `forward` in a frame."""
        found = self.census.modules.get(id(module))
        if found is None or self.frames[-1].is_leaf:  # made inside forward: part of what calls it
            return run(module, *args, **kwargs)
        path = found[0]
        is_plain = (
            len(args) == 1
            and not kwargs
            and not (
                module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
            )
        )
        if is_plain and type(args[0]) is Activation:
            answer = self.shortcuts.get(type(module))
            out = answer and self._take_shortcut(path, module, answer, args[0])
            if out is not None:
                return out
        is_leaf = not module._modules or is_parametrized(module)
        frame = Frame(path, module, is_leaf)
        self.frames.append(frame)
        try:
            if is_plain and type(module).forward is _SEQUENCE and self.shortcuts:
                out = self._run_sequence(module, args[0], run)
            else:
                out = run(module, *args, **kwargs)
        finally:
            self.frames.pop()
        if is_leaf:
            self._close(frame, out)
        return out

    def _run_sequence(self, module: nn.Module, x: Any, run: Callable[..., Any]) -> Any:
        """What `nn.Sequential.forward` does, without the way through `__call__`."""
        for child in module._modules.values():
            if type(child).__call__ is nn.Module.__call__:
                x = self.call(child, (x,), {}, run)  # type: ignore[arg-type]  # never None here
            else:
                x = child(x)  # type: ignore[misc]  # never None here
        return x

    def _take_shortcut(
        self, path: str, module: nn.Module, answer: Callable[..., Effect | None], x: Activation
    ) -> Activation | None:
        try:
            effect = answer(module, x)
        except (UnsupportedOp, StrideMismatch, Unreadable):
            return None  # the operations themselves will say so
        except BudgetnetError as error:
            raise located(error, Frame(path, module, is_leaf=True).where) from None
        if effect is None:
            return None
        params = self.claims.of_module(module)
        reads = sources((x,))
        if returns_input(module):
            out = self._hand_on(x)
        else:
            out = self._make(effect, (x,), x.unknown, x.dtype)
            for shape, kind in effect.extra:
                self._allocate(shape, None, kind)  # let go at once, but counted in the peak
        self._add_row(path, module, effect, reads, params, x.unknown)
        return out

    def _hand_on(self, x: Activation) -> Activation:
        """The input itself as output: from now on it stands for the row about to be added."""
        x.source = x.memory.written = len(self.rows)
        return x

    def _record(
        self, name: str, effect: Effect, args: Any, reads: tuple[int, ...], unknown: str
    ) -> None:
        frame = self.frames[-1]
        params = self.claims.of_arguments(args)
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
        elif isinstance(out, Activation):
            effect = Effect(tuple(out.shape), out.field, out.reading, is_global=out.is_global)
            unknown = out.unknown
            frame.reads += sources((out,))
            self._hand_on(out)
        else:
            return
        own = len(self.rows)
        reads = tuple(dict.fromkeys(i for i in frame.reads if i != own))
        self._add_row(frame.path, frame.module, effect, reads, frame.params, unknown)

    def _add_row(
        self,
        path: str,
        module: nn.Module,
        effect: Effect,
        reads: tuple[int, ...],
        params: int,
        unknown: str,
    ) -> None:
        reused = id(module) in self.called
        self.called.add(id(module))
        self.rows.append(row_of(path, kind_of(module), effect, reads, params, unknown, reused))

    # ---- results

    def _located(self, error: BudgetnetError) -> BudgetnetError:
        return located(error, self.frames[-1].where)

    def account(self, name: str, shape: tuple[Any, ...], outputs: Any) -> Account:
        """The account of what has run."""
        parameters = self.census.parameters.values()
        by_type = self.census.weight_bytes()
        outs = activations([outputs])
        return Account(
            name=name,
            input_shape=shape,
            output_shapes=tuple(tuple(out.shape[1:]) for out in outs),
            rows=tuple(self.rows),
            receptive_field=outs[0].trunk[1] if outs else None,
            params=sum(held.numel for held in parameters),
            trainable_params=sum(held.numel for held in parameters if held.tensor.requires_grad),
            buffers=sum(held.numel for held in self.census.buffers.values()),
            weight_bytes_by_type=tuple(sorted(by_type.items())),
            peak_activation_bytes=self.ledger.peak,
            unused=tuple(held.path for held in self.claims.left.values()),
        )


def _no_rule(func: Any, args: Any) -> UnsupportedOp:
    if func._schema.name == "aten::_local_scalar_dense":
        return UnsupportedOp(
            explain(
                "the control flow depends on a value of the input",
                remedy="An account holds for every input of a shape: take it out of forward.",
            )
        )
    shapes = [compact(value.shape) for value in tensors(args)]
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {func}",
            numbers={"input shapes": ", ".join(shapes)},
            remedy=REMEDY,
        )
    )
