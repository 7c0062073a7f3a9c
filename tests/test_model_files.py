"""Accounts of `.onnx` and `.tflite` files: against plans and traces, runtimes, and damage.

The oracles are graphs of others: what `to_onnx` writes, every model of ONNX's own backend tests,
the files of MLPerf Tiny, and files that `tflite_files` writes from the schema. onnxruntime and
TensorFlow Lite Micro, themselves, say what an output reads: an input position is changed, and the
outputs that change are those whose window holds it.
"""

import itertools
import os
import re
import warnings
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from test_tflite import tiny
from torch import nn

import budgetnet
from budgetnet import Account, account, models, plan, to_onnx
from budgetnet.deploy.tflite_figures import figures_of
from budgetnet.errors import FormatError
from budgetnet.testing import strategies
from budgetnet.trace.files.onnx_rows import account_of_onnx
from budgetnet.trace.files.tflite import parse_tflite
from budgetnet.trace.files.tflite_rows import account_of_tflite

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper = onnx.helper


def of_onnx(proto, name="model.onnx", given=None, strict=True):
    """The account of an ONNX model that is made here."""
    return account_of_onnx(proto.SerializeToString(), name, name, given, strict=strict)


def of_tflite(content, name="model.tflite", strict=True):
    """The account of the bytes of a `.tflite` file."""
    return account_of_tflite(content, name, name, strict=strict)


def costs(found):
    """What a file and the model that it was made of have in common."""
    field = found.receptive_field
    return found.params, found.macs, field and field.to_dict(), found.output_shapes


