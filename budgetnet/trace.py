"""`account`: run a module once without weights, data or kernels, and write down what happens.

The module's own `forward` runs on activations that have a shape but no storage. Every tensor
operation is answered by its rule in `rules`, so that nothing is computed or allocated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from .accounting import Account
from .errors import ArgumentError, explain
from .geometry import check_shape
from .receptive_field import ReceptiveField
from .rules import Activation
from .tracing.census import Census
from .tracing.tracer import Tracer
from .window import Window


def account(
    model: nn.Module,
    input_shape: Sequence[Any],
    *,
    name: str = "",
    strict: bool = True,
    wrt: int = 0,
    shortcuts: bool = True,
) -> Account:
    """Account for any module that PyTorch can run, at inference.

    Nothing is computed or allocated, and the module comes back as it was.

    Args:
        model: any `nn.Module`, on any device, the meta device included.
        input_shape: `(C, H, W)` without the batch, `(C, L)` or `(C, D, H, W)`; for several inputs
            a tuple of shapes.
        name: title of the account; the class name by default.
        strict: raise where an operation has no rule; else go on, and mark as unknown every figure
            that depends on it.
        wrt: the input that receptive fields are measured in, where there are several.
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
    shapes = read_shapes(input_shape)
    if wrt not in range(len(shapes)):
        raise ArgumentError(explain(f"wrt={wrt} is not one of {len(shapes)} inputs"))
    tracer = Tracer(model, Census(model), strict=strict, shortcuts=shortcuts)
    with running(model, tracer, shapes, wrt) as outputs:
        shape = shapes[0] if len(shapes) == 1 else shapes
        return tracer.account(name or type(model).__name__, shape, outputs)


@contextmanager
def running(
    model: nn.Module, tracer: Tracer, shapes: Sequence[tuple[int, ...]], wrt: int = 0
) -> Iterator[Any]:
    """Run a model under a tracer; its outputs, and what it keeps of the run, last for the block."""
    with (
        tracer.census.at_inference(),
        _watch_calls(tracer),
        torch.no_grad(),
        _plain_attention(),
        tracer,
    ):
        inputs = [_input(tracer, shape, i, wrt) for i, shape in enumerate(shapes)]
        outputs = model(*inputs)  # a name of its own keeps them for as long as the block runs
        yield outputs


def read_shapes(input_shape: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """The shape of every input, of one or of several; raises `ArgumentError` on anything else."""
    try:
        several = all(isinstance(part, list | tuple) for part in input_shape) and len(input_shape)
    except TypeError:
        several = 0
    if several:
        return tuple(check_shape(part, axes=None) for part in input_shape)
    return (check_shape(input_shape, axes=None),)


def _input(tracer: Tracer, shape: tuple[int, ...], place: int, wrt: int) -> Activation:
    """An input; those that fields are not measured in have read nothing of it."""
    window = Window() if place == wrt else Window(((0, 0),))
    return tracer.input((1, *shape), ReceptiveField((window,) * (len(shape) - 1)), place)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention run as single operations, not as one opaque kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


_lock = threading.RLock()


@contextmanager
def _watch_calls(tracer: Tracer) -> Iterator[None]:
    """Send this thread's module calls through the tracer; the modules carry no hooks for it.

    `_call_impl` is what `nn.Module.__call__` calls; replacing `__call__` itself would make Python
    renew the slot of every subclass, which takes longer than a whole account of a small network.
    """
    thread = threading.get_ident()
    with _lock:
        run: Callable[..., Any] = nn.Module._call_impl

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return run(module, *args, **kwargs)
            return tracer.call(module, args, kwargs, run)

        nn.Module._call_impl = call  # type: ignore[assignment]  # on purpose
        try:
            yield
        finally:
            nn.Module._call_impl = run  # type: ignore[method-assign]  # as it was
