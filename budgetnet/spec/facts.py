"""What a row tells of the word that may stand for it, or why none does; and how rows differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from ..accounting.roles import ROLES
from ..accounting.rows import Row
from .fields import ACTIVATIONS
from .wiring import JOINS

ACTIVE = "relu", "activation", "squashing"
GATES = {"sigmoid": False, "hardsigmoid": True}


def no_word(row: Row, shape: tuple[int, ...]) -> str:
    """Why no word describes a row that reads such a shape, whatever is around it; "" if one may."""
    if row.unknown or row.role == "dropout":
        return row.unknown
    if row.sliding is not None:
        if len(row.sliding.kernel) != 2:
            return "a spec has maps of two axes"
        if any(low != high for low, high in row.sliding.padding):
            return "it pads one side more than the other"
    check = _CHECKS.get(row.role)
    if check is None:
        return f"no word stands for a row of its role, {row.role}: {ROLES.get(row.role, '')}"
    return check(row, shape)


def plain(kind: str) -> str:
    """A kind as its module and its operation share it: LeakyReLU and leaky_relu."""
    return kind.lower().replace("_", "")


_ACTS = {(role, plain(kind)): name for name, (kind, role) in ACTIVATIONS.items()}


def act_of(row: Row) -> str | None:
    """The name of an activation: its kind, since rows tell no more of what they compute."""
    return "relu" if row.role == "relu" else _ACTS.get((row.role, plain(row.kind)))


def slides(row: Row) -> tuple[tuple[int, int], ...]:
    """Kernel, stride, padding and dilation, as stages have them."""
    slide = row.sliding
    assert slide is not None  # as checked before
    padding = tuple(low for low, _ in slide.padding)
    return slide.kernel, slide.stride, padding, slide.dilation  # type: ignore[return-value]  # pairs


def bias_of(row: Row, norm: bool) -> bool | None:
    """The bias of a row as stages have it: there is one by default where there is no norm."""
    return None if row.has_bias != norm else row.has_bias


def is_kept(row: Row) -> bool:
    """Whether a planned row is one of an account as well, which may have other views."""
    return row.role not in ("identity", "reshape", "dropout")


def difference(planned: Row, row: Row) -> str:
    """How a planned row differs from that of an account; "" if not at all."""
    apart = [
        f"{name} is {given}, of the nearest word {wanted}"
        for name, wanted, given in _facts(planned, row)
        if wanted != given
    ]
    return apart[0] if apart else ""


def _facts(planned: Row, row: Row) -> Iterator[tuple[str, object, object]]:
    for name in ("role", "params", "macs", "has_bias", "weight_shape", "global_context"):
        yield name, getattr(planned, name), getattr(row, name)
    one, two = planned.output_shape, row.output_shape
    yield ("output", prod(one), prod(two)) if row.is_global else ("output", one, two)
    yield "receptive field", planned.receptive_field, row.receptive_field
    if planned.role in ACTIVE:
        yield "activation", _acts(planned), _acts(row)
    if row.sliding is not None and planned.sliding is not None:
        yield "kernel, stride and padding", str(planned.sliding), str(row.sliding)


def _acts(row: Row) -> str:
    return act_of(row) or plain(row.kind)  # a gate of squeeze-excite may be another


# ---- why no word describes a row, given what it reads


def _weighs(row: Row, shape: tuple[int, ...]) -> str:
    if not row.weight_shape or row.has_bias is None or not row.macs:
        return "what its weights are is not known"
    out = row.weight_shape[row.role == "transposed convolution"]
    if row.params != prod(row.weight_shape) + out * row.has_bias:
        return "its weights have been used before, or are computed from others"
    return ""


def _convolves(row: Row, shape: tuple[int, ...]) -> str:
    if row.sliding is None or len(shape) != 3:
        return "it is no convolution of a map of two axes"
    if row.role == "transposed convolution" and not row.has_bias:
        return "a transposed convolution of a spec has a bias"
    return _weighs(row, shape)


def _norms(row: Row, shape: tuple[int, ...]) -> str:
    return "" if row.params == 2 * shape[0] else "a norm of a spec has scale and shift of its own"


def _activates(row: Row, shape: tuple[int, ...]) -> str:
    if act_of(row) or plain(row.kind) in GATES:
        return ""
    return f"the activations of specs are {', '.join(ACTIVATIONS)}"


def _pools(row: Row, shape: tuple[int, ...]) -> str:
    if row.is_global:
        return "" if row.role == "average pooling" else "only averages read the whole map in a spec"
    slide = row.sliding
    if slide is None:
        fits = len(shape) == 3 and not any(
            n % m for n, m in zip(shape[1:], row.output_shape[1:], strict=True)
        )
        return "" if fits and row.role == "average pooling" else "its windows are not all alike"
    if set(slide.dilation) != {1}:
        return "a pooling of a spec has no dilation"
    axes = zip(shape[1:], slide.kernel, slide.stride, slide.padding, strict=True)
    floors = tuple((n + 2 * pad[0] - k) // s + 1 for n, k, s, pad in axes)
    if floors != row.output_shape[1:]:
        return "it rounds the size of its map up (ceil_mode), where a spec rounds down"
    return ""


def _resizes(row: Row, shape: tuple[int, ...]) -> str:
    axes = list(zip(row.output_shape[1:], shape[1:], strict=True))
    factors = {n // m for n, m in axes}
    whole = len(factors) == 1 and all(n % m == 0 for n, m in axes)
    return "" if whole else "a spec enlarges both axes by one whole factor"


def _joins(row: Row, shape: tuple[int, ...]) -> str:
    if row.kind in JOINS:
        return ""
    return "no word stands for a join but sum, concatenation, squeeze-excite"


_CHECKS: dict[str, Callable[[Row, tuple[int, ...]], str]] = {
    "convolution": _convolves,
    "transposed convolution": _convolves,
    "linear": _weighs,
    "batch norm": _norms,
    "relu": _activates,
    "activation": _activates,
    "squashing": _activates,
    "max pooling": _pools,
    "average pooling": _pools,
    "resizing": _resizes,
    "join": _joins,
}
