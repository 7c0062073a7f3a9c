"""What blocks take: the types of their arguments, and the checks that they share."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import TypeAlias

from torch import nn

from ..accounting.geometry import same_padding
from ..accounting.window import Pair
from ..errors import ArgumentError, explain

Size: TypeAlias = int | Pair
NormLayer: TypeAlias = Callable[..., nn.Module] | None
ActivationLayer: TypeAlias = Callable[..., nn.Module] | None
SqueezeLayer: TypeAlias = Callable[..., nn.Module] | None


def invalid(block: str, argument: str, value: object, remedy: str) -> ArgumentError:
    """An error that names block, argument and value, and says what to pass."""
    return ArgumentError(explain(f"{argument}={value!r} is not valid", where=block, remedy=remedy))


def check_at_least(block: str, least: int, **values: object) -> None:
    """Raise `ArgumentError` for anything but an int of at least `least`."""
    for argument, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise invalid(block, argument, value, f"Pass an int of at least {least}.")


def check_probability(block: str, **values: float) -> bool:
    """Raise `ArgumentError` unless each is a probability below 1; whether any is above 0."""
    for argument, value in values.items():
        if not isinstance(value, Real) or not 0 <= value < 1:
            raise invalid(
                block, argument, value, "Pass a probability from 0 up to, not including, 1."
            )
    return any(values.values())


def check_positive(block: str, **values: float) -> None:
    """Raise `ArgumentError` unless each is a finite number above 0."""
    for argument, value in values.items():
        if not isinstance(value, Real) or not 0 < value < inf:
            raise invalid(block, argument, value, "Pass a number above 0.")


def as_pair(block: str, argument: str, value: Size, least: int = 1) -> Pair:
    """An int or a pair as (height, width)."""
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2:
        raise invalid(block, argument, value, "Pass an int or a pair (height, width).")
    for part in values:
        check_at_least(block, least, **{argument: part})
    return values[0], values[1]


def strides_of(block: str, stride: Size, kernel_size: Size, dilation: Size) -> Pair:
    """The stride as a pair, of a block that pads so that stride 1 keeps the size of the map."""
    kernel, spread = (
        as_pair(block, "kernel_size", kernel_size),
        as_pair(block, "dilation", dilation),
    )
    if any((k - 1) * d % 2 for k, d in zip(kernel, spread, strict=True)):
        remedy = "Pass an odd size: the block pads both sides alike to keep sizes at stride 1."
        raise invalid(block, "kernel_size", kernel_size, remedy)
    return as_pair(block, "stride", stride)


def check_groups(block: str, groups: int, **widths: int) -> None:
    """Raise `ArgumentError` unless the groups divide each number of channels."""
    for argument, channels in widths.items():
        if channels % groups:
            raise invalid(
                block, "groups", groups, f"It must divide {argument}={channels} without remainder."
            )


def padding_of(
    block: str, padding: Size | str | None, kernel: Pair, stride: Pair, dilation: Pair
) -> Pair | str:
    """What `nn.Conv2d` takes for a block's padding; `None` keeps the size at stride 1."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise invalid(block, "padding", padding, f"torch allows it at stride 1, not {stride}.")
        return "same"
    if padding is not None:
        if isinstance(padding, str):
            raise invalid(
                block, "padding", padding, 'Pass an int, a pair, "same", "valid" or None.'
            )
        return as_pair(block, "padding", padding, least=0)
    pads = [same_padding(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if any(lo != hi for lo, hi in pads):
        low, high = (side[0] if side[0] == side[1] else side for side in zip(*pads, strict=True))
        raise ArgumentError(
            explain(
                f"padding=None keeps the size, which kernel_size={kernel} cannot do evenly",
                where=block,
                numbers={"dilation": dilation, "needed before and after": pads},
                remedy=f'Pass padding={low} or padding={high}, or padding="same" to pad as torch '
                "does: the larger half after the map.",
            )
        )
    return pads[0][0], pads[1][0]
