"""Source code of a spec: the blocks that it is built of, as one would write them."""

from __future__ import annotations

from math import prod
from typing import Any

from .plan import Spec, as_spec
from .stages import Conv, Head, Pool, Separable, Stage, Transition


def to_python(spec: Spec | str, in_channels: int = 1) -> str:
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
    spec = as_spec(spec)
    tuple(spec.layers(in_channels))  # raises for a chain that cannot be built
    lines, channels = [], in_channels
    for name, stage in spec.named_stages():
        lines.append(f"        {name}={_call(stage, channels)},\n")
        channels = getattr(stage, "out_channels", channels)
    return (
        "from collections import OrderedDict\n\nfrom torch import nn\n\n"
        "from budgetnet import blocks\n\n"
        f"model = nn.Sequential(\n    OrderedDict(\n{''.join(lines)}    )\n)"
    )


def _call(stage: Stage, channels: int) -> str:
    """The call that makes a stage: what differs from the defaults of its block."""
    if isinstance(stage, Pool):
        stride = () if stage.stride == stage.kernel_size else (f"stride={_size(stage.stride)}",)
        padding = (f"padding={_size(stage.padding)}",) if any(stage.padding) else ()
        return f"nn.MaxPool2d({', '.join((_size(stage.kernel_size), *stride, *padding))})"
    arguments: list[Any] = [channels]
    if isinstance(stage, Head):
        arguments += [] if stage.num_classes is None else [stage.num_classes]
        name = "GAP"
    elif isinstance(stage, Transition):
        arguments.append(stage.out_channels)
        name = "Transition"
    else:
        arguments += [stage.out_channels, *_geometry(stage)]
        name = "ConvBNReLU" if isinstance(stage, Conv) else "DepthwiseSeparable"
    if not stage.norm:
        arguments.append("norm_layer=None")
    if not getattr(stage, "act", True):
        arguments.append("activation_layer=None")
    return f"blocks.{name}({', '.join(map(str, arguments))})"


def _geometry(stage: Conv | Separable) -> list[str]:
    found = []
    if stage.kernel_size != (3, 3) or stage.stride != (1, 1):
        found.append(_size(stage.kernel_size))
    if stage.stride != (1, 1):
        found.append(f"stride={_size(stage.stride)}")
    axes = list(zip(stage.padding, stage.dilation, stage.kernel_size, strict=True))
    if any(2 * pad != d * (k - 1) for pad, d, k in axes):  # the default pads odd kernels so
        found.append(f"padding={_size(stage.padding)}")
    if prod(stage.dilation) != 1:
        found.append(f"dilation={_size(stage.dilation)}")
    if isinstance(stage, Conv):
        found += [f"groups={stage.groups}"] if stage.groups != 1 else []
        found += [f"bias={stage.bias}"] if stage.bias is not None else []
    return found


def _size(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else str(size)
