"""Accounts of `.onnx` and `.tflite` files: against plans and traces, runtimes, and damage.

The oracles are graphs of others: what `to_onnx` writes, every model of ONNX's own backend tests,
the files of MLPerf Tiny, and files that `tflite_files` writes from the schema. onnxruntime and
TensorFlow Lite Micro, themselves, say what an output reads: an input position is changed, and the
outputs that change are those whose window holds it.
"""

import functools
import itertools
import os
import random
import re
import subprocess
import sys
import warnings
from math import prod
from pathlib import Path

import damage
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from test_tflite import small, tiny
from tflite_files import Net, interpret, random_net
from torch import nn

import budgetnet
from budgetnet import Account, BudgetExceeded, account, assert_budget, models, plan, to_onnx
from budgetnet.cli.parser import main
from budgetnet.deploy.tflite_figures import figures_of
from budgetnet.errors import ArgumentError, FormatError, UnsupportedOp
from budgetnet.spec.stages import BRANCHES, STAGES, BatchNorm, DenseBlock, PreactConv
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
    """The network with no number of zero or one, which an exporter leaves out, or stores once."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias)
    return net.eval()


TORCHVISION = ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"]


@pytest.mark.parametrize(
    "name",
    ["mnasnet0_5", *[pytest.param(name, marks=pytest.mark.deep) for name in TORCHVISION]],
)
def test_torchvision_as_a_file_costs_what_it_does_as_a_module(name, tmp_path):
    torchvision = pytest.importorskip("torchvision", reason="its networks are the test")
    net = stirred(getattr(torchvision.models, name)(weights=None))
    written = to_onnx(net, (3, 64, 64), tmp_path / "net.onnx", tolerance=1e-2)
    assert costs(written) == costs(account(tmp_path / "net.onnx"))


EXPORTS = int(os.environ.get("BUDGETNET_GRAPHS", 6))


# Not those that begin with a norm: behind a convolution the exporter folds it as well.
EXPORTED = tuple(kind for kind in (*STAGES, *BRANCHES)
                 if kind not in (BatchNorm, PreactConv, DenseBlock))  # fmt: skip


@settings(max_examples=EXPORTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(spec=strategies.specs(kinds=EXPORTED))
def test_random_specs_exported_cost_what_they_do_folded(spec, tmp_path_factory):
    shape = (1, 20, 20)
    try:
        plan(spec, shape)
    except budgetnet.errors.BudgetnetError:
        return
    assume("u3bilinear" not in str(spec))  # runtimes round thirds differently
    file = tmp_path_factory.mktemp("net") / "net.onnx"
    net = stirred(models.build(spec, shape))
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
    reads = functools.cache(field.reads)  # the same for every place
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
            claimed = {unit: reads(*unit) for unit in units}
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
    runtime = pytest.importorskip("onnxruntime", reason="it is the oracle")
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


@pytest.mark.parametrize("step", [97, pytest.param(9, marks=pytest.mark.deep)])
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


# The interpreter of TensorFlow Lite Micro.


def tflm_runner(content, shape):
    """The first output of a file for its first input, by the real interpreter."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    real = interpret(content).interpreter
    others = []
    for i in range(1, 9):
        try:
            slot = real.get_input_details(i)
        except Exception:  # there is no further input; the binding raises kinds of its own
            break
        others.append(np.random.default_rng(i).integers(-128, 128, slot["shape"]).astype(np.int8))

    def run(x):
        for i, value in enumerate([x, *others]):
            real.set_input(value, i)
        real.invoke()
        return np.array(real.get_output(0))

    return run


@pytest.mark.parametrize("count", [25, pytest.param(400, marks=pytest.mark.deep)])
def test_random_tflite_files_read_what_the_interpreter_reads(count):
    draw, positions = np.random.default_rng(0), 0
    for seed in range(count):
        net = random_net(random.Random(seed), 5)
        content = net.content()
        found = of_tflite(content, strict=False)
        assert found == Account.from_json(found.to_json())
        figures = figures_of(parse_tflite(content))
        assert (figures.macs, figures.params) == (found.macs, found.params)
        row = found.rows[-1]
        if row.receptive_field is None:
            continue
        shape = net.shape(net.inputs[0])
        x = draw.integers(-128, 128, shape).astype(np.int8)
        check_reads(row, tflm_runner(content, shape), x, (1, 2), draw, most=12)
        positions += not row.is_global
    assert positions > count // 4


