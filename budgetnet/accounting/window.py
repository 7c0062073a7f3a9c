"""The Window: which inputs each output along one axis reads, as exact sets of integers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from math import gcd, lcm
from typing import TypeAlias

from ..errors import ArgumentError, StrideMismatch, explain

Pair: TypeAlias = tuple[int, int]


LARGEST = 1 << 24  # inputs between the first and the last that a window reads
_SHORT = 64  # inputs up to which a set is gone through bit by bit, which then is fastest

_SELF = ((0, 1),)  # phases of the identity
_NOTHING = ((0, 0),)  # phases of a window that reads nothing


@dataclass(frozen=True, slots=True, repr=False)
class Window:
    """Which inputs each output along one axis reads: exact sets of integers.

    Output `i = q * P + r`, with `P = len(phases)`, reads the set `phases[r]` moved by
    `q * advance`. Convolution and pooling have one phase, upsampling has several. An `advance` of
    0 means that every output reads the same inputs, as after a global pooling. A set is stored as
    `(first, bits)`: bit `j` of the int `bits` means that `first + j` is read, so gaps left by
    dilation are kept and nothing is approximated. Make windows with `sliding`, `whole` or
    `reading`.

    Windows form a monoid: `then` is associative, and `Window()` is its identity.

    >>> conv = Window.sliding(3)
    >>> pool = Window.sliding(2, stride=2)
    >>> conv.then(pool).then(conv)
    Window(0..7, advance=2)
    >>> conv.then(pool).then(conv).at(5)
    (10, 17)

    Source: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural
    Networks", Distill 2019, doi:10.23915/distill.00021.
    """

    phases: tuple[tuple[int, int], ...] = _SELF
    advance: int = 1

    def __post_init__(self) -> None:
        """Bring into the one canonical form, so that equal windows compare equal."""
        if len(self.phases) == 1 and self.phases[0][1] & 1:
            return
        if not self.phases:
            raise ArgumentError(explain("a Window needs at least one phase"))
        trimmed = self.phases
        if not all(bits & 1 for _, bits in trimmed):
            trimmed = tuple(map(_trim, trimmed))
        phases, advance = _shortest_period(trimmed, self.advance)
        if not any(bits for _, bits in phases):  # whatever the advance, it reads nothing
            phases, advance = _NOTHING, 1
        object.__setattr__(self, "phases", phases)
        object.__setattr__(self, "advance", advance)

    @classmethod
    def sliding(cls, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
        """Window of a convolution or pooling: output `i` reads `s*i - p + d*j` for `j < k`."""
        return cls(((-padding, _copies(1, kernel, dilation)),), stride)

    @classmethod
    def whole(cls, size: int) -> Window:
        """Window of an operation that reads all `size` positions for every output."""
        return _whole(size)

    @classmethod
    def transposed(
        cls, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> Window:
        """Window of a transposed convolution: input `i` reaches outputs `s*i - p + d*j`, `j < k`.

        >>> Window.transposed(3, stride=2, padding=1)
        Window(0..0 | 0..1, advance=1)
        """
        phases = (
            [(o + padding - dilation * j) // stride for j in range(kernel)
             if (o + padding - dilation * j) % stride == 0]
            for o in range(stride)
        )  # fmt: skip
        return cls.reading(*phases, advance=1)

    @classmethod
    def woven(cls, parts: Sequence[Window]) -> Window:
        """Window of several maps interleaved position by position, as in a pixel shuffle."""
        return _woven(tuple(parts))

    @classmethod
    def _weave(cls, parts: tuple[Window, ...]) -> Window:
        rate = _common_rate(parts)
        period = lcm(*(len(part.phases) for part in parts))
        columns = [part._phases(period) for part in parts]
        return cls(tuple(chain.from_iterable(zip(*columns, strict=True))), int(rate * period))

    @classmethod
    def chained(cls, parts: Sequence[tuple[Window, int]]) -> Window:
        """Window of several maps concatenated along the axis, each given with its size.

        After the last position follow as many that have read nothing.
        """
        total = sum(size for _, size in parts)
        if all(
            parts[0][0]._phase(start + i) == part._phase(i)
            for (part, size), start in zip(parts, _starts(parts), strict=True)
            for i in range(size)
        ):
            return parts[0][0]
        # A map of one position steps at no rate.
        rate = _common_rate([part for part, size in parts if size > 1] or [parts[0][0]])
        phases = [part._phase(i) for part, size in parts for i in range(size)]
        phases += [(0, 0)] * (total + -2 * total % rate.denominator)
        return cls(tuple(phases), int(rate * len(phases)))

    @classmethod
    def reading(cls, *phases: Iterable[int], advance: int = 1) -> Window:
        """Window whose phases read these sets of inputs.

        >>> Window.reading({0, 2}, {1}, advance=3).at(2)
        (3, 5)
        """
        return cls(tuple(_union((i, 1) for i in phase) for phase in phases), advance)

    @classmethod
    def of_runs(cls, phases: Iterable[Iterable[Sequence[int]]], advance: int = 1) -> Window:
        """Window whose phases read these runs of neighbouring inputs, as `runs` gives them.

        >>> Window.of_runs(Window.sliding(3, dilation=2).runs()) == Window.sliding(3, dilation=2)
        True
        """
        sets = (((lo, _copies(1, hi - lo + 1, 1)) for lo, hi in runs) for runs in phases)
        return cls(tuple(map(_union, sets)), advance)

    @property
    def size(self) -> int:
        """Inputs between the first and the last that one output reads; gaps inside count."""
        return max(bits.bit_length() for _, bits in self.phases)

    @property
    def stride(self) -> int | Fraction:
        """Inputs advanced per output ("jump"); a `Fraction` where upsampling makes it one."""
        rate = Fraction(self.advance, len(self.phases))
        return rate.numerator if rate.denominator == 1 else rate

    @property
    def padding(self) -> int:
        """Positions before input 0 that output 0 reads ("effective padding")."""
        return -self.phases[0][0]

    def at(self, i: int) -> Pair:
        """First and last input that output `i` reads, inclusive, not clipped to the input.

        An output that reads nothing, as between the taps of a transposed convolution, gives a
        last input before the first.
        """
        first, bits = self._phase(i)
        return first, first + bits.bit_length() - 1

    def reads(self, i: int) -> frozenset[int]:
        """Every input that output `i` reads.

        >>> sorted(Window.sliding(3, dilation=2).reads(1))
        [1, 3, 5]
        """
        runs = _runs(*self._phase(i))
        return frozenset(chain.from_iterable(range(lo, hi + 1) for lo, hi in runs))

    @property
    def is_empty(self) -> bool:
        """Whether no output reads anything."""
        return self.phases == _NOTHING

    def then(self, outer: Window) -> Window:
        """Window of `outer` applied to this one's output, seen from this one's input."""
        if outer.phases == _SELF and outer.advance == 1:
            return self
        period, step = len(self.phases), self.advance
        if period == 1 and len(outer.phases) == 1 and step >= 0:
            (first, bits), (outer_first, taps) = self.phases[0], outer.phases[0]
            return Window(
                ((first + step * outer_first, _spread(bits, taps, step)),), step * outer.advance
            )
        return _then((self, outer))

    def _then(self, outer: Window) -> Window:
        period, step = len(self.phases), self.advance
        repeat = period // gcd(period, outer.advance)
        phases = tuple(
            _union(self._read_by(*outer._phase(j))) for j in range(len(outer.phases) * repeat)
        )
        return Window(phases, step * (outer.advance * repeat // period))

    def _read_by(self, first: int, bits: int) -> Iterator[tuple[int, int]]:
        """What the outputs of a set read, those of a run that share a phase at once."""
        period = len(self.phases)
        for low, high in _runs(first, bits):
            for i in range(low, min(high, low + period - 1) + 1):
                more = (high - i) // period
                start, own = self._phase(i)
                start += min(0, more * self.advance)
                yield start, _copies(own, more + 1, abs(self.advance))

    def union(self, other: Window) -> Window:
        """Window of two branches that meet: reads everything that either reads.

        Raises `StrideMismatch` if the branches advance at different rates, since no window
        describes such a joined map.
        """
        return self if self is other or self == other else Window.united((self, other))

    @classmethod
    def united(cls, parts: Sequence[Window]) -> Window:
        """Window of any number of branches that meet; see `union`."""
        filled = [part for part in parts if part.phases != _NOTHING]
        if len(filled) < 2:
            return (filled or parts)[0]
        first = filled[0]
        if all(len(part.phases) == 1 and part.advance == first.advance for part in filled):
            both = _union(part.phases[0] for part in filled)
            return first if both == first.phases[0] else cls((both,), first.advance)
        return _united(tuple(filled))

    @classmethod
    def _unite(cls, filled: tuple[Window, ...]) -> Window:
        first = filled[0]
        _common_rate(filled)
        period = lcm(*(len(part.phases) for part in filled))
        columns = [part._phases(period) for part in filled]
        phases = tuple(map(_union, zip(*columns, strict=True)))
        return cls(phases, first.advance * period // len(first.phases))

    def runs(self) -> tuple[tuple[Pair, ...], ...]:
        """The phases as runs of neighbouring inputs, for people and for files.

        >>> Window.reading({0, 1, 4}).runs()
        (((0, 1), (4, 4)),)
        """
        return tuple(_runs(first, bits) for first, bits in self.phases)

    def _phase(self, i: int) -> tuple[int, int]:
        period, phase = divmod(i, len(self.phases))
        first, bits = self.phases[phase]
        return first + period * self.advance, bits

    def _phases(self, count: int) -> Sequence[tuple[int, int]]:
        """The first `count` sets that are read."""
        if count == len(self.phases):
            return self.phases
        return [self._phase(i) for i in range(count)]

    def __hash__(self) -> int:
        """Of the ends alone: hashing long sets would take longer than comparing them."""
        first, bits = self.phases[0]
        return hash((self.advance, len(self.phases), first, bits.bit_length()))

    def __repr__(self) -> str:
        """The runs of every phase, and the advance."""
        phases = ["+".join(f"{lo}..{hi}" for lo, hi in phase) or "nothing" for phase in self.runs()]
        return f"Window({' | '.join(phases)}, advance={self.advance})"


# Layers of a network repeat each other, and so do their channels: what is worth remembering.
def _remembered(
    made: Callable[[tuple[Window, ...]], Window],
) -> Callable[[tuple[Window, ...]], Window]:
    """A function whose results are kept, by value, and in front of that by the very objects.

    Networks join the same few windows again and again, and hashing long ones takes longest.
    """
    by_value = lru_cache(maxsize=8192)(made)
    known: dict[tuple[int, ...], tuple[tuple[Window, ...], Window]] = {}

    def remember(windows: tuple[Window, ...]) -> Window:
        key = tuple(map(id, windows))
        found = known.get(key)
        if found is None:
            if len(known) > 1 << 15:
                known.clear()
            found = known[key] = windows, by_value(windows)  # the windows keep their ids
        return found[1]

    return remember


_whole = lru_cache(maxsize=1024)(lambda size: Window(((0, _copies(1, size, 1)),), 0))
_woven = _remembered(Window._weave)
_united = _remembered(Window._unite)
_then = _remembered(lambda pair: pair[0]._then(pair[1]))


def _common_rate(windows: Sequence[Window]) -> Fraction:
    """The stride that all windows share which read anything, or a `StrideMismatch`."""
    rates = dict.fromkeys((w.advance, len(w.phases)) for w in windows if not w.is_empty)
    strides = dict.fromkeys(Fraction(*rate) for rate in rates)
    if len(strides) > 1:
        raise StrideMismatch(
            explain(
                "branches that meet step over the input at different rates",
                numbers={"strides": " and ".join(map(str, strides))},
                remedy="Give both branches the same total stride before they are joined.",
            )
        )
    return next(iter(strides), Fraction(1))


def _starts(parts: Sequence[tuple[Window, int]]) -> list[int]:
    return [sum(size for _, size in parts[:i]) for i in range(len(parts))]


def _trim(phase: tuple[int, int]) -> tuple[int, int]:
    """Canonical form of a set: bit 0 is set; the empty set is `(0, 0)`."""
    first, bits = phase
    shift = (bits & -bits).bit_length() - 1 if bits else 0
    return (first + shift, bits >> shift) if bits else (0, 0)


def _spread(bits: int, taps: int, step: int) -> int:
    """Union of copies of `bits`, one for each tap, `step` apart."""
    if not taps & taps + 1:  # without gaps
        return _copies(bits, taps.bit_length(), step)
    check_span(bits.bit_length() + step * (taps.bit_length() - 1))
    out = shift = 0
    if taps.bit_length() > _SHORT:
        for low, high in _runs(0, taps):
            out |= _copies(bits, high - low + 1, step) << step * low
        return out
    while taps:
        if taps & 1:
            out |= bits << shift
        taps >>= 1
        shift += step
    return out


def _copies(bits: int, count: int, step: int) -> int:
    """Union of `count` copies of `bits`, `step` apart, doubled until there are enough."""
    if count < 1:
        return 0
    check_span(bits.bit_length() + step * (count - 1))
    done = 1
    while done < count:
        more = min(done, count - done)
        bits |= bits << step * more
        done += more
    return bits


def check_span(span: int) -> None:
    """Refuse a window that is too wide to be held bit by bit."""
    if span > LARGEST:
        raise ArgumentError(
            explain(
                "a window spans more inputs than can be tracked",
                numbers={"got": f"{span:,}", "at most": f"{LARGEST:,}"},
                remedy="Use a smaller input, kernel, dilation or stride.",
            )
        )


def _union(sets: Iterable[tuple[int, int]]) -> tuple[int, int]:
    filled = {part for part in sets if part[1]}
    if len(filled) < 2:
        return filled.pop() if filled else (0, 0)
    start, out = min(filled)
    check_span(max(first + bits.bit_length() for first, bits in filled) - start)
    for first, bits in filled:
        out |= bits << first - start
    return start, out


def _runs(first: int, bits: int) -> tuple[Pair, ...]:
    runs = []
    if bits.bit_length() > _SHORT:  # shifting a long set run by run would take its square
        text = bin(bits)[:1:-1]
        return tuple((first + m.start(), first + m.end() - 1) for m in re.finditer("1+", text))
    while bits:
        gap = (bits & -bits).bit_length() - 1
        first, bits = first + gap, bits >> gap
        length = (~bits & bits + 1).bit_length() - 1
        runs.append((first, first + length - 1))
        first, bits = first + length, bits >> length
    return tuple(runs)


def _shortest_period(
    phases: tuple[tuple[int, int], ...], advance: int
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the shortest equivalent `(phases, advance)`."""
    n = len(phases)
    for period in range(1, n):
        if n % period or (advance * period) % n:
            continue
        step = advance * period // n
        moved = (((first + step, bits) if bits else (0, 0)) for first, bits in phases)
        if all(now == then for now, then in zip(phases[period:], moved, strict=False)):
            return phases[:period], step
    return phases, advance
