"""The Spec: stages in a row as a frozen value. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, SpecError, explain, shown
from . import text as notation
from .calls import Call
from .fields import Whole
from .run import link, size_after
from .stage import Stage, named

if TYPE_CHECKING:
    from ..accounting.account import Account


@dataclass(frozen=True, slots=True)
class Spec:
    """A chain of stages.

    Raises:
        SpecError: there are no stages, or one of them is not a stage.

    >>> spec = Spec.parse("c16 c16 p c32k5s2p2 gap10")
    >>> spec.stages[3]
    Conv(out_channels=32, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), dilation=(1, 1), \
groups=1, norm=True, act='relu', bias=None, dropout=0)
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
        """Read the text form.

        Words are the letters of a stage, a number, and modifiers: `c16`, `p`, `ir24k5s2`, `gap10`.
        `3*ir24` repeats a word and `2*(c16 p)` a group; `[c16 c16-act + ]` adds branches, and
        `[c8k1 | c8p1]` joins their channels. Words alone, such as `same`, `relu6` and `-bn`, hold
        for all that follows. `budgetnet words` lists everything.

        Raises:
            SpecError: the text cannot be read; the message points at what is wrong, and lists what
                can stand there.

        >>> print(Spec.parse("same c16s2 relu6 2*ir16 [c8k1 | c8] gap10"))
        same c16s2 relu6 ir16 ir16 [ c8k1 | c8 ] gap10
        """
        if not isinstance(text, str):
            what = f"{shown(text)} is not text"
            raise SpecError(explain(what, where="Spec.parse", remedy=notation.USAGE))
        return cls(notation.parse(text))

    @classmethod
    def from_account(cls, account: Account) -> Spec:
        """The spec of a network, given its account: how to start from a module that you have.

        Its plan has the rows of the account: parameters, MACs, shapes, receptive fields, and what
        they read. What no row tells is taken as usual: the probability of a dropout is 0.5, and
        constants such as the slope of a leaky ReLU are torch's defaults.

        Raises:
            SpecError: it has none; the message names the first row that no word describes, and why.

        >>> from torch import nn
        >>> import budgetnet
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
        >>> str(Spec.from_account(budgetnet.account(net, (1, 28, 28))))
        'c8-bn p c8-bn-act'
        """
        from .reading import stages_of  # on use: what only writes specs needs none of it

        return cls(stages_of(account)[0])

    def calls(
        self, in_channels: int, size: tuple[int, ...] | None = None
    ) -> tuple[tuple[str, Call], ...]:
        """What makes the block of each stage, by name.

        `size` is that of the input map. It is needed where a map is flattened; `()` is a vector.

        Raises:
            SpecError: a stage does not fit what it reads.

        >>> [(name, call.source()) for name, call in Spec.parse("c8 gap10").calls(1)]
        [('conv1', 'blocks.ConvBNReLU(1, 8, padding=0)'), ('head', 'blocks.GAP(8, 10)')]
        """
        channels, found = _clean_channels(in_channels), []
        for name, stage in self.named_stages():
            steps, features = link(name, stage, channels, size)
            found.append((name, stage.call(features)))
            channels, size = steps[-1].layer.out_channels, size_after(stage, steps, size, name)
        return tuple(found)

    def named_stages(self) -> tuple[tuple[str, Stage], ...]:
        """Each stage with the child name that `plan` and `models.build` give it.

        >>> [name for name, _ in Spec.parse("c8 c8 p gap10").named_stages()]
        ['conv1', 'conv2', 'pool1', 'head']
        """
        return named(self.stages)

    def __repr__(self) -> str:
        """The call that makes it."""
        return f"Spec.parse({str(self)!r})"

    def __str__(self) -> str:
        """The canonical text form: `Spec.parse(str(spec)) == spec`."""
        return notation.write(self.stages)


_CHANNELS = Whole()


def _clean_channels(channels: Any) -> int:
    try:
        return _CHANNELS.clean(channels)  # type: ignore[no-any-return]  # an int
    except (TypeError, ValueError):
        what = f"in_channels={shown(channels)} is not valid; expected {_CHANNELS.expected}"
        raise ArgumentError(explain(what)) from None
