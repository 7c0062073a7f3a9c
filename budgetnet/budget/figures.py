"""The figures of an account that can be limited, held against a baseline and designed for.

Everything that names a figure iterates over `FIGURES`: keywords of `Budget`, keys of a
configuration, flags, `budgetnet init`, goals of the designer, and the labels of tables and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..accounting.table import shape_text, time_text
from ..errors import UnsupportedOp

if TYPE_CHECKING:  # the parser of the command line reads this, and is to start at once
    from ..accounting.account import Account
    from ..accounting.device.target import Target


class Figure(NamedTuple):
    """All that is known of one figure.

    Attributes:
        label: what prose calls it.
        heading: what the column of a table is called.
        unit: what it counts in: "parameters", "MACs", "bytes", "positions", "layers" or
            "nanoseconds".
        meaning: what is counted, to follow "counts".
        read: the value in an account, one number per axis for a receptive field; `None` if unknown.
        short: a shorter name that may be typed instead; "" for none.
        more_is_better: whether one number is a minimum; only costs may be limited in their growth.
        adds_up: whether that of a chain is the sum over its layers.
        driver: what of a layer makes it large: "params", "macs", "maps", "latency", or "" for none
            of them.
        init: whether `budgetnet init` limits it.
        on_device: whether it depends on a runtime; `read` takes the default one.
        in_table: whether it depends on a table of measured operators; `read` knows none.
    """

    label: str
    heading: str
    unit: str
    meaning: str
    read: Callable[[Account], int | tuple[int, ...] | None]
    short: str = ""
    more_is_better: bool = False
    adds_up: bool = True
    driver: str = ""
    init: bool = True
    on_device: bool = False
    in_table: bool = False

    @property
    def is_bytes(self) -> bool:
        """Whether sizes of it may be written in kB or KiB."""
        return self.unit == "bytes"


def read_on(name: str, account: Account, target: Target | None = None) -> tuple[int | None, str]:
    """A figure of what a runtime needs, or `None` and why it is unknown.

    It is unknown too if the deployment rests on something that is assumed.
    """
    from ..accounting.device.deployment import deployment_of
    from ..accounting.device.target import Target

    try:
        found = deployment_of(account, target or Target())
    except UnsupportedOp as error:
        return None, str(error).rstrip(".")
    if found.assumed:
        return None, "; ".join(found.assumed)
    return (found.ram_bytes if name == "ram" else found.flash_bytes), ""


FIGURES: Mapping[str, Figure] = {
    "params": Figure(
        "params", "Params", "parameters", "distinct parameters, tied ones once",
        lambda a: a.params, driver="params",
    ),
    "trainable_params": Figure(
        "trainable params", "Trainable", "parameters", "parameters that train",
        lambda a: a.trainable_params, driver="params", init=False,
    ),
    "macs": Figure(
        "MACs", "MACs", "MACs", "multiply-accumulates for one input", lambda a: a.macs,
        driver="macs",
    ),
    "receptive_field": Figure(
        "receptive field", "RF", "positions", "input positions that a unit of the last map sees",
        lambda a: None if a.receptive_field is None else a.receptive_field.size,
        short="rf", more_is_better=True,
    ),
    "depth": Figure(
        "depth", "Depth", "layers", "layer calls that multiply and accumulate", lambda a: a.depth,
        init=False,
    ),
    "weight_bytes": Figure(
        "weight bytes", "Weights B", "bytes", "bytes of parameters and buffers",
        lambda a: a.weight_bytes, driver="params",
    ),
    "peak_activation_bytes": Figure(
        "peak activation bytes", "Peak act. B", "bytes",
        "bytes of activations alive at once, at batch 1", lambda a: a.peak_activation_bytes,
        adds_up=False, driver="maps",
    ),
    "flash": Figure(
        "flash", "Flash B", "bytes",
        "bytes of weights and biases for a runtime, tflm in int8 by default",
        lambda a: read_on("flash", a)[0], driver="params", init=False, on_device=True,
    ),
    "ram": Figure(
        "RAM", "RAM B", "bytes",
        "bytes of maps as a runtime plans them, tflm in int8 by default",
        lambda a: read_on("ram", a)[0], adds_up=False, driver="maps", init=False, on_device=True,
    ),
    "latency": Figure(
        "latency", "Latency", "nanoseconds",
        "the measured times of all operators, added up to an estimate", lambda _: None,
        driver="latency", init=False, in_table=True,
    ),
}  # fmt: skip

# Figures that any account has, be it for the usual runtime.
LISTED = {name: figure for name, figure in FIGURES.items() if not figure.in_table}
# Figures that may be limited relative to a baseline, which knows no runtime and no table.
GROWING = tuple(n for n, f in LISTED.items() if not (f.more_is_better or f.on_device))
_FULL = {figure.short: name for name, figure in FIGURES.items() if figure.short}
SHORT = tuple(_FULL)


def full_name(typed: str) -> str:
    """The name of a figure that may have been typed short; any other text as it is.

    >>> full_name("rf"), full_name("macs")
    ('receptive_field', 'macs')
    """
    return _FULL.get(typed, typed)


def figure_text(value: int | tuple[int, ...] | str | None, name: str = "") -> str:
    """A figure as people write it: one number if the axes agree, "unknown" for `None`.

    `name` is that of the figure, if there is one.

    >>> figure_text(14_372, "params"), figure_text(3_200_000, "latency")
    ('14,372', '3.2 ms')
    """
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return str(value[0]) if len(set(value)) == 1 else shape_text(value)
    if name in FIGURES and FIGURES[name].unit == "nanoseconds" and isinstance(value, int):
        return time_text(value)
    return value if isinstance(value, str) else f"{value:,}"