def graph(nodes, inputs, outputs, stored=(), opset=18, said=()):
    """An ONNX model of nodes; shapes are given by name."""
    values = {}
    for name, shape in {**inputs, **outputs, **dict(said)}.items():
        values[name] = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    made = helper.make_graph(
        nodes, "net", [values[n] for n in inputs], [values[n] for n in outputs],
        [onnx.numpy_helper.from_array(v, n) for n, v in dict(stored).items()],
        value_info=[values[n] for n in dict(said)],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def floats(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# Files that the library itself writes.


@pytest.mark.parametrize("name", ["s6", "dsnet14", "dsnet16", "dsnet34", "dsnet38"])
def test_an_exported_network_costs_what_was_folded(name, tmp_path):
    net = models.get_model(name, weights="mnist").eval()
    shape = models.get_reference(name).input_shape
    written = to_onnx(net, shape, tmp_path / "net.onnx", name=name)
    found = account(tmp_path / "net.onnx")
    assert costs(written) == costs(found)
    planned = plan(name)
    assert (planned.macs, planned.receptive_field) == (found.macs, found.receptive_field)
    assert (("float32", 4 * found.params),) == found.weight_bytes_by_type
    assert found == Account.from_json(found.to_json())
    convolutions = [row for row in found.rows if row.role == "convolution"]
    traced = [row for row in written.rows if row.role == "convolution"]
    for ours, its in zip(traced, convolutions, strict=True):
        assert ours._replace(path="", kind="", reads=()) == its._replace(path="", kind="", reads=())


def stirred(net):
    """The network with no bias and no mean of zero, which an exporter would leave out."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias)
    return net.eval()


TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18", "alexnet"]


@pytest.mark.parametrize(
    "name",
    ["mnasnet0_5", *[pytest.param(name, marks=pytest.mark.deep) for name in TORCHVISION]],
)
def test_torchvision_as_a_file_costs_what_it_does_as_a_module(name, tmp_path):
    torchvision = pytest.importorskip("torchvision")
    net = stirred(getattr(torchvision.models, name)(weights=None))
    written = to_onnx(net, (3, 64, 64), tmp_path / "net.onnx", tolerance=1e-2)
    assert costs(written) == costs(account(tmp_path / "net.onnx"))


EXPORTS = int(os.environ.get("BUDGETNET_GRAPHS", 6))


@settings(max_examples=EXPORTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(spec=strategies.specs())
def test_random_specs_exported_cost_what_they_do_folded(spec, tmp_path_factory):
    shape = (1, 20, 20)
    try:
        plan(spec, shape)
    except budgetnet.errors.BudgetnetError:
        return
    file = tmp_path_factory.mktemp("net") / "net.onnx"
    net = stirred(models.build(spec, 1))
    written = to_onnx(net, shape, file, tolerance=1e-2)
    assert costs(written) == costs(account(file))


# Files of MLPerf Tiny.

TINY = {
    "kws_ref_model.tflite": (2_656_768, 22_604, 24_368, (26, 20)),
    "vww_96_int8.tflite": (7_489_664, 210_850, 219_064, (315, 315)),
    "pretrainedResnet_quant.tflite": (12_501_632, 77_706, 78_744, (25, 25)),
}


@pytest.mark.parametrize("name", TINY)
def test_mlperf_tiny(name):
    found = of_tflite(tiny(name))
    macs, params, size, field = TINY[name]
    assert (macs, params, size) == (found.macs, found.params, found.weight_bytes)
    assert field == found.receptive_field.size
    figures = figures_of(parse_tflite(tiny(name)))
    assert (figures.macs, figures.params, figures.weight_bytes) == (macs, params, size)
    assert ["int8", "int32"] == [kind for kind, _ in found.weight_bytes_by_type]
    assert found == Account.from_json(found.to_json())
    assert () == found.unknown


class Uneven(nn.Module):
    """A convolution padded as TensorFlow pads: the larger half behind the map."""

    def __init__(self, size, inputs, outputs, kernel, stride, groups=1):
        super().__init__()
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        self.pads = ()
        for n, k in zip(size[::-1], kernel[::-1], strict=True):
            total = max((-(-n // stride) - 1) * stride + k - n, 0)
            self.pads += (total // 2, total - total // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, x):
        return torch.relu(self.conv(nn.functional.pad(x, self.pads)))


def test_mobilenet_of_mlperf_tiny_in_torch_sees_the_same():
    """The person detector as a module, written from its published description."""
    widths = [8, 16, 32, 32, 64, 64, *[128] * 6, 256, 256]
    strides = [1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1]
    size, layers = 48, [Uneven((96, 96), 3, 8, 3, 2)]
    for before, after, stride in zip(widths, widths[1:], strides, strict=False):
        layers.append(Uneven((size, size), before, before, 3, stride, groups=before))
        size = -(-size // stride)
        layers.append(Uneven((size, size), before, after, 1, 1))
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 2))
    assert costs(account(net, (3, 96, 96))) == costs(of_tflite(tiny("vww_96_int8.tflite")))


def test_keyword_spotting_of_mlperf_tiny_in_torch_sees_the_same():
    layers = [Uneven((49, 10), 1, 64, (10, 4), 2)]
    for _ in range(4):
        layers += [Uneven((25, 5), 64, 64, 3, 1, groups=64), Uneven((25, 5), 64, 64, 1, 1)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12))
    assert costs(account(net, (1, 49, 10))) == costs(of_tflite(tiny("kws_ref_model.tflite")))


class Residual(nn.Module):
    """A block of ResNet-8; from the second on, with a 1x1 convolution beside it."""

    def __init__(self, size, inputs, outputs, stride):
        super().__init__()
        self.first = Uneven((size, size), inputs, outputs, 3, stride)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.beside = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.second(self.first(x)) + self.beside(x))


def test_resnet_of_mlperf_tiny_in_torch_sees_the_same():
    blocks = [Residual(32, 16, 16, 1), Residual(32, 16, 32, 2), Residual(16, 32, 64, 2)]
    net = nn.Sequential(
        Uneven((32, 32), 3, 16, 3, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    found = of_tflite(tiny("pretrainedResnet_quant.tflite"))
    assert costs(account(net, (3, 32, 32))) == costs(found)


# Runtimes: who reads what is seen by changing the input.


def changed_by(run, x, place, draw):
    """Which elements of the output change with those of the input at a place."""
    before, found, size = run(x), False, x[place].shape
    for scale in (1, 50, np.nan):
        y = x.copy()
        if x.dtype == np.float32:
            y[place] += scale * draw.normal(size=size)
        else:
            ends = np.iinfo(x.dtype)
            y[place] = draw.integers(ends.min, ends.max, size=size).astype(x.dtype)
        after = run(y)
        found = found | ((after != before) & ~((after != after) & (before != before)))
    return found


def check_reads(row, run, x, layout, draw, most=60):
    """Hold a row against a runtime; returns whether everything that it claims was seen.

    `layout` says which axes of the input, and of an output that has positions, are positions.
    """
    field, tight = row.receptive_field, True
    sizes = [x.shape[i] for i in layout]
    for place in itertools.islice(itertools.product(*map(range, sizes)), most):
        index = [slice(None)] * x.ndim
        for axis, p in zip(layout, place, strict=True):
            index[axis] = p
        changed = changed_by(run, x, tuple(index), draw)
        if row.is_global:
            units, seen = [()], np.asarray(changed.any())
            claimed = {(): [field.axes[k].reads(0) for k in range(len(layout))]}
        else:
            others = tuple(i for i in range(changed.ndim) if i not in layout)
            seen = changed.any(axis=others)
            units = list(itertools.product(*map(range, seen.shape)))
            claimed = {unit: field.reads(*unit) for unit in units}
        for unit in units:
            told = all(p in read for p, read in zip(place, claimed[unit], strict=True))
            assert told or not seen[unit] or row.global_context, (row.kind, place, unit)
            tight = tight and (bool(seen[unit]) or not told)
    return tight


LOOSE = ("max", "arg", "equal", "less", "greater")  # which do not show all that they read
RANDOM = ("dropout", "bernoulli", "random", "training_mode")  # which are not the same twice
REFUSED = "has no shape|no input|no elements|none of its outputs"


def node_cases():
    """Every model of ONNX's backend tests of nodes, with its inputs and outputs."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in load_model_tests(kind="node") if case.model is not None]


def runner(proto, inputs):
    """The first output for a first input, by onnxruntime; `None` if it lacks a kernel."""
    runtime = pytest.importorskip("onnxruntime")
    runtime.set_default_logger_severity(4)
    names = [value.name for value in proto.graph.input]

    def run(x):
        return session.run(None, dict(zip(names, [x, *inputs[1:]], strict=True)))[0]

    try:
        session = runtime.InferenceSession(proto.SerializeToString())
        run(inputs[0])
    except Exception:  # it raises kinds of its own, and a type error for a type that it lacks
        return None
    return run


def has_a_map(found, x, output):
    """Whether the first input and the output of one node have positions, in one order."""
    row = found.rows[-1] if found.rows else None
    if row is None or row.receptive_field is None or not row.receptive_field.axes:
        return False
    is_number = x.ndim > 2 and x.dtype in (np.float32, np.int8, np.uint8)
    return is_number and row.kind != "Transpose" and (row.is_global or output.ndim == x.ndim)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.deep)])
