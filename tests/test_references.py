"""The named networks against their sources: torchvision, PyTorch Hub, MLPerf Tiny, papers."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetnet import Spec, account, fold_batchnorm, models, plan, rescale
from budgetnet.cli.targets import make_model
from budgetnet.deploy.tflite_figures import operator_macs, operator_weights
from budgetnet.errors import ArgumentError, WeightsError
from budgetnet.trace.files.tflite import read_tflite

TORCHVISION = (
    "densenet121", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "regnet_y_400mf", "resnet18", "resnet50", "squeezenet1_1", "vgg16_bn",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]
TINY = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / "mlperf_tiny"


@pytest.mark.parametrize("name", models.list_models())
def test_plan_is_the_account_of_the_built_network(name):
    reference = models.get_reference(name)
    built = models.get_model(name, device="meta")
    assert account(built, reference.input_shape, name=name) == plan(name)


# ------------------------------------------------------------------ torchvision, and PyTorch Hub


class UNet(nn.Module):
    """The U-Net of PyTorch Hub, written from its description; encoders are made first."""

    def __init__(self, width=32, depth=4):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.encoders = nn.ModuleList(map(self.pair, [3, *widths], widths))
        self.decoders = nn.ModuleList()
        for narrow, wide in reversed(list(pairwise(widths))):
            self.decoders.append(nn.ConvTranspose2d(wide, narrow, 2, 2))
            self.decoders.append(self.pair(2 * narrow, narrow))
        self.head = nn.Conv2d(width, 1, 1)
        self.pool = nn.MaxPool2d(2)

    @staticmethod
    def pair(channels, width):
        layers = []
        for inputs in (channels, width):
            conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x):
        maps = []
        for encoder in self.encoders:
            x = encoder(self.pool(x) if maps else x)
            maps.append(x)
        for up, decoder in zip(self.decoders[::2], self.decoders[1::2], strict=True):
            maps.pop()
            x = decoder(torch.cat([up(x), maps[-1]], 1))
        return torch.sigmoid(self.head(x))


def original(name):
    """The network that a reference reproduces, without memory for its weights."""
    if name == "unet":
        with torch.device("meta"):
            return UNet()
    torchvision = pytest.importorskip("torchvision", reason="its networks are the test")
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # it computes its widths
        return torchvision.models.get_model(name, weights=None)


ROLES = ("convolution", "transposed convolution", "linear", "batch norm", "max pooling",
         "relu", "activation", "squashing")  # fmt: skip


def layer_facts(rows):
    """What there is to say of every layer, in the order in which they run."""
    return [
        (row.kind.lower(), row.output_shape, row.params, row.macs, slides(row), row.has_bias,
         row.weight_shape, row.receptive_field.size, row.receptive_field.stride)
        for row in rows if row.role in ROLES
    ]  # fmt: skip


def slides(row):
    """Sizes are compared, and not how those that leave a rest would be rounded: none does."""
    return row.sliding and replace(row.sliding, ceil_mode=False)


def shortcuts_last(rows):
    """Rows of torchvision's RegNet, which runs a shortcut before the body that it is added to."""
    found, waiting = [], []
    for row in rows:
        if ".proj." in row.path:
            waiting.append(row)
            continue
        found.append(row)
        if row.path.endswith(".f.c.1"):  # the last of a body
            found, waiting = found + waiting, []
    return found


@pytest.mark.parametrize("name", [*TORCHVISION, "unet"])
def test_every_layer_is_that_of_the_original(name):
    reference = models.get_reference(name)
    theirs, ours = account(original(name), reference.input_shape), plan(name)
    rows = shortcuts_last(theirs.rows) if name == "regnet_y_400mf" else theirs.rows
    assert len(rows) == len(theirs.rows)
    assert layer_facts(rows) == layer_facts(ours.rows)
    totals = ("params", "macs", "weight_bytes", "buffers", "output_shape", "receptive_field")
    assert [getattr(theirs, each) for each in totals] == [getattr(ours, each) for each in totals]


