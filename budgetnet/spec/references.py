"""The named reference networks: their specs, and where those come from. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import ArgumentError, did_you_mean, explain, shown
from .spec import Spec

Origin: TypeAlias = Literal["reproduction", "reconstruction", "own"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A named network: its spec, the input it is meant for, and how well it is documented.

    Attributes:
        spec: its stages.
        input_shape: of the input that it is meant for.
        origin: "reproduction" if the source lists the layers, "reconstruction" if the layers
            were inferred from what the source does state, "own" if it is this library's.
        note: where it comes from, in words.
    """

    spec: Spec
    input_shape: tuple[int, int, int]
    origin: Origin
    note: str


_REPORT = 'course report "Detecting handwritten digits under 20K parameters"'
_INFERRED = (
    f"The {_REPORT} states its parameters and receptive field only. Among chains of at most four "
    "convolutions with kernels 3, 5 or 7 and non-decreasing channels 8, 16 or 32, one pooling and "
    "a 1x1 classifier with global average pooling, this is the only one that fits both."
)


_SMALL = (
    "Few parameters for 99.4 % on MNIST: one shape, chosen on held-out digits among networks of "
    "2,100 to 3,100 parameters, in several widths. docs/results.md has what each of them reaches."
)


def _mnist(text: str, origin: Origin, note: str) -> Reference:
    return Reference(Spec.parse(text), (1, 28, 28), origin, note)


def _separable(width: int) -> Reference:
    ds = f"ds{width}"
    return _mnist(f"c{width // 2} {ds} {ds} p {ds} {ds} {ds} gap10", "own", _SMALL)


REFERENCES = {
    "s6": _mnist(
        "c16 c16 c16 c16 p c16 c16 c16 gap10",
        "reproduction",
        f"The network of the {_REPORT}, layer by layer.",
    ),
    "s6_exp1": _mnist("c16k7 c32 p gap10", "reconstruction", f"Experiment 1. {_INFERRED}"),
    "s6_exp2": _mnist("c16 c32 c32 p gap10", "reconstruction", f"Experiment 2. {_INFERRED}"),
    "s6_exp3": _mnist("c32k5 c32 c32 p gap10", "reconstruction", f"Experiment 3. {_INFERRED}"),
    **{f"dsnet{width}": _separable(width) for width in (14, 16, 34, 38)},
}


def list_models() -> list[str]:
    """Names that `get_model` knows.

    >>> list_models()
    ['dsnet14', 'dsnet16', 'dsnet34', 'dsnet38', 's6', 's6_exp1', 's6_exp2', 's6_exp3']
    """
    return sorted(REFERENCES)


def get_reference(name: str) -> Reference:
    """The spec of a named network and where it comes from.

    Raises:
        ArgumentError: no network has this name; the message lists near ones.

    >>> str(get_reference("s6_exp1").spec), get_reference("s6_exp1").origin
    ('c16k7 c32 p gap10', 'reconstruction')
    """
    if not isinstance(name, str) or name not in REFERENCES:
        what = f"no model is named {shown(name)}"
        raise ArgumentError(explain(what, remedy=did_you_mean(name, REFERENCES)))
    return REFERENCES[name]