WINDOWS = [
    (name, kernel, stride, same)
    for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")
    for kernel, stride in [(3, 2), (2, 1), (3, 1), (2, 2)]
    for same in (True, False)
]


@pytest.mark.parametrize(("name", "kernel", "stride", "same"), WINDOWS)
@pytest.mark.parametrize("size", [(7, 8), (8, 5)])
def test_each_window_is_the_interpreters_to_the_position(name, kernel, stride, same, size):
    """An impulse in an empty map shows in exactly those outputs whose window holds it."""
    net = Net(random.Random(0))
    out = [-(-n // stride) if same else (n - kernel) // stride + 1 for n in size]
    net.inputs = [net.tensor((1, *size, 1), scale=1.0)]
    window = {0: ("b", 0 if same else 1), 1: ("i", stride), 2: ("i", stride)}
    shape = (1, *out, 1)
    if "POOL" in name:
        options = window | {3: ("i", kernel), 4: ("i", kernel)}
        net.outputs = [net.add(name, net.inputs, shape, options, scale=1.0)]
    else:
        weight = net.tensor((1, kernel, kernel, 1), data=b"\x01" * kernel**2, scale=1.0)
        options = window | ({3: ("i", 1)} if name.startswith("DEPTH") else {})
        parts = [*net.inputs, weight, net.numbers(0, scale=1.0)]
        net.outputs = [net.add(name, parts, shape, options, scale=1.0)]
    content = net.content()
    field, run = of_tflite(content).rows[-1].receptive_field, tflm_runner(content, size)
    for place in np.ndindex(*size):
        x = np.zeros((1, *size, 1), np.int8)
        x[0, place[0], place[1], 0] = 100
        shown = run(x)[0, :, :, 0] != 0
        for unit in np.ndindex(*out):
            reads = field.reads(*unit)
            assert (place[0] in reads[0] and place[1] in reads[1]) == bool(shown[unit])


# What a file leaves open, computes, or keeps unknown.


def convolution(size=("batch", 3, "height", "width"), **given):
    """A convolution, a pooling that reads the map whole, and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "v", "b"], ["y"], "linear", transB=1),
    ]
    stored = {"w": floats(4, 3, 3, 3), "v": floats(5, 4), "b": floats(5)}
    return graph(nodes, {"x": size}, {"y": [size[0], 5]}, stored, **given)


def test_a_size_that_a_file_leaves_open_is_asked_for(tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(convolution(), file)
    with pytest.raises(ArgumentError, match=r"leaves the size of its input open .*3xheightxwidth"):
        account(file)
    found = account(file, (3, 10, 12), name="net")
    assert (4 * 27 * 120 + 20, 108 + 25) == (found.macs, found.params)
    assert found == account(str(file), "3x10x12", name="net")
    assert found == account(file, torch.zeros(1, 3, 10, 12), name="net")
    assert (3, 10, 12) == found.input_shape
    with pytest.raises(ArgumentError, match="for a different input shape"):
        account(file, (4, 10, 12))
    with pytest.raises(ArgumentError, match="another number of inputs"):
        account(file, ((3, 10, 12), (3, 10, 12)))
    with pytest.raises(ArgumentError, match="neither inputs nor wrt"):
        account(file, inputs=torch.zeros(1, 3, 10, 12))
    with pytest.raises(ArgumentError, match="is not a valid input shape"):
        account(file, (3, -10, 12))


def test_channels_last_at_the_input_are_told_by_the_transpose():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"], strides=[2, 1]),
    ]
    found = of_onnx(
        graph(nodes, {"x": [1, 9, 7, 3]}, {"y": [1, 4, 4, 5]}, {"w": floats(4, 3, 3, 3)})
    )
    assert ((3, 9, 7), (4, 4, 5)) == (found.input_shape, found.output_shape)
    assert ((3, 3), (2, 1)) == (found.receptive_field.size, found.receptive_field.stride)


def test_shapes_that_a_graph_computes_are_followed():
    """`x.view(x.shape[0], -1)` as older exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    stored = {
        "zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1]), "w": floats(48, 5),
    }  # fmt: skip
    found = of_onnx(graph(nodes, {"x": ["n", 3, 4, 4]}, {"y": ["n", 5]}, stored))
    assert (240, 240, (5,)) == (found.macs, found.params, found.output_shape)
    assert ["Reshape", "MatMul"] == [row.kind for row in found.rows]
    assert [True, True] == [row.is_global for row in found.rows]
    assert (1, 1) == found.receptive_field.size  # that of the input, the last map


def test_integer_weights_count_by_their_type():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "s", "z32"], ["bd"]),
        helper.make_node("Conv", ["d", "wd", "bd"], ["y"]),
    ]
    stored = {
        "s": np.float32(0.5), "z": np.int8(0), "z32": np.int32(0),
        "w": np.ones((4, 3, 3, 3), np.int8), "b": np.ones(4, np.int32),
    }  # fmt: skip
    found = of_onnx(graph(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 4, 6, 6]}, stored))
    assert (("int8", 108), ("int32", 16)) == found.weight_bytes_by_type
    assert (112, 108 * 36) == (found.params, found.macs)
    assert 4 * (192 + 192 + 144) == found.peak_activation_bytes
    convolution = found.rows[-1]
    assert ((4, 3, 3, 3), True) == (convolution.weight_shape, convolution.has_bias)


