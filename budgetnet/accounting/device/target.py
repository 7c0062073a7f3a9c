"""What a network is deployed to: a runtime, the type of its values, a library of kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import ArgumentError, did_you_mean, explain, shown


class Bytes(NamedTuple):
    """Bytes of one value: of a map, of a weight, of a bias."""

    value: int
    weight: int
    bias: int


# With int16 maps, TensorFlow Lite keeps weights in int8 and biases in int64.
DTYPES = {"int8": Bytes(1, 1, 4), "int16": Bytes(2, 1, 8), "float32": Bytes(4, 4, 4)}
_TFLM = ("reference", "cmsis-nn", "cmsis-nn without dsp")
PLANS = ("own", "least")  # the runtime's own planner, or the least plan that can be found
# By runtime and type the libraries of kernels, the usual one first.
RUNTIMES: dict[str, dict[str, tuple[str, ...]]] = {
    "tflm": {"int8": _TFLM, "int16": ("reference",), "float32": _TFLM},
    "executorch": {"int8": _TFLM[1:], "float32": ("portable",)},
    "eager": {"float32": ("torch",)},
}


@dataclass(frozen=True, slots=True)
class Target:
    """A runtime with a type of values and a library of kernels.

    Attributes:
        runtime: "tflm" for TensorFlow Lite Micro, "executorch", or "eager" for PyTorch as it is.
        dtype: of maps: "int8", "int16" (with weights of int8) or "float32"; by default the first
            that the runtime has.
        kernels: whose scratch buffers lie beside the maps: of TensorFlow Lite Micro "reference",
            "cmsis-nn", or "cmsis-nn without dsp" for cores that lack the DSP extension; of
            ExecuTorch's Cortex-M backend the latter two. By default the first of them.
        plan: who places maps in memory: "own" for the runtime's own planner, or "least" for the
            least plan, which `budgetnet plan-memory` writes into a file.

    Raises:
        ArgumentError: a name is not known, or the runtime has no such type, kernels or plan.

    >>> print(Target(), "-", Target("executorch"), "-", Target(plan="least"))
    tflm int8 - executorch int8 - tflm int8, least plan
    """

    runtime: str = "tflm"
    dtype: str = ""
    kernels: str = ""
    plan: str = "own"

    def __post_init__(self) -> None:
        """Check the names, and fill in what is usual."""
        _check("a runtime", self.runtime, RUNTIMES)
        types = RUNTIMES[self.runtime]
        if self.dtype == "":
            object.__setattr__(self, "dtype", next(iter(types)))
        _check(f"a type that {self.runtime} has", self.dtype, types)
        if not self.kernels:
            object.__setattr__(self, "kernels", types[self.dtype][0])
        _check(f"a library of kernels for {self}", self.kernels, types[self.dtype])
        _check(f"a plan of {self.runtime}", self.plan, plans_of(self.runtime))

    @property
    def bytes(self) -> Bytes:
        """The bytes of its values."""
        return DTYPES[self.dtype]

    def __str__(self) -> str:
        """The runtime, the type, and the plan if it is not the runtime's own."""
        least = ", least plan" if self.plan == "least" else ""
        return f"{self.runtime} {self.dtype}{least}"


def plans_of(runtime: str) -> tuple[str, ...]:
    """The plans that may be asked for; a file brings the least one, which `tflm` alone reads."""
    return PLANS if runtime == "tflm" else PLANS[:1]


def _check(what: str, name: object, known: Iterable[str]) -> None:
    if name not in tuple(known):
        said = f"{shown(name)} is not {what}"
        raise ArgumentError(explain(said, remedy=did_you_mean(name, known)))
