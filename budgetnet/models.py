"""Build specs into blocks, and the named reference networks.

torch is imported only where a network is built, so that names and specs are at hand without it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from .errors import ArgumentError, explain
from .spec import Spec
from .stages import Conv, Head, Pool, Separable, Stage, Transition

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Reference:
    """A named network: its spec, the input it is meant for, and how well it is documented.

    `origin` is "reproduction" where the source lists the layers, and "reconstruction" where the
    layers were inferred from what the source does state.
    """

    spec: Spec
    input_shape: tuple[int, int, int]
    origin: Literal["reproduction", "reconstruction"]
    note: str


_REPORT = 'course report "Detecting handwritten digits under 20K parameters"'
_INFERRED = (
    f"The {_REPORT} states its parameters and receptive field only. Among chains of at most four "
    "convolutions with kernels 3, 5 or 7 and non-decreasing channels 8, 16 or 32, one pooling and "
    "a 1x1 classifier with global average pooling, this is the only one that fits both."
)


def _mnist(text: str, origin: Literal["reproduction", "reconstruction"], note: str) -> Reference:
    return Reference(Spec.parse(text), (1, 28, 28), origin, note)


_MODELS = {
    "s6": _mnist(
        "c16 c16 c16 c16 p c16 c16 c16 gap10",
        "reproduction",
        f"The network of the {_REPORT}, layer by layer.",
    ),
    "s6_exp1": _mnist("c16k7 c32 p gap10", "reconstruction", f"Experiment 1. {_INFERRED}"),
    "s6_exp2": _mnist("c16 c32 c32 p gap10", "reconstruction", f"Experiment 2. {_INFERRED}"),
    "s6_exp3": _mnist("c32k5 c32 c32 p gap10", "reconstruction", f"Experiment 3. {_INFERRED}"),
}


def list_models() -> list[str]:
    """Names that `get_model` knows.

    >>> list_models()
    ['s6', 's6_exp1', 's6_exp2', 's6_exp3']
    """
    return sorted(_MODELS)


def get_reference(name: str) -> Reference:
    """The spec of a named network and where it comes from.

    Raises:
        ArgumentError: no network has this name; the message lists near ones.

    >>> str(get_reference("s6_exp1").spec), get_reference("s6_exp1").origin
    ('c16k7 c32 p gap10', 'reconstruction')
    """
    if name not in _MODELS:
        near = get_close_matches(name, _MODELS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ArgumentError(
            explain(f"no model is named {name!r}", remedy=f"{hint}Known: {', '.join(_MODELS)}.")
        )
    return _MODELS[name]


def get_model(name: str, **kwargs: Any) -> nn.Sequential:
    """Build a named network with fresh weights; `kwargs` as in `build`.

    >>> sum(p.numel() for p in get_model("s6").parameters())
    14372
    """
    reference = get_reference(name)
    return build(reference.spec, reference.input_shape[0], **kwargs)


def build(
    spec: Spec | str, in_channels: int = 1, *, device: Any = None, dtype: Any = None
) -> nn.Sequential:
    """Build a spec into blocks: an `nn.Sequential` whose children are named as `plan` names them.

    Args:
        spec: a `Spec`, or its text form.
        in_channels: channels of the input.
        device: as in torch's layers.
        dtype: as in torch's layers.

    >>> [name for name, _ in build("c8 p gap10").named_children()]
    ['conv1', 'pool1', 'head']
    """
    from torch import nn

    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    tuple(spec.layers(in_channels))  # raises for a chain that cannot be built, before any weight is
    children: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for name, stage in spec.named_stages():
        children[name] = _build_stage(stage, channels, {"device": device, "dtype": dtype})
        channels = getattr(stage, "out_channels", channels)
    return nn.Sequential(children)


def _build_stage(stage: Stage, channels: int, factory: dict[str, Any]) -> nn.Module:
    from torch import nn

    from . import blocks

    if isinstance(stage, Pool):
        return nn.MaxPool2d(stage.kernel_size, stage.stride, stage.padding)
    norm = nn.BatchNorm2d if stage.norm else None
    if isinstance(stage, Head):
        return blocks.GAP(channels, stage.num_classes, norm_layer=norm, **factory)
    layers: dict[str, Any] = {
        "norm_layer": norm,
        "activation_layer": nn.ReLU if stage.act else None,
        **factory,
    }
    if isinstance(stage, Transition):
        return blocks.Transition(channels, stage.out_channels, **layers)
    layers["padding"], layers["dilation"] = stage.padding, stage.dilation
    shape = (channels, stage.out_channels, stage.kernel_size, stage.stride)
    if isinstance(stage, Separable):
        return blocks.DepthwiseSeparable(*shape, **layers)
    assert isinstance(stage, Conv)
    return blocks.ConvBNReLU(*shape, groups=stage.groups, bias=stage.bias, **layers)
