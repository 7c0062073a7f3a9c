"""The kinds of a space's stages: what each makes of the options that the space gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..spec.fields import Squeeze
from ..spec.stages import (
    BasicBlock,
    Bottleneck,
    Conv,
    DenseBlock,
    FusedInvertedResidual,
    InvertedResidual,
    Separable,
    Stage,
)

if TYPE_CHECKING:
    from .space import SearchSpace

UNPADDED = ("plain", "separable")  # these may pad nothing; the blocks of the others always pad


@lru_cache(maxsize=1024)  # a space asks for the same few at every one of its places
def _made(make: Callable[..., Stage], *sizes: int, **options: Any) -> Stage:
    return make(*sizes, **options)


def _one(make: Callable[..., Stage]) -> Callable[..., Iterator[Stage]]:
    def stages(space: SearchSpace, **size: Any) -> Iterator[Stage]:
        yield _made(make, 1, act=space.activation, **size)

    return stages


def _inverted(make: Callable[..., Stage]) -> Callable[..., Iterator[Stage]]:
    def stages(space: SearchSpace, **size: Any) -> Iterator[Stage]:
        for expansion in space.expansions:
            for se in space.squeeze_excite:
                squeeze = Squeeze(se) if se else None
                yield _made(make, 1, expansion=expansion, se=squeeze, act=space.activation, **size)

    return stages


def _bottlenecks(space: SearchSpace, **size: Any) -> Iterator[Stage]:
    for se in space.squeeze_excite:
        squeeze = Squeeze(se) if se else None
        yield _made(Bottleneck, 1, se=squeeze, act=space.activation, **size)


def _dense(space: SearchSpace, stride: tuple[int, int], **size: Any) -> Iterator[Stage]:
    if stride == (1, 1):
        for growth in space.growths:
            for layers in space.dense_layers:
                yield _made(DenseBlock, growth, layers, act=space.activation, **size)


# Each gives all stages of its kind for a kernel, a stride and a dilation, their widths left at 1.
KINDS: Mapping[str, Callable[..., Iterator[Stage]]] = {
    "plain": _one(Conv),
    "separable": _one(Separable),
    "inverted": _inverted(InvertedResidual),
    "fused": _inverted(FusedInvertedResidual),
    "basic": _one(BasicBlock),
    "bottleneck": _bottlenecks,
    "dense": _dense,
}
