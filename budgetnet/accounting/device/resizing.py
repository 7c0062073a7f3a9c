"""Which operator resizes a map: what an `nn.Upsample` reads says it, and not its row."""

from __future__ import annotations

import numpy as np

from ..account import Account
from ..receptive_field import ReceptiveField
from ..resampling import cubic_reads, linear_reads, nearest_window, resampled_window
from ..rows import Row
from ..window import Window
from .edges import value_shape

_NEAREST, _BILINEAR = "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"


def resizing_operator(account: Account, row: Row) -> str:
    """The operator that reads of a map what a row of `account` reads of it; "" if it is not one.

    An output reads one position, two of each axis, or four if it is bicubic, which is no operator.
    Where the map is so small that these are the same, it is not known which one it is.
    """
    field, shape = _field(account, row.reads[0]), value_shape(account, row.reads[0])
    if field is None or field.places or not len(shape) == len(row.output_shape) == 3:
        return ""
    axes = tuple(zip(shape[1:], row.output_shape[1:], strict=True))
    fitting = {
        name for name, windows in _candidates(axes) if field.then(windows) == row.receptive_field
    }
    return fitting.pop() if len(fitting) == 1 else ""


def _field(account: Account, value: int) -> ReceptiveField | None:
    if value >= 0:
        return account.rows[value].receptive_field
    return ReceptiveField((Window(),) * (len(value_shape(account, value)) - 1))


def _candidates(axes: tuple[tuple[int, int], ...]) -> list[tuple[str, tuple[Window, ...]]]:
    """For maps of some sizes, before and after, what each way of resizing reads."""
    found = [(_NEAREST, tuple(nearest_window(n, m, n / m) for n, m in axes))]
    for name, reads in ((_BILINEAR, linear_reads), ("", cubic_reads)):
        for corners in (False, True):
            windows = [resampled_window(n, m, m / n, corners, np.float32, reads) for n, m in axes]
            found.append((name, tuple(windows)))
    return found
