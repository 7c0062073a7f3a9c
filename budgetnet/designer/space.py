"""The SearchSpace: the chains of stages from which a design is chosen, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from ..accounting.geometry import check_shape, conv_size, same_padding
from ..accounting.window import Pair
from ..errors import ArgumentError, explain
from ..spec.stages import Conv, Head, Pool, Separable, Stage, Transition

# What a search is meant for: it says so beyond, rather than leave 64 bits or never end.
MOST_VALUES = 10_000  # of one list of choices
MOST = {"kernels": 1_023, "convs": 200, "downsamples": 30}
_LARGEST = (1 << 31) - 1
_CHOICES = {
    "kinds": ("plain", "separable"),
    "paddings": ("valid", "same"),
    "downsampling": ("pool", "stride"),
}


class Place(NamedTuple):
    """The state of a chain that decides which stages may follow."""

    size: Pair
    padding: str = ""  # open until the first kernel above 1
    downsamples: int = 0
    stage_convs: int = 0  # convolutions at this resolution
    convs: int = 0
    after_pool: bool = False
    untouched: bool = True  # the channels are still those of the input


class Step(NamedTuple):
    """A stage that may come next, its width left at 1."""

    stage: Stage
    place: Place | None  # None behind the head
    keeps_width: bool = False  # has that of the map it reads
    wider: bool = False  # has no width below that of the map it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """A set of chains: convolutions with a few downsamplings and a head, in all allowed choices.

    A network is `convs` convolutions, with `downsamples` downsamplings between them, and
    `stage_convs` convolutions at each resolution, followed by a 1x1 classifier with global average
    pooling. Every convolution has a norm and an activation. The first one is plain; the others are
    of any of the `kinds`. A pooling may be followed by a 1x1 convolution (`transitions`). All
    convolutions of a network have the same kind of padding.

    Attributes:
        widths: output channels that a convolution may have.
        divisor: every width is a multiple of it.
        kernels: kernel sizes; each convolution has one of its own.
        kinds: "plain", "separable" (depthwise, then 1x1), or both.
        paddings: "valid", "same", or both.
        convs: least and most convolutions, without the classifier and transitions.
        stage_convs: least and most convolutions before, between and after downsamplings. A strided
            convolution counts among those after.
        downsamples: least and most downsamplings.
        positions: how many convolutions may lie before a downsampling; empty for any number.
        downsampling: "pool" (max pooling, 2x2), "stride" (a convolution with stride 2), or both.
        transitions: whether a pooling may be followed by a 1x1 convolution.
        monotone: whether widths may never become smaller.
        uniform: whether all convolutions at one resolution have one width.

    Raises:
        ArgumentError: an option is not valid.

    >>> SearchSpace(widths=range(1, 20), divisor=4).widths
    (4, 8, 12, 16)
    """

    widths: tuple[int, ...] = field(default=tuple(range(4, 33, 2)))
    divisor: int = 1
    kernels: tuple[int, ...] = (3,)
    kinds: tuple[str, ...] = ("plain",)
    paddings: tuple[str, ...] = ("valid", "same")
    convs: Pair = (2, 9)
    stage_convs: Pair = (1, 4)
    downsamples: Pair = (0, 2)
    positions: tuple[int, ...] = ()
    downsampling: tuple[str, ...] = ("pool",)
    transitions: bool = True
    monotone: bool = True
    uniform: bool = False

    def __post_init__(self) -> None:
        """Normalise the options, and refuse invalid ones."""
        put = object.__setattr__
        divisors = _counts("divisor", self.divisor)
        if len(divisors) > 1:
            raise _invalid("divisor", self.divisor, "write one number")
        put(self, "divisor", divisors[0])
        for name in ("transitions", "monotone", "uniform"):
            if type(getattr(self, name)) is not bool:
                raise _invalid(name, getattr(self, name), "write True or False")
        widths = sorted(set(_counts("widths", self.widths)))
        kept = tuple(width for width in widths if width % self.divisor == 0)
        if not kept:
            raise _invalid("widths", self.widths, f"none is a multiple of {self.divisor}")
        put(self, "widths", kept)
        put(self, "kernels", tuple(sorted(set(_counts("kernels", self.kernels)))))
        if self.positions != ():
            put(self, "positions", tuple(sorted(set(_counts("positions", self.positions, 0)))))
        for name, known in _CHOICES.items():
            given = getattr(self, name)
            names = (given,) if isinstance(given, str) else _listed(name, given)
            if not names or any(one not in known for one in names):
                raise _invalid(name, given, f"expected some of {', '.join(known)}")
            put(self, name, tuple(name for name in known if name in names))
        if "same" in self.paddings and any(k % 2 == 0 for k in self.kernels):
            raise _invalid("kernels", self.kernels, "same padding needs odd kernels")
        for name, least in (("convs", 1), ("stage_convs", 0), ("downsamples", 0)):
            pair = _counts(name, getattr(self, name), least)
            low, high = pair if len(pair) == 2 else (pair[0], pair[-1])
            if len(pair) > 2 or low > high:
                raise _invalid(name, pair, "write one number, or the minimum and the maximum")
            put(self, name, (low, high))

    @classmethod
    def for_input(cls, input_shape: Any) -> SearchSpace:
        """The default space of `design`: small chains, or five stages from 64 pixels on.

        The former covers published networks for MNIST, with widths of 4 to 32. The latter
        covers mobile networks for 224 pixels: strides, plain and separable convolutions, one
        width per stage, in multiples of 16 up to 512.
        """
        if min(check_shape(input_shape)[1:]) < 64:
            return cls()
        return cls(
            widths=tuple(range(16, 513, 16)), kernels=(3, 5), kinds=("plain", "separable"),
            paddings=("same",), convs=(5, 15), stage_convs=(1, 3), downsamples=(5, 5),
            downsampling=("stride",), transitions=False, uniform=True,
        )  # fmt: skip

    def follow(self, place: Place, num_classes: int) -> Iterator[Step]:
        """Every stage that may come next, with widths left at 1."""
        full = self.stage_convs[0] <= place.stage_convs  # enough convolutions at this resolution
        here = not self.positions or place.convs in self.positions
        if place.convs < self.convs[1]:
            if place.stage_convs < self.stage_convs[1]:
                yield from self._convs(place, 1, self.uniform and place.stage_convs > 0)
            first = place.convs == place.downsamples == 0  # a network may begin with a stride
            if "stride" in self.downsampling and self.stage_convs[1] and here and (full or first):
                yield from self._convs(place, 2, False)
        if place.after_pool and self.transitions:
            after = place._replace(after_pool=False, untouched=False)
            yield Step(Transition(1), after, wider=self.monotone and not place.untouched)
        can_go_down = full and here and place.downsamples < self.downsamples[1]
        if "pool" in self.downsampling and can_go_down and min(place.size) > 1:
            high, wide = (conv_size(n, 2, 2, (0, 0), 1) for n in place.size)
            down = place._replace(
                size=(high, wide), downsamples=place.downsamples + 1, stage_convs=0, after_pool=True
            )
            yield Step(Pool(), down, keeps_width=True)
        low, _ = self.downsamples
        if full and place.convs >= self.convs[0] and place.downsamples >= low:
            yield Step(Head(num_classes), None)

    def _convs(self, place: Place, stride: int, keeps_width: bool) -> Iterator[Step]:
        downsamples = place.downsamples + (stride > 1)
        if downsamples > self.downsamples[1]:
            return
        for kind in self.kinds if place.convs else ("plain",):
            for kernel in self.kernels:
                # a padding that no kernel uses would give the same network twice
                open_or_mine = self.paddings if kernel > 1 else (place.padding,)
                for padding in open_or_mine:
                    if kernel > 1 and place.padding not in ("", padding):
                        continue
                    pads = same_padding(kernel) if padding == "same" else (0, 0)
                    high, wide = (conv_size(n, kernel, stride, pads, 1) for n in place.size)
                    if min(high, wide) < 1:
                        continue
                    make = Conv if kind == "plain" else Separable
                    stage = make(1, (kernel, kernel), (stride, stride), (pads[0], pads[0]))
                    after = Place(
                        (high, wide), padding, downsamples,
                        1 if stride > 1 else place.stage_convs + 1, place.convs + 1,
                        untouched=False,
                    )  # fmt: skip
                    yield Step(stage, after, keeps_width, self.monotone and not place.untouched)


def _counts(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else _listed(name, value)
    if not values or any(type(v) is not int or v < least for v in values):
        raise _invalid(name, value, f"write whole numbers of at least {least}")
    most = MOST.get(name, _LARGEST)
    if max(values) > most:
        raise _invalid(name, value, f"the largest may be {most:,}")
    return values


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    """The values of a list, of limited length."""
    try:
        values = tuple(islice(value, MOST_VALUES + 1))
    except TypeError:
        raise _invalid(name, value, "write one value, or several") from None
    if len(values) > MOST_VALUES:
        remedy = f"a list may have {MOST_VALUES:,} values; take some of them, with a step"
        raise _invalid(name, value, remedy)
    return values


def _invalid(name: str, value: Any, remedy: str) -> ArgumentError:
    text = repr(value)
    shown = text if len(text) <= 80 else f"{text[:60]}..."
    return ArgumentError(
        explain(f"{name}={shown} is not valid for a search space", numbers={"reason:": remedy})
    )
