"""The Objective: what a design is to maximise, as exact weights of figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import lcm
from typing import Any

from ..accounting.account import Account
from ..accounting.device.deployment import deployment_of
from ..accounting.device.target import Target
from ..accounting.latency import latency_of
from ..budget.figures import FIGURES, full_name
from ..errors import ArgumentError, did_you_mean, explain
from .costs import LATENCY, ON_DEVICE, PLAIN, RAM, Setting
from .limits import counted_figure
from .timing import no_entries

_POWER = re.compile(r"[eE]([+-]?\d+)")
_LONGEST = 40  # characters of a weight, and powers of ten
_USAGE = "Write 'max macs', 'min params', or weights such as 'macs=1,params=-20'."


@dataclass(frozen=True, slots=True)
class Objective:
    """A weighted sum of figures, of which more is better.

    >>> parse_objective({"macs": 1, "params": "-0.5"}).scaled()
    (2, {'macs': 2, 'params': -1})
    """

    text: str
    weights: tuple[tuple[str, Fraction], ...]

    def scaled(self) -> tuple[int, dict[str, int]]:
        """A factor that makes every weight whole, and those weights."""
        factor = lcm(*(weight.denominator for _, weight in self.weights))
        return factor, {name: int(weight * factor) for name, weight in self.weights}

    def value(self, account: Account, setting: Setting = PLAIN) -> Fraction:
        """The value of an account."""
        return sum((w * figure_of(name, account, setting) for name, w in self.weights), Fraction())


def figure_of(name: str, account: Account, setting: Setting = PLAIN) -> int:
    """A figure as one number: a receptive field by its shortest axis, as limits read it.

    RAM is the least that is live on the target, as a search counts it.

    Raises:
        ArgumentError: the table of the setting lacks an operator of the account.
    """
    if name == LATENCY:
        assert setting.table is not None  # which `setting_of` has checked
        estimate = latency_of(account, setting.table)
        if estimate.ns is None:
            raise no_entries(setting.table, estimate.missing)
        return estimate.ns
    if name in ON_DEVICE:
        found = deployment_of(account, setting.target or Target(plan="least"))
        return found.ram_bound if name == RAM else found.flash_bytes
    value = FIGURES[name].read(account)
    if isinstance(value, tuple):
        return min(value)
    assert value is not None  # a plan knows every figure
    return value


def parse_objective(objective: Any) -> Objective:
    """An Objective from what a user writes: "max macs", "min params", or weights by figure.

    >>> parse_objective("macs=1,rf=1000") == parse_objective({"macs": 1, "receptive_field": 1000})
    True

    Raises:
        ArgumentError: it names no figure that a search counts, or a weight is not valid.
    """
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and "=" in objective:
        parts = [part.partition("=")[::2] for part in objective.split(",")]
        names = [_known(name) for name, _ in parts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ArgumentError(explain(f"the objective names {twice} twice", remedy=_USAGE))
        objective = dict(zip(names, (weight for _, weight in parts), strict=True))
    if isinstance(objective, str):
        way, _, name = objective.strip().partition(" ")
        if way not in ("max", "min"):
            what = f"objective {objective!r} does not say whether more or less is better"
            raise ArgumentError(explain(what, remedy=_USAGE))
        name = _known(name)
        return Objective(f"{way} {name}", ((name, Fraction(1 if way == "max" else -1)),))
    if not isinstance(objective, Mapping) or not objective:
        raise ArgumentError(explain(f"{objective!r} is not a valid objective", remedy=_USAGE))
    weights = tuple((_known(name), _weight(name, weight)) for name, weight in objective.items())
    if len({name for name, _ in weights}) < len(weights):
        raise ArgumentError(
            explain(f"the objective {objective!r} names a figure twice", remedy=_USAGE)
        )
    text = " ".join(f"{float(weight):+g} {name}" for name, weight in weights)
    return Objective(f"max {text}", weights)


def parse_objectives(names: Any) -> tuple[Objective, ...]:
    """The objectives of a Pareto front; a figure by itself goes in its better direction.

    >>> [each.text for each in parse_objectives("params,receptive_field")]
    ['min params', 'max receptive_field']
    """
    try:
        several = names.split(",") if isinstance(names, str) else names
        given: list[Any] = list(islice(several, len(FIGURES) + 1))
    except TypeError:
        what = f"a Pareto front needs two figures or more, got {names!r}"
        raise ArgumentError(explain(what)) from None
    objectives = tuple(parse_objective(_directed(name)) for name in given)
    for objective in objectives:
        if len(objective.weights) > 1 or abs(objective.weights[0][1]) != 1:
            raise ArgumentError(
                explain(f"a Pareto front accepts only single figures, not {objective.text!r}")
            )
    if len(objectives) < 2 or len({one.weights[0][0] for one in objectives}) < len(objectives):
        raise ArgumentError(explain(f"a Pareto front needs two figures or more, got {names!r}"))
    return objectives


def _directed(name: Any) -> Any:
    if isinstance(name, str) and " " not in name.strip():
        name = _known(name)
        return f"{'max' if FIGURES[name].more_is_better else 'min'} {name}"
    return name


def _known(given: Any) -> str:
    if not isinstance(given, str):
        raise ArgumentError(explain(f"{given!r} is not a figure of an account", remedy=_USAGE))
    name = full_name(given.strip())
    if name not in FIGURES:
        remedy = did_you_mean(name, FIGURES)
        raise ArgumentError(explain(f"{name!r} is not a figure of an account", remedy=remedy))
    counted_figure(name)
    return name


def _weight(name: str, weight: Any) -> Fraction:
    text = str(weight)
    power = _POWER.search(text)
    try:
        if len(text) > _LONGEST or (power and abs(int(power[1])) > _LONGEST):
            raise ValueError  # exact, it would fill memory
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        what = f"{shown!r} is not a weight of {name}"
        raise ArgumentError(explain(what, remedy=_USAGE)) from None
    if value == 0:
        raise ArgumentError(explain(f"the weight of {name} is 0", remedy="Leave it out."))
    return value
