"""A spec as the module that it describes, for runs and for `models.build`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from .. import blocks
from ..spec.plan import Spec
from ..spec.source import calls_of


def built(
    spec: Spec, in_channels: int | Sequence[int], *, device: Any = None, dtype: Any = None
) -> nn.Sequential:
    """Build a spec into blocks, as `models.build` does."""
    homes: dict[str, Any] = {"blocks": blocks, "nn": nn}
    known: dict[str, Any] = {"OrderedDict": OrderedDict, "partial": partial}

    def find(name: str) -> Any:
        home, _, member = name.partition(".")
        return getattr(homes[home], member) if member else known[name]

    calls = calls_of(spec, in_channels)  # all of them, before any weight is
    placed = {"device": device, "dtype": dtype}
    return nn.Sequential(OrderedDict((name, call.run(find, placed)) for name, call in calls))
