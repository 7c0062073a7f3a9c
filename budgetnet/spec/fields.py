"""The fields of stages: what each may hold, and the modifier that gives it in the text form."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

import numpy as np

LARGEST = 10**12 - 1  # of a number in a stage: no network has more of anything


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of at least 1, or another range that the options give."""

    letter: str = ""  # of the modifier, such as g4; none where the word's number gives it
    or_none: bool = False
    or_array: bool = False  # of many networks at once, as the designer plans them

    def clean(self, value: Any) -> Any:
        """The value as an int; raises TypeError or ValueError for anything else."""
        if self.or_none and value is None:
            return None
        if self.or_array and isinstance(value, np.ndarray) and value.ndim:
            return _whole_array(value)
        return _whole(value, 1)

    def write(self, value: int) -> str:
        """The value as the text form has it."""
        return f"{self.letter}{value}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return f"{_expected(1)}{', or None' * self.or_none}"


@dataclass(frozen=True, slots=True)
class Size:
    """A pair `(height, width)`; one number stands for both."""

    letter: str
    least: int = 1

    def clean(self, value: Any) -> tuple[int, int]:
        """The value as a pair of ints; raises TypeError or ValueError for anything else."""
        if isinstance(value, tuple | list | np.ndarray) and np.ndim(value):
            high, wide = value
            return _whole(high, self.least), _whole(wide, self.least)
        return (_whole(value, self.least),) * 2

    def write(self, value: tuple[int, int]) -> str:
        """The value as the text form has it: k3, or k3x5."""
        high, wide = value
        return f"{self.letter}{high}" if high == wide else f"{self.letter}{high}x{wide}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return f"{_expected(self.least)}, or a pair of them (height, width)"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or False, and `None` if a block decides by itself; its words give a value."""

    words: tuple[tuple[str, bool], ...]
    or_none: bool = False
    letter = ""

    def clean(self, value: Any) -> bool | None:
        """The value as a bool; raises TypeError for anything else."""
        if isinstance(value, bool | np.bool_) or (self.or_none and value is None):
            return None if value is None else bool(value)
        raise TypeError

    def write(self, value: bool) -> str:
        """The word for a value."""
        return next(word for word, given in self.words if given is value)

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return "True, False or None" if self.or_none else "True or False"


Field: TypeAlias = Whole | Size | Flag

# A stage has whichever of these it needs. In the text form they come in the stage's own order.
FIELDS: dict[str, Field] = {
    "out_channels": Whole(or_array=True),
    "num_classes": Whole(or_none=True),
    "kernel_size": Size("k"),
    "stride": Size("s"),
    "padding": Size("p", least=0),
    "dilation": Size("d"),
    "groups": Whole("g"),
    "norm": Flag((("-bn", False),)),
    "act": Flag((("-act", False),)),
    "bias": Flag((("+bias", True), ("-bias", False)), or_none=True),
}


def _expected(least: int) -> str:
    return f"a whole number of at least {least} and at most {len(str(LARGEST))} digits"


def _whole(value: Any, least: int) -> int:
    if type(value) is not int:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        value = index(value)
    if not least <= value <= LARGEST:
        raise ValueError
    return value  # type: ignore[no-any-return]  # an int by now


def _whole_array(values: Any) -> Any:
    if values.dtype.kind not in "iu":
        raise TypeError
    if values.size and not 1 <= values.min() <= values.max() <= LARGEST:
        raise ValueError
    return values.astype(np.int64, copy=False)
