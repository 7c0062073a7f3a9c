"""One training step of a copy of a model, on shapes alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from traceback import walk_tb
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as run_checkpointed

from ..accounting.training import SavedRow, TrainingSetup
from ..errors import (
    ArgumentError,
    BudgetnetError,
    ForwardError,
    LeftBehind,
    UnsupportedOp,
    explain,
    near_names,
    shown,
    with_place,
)
from .answers import depends_on_values
from .copies import ModuleCopies
from .frames import kind_of, place_of
from .modules import ModuleIndex
from .process import restoring_process
from .run import OF_VALUES, Inputs
from .stepping import OnCpu, Steps
from .tensors import found_tensors, map_tensors, tensors

_ITEM = "cannot be called on meta tensors"  # as torch says of `.item()`
Maker = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Found(NamedTuple):
    """What a step needs beside parameters and buffers, in bytes and multiply-accumulates."""

    given: int
    forward_macs: int
    backward_macs: int
    peak: int
    peak_at: str
    gradients: int
    state: int = 0


class _Copies(ModuleCopies):
    """Copies that train: their tensors have a shape and a type, and no values."""

    def __init__(
        self, index: ModuleIndex, call: Callable[..., Any], dtype: torch.dtype | None
    ) -> None:
        self.dtype = dtype
        super().__init__(index, call)
        is_training = next(iter(index.modules.values()))[1].training  # else as after train()
        for _, module, duplicate in self.modules.values():
            duplicate.__dict__["training"] = module.training or not is_training

    def data_of(self, value: Tensor) -> Tensor:
        if not value.dim() and not isinstance(value, nn.Parameter):
            return value.detach().clone()  # such as a count of batches, which may decide
        changes = self.dtype is not None and value.is_floating_point()
        kind = self.dtype if changes else value.dtype
        return torch.empty_like(value, dtype=kind, device="meta", requires_grad=False)


class TrainingStep:
    """One training step of a model on a batch."""

    def __init__(self, model: nn.Module, given: Inputs, setup: TrainingSetup) -> None:
        """Copy the model; nothing has run."""
        self.given, self.setup = given, setup
        self.index = ModuleIndex(model)
        self.dtype = getattr(torch, setup.dtype) if setup.dtype else None
        with restoring_process():
            self.copies = _Copies(self.index, self._call, self.dtype)
        self.where = ""
        self._inside = False
        self._checkpointed = {
            path for path, _ in self.index.modules.values()
            if any(fnmatchcase(path, pattern) for pattern in setup.checkpoint)
        }  # fmt: skip
        _check_patterns(setup.checkpoint, [path for path, _ in self.index.modules.values()])
        model_copy = self.copies.model
        self.parameters = [p for p in model_copy.parameters() if p.requires_grad]
        self.buffers = list(model_copy.buffers())
        self.owned = [*model_copy.parameters(), *self.buffers]
        self.parameter_bytes = _bytes([*model_copy.parameters()])
        self.buffer_bytes = _bytes(self.buffers)
        self.steps = Steps(iter(self.owned))
        self.kinds: dict[str, str] = {}

    def _call(self, reference: weakref.ref[nn.Module], *args: Any, **kwargs: Any) -> Any:
        """Run the call of a copy at its place, computed again in the backward pass if asked."""
        module: Any = reference()
        found = self.copies.modules.get(id(module))
        if found is None:
            return type(module)._call_impl(module, *args, **kwargs)
        steps, before = self.steps, self.steps.path
        path = found[0]
        self.kinds.setdefault(path, kind_of(module))
        steps.path = path
        try:
            if path in self._checkpointed and not self._inside:
                return run_checkpointed(
                    self._run_inside, module, *args,
                    use_reentrant=False, preserve_rng_state=False, **kwargs,
                )  # fmt: skip
            return type(module)._call_impl(module, *args, **kwargs)
        except BaseException:
            self.where = self.where or f"{path or 'the model'} ({kind_of(module)})"
            raise
        finally:
            steps.path = before

    def _run_inside(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        before, self._inside = self._inside, True
        try:
            return type(module)._call_impl(module, *args, **kwargs)
        finally:
            self._inside = before

    @contextmanager
    def _modes(self) -> Iterator[None]:
        with (
            restoring_process(),
            self.copies.restoring_shared(),
            torch.inference_mode(False),
            torch.enable_grad(),
            OnCpu(),
            self.steps,
        ):
            yield

    def run(self, make: Maker | None) -> Found:
        """Run forward, backward, and two steps of the optimiser, if there is one."""
        steps = self.steps
        try:
            with self._modes():
                args, kwargs = self._batch()
                given = steps.live
                with steps.saving():
                    outputs = self.copies.model(*args, **kwargs)
                forward_peak, forward_macs = steps.peak, steps.macs
                steps.is_forward = False
                steps.forget_peak()
                self._backward(outputs)
                macs, peak = steps.macs, max(steps.peak, forward_peak)
                gradients = [p.grad for p in self.parameters if p.grad is not None]
                found = Found(
                    given, forward_macs, macs - forward_macs, peak,
                    "forward" if peak == forward_peak else "backward", _bytes(gradients),
                )  # fmt: skip
                if make is not None:
                    found = self._with_optimizer(found, make)
                del args, kwargs, outputs, gradients
        except BudgetnetError:
            raise
        except Exception as error:  # whatever forward may raise
            raise self._failed(error) from error
        finally:
            for parameter in self.parameters:
                parameter.grad = None
            self.copies.release()
        return found

    def _batch(self) -> tuple[Any, Any]:
        """The inputs, without values."""
        sample = self.dtype or self.index.sample.dtype

        def make(tensor: Tensor) -> Tensor:
            kind = tensor.dtype
            if kind.is_floating_point and (self.dtype is not None or not self.given.typed):
                kind = sample
            shape = (self.setup.batch, *tensor.shape[1:])
            made = torch.empty(shape, dtype=kind, device="meta")
            self.steps.hold(made)
            return made

        args, kwargs = map_tensors(make, (tuple(self.given.args), dict(self.given.kwargs)))
        return args, kwargs

    def _backward(self, outputs: Any) -> None:
        outs = [x for x in {id(x): x for x in found_tensors(outputs)}.values() if x.requires_grad]
        if not outs:
            raise ArgumentError(
                explain(
                    "nothing trains: no output depends on a parameter that requires a gradient",
                    remedy="Call requires_grad_() on what is to train.",
                )
            )
        torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])

    def _with_optimizer(self, found: Found, make: Maker) -> Found:
        steps = self.steps
        optimizer = make(self.parameters)
        optimizer.step()
        state = [x for held in optimizer.state.values() for x in tensors((held,))]
        size = _bytes(state)
        steps.forget_peak()
        optimizer.step()
        peak = max(found.peak + size, steps.peak)
        at = "optimizer" if steps.peak > found.peak + size else found.peak_at
        return found._replace(peak=peak, peak_at=at, state=size)

    def _failed(self, error: Exception) -> Exception:
        message = str(error).partition("\n")[0]
        where = self.where or "the model"
        if any(text in message for text in (*OF_VALUES, _ITEM)):
            stack = reversed([*walk_tb(error.__traceback__)])
            return with_place(depends_on_values(), where + place_of(stack))
        if isinstance(error, NotImplementedError):
            what = "the training memory of an operation is not known"
            return UnsupportedOp(explain(what, where=where, numbers={"message": message}))
        return ForwardError(
            explain(
                f"training raised {type(error).__name__}",
                where=where,
                numbers={"message": message or "none", "input without the batch": self.given.text},
                remedy="Train the model on a batch of this shape: if it fails there too, the error "
                "is in the model.",
            )
        )

    def rows(self) -> tuple[SavedRow, ...]:
        """What modules save, in the order in which they are first called."""
        saved, macs = self.steps.saved, self.steps.forward_macs
        return tuple(
            SavedRow(path, kind, saved.get(path, 0), macs.get(path, 0))
            for path, kind in self.kinds.items()
            if path in saved or path in macs
        )

    def check_left(self) -> None:
        """Raise if something outside the model still holds tensors of the run."""
        if self.steps.left():
            gc.collect()
        if left := self.steps.left():
            raise LeftBehind(
                explain(
                    "forward or a hook keeps tensors outside the model",
                    numbers={"bytes still held": f"{left:,}"},
                    remedy="Remove the hook, or keep them in an attribute of a module.",
                )
            )


def _bytes(of: Sequence[Tensor]) -> int:
    """Bytes of the storages of tensors, each once."""
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in of}.values())


def _check_patterns(patterns: Sequence[str], paths: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            what = f"checkpoint={shown(pattern)} matches no module"
            near = near_names(pattern, filter(None, paths), most=3)
            remedy = f"Did you mean {' or '.join(near)}?" if near else "Write layer*, for example."
            raise ArgumentError(explain(what, remedy=remedy))