def test_packed_weights_count_half_a_byte(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"]),
        helper.make_node("MatMul", ["x", "wd"], ["y"]),
    ]
    proto = graph(nodes, {"x": [1, 6]}, {"y": [1, 5]}, {"s": np.float32(0.5)}, opset=21)
    weight = helper.make_tensor("w", onnx.TensorProto.INT4, [6, 5], [1] * 30)
    proto.graph.initializer.append(weight)
    found = of_onnx(proto)
    assert ((("int4", 15),), 30, 30) == (found.weight_bytes_by_type, found.params, found.macs)
    assert found == Account.from_json(found.to_json())


def test_weights_beside_the_file_count_without_being_read(tmp_path):
    file = tmp_path / "net.onnx"
    onnx.save(
        convolution((1, 3, 8, 8)), file, save_as_external_data=True, location="w", size_threshold=0
    )
    (tmp_path / "w").unlink()
    assert (133, 532) == (account(file).params, account(file).weight_bytes)


def test_an_operation_without_a_rule_is_unknown_never_zero():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"),
        helper.make_node("Inverse", ["a"], ["b"], "odd one", domain="com.acme"),
        helper.make_node("Conv", ["b", "v"], ["y"], "second"),
    ]
    sizes = {"x": [1, 3, 8, 8]}, {"y": [1, 4, 4, 4]}
    stored = {"w": floats(4, 3, 3, 3), "v": floats(4, 4, 3, 3)}
    proto = graph(nodes, *sizes, stored, said={"b": [1, 4, 6, 6]})
    with pytest.raises(
        UnsupportedOp, match=r"odd one: com\.acme\.Inverse: no accounting rule .*--le"
    ):
        of_onnx(proto)
    found = of_onnx(proto, strict=False)
    assert [108 * 36, None, 144 * 16] == [row.macs for row in found.rows]
    assert (None, None, 252) == (found.macs, found.receptive_field, found.params)
    assert found.is_complete
    ended = of_onnx(graph(nodes, *sizes, stored), strict=False)  # not even a shape is known
    assert (None, False, 2) == (ended.output_shapes, ended.is_complete, len(ended.rows))
    assert ended == Account.from_json(ended.to_json())


