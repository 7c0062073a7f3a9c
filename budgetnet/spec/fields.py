"""The fields of stages: what each may hold, and the modifiers that give it in the text form."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import Any, TypeAlias

import numpy as np

from ..accounting.geometry import scaled_channels

LARGEST = 10**12 - 1  # of a number in a stage: no network has more of anything
_DECIMALS = 6  # of a ratio

NUMBER, DECIMAL, PAIR = r"[0-9]+", r"[0-9]+(?:\.[0-9]+)?", r"[0-9]+(?:x[0-9]+)?"

# Activations by the name that specs give them: torch's module, and the role of its row.
ACTIVATIONS = {
    "relu": ("ReLU", "relu"),
    "relu6": ("ReLU6", "activation"),
    "hardswish": ("Hardswish", "activation"),
    "silu": ("SiLU", "activation"),
    "gelu": ("GELU", "activation"),
    "leaky_relu": ("LeakyReLU", "activation"),
    "sigmoid": ("Sigmoid", "squashing"),
    "tanh": ("Tanh", "squashing"),
}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of at least 1, or another range that the options give."""

    letter: str = ""  # of the modifier, such as g4; none where the word's number gives it
    or_none: bool = False
    or_array: bool = False  # of many networks at once, as the designer plans them
    least: int = 1
    pattern = NUMBER

    def clean(self, value: Any) -> Any:
        """The value as an int; raises TypeError or ValueError for anything else."""
        if self.or_none and value is None:
            return None
        if self.or_array and isinstance(value, np.ndarray) and value.ndim:
            return _whole_array(value)
        return _whole(value, self.least)

    def read(self, text: str) -> int:
        """The value that a text gives."""
        return int(text)

    def write(self, value: int) -> str:
        """The value as the text form has it."""
        return f"{self.letter}{value}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return f"{_expected(self.least)}{', or None' * self.or_none}"


