"""`account`: run a module once without weights, data or kernels, and write down what happens.

The module's own `forward` runs on activations that have a shape but no storage. Every tensor
operation is answered by its rule in `rules`, so that nothing is computed or allocated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .accounting import Account, Row
from .errors import BudgetnetError, UnsupportedOp, explain, located
from .geometry import Window, check_shape, compact
from .layers import shortcut
from .receptive_field import ReceptiveField
from .rules import RULES, Activation, Effect


def account(
    model: nn.Module, input_shape: tuple[int, int, int], *, name: str = "", shortcuts: bool = True
) -> Account:
    """Account for any chain of layers, with residual adds and channel concats, at inference.

    Nothing is computed or allocated, and the module comes back as it was.

    Args:
        model: any `nn.Module`, on any device.
        input_shape: `(C, H, W)`, without the batch.
        name: title of the account; the class name by default.
        shortcuts: answer for torch's own layers without running their `forward`; the account is
            the same without, only slower.

    Raises:
        ShapeError: a layer does not fit the map that it receives.
        StrideMismatch: branches of different stride are joined.
        UnsupportedOp: an operation has no rule; the message names it and the module.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
    >>> result = account(net, (3, 32, 32))
    >>> result.params, result.macs, result.receptive_field.size
    (808, 291744, (8, 8))
    """
    shape = check_shape(input_shape)
    census = _Census(model)
    tracer = _Tracer(model, census, shortcuts)
    with _inference(census), _watch_calls(tracer), torch.no_grad(), tracer:
        x = tracer.activation((1, *shape))
        x.field, x.is_global = ReceptiveField((Window(),) * (len(shape) - 1)), False
        model(x)
    return tracer.account(name or type(model).__name__, shape)


class _Census:
    """Every module, parameter and buffer of a model with its path, each once, in one walk."""

    def __init__(self, model: nn.Module) -> None:
        self.modules: dict[int, tuple[str, nn.Module]] = {}
        self.parameters: dict[int, tuple[str, Tensor]] = {}
        self.buffers: dict[int, tuple[str, Tensor]] = {}
        self._walk("", model)

    def _walk(self, path: str, module: nn.Module) -> None:
        if id(module) in self.modules:
            return
        self.modules[id(module)] = (path, module)
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self.parameters.setdefault(id(parameter), (prefix + name, parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                self.buffers.setdefault(id(buffer), (prefix + name, buffer))
        for name, child in module._modules.items():
            if child is not None:
                self._walk(prefix + name, child)


@dataclass(slots=True)
class _Frame:
    """A module whose `forward` is running; a leaf gathers its operations into one row."""

    path: str
    module: nn.Module
    leaf: bool
    effects: list[Effect] = field(default_factory=list)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers every operation by its rule, and every module call by a frame."""

    def __init__(self, model: nn.Module, census: _Census, shortcuts: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.thread = threading.get_ident()
        self.shortcuts = shortcuts
        self.census = census
        self.unclaimed = dict(census.parameters)
        floats = (p for _, p in census.parameters.values() if p.is_floating_point())
        sample = next(floats, torch.empty(0))
        self.device, self.dtype = sample.device, sample.dtype
        self.frames: list[_Frame] = [_Frame("", model, leaf=False)]
        self.rows: list[Row] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Without this, torch wraps __torch_dispatch__ in a compiler guard at every call.
        return False

    def activation(self, shape: tuple[int, ...]) -> Activation:
        """Make an activation: a shape, a type and a device, but no storage."""
        return torch.Tensor._make_wrapper_subclass(
            Activation, shape, dtype=self.dtype, device=self.device
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one operation."""
        if not _tracked(args):
            return self._untracked(func, args, kwargs or {})
        name = func._schema.name.removeprefix("aten::")
        inplace = name.endswith("_") and not name.endswith("__")
        found = RULES.get(name.rstrip("_") if inplace else name)
        if found is None:
            raise self._located(_no_rule(func, args))
        try:
            effect = found(*args, **(kwargs or {}))
        except BudgetnetError as error:
            raise self._located(error) from None
        self._record(name.strip("_"), effect, args)
        if inplace:
            return _imprint(args[0], effect)
        out = _imprint(self.activation(effect.shape), effect)
        extra = len(func._schema.returns) - 1
        return (out, *(self.activation((0,)) for _ in range(extra))) if extra else out

    def call(self, module: nn.Module, args: Any, kwargs: Any, run: Callable[..., Any]) -> Any:
        """Answer one module call: by a shortcut, or by running its `forward` in a frame."""
        path, _ = self.census.modules.get(id(module), (None, None))
        if path is None or self.frames[-1].leaf:  # made inside forward: part of what calls it
            return run(module, *args, **kwargs)
        frame = _Frame(path, module, leaf=not module._modules)
        if self.shortcuts and frame.leaf and len(args) == 1 and not kwargs:
            out = self._take_shortcut(frame, args[0])
            if out is not None:
                return out
        self.frames.append(frame)
        try:
            out = run(module, *args, **kwargs)
        finally:
            self.frames.pop()
        if frame.leaf:
            self._close(frame, args, out)
        return out

    def _take_shortcut(self, frame: _Frame, x: Any) -> Activation | None:
        if not isinstance(x, Activation):
            return None
        try:
            effect = shortcut(frame.module, x)
        except BudgetnetError as error:
            raise located(error, self._where(frame)) from None
        if effect is None:
            return None
        self._add_row(frame, effect)
        return x if _is_identity(frame.module) else _imprint(self.activation(effect.shape), effect)

    def _record(self, name: str, effect: Effect, args: Any) -> None:
        frame = self.frames[-1]
        if frame.leaf:
            frame.effects.append(effect)
            return
        params = 0
        for value in args:
            if id(value) in self.unclaimed:
                params += self.unclaimed.pop(id(value))[1].numel()
        self.rows.append(_row(frame.path, name, effect, params))

    def _close(self, frame: _Frame, args: Any, out: Any) -> None:
        """Add the row of a leaf whose operations have all run."""
        if frame.effects:
            self._add_row(frame, _gather(frame.effects))
        elif isinstance(out, Activation):
            self._add_row(frame, Effect(tuple(out.shape), out.field, is_global=out.is_global))

    def _add_row(self, frame: _Frame, effect: Effect) -> None:
        params = 0
        for parameter in frame.module._parameters.values():
            if parameter is not None and id(parameter) in self.unclaimed:
                del self.unclaimed[id(parameter)]
                params += parameter.numel()
        self.rows.append(_row(frame.path, type(frame.module).__name__, effect, params))

    def _untracked(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation on parameters and constants alone, unless it would change the model."""
        if func._schema.is_mutable:
            raise self._located(
                UnsupportedOp(
                    explain(
                        f"{func} would change a tensor of the model",
                        remedy="Move the update out of forward, or guard it by self.training.",
                    )
                )
            )
        return func(*args, **kwargs)

    def _located(self, error: BudgetnetError) -> BudgetnetError:
        return located(error, self._where(self.frames[-1]))

    def _where(self, frame: _Frame) -> str:
        return f"{frame.path or 'the model'} ({type(frame.module).__name__})"

    def account(self, name: str, shape: tuple[int, ...]) -> Account:
        """The account of what has run."""
        params = [p for _, p in self.census.parameters.values()]
        buffers = [b for _, b in self.census.buffers.values()]
        return Account(
            name=name,
            input_shape=shape,
            rows=tuple(self.rows),
            params=sum(p.numel() for p in params),
            trainable_params=sum(p.numel() for p in params if p.requires_grad),
            buffers=sum(b.numel() for b in buffers),
            weight_bytes=sum(t.numel() * t.element_size() for t in params + buffers),
            unused=tuple(path for path, _ in self.unclaimed.values()),
        )


def _imprint(out: Activation, effect: Effect) -> Activation:
    out.field, out.is_global = effect.field, effect.is_global
    return out


def _is_identity(module: nn.Module) -> bool:
    return bool(getattr(module, "inplace", False)) or isinstance(
        module, nn.Identity | nn.Dropout | nn.Dropout2d
    )


def _row(path: str, kind: str, effect: Effect, params: int) -> Row:
    return Row(
        path,
        kind,
        effect.shape[1:],
        params,
        effect.macs,
        effect.field,
        effect.sliding,
        effect.is_global,
        effect.global_context,
    )


def _gather(effects: list[Effect]) -> Effect:
    """One effect for all operations of a leaf: the last output, the summed cost."""
    if len(effects) == 1:
        return effects[0]
    slides = [effect.sliding for effect in effects if effect.sliding]
    sliding = slides[0] if len(slides) == 1 else None
    pads = [effect.pads for effect in effects if effect.pads]
    if sliding and len(pads) == 1:
        both = zip(pads[0], sliding.padding, strict=True)
        sliding = replace(sliding, padding=tuple((a + c, b + d) for (a, b), (c, d) in both))
    return replace(
        effects[-1],
        macs=sum(effect.macs for effect in effects),
        sliding=sliding,
        global_context=any(effect.global_context for effect in effects),
    )


def _tracked(args: Any) -> bool:
    return any(
        isinstance(value, Activation)
        or (isinstance(value, list | tuple) and any(isinstance(v, Activation) for v in value))
        for value in args
    )


def _no_rule(func: Any, args: Any) -> UnsupportedOp:
    shapes = [compact(value.shape) for value in args if isinstance(value, Tensor)]
    return UnsupportedOp(
        explain(
            f"no accounting rule covers {func}",
            numbers={"input shapes": ", ".join(shapes) or "in a list"},
            remedy="This release accounts for chains, residual adds and channel concats.",
        )
    )


@contextmanager
def _inference(census: _Census) -> Iterator[None]:
    """Set the training flags to inference, and put each back as it was."""
    # Straight into __dict__: a module's train() may be overridden, and its __setattr__ is slow.
    attributes = [module.__dict__ for _, module in census.modules.values()]
    flags = [values["training"] for values in attributes]
    try:
        for values in attributes:
            values["training"] = False
        yield
    finally:
        for values, training in zip(attributes, flags, strict=True):
            values["training"] = training


_lock = threading.RLock()


@contextmanager
def _watch_calls(tracer: _Tracer) -> Iterator[None]:
    """Send this thread's module calls through the tracer; the modules carry no hooks for it.

    `_call_impl` is what `nn.Module.__call__` calls; replacing `__call__` itself would make Python
    renew the slot of every subclass, which takes longer than a whole account of a small network.
    """
    with _lock:
        run: Callable[..., Any] = nn.Module._call_impl

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != tracer.thread:
                return run(module, *args, **kwargs)
            return tracer.call(module, args, kwargs, run)

        nn.Module._call_impl = call  # type: ignore[assignment]
        try:
            yield
        finally:
            nn.Module._call_impl = run  # type: ignore[method-assign]
