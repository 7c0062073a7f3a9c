"""The Chain: the spec of a planned account, or one read back from the rows of a traced one."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from ..accounting.account import Account
from ..accounting.rows import Row
from ..errors import BudgetnetError
from .plan import Spec, plan
from .stages import Conv, Head, Pool, Separable, Stage


class Chain(NamedTuple):
    """A spec that describes a network, what the network calls its stages, and the spec's plan."""

    spec: Spec
    names: tuple[str, ...]
    planned: Account


def chain_of(account: Account) -> Chain | None:
    """The chain whose plan has the rows and totals of an account; `None` if there is none."""
    if len(account.input_size) != 2:
        return None
    try:
        spec, names = _named(account)
        planned = plan(spec, account.input_shape)
    except (BudgetnetError, _NoChain, ValueError):
        return None
    if len(set(names)) < len(names):  # as those of functional operations of one module
        return None
    totals = ("params", "macs", "receptive_field")
    same = all(getattr(planned, name) == getattr(account, name) for name in totals)
    same = same and planned.output_shape == account.output_shape
    return Chain(spec, names, planned) if same else None


def _named(account: Account) -> tuple[Spec, tuple[str, ...]]:
    """What an account says that it was planned from, or else what its rows look like."""
    if account.spec:  # a saved account may have been edited, so this is not yet believed
        spec = Spec.parse(account.spec)
        return spec, tuple(name for name, _ in spec.named_stages())
    stages, names = zip(*_pairs(list(_stages(account))), strict=True)
    return Spec(stages), names


class _NoChain(Exception):
    """The rows are not a chain that a spec can describe."""


def _stages(account: Account) -> Iterator[tuple[Stage, str]]:
    rows, channels = list(account.rows), account.input_shape[0]
    while rows:
        row = rows.pop(0)
        if row.role == "max pooling" and row.sliding and not row.sliding.ceil_mode:
            yield Pool(*_geometry(row)[:3]), row.path or row.kind
        elif row.role == "convolution" and row.sliding:
            stage = _conv(row, rows, channels)
            name = row.path.removesuffix(".conv").removesuffix(".depthwise") or row.kind
            classifier = Conv(stage.out_channels, (1, 1), norm=stage.norm, act=None)
            if rows and rows[0].is_global and stage == classifier:
                yield Head(stage.out_channels, norm=stage.norm), name
                return
            yield stage, name
        elif row.is_global and row.role == "average pooling":
            yield Head(), row.path.removesuffix(".pool") or row.kind
            return
        else:
            raise _NoChain
        channels = row.output_shape[0]


def _conv(row: Row, rows: list[Row], channels: int) -> Conv:
    """The convolution of a row, with the norm and activation that follow it."""
    if not row.macs or not row.weight_shape or row.has_bias is None:
        raise _NoChain
    kernel, stride, padding, dilation = _geometry(row)
    out, group_channels = row.weight_shape[:2]
    bias, groups = row.has_bias, channels // group_channels
    if row.params != prod(row.weight_shape) + out * bias:  # tied, or parametrized
        raise _NoChain
    norm = bool(rows) and rows[0].role == "batch norm" and rows.pop(0).params == 2 * out
    act = "relu" if rows and rows[0].role == "relu" and rows.pop(0) else None
    kept = None if bias != norm else bias  # the default: a bias exactly where there is no norm
    return Conv(out, kernel, stride, padding, dilation, groups, norm, act, kept)


def _geometry(row: Row) -> tuple[tuple[int, int], ...]:
    slide = row.sliding
    if slide is None or len(slide.kernel) != 2 or any(lo != hi for lo, hi in slide.padding):
        raise _NoChain
    padding = tuple(lo for lo, _ in slide.padding)
    return slide.kernel, slide.stride, padding, slide.dilation  # type: ignore[return-value]  # pairs


def _pairs(stages: list[tuple[Stage, str]]) -> Iterator[tuple[Stage, str]]:
    """Depthwise and pointwise convolutions as the one stage that they make."""
    channels = 0
    while stages:
        stage, name = stages.pop(0)
        after = stages[0][0] if stages else None
        if (
            isinstance(stage, Conv) and isinstance(after, Conv)
            and stage.groups == stage.out_channels == channels > 1
            and after == Conv(after.out_channels, (1, 1), norm=stage.norm, act=stage.act)
            and stage.bias is None
        ):  # fmt: skip
            stages.pop(0)
            shape = (stage.kernel_size, stage.stride, stage.padding, stage.dilation)
            stage = Separable(after.out_channels, *shape, stage.norm, stage.act)
        yield stage, name
        channels = getattr(stage, "out_channels", channels)