def test_the_models_of_onnx_itself(step):
    """No crash; shapes are those of the expected outputs; fields are what onnxruntime reads."""
    draw, known, loose, wrong = np.random.default_rng(0), 0, [], []
    for case in node_cases()[::step]:
        inputs, outputs = case.data_sets[0]
        try:
            found = of_onnx(case.model, case.name, strict=False)
        except FormatError as error:
            wrong += [] if re.search(REFUSED, str(error)) else [str(error)]
            continue
        assert found == Account.from_json(found.to_json())
        if found.output_shapes is None or not all(isinstance(v, np.ndarray) for v in outputs):
            continue
        for shape, real in zip(found.output_shapes, outputs, strict=False):
            batches = {1, *real.shape}  # of which one is left out, wherever a transpose put it
            wrong += [] if prod(real.shape) in {prod(shape) * n for n in batches} else [case.name]
        if len(case.model.graph.node) > 1 or any(word in case.name for word in RANDOM):
            continue
        if has_a_map(found, inputs[0], outputs[0]) and (run := runner(case.model, inputs)):
            known += 1
            if not check_reads(found.rows[-1], run, inputs[0], range(2, inputs[0].ndim), draw):
                loose.append(case.name)
    assert [] == wrong
    assert [] == [name for name in loose if not any(word in name for word in LOOSE)]
    assert known > 180 // step