def test_tied_weights_count_once_and_unread_ones_are_told():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    stored = {"w": floats(3, 3, 3, 3), "spare": floats(7)}
    found = of_onnx(graph(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 3, 4, 4]}, stored))
    assert (81 + 7, ("spare",), [False, True]) == (
        found.params, found.unused, [row.reused for row in found.rows],
    )  # fmt: skip


def test_several_inputs_read_by_the_first():
    nodes = [
        helper.make_node("Conv", ["y", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["x", "a"], ["z"]),
    ]
    sizes = {"x": [1, 3, 8, 8], "y": [1, 3, 8, 8]}, {"z": [1, 3, 8, 8]}
    found = of_onnx(graph(nodes, *sizes, {"w": floats(3, 3, 3, 3)}))
    assert [(-2,), (-1, 0)] == [row.reads for row in found.rows]
    assert ((1, 1), ((3, 8, 8), (3, 8, 8))) == (found.receptive_field.size, found.input_shape)


def test_the_peak_is_what_lives_while_operators_run():
    """Of a skip: the input, and three maps of the middle while they are added."""
    net = Net(random.Random(0))
    net.inputs = [net.tensor((1, 4, 4, 2))]
    options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1)}
    weight = net.weight(2, 1, 1, 2)
    one = net.add("CONV_2D", [*net.inputs, weight, -1], (1, 4, 4, 2), options)
    two = net.add("CONV_2D", [one, weight, -1], (1, 4, 4, 2), options)
    net.outputs = [net.add("ADD", [one, two], (1, 4, 4, 2))]
    assert 4 * 32 == of_tflite(net.content()).peak_activation_bytes


def test_weights_that_an_operator_unpacks_count_where_they_are_used():
    """As in files of float16 weights: the operator gives float32 ones."""
    net = Net(random.Random(0))
    net.inputs = [net.tensor((1, 6, 6, 2), 0)]
    weight = net.tensor((3, 3, 3, 2), 1, bytes(108))
    unpacked = net.add("DEQUANTIZE", [weight], (3, 3, 3, 2))
    options = {0: ("b", 1), 1: ("i", 1), 2: ("i", 1)}
    net.outputs = [net.add("CONV_2D", [*net.inputs, unpacked, -1], (1, 4, 4, 3), options)]
    found = of_tflite(net.content())
    assert (54, (("float16", 108),), 54 * 16) == (
        found.params, found.weight_bytes_by_type, found.macs,
    )  # fmt: skip
    assert 1 == len(found.rows)


