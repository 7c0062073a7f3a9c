"""The Budget: limits on a network, judged on its account before a weight exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..accounting.account import Account
from ..accounting.device.boards import board_named
from ..accounting.device.target import RUNTIMES, Target
from ..accounting.latency_table import LatencyTable, as_table
from ..accounting.training import TrainingSetup, optimizer_named
from ..errors import ArgumentError, BudgetnetError, did_you_mean, explain, shown
from .contract import CONTRACT, contracts
from .figures import FIGURES
from .findings import check
from .limits import (
    Finding,
    Forbid,
    Limit,
    Range,
    Require,
    parse_bounds,
    parse_limit,
)
from .training_memory import TrainingMemory

__all__ = ["Budget", "BudgetExceeded", "assert_budget"]


class BudgetExceeded(BudgetnetError, AssertionError):
    """A network breaks its budget; the message states every violation and what would fix it.

    Attributes:
        account: of the network.
        findings: of every limit, those that hold too.
    """

    def __init__(self, text: str, account: Account, findings: tuple[Finding, ...]) -> None:
        """Keep what was found beside the text."""
        super().__init__(text)
        self.account, self.findings = account, findings


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """Limits on a network; all of them must hold.

    Each figure takes a maximum or a (low, high) pair; one number for `receptive_field` is a
    minimum, since more is better. Sizes are ints or text: "20k", "3M", "60 KiB".

    Args:
        *limits: further limits, such as those of another budget (`*other.limits`), or your own: a
            callable that takes an `Account` and returns a `Finding`, or whether it holds.
        params: distinct parameters.
        trainable_params: those that require a gradient.
        macs: multiply-accumulates for one input.
        receptive_field: input positions that a unit of the last spatial map sees.
        depth: layer calls that multiply and accumulate.
        weight_bytes: bytes of parameters and buffers.
        peak_activation_bytes: most bytes of activations alive at once, at batch 1.
        flash: bytes of weights and biases in the type of the runtime, norms folded.
        ram: bytes that the runtime plans for activations, with scratch buffers of its kernels.
        latency: time for one input as `latency` estimates it, text such as "5 ms"; needs a `table`.
        table: of that estimate: a `LatencyTable`, or the file that `budgetnet measure` wrote.
        board: a name such as "stm32f446": flash and RAM are at most what it has, and the kernels
            are CMSIS-NN's for its core. The program and its stack need some of both as well.
        runtime: for the limits on flash and RAM: "tflm", "executorch" or "eager", as for
            `deployment`.
        dtype: likewise "int8", "int16" or "float32".
        plan: of RAM: "own" for what the runtime's planner takes, or "least" for the least plan,
            which `budgetnet plan-memory` writes.
        training_memory: bytes at the peak of a training step, as `training` gives them; the network
            must be a module or a spec.
        batch: of the training step.
        optimizer: of the training step: a name that `training` takes, "sgd" by default.
        halo: input positions that a tile needs at most before or after it, see `Account.halo`.
        lookahead: input positions after its own that a unit reads at most; 0 is causal.
        dilation_gaps: input positions inside the field of a unit that it never reads, at most.
        covers: input positions that one unit must read whole, wherever they lie; a minimum.
        require: kinds of layers or operations that must be there, such as `"BatchNorm*"`.
        forbid: kinds that must not be there, such as `"Dropout*"`.

    Raises:
        ArgumentError: a size cannot be read, or low is above high.

    >>> from budgetnet import plan
    >>> budget = Budget(params="15k", macs="4M", receptive_field=22)
    >>> [finding.verdict for finding in budget.check(plan("c16 c16 p c32 gap10", (1, 28, 28)))]
    ['within', 'within', 'under']
    """

    limits: tuple[Limit, ...]

    def __init__(
        self,
        *limits: Limit,
        params: Any = None,
        trainable_params: Any = None,
        macs: Any = None,
        receptive_field: Any = None,
        depth: Any = None,
        weight_bytes: Any = None,
        peak_activation_bytes: Any = None,
        flash: Any = None,
        ram: Any = None,
        latency: Any = None,
        table: Any = None,
        board: str | None = None,
        runtime: str | None = None,
        dtype: str | None = None,
        plan: str | None = None,
        training_memory: Any = None,
        batch: int | None = None,
        optimizer: str | None = None,
        halo: int | None = None,
        lookahead: int | None = None,
        dilation_gaps: int | None = None,
        covers: int | None = None,
        require: Iterable[str] = (),
        forbid: Iterable[str] = (),
    ) -> None:
        """Read what the user wrote into limits."""
        given = locals()  # the keywords are the figures, which a test holds against the table
        target = _target(board, runtime, dtype, plan)
        measured = _measured(latency, table)
        made: list[Limit] = [
            parse_limit(
                name, given[name], target if figure.on_device else None,
                measured if figure.in_table else None,
            )
            for name, figure in FIGURES.items()
            if given[name] is not None
        ]  # fmt: skip
        made.extend(_of_board(board, target))
        made.extend(_of_training(training_memory, batch, optimizer))
        made.extend(contracts(given))
        made.extend(map(Require, _names("require", require)))
        made.extend(map(Forbid, _names("forbid", forbid)))
        object.__setattr__(self, "limits", (*made, *limits))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Budget:
        """Read limits by name, as a configuration file has them.

        Raises `ArgumentError` on a name that is not a limit, with the nearest one that is.
        """
        known = (*LIMITS, *SETTINGS)
        for name in data:
            if name not in known:
                raise ArgumentError(
                    explain(f"{shown(name)} is not a limit", remedy=did_you_mean(name, known))
                )
        return cls(**data)

    @property
    def trainings(self) -> tuple[TrainingSetup, ...]:
        """The training steps whose peaks are limited."""
        return tuple(limit.setup for limit in self.limits if isinstance(limit, TrainingMemory))

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The limits on figures."""
        return tuple(limit for limit in self.limits if isinstance(limit, Range))

    def check(self, model: Any, input_shape: Any = None) -> tuple[Finding, ...]:
        """Every limit's finding, in the order of the limits; `model` is as for `assert_budget`."""
        return check(self.limits, _account_of(model, input_shape, self.trainings))

    def enforce(self, model: Any, input_shape: Any = None) -> None:
        """Raise `BudgetExceeded` with all violations at once; an unknown figure is one."""
        found = _account_of(model, input_shape, self.trainings)
        findings = check(self.limits, found)
        if not all(finding.ok for finding in findings):
            from .advice import explain_findings

            raise BudgetExceeded(explain_findings(self.limits, found, findings), found, findings)


