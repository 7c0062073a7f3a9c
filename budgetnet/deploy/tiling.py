"""`tile`: how a large image can be cut so that the network gives what it gives for the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from ..accounting import tiles
from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..accounting.window import Pair, Window
from ..errors import ArgumentError, explain, shown

__all__ = ["Tile", "Tiling", "tile"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: which part of the image runs, and which part of what comes out is kept.

    Each is a slice per spatial axis: `out[..., *tile.output] = net(x[..., *tile.input])[...,
    *tile.valid]`.

    Attributes:
        input: of the image, the halo included.
        valid: of what the network gives for that.
        output: of the whole output, where that belongs.
    """

    input: tuple[slice, ...]
    valid: tuple[slice, ...]
    output: tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of an image whose results, side by side, are that of the whole image.

    All figures are in input positions, one per spatial axis.

    Attributes:
        account: of the whole image.
        period: what tiles begin at multiples of, so that strides and poolings fall as they do in
            the whole image.
        halo: before and after a tile, as multiples of the period.
        size: of a tile without its halo.
    """

    account: Account = field(repr=False)
    period: tuple[int, ...]
    halo: tuple[Pair, ...]
    size: tuple[int, ...]

    @property
    def input_size(self) -> tuple[int, ...]:
        """Size of what runs at once, a tile with its halo, at most the image.

        Tiles at the border of the image have it too, if the image is a multiple of the period.
        """
        return tuple(map(min, _with_halo(self.size, self.halo), self.account.input_size))

    @property
    def sizes(self) -> tuple[range, ...]:
        """All sizes per axis that a tile may have, from one period to the image."""
        return _sizes(self.account, self.period)

    @property
    def overhead(self) -> float:
        """Input positions that run, as a multiple of those of the image."""
        run = sum(prod(s.stop - s.start for s in tile.input) for tile in self.tiles())
        return float(run / prod(self.account.input_size))

    def tiles(self) -> Iterator[Tile]:
        """Every tile, row by row."""
        for parts in product(*self._along()):
            inputs, valid, outputs = zip(*parts, strict=True)
            yield Tile(inputs, valid, outputs)

    def __len__(self) -> int:
        """The number of tiles."""
        return prod(map(len, self._along()))

    def __str__(self) -> str:
        """One line."""
        halo = " x ".join(f"{lo}+{hi}" if lo != hi else f"{lo}" for lo, hi in self.halo)
        return (
            f"{len(self)} tiles of {shape_text(self.size)} with a halo of {halo}: "
            f"{shape_text(self.input_size)} run at once, {self.overhead:.2f} times the image in all"
        )

    def _along(self) -> list[list[tuple[slice, slice, slice]]]:
        account = self.account
        windows = account.receptive_field.axes if account.receptive_field else ()
        each = zip(windows, account.input_size, (account.output_shape or ())[1:], self.size,
                   self.halo, self.period, strict=True)  # fmt: skip
        return [_cut(*axis) for axis in each]


def tile(
    model: Any, input_shape: Any = None, size: Any = None, *, memory: int | None = None
) -> Tiling:
    """Say how a large image can be run in tiles with the very result of the whole image.

    A tile needs the halo of `Account.halo` around it, which is less than half of the receptive
    field for a U-Net, and begins at a multiple of `Account.period`.

    Args:
        model: as for `account`: an `Account` of the whole image, an `nn.Module`, a spec or a name.
        input_shape: `(C, H, W)` of the whole image, as for `account`.
        size: of a tile without its halo, in input positions: one number or one per axis; by
            default the least that is no smaller than both sides of its halo.
        memory: instead, the most bytes of activations for one tile with its halo, as
            `peak_activation_bytes` has them; gives the largest square tiles.

    Raises:
        ArgumentError: a layer reads the whole map, or one of the sizes is not possible; the message
            names it.

    >>> print(tile("unet", (3, 1024, 1024), 256))
    16 tiles of 256x256 with a halo of 96 x 96: 448x448 run at once, 3.06 times the image in all
    """
    from ..trace.account import account  # on use: a saved account needs no specs

    whole = account(model, input_shape)
    check_local(whole)
    period, halo = _geometry(model, whole)
    aligned = tuple(
        (_up(lo, step), _up(hi, step)) for (lo, hi), step in zip(halo, period, strict=True)
    )
    if memory is not None:
        wanted = _within(memory, model, whole, period, aligned)
    elif size is None:
        wanted = tuple(max(lo + hi, step) for (lo, hi), step in zip(aligned, period, strict=True))
    else:
        wanted = _parse_size(size, whole, period)
    limits = (r[-1] for r in _sizes(whole, period))
    found = Tiling(whole, period, aligned, tuple(map(min, wanted, limits)))
    len(found)  # cuts every axis once, and refuses what a tile would lack
    return found


def check_local(account: Account) -> None:
    """Refuse a network whose output depends on more than a window of its input."""
    field, outputs = account.receptive_field, account.output_shapes
    if len(account.input_shapes) != 1 or outputs is None or len(outputs) != 1 or field is None:
        raise _refusal("tiles need a network of one input and one output that are known")
    for row in account.rows:
        reason = _not_local(row)
        if reason:
            where = f"{row.path} ({row.kind})" if row.path else row.kind
            raise _refusal(f"{where} {reason}", remedy="Tile the part of the network before it.")
    if len(outputs[0]) != 1 + len(field.axes):
        raise _refusal("the output is not a map", {"output": shape_text(outputs[0])})
    if field.places not in ((), tuple(range(len(field.axes)))):
        raise _refusal("the axes of the output are not those of the input, in their order")


def _geometry(model: Any, whole: Account) -> tuple[tuple[int, ...], tuple[Pair, ...]]:
    """The period and the halo, seen in a larger image if this one is all border."""
    from ..trace.account import account

    source = model if not isinstance(model, Account) else whole.spec
    for factor in (1, 4) if source else (1,):
        shape = (whole.input_shape[0], *(factor * n for n in whole.input_size))
        found = whole if factor == 1 else account(source, shape)
        period, halo = found.period, found.halo
        if period and halo and found.output_stride == whole.output_stride:
            return period, halo
    raise _refusal(
        "the network does not repeat itself within the image",
        {"image": shape_text(whole.input_size)},
        "Resizing with align_corners=True never does; otherwise pass a larger image.",
    )


def _not_local(row: Row) -> str:
    field = row.receptive_field
    if field is None:
        return "has an unknown receptive field"
    if row.is_global or any(w.advance == 0 and not w.is_empty for w in field.axes):
        return "reads the whole map at once"
    if row.global_context:
        return (
            "also depends on the whole map, beside its window"
            if not row.lines
            else ("also depends on whole lines of the map, beside its window")
        )
    if any(w.advance < 0 for w in field.axes):
        return "turns the map around"
    if any(not bits for w in field.axes for _, bits in w.phases):
        return "has outputs that read nothing, which a tile cannot place"
    return ""


def _cut(
    window: Window, n: int, m: int, size: int, halo: Pair, period: int
) -> list[tuple[slice, slice, slice]]:
    """The tiles along one axis of `n` inputs and `m` outputs."""
    step = tiles.units_in(window, period)
    per, (before, after), found = size // period * step, halo, []
    run = size + before + after
    last = max(0, (n - run) // period * period)  # where the last crop begins
    for start in range(0, m, per):
        stop = min(m, start + per)
        lo = min(max(0, start // step * period - before), last)
        hi = n if lo == last else lo + run
        _check_inside(window, start, stop, lo, hi, n)
        skip = lo // period * step
        found.append((slice(lo, hi), slice(start - skip, stop - skip), slice(start, stop)))
    return found


def _check_inside(window: Window, start: int, stop: int, lo: int, hi: int, n: int) -> None:
    """Refuse a network that reads across the image, as by a circular padding."""
    for i in range(start, stop):
        first, final = window.at(i)
        if first < n and final >= 0 and not (lo <= max(first, 0) and min(final, n - 1) < hi):
            numbers = {"output": i, "reads": f"{first} to {final}", "tile": f"{lo} to {hi - 1}"}
            raise _refusal("an output reads beyond the halo of its tile", numbers)


def _parse_size(size: Any, account: Account, period: tuple[int, ...]) -> tuple[int, ...]:
    axes = len(period)
    sizes = tuple(size) if isinstance(size, list | tuple) else (size,) * axes
    if len(sizes) != axes or not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        remedy = f"Write one number, or {axes}, of input positions."
        raise ArgumentError(explain(f"size={shown(size)} is not a size of tiles", remedy=remedy))
    for n, step, allowed in zip(sizes, period, _sizes(account, period), strict=True):
        if n not in allowed:
            near = min(allowed, key=lambda one: abs(one - n))
            numbers = {"period": step, "image": shape_text(account.input_size)}
            remedy = f"The nearest size is {near}."
            what = f"size={shown(size)} is not a size of tiles of this network"
            raise ArgumentError(explain(what, numbers=numbers, remedy=remedy))
    return sizes


def _within(
    memory: int, model: Any, whole: Account, period: tuple[int, ...], halo: tuple[Pair, ...]
) -> tuple[int, ...]:
    """The largest square tiles of which one runs within so many bytes of activations."""
    from ..trace.account import account

    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        remedy = "Write a whole number of bytes, such as 64 * 2**20."
        raise ArgumentError(explain(f"memory={shown(memory)} is not valid", remedy=remedy))
    source = (whole.spec or None) if isinstance(model, Account) else model
    if source is None:
        remedy = "Pass the model itself, with the shape of the image."
        raise ArgumentError(explain("an account cannot say what a tile needs", remedy=remedy))

    def needs(periods: int) -> int:
        size = tuple(min(periods * step, r[-1]) for step, r in zip(period, limits, strict=True))
        shape = (whole.input_shape[0], *map(min, _with_halo(size, halo), whole.input_size))
        return account(source, shape).peak_activation_bytes or memory + 1

    limits = _sizes(whole, period)
    low, high = 0, max(map(len, limits))
    while low < high:  # more positions need no less memory
        middle = (low + high + 1) // 2
        low, high = (middle, high) if needs(middle) <= memory else (low, middle - 1)
    if not low:
        numbers = {"a tile of one period needs": f"{needs(1):,}", "got": f"{memory:,}"}
        raise ArgumentError(explain("no tile runs within this memory", numbers=numbers))
    return tuple(low * step for step in period)


def _with_halo(size: tuple[int, ...], halo: tuple[Pair, ...]) -> tuple[int, ...]:
    return tuple(lo + n + hi for n, (lo, hi) in zip(size, halo, strict=True))


def _sizes(account: Account, period: tuple[int, ...]) -> tuple[range, ...]:
    """Sizes of tiles per axis: whole periods, the last of which reaches the end of the image."""
    both = zip(account.input_size, period, strict=True)
    return tuple(range(step, _up(n, step) + 1, step) for n, step in both)


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def _refusal(
    what: str, numbers: dict[str, object] | None = None, remedy: str = ""
) -> ArgumentError:
    return ArgumentError(explain(f"no tiles: {what}", numbers=numbers, remedy=remedy))
