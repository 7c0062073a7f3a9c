"""Hold `account` against every module in PyTorch's own test database, and against changed ones.

`module_db` is what PyTorch tests its modules with: each comes with arguments and inputs that
somebody else chose. Each is accounted for with shortcuts and without, and run. Then every plain
attribute of the module is changed in turn, as a user may do between building a network and
accounting for it, and both are done again. `operators.py` runs this and writes the results.
"""

from __future__ import annotations

import contextlib
import copy
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from budgetnet.errors import BudgetnetError, ForwardError
from budgetnet.trace.run import account_of_module

OUTCOMES = ("right", "refused", "accepted", "differs", "wrong", "crashed")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Case(NamedTuple):
    """A module and inputs for it, of batch 1, with what was changed after it was built."""

    change: str
    module: nn.Module
    inputs: tuple[Tensor, ...]


class Verdict(NamedTuple):
    """What came of one case.

    Attributes:
        change: what was done to the module after it was built; "" if nothing.
        outcome: "right"; "refused", with a named error; "accepted", where the module itself does
            not run; "differs", between shortcuts and none; "wrong", if the shapes are not the real
            ones; "crashed", with an error that is neither budgetnet's nor the module's own.
        reason: for all but "right".
    """

    change: str
    outcome: str
    reason: str = ""


def accounted(module: nn.Module, inputs: tuple[Tensor, ...], *, shortcuts: bool) -> Any:
    """The account for these inputs: the one place that knows how `account` takes them."""
    return account_of_module(module, inputs=inputs, shortcuts=shortcuts)


@contextlib.contextmanager
def unfrozen() -> Iterator[None]:
    """Import PyTorch's databases, but do not let them freeze the process's backend flags."""
    freeze = torch.backends.disable_global_flags
    torch.backends.disable_global_flags = lambda: None
    try:
        yield
    finally:
        torch.backends.disable_global_flags = freeze


def database() -> dict[str, Any]:
    """Every module by name; importing PyTorch's takes seconds."""
    with unfrozen():
        from torch.testing._internal.common_modules import module_db

    return {info.name: info for info in module_db}


def cases_of(info: Any) -> Iterator[Case | None]:
    """Every sample of a module, as built and changed; `None` for one that does not fit."""
    for training in (False, True):
        for k, sample in enumerate(_samples(info, training)):
            built = _built(info, sample, training)
            if built is None:
                yield None
                continue
            yield Case("", *built)
            if not training and k < 4:  # at inference both modes are one
                for change, changed in changes_of(built[0]):
                    yield Case(change, changed, built[1])


def _samples(info: Any, training: bool) -> list[Any]:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    try:
        return list(
            info.module_inputs_func(
                info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
            )
        )
    except Exception:  # the database itself cannot make them
        return []


def _built(info: Any, sample: Any, training: bool) -> tuple[nn.Module, tuple[Tensor, ...]] | None:
    """A module that runs on inputs of batch 1, and these; `None` where there are none."""
    made, given = sample.constructor_input, sample.forward_input
    if given is None or any(isinstance(x, Tensor) for x in given.kwargs.values()):
        return None
    if not given.args or not all(_is_batch(x) for x in given.args):
        return None
    inputs = tuple(x.detach()[:1].clone() for x in given.args)
    module = info.module_cls(*made.args, **made.kwargs).train(training)
    if isinstance(shapes_of(module, inputs), Exception):
        return None
    return module, inputs


