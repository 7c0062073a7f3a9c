"""Stages made of other stages: a sum of two branches, and branches side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..accounting.geometry import Count
from ..errors import ArgumentError, SpecError, explain, with_place
from .calls import Call, activation_name, sequential
from .fields import FIELDS
from .layers import activation
from .parts import Chain, Join, Layer, Part, channels_of
from .stage import Stage, named

Branch: TypeAlias = tuple[Stage, ...]  # no stage at all is the input itself


class Branching(Stage):
    """A stage that is made of branches."""

    __slots__ = ()

    @property
    def branches_by_name(self) -> tuple[tuple[str, Branch], ...]:
        """Every branch with its name among the children of the block."""
        raise NotImplementedError

    def _cleaned(self, branch: object) -> Branch:
        """A branch as a tuple of stages that read and give maps; raises `SpecError`."""
        stages = (branch,) if isinstance(branch, Stage) else branch
        if isinstance(stages, str) or not hasattr(stages, "__iter__"):
            raise self._refused("branch", branch, "a tuple of stages")
        cleaned = tuple(stages)
        for stage in cleaned:
            if not isinstance(stage, Stage):
                raise self._refused("branch", stage, "stages such as Conv(16)")
            if stage.takes == "vector" or stage.gives == "vector":
                what = f"{type(stage).__name__} cannot stand in a branch, which is made of maps"
                remedy = "Put it behind the bracket."
                raise SpecError(explain(what, where=type(self).__name__, remedy=remedy))
        return cleaned


@dataclass(frozen=True, slots=True)
class Sum(Branching):
    """Sum of a body and a shortcut, then an activation: `blocks.Residual`.

    Text form `[c16p1 c16p1-act + ]`: the body, and after the plus the shortcut, which is the
    input itself if it is empty. `(C, H, W)` to the shape that both branches give, which must be
    the same.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.

    >>> from budgetnet import Spec, plan
    >>> from budgetnet.spec.stages import Conv
    >>> account = plan(Spec([Sum((Conv(16, padding=1),))]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('[ c16p1 + ]', 2336, (16, 8, 8))
    """

    child = "residual"

    body: Branch
    shortcut: Branch = ()
    act: str | None = "relu"

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        for name in ("body", "shortcut"):
            object.__setattr__(self, name, self._cleaned(getattr(self, name)))
        if not self.body:
            raise self._refused("body", (), "at least one stage")
        try:
            FIELDS["act"].clean(self.act)
        except TypeError:
            raise self._refused("act", self.act, FIELDS["act"].expected) from None

    @property
    def branches_by_name(self) -> tuple[tuple[str, Branch], ...]:
        """Body and shortcut."""
        return ("body", self.body), ("shortcut", self.shortcut)

    def part(self, in_channels: Count) -> Part:
        """Both branches, their sum, and the activation."""
        branches = [_part_of(*each, in_channels) for each in self.branches_by_name]
        widths = [channels_of(branch, in_channels) for branch in branches]
        if widths[0] != widths[1]:
            what = "body and shortcut give different channels"
            numbers = {"body": widths[0], "shortcut": widths[1]}
            remedy = "Give the shortcut the channels of the body, such as c32k1-act."
            raise SpecError(explain(what, numbers=numbers, remedy=remedy))
        return Join("", "add", tuple(branches), (activation("act", widths[0], self.act),))

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        args = [_called(self.body, in_channels)]
        if self.shortcut:
            args.append(_called(self.shortcut, in_channels))
        act = () if self.act == "relu" else (("activation_layer", activation_name(self.act)),)
        return Call("blocks.Residual", tuple(args), act, is_placed=False)


@dataclass(frozen=True, slots=True)
class Concat(Branching):
    """Branches on one input, their channels joined: `blocks.Concat`.

    Text form `[c8k1 | c8p1 | p3s1p1]`; an empty branch is the input itself. `(C, H, W)` to
    `(C_1 + C_2 + ..., H', W')`; every branch must give maps of one size.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv:1409.4842.

    >>> from budgetnet import Spec, plan
    >>> from budgetnet.spec.stages import Conv
    >>> account = plan(Spec([Concat(((Conv(8, 1),), (Conv(8, padding=1),), ()))]), (16, 8, 8))
    >>> account.spec, account.params, account.rows[-1].output_shape
    ('[ c8k1 | c8p1 | ]', 1312, (32, 8, 8))
    """

    child = "concat"

    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        given: Any = self.branches
        if isinstance(given, str | Stage) or not hasattr(given, "__iter__"):
            raise self._refused("branches", given, "a tuple of branches")
        branches = tuple(map(self._cleaned, given))
        if len(branches) < 2 or branches.count(()) > 1:
            raise self._refused(
                "branches", given, "two branches or more, one of them empty at most"
            )
        object.__setattr__(self, "branches", branches)

    @property
    def branches_by_name(self) -> tuple[tuple[str, Branch], ...]:
        """Every branch by its place."""
        return tuple((str(place), branch) for place, branch in enumerate(self.branches))

    def part(self, in_channels: Count) -> Part:
        """All branches, and their join."""
        branches = tuple(_part_of(*each, in_channels) for each in self.branches_by_name)
        return Join("", "cat", branches)

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        args = tuple(_called(branch, in_channels) if branch else None for branch in self.branches)
        return Call("blocks.Concat", args, is_placed=False)


def _linked(branch: Branch, channels: Count) -> Iterator[tuple[str, Stage, Count, Part]]:
    """Each stage of a branch with its name, the channels that it reads, and its part."""
    for name, stage in named(branch):
        try:
            part = stage.part(channels)
        except (SpecError, ArgumentError) as error:
            raise with_place(error, name) from None
        yield name, stage, channels, part
        channels = channels_of(part, channels)


def _part_of(name: str, branch: Branch, in_channels: Count) -> Part:
    if not branch:
        return Layer(name, "Identity", in_channels, role="identity")
    linked = _linked(branch, in_channels)
    return Chain(name, tuple(Chain(child, (part,)) for child, _, _, part in linked))


def _called(branch: Branch, in_channels: int) -> Call:
    linked = _linked(branch, in_channels)
    return sequential({name: stage.call(channels) for name, stage, channels, _ in linked})
