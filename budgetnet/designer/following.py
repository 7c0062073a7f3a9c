"""What may follow at each place of a search space's chains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..accounting.geometry import conv_size
from ..accounting.window import Pair
from ..spec.stages import (
    AvgPool,
    BatchNorm,
    Classifier,
    Conv,
    DenseBlock,
    Head,
    Pool,
    PreactConv,
    Stage,
    Transition,
)
from .kinds import KINDS, UNPADDED

if TYPE_CHECKING:
    from .space import SearchSpace


class Place(NamedTuple):
    """The state of a chain that decides which stages may follow."""

    size: tuple[int, ...]  # () behind the pooling of a head
    padding: str = ""  # open until the first kernel above 1
    downsamples: int = 0  # or stages that have begun, where these have their strides
    stage_convs: int = 0  # convolutions at this resolution, or in this stage
    convs: int = 0
    after_pool: bool = False
    untouched: bool = True  # the channels are still those of the input
    grown: int = 0  # channels that a dense block has appended to one of the widths
    phase: str = ""  # what a dense block or a head has begun, and must follow through


class Step(NamedTuple):
    """A stage that may come next, its width left at 1."""

    stage: Stage
    place: Place | None  # None behind the head
    keeps_width: bool = False  # has that of the map it reads
    wider: int = 0  # 1: has no width below that of the map it reads; 2: has one above it


def widths_at(space: SearchSpace, place: Place) -> tuple[int, ...]:
    """The widths that a map there may have; the input has its own."""
    if place.phase in ("wide", "wide-pooled"):
        return space.head_widths or space.widths
    widths = space.widths
    if space.strides and not place.downsamples:
        widths = space.stem_widths or widths
    elif space.stage_widths:
        widths = space.stage_widths[place.downsamples - 1]
    return tuple(width + place.grown for width in widths) if place.grown else widths


def jump_at(space: SearchSpace, place: Place) -> int:
    """The effective stride of a map there."""
    begins = place.untouched and not place.downsamples  # a pooling may come first
    return 1 if begins else space.pace(place.downsamples)[1]


def follow(space: SearchSpace, place: Place, num_classes: int) -> Iterator[Step]:
    """Every stage that may come next, with widths left at 1."""
    if place.phase:
        yield from _follow_through(space, place, num_classes)
    elif space.strides:
        yield from _stages(space, place, num_classes)
    else:
        yield from _chain(space, place, num_classes)


def _chain(space: SearchSpace, place: Place, num_classes: int) -> Iterator[Step]:
    """What may follow between downsamplings at any place."""
    full = space.stage_convs[0] <= place.stage_convs  # enough convolutions at this resolution
    here = not space.positions or place.convs in space.positions
    if place.convs < space.convs[1]:
        if place.stage_convs < space.stage_convs[1]:
            yield from _convs(space, place, 1, space.uniform and place.stage_convs > 0)
        first = place.convs == place.downsamples == 0  # a network may begin with a stride
        fits = place.downsamples < space.downsamples[1]
        if "stride" in space.downsampling and space.stage_convs[1] and here and (full or first):
            yield from _convs(space, place, 2, False) if fits else ()
    if place.after_pool and space.transitions:
        after = place._replace(after_pool=False, untouched=False)
        yield Step(Transition(1, act=space.activation), after, wider=_wider(space, place))
    yield from _pools(space, place)
    if _may_end(space, place):
        yield from _heads(space, place, num_classes)


def _may_end(space: SearchSpace, place: Place) -> bool:
    full = space.stage_convs[0] <= place.stage_convs
    return full and place.convs >= space.convs[0] and place.downsamples >= space.downsamples[0]


def _pools(space: SearchSpace, place: Place) -> Iterator[Step]:
    full = space.stage_convs[0] <= place.stage_convs
    here = not space.positions or place.convs in space.positions
    if not (full and here and place.downsamples < space.downsamples[1] and min(place.size) > 1):
        return
    high, wide = (conv_size(n, 2, 2, (0, 0), 1) for n in place.size)
    down = place._replace(
        size=(high, wide), downsamples=place.downsamples + 1, stage_convs=0, after_pool=True,
        phase="",
    )  # fmt: skip
    for name, pool in (("pool", Pool()), ("average", AvgPool())):
        if name in space.downsampling:
            yield Step(pool, down, keeps_width=True)


def _stages(space: SearchSpace, place: Place, num_classes: int) -> Iterator[Step]:
    """What may follow in stages that have their strides."""
    begun, done = place.downsamples, space.stage_convs[0] <= place.stage_convs
    if place.untouched:
        yield from _convs(space, place, space.pace(0)[0], False)
        return
    if begun and place.stage_convs < space.stage_convs[1]:
        yield from _convs(space, place, 1, space.uniform)
    if begun < len(space.strides) and (done or not begun):
        next_ = place._replace(downsamples=begun + 1, stage_convs=0)
        stride = space.pace(begun + 1)[0]
        for step in _convs(space, next_, stride, False):
            yield step._replace(wider=2) if begun and stride == 1 else step
    if begun == len(space.strides) and done:
        yield from _heads(space, place, num_classes)


def _wider(space: SearchSpace, place: Place) -> int:
    return int(space.monotone and not place.untouched)


def _convs(space: SearchSpace, place: Place, stride: int, keeps_width: bool) -> Iterator[Step]:
    """Every convolution and block that may come next."""
    first = place.untouched if space.strides else not place.convs
    dilation = space.pace(place.downsamples)[2]
    downsamples = place.downsamples
    stage_convs = place.stage_convs + 1
    if space.strides:
        stage_convs -= first  # the stem is in no stage
    elif stride > 1:
        downsamples, stage_convs = downsamples + 1, 1
    for kind in ("plain",) if first else space.kinds:
        for kernel in (space.stem_kernels or space.kernels) if first else space.kernels:
            # a padding that no kernel uses would give the same network twice
            open_or_mine = space.paddings if kernel > 1 else (place.padding,)
            for padding in open_or_mine:
                if kernel > 1 and place.padding not in ("", padding):
                    continue
                if kernel > 1 and padding == "valid" and kind not in UNPADDED:
                    continue
                apart = dilation if kernel > 1 else 1
                pad = apart * (kernel - 1) // 2 if padding == "same" else 0
                high, wide = (conv_size(n, kernel, stride, (pad, pad), apart) for n in place.size)
                if min(high, wide) < 1:
                    continue
                after = Place(
                    (high, wide), padding, downsamples, stage_convs,
                    0 if space.strides else place.convs + 1, untouched=False,
                )  # fmt: skip
                size = {
                    name: (n, n)
                    for name, n in (
                        ("kernel_size", kernel),
                        ("stride", stride),
                        ("dilation", apart),
                    )
                }
                if kind in UNPADDED:
                    size["padding"] = (pad, pad)
                yield from _of_kind(space, kind, size, after, keeps_width, _wider(space, place))


def _of_kind(
    space: SearchSpace,
    kind: str,
    size: dict[str, Pair],
    after: Place,
    keeps_width: bool,
    wider: int,
) -> Iterator[Step]:
    for stage in KINDS[kind](space, **size):
        if isinstance(stage, DenseBlock):
            grown = stage.growth_rate * stage.num_layers
            yield Step(stage, after._replace(grown=grown, phase="dense"), keeps_width=True)
        else:
            yield Step(stage, after, keeps_width, wider)


def _follow_through(space: SearchSpace, place: Place, num_classes: int) -> Iterator[Step]:
    """What must follow a dense block, or the beginning of a head."""
    if place.phase == "dense":
        if _may_end(space, place):
            after = place._replace(phase="normed")
            yield Step(BatchNorm(space.activation), after, keeps_width=True)
        narrowed = place._replace(phase="narrowed", grown=0)
        if any(_pools(space, narrowed)):
            yield Step(PreactConv(1, (1, 1), act=space.activation), narrowed)
    elif place.phase == "narrowed":
        yield from _pools(space, place)
    elif place.phase == "normed":
        yield from _heads(space, place, num_classes)
    elif place.phase == "wide":
        pooled = place._replace(size=(), phase="wide-pooled")
        yield Step(Head(), pooled, keeps_width=True)
    else:
        yield Step(Classifier(num_classes), None)


def _heads(space: SearchSpace, place: Place, num_classes: int) -> Iterator[Step]:
    """Every way to begin a head."""
    for head in space.heads:
        if head == "gap":
            yield Step(Head(num_classes), None)
        elif head == "map":
            yield Step(Conv(num_classes, (1, 1), norm=False, act=None), None)
        elif head == "fc":
            pooled = Place((), downsamples=place.downsamples, untouched=False,
                           grown=place.grown, phase="pooled")  # fmt: skip
            yield Step(Head(), pooled, keeps_width=True)
        else:
            wide = Place(place.size, downsamples=place.downsamples, untouched=False, phase="wide")
            yield Step(Transition(1, act=space.activation), wide, wider=int(space.monotone))
