"""Designs: the networks found by a search, and what is known about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from ..accounting.account import Account
from ..accounting.device.target import Target
from ..accounting.latency import latency_of
from ..accounting.table import Column, Table, Toned
from ..budget.budget import Budget
from ..budget.figures import FIGURES, figure_text, read_on
from ..spec.plan import Spec
from ..spec.source import to_python
from .costs import COUNTED, LATENCY, ON_DEVICE, OPTIONAL, RAM

if TYPE_CHECKING:
    from torch import nn

FORMAT, VERSION = "budgetnet.designs", 1


@dataclass(frozen=True, slots=True)
class Design:
    """A network that meets a budget, not built yet.

    Attributes:
        spec: its stages.
        account: its plan.
        proven: whether it is proven that no other of those searched is better.
    """

    spec: Spec
    account: Account
    proven: bool = True

    def build(self, **kwargs: Any) -> nn.Sequential:
        """Build the network with fresh weights; `kwargs` as in `models.build`."""
        from ..models.zoo import build

        return build(self.spec, self.account.input_shape, **kwargs)

    def to_python(self) -> str:
        """Source code that builds the network from `budgetnet.blocks`."""
        return to_python(self.spec, self.account.input_shape)

    def to_dict(self) -> dict[str, Any]:
        """The text form and the account as plain data."""
        return {"spec": str(self.spec), "account": self.account.to_dict()}

    def __repr__(self) -> str:
        """One short line."""
        found = self.account
        return f"Design({str(self.spec)!r}, params={found.params:,}, macs={found.macs:,})"

    def __str__(self) -> str:
        """The account as a table, titled by the spec."""
        note = "" if self.proven else "\nnot proven best: the search ended early"
        return f"{self.account}{note}"


@dataclass(frozen=True, slots=True)
class Designs(Sequence[Design]):
    """Networks that meet a budget, the best first.

    Attributes:
        designs: the networks.
        goal: what they are ordered by, such as "max macs"; ties are broken by fewer MACs, then
            fewer parameters, in the largest spaces among the networks that the search met.
        budget: the budget that they meet.
        proven: whether it is proven that the space holds no better one; false only if the
            search was stopped.
        at_most: no network of the space that meets the budget has a larger value of the goal;
            `None` for a Pareto front, where a goal is one of several, and where a search was
            stopped before it came to the last resolution or width multiplier.
        covered: how many networks the space holds; the answer covers all of them.
        evaluated: how many partial networks the search visited.
        seconds: how long it took.
    """

    designs: tuple[Design, ...]
    goal: str
    budget: Budget
    proven: bool
    at_most: float | None
    covered: int
    evaluated: int
    seconds: float

    @overload
    def __getitem__(self, index: int) -> Design: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Design, ...]: ...
    def __getitem__(self, index: int | slice) -> Design | tuple[Design, ...]:
        """The design at a rank, 0 being the best."""
        return self.designs[index]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.designs)

    def __iter__(self) -> Iterator[Design]:
        """The best first."""
        return iter(self.designs)

    def to_table(self) -> Table:
        """One line per network."""
        asked = [limit.name for limit in self.budget.ranges]
        asked += re.findall(r"\w+", self.goal)
        figures = {
            name: figure
            for name, figure in FIGURES.items()
            if name in COUNTED or (name in OPTIONAL and name in asked)
        }
        spared = sorted(figures, key=lambda name: name not in asked)  # what was asked for stays
        columns = (
            Column("#", numeric=True), Column("Network"),
            *(Column(figure.heading, numeric=True, spared=spared.index(name))
              for name, figure in figures.items()),
        )  # fmt: skip
        rows = tuple(
            (str(i), str(one.spec), *(figure_text(self._read(name, one), name) for name in figures))
            for i, one in enumerate(self.designs, start=1)
        )
        limits = ", ".join(_limit_text(limit) for limit in self.budget.limits) or "no limits"
        inputs = [one.account.input_text for one in self.designs]
        title = f"{self.goal} with {limits}, on {inputs[0]}"
        if len(set(inputs)) > 1:
            title = f"{self.goal} with {limits}"
            columns = (*columns[:2], Column("Input"), *columns[2:])
            rows = tuple((*row[:2], text, *row[2:]) for row, text in zip(rows, inputs, strict=True))
        claim = Toned(self.claim(), "" if self.proven else "near")
        return Table(columns, rows, title, notes=(claim,))

    def _read(self, name: str, one: Design) -> int | tuple[int, ...] | None:
        """A figure of a network, on the runtime or by the table that the budget names."""
        if name == LATENCY:
            tables = [limit.table for limit in self.budget.ranges if limit.table]
            return latency_of(one.account, tables[0]).ns
        if name not in ON_DEVICE:
            return FIGURES[name].read(one.account)
        targets = [limit.target for limit in self.budget.ranges if limit.target]
        return read_on(name, one.account, targets[0] if targets else Target(plan="least"))[0]

    def _with_another_plan(self) -> str:
        """What the runtime's own plan of memory may have to do with it."""
        targets = [limit.target for limit in self.budget.ranges if limit.name == RAM]
        own = any(each and (each.runtime, each.plan) == ("tflm", "own") for each in targets)
        return ', which plan="least" may reach' if own else ""

    def claim(self) -> str:
        """How certain the answer is, as a sentence."""
        space = f"the {self.covered:,} networks of the space"
        if "," in self.goal and self.proven:
            return f"proven complete: all others of {space} are matched or beaten by one of these"
        if "," in self.goal:
            return f"not proven complete: the search of {space} ended early"
        if self.proven:
            each = ", each of a different skeleton" if len(self) > 1 else ""
            return f"proven best within the budget, of {space}{each}"
        if self.at_most is None:
            return f"not proven best: the search of {space} ended before it saw all of them"
        most = f"{abs(self.at_most):,.12g}{self._with_another_plan()}"
        return f"not proven best: the search of {space} ended early; none is better than {most}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data with format name and version."""
        return {
            "format": FORMAT, "version": VERSION, "goal": self.goal,
            "limits": [_limit_text(limit) for limit in self.budget.limits],
            "proven": self.proven, "at_most": self.at_most, "covered": self.covered,
            "evaluated": self.evaluated, "seconds": round(self.seconds, 3),
            "designs": [design.to_dict() for design in self.designs],
        }  # fmt: skip

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    def to_python(self) -> str:
        """Source code of the best design; a comment says so if it is not proven to be the best."""
        source = self.designs[0].to_python()
        return source if self.proven else f"# {self.claim()}\n{source}"

    def __repr__(self) -> str:
        """One short line."""
        proven = "proven" if self.proven else "not proven"
        return f"Designs({len(self)} of {self.covered:,}, {self.goal}, {proven}, best {self[0]!r})"

    def __str__(self) -> str:
        """The table as plain text."""
        return self.to_table().to_text()

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        return self.to_table().to_html()


def _limit_text(limit: Any) -> str:
    return f"{limit.name} {limit.text}"
