"""Every network of a search space, listed by plain loops: the oracle of the designer's tests.

It shares nothing with the search but `SearchSpace`, whose documentation it follows, and `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from budgetnet import Spec, plan
from budgetnet.accounting.account import Account
from budgetnet.designer.space import SearchSpace
from budgetnet.errors import ShapeError
from budgetnet.spec.stages import (
    AvgPool,
    BasicBlock,
    BatchNorm,
    Bottleneck,
    Classifier,
    Conv,
    DenseBlock,
    FusedInvertedResidual,
    Head,
    InvertedResidual,
    Pool,
    PreactConv,
    Separable,
    Stage,
    Transition,
)


class Placed(NamedTuple):
    """A stage without its width, the number of its resolution, and what its width may be."""

    stage: Stage
    level: int
    widths: tuple[int, ...] = ()  # none: it has none to choose
    is_free: bool = False  # whether it may be narrower than what it reads
    is_wider: bool = False  # whether it must be wider than that


def networks(space: SearchSpace, shape: tuple[int, ...], classes: int) -> list[Account]:
    """The plans of all networks of a space that fit an input."""
    found: dict[object, Account] = {}
    for one in _multiplied(space):
        for size in [(shape[0], n, n) for n in space.resolutions] or [shape]:
            for skeleton in _staged(one) if one.strides else _chains(one):
                for stages in _with_heads(one, skeleton, classes):
                    for spec in _with_widths(one, stages):
                        if (spec, size) not in found:
                            try:
                                found[spec, size] = plan(spec, size)
                            except ShapeError:
                                break  # no other width would fit the input either
    return list(found.values())


def skeleton(account: Account) -> object:
    """What is left of a network without its widths."""
    stages = Spec.parse(account.spec).stages
    return account.input_shape, tuple(
        replace(s, out_channels=1) if hasattr(s, "out_channels") else s for s in stages
    )


def _multiplied(space: SearchSpace) -> Iterator[SearchSpace]:
    for factor in space.width_multipliers:
        stem, *stages = [
            (max(1, round(width * factor)),)
            for (width,) in (space.stem_widths, *space.stage_widths)
        ]
        yield replace(space, stem_widths=stem, stage_widths=stages, width_multipliers=())
    if not space.width_multipliers:
        yield space


def _of_kind(
    space: SearchSpace, kind: str, k: int, stride: int = 1, padding: str = "same", apart: int = 1
) -> list[Stage]:
    """All stages of a kind, none if it cannot have this stride or padding."""
    apart = apart if k > 1 else 1
    pad = (k - 1) * apart // 2 if padding == "same" else 0
    act = {"act": space.activation}
    size = {"kernel_size": k, "dilation": apart} | act
    squeezes = [ratio or None for ratio in space.squeeze_excite]
    if kind == "plain":
        return [Conv(1, stride=stride, padding=pad, **size)]
    if kind == "separable":
        return [Separable(1, stride=stride, padding=pad, **size)]
    if k > 1 and padding != "same":
        return []
    if kind == "basic":
        return [BasicBlock(1, stride=stride, **size)]
    if kind == "bottleneck":
        return [Bottleneck(1, stride=stride, se=se, **size) for se in squeezes]
    if kind == "dense":
        pairs = product(space.growths, space.dense_layers)
        return [DenseBlock(growth, n, **size) for growth, n in pairs if stride == 1]
    make = {"inverted": InvertedResidual, "fused": FusedInvertedResidual}[kind]
    return [
        make(1, stride=stride, expansion=expansion, se=se, **size)
        for expansion, se in product(space.expansions, squeezes)
    ]


# ---------------------------------------------------------------------- chains with downsamplings


def _chains(space: SearchSpace) -> Iterator[list[Placed]]:
    for downs in range(space.downsamples[0], space.downsamples[1] + 1):
        for ways in product(space.downsampling, repeat=downs):
            for counts in product(range(space.stage_convs[1] + 1), repeat=downs + 1):
                if _counts_fit(space, ways, counts):
                    for padding in space.paddings:
                        yield from _kinds(space, ways, counts, padding)


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
    space: SearchSpace, ways: tuple[str, ...], counts: tuple[int, ...], padding: str
) -> Iterator[list[Placed]]:
    """Stages without widths; each place has one list of stages for every choice there."""
    places: list[list[list[Placed]]] = []
    for level, count in enumerate(counts):
        way, next_way = ("", *ways)[level], (*ways, "head")[level]
        if way in ("pool", "average"):
            pool = Placed(Pool() if way == "pool" else AvgPool(), level)
            transition = Placed(Transition(1, act=space.activation), level, space.widths)
            places.append([[pool], [pool, transition]] if space.transitions else [[pool]])
        for i in range(count):
            is_first, is_last = not any(counts[:level]) and i == 0, i == count - 1
            stride = 2 if way == "stride" and i == 0 else 1
            choices = []
            for kind in ("plain",) if is_first else space.kinds:
                for k in (space.stem_kernels or space.kernels) if is_first else space.kernels:
                    for stage in _of_kind(space, kind, k, stride, padding):
                        if kind != "dense":
                            choices.append([Placed(stage, level, space.widths)])
                        elif is_last and next_way != "stride":
                            after = _after_dense(space, level, next_way)
                            choices.append([Placed(stage, level), after])
            places.append(choices)
    for chosen in product(*places):
        yield [placed for some in chosen for placed in some]


def _after_dense(space: SearchSpace, level: int, next_way: str) -> Placed:
    if next_way == "head":
        return Placed(BatchNorm(space.activation), level)
    return Placed(PreactConv(1, 1, act=space.activation), level, space.widths, is_free=True)


# ---------------------------------------------------------------------- stages with strides


def _staged(space: SearchSpace) -> Iterator[list[Placed]]:
    most = space.output_stride or 10**9
    low, high = max(1, space.stage_convs[0]), space.stage_convs[1]
    for counts in product(range(low, high + 1), repeat=len(space.strides)):
        places, total, apart = [], 1, 1
        for level, stride in enumerate((space.stem_stride, *space.strides)):
            if total * stride > most:
                apart, stride = apart * stride, 1
            total *= stride
            if level == 0:
                stems = [_of_kind(space, "plain", k, stride, "same", apart)[0]
                         for k in space.stem_kernels or space.kernels]  # fmt: skip
                widths = space.stem_widths or space.widths
                places.append([Placed(stem, 0, widths) for stem in stems])
                continue
            widths = space.stage_widths[level - 1] if space.stage_widths else space.widths
            for i in range(counts[level - 1]):
                is_wider = level > 1 and i == 0 and stride == 1
                places.append([
                    Placed(stage, level, widths, is_wider=is_wider)
                    for kind, k in product(space.kinds, space.kernels)
                    for stage in _of_kind(space, kind, k, 1 if i else stride, "same", apart)
                ])  # fmt: skip
        yield from map(list, product(*places))


# ---------------------------------------------------------------------- heads and widths


def _with_heads(space: SearchSpace, stages: list[Placed], classes: int) -> Iterator[list[Placed]]:
    level = stages[-1].level
    linear = [Placed(Head(), level), Placed(Classifier(classes), level)]
    wide = Placed(Transition(1, act=space.activation), level, space.head_widths or space.widths)
    each = Placed(Conv(classes, 1, norm=False, act=None), level)
    heads = {"gap": [Placed(Head(classes), level)], "fc": linear, "conv-fc": [wide, *linear],
             "map": [each]}  # fmt: skip
    for name in space.heads:
        yield [*stages, *heads[name]]


def _with_widths(
    space: SearchSpace, stages: list[Placed], done: tuple[Stage, ...] = (), width: int = 0,
    uniform: tuple[int, int] = (-1, 0),
) -> Iterator[Spec]:  # fmt: skip
    """All widths of stages; `width` is that of the map so far, 0 for the input."""
    if len(done) == len(stages):
        yield Spec(done)
        return
    stage, level, widths, is_free, is_wider = stages[len(done)]
    if isinstance(stage, DenseBlock):
        width += stage.growth_rate * stage.num_layers if width else 0
    if not widths:
        yield from _with_widths(space, stages, (*done, stage), width, uniform)
        return
    is_conv = not isinstance(stage, Transition | PreactConv)
    for chosen in widths:
        narrows = (space.monotone and not is_free and chosen < width) or (
            is_wider and chosen <= width
        )
        differs = space.uniform and is_conv and uniform[0] == level and uniform[1] != chosen
        odd = isinstance(stage, Bottleneck) and chosen % 4
        if not (narrows or differs or odd):
            placed = replace(stage, out_channels=chosen)
            now = (level, chosen) if is_conv else uniform
            yield from _with_widths(space, stages, (*done, placed), chosen, now)
