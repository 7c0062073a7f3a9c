"""What one stage costs between the widths that it may read and give, for all pairs at once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..accounting.device.target import Target
from ..accounting.geometry import Count
from ..accounting.latency_table import LatencyTable
from ..errors import ArgumentError, SpecError, UnsupportedOp, explain
from ..spec.branches import Branching
from ..spec.parts import channels_of, steps_of
from ..spec.plan import bytes_by_type
from ..spec.run import Run
from ..spec.stages import Stage, with_width
from ..spec.text import write
from .deploying import deployed
from .each import Mixed
from .timing import latencies

Ints: TypeAlias = NDArray[np.int64]
Caps: TypeAlias = tuple[tuple[str, int], ...]  # highest values of figures

# The figures that a graph counts. Some do not add up: of them the largest along a chain counts.
FIXED = ("receptive_field", "depth")  # no width changes them
PEAK, RAM, FLASH, LATENCY = "peak_activation_bytes", "ram", "flash", "latency"
COUNTED = ("params", "macs", "weight_bytes", *FIXED, PEAK)
ON_DEVICE = (FLASH, RAM)  # counted for one target, and only where they are asked for
OPTIONAL = (*ON_DEVICE, LATENCY)
LARGEST_OF = (PEAK, RAM)
LARGEST = 1 << 52  # cost of one stage, so that those of hundreds add up within 64 bits
LARGEST_WIDTH = 1 << 31
FEW = 4096


class Setting(NamedTuple):
    """What some figures depend on beside the network.

    Attributes:
        target: what flash and RAM are for; `None` if they are not counted.
        table: what a latency is added up from; `None` if it is not counted.
    """

    target: Target | None = None
    table: LatencyTable | None = None

    @property
    def figures(self) -> tuple[str, ...]:
        """All that is counted."""
        return (*COUNTED, *(ON_DEVICE if self.target else ()), *((LATENCY,) if self.table else ()))


PLAIN = Setting()


class Spot(NamedTuple):
    """Where in a network a stage stands.

    Attributes:
        size: of the map that it reads.
        outside: bytes that live beside it.
        setting: what more is counted.
    """

    size: tuple[int, ...]
    outside: int
    setting: Setting = PLAIN

    @property
    def figures(self) -> tuple[str, ...]:
        """What a stage costs here, but for the receptive field."""
        return tuple(name for name in self.setting.figures if name != "receptive_field")

    @property
    def growing(self) -> Spot:
        """The same without latency, the one figure that a wider stage may have less of."""
        return self._replace(setting=self.setting._replace(table=None))


def count_pairs(
    stage: Stage, widths: tuple[int, ...], chosen: tuple[int, ...] | None,
    spot: Spot, wider: int, caps: Caps,
) -> int:  # fmt: skip
    """How many pairs of widths `costs_of` gives, or a few more if the stage does not take some."""
    if chosen is None:
        return len(widths)
    low, high = _reach(stage, widths, chosen, spot, wider, caps)
    return int((high - low).sum())


@lru_cache(maxsize=512)
def _reach(
    stage: Stage, widths: tuple[int, ...], chosen: tuple[int, ...],
    spot: Spot, wider: int, caps: Caps,
) -> tuple[Ints, Ints]:  # fmt: skip
    """For every width the range of the chosen ones, by index, that may follow it."""
    spot = spot.growing
    _check_range(stage, max(widths), max(chosen), spot)
    narrow, wide = np.array(widths, np.int64), np.array(chosen, np.int64)
    low = np.zeros(len(narrow), np.int64)
    if wider:
        low = np.searchsorted(wide, narrow, side="right" if wider > 1 else "left")
    high = np.full(len(narrow), len(wide), np.int64)
    if not caps or stage.multiples != (1, 1) or isinstance(stage.case(narrow), np.ndarray):
        return low, high  # widths that are left out, or cost less than a narrower one
    below = low.copy()  # a wider stage costs no less, so that those within the caps come first
    while np.any(open_ := below < high):
        middle = np.minimum((below + high) // 2, len(wide) - 1)
        costs = _figures(stage, narrow, wide[middle], spot)
        fits = np.logical_and.reduce([costs[name] <= cap for name, cap in caps])
        below = np.where(open_ & fits, middle + 1, below)
        high = np.where(open_ & ~fits, middle, high)
    return low, high


def costs_of(
    stage: Stage, widths: tuple[int, ...], chosen: tuple[int, ...] | None,
    spot: Spot, wider: int, caps: Caps,
) -> tuple[Ints, Ints, Ints, dict[str, Ints]]:  # fmt: skip
    """Every admissible pair of widths by index, the width given, and what the stage costs."""
    few = len(widths) * len(chosen or (0,)) <= FEW  # all that is worth keeping; many fill memory
    made = _made if few else _made.__wrapped__
    return made(stage, widths, chosen, spot, wider, caps)


@lru_cache(maxsize=1024)
def _made(
    stage: Stage, widths: tuple[int, ...], chosen: tuple[int, ...] | None,
    spot: Spot, wider: int, caps: Caps,
) -> tuple[Ints, Ints, Ints, dict[str, Ints]]:  # fmt: skip
    if chosen is None:
        _check_range(stage, max(widths), max(widths), spot.growing)
        a = b = np.arange(len(widths))
        narrow = np.array(widths, np.int64)
        wide = np.array(
            [width_given(stage, width, spot.size) or width for width in widths], np.int64
        )
    else:
        low, high = _reach(stage, widths, chosen, spot, wider, caps)
        count = high - low
        a = np.repeat(np.arange(len(widths)), count)
        b = np.arange(len(a)) + np.repeat(low - (np.cumsum(count) - count), count)
        narrow, wide = np.array(widths, np.int64)[a], np.array(chosen, np.int64)[b]
    fine = _taken(stage, narrow, wide, spot.size, chosen is None)
    a, b, narrow, wide = a[fine], b[fine], narrow[fine], wide[fine]
    figures, ones = _figures(stage, narrow, wide, spot), np.ones(len(a), np.int64)
    return a, b, wide, {name: ones * figure for name, figure in figures.items()}


def _check_range(stage: Stage, first: int, last: int, spot: Spot) -> None:
    """Refuse widths whose figures exceed 64 bits, computed with plain ints of any size.

    No pair costs more than the widest one does.
    """
    first, last = (
        max(1, width // step) * step
        for width, step in zip((first, last), stage.multiples, strict=True)
    )
    if stage.width is None:
        taken = (width for width in range(first, 0, -1) if width_given(stage, width, spot.size))
        first = next(taken, 0)
        if not first:  # it takes none of these widths
            return
        last = width_given(stage, first, spot.size)
    costs = _figures(stage, first, last, spot)
    if max(first, last) >= LARGEST_WIDTH or max(costs.values()) >= LARGEST:
        what = "the costs of this space exceed the 64-bit range"
        numbers = {"widest": write((with_width(stage, last),))}
        raise ArgumentError(explain(what, numbers=numbers, remedy="Use smaller widths."))


def _figures(stage: Stage, narrow: Count, wide: Count, spot: Spot) -> dict[str, Count]:
    """What a stage costs between two widths, or between many at once."""
    if not isinstance(wide, np.ndarray):
        return _planned(stage, narrow, wide, spot)
    if not wide.size:
        return dict.fromkeys(spot.figures, wide)
    if isinstance(stage, Branching):  # whose branches may each have cases of their own
        each = [_planned(stage, int(w), int(w), spot) for w in narrow]
        return {name: np.array([found[name] for found in each], np.int64) for name in each[0]}
    cases = with_width(stage, wide).case(narrow)
    if not isinstance(cases, np.ndarray):
        return _alike(stage, narrow, wide, spot)
    masks = [cases == case for case in np.unique(cases)]  # each has layers of its own
    return _in_parts(stage, np.broadcast_to(narrow, wide.shape), wide, spot, masks)


def _in_parts(
    stage: Stage, narrow: Ints, wide: Ints, spot: Spot, masks: Iterable[NDArray[np.bool_]]
) -> dict[str, Count]:
    """The same, of parts of the widths, one after another."""
    found = {name: np.zeros(wide.shape, np.int64) for name in spot.figures}
    for where in masks:
        for name, cost in _alike(stage, narrow[where], wide[where], spot).items():
            found[name][where] = cost
    return dict(found)


def _alike(stage: Stage, narrow: Ints, wide: Ints, spot: Spot) -> dict[str, Count]:
    """The same where all widths have the same layers; a runtime may run some otherwise."""
    try:
        return _planned(stage, narrow, wide, spot)
    except Mixed as mixed:
        return _in_parts(stage, narrow, wide, spot, (mixed.where, ~mixed.where))


def _planned(stage: Stage, narrow: Count, wide: Count, spot: Spot) -> dict[str, Count]:
    """The same where all have the same operators as well."""
    run = run_of(stage, narrow, wide, spot)
    params = sum(row.params for row in run.rows)
    macs: list[Count] = [row.macs for row in run.rows]
    found = {
        "params": params,
        "macs": sum(macs),
        "weight_bytes": sum(count for _, count in bytes_by_type(params, run.norm_buffers)),
        "depth": sum(bool(np.any(each)) for each in macs),
        PEAK: run.peak,
    }
    if spot.setting.target is not None:
        found |= _deployed(stage, wide, run, (narrow, *spot.size), spot.setting.target)
    if spot.setting.table is not None:
        found[LATENCY] = latencies(run.rows, (narrow, *spot.size), spot.setting.table)
    return found


def run_of(stage: Stage, narrow: Count, wide: Count, spot: Spot) -> Run:
    """The rows of a stage by itself."""
    run = Run((narrow, *spot.size), spot.outside)
    channels = _channels(stage, narrow, spot.size)
    run.add("", steps_of(with_width(stage, wide).part(channels), channels))
    return run


def _deployed(
    stage: Stage, wide: Count, run: Run, shape: tuple[Count, ...], target: Target
) -> dict[str, Count]:
    try:
        flash, ram = deployed(run.rows, shape, target)
    except UnsupportedOp as error:
        what = (
            f"what {target} needs for {write((with_width(stage, int(np.max(wide))),))} is unknown"
        )
        remedy = "Leave it out of the space, or limit other figures."
        numbers = {"reason": str(error).rstrip(".")}
        raise ArgumentError(explain(what, numbers=numbers, remedy=remedy)) from error
    return {FLASH: flash, RAM: ram}


def _channels(stage: Stage, width: Count, size: tuple[int, ...]) -> Count:
    """What a stage counts as channels of its input: features, if it flattens a map."""
    return width * prod(size) if stage.flattens else width


@lru_cache(maxsize=65_536)
def width_given(stage: Stage, width: int, size: tuple[int, ...]) -> int:
    """The width of what a stage gives where none is chosen: that of its input if it can have it.

    0 if it does not take its input.
    """
    try:
        part = with_width(stage, width).part(_channels(stage, width, size))
        return int(channels_of(part, width))
    except SpecError:
        return 0


def _taken(stage: Stage, narrow: Ints, wide: Ints, size: tuple[int, ...], fixed: bool) -> Any:
    """Where a stage takes the widths of a pair."""
    reads, gives = stage.multiples
    fine = (narrow % reads == 0) & (wide % gives == 0)
    if fixed:
        fine &= np.array([width_given(stage, int(width), size) > 0 for width in narrow], bool)
    return fine
