"""A whole number that stands for many, so that code for one network counts all at once."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Mixed(Exception):
    """A comparison does not come out alike for all: `where` says for which it holds."""

    def __init__(self, where: NDArray[np.bool_]) -> None:
        """Keep for which it holds."""
        super().__init__("a comparison is true of some and false of others")
        self.where = where


class Each:
    """The first of many whole numbers; sums and products of it are those of all of them.

    Whatever is decided by it must be decided alike for all: a comparison raises `Mixed` otherwise.
    It is no `int`, so that nothing can take it for the first number alone.

    >>> widths = Each(np.array([8, 24]))
    >>> (-(-widths * 3 // 16) * 16).all
    array([32, 80])
    >>> widths > 4
    True
    >>> widths > 8
    Traceback (most recent call last):
        ...
    budgetnet.designer.each.Mixed: a comparison is true of some and false of others
    """

    __slots__ = ("all",)

    def __init__(self, values: NDArray[np.int64]) -> None:
        """Stand for an array of at least one number."""
        self.all = values

    def __hash__(self) -> int:
        """That of the first: equal ones have it in common."""
        return hash(int(self.all[0]))

    def __bool__(self) -> bool:
        """Whether all are other than 0."""
        return bool(self.__ne__(0))


Integral.register(Each)


def all_of(value: Any) -> Any:
    """What a number stands for: the array of an `Each`, or the number itself."""
    return value.all if isinstance(value, Each) else value


_COUNTING = (
    "add", "sub", "mul", "floordiv", "mod", "radd", "rsub", "rmul", "rfloordiv", "rmod", "neg",
)  # fmt: skip
_DECIDING = ("eq", "ne", "lt", "le", "gt", "ge")


def _counting(name: str) -> Callable[..., Each]:
    of_all: Any = getattr(np.ndarray, name)

    def method(self: Each, *other: Any) -> Each:
        return Each(of_all(self.all, *map(all_of, other)))

    return method


def _deciding(name: str) -> Callable[..., Any]:
    of_all: Any = getattr(np.ndarray, name)

    def method(self: Each, *other: Any) -> Any:
        held = of_all(self.all, *map(all_of, other))
        if held is NotImplemented:  # no number
            return NotImplemented
        if held.all() or not held.any():
            return bool(held[0])
        raise Mixed(held)

    return method


for _name in _COUNTING:
    setattr(Each, f"__{_name}__", _counting(f"__{_name}__"))
for _name in _DECIDING:
    setattr(Each, f"__{_name}__", _deciding(f"__{_name}__"))
