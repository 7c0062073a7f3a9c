"""The least plan: offsets that need the smallest arena, by exact search, with a proven bound.

To put buffers with given steps into the smallest arena is dynamic storage allocation, NP-hard in
general; networks have few buffers that matter at once. What makes the search short:

- The most that is live at one step is a lower bound. For a chain a plan reaches it: every other
  buffer at the bottom, those between on top of them.
- Some least plan has every buffer at the bottom or on top of another. Taken by offset, each then
  lies as low as those before it allow, so that only their order is searched (as in MiniMalloc:
  Moffitt, ASPLOS 2023). One above the room for another that is still to come is not tried.
- A buffer that fits wherever the others lie is left out, and put in afterwards; what remains falls
  apart into groups that share no step.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from time import monotonic

from .memory import Buffer, Plan, first_fit, liveness_bound

TRIES = 200  # random changes of the order, before the search
MOST_STATES = 300_000  # the most states without a solution that the search remembers


@dataclass(frozen=True)
class LeastPlan:
    """The best plan that was found, and what is proven about all others.

    Attributes:
        plan: the offsets.
        bound: no plan of these buffers is smaller, in bytes; proven.
    """

    plan: Plan
    bound: int

    @property
    def proven(self) -> bool:
        """Whether no plan is smaller than this one."""
        return self.plan.size == self.bound

    @property
    def gap(self) -> int:
        """By how many bytes a better plan could be smaller at most; 0 if it is proven."""
        return self.plan.size - self.bound


def least_plan(buffers: Iterable[Buffer], seconds: float = 10.0) -> LeastPlan:
    """The plan with the smallest arena; when the time is up, the best one so far, and its gap.

    The bound is what is live at once, or more if the search has proven that.

    >>> chain = [Buffer(64, 0, 1), Buffer(32, 1, 2), Buffer(48, 2, 3), Buffer(16, 3, 4)]
    >>> found = least_plan(chain)
    >>> found.plan.size, found.bound, found.plan.offsets
    (96, 96, (0, 64, 0, 48))
    """
    given = tuple(buffers)
    deadline, low = monotonic() + seconds, liveness_bound(given)
    best, goal = _by_rules(given, deadline), low
    unit = gcd(*(buffer.bytes for buffer in given)) or 1
    try:
        while low < best.size:
            found = _within(given, goal, unit, deadline)
            if found is None:
                low = goal + unit
            else:
                best = found
            goal = low + (best.size - low) // (2 * unit) * unit
    except _OutOfTime:
        pass
    return LeastPlan(best, low)


class _OutOfTime(Exception):
    """The time of a search is over."""


def _by_rules(buffers: tuple[Buffer, ...], deadline: float) -> Plan:
    """The best of some plans by fixed rules, and by random changes of the best order."""
    bound, indices = liveness_bound(buffers), range(len(buffers))
    keys: tuple[Callable[[Buffer], tuple[int, int]], ...] = (
        lambda b: (b.first % 2, -b.bytes),  # every other buffer of a chain at the bottom
        lambda b: (-b.bytes, b.last - b.first),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first - b.last, -b.bytes),
        lambda b: (b.first, -b.bytes),
    )
    orders = [sorted(indices, key=[key(b) for b in buffers].__getitem__) for key in keys]
    plans = [first_fit(buffers, order) for order in orders]
    best, order = min(zip(plans, orders, strict=True), key=lambda pair: pair[0].size)
    dice = random.Random(0)
    for _ in range(TRIES if len(buffers) > 1 else 0):
        if best.size == bound or monotonic() > deadline:
            break
        other = list(order)
        other.insert(dice.randrange(len(other)), other.pop(dice.randrange(len(other))))
        plan = first_fit(buffers, other)
        if plan.size <= best.size:
            best, order = plan, other
    return best


def _within(buffers: tuple[Buffer, ...], height: int, unit: int, deadline: float) -> Plan | None:
    """A plan of at most this height, or `None` if there is none."""
    kept, left_out = _reduce(buffers, height, unit)
    fixed: list[int | None] = [None] * len(buffers)
    for group in _groups(buffers, kept):
        offsets = _Search([buffers[i] for i in group], height, deadline).run()
        if offsets is None:
            return None
        for i, offset in zip(group, offsets, strict=True):
            fixed[i] = offset
    return first_fit(buffers, reversed(left_out), fixed)


def _reduce(buffers: Sequence[Buffer], height: int, unit: int) -> tuple[list[int], list[int]]:
    """The buffers that are to be searched, and those that fit anyway, in the order of leaving out.

    A buffer of size s can start at `height - s` and at every unit below. One of size t that is live
    with it forbids `s + t` less a unit of them. If all together forbid less than all, it fits.
    """
    kept, left_out = set(range(len(buffers))), []
    meeting = {i: {j for j in kept if j != i and buffers[i].meets(buffers[j])} for i in kept}
    waiting = set(kept)
    while waiting:
        i = waiting.pop()
        size = buffers[i].bytes
        starts = (height - size) // unit + 1
        forbidden = sum((size + buffers[j].bytes) // unit - 1 for j in meeting[i] & kept)
        if forbidden < starts or not size:
            kept.remove(i)
            left_out.append(i)
            waiting |= meeting[i] & kept
    return sorted(kept), left_out


def _groups(buffers: Sequence[Buffer], kept: Iterable[int]) -> Iterable[list[int]]:
    """The kept buffers in groups that share no step."""
    group: list[int] = []
    end = 0
    for i in sorted(kept, key=lambda i: buffers[i].first):
        if group and buffers[i].first > end:
            yield group
            group = []
        end = max(end, buffers[i].last) if group else buffers[i].last
        group.append(i)
    if group:
        yield group


class _Search:
    """A search in depth for offsets within a height, of buffers with sizes above 0.

    Steps are those at which a set of buffers is live that no other step's set contains; a buffer
    covers a range of them.
    """

    def __init__(self, buffers: Sequence[Buffer], height: int, deadline: float) -> None:
        """Number the steps, and find buffers that are alike."""
        steps = _full_steps(buffers)
        self.height, self.deadline, self.nodes = height, deadline, 0
        self.sizes = [buffer.bytes for buffer in buffers]
        self.spans = [
            range(bisect_left(steps, b.first), bisect_right(steps, b.last)) for b in buffers
        ]
        self.floor = [0] * len(steps)  # how high each is filled
        self.waiting = [0] * len(steps)  # bytes that are still to be put there
        for span, size in zip(self.spans, self.sizes, strict=True):
            for step in span:
                self.waiting[step] += size
        kinds: dict[tuple[range, int], int] = {}
        self.twin: list[int | None] = []  # the one before it that is just like it
        for i, kind in enumerate(zip(self.spans, self.sizes, strict=True)):
            self.twin.append(kinds.get(kind))
            kinds[kind] = i
        self.offsets: dict[int, int] = {}  # of those placed, in the order of placing
        self.floors: list[list[int]] = []  # before each of them
        self.dead: set[tuple[int, ...]] = set()

    def run(self) -> tuple[int, ...] | None:
        """The offsets, or `None` if there are none; raises `_OutOfTime`."""
        frames = [self.frame(0)]
        while frames:
            state, choices = frames[-1]
            if choices:
                i, low = choices.pop()
                self.place(i, low)
                if len(self.offsets) == len(self.sizes):
                    return tuple(self.offsets[k] for k in range(len(self.sizes)))
                frames.append(self.frame(low))
                continue
            if len(self.dead) < MOST_STATES:
                self.dead.add(state)
            frames.pop()
            if frames:
                self.take_back()
        return None

    def frame(self, last: int) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        """What is left to be done, and the buffers to go on with, the best last.

        Offsets only grow, so that none is below the last. Where the lowest start and all that is to
        come at a step exceed the height, nothing leads on.
        """
        self.nodes += 1
        if self.nodes % 64 == 0 and monotonic() > self.deadline:
            raise _OutOfTime
        lows, start, mask = {}, [self.height] * len(self.floor), 0
        for i, span in enumerate(self.spans):
            if i not in self.offsets:
                lows[i] = low = max(last, *(self.floor[step] for step in span))
                for step in span:
                    start[step] = min(start[step], low)
                mask |= 1 << i
        state = (mask, *(s for s, bytes_ in zip(start, self.waiting, strict=True) if bytes_))
        if state in self.dead or any(
            s + bytes_ > self.height for s, bytes_ in zip(start, self.waiting, strict=True)
        ):
            return state, []
        ceiling = min(low + self.sizes[i] for i, low in lows.items())
        choices = [
            (i, low) for i, low in lows.items() if low < ceiling and self.twin[i] not in lows
        ]
        choices.sort(key=lambda c: (-c[1], self.sizes[c[0]] * len(self.spans[c[0]])))
        return state, choices

    def place(self, i: int, low: int) -> None:
        """Put a buffer at an offset."""
        self.floors.append(self.floor.copy())
        self.offsets[i] = low
        for step in self.spans[i]:
            self.floor[step] = low + self.sizes[i]
            self.waiting[step] -= self.sizes[i]

    def take_back(self) -> None:
        """Undo the last placing."""
        i, _ = self.offsets.popitem()
        self.floor = self.floors.pop()
        for step in self.spans[i]:
            self.waiting[step] += self.sizes[i]


def _full_steps(buffers: Sequence[Buffer]) -> list[int]:
    """The steps at which a set of buffers is live that no other step's set contains."""
    starts = sorted({buffer.first for buffer in buffers})
    return [
        step
        for step, after in zip(starts, [*starts[1:], None], strict=True)
        if after is None or any(b.first <= step <= b.last < after for b in buffers)
    ]
