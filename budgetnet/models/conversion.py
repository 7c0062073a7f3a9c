"""Weights that others have trained, under the names that networks have here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import ArgumentError, WeightsError, did_you_mean, explain, shown
from ..spec.references import get_reference

if TYPE_CHECKING:
    from torch import Tensor

_EPS = 1e-5  # of BatchNorm in torch, and so in all networks here

# The networks whose layers stand in the order of the original, with the eps of its BatchNorms.
_CONVERTED = {
    "densenet121": _EPS, "efficientnet_b0": _EPS, "mobilenet_v2": _EPS, "mobilenet_v3_large": 1e-3,
    "mobilenet_v3_small": 1e-3, "regnet_y_400mf": _EPS, "resnet18": _EPS, "resnet50": _EPS,
    "squeezenet1_1": _EPS, "unet": _EPS, "vgg16_bn": _EPS,
}  # fmt: skip

_COUNTER = "num_batches_tracked"  # old files lack it


def convert_state_dict(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of torchvision's network as `get_model(name)` loads them.

    Layers stand in the same order, so that tensors are matched by their order, and each is checked
    by the last part of its name and by its shape. In `eval()` the outputs are then the same. Where
    the original's BatchNorms have another eps, as those of MobileNetV3 do, the difference goes into
    the variances, since only the sum of both is ever used; to train on, set `eps` and `momentum`.

    Args:
        name: one of the networks that torchvision has too, or "unet", whose original is on PyTorch
            Hub: mateuszbuda/brain-segmentation-pytorch.
        state_dict: of the original, such as `ResNet18_Weights.DEFAULT.get_state_dict()`.

    Raises:
        ArgumentError: no network has this name, or its weights cannot be converted.
        WeightsError: the tensors are not those of this network; the message names the first.

    >>> from torchvision.models import resnet18
    >>> from budgetnet import models
    >>> net = models.get_model("resnet18")
    >>> net.load_state_dict(models.convert_state_dict("resnet18", resnet18().state_dict()))
    <All keys matched successfully>
    """
    import torch

    from .zoo import build

    reference = get_reference(name)
    if name not in _CONVERTED:
        what = f"no weights of others are known to fit {name!r}"
        raise ArgumentError(explain(what, remedy=did_you_mean(name, _CONVERTED)))
    if not isinstance(state_dict, Mapping):
        what = f"{shown(state_dict)} is not a state dict"
        raise ArgumentError(explain(what, remedy="Pass what state_dict() of a network gives."))
    expected = build(reference.spec, reference.input_shape, device="meta").state_dict()
    found = {}
    for ours, theirs in _pairs(name, expected, state_dict):
        tensor, (layer, _, part) = state_dict[theirs], ours.rpartition(".")
        found[ours] = tensor
        if part == "running_var":
            found[ours] = tensor + (_CONVERTED[name] - _EPS)
            counter = theirs.removesuffix(part) + _COUNTER
            found[f"{layer}.{_COUNTER}"] = state_dict.get(counter, torch.tensor(0))
    return found


def _pairs(
    name: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> Iterable[tuple[str, str]]:
    """The names of every tensor here and there; raises `WeightsError` for what does not fit."""
    ours, theirs = ([key for key in keys if not key.endswith(_COUNTER)]
                    for keys in (expected, _ordered(given)))  # fmt: skip
    for one, other in zip(ours, theirs, strict=False):
        parts = one.rpartition(".")[2], other.rpartition(".")[2]
        shapes = tuple(expected[one].shape), tuple(getattr(given[other], "shape", ()))
        if parts[0] != parts[1] or shapes[0] != shapes[1]:
            numbers = {one: shapes[0], other: shapes[1]}
            raise _unfit(name, "these two are not the same tensor", numbers)
    if len(ours) != len(theirs):
        raise _unfit(name, "the count differs", {"expected": len(ours), "got": len(theirs)})
    return zip(ours, theirs, strict=True)


def _ordered(keys: Iterable[str]) -> list[str]:
    """Names in the order of our layers: torchvision's RegNet has a shortcut before its body."""
    blocks: dict[str, int] = {}

    def place(key: str) -> tuple[int, bool]:
        block = key.partition(".proj.")[0].partition(".f.")[0]
        return blocks.setdefault(block, len(blocks)), ".proj." in key

    return sorted(keys, key=place)


def _unfit(name: str, why: str, numbers: Mapping[str, object]) -> WeightsError:
    remedy = "Pass the state dict of the whole network, as it was saved."
    what = f"these are not the weights of {name!r}: {why}"
    return WeightsError(explain(what, numbers=dict(numbers), remedy=remedy))
