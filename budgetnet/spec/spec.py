"""The Spec: a chain of stages as a frozen value. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..errors import ArgumentError, SpecError, explain, shown, with_place
from . import text as notation
from .fields import Whole
from .stages import Call, Layer, Stage


@dataclass(frozen=True, slots=True)
class Spec:
    """A chain of stages.

    Raises:
        SpecError: there are no stages, or one of them is not a stage.

    >>> spec = Spec.parse("c16 c16 p c32k5s2p2 gap10")
    >>> spec.stages[3]
    Conv(out_channels=32, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), dilation=(1, 1), \
groups=1, norm=True, act=True, bias=None)
    >>> str(spec)
    'c16 c16 p c32k5s2p2 gap10'
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        """Keep the stages as a tuple; raise `SpecError` for anything that is not a stage."""
        given = self.stages
        if isinstance(given, str | Stage) or not hasattr(given, "__iter__"):
            remedy = "Pass a tuple of stages, or use Spec.parse for text."
            raise SpecError(
                explain(f"{shown(given)} is not a chain of stages", where="Spec", remedy=remedy)
            )
        stages = tuple(given)
        for place, stage in enumerate(stages, start=1):
            if not isinstance(stage, Stage):
                what = f"{shown(stage)}, at place {place}, is not a stage"
                remedy = "Pass stages such as Conv(16), or use Spec.parse for text."
                raise SpecError(explain(what, where="Spec", remedy=remedy))
        if not stages:
            raise SpecError(explain("a spec needs at least one stage", remedy=notation.USAGE))
        object.__setattr__(self, "stages", stages)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read the short text form; raises `SpecError` that points at the word.

        Words: `c16` convolution, `ds16` depthwise separable, `t10` transition, `p` max pooling,
        `gap` or `gap10` head. Modifiers, in any order: `k5` or `k3x5` kernel (default 3, pooling
        2), `s2` stride (default 1, pooling its kernel), `p1` padding (default 0: valid), `same`
        padding for odd kernels, `d2` dilation, `g4` groups, `-bn` no norm, `-act` no activation,
        `+bias` / `-bias`.
        """
        if not isinstance(text, str):
            what = f"{shown(text)} is not text"
            raise SpecError(explain(what, where="Spec.parse", remedy=notation.USAGE))
        return cls(notation.parse(text))

    def layers(self, in_channels: int) -> Iterator[tuple[str, Layer]]:
        """Every layer with its path; raises `SpecError` if a stage cannot follow another."""
        for name, _, _, stage_layers in self._linked(in_channels):
            for layer in stage_layers:
                yield f"{name}.{layer.name}" if layer.name else name, layer

    def calls(self, in_channels: int) -> tuple[tuple[str, Call], ...]:
        """What makes the block of each stage, by name; raises `SpecError` as `layers` does.

        >>> [(name, call.source()) for name, call in Spec.parse("c8 gap10").calls(1)]
        [('conv1', 'blocks.ConvBNReLU(1, 8, padding=0)'), ('head', 'blocks.GAP(8, 10)')]
        """
        linked = self._linked(in_channels)
        return tuple((name, stage.call(channels)) for name, stage, channels, _ in linked)

    def _linked(self, channels: int) -> Iterator[tuple[str, Stage, int, tuple[Layer, ...]]]:
        """Each stage with its name, the channels that it reads, and its layers."""
        try:
            channels = _CHANNELS.clean(channels)
        except (TypeError, ValueError):
            what = f"in_channels={shown(channels)} is not valid; expected {_CHANNELS.expected}"
            raise ArgumentError(explain(what)) from None
        ended = False
        for name, stage in self.named_stages():
            if ended:
                raise SpecError(
                    explain(
                        f"{name} cannot follow the head, which has read the whole map",
                        remedy="Put gap last.",
                    )
                )
            try:
                layers = layers_of(stage, channels)
            except (SpecError, ArgumentError) as error:
                raise with_place(error, name) from None
            yield name, stage, channels, layers
            channels, ended = layers[-1].out_channels, stage.is_last

    def named_stages(self) -> tuple[tuple[str, Stage], ...]:
        """Each stage with the child name that `plan` and `models.build` give it.

        >>> [name for name, _ in Spec.parse("c8 c8 p gap10").named_stages()]
        ['conv1', 'conv2', 'pool1', 'head']
        """
        counts: dict[str, int] = {}
        named = []
        for stage in self.stages:
            child = stage.child
            count = counts[child] = counts.get(child, 0) + 1
            named.append((child if stage.is_last else f"{child}{count}", stage))
        return tuple(named)

    def __repr__(self) -> str:
        """The call that makes it."""
        return f"Spec.parse({str(self)!r})"

    def __str__(self) -> str:
        """The canonical text form: `Spec.parse(str(spec)) == spec`."""
        return notation.write(self.stages)


_CHANNELS = Whole()


@lru_cache(maxsize=4096)
def layers_of(stage: Stage, in_channels: int) -> tuple[Layer, ...]:
    """The layers of a stage for the given input channels."""
    # A network repeats few distinct stages, and both are immutable: listing one once is safe.
    return tuple(stage.layers(in_channels))
