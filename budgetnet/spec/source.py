"""Source code of a spec: the blocks that it is built of, as one would write them."""

from __future__ import annotations

from .plan import SpecLike, as_spec


def to_python(spec: SpecLike, in_channels: int = 1) -> str:
    """Python source that defines `model`, equal to what `models.build` makes.

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
    calls = as_spec(spec).calls(in_channels)
    lines = [f"        {name}={call.source()},\n" for name, call in calls]
    return (
        "from collections import OrderedDict\n\nfrom torch import nn\n\n"
        "from budgetnet import blocks\n\n"
        f"model = nn.Sequential(\n    OrderedDict(\n{''.join(lines)}    )\n)"
    )
