"""What one stage needs on a runtime, between many widths at once: flash, and the RAM of its steps.

In a chain of stages nothing but the map between two of them lives beyond a stage, so that the most
that is live during a network is the most that is live during one of its stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..accounting.account import Account
from ..accounting.device.arena import activations
from ..accounting.device.deployment import assumed_of, scratch_of
from ..accounting.device.groups import groups_of
from ..accounting.device.lowering import lower
from ..accounting.device.memory import live_bytes
from ..accounting.device.operators import is_clamp
from ..accounting.device.target import Target
from ..accounting.geometry import Count
from ..accounting.rows import Row
from ..errors import UnsupportedOp, explain
from .each import Each, all_of


def deployed(rows: Sequence[Row], shape: tuple[Count, ...], target: Target) -> tuple[Count, Count]:
    """The bytes of a stage's weights on a runtime, and the most bytes that are live in it.

    Raises:
        UnsupportedOp: they are not known.
        Mixed: not all widths have the same operators.
    """
    account = _account(rows, shape)
    groups, _ = groups_of(account, target)
    first = next(iter(groups.values()))
    joins = is_clamp(first.head) or first.head.role == "batch norm"
    if joins and sum(-1 in group.reads for group in groups.values()) == 1:
        what = "a stage that begins with a norm or an activation may be fused with another"
        raise UnsupportedOp(explain(what))
    lowered = lower(account, target)
    scratch = scratch_of(lowered.model, target)
    if assumed := assumed_of(lowered, target, scratch):
        raise UnsupportedOp(explain("; ".join(assumed)))
    graph = activations(lowered.model, scratch.requests).graph
    live = [all_of(size) for size in live_bytes(graph.buffers()).values()]
    return all_of(lowered.flash_bytes), reduce(np.maximum, live)


def _account(rows: Sequence[Row], shape: tuple[Count, ...]) -> Account:
    """The rows as an account whose numbers stand for those of all widths."""
    made = tuple(
        row._replace(
            output_shape=_each(row.output_shape), weight_shape=_each(row.weight_shape),
            params=_each((row.params,))[0], macs=0,
        )
        for row in rows
    )  # fmt: skip
    return Account("", _each(shape), (made[-1].output_shape,), made, None, 0, 0, 0, (), 0)


def _each(counts: tuple[Count, ...]) -> tuple[Any, ...]:
    return tuple(Each(np.atleast_1d(n)) if isinstance(n, np.ndarray) else n for n in counts)
