"""What every stage of a spec can say of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field
from typing import Any, ClassVar

from ..accounting.geometry import Count, even_padding
from ..errors import SpecError, explain, shown
from .calls import Call, block_call
from .fields import FIELDS
from .parts import Part


class Stage:
    """What every stage can say; one is a frozen dataclass whose fields are some of `FIELDS`.

    Attributes:
        prefix: what its word begins with.
        number: the field that the number of its word gives.
        block: what `call` makes, such as "blocks.ConvBNReLU".
        child: what a network calls it, followed by a number where `is_counted`.
        takes: "map", "vector" or "any", what it reads; a vector has one number for each channel.
        gives: "map", "vector", or "same" as it reads.
        pads: whether its block pads by itself, so that stride 1 keeps the size of the map.
    """

    __slots__ = ()
    prefix: ClassVar[str]
    number: ClassVar[str] = ""
    block: ClassVar[str]
    child: ClassVar[str]
    takes: ClassVar[str] = "map"
    gives: ClassVar[str] = "map"
    pads: ClassVar[bool] = False
    is_counted: ClassVar[bool] = True
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        """Make every value canonical, or raise `SpecError`."""
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if value is field.default:
                continue
            try:
                clean = FIELDS[name].clean(value)
            except (TypeError, ValueError, OverflowError):
                raise self._refused(name, value, FIELDS[name].expected) from None
            object.__setattr__(self, name, clean)
        if self.pads:
            self._check_odd()

    def part(self, in_channels: Count) -> Part:
        """Its layers, as the modules of its block run them; features count as channels.

        Widths may be integer arrays, of many networks at once.
        """
        raise NotImplementedError

    def call(self, in_channels: int) -> Call:
        """The call that makes its block."""
        widths = () if self.width is None else (self.width,)
        return block_call(self.block, self, in_channels, *widths)

    @property
    def multiples(self) -> tuple[int, int]:
        """What the channels of its input, and those of its output, are multiples of."""
        return 1, 1

    def case(self, in_channels: Count) -> Count:
        """A number that tells apart the widths for which its layers differ; 0 if none does.

        Given integer arrays, it is one, unless all of them have the same layers.
        """
        return 0

    @property
    def flattens(self) -> bool:
        """Whether it counts the features of a map as its channels."""
        return self.takes == "any" and self.gives == "vector"

    @property
    def width(self) -> int | None:
        """Output channels that it sets itself; `None` if it keeps those of its input."""
        return getattr(self, "out_channels", None)

    def usual(self, name: str) -> Any:
        """The value of a field that its word need not say."""
        return self.__dataclass_fields__[name].default

    def _check_odd(self) -> None:
        """Raise `SpecError` unless the block can pad both sides of a map alike."""
        dilation = getattr(self, "dilation", (1, 1))
        kernel = getattr(self, "kernel_size", (1, 1))
        if even_padding(kernel, dilation) is None:
            expected = "an odd size: the block pads both sides alike to keep sizes at stride 1"
            raise self._refused("kernel_size", kernel, expected)

    def _refused(self, name: str, value: object, expected: str) -> SpecError:
        what = f"{name}={shown(value)} is not valid; expected {expected}"
        return SpecError(explain(what, where=type(self).__name__))


def named(stages: Iterable[Stage]) -> tuple[tuple[str, Stage], ...]:
    """Each stage with the name that a network gives it among its children."""
    counts: dict[str, int] = {}
    names = []
    for stage in stages:
        count = counts[stage.child] = counts.get(stage.child, 0) + 1
        names.append((f"{stage.child}{count}" if stage.is_counted else stage.child, stage))
    return tuple(names)
