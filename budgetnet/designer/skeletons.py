"""The chains of a search space, or the widths of one given chain, for building a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from ..accounting.rows import Row
from ..accounting.window import Pair
from ..spec.parts import steps_of
from ..spec.run import Run, link
from ..spec.spec import Spec
from ..spec.stages import Stage, with_width
from .graph import Box, Move
from .space import Place, SearchSpace

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
    def size(self) -> Pair:
        """Size of the map."""
        return self.place.size


class Link(NamedTuple):
    """How many stages of a given chain are done."""

    done: int
    size: tuple[int, ...]
    is_end: bool = False


class SpaceChains:
    """All chains of a search space whose depth and receptive field are within limits.

    Both depend on nothing but kinds, kernels and strides, so whole skeletons are excluded
    here, before any width is tried.
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
        jump = 2**node.place.downsamples
        for stage, place, keeps_width, wider in self.space.follow(node.place, self.num_classes):
            growth = field_growth(stage, jump)
            depth = _tracked(node.depth + depth_of(stage), self.depth)
            field = _tracked(node.field + growth, self.field, untracked=1)
            if depth is None or field is None:
                continue
            if place is not None:
                widths = None if keeps_width else self.space.widths
                yield Move(stage, Node(place, depth, field), widths, growth, wider)
            elif depth >= (self.depth[0] or 0) and field >= (self.field[0] or 0):
                span = jump * (max(node.size) - 1)  # the head reads the whole map
                yield Move(stage, End(), (self.num_classes,), growth, span=span)


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
    known: dict[Place, list[int]] = {}

    def completions(place: Place) -> list[int]:
        """By the width of the map: how many chains may follow."""
        if place not in known:
            tick()
            total = [0] * len(space.widths)
            for _, ahead, keeps_width, only_wider in space.follow(place, num_classes):
                more = completions(ahead) if ahead else [1] * len(total)
                if ahead and not keeps_width:
                    wider = list(accumulate(reversed(more)))[::-1]
                    more = wider if only_wider else wider[:1] * len(total)
                total = [a + b for a, b in zip(total, more, strict=True)]
            known[place] = total
        return known[place]

    start = Place((input_shape[1], input_shape[2]))
    return completions(start)[0]


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
