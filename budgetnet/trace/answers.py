"""How each operation of a run is answered: by its rule, by its decomposition, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import prod
from traceback import walk_stack
from typing import Any

import torch
from torch import Tensor

from ..accounting.table import compact
from ..errors import BudgetnetError, RunEnded, StrideMismatch, UnsupportedOp, explain, with_place
from .activations import Activations, untracked_error
from .constants import SMALL, targets_of
from .decompositions import decomposition_of
from .frames import Frame, place_of
from .known import MEMORY, Known, key_of
from .layouts import further_results, strides_of, views_of
from .operations import Operation, operation_of
from .rules import RULES, Activation, Effect
from .rules.core import REMEDY, further, nothing, spoken_of
from .rules.readings import Reading, Unreadable
from .tensors import map_tensors, offset_of, on_meta, sources, tensors

# Operations that take an activation for its shape only.
_CONSTANTS = {
    "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "empty_like",
    "full_like", "rand_like", "randn_like", "randint_like", "new_empty_strided",
}  # fmt: skip
_SIZED = torch.Tag.dynamic_output_shape  # as many elements as values decide
_DECIDING = {_SIZED, torch.Tag.data_dependent_output}
_UNEXPECTED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_TYPING = {torch.dtype, complex}  # arguments that a result's type turns on
_TYPES: dict[tuple[Any, torch.dtype], torch.dtype] = {}


class Answers(Activations):  # type: ignore[no-untyped-call]  # torch's is
    """Answers operations while a model runs."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one operation, and note a refusal, as `forward` may catch the error."""
        try:
            return self._dispatched(func, args, kwargs or {})
        except (UnsupportedOp, StrideMismatch) as error:
            self.refused = self.refused or copy(error)  # without the frames, which hold tensors
            raise

    def _dispatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        operation = operation_of(func)
        given, options = args, kwargs
        if self.constants.written or self.constants.copies:
            args, kwargs = self.current(args), self.current(kwargs)
        keys, tracked, others = _carriers(args, kwargs)
        if not tracked:
            if torch.is_inference_mode_enabled() and operation.is_composite:
                with self:
                    return func.decompose(*given, **options)
            return self.constants.run(operation, given, options)
        if operation.base in _CONSTANTS:
            return self._constant(operation, args, kwargs)
        unknown = ""
        for x in tracked:
            if x.version != x.memory.version:
                self._renewed(x)
            unknown = unknown or x.unknown
        reads = sources(tracked)  # before an output in place takes over
        found = RULES.get(operation.base)
        key = None
        if found is not None and not unknown and not operation.is_mutable:
            key = key_of(operation, found, args, kwargs)
            known = None if key is None else MEMORY.find(key)
            if known is not None:
                return self._give(operation, known, tracked, others, reads, "")
        if not tracked[0].numel() and not any(x.numel() for x in tracked):
            answer = self._of_no_elements(operation, given, args, kwargs, tracked, unknown)
            if answer is not NotImplemented:
                return answer
        try:
            if found is None:
                decomposed = self._decomposed(operation, args, kwargs)
                if decomposed is not NotImplemented:
                    return decomposed
                raise _no_rule(func, args)
            _check_named(operation, found, keys, args)
            effect = found(*args, **kwargs)
            self._check_written(operation, effect, given, args)
        except (UnsupportedOp, StrideMismatch, Unreadable) as error:
            return self._without_rule(operation, given, args, kwargs, error, tracked, reads)
        except BudgetnetError as error:
            raise self._located(error) from None
        except _UNEXPECTED as error:  # of an overload, or arguments, that the rule does not know
            reason = Unreadable(f"its rule raised {type(error).__name__}: {error}")
            reason.__cause__ = error
            return self._without_rule(operation, given, args, kwargs, reason, tracked, reads)
        try:
            return self._answer(
                operation, given, args, kwargs, effect, tracked, others, reads, unknown, key
            )
        except (StrideMismatch, Unreadable) as error:  # of a write to a part of a tensor
            return self._without_rule(operation, given, args, kwargs, error, tracked, reads)

    def _answer(
        self,
        operation: Operation,
        given: Any,
        args: Any,
        kwargs: Any,
        effect: Any,
        tracked: list[Activation],
        others: list[Tensor],
        reads: tuple[int, ...],
        unknown: str,
        key: Any = None,
    ) -> Any:
        """The results of an operation whose effect is known, and its row."""
        base = operation.base
        if operation.is_inplace:
            x = args[0] if isinstance(args[0], Activation) else self.current(given[0])
            self._overwrite(x, effect, tracked, unknown)
            self._record(base, effect, others, reads, unknown)
            return given[0]
        if isinstance(effect, list):
            return self._views(operation, args, kwargs, effect, tracked, unknown, key)
        if effect.is_view or operation.is_view:
            return self._views(operation, args, kwargs, [effect], tracked, unknown, key)
        operands = [*tracked, *others] if others else tracked
        dtype, settled = effect.dtype, True
        if dtype is None:
            dtype, settled = self._dtype(operation, args, kwargs, operands)
        strides = strides_of(operation, operands, args, kwargs, effect.shape)
        effects, kinds = [effect], []
        if operation.results > 1:
            more = effect.extra or further_results(operation, args, kwargs)
            blank = (((0,), dtype),) * (operation.results - 1)
            for other in (*more, *blank)[: operation.results - 1]:
                if isinstance(other, Effect):
                    effects.append(other)
                    kinds.append(other.dtype or dtype)
                else:
                    effects.append(further(effect, other[0]))
                    kinds.append(other[1])
        known = Known(tuple(effects), dtype=dtype, strides=strides, kinds=tuple(kinds))
        self._check(base, effect)
        if key is not None and settled:
            MEMORY.keep(key, known)
        return self._give(operation, known, tracked, others, reads, unknown)

    def _give(
        self,
        operation: Operation,
        known: Known,
        tracked: list[Activation],
        others: list[Tensor],
        reads: tuple[int, ...],
        unknown: str,
    ) -> Any:
        """New activations for what is known of an operation, and its rows."""
        if known.views is not None:
            return self._give_views(operation, known, tracked, reads, unknown)
        effect = known.effects[0]
        out = self._allocate(effect.shape, known.strides, known.dtype)
        self._imprint(out, effect, tracked, unknown)
        rest = []
        for other, kind in zip(known.effects[1:], known.kinds, strict=True):
            made = self._allocate(other.shape, None, kind)
            rest.append(self._imprint(made, other, tracked, unknown))
        self._note(operation.base, effect, others, reads, unknown)
        return (out, *rest) if rest else out

    def _give_views(
        self,
        operation: Operation,
        known: Known,
        tracked: list[Activation],
        reads: tuple[int, ...],
        unknown: str,
    ) -> Any:
        x = tracked[0]
        self._share(x)
        memory, outs, start = x.memory, [], offset_of(x)
        for effect, (shape, strides, offset, dtype) in zip(
            known.effects, known.views or (), strict=True
        ):
            out = self._allocate(shape, strides, dtype, memory, start + offset)
            outs.append(self._imprint(out, effect, tracked, unknown))
            memory.root.see(shape, strides)
            self._note(operation.name, effect, (), reads, unknown)
        return outs if known.several else outs[0]

    def _dtype(
        self, operation: Operation, args: Any, kwargs: Any, operands: Sequence[Tensor]
    ) -> tuple[torch.dtype, bool]:
        """Type of a result: what the operands share, or what torch itself says.

        The flag says whether it turns on the arguments alone, and not on settings of the process.
        """
        asked = kwargs.get("dtype")
        if asked is not None:
            return asked, True
        dtype = operands[0].dtype
        # Of floats alike the operation alone decides, whatever the shapes and numbers are.
        settled = dtype.is_floating_point
        for operand in operands:
            settled = settled and operand.dtype is dtype
        for value in args:
            settled = settled and type(value) not in _TYPING
        key = (operation.func, dtype)
        if settled and key in _TYPES:
            return _TYPES[key], True
        try:
            found = on_meta(operation.func, args, kwargs)
        except Exception:  # a kernel that says nothing of shapes, or a library's own operation
            return dtype, settled
        first = next(tensors((found,)), operands[0])
        if settled:
            _TYPES[key] = first.dtype
        return first.dtype, settled

    def _of_no_elements(
        self,
        operation: Operation,
        given: Any,
        args: Any,
        kwargs: Any,
        tracked: list[Activation],
        unknown: str,
    ) -> Any:
        """The results of an operation on activations without elements: they have read nothing."""
        x, reads = tracked[0], sources(tracked)
        try:
            on_shapes = on_meta(operation.func, args, kwargs)
        except Exception:  # whatever the kernel says, the rules say it better
            return NotImplemented
        several = isinstance(on_shapes, list | tuple)
        results = list(on_shapes) if several else [on_shapes]
        if operation.is_inplace or not all(isinstance(t, Tensor) for t in results):
            same = (
                tuple(given[0].shape) == tuple(results[0].shape) if operation.is_inplace else False
            )
            return given[0] if same and isinstance(given[0], Activation) else NotImplemented
        effects = [nothing(x, tuple(t.shape)) for t in results]
        if operation.is_view:
            return self._views(operation, args, kwargs, effects, tracked, unknown)
        outs = [self._allocate(tuple(t.shape), t.stride(), t.dtype) for t in results]
        for out, effect in zip(outs, effects, strict=True):
            self._imprint(out, effect, tracked, unknown)
        self._record(operation.base, effects[0], args, reads, unknown)
        return type(on_shapes)(outs) if several else outs[0]

    def _constant(self, operation: Operation, args: Any, kwargs: Any) -> Any:
        """A constant made in the shape of an activation; with values if it is small."""

        size = prod(args[1]) if operation.base.startswith("new_") else args[0].numel()
        device = "meta" if size > SMALL else self.device

        def plain(x: Tensor) -> Tensor:
            if not isinstance(x, Activation):
                return x
            if operation.base.startswith("new_"):
                return torch.empty(0, dtype=x.dtype, device=device)
            return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device)

        if device == "meta" and "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("meta")}
        return self.constants.run(
            operation, map_tensors(plain, tuple(args)), map_tensors(plain, kwargs)
        )

    def _views(
        self,
        operation: Operation,
        args: Any,
        kwargs: Any,
        effects: list[Effect],
        tracked: list[Activation],
        unknown: str,
        key: Any = None,
    ) -> Any:
        """The views that an operation gives of an activation; they share its memory."""
        views, several = views_of(operation, args, kwargs)
        if [view.shape for view in views] != [effect.shape for effect in effects]:
            shapes = ", ".join(compact(effect.shape) for effect in effects)
            reason, x = Unreadable(f"its rule gives the shape {shapes}"), tracked[0]
            return self._without_rule(
                operation, args, args, kwargs, reason, [x], sources([x]), False
            )
        known = Known(tuple(effects), tuple(views), several)
        for effect in effects:
            self._check(operation.name, effect)
        if key is not None:
            MEMORY.keep(key, known)
        return self._give_views(operation, known, tracked, sources(tracked), unknown)

    def _overwrite(
        self, x: Activation, effect: Effect, tracked: list[Activation], unknown: str
    ) -> None:
        """A write in place, which all other views of the memory see."""
        memory = x.memory
        if memory.shared and (unknown or not _keeps_reading(effect, x)):
            root = memory.root
            if unknown or root.unknown:
                root.unknown = unknown = unknown or root.unknown
            else:
                reading = effect.reading or Reading.of_map(effect.shape, effect.field)
                root.write(x.shape, x.stride(), offset_of(x), reading)
            memory.version += 1
        self._imprint(x, effect, tracked, unknown)
        x.version = memory.version
        memory.written = x.source

    def _check_written(self, operation: Operation, effect: Any, given: Any, args: Any) -> None:
        """Raise if an operation writes in a way that cannot be tracked."""
        if operation.is_inplace:
            x = given[0]
            if isinstance(effect, list) or tuple(x.shape) != effect.shape:
                raise Unreadable("it changes the shape of its argument in place")
            if effect.is_view and effect.reading is not args[0].reading:
                raise Unreadable("it changes the order of its elements in place")
            if not isinstance(x, Activation):
                self._promote(x)
        elif "out" in operation.func._overloadname:
            raise Unreadable("it writes into a tensor passed as `out`")

    def _decomposed(self, operation: Operation, args: Any, kwargs: Any) -> Any:
        """The operation in terms of others, as one row; `NotImplemented` if that fails."""
        if operation.is_composite:
            with self:
                return operation.func.decompose(*args, **kwargs)
        found = decomposition_of(operation)
        if found is None:
            return NotImplemented
        outer, ledger = self.frames[-1], self.ledger
        rows, left, paused = len(self.rows), dict(self.constants.left), ledger.paused
        frame = Frame(outer.path, outer.module, is_leaf=True, kind=operation.base)
        self.frames.append(frame)
        ledger.paused = True  # what it takes inside is workspace
        refused, strict = self.refused, self.strict
        self.strict = True  # else it is the operation itself that is unknown
        try:
            with self:
                out = found(*args, **kwargs)
        except (BudgetnetError, RuntimeError, TypeError, NotImplementedError):
            del self.rows[rows:]
            self.constants.left, self.refused = left, refused
            return NotImplemented
        finally:
            self.frames.pop()
            ledger.paused, self.strict = paused, strict
        ledger.take(0)
        if outer.is_leaf:
            outer.effects += frame.effects
            outer.reads += frame.reads
            outer.params += frame.params
            outer.unknown = outer.unknown or frame.unknown
        else:
            self._close(frame, out[0] if isinstance(out, tuple) else out)
        return out

    def _without_rule(
        self,
        operation: Operation,
        given: Any,
        args: Any,
        kwargs: Any,
        error: Exception,
        tracked: list[Activation],
        reads: tuple[int, ...],
        rule_fits: bool = True,
    ) -> Any:
        """Raise, or continue with what follows from the shapes alone."""
        cause = error.__cause__
        if operation.base not in RULES and not _DECIDING.isdisjoint(operation.func.tags):
            error = _of_values(operation, tracked)
        if isinstance(error, RunEnded):
            raise self._ended(error, operation, reads) from cause
        if isinstance(error, Unreadable):
            error = untracked_error(str(operation.func), error, tracked)
        assert isinstance(error, BudgetnetError)
        error = self._located(error)
        if self.strict:
            raise error from cause
        reason = str(error).removesuffix(f". {REMEDY}")
        if operation.is_mutable:
            return self._unknown_targets(operation, given, args, kwargs, reads, reason)
        effect = self._from_shapes(operation, args, kwargs) if rule_fits else None
        if effect is not None and not isinstance(effect, list):
            if effect.is_view or operation.is_view:
                return self._views(operation, args, kwargs, [effect], tracked, reason)
            others = _carriers(args, kwargs)[2]
            return self._answer(
                operation, given, args, kwargs, effect, tracked, others, reads, reason
            )
        try:
            on_shapes = on_meta(operation.func, args, kwargs)
        except Exception:  # whatever a kernel says of shapes, the missing rule is the reason
            raise _shapeless(operation, reason, reads) from None
        several = isinstance(on_shapes, list | tuple)
        outs = [
            self._blank(operation, value, tracked, reason)
            for value in (on_shapes if several else [on_shapes])
        ]
        if outs and isinstance(outs[0], Activation):
            effect = Effect(tuple(outs[0].shape), outs[0].field, macs=-1)
            self._record(operation.name, effect, args, reads, reason)
        return type(on_shapes)(outs) if several else outs[0]

    def _ended(
        self, error: RunEnded, operation: Operation, reads: tuple[int, ...]
    ) -> BudgetnetError:
        """The error of a run that cannot continue, with the operation and the line of code."""
        error.operation, error.reads = operation.name, reads
        return with_place(error, self.frames[-1].where + place_of(walk_stack(None)))

    def _from_shapes(self, operation: Operation, args: Any, kwargs: Any) -> Any:
        """What a rule says of plain maps of these shapes: size and cost, if not what is read."""
        found = RULES.get(operation.base)
        if found is None:
            return None

        def plain(x: Tensor) -> Tensor:
            if not isinstance(x, Activation):
                return x
            out = self._allocate(tuple(x.shape), x.stride(), x.dtype, x.memory, offset_of(x))
            return self._imprint(out, Effect(tuple(x.shape), x.field), (), "unknown")

        try:
            return found(*map_tensors(plain, tuple(args)), **map_tensors(plain, kwargs))
        except (BudgetnetError, Unreadable, *_UNEXPECTED):
            return None

    def _unknown_targets(
        self,
        operation: Operation,
        given: Any,
        args: Any,
        kwargs: Any,
        reads: tuple[int, ...],
        reason: str,
    ) -> Any:
        """What a write targets that is not followed: unknown from now on, with all its views."""
        targets = targets_of(operation, given, kwargs)
        if not _keeps_shapes(operation, args, kwargs, targets):
            raise _shapeless(operation, reason, reads)
        plain = {key: value for key, value in kwargs.items() if key != "out"}
        found = self._from_shapes(operation, args, plain)
        macs = found.macs if isinstance(found, Effect) else -1
        for target in targets:
            if isinstance(target, Activation):
                x = target
            else:
                self._promote(target)
                x = self.current(target)
            effect = Effect(tuple(x.shape), x.field, macs=macs)
            self._overwrite(x, effect, [x], reason)
        self._record(operation.base, effect, args, reads, reason)
        if operation.results < 2:
            return targets[0] if operation.results else None
        return tuple(targets[: operation.results])

    def _blank(
        self, operation: Operation, value: Any, tracked: list[Activation], reason: str
    ) -> Any:
        if not isinstance(value, Tensor):
            return value
        shape, memory, offset = tuple(value.shape), None, 0
        if operation.is_view:
            self._share(tracked[0])
            memory, offset = tracked[0].memory, offset_of(tracked[0]) + offset_of(value)
        out = self._allocate(shape, value.stride(), value.dtype, memory, offset)
        return self._imprint(out, Effect(shape, tracked[0].field), tracked, reason)