@dataclass(frozen=True, slots=True)
class Size:
    """A pair `(height, width)`; one number stands for both."""

    letter: str
    least: int = 1
    pattern = PAIR

    def clean(self, value: Any) -> tuple[int, int]:
        """The value as a pair of ints; raises TypeError or ValueError for anything else."""
        if isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim):
            high, wide = value
            return _whole(high, self.least), _whole(wide, self.least)
        return (_whole(value, self.least),) * 2

    def read(self, text: str) -> Any:
        """The value that a text such as 3 or 3x5 gives."""
        high, _, wide = text.partition("x")
        return (int(high), int(wide)) if wide else int(high)

    def write(self, value: tuple[int, int]) -> str:
        """The value as the text form has it: k3, or k3x5."""
        high, wide = value
        return f"{self.letter}{high}" if high == wide else f"{self.letter}{high}x{wide}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return f"{_expected(self.least)}, or a pair of them (height, width)"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A number above 0 and up to `most`; whole ones are kept as ints."""

    letter: str
    most: int
    or_zero: bool = False  # and then below `most`, as probabilities are
    pattern = DECIMAL

    def clean(self, value: Any) -> float:
        """The value as an int or a float; raises TypeError or ValueError for anything else."""
        if isinstance(value, bool | np.bool_ | str):
            raise TypeError
        number = round(float(value), _DECIMALS)
        fits = 0 <= number < self.most if self.or_zero else 0 < number <= self.most
        if not fits:
            raise ValueError
        return int(number) if number == int(number) else number

    def read(self, text: str) -> float:
        """The value that a text gives."""
        return float(text)

    def write(self, value: float) -> str:
        """The value as the text form has it: e6, or e4.5."""
        return f"{self.letter}{value}" if isinstance(value, int) else self.letter + _decimal(value)

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        if self.or_zero:
            return f"a number of at least 0 and below {self.most}"
        return f"a number above 0 and at most {self.most:,}"


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Squeeze-excite inside a block: `se0.25` and `se8`, or `hse8` as MobileNetV3 has it.

    Attributes:
        amount: channels that are squeezed to, or below 1 their ratio to those of the block's input,
            as timm and EfficientNet count it.
        is_hard: ReLU inside and a hard sigmoid as gate; otherwise the block's own activation
            inside, and a sigmoid.
    """

    amount: float
    is_hard: bool = False

    def width(self, channels: Any) -> Any:
        """Channels that are squeezed to, given those that a ratio refers to."""
        if self.amount >= 1:
            return self.amount
        return scaled_channels(channels, self.amount)


@dataclass(frozen=True, slots=True)
class SqueezeField:
    """A `Squeeze`, or `None`; a number stands for one with a sigmoid."""

    letter = "se"
    pattern = DECIMAL

    def clean(self, value: Any) -> Squeeze | None:
        """The value as a Squeeze; raises TypeError or ValueError for anything else."""
        if value is None:
            return None
        given = value if isinstance(value, Squeeze) else Squeeze(value)
        if isinstance(given.amount, bool | np.bool_ | str) or type(given.is_hard) is not bool:
            raise TypeError
        if given.amount >= 1:
            return Squeeze(_whole(given.amount, 1), given.is_hard)
        number = round(float(given.amount), _DECIMALS)
        if not number > 0:
            raise ValueError
        return Squeeze(number, given.is_hard)

    def read(self, text: str) -> float:
        """The value that a text gives."""
        return float(text) if "." in text else int(text)

    def write(self, value: Squeeze) -> str:
        """The value as the text form has it."""
        amount = str(value.amount) if value.amount >= 1 else _decimal(value.amount)
        return f"{'h' * value.is_hard}se{amount}"

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return "channels, a ratio below 1, a Squeeze of one of them, or None"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some names or values, each given by a word of its own."""

    words: tuple[tuple[str, Any], ...]
    or_none: bool = False  # where a block decides by itself
    letter = ""

    def clean(self, value: Any) -> Any:
        """The value itself; raises TypeError for anything else."""
        if isinstance(value, np.bool_):
            value = bool(value)
        if self.or_none and value is None:
            return None
        for _, known in self.words:
            if type(value) is type(known) and value == known:
                return known
        raise TypeError

    def write(self, value: Any) -> str:
        """The word for a value."""
        return next(word for word, given in self.words if given == value)

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        values = [str(value) if value in (True, False, None) else repr(value)
                  for _, value in self.words]  # fmt: skip
        if {True, False} <= {value for _, value in self.words}:
            values = ["True", "False"]
        *most, last = values + ["None"] * self.or_none
        return f"{', '.join(most)} or {last}" if most else last


Field: TypeAlias = Whole | Size | Ratio | SqueezeField | Choice

_ACTS = tuple((name, name) for name in ACTIVATIONS)

# A stage has whichever of these it needs. In the text form they come in the stage's own order.
FIELDS: dict[str, Field] = {
    "out_channels": Whole(or_array=True),
    "num_classes": Whole(or_none=True, or_array=True),
    "growth_rate": Whole(or_array=True),
    "squeeze_channels": Whole(),
    "scale": Whole(),
    "num_layers": Whole("n"),
    "kernel_size": Size("k"),
    "stride": Size("s"),
    "padding": Size("p", least=0),
    "dilation": Size("d"),
    "groups": Whole("g"),
    "expansion": Ratio("e", 1000),
    "hidden_channels": Whole("h", or_none=True),
    "bottleneck": Whole("b", least=0),
    "se": SqueezeField(),
    "norm": Choice((("-bn", False), ("+bn", True))),
    "act": Choice((("-act", None), *_ACTS)),
    "bias": Choice((("+bias", True), ("-bias", False)), or_none=True),
    "mode": Choice((("nearest", "nearest"), ("bilinear", "bilinear"))),
    "dropout": Ratio("drop", 1, or_zero=True),
}


def _expected(least: int) -> str:
    return f"a whole number of at least {least} and at most {len(str(LARGEST))} digits"


def _decimal(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".rstrip("0")


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
