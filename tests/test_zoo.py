"""Every torchvision classification network against the figures published with its weights."""

import pytest
from torch import nn

from budgetnet import account

models = pytest.importorskip("torchvision.models")

# The larger siblings of attention networks, which take seconds each; their smallest are here.
SLOW = {"swin_s", "swin_b", "swin_v2_s", "swin_v2_b", "vit_l_16", "vit_l_32", "vit_h_14"}
NAMES = [name for name in models.list_models(module=models) if name not in SLOW]


def build(name, monkeypatch, **options):
    """The network without the time that initialising its weights takes."""
    for init in ("kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "normal_", "uniform_",
                 "xavier_uniform_", "constant_", "ones_", "zeros_"):  # fmt: skip
        monkeypatch.setattr(nn.init, init, lambda tensor, *_, **__: tensor)
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False}
    return models.get_model(name, weights=None, **options)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs_are_the_published_ones(name, monkeypatch):
    weights = models.get_model_weights(name).DEFAULT
    size = weights.transforms.keywords["crop_size"]
    options = {"aux_logits": False} if name == "googlenet" else {}  # its weights come without
    model = build(name, monkeypatch, **options)
    result = account(model, (3, size, size), strict=True)
    assert weights.meta["num_params"] == result.params
    constant = sum(map(position_bias_macs, model.modules()))
    assert weights.meta["_ops"] == round((result.macs + constant) / 1e9, 3)


def position_bias_macs(module):
    """Swin v2 computes a bias from constants at every call: torchvision counts that, we do not."""
    mlp = getattr(module, "cpb_mlp", None)
    if mlp is None:
        return 0
    positions = module.relative_coords_table[0, ..., 0].numel()
    return positions * sum(layer.weight.numel() for layer in mlp if isinstance(layer, nn.Linear))


# Size, stride and padding of the last map, measured by gradient footprint outside this library.
FIELDS = {
    "alexnet": (195, 32, 66),
    "vgg16": (212, 32, 90),
    "resnet18": (435, 32, 217),
    "resnet50": (427, 32, 213),
    "resnet101": (971, 32, 485),
    "mobilenet_v2": (491, 32, 245),
    "googlenet": (379, 32, 167),
    "inception_v3": (1311, 32, 618),
    "densenet121": (2071, 32, 1021),
}


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields_of_the_literature(name, monkeypatch):
    size = 299 if name == "inception_v3" else 224
    field = account(build(name, monkeypatch), (3, size, size)).receptive_field
    assert tuple((value, value) for value in FIELDS[name]) == (
        field.size,
        field.stride,
        field.padding,
    )
