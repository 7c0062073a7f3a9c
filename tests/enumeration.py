"""Every network of a search space, listed by plain loops: the oracle of the designer's tests.

It shares nothing with the search but `SearchSpace`, whose documentation it follows, and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations_with_replacement, product

from budgetnet import Spec, plan
from budgetnet.accounting.account import Account
from budgetnet.designer.space import SearchSpace
from budgetnet.errors import ShapeError
from budgetnet.spec.stages import Conv, Head, Pool, Separable, Stage, Transition


def networks(space: SearchSpace, shape: tuple[int, ...], classes: int) -> list[Account]:
    """The plans of all networks of a space that fit an input."""
    found: dict[Spec, Account] = {}
    for stages in _skeletons(space):
        for widths in _widths(space, stages):
            spec = Spec((*_with(stages, widths), Head(classes)))
            if spec not in found:
                try:
                    found[spec] = plan(spec, shape)
                except ShapeError:
                    break  # no other width would fit the input either
    return list(found.values())


def skeleton(spec: Spec) -> tuple[object, ...]:
    """What is left of a network without its widths."""
    names = ("kernel_size", "stride", "padding")
    return tuple((type(s), *(getattr(s, name, None) for name in names)) for s in spec.stages)


def _skeletons(space: SearchSpace) -> Iterator[list[tuple[Stage, int]]]:
    for downs in range(space.downsamples[0], space.downsamples[1] + 1):
        for ways in product(space.downsampling, repeat=downs):
            for counts in product(range(space.stage_convs[1] + 1), repeat=downs + 1):
                if _counts_fit(space, ways, counts):
                    yield from _kinds(space, ways, counts)


def _counts_fit(space: SearchSpace, ways: tuple[str, ...], counts: tuple[int, ...]) -> bool:
    low = space.stage_convs[0]
    begins_with_stride = bool(ways) and ways[0] == "stride" and counts[0] == 0
    enough = [n >= low for n in counts]
    enough[0] = enough[0] or begins_with_stride
    strides_have_one = all(n >= 1 for way, n in zip(ways, counts[1:], strict=True)
                           if way == "stride")  # fmt: skip
    before = [sum(counts[: i + 1]) for i in range(len(ways))]
    return (
        all(enough)
        and (not space.positions or set(before) <= set(space.positions))
        and strides_have_one
        and space.convs[0] <= sum(counts) <= space.convs[1]
    )  # fmt: skip


def _kinds(
    space: SearchSpace, ways: tuple[str, ...], counts: tuple[int, ...]
) -> Iterator[list[tuple[Stage, int]]]:
    """Stages without widths, each with the number of its resolution."""
    total = sum(counts)
    after_pool = [(False, True) if way == "pool" and space.transitions else (False,)
                  for way in ways]  # fmt: skip
    for padding in space.paddings:
        for kinds in product(space.kinds, repeat=total - 1):
            for kernels in product(space.kernels, repeat=total):
                for transitions in product(*after_pool):
                    choice = iter(zip(("plain", *kinds), kernels, strict=True))
                    stages: list[tuple[Stage, int]] = []
                    for level, count in enumerate(counts):
                        way = ways[level - 1] if level else ""
                        if way == "pool":
                            stages.append((Pool(), level))
                            if transitions[level - 1]:
                                stages.append((Transition(1), level))
                        for i in range(count):
                            kind, k = next(choice)
                            stride = 2 if way == "stride" and i == 0 else 1
                            pad = k // 2 if padding == "same" else 0
                            make = Conv if kind == "plain" else Separable
                            stages.append((make(1, (k, k), (stride,) * 2, (pad,) * 2), level))
                    yield stages


def _widths(space: SearchSpace, stages: list[tuple[Stage, int]]) -> Iterator[list[int]]:
    free = [i for i, (stage, _) in enumerate(stages) if not isinstance(stage, Pool)]
    if space.monotone:
        choices = combinations_with_replacement(space.widths, len(free))
    else:
        choices = product(space.widths, repeat=len(free))
    for chosen in choices:
        widths = [0] * len(stages)
        for i, width in zip(free, chosen, strict=True):
            widths[i] = width
        if not space.uniform or _is_uniform(stages, widths):
            yield widths


def _is_uniform(stages: list[tuple[Stage, int]], widths: list[int]) -> bool:
    by_level: dict[int, set[int]] = {}
    for (stage, level), width in zip(stages, widths, strict=True):
        if isinstance(stage, Conv | Separable):
            by_level.setdefault(level, set()).add(width)
    return all(len(found) == 1 for found in by_level.values())


def _with(stages: list[tuple[Stage, int]], widths: list[int]) -> list[Stage]:
    return [
        replace(stage, out_channels=width) if width else stage
        for (stage, _), width in zip(stages, widths, strict=True)
    ]