def test_a_stride_of_billions_is_unknown_and_can_be_saved():
    """Found by damage: the window could not be read back."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2**31 - 1, 1])
    proto = graph([node], {"x": [1, 3, 8, 8]}, {"y": [1, 4, 1, 6]}, {"w": floats(4, 3, 3, 3)})
    found = of_onnx(proto, strict=False)
    assert (None, 108 * 6) == (found.receptive_field, found.macs)
    assert "a window is too wide" in found.unknown[0]
    assert found == Account.from_json(found.to_json())


# The command line, budgets and errors.


def test_files_are_targets_of_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(small())
    onnx.save(convolution(), tmp_path / "net.onnx")
    assert 0 == main(["account", "net.tflite", "--format", "json"])
    assert of_tflite(small(), "net.tflite") == Account.from_json(capsys.readouterr().out)
    assert 0 == main(["account", "net.onnx", "--input", "3x8x8"])
    assert 0 == main(["check", "net.tflite", "--weight-bytes", "1 kB", "--macs", "10k"])
    assert 1 == main(["check", "net.tflite", "--params", "100", "--why"])
    assert 0 == main(["report", "net.tflite", "-o", "net.html", "--against", "net.tflite"])
    assert 0 == main(["draw", "net.tflite", "-o", "net.svg"])
    assert 0 == main(["init", "net.tflite", "--config", "budgets.toml"])
    assert 0 == main(["check", "--config", "budgets.toml"])
    capsys.readouterr()
    assert 2 == main(["export", "net.tflite", "-o", "other.onnx"])
    assert "net.tflite is a file; no model can be built from it" in capsys.readouterr().err
    assert 2 == main(["account", "net.tflite", "--set", "a=1"])
    assert "it takes no --set" in capsys.readouterr().err
    assert 2 == main(["account", "net.tflite", "--input", "3x9x9"])
    assert "is for a different input shape" in capsys.readouterr().err


def test_checks_of_a_configuration_find_files_beside_it(tmp_path, capsys):
    (tmp_path / "build").mkdir()
    (tmp_path / "build/net.tflite").write_bytes(small())
    file = tmp_path / "pyproject.toml"
    file.write_text('[[tool.budgetnet.check]]\nmodel = "build/net.tflite"\nparams = "300"\n')
    assert 1 == main(["check", "--config", str(file)])
    assert "OVER" in capsys.readouterr().out


def test_a_budget_holds_the_file_that_ships(tmp_path):
    file = tmp_path / "net.tflite"
    file.write_bytes(small())
    assert_budget(file, weight_bytes="1 KiB")
    with pytest.raises(BudgetExceeded, match="weight_bytes"):
        assert_budget(str(file), weight_bytes=100)


def test_files_are_read_without_torch_onnx_and_numpy(tmp_path):
    onnx.save(convolution(), tmp_path / "net.onnx")
    (tmp_path / "net.tflite").write_bytes(small())
    code = (
        "import sys; from budgetnet.trace.files.account import account_of_file;"
        "account_of_file('net.onnx', (3, 8, 8)); account_of_file('net.tflite');"
        "print(sorted({'torch', 'numpy', 'onnx', 'google', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(budgetnet.__file__).parents[1])},
    )  # fmt: skip
    assert "[]" == done.stdout.strip()


WRONG = {
    "no file": (lambda p: None, ArgumentError, "cannot read"),
    "a picture": (lambda p: p.write_bytes(b"GIF89a"), FormatError, "this is not an ONNX model"),
    "nothing": (lambda p: p.write_bytes(b""), FormatError, "it has no graph"),
    "half": (
        lambda p: p.write_bytes(convolution().SerializeToString()[:300]), FormatError,
        "the file is damaged: a part is longer",
    ),
    "misfit": (
        lambda p: onnx.save(convolution((1, 4, 8, 8)), p), FormatError,
        r"the shapes of node 0 \(Conv\) do not fit together",
    ),
    "another shape": (
        lambda p: onnx.save(convolution((1, 3, 8, 8), said={"maps": [1, 4, 7, 8]}), p), FormatError,
        r"the shape of 'maps' is not what node 0 \(Conv\) gives",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("write", "kind", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_an_onnx_file_is_said_in_one_line(write, kind, said, tmp_path):
    write(tmp_path / "net.onnx")
    with pytest.raises(kind, match=said) as caught:
        account(tmp_path / "net.onnx")
    assert str(tmp_path / "net.onnx") in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("count", [300, pytest.param(4_000, marks=pytest.mark.deep)])
@pytest.mark.parametrize("read", [account_of_tflite, account_of_onnx])
def test_damaged_files_are_accounted_for_or_refused_in_one_line(read, count):
    if read is account_of_onnx:
        protos = [convolution((1, 3, 8, 8)), *[case.model for case in node_cases()[::40]]]
        files, more = [proto.SerializeToString() for proto in protos], (None,)
    else:
        files, more = [random_net(random.Random(seed), 6).content() for seed in range(10)], ()
    refused = []
    for draw in damage.draws(f"account {read.__name__}", count):
        content = damage.damaged_file(draw.choice(files), draw)
        try:
            with damage.in_time(20):
                found = read(content, "broken.file", "net", *more, strict=False)
                str(found)
                assert found == Account.from_json(found.to_json())
        except (FormatError, ArgumentError) as error:
            refused.append(str(error))
    assert 0 < len(refused) < count
    for said in refused:
        assert said.startswith("broken.file")
        assert (1, True) == (len(said.splitlines()), len(said) < 1000)