@pytest.mark.parametrize("name", TORCHVISION)
def test_totals_are_those_that_torchvision_publishes(name):
    torchvision = pytest.importorskip("torchvision", reason="its figures are the test")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    size = weights.transforms.keywords["crop_size"]
    ours = plan(name)
    assert (3, size, size) == models.get_reference(name).input_shape
    assert weights.meta["num_params"] == ours.params
    assert weights.meta["_ops"] == round(ours.macs / 1e9, 3)
    assert (len(weights.meta["categories"]),) == ours.output_shape


def fill(net, shape):
    """Random weights, and statistics under which no layer's outputs die out or blow up."""
    net.to_empty(device="cpu")
    for part in net.modules():
        for weight in part.parameters(recurse=False):
            scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.2
            nn.init.uniform_(weight, -2 * scale, 2 * scale)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.reset_running_stats()
            part.momentum = None  # a mean over all batches
    with torch.no_grad():
        net.train()(torch.randn(2, *shape))


EVERY_RUN = ("mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "squeezenet1_1")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in EVERY_RUN else pytest.mark.deep)
    for name in (*TORCHVISION, "unet")
])  # fmt: skip
def test_the_same_weights_give_the_same_outputs(name):
    torch.manual_seed(0)
    whole = name in ("vgg16_bn", "squeezenet1_1")  # of other sizes they pool otherwise
    shape = models.get_reference(name).input_shape if whole else (3, 64, 64)
    theirs, ours = original(name), models.get_model(name, device="meta").to_empty(device="cpu")
    fill(theirs, shape)
    theirs.double()  # in which an eps is not lost
    ours.double().load_state_dict(models.convert_state_dict(name, theirs.state_dict()))
    images = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = theirs.eval()(images), ours.eval()(images)
    assert expected.std(0).max() > 1e-3 * expected.abs().max()  # it does depend on the image
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_old_files_without_counters_are_converted():
    given = {
        key: torch.ones(tensor.shape)
        for key, tensor in original("resnet18").state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    found = models.convert_state_dict("resnet18", given)
    net = models.get_model("resnet18")
    net.load_state_dict(found)
    assert 0 == net.conv1.norm.num_batches_tracked


def test_weights_that_do_not_fit_are_refused():
    weights = original("resnet18").state_dict()
    with pytest.raises(ArgumentError, match="no weights of others are known to fit 's6'"):
        models.convert_state_dict("s6", weights)
    with pytest.raises(ArgumentError, match="is not a state dict"):
        models.convert_state_dict("resnet18", original("resnet18"))
    cases = {
        "resnet50": r"not the same tensor \(bottleneck1.body.conv1.conv.weight \(64, 64, 1, 1\), "
        r"layer1.0.conv1.weight \(64, 64, 3, 3\)\)",
        "mobilenet_v2": "not the same tensor",
    }
    for name, message in cases.items():
        with pytest.raises(WeightsError, match=message):
            models.convert_state_dict(name, weights)
    del weights["fc.bias"]
    with pytest.raises(WeightsError, match=r"the count differs \(expected 102, got 101\)"):
        models.convert_state_dict("resnet18", weights)
    with pytest.raises(WeightsError, match="not the same tensor"):
        models.convert_state_dict("resnet18", {"model": weights})


# ------------------------------------------------------------------ MLPerf Tiny

# Parameters with every norm folded into the layer before it, and MACs, as the benchmark has them.
MLPERF = {
    "ds_cnn": (22_604, 2_656_768, "kws_ref_model.tflite"),
    "mobilenet_v1_025": (210_850, 7_489_664, "vww_96_int8.tflite"),
    "resnet8": (77_706, 12_501_632, "pretrainedResnet_quant.tflite"),
    "autoencoder": (265_864, 264_192, None),
}


@pytest.mark.parametrize("name", MLPERF)
def test_networks_of_mlperf_tiny_have_the_published_figures(name):
    params, macs, _ = MLPERF[name]
    planned = plan(name)
    folded = fold_batchnorm(models.get_model(name).eval(), planned.input_shape)
    assert (params, macs) == (sum(p.numel() for p in folded.parameters()), planned.macs)


def layers_of_file(model):
    """Of every operator with weights: output, MACs, parameters, stride, whether ReLU follows."""
    return [
        (channels_first(model.tensors[op.outputs[0]].shape), operator_macs(model, k),
         sum(model.tensors[i].elements for i in operator_weights(model, k)),
         op.options.stride, op.options.activation == "relu")
        for k, op in enumerate(model.operators) if operator_weights(model, k)
    ]  # fmt: skip


def channels_first(shape):
    return (shape[-1], *shape[1:-1])


def layers_of_plan(rows):
    """The same of a plan, with norms folded into the layers before them."""
    found = []
    for i, row in enumerate(rows):
        if row.weight_shape:
            after = next(each for each in (*rows[i + 1 :], row) if each.role != "batch norm")
            params = prod(row.weight_shape) + row.output_shape[0]
            stride = row.sliding.stride if row.sliding else (1, 1)
            found.append((row.output_shape, row.macs, params, stride, after.role == "relu"))
    return found


@pytest.mark.parametrize("name", [name for name in MLPERF if MLPERF[name][2]])
def test_networks_of_mlperf_tiny_are_the_files(name):
    path = TINY / MLPERF[name][2]
    if not path.exists():
        pytest.skip(f"{path.name} is neither in $BUDGETNET_DATA/mlperf_tiny nor in ./data")
    model = read_tflite(path)
    assert channels_first(model.tensors[model.inputs[0]].shape) == plan(name).input_shape
    assert layers_of_file(model) == layers_of_plan(plan(name).rows)


# ------------------------------------------------------------------ papers and courses

# Parameters and MACs. LeNet-5 by hand: 156 + 2,416 + 48,120 + 10,164 + 850.
COURSES = {
    "lenet5": (61_706, 416_520),
    "all_cnn_c": (1_369_738, 270_798_336),
    "resnet20": (272_474, 40_813_184),
}


@pytest.mark.parametrize("name", COURSES)
def test_networks_of_courses(name):
    planned = plan(name)
    assert COURSES[name] == (planned.params, planned.macs)
    assert (10,) == planned.output_shape


# ------------------------------------------------------------------ names, texts, speed


def test_names_stand_for_specs_and_inputs():
    for name in models.list_models():
        reference = models.get_reference(name)
        assert Spec.parse(reference.text) == reference.spec == Spec.parse(str(reference.spec))
        assert reference.note.endswith(".")
        assert (name, reference.input_shape) == (plan(name).name, plan(name).input_shape)


def test_networks_that_flatten_a_map_are_built_wherever_a_spec_is():
    found = rescale("lenet5", params="30k")
    assert account(found.build(), (1, 32, 32)).rows == found.account.rows
    names = {}
    exec(found.to_python(), names)
    assert account(names["model"], (1, 32, 32)).rows == found.account.rows
    model, shape, _ = make_model("c4 flatten fc2", (1, 8, 8), {})
    assert (2,) == account(model, shape).output_shape


def test_near_names_are_suggested():
    with pytest.raises(ArgumentError) as caught:
        models.get_reference("resnet-50")
    count = len(models.list_models())
    expected = (
        "no model is named 'resnet-50'. Did you mean 'resnet50' or 'resnet20' or 'resnet8'? "
        f"models.list_models() gives all {count} names."
    )
    assert expected == str(caught.value)


def test_no_spec_is_read_before_it_is_asked_for():
    code = (
        "from budgetnet.spec import text\n"
        "parse, read = text.parse, []\n"
        "text.parse = lambda given: read.append(given) or parse(given)\n"
        "import budgetnet\n"
        "budgetnet.plan('s6')\n"
        "print(read)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "['c16 c16 c16 c16 p c16 c16 c16 gap10']\n" == run.stdout


@pytest.mark.parametrize("name", models.list_models())
def test_ten_layers_are_planned_within_a_millisecond(name):
    seconds = []
    for _ in range(20):  # the least: other work on the machine only adds
        started = time.perf_counter()
        layers = len(plan(name).rows)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1e-3 * max(1, layers / 10)