LIMITS = (*FIGURES, *CONTRACT, "board", "training_memory", "require", "forbid")
# These are no limits: they say what some limits are for.
SETTINGS = ("table", "runtime", "dtype", "plan", "batch", "optimizer")


def _measured(latency: object, table: Any) -> LatencyTable | None:
    """The table that a limit on latency needs."""
    if table is None and latency is not None:
        what = "a limit on latency needs a table"
        remedy = "Add table='this-machine.json', as budgetnet measure writes it."
        raise ArgumentError(explain(what, remedy=remedy))
    return None if table is None else as_table(table)


def _target(board: object, runtime: str | None, dtype: str | None, plan: str | None) -> Target:
    """What limits on flash and RAM are for; a board's core decides between kernels."""
    given = {"runtime": runtime, "dtype": dtype, "plan": plan}
    plain = Target(**{name: value for name, value in given.items() if value is not None})
    kernels = board_named(board).kernels if board is not None else ""
    has = RUNTIMES[plain.runtime][plain.dtype]
    return replace(plain, kernels=kernels) if kernels in has else plain


def _of_board(name: str | None, target: Target) -> Iterator[Range]:
    if name is not None:
        board = board_named(name)
        for figure, high in (("flash", board.flash), ("ram", board.ram)):
            yield Range(figure, high=high, target=target, board=name)


def _of_training(memory: Any, batch: int | None, optimizer: str | None) -> Iterator[TrainingMemory]:
    setup = TrainingSetup(
        1 if batch is None else batch, optimizer_named("sgd" if optimizer is None else optimizer)
    )
    if memory is not None:
        if batch is None:
            what = "a limit on training_memory needs a batch"
            raise ArgumentError(explain(what, remedy="Write batch=128, say, beside it."))
        yield TrainingMemory(setup, *parse_bounds("training_memory", memory, "bytes"))


def assert_budget(
    model: Any,
    input_shape: Any = None,
    budget: Budget | None = None,
    **limits: Any,
) -> Account:
    """Account for a model and enforce a budget on it; returns the account.

    Args:
        model: an `nn.Module`, a `Spec`, its text form or the name of a reference network, or an
            `Account`.
        input_shape: `(C, H, W)` without the batch, or an example tensor, as for `account`.
        budget: a `Budget`.
        **limits: limits of `Budget`, instead of or beside one.

    Raises:
        BudgetExceeded: with every violation and what would fix it.

    >>> assert_budget("c16 c16 p c32 gap10", (1, 28, 28), params="8k").params
    7524
    """
    wanted = with_limits(budget, limits)
    found = _account_of(model, input_shape, wanted.trainings)
    wanted.enforce(found)
    return found


def _account_of(model: Any, input_shape: Any, setups: tuple[TrainingSetup, ...] = ()) -> Account:
    if isinstance(model, Account) and input_shape is None:
        return model
    from ..trace.account import account  # on use: a saved account needs no specs

    found = account(model, input_shape, strict=False)  # what is unknown is a finding
    if not setups or isinstance(model, Account):
        return found
    from ..trace.training import training_peaks

    return replace(found, training=training_peaks(model, input_shape, setups))


def with_limits(budget: Budget | None, limits: Mapping[str, Any]) -> Budget:
    """A budget with further limits by name; raises `ArgumentError` on any other name."""
    more = Budget.from_dict(limits).limits
    return Budget(*(budget.limits if budget else ()), *more)


def _names(what: str, value: Any) -> tuple[str, ...]:
    names: Any = (value,) if isinstance(value, str) else value
    # A mapping or bytes can be iterated over as well, but name no kinds.
    if isinstance(names, Iterable) and not isinstance(names, Mapping | bytes | bytearray):
        names = tuple(names)
        if all(isinstance(name, str) and name for name in names):
            return names  # type: ignore[no-any-return]  # just checked
    raise ArgumentError(
        explain(f"{what}={shown(value)} does not name kinds", remedy='Write ["BatchNorm2d"].')
    )