def _is_batch(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() > 1 and x.dtype == torch.float32 and bool(x.numel())


def changes_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a module, each with one attribute or parameter that is not as it was."""
    for name, value in module.__dict__.items():
        if name.startswith("_") or name == "training":
            continue
        for other in others(name, value):
            changed = copy.deepcopy(module)
            changed.__dict__[name] = other
            yield f"{name}={other!r}, not {value!r}", changed
    for name, tensor in module._parameters.items():
        for dim in range(tensor.dim() if tensor is not None else 0):
            changed = copy.deepcopy(module)
            shape = [n + (i == dim) for i, n in enumerate(tensor.shape)]
            changed._parameters[name] = nn.Parameter(torch.rand(shape))
            yield f"{name} of {tuple(shape)}, not {tuple(tensor.shape)}", changed


def others(name: str, value: Any) -> list[Any]:
    """Other plausible values of an attribute."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, (value, value)]
    if isinstance(value, float):
        return [value + 1]
    if isinstance(value, str):
        known = PADDING_MODES if name == "padding_mode" else ("same", "valid", 1, "nonsense")
        return [other for other in known if other != value]
    if isinstance(value, tuple) and value and all(isinstance(n, int) for n in value):
        moved = [tuple(n + (i == k) for i, n in enumerate(value)) for k in range(len(value))]
        more = ["same", "valid"] if name == "padding" else []
        return [*moved, value[0], value[0] + 1, *more]
    return []


def shapes_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Shapes of the real outputs, without the batch; or the error that the module raises."""
    try:
        with torch.no_grad():
            # A lazy module becomes another at its first run: the module itself runs, then a copy.
            real = module if isinstance(module, nn.modules.lazy.LazyModuleMixin) else None
            out = (real or copy.deepcopy(module)).eval()(*(x.clone() for x in inputs))
    except Exception as error:  # whatever it is, it is an outcome
        return error
    leaves = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
    return tuple(tuple(leaf.shape[1:]) for leaf in leaves)


def judge(case: Case) -> Verdict:
    """Account for a case in both ways, run it, and compare."""
    change, module, inputs = case
    quick, plain = (_answer(module, inputs, shortcuts) for shortcuts in (True, False))
    real = shapes_of(module, inputs)
    for answer in (quick, plain):
        is_own = type(answer) is type(real)  # the module's forward has raised, as it really does
        if isinstance(answer, Exception) and not isinstance(answer, BudgetnetError) and not is_own:
            return Verdict(change, "crashed", _said(answer))
    if isinstance(quick, Exception) != isinstance(plain, Exception):
        return Verdict(change, "differs", f"{_said(quick)} with shortcuts, else {_said(plain)}")
    if isinstance(quick, Exception):
        return Verdict(change, "refused", _said(quick))
    if quick != plain:
        return Verdict(change, "differs", _first_difference(quick, plain))
    if isinstance(real, Exception):
        return Verdict(change, "accepted", f"{_said(quick)}, where it raises {_said(real)}")
    if quick.output_shapes != real:
        return Verdict(change, "wrong", f"shapes {real}, not {quick.output_shapes}")
    return Verdict(change, "right")


def _answer(module: nn.Module, inputs: tuple[Tensor, ...], shortcuts: bool) -> Any:
    try:
        return accounted(module, inputs, shortcuts=shortcuts)
    except ForwardError as error:  # the module's own, or a mistake of a rule
        return error.__cause__ or error
    except Exception as error:  # whatever it is, it is an outcome
        return error


def _said(answer: Any) -> str:
    if isinstance(answer, Exception):
        lines = str(answer).splitlines() or [""]
        return f"{type(answer).__name__}: {lines[0].split('. ')[0][:160]}"
    return f"shapes {answer.output_shapes}"


def _first_difference(quick: Any, plain: Any) -> str:
    for name in quick.__dataclass_fields__:
        one, two = getattr(quick, name), getattr(plain, name)
        if one != two:
            return f"{name}: {str(one)[:200]} with shortcuts, else {str(two)[:200]}"
    return ""


def row_of(info: Any) -> dict[str, Any]:
    """Counts of outcomes, and the reasons with how often each was given."""
    cases = list(cases_of(info))
    verdicts = [judge(case) for case in cases if case is not None]
    counts = Counter(verdict.outcome for verdict in verdicts)
    return {
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "left_out": len(cases) - len(verdicts),
        "reasons": reasons_of(
            (v.outcome, ": ".join(filter(None, (v.change, v.reason)))) for v in verdicts
        ),
    }


def reasons_of(given: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Reasons of every outcome, with how often they were given; but for numbers, each once."""
    found: dict[str, dict[str, list[str]]] = {}
    for outcome, reason in given:
        alike = re.sub(r"\d+(, \d+)*", "0", reason)
        found.setdefault(outcome, {}).setdefault(alike, []).append(reason)
    return {
        outcome: {reasons[0]: len(reasons) for reasons in groups.values() if reasons[0]}
        for outcome, groups in found.items()
        if outcome != "right"
    }