def _carriers(args: Any, kwargs: Any) -> tuple[list[int | str], list[Activation], list[Tensor]]:
    """Which arguments carry activations, by position or name; all of these; all other tensors."""
    keys: list[int | str] = []
    tracked: list[Activation] = []
    others: list[Tensor] = []
    for key, value in (*enumerate(args), *kwargs.items()) if kwargs else enumerate(args):
        if type(value) is Activation:
            keys.append(key)
            tracked.append(value)
        elif isinstance(value, Tensor):
            others.append(value)
        elif isinstance(value, list | tuple):
            before = len(tracked)
            for inner in tensors(value):
                if type(inner) is Activation:
                    tracked.append(inner)
                else:
                    others.append(inner)
            if len(tracked) > before:
                keys.append(key)
    return keys, tracked, others


def _keeps_shapes(operation: Operation, args: Any, kwargs: Any, targets: Sequence[Tensor]) -> bool:
    """Whether what an operation writes to has the same shape afterwards."""
    if not targets or torch.Tag.inplace_view in operation.func.tags:
        return False
    if operation.is_inplace:
        return True
    try:
        found = list(tensors((on_meta(operation.func, args, kwargs),)))
    except Exception:  # a kernel that says nothing of shapes
        return False
    return [x.shape for x in found] == [x.shape for x in targets]


