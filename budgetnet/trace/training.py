"""`training`: what a training step of any network needs. torch is imported on use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..accounting.account import Account
from ..accounting.training import (
    OPTIMIZERS,
    Training,
    TrainingPeak,
    TrainingSetup,
    unknown_optimizer,
)
from ..errors import (
    ArgumentError,
    BudgetnetError,
    ForwardError,
    explain,
    one_line,
    shown,
)
from ..spec.plan import as_spec
from .account import is_module, not_a_network
from .files.account import is_file

if TYPE_CHECKING:
    from torch import nn

    from .run import Inputs
    from .training_step import Found, TrainingStep


def training(
    model: Any,
    input_shape: Any = None,
    *,
    batch: int | str = 1,
    optimizer: str | Callable[..., Any] = "sgd",
    dtype: str = "",
    checkpoint: str | Iterable[str] = (),
    memory: int | None = None,
    name: str = "",
) -> Training:
    """Say what a training step needs: bytes saved for the backward pass, their peak, and MACs.

    A structural copy of the model trains on shapes alone, as after `model.train()`, with PyTorch's
    own autograd and optimiser, so that nothing is computed, and the model is left alone. Figures
    are those of eager PyTorch on the CPU. The peak is of this step, once state exists:
    `optimizer.zero_grad()`, `out = model(x)`, the backward pass from a gradient of `out`, and
    `optimizer.step()`. It counts tensors; workspace inside an operation, what the allocator keeps,
    a loss and, on a GPU, the CUDA context come on top.

    Args:
        model: an `nn.Module`, a `Spec`, its text or the name of a reference network. Modules that
            are in evaluation mode inside a model in training mode stay so, as frozen norms are.
        input_shape: `(C, H, W)` without the batch, or an example tensor, as for `account`; a tuple
            of them for several inputs.
        batch: inputs in a step, or "max" for the most that fit into `memory`.
        optimizer: "sgd", "sgd-momentum", "adam", "adamw", "nadam", "radam", "adamax", "adagrad" or
            "rmsprop", with PyTorch's own settings; or what makes one of a list of parameters, such
            as `lambda p: torch.optim.SGD(p, 0.1, nesterov=True, momentum=0.9)`.
        dtype: "bfloat16", for example, if the model is to be converted as `model.to` does.
        checkpoint: patterns of modules whose activations are computed again in the backward pass,
            as by `torch.utils.checkpoint`, such as "layer*"; `*` matches any text.
        memory: with `batch="max"`, the bytes that the peak may have.
        name: title; the class name or the text of the spec by default.

    Raises:
        ArgumentError: an argument is not valid, nothing trains, or not one input fits.
        ForwardError: the model's own `forward` raised; its exception is the cause.
        LeftBehind: the run would leave activations of its own outside the model.
        UnsupportedOp: what an operation keeps is not known, as of recurrent layers.

    >>> found = training("s6", batch=128, optimizer="adam")
    >>> found.parameter_bytes, found.state_bytes, found.saved_bytes, found.peak_bytes
    (57488, 115072, 39838672, 42164336)
    >>> training("s6", batch="max", optimizer="adam", memory=2**30).setup.batch
    3274
    """
    module, shape = _module_of(model, input_shape)
    from .run import parse_inputs

    given = parse_inputs(shape)
    title = name or (model if isinstance(model, str) else type(module).__name__)
    label, make = _maker(optimizer)
    patterns = (checkpoint,) if isinstance(checkpoint, str) else tuple(checkpoint)
    if (batch == "max") != (memory is not None):
        remedy = 'Pass both batch="max" and memory=, or a batch alone.'
        raise ArgumentError(explain("the most that fits needs a memory to fit into", remedy=remedy))
    setup = TrainingSetup(1 if batch == "max" else batch, label, dtype, patterns)  # type: ignore[arg-type]  # which checks it
    run = _Runs(title, module, given, make)
    return run.of(setup) if memory is None else _largest(run, setup, memory)


class _Runs(NamedTuple):
    """A model that steps of several sizes run on."""

    name: str
    module: nn.Module
    given: Inputs
    make: Callable[..., Any]

    def of(self, setup: TrainingSetup) -> Training:
        """The figures of a step."""
        from .training_step import TrainingStep

        step = TrainingStep(self.module, self.given, setup)
        found = step.run(self.make)
        step.check_left()
        return self._training(step, found, setup)

    def _training(self, step: TrainingStep, found: Found, setup: TrainingSetup) -> Training:
        parameters, buffers = step.parameter_bytes, step.buffer_bytes
        return Training(
            self.name, self.given.shapes, setup, step.rows(), parameters, buffers, found.gradients,
            found.state, found.given, parameters + buffers + found.peak, found.peak_at,
            found.forward_macs, found.backward_macs,
        )  # fmt: skip


def _largest(run: _Runs, setup: TrainingSetup, memory: int) -> Training:
    """The step of the largest batch whose peak is at most `memory`, and not that of one more."""
    if type(memory) is not int or memory < 1:
        raise ArgumentError(explain(f"memory={shown(memory)} is not a number of bytes"))

    def of(batch: int) -> Training:
        return run.of(replace(setup, batch=batch))

    try:
        low = of(1)
    except ForwardError:  # a BatchNorm over one value, for example
        low = of(2)
    if low.peak_bytes > memory:
        numbers = {"needed": f"{low.peak_bytes:,}", "memory": f"{memory:,}"}
        what = f"a batch of {low.setup.batch} does not fit"
        raise ArgumentError(explain(what, numbers=numbers, remedy="Use checkpoint=."))
    before, high = low, of(low.setup.batch + 1)
    while high.peak_bytes <= memory:  # each guess goes on as the last two steps do
        before, low = low, high
        high = of(_guess(before, low, memory))
    while high.setup.batch - low.setup.batch > 1:
        middle = of(min(max(_guess(low, high, memory), low.setup.batch + 1), high.setup.batch - 1))
        low, high = (middle, high) if middle.peak_bytes <= memory else (low, middle)
    return low


def _guess(one: Training, two: Training, memory: int) -> int:
    """Where the line through two steps crosses the memory, and one more if it is not beyond."""
    rise = two.peak_bytes - one.peak_bytes
    count = two.setup.batch - one.setup.batch
    if rise <= 0:
        return two.setup.batch * 2
    room = (memory - one.peak_bytes) * count // rise
    guess = one.setup.batch + room
    return guess if guess > two.setup.batch or two.peak_bytes > memory else two.setup.batch + 1


def _module_of(model: Any, input_shape: Any) -> tuple[nn.Module, Any]:
    """What trains, built if it is a spec, and the shape of its input."""
    if is_module(model):
        return model, input_shape
    if isinstance(model, Account) or is_file(model):
        what = "an account" if isinstance(model, Account) else "a file"
        raise ArgumentError(
            explain(f"{what} does not say how a network trains", remedy="Pass its nn.Module.")
        )
    if not isinstance(model, str) and not hasattr(model, "stages"):
        raise not_a_network(model)
    from .account import account
    from .built import built

    found = account(model, input_shape)
    return built(as_spec(model), found.input_shape), found.input_shape


def _maker(optimizer: Any) -> tuple[str, Callable[..., Any]]:
    """What an optimiser is called, and what makes it."""
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        import torch

        kind, options = OPTIMIZERS[optimizer]
        return optimizer, lambda parameters: getattr(torch.optim, kind)(parameters, **options)
    if callable(optimizer):
        return getattr(optimizer, "__name__", type(optimizer).__name__), optimizer
    raise unknown_optimizer(optimizer)


def training_peaks(
    model: Any, input_shape: Any, setups: Sequence[TrainingSetup]
) -> tuple[TrainingPeak, ...]:
    """The peak for every setup, as limits need it; what cannot be told is unknown, with why."""
    return tuple(_peak_of(model, input_shape, setup) for setup in setups)


def _peak_of(model: Any, input_shape: Any, setup: TrainingSetup) -> TrainingPeak:
    try:
        return training(
            model, input_shape, batch=setup.batch, optimizer=setup.optimizer, dtype=setup.dtype,
            checkpoint=setup.checkpoint,
        ).peak  # fmt: skip
    except BudgetnetError as error:
        return TrainingPeak(setup, None, one_line(error).rstrip("."))
