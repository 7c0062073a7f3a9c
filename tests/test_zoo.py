"""Every torchvision classification network against the figures published with its weights."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from budgetnet import account
from budgetnet.trace.rules import RULES

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


class Slim(nn.Module):
    """Blocks of TF-Slim, for a test: padding as TensorFlow's "SAME" gives it at even sizes."""

    @staticmethod
    def conv(inputs, outputs, kernel, stride=1):
        return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)

    @staticmethod
    def pool(kernel, stride):
        before = max(kernel - stride, 0) // 2
        after = max(kernel - stride, 0) - before
        pad = nn.ZeroPad2d((before, after, before, after))
        return nn.Sequential(pad, nn.MaxPool2d(kernel, stride))

    class Bottleneck(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            width = outputs // 4
            self.residual = nn.Sequential(
                Slim.conv(inputs, width, 1),
                Slim.conv(width, width, 3, stride),
                Slim.conv(width, outputs, 1),
            )
            same = inputs == outputs
            self.shortcut = Slim.pool(1, stride) if same else Slim.conv(inputs, outputs, 1, stride)

        def forward(self, x):
            return torch.relu(self.shortcut(x) + self.residual(x))


def slim_resnet50():
    """ResNet v1-50 of TF-Slim, which strides in the last unit of a block, not in the first."""
    units, inputs = [], 64
    for outputs, count, stride in ((256, 3, 2), (512, 4, 2), (1024, 6, 2), (2048, 3, 1)):
        for i in range(count):
            units.append(Slim.Bottleneck(inputs, outputs, stride if i == count - 1 else 1))
            inputs = outputs
    return nn.Sequential(Slim.conv(3, 64, 7, 2), Slim.pool(3, 2), *units)


def slim_vgg16():
    layers, inputs = [], 3
    for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers += [Slim.conv(inputs, width, 3), nn.ReLU()]
            inputs = width
        layers.append(Slim.pool(2, 2))
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("build_slim", "expected"),
    [(slim_resnet50, (483, 32, 239)), (slim_vgg16, (212, 32, 90))],
    ids=["resnet_v1_50", "vgg_16"],
)
def test_receptive_fields_of_tf_slim(build_slim, expected):
    # Araujo, Norris and Sim, Distill 2019, table of networks.
    with torch.device("meta"):
        model = build_slim()
    field = account(model, (3, 224, 224)).receptive_field
    assert tuple((value, value) for value in expected) == (field.size, field.stride, field.padding)


TRUNKS = {
    "squeezenet1_0": lambda net: net.features,
    "squeezenet1_1": lambda net: net.features,
    "shufflenet_v2_x0_5": lambda net: nn.Sequential(
        net.conv1, net.maxpool, net.stage2, net.stage3, net.stage4, net.conv5
    ),
    "mnasnet0_5": lambda net: net.layers,
    "convnext_tiny": lambda net: net.features,
    "regnet_x_400mf": lambda net: nn.Sequential(net.stem, net.trunk_output),
    "deeplabv3_resnet50": lambda net: nn.Sequential(*net.backbone.values()),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_receptive_field_of_a_unit_is_what_spoils_it(name, monkeypatch):
    """A NaN in the first or last row of the region reaches the unit, one row further out none."""
    options = {"weights_backbone": None} if name.startswith("deeplab") else {}
    net = models.get_model(name, weights=None, **options)
    trunk = TRUNKS[name](net).eval()
    for layer in trunk.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    size = account(trunk, (3, 256, 64)).receptive_field.size[0]
    shape = (3, 64 * (size // 64 + 2), 64)
    result = account(trunk, shape)
    unit = result.output_shape[1] // 2
    (first, last), _ = result.receptive_field.region(unit, 0)
    assert 0 < first < last < shape[1] - 1
    with torch.no_grad():
        for row, spoils in ((first - 1, False), (first, True), (last, True), (last + 1, False)):
            image = torch.rand(1, *shape)
            image[:, :, row] = float("nan")
            assert spoils == bool(trunk(image)[0, :, unit].isnan().any()), f"row {row} of {name}"


@pytest.mark.parametrize("name", models.list_models(module=models.segmentation))
def test_segmentation(name, monkeypatch):
    weights = models.get_model_weights(name).DEFAULT
    options = {} if name.startswith("lraspp") else {"aux_loss": True}  # as published
    model = build(name, monkeypatch, weights_backbone=None, **options)
    # At 520 pixels the two branches of lraspp meet at strides 8 and 528/65: no window describes
    # the sum, and its receptive field is unknown. At multiples of 16 it is known.
    result = account(model, (3, 520, 520), strict=not name.startswith("lraspp"))
    assert weights.meta["num_params"] == result.params
    assert weights.meta["_ops"] == round(result.macs / 1e9, 3)
    assert (21, 520, 520) == result.output_shape
    assert (result.receptive_field is None) == name.startswith("lraspp")
    assert account(model, (3, 512, 512)).receptive_field.stride == (1, 1)


def test_the_receptive_field_is_that_of_the_first_output(monkeypatch):
    options = {"weights_backbone": None, "aux_loss": True}
    both = account(build("fcn_resnet50", monkeypatch, **options), (3, 256, 256))
    alone = account(build("fcn_resnet50", monkeypatch, weights_backbone=None), (3, 256, 256))
    assert 2 == len(both.output_shapes)
    assert alone.receptive_field == both.receptive_field
    assert both.rows[-1].receptive_field != both.receptive_field


# Operations that networks run on constants and parameters only; no rule can be asked about them.
ON_CONSTANTS = {"arange", "copy_", "empty", "index", "new_zeros", "scalar_tensor", "zero_", "zeros"}


class Names(TorchDispatchMode):
    """Collects the names of the operations that a real forward dispatches."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@pytest.mark.deep
def test_every_operation_of_the_zoo_has_a_rule(monkeypatch):
    names = Names()
    for name in NAMES:
        size = models.get_model_weights(name).DEFAULT.transforms.keywords["crop_size"]
        model = build(name, monkeypatch).eval().to("meta")
        with torch.no_grad(), names:
            model(torch.empty(1, 3, size, size, device="meta"))
    for name in models.list_models(module=models.segmentation):
        model = build(name, monkeypatch, weights_backbone=None).eval()
        with torch.no_grad(), names:
            model(torch.zeros(1, 3, 64, 64))
    plain = {name.removesuffix("_") for name in names.found - ON_CONSTANTS}
    assert set() == plain - RULES.keys()
    assert {"convolution", "native_batch_norm", "upsample_bilinear2d"} <= plain
