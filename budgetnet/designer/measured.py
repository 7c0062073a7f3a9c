"""Which operators the networks of a search space need, so that they can be measured."""

from __future__ import annotations

from collections.abc import Callable

from ..accounting.operators import Operator
from .costs import Spot, costs_of, run_of
from .graph import Survey, survey
from .skeletons import SpaceChains
from .space import SearchSpace
from .timing import operators


def operators_of_space(
    space: SearchSpace,
    input_shape: tuple[int, ...],
    num_classes: int,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Operator, ...]:
    """Every operator of every network of a space, each once; `tick` may raise to stop."""
    found: dict[Operator, None] = {}
    for each, shape in space.variants(input_shape):
        surveyed = survey(SpaceChains(each, shape, num_classes, {}), (), tick)
        found |= dict.fromkeys(operators_of_survey(surveyed, tick))
    return tuple(found)


def operators_of_survey(
    surveyed: Survey, tick: Callable[[], None] = lambda: None
) -> tuple[Operator, ...]:
    """Every operator of the stages of a graph, between all widths that may meet there."""
    surveyed.check()
    found: dict[Operator, None] = {}
    seen = set()
    for place, level in enumerate(surveyed.levels):
        for node, widths, moves in level:
            tick()
            for move in moves:
                spot = Spot(node.size, surveyed.outside if place else 0)
                key = (move.stage, node.size, widths, move.widths, move.wider)
                if key in seen:
                    continue
                seen.add(key)
                a, _, wide, _ = costs_of(
                    move.stage, widths, move.widths, spot, move.wider, surveyed.caps
                )
                for i, width in zip(a, wide, strict=True):
                    run = run_of(move.stage, widths[i], int(width), spot)
                    shape = (widths[i], *node.size)
                    found |= dict.fromkeys(o for o, _ in operators(run.rows, shape) if o)
    return tuple(found)
