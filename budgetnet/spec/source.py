"""Source code of a spec: the blocks that it is built of, as one would write them."""

from __future__ import annotations

from collections.abc import Sequence

from ..accounting.geometry import check_shape
from .calls import Call
from .plan import SpecLike, as_spec
from .spec import Spec


def calls_of(spec: Spec, in_channels: int | Sequence[int]) -> tuple[tuple[str, Call], ...]:
    """What makes the block of each stage, given the channels or the shape of the input."""
    if isinstance(in_channels, tuple | list):
        channels, *size = check_shape(in_channels, axes=None)
        return spec.calls(channels, tuple(size))
    return spec.calls(in_channels)  # type: ignore[arg-type]  # an int


def to_python(spec: SpecLike, in_channels: int | Sequence[int] = 1) -> str:
    """Python source that defines `model`, equal to what `models.build` makes of the same.

    >>> print(to_python("c8 p gap10"))
    from collections import OrderedDict
    <BLANKLINE>
    from torch import nn
    <BLANKLINE>
    from budgetnet import blocks
    <BLANKLINE>
    model = nn.Sequential(
        OrderedDict(
            conv1=blocks.ConvBNReLU(1, 8, padding=0),
            pool1=nn.MaxPool2d(2),
            head=blocks.GAP(8, 10),
        )
    )
    """
    calls = calls_of(as_spec(spec), in_channels)
    lines = [f"        {name}={call.source()},\n" for name, call in calls]
    uses_partial = any("partial(" in line for line in lines)
    return (
        "from collections import OrderedDict\n"
        + "from functools import partial\n" * uses_partial
        + "\nfrom torch import nn\n\n"
        "from budgetnet import blocks\n\n"
        f"model = nn.Sequential(\n    OrderedDict(\n{''.join(lines)}    )\n)"
    )
