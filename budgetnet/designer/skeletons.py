"""The chains of a search space, or the widths of one given chain, for building a graph."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from ..accounting.rows import Row
from ..spec.parts import steps_of
from ..spec.run import Run, link
from ..spec.spec import Spec
from ..spec.stages import Stage, with_width
from .graph import Box, Move
from .space import Place, SearchSpace, Step

_LARGE_MAP = 1 << 12  # no kernel of a space is larger


class End(NamedTuple):
    """Behind the head."""

    size: tuple[int, ...] = ()
    is_end: bool = True


class Node(NamedTuple):
    """A place in a chain, and as much of depth and receptive field as their limits require."""

    place: Place
    depth: int = 0
    field: int = 1

    @property
    def is_end(self) -> bool:
        """Whether a network ends here."""
        return False

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the map; () of a vector."""
        return self.place.size


class Link(NamedTuple):
    """How many stages of a given chain are done."""

    done: int
    size: tuple[int, ...]
    is_end: bool = False


class SpaceChains:
    """All chains of a search space whose depth and receptive field are within limits.

    In spaces of plain chains both depend on nothing but kinds, kernels and strides, so whole
    skeletons are excluded here, before any width is tried.
    """

    def __init__(
        self, space: SearchSpace, input_shape: tuple[int, ...], num_classes: int, box: Box
    ) -> None:
        """Start at the input; `box` may limit `depth` and `receptive_field`."""
        self.space, self.num_classes = space, num_classes
        self.in_channels, self.start = input_shape[0], Node(Place((input_shape[1], input_shape[2])))
        self.depth, self.field = (box.get(n) or (None, None) for n in ("depth", "receptive_field"))

    def moves(self, node: Node) -> Iterator[Move]:
        """Every stage that may follow, and what it leads to."""
        jump = self.space.jump(node.place)
        for stage, place, keeps_width, wider in self.space.follow(node.place, self.num_classes):
            growth = field_growth(stage, jump)
            depth = _tracked(node.depth + depth_of(stage), self.depth)
            field = _tracked(node.field + growth, self.field, untracked=1)
            if depth is None or field is None:
                continue
            if place is not None:
                widths = None if keeps_width else self.space.widths_at(place)
                span = 0 if place.size else self._whole(node, jump)
                yield Move(stage, Node(place, depth, field), widths, growth, wider, span)
            elif depth >= (self.depth[0] or 0) and field >= (self.field[0] or 0):
                span = self._whole(node, jump)
                yield Move(stage, End(), (self.num_classes,), growth, span=span)

    @staticmethod
    def _whole(node: Node, jump: int) -> int:
        """What a read of the whole map adds to a window."""
        return jump * (max(node.size, default=1) - 1)


def count_networks(
    space: SearchSpace,
    input_shape: tuple[int, ...],
    num_classes: int,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Count the networks of a space, including every combination of widths.

    `tick` is called repeatedly, and may raise to stop the count.

    >>> space = SearchSpace(widths=(4, 8), convs=2, downsamples=0, paddings="valid")
    >>> count_networks(space, (1, 28, 28), 10)  # 4-4, 4-8, 8-8: widths never shrink
    3
    """
    return sum([
        _Counting(each, shape[0], num_classes, tick).completions(Place(shape[1:]))[0]
        for each, shape in space.variants(input_shape)
    ])  # fmt: skip


class _Counting:
    """How many chains may follow at the places of a space."""

    def __init__(
        self, space: SearchSpace, in_channels: int, num_classes: int, tick: Callable[[], None]
    ) -> None:
        self.space, self.in_channels, self.num_classes = space, in_channels, num_classes
        self.tick = tick
        self.known: dict[Place, list[int]] = {}

    def widths(self, place: Place) -> tuple[int, ...]:
        return (self.in_channels,) if place.untouched else self.space.widths_at(place)

    def completions(self, place: Place) -> list[int]:
        """By the width of the map: how many chains may follow."""
        if place not in self.known:
            self.tick()
            mine = self.widths(place)
            total = [0] * len(mine)
            for step in self.space.follow(place, self.num_classes):
                more = self._after(step, mine)
                total = [a + b for a, b in zip(total, more, strict=True)]
            self.known[place] = total
        return self.known[place]

    def _after(self, step: Step, mine: tuple[int, ...]) -> list[int]:
        """The same, of those that begin with a step."""
        if step.place is None:
            return [1] * len(mine)
        more = self.completions(step.place)
        theirs, least = self.widths(step.place), step.stage.multiples[1]
        more = [0 if w % least else n for n, w in zip(more, theirs, strict=True)]
        if step.keeps_width:
            return more
        onward = [*reversed([*accumulate(reversed(more))]), 0]  # of this width and all wider ones
        first = bisect_right if step.wider > 1 else bisect_left
        return [onward[first(theirs, w) if step.wider else 0] for w in mine]


class ChainWidths:
    """One chain of stages, some of which have several widths to choose from."""

    def __init__(
        self, spec: Spec, input_shape: tuple[int, ...], widths: tuple[tuple[int, ...] | None, ...]
    ) -> None:
        """`widths` are those of every stage, even if it has only one; None if it has none."""
        self.stages = spec.stages
        run = Run(input_shape)
        self.sizes = [run.shape[1:]]  # before each stage, and at the end
        for name, stage in spec.named_stages():
            run.add(name, link(name, stage, run.shape[0], run.shape[1:])[0])
            self.sizes.append(run.shape[1:])
        self.in_channels, self.start = input_shape[0], Link(0, input_shape[1:])
        self.widths = widths

    def moves(self, node: Link) -> Iterator[Move]:
        """The one stage that follows."""
        if node.done < len(self.stages):
            stage, widths = self.stages[node.done], self.widths[node.done]
            done = node.done + 1
            yield Move(stage, Link(done, self.sizes[done], done == len(self.stages)), widths)


def _tracked(value: int, limits: tuple[int | None, int | None], untracked: int = 0) -> int | None:
    """The value as far as its limits distinguish values; None above the highest."""
    low, high = limits
    if high is not None:
        return value if value <= high else None
    return untracked if low is None else min(value, low)


def field_growth(stage: Stage, jump: int) -> int:
    """What the receptive field grows by: `(k - 1)` times the effective stride so far."""
    fields = [row.receptive_field for row in _alone(stage) if not row.is_global]
    return jump * (fields[-1].size[0] - 1) if fields and fields[-1] else 0


def depth_of(stage: Stage) -> int:
    """Layers of a stage that multiply and accumulate, where no width changes their number."""
    return sum(bool(row.macs) for row in _alone(stage))


@lru_cache(maxsize=1024)
def _alone(stage: Stage) -> tuple[Row, ...]:
    """The rows of a stage on a large map, as narrow as it can be."""
    reads, gives = stage.multiples
    run = Run((reads, _LARGE_MAP, _LARGE_MAP))
    run.add("", steps_of(with_width(stage, gives).part(reads), reads))
    return tuple(run.rows)