def _check_named(operation: Operation, rule: Any, keys: list[int | str], args: Any) -> None:
    """Raise if an argument carries an activation that the rule does not name."""
    spoken = spoken_of(rule)
    for key in keys:
        if not spoken.covers(key):
            raise Unreadable(f"its rule does not accept an activation as {operation.argument(key)}")


def _keeps_reading(effect: Effect, x: Activation) -> bool:
    """Whether an operation in place leaves what its target has read as it was."""
    if effect.reading is None or x.reading is None:
        return effect.reading is x.reading and effect.field == x.field
    return effect.reading is x.reading or effect.reading.says(x.reading)


def _shapeless(operation: Operation, reason: str, reads: tuple[int, ...]) -> RunEnded:
    """Error of an operation without a rule, if torch does not know even its output's shape."""
    return RunEnded(
        f"{reason}. Even the shape of its output is unknown: register a rule with "
        "budgetnet.rule, or give torch its shape with register_fake.",
        operation=operation.name,
        reads=reads,
    )


def depends_on_values() -> RunEnded:
    """Error of a forward that asks for the values of an activation."""
    return RunEnded(explain("the control flow depends on a value of the input"))


def _of_values(operation: Operation, tracked: Sequence[Activation]) -> RunEnded:
    """Error of an operation whose results depend on values."""
    if _SIZED not in operation.func.tags:
        return depends_on_values()
    return RunEnded(
        explain(
            f"the size of the output of {operation.func} depends on values of the input",
            numbers={"input shapes": ", ".join(compact(x.shape) for x in tracked)},
        )
    )


def _no_rule(func: Any, args: Any) -> UnsupportedOp:
    shapes = [compact(value.shape) for value in tensors(args)]
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {func}",
            numbers={"input shapes": ", ".join(shapes)},
            remedy=REMEDY,
        )
    )
