"""Why no network meets a budget: limits that exclude each other, and what can be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.table import Column, Table
from ..budget.budget import Budget
from ..budget.figures import figure_text
from ..budget.limits import Range
from ..errors import BudgetnetError, explain
from .answers import Design
from .costs import RAM
from .graph import Box
from .objectives import figure_of

FindBest = Callable[[dict[str, int], Box], Design | None]
Figure = Callable[[str, Account], int]


class Side(NamedTuple):
    """One side of a limit."""

    name: str
    low: int | None
    high: int | None

    @property
    def bound(self) -> int:
        """The value that decides."""
        bound = self.high if self.low is None else self.low
        assert bound is not None
        return bound

    def at(self, bound: int) -> Side:
        """The same side at another value."""
        return self._replace(high=bound) if self.low is None else self._replace(low=bound)

    def relaxed_by(self, percent: int) -> Side:
        """The same side further out by so many percent, or units if it is at 0."""
        more = -(-self.bound * percent // 100) if self.bound else percent
        return self.at(self.bound + more if self.low is None else max(0, self.bound - more))

    def __str__(self) -> str:
        """The limit in words."""
        return f"{self.name} {Range(self.name, self.low, self.high).text}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A limit that is incompatible with the others.

    Attributes:
        name: of the figure.
        limit: in words, such as "at most 100".
        bound: the number in it.
        best: the value closest to the limit among networks that meet all other limits; `None`
            if no network meets even those.
        design: that network.
    """

    name: str
    limit: str
    bound: int
    best: int | None
    design: Design | None


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The smallest change of the budget that admits a network.

    Attributes:
        text: the change in words.
        limits: the changed limits: the figure and its new bound.
        design: a network that meets the changed budget.
    """

    text: str
    limits: tuple[tuple[str, int], ...]
    design: Design


class InfeasibleBudget(BudgetnetError, ValueError):
    """It is proven that no network of the space meets the budget.

    Attributes:
        budget: the requested budget.
        conflicts: limits that exclude each other; without any one of them the others can hold,
            unless there are further conflicts. Empty if the space holds no network at all.
        relaxation: the smallest change that helps; `None` if the space holds no network at all.
    """

    is_verdict = True

    def __init__(
        self, budget: Budget, conflicts: tuple[Conflict, ...], relaxation: Relaxation | None
    ) -> None:
        """Keep what was found, and lay out the message."""
        super().__init__(_text(conflicts, relaxation))
        self.budget, self.conflicts, self.relaxation = budget, conflicts, relaxation


def diagnose(
    budget: Budget, box: Box, best: FindBest, figure: Figure = figure_of
) -> InfeasibleBudget:
    """Find the conflict in a budget, given a function that finds the best network within limits."""
    sides = [Side(name, low, high) for name, (a, b) in box.items()
             for low, high in ((a, None), (None, b)) if (low, high) != (None, None)]  # fmt: skip
    if best({"params": -1}, {}) is None:
        return InfeasibleBudget(budget, (), None)
    conflict = list(sides)
    for side in sides:  # what is left after this cannot be thinned out any further
        others = [other for other in conflict if other != side]
        if best({"params": -1}, as_box(others)) is None:
            conflict = others
    conflicts = tuple(_conflict(side, sides, best, figure) for side in conflict)
    return InfeasibleBudget(budget, conflicts, _relaxation(conflict, conflicts, sides, best))


def as_box(sides: Sequence[Side]) -> Box:
    """Sides of limits as a box."""
    box: dict[str, tuple[int | None, int | None]] = {}
    for side in sides:
        low, high = box.get(side.name, (None, None))
        box[side.name] = (
            side.low if side.low is not None else low,
            side.high if side.high is not None else high,
        )
    return box


def _conflict(side: Side, sides: Sequence[Side], best: FindBest, figure: Figure) -> Conflict:
    others = [other for other in sides if other != side]
    design = best({side.name: 1 if side.high is None else -1}, as_box(others))
    value = None if design is None else figure(side.name, design.account)
    text = Range(side.name, side.low, side.high).text
    return Conflict(side.name, text, side.bound, value, design)


def _relaxation(
    conflict: Sequence[Side], conflicts: Sequence[Conflict], sides: Sequence[Side], best: FindBest
) -> Relaxation:
    alone = [(side, found) for side, found in zip(conflict, conflicts, strict=True) if found.design]
    if alone:
        side, found = min(
            alone, key=lambda one: abs((one[1].best or 0) - one[0].bound) / max(1, one[0].bound)
        )
        assert found.best is not None
        assert found.design is not None
        new = side.at(found.best)
        share = abs(found.best - side.bound) / side.bound if side.bound else 1
        return Relaxation(
            f"{new} instead of {figure_text(side.bound, side.name)} ({share:.1%})".replace(
                "%)", " %)"
            ),
            ((side.name, found.best),), found.design,
        )  # fmt: skip
    # No limit by itself: move all of them by the same share, the least whole percent that helps.
    least, enough = 0, 1
    while (design := best({"params": -1}, as_box([s.relaxed_by(enough) for s in sides]))) is None:
        least, enough = enough, 2 * enough
    while enough - least > 1:
        middle = (least + enough) // 2
        found_too = best({"params": -1}, as_box([s.relaxed_by(middle) for s in sides]))
        if found_too is None:
            least = middle
        else:
            enough, design = middle, found_too
    moved = [side.relaxed_by(enough) for side in sides]
    text = f"every limit by {enough} %: {', '.join(map(str, moved))}"
    return Relaxation(text, tuple((side.name, side.bound) for side in moved), design)


def _text(conflicts: tuple[Conflict, ...], relaxation: Relaxation | None) -> str:
    if relaxation is None:
        return explain(
            "the search space holds no network for this input",
            remedy="Allow fewer convolutions, fewer downsamplings or smaller kernels.",
        )
    names = " and ".join(f"{c.name} {c.limit}" for c in conflicts)
    together = "cannot hold together" if len(conflicts) > 1 else "cannot hold"
    designs = [c.design for c in conflicts if c.design is not None]
    several = len({design.account.input_shape for design in (*designs, relaxation.design)}) > 1
    columns = (Column("Limit"), Column("Best with the others", numeric=True), Column("Network"))
    rows = tuple(
        (
            f"{c.name} {c.limit}",
            "none" if c.best is None else figure_text(c.best, c.name),
            "the others exclude each other" if c.design is None else _named(c.design, several),
        )
        for c in conflicts
    )
    table = Table(columns, rows, f"no network of the space meets the budget: {names} {together}")
    change = (
        f"smallest change that helps: {relaxation.text}, with {_named(relaxation.design, several)}"
    )
    live = (
        "\nram: what is live at once, which no plan can do without; a runtime's own may need more"
    )
    return f"{table.to_text()}\n{change}{live if RAM in [c.name for c in conflicts] else ''}"


def _named(design: Design, with_input: bool) -> str:
    """A network, and its input if there are several."""
    return f"{design.spec} on {design.account.input_text}" if with_input else str(design.spec)
