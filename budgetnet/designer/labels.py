"""Labels: many partial networks at once, and which of them are dominated by others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .costs import Ints


@dataclass(slots=True)
class Labels:
    """Partial networks on one level, one per entry of every array."""

    state: NDArray[np.int32]
    value: Ints
    uses: Ints  # of every limit, one row each
    ties: Ints  # figures that decide between equals and are not part of the value
    peak: Ints
    parent: Ints  # the label of the level before that it continues
    via: Ints  # by which transition
    skeleton: Ints  # a number for all that is not a width
    bound: Ints  # no completion has a higher value

    @classmethod
    def start(cls, limits: int, ties: int) -> Labels:
        """The one label of the input."""
        one = np.zeros(1, np.int64)
        uses, tied = np.zeros((limits, 1), np.int64), np.zeros((ties, 1), np.int64)
        return cls(one.astype(np.int32), one, uses, tied, one, one, one, one, one)

    def take(self, which: Ints | NDArray[np.bool_]) -> Labels:
        """Some of the labels."""
        return Labels(*(getattr(self, f.name)[..., which] for f in fields(self)))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.state)


def join(parts: Sequence[Labels]) -> Labels:
    """All labels of several."""
    if len(parts) == 1:
        return parts[0]
    columns = ([getattr(part, f.name) for part in parts] for f in fields(Labels))
    return Labels(*(np.concatenate(column, axis=-1) for column in columns))


def undominated(labels: Labels, uses: Sequence[Ints], top: int) -> Ints:
    """Indices of the labels to keep, so that the best `top` completions remain.

    One label dominates another at its state if its value is at least as high, it comes first
    among equals, and uses no more of anything. If several networks of different skeletons are
    wanted, a label is dropped if one of its own skeleton dominates it, or `top` of different ones.
    """
    before = np.lexsort((*labels.ties[::-1], -labels.value))  # the better first
    state = labels.state.astype(np.int64)
    if top == 1:
        order = before[np.argsort(state[before], kind="stable")]
        return order[~_dominated(state[order], [use[order] for use in uses])]
    group = state * (int(labels.skeleton.max(initial=0)) + 1) + labels.skeleton
    order = before[np.argsort(group[before], kind="stable")]
    order = order[~_dominated(group[order], [use[order] for use in uses])]
    rank = np.empty(len(before), np.int64)
    rank[before] = np.arange(len(before))
    order = order[np.lexsort((rank[order], state[order]))]
    kept = [order[:0]]
    for _ in range(top):  # each layer is dominated by the one before it
        if not len(order):
            break
        dominated = _dominated(state[order], [use[order] for use in uses])
        kept.append(order[~dominated])
        order = order[dominated]
    return np.concatenate(kept)


def _dominated(group: Ints, uses: Sequence[Ints]) -> NDArray[np.bool_]:
    """Which entries use no less of anything than an earlier one of their group.

    With more than one use, only the earlier entry with the least of each is compared: every entry
    found is dominated, but not every dominated entry is found.
    """
    n = len(group)
    first = np.ones(n, bool)  # of its group
    first[1:] = group[1:] != group[:-1]
    if not n or not uses:
        return ~first
    number, index = np.cumsum(first), np.arange(n)
    found = np.zeros(n, bool)
    for use in uses:
        if (int(use.max()) - int(use.min()) + 1) * (int(number[-1]) + 1) >= 1 << 62:
            ranked = np.unique(use, return_inverse=True)[1]  # in the same order, and small
        else:
            ranked = use - int(use.min())
        value = ranked - number * (int(ranked.max()) + 1)  # every group lies below the one before
        least = np.minimum.accumulate(value)
        holder = np.maximum.accumulate(np.where(value == least, index, 0))
        witness = np.concatenate([[0], holder[:-1]])  # holds the least before this entry
        same = ~first
        for other in uses:
            same &= other[witness] <= other
        found |= same
    return found
