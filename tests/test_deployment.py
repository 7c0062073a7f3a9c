"""Deployments: against the real interpreter, ExecuTorch's real exports, and MLPerf Tiny's files."""

import itertools
import json
import random

import pytest
import tflite_files
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_memory import UNIT, fits
from test_tflite import TINY, tiny
from torch import nn

import budgetnet
from budgetnet import Account, Budget, deployment, plan
from budgetnet.accounting.device.boards import BOARDS
from budgetnet.accounting.device.deployment import deployment_of
from budgetnet.accounting.device.lowering import lower
from budgetnet.accounting.device.refusals import refusals
from budgetnet.accounting.device.target import RUNTIMES, Target
from budgetnet.cli import main
from budgetnet.deploy.tflite_figures import figures_of
from budgetnet.errors import ArgumentError, BudgetnetError, FormatError, UnsupportedOp
from budgetnet.spec.fields import ACTIVATIONS
from budgetnet.spec.references import get_reference
from budgetnet.testing.strategies import specs
from budgetnet.trace.files.tflite import parse_tflite

MOBILENET = (
    "c8s2p1 ds16p1 ds32s2p1 ds32p1 ds64s2p1 ds64p1 ds128s2p1 ds128p1 ds128p1 ds128p1 ds128p1 "
    "ds128p1 ds256s2p1 ds256p1 gap2"
)


@pytest.fixture
def tflm():
    """The real interpreter."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    return tflite_files.interpret


def conv(a, b, kernel=3, stride=1, padding=None, groups=1):
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = tuple(k // 2 for k in kernel) if padding is None else padding
    layer = nn.Conv2d(a, b, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(b), nn.ReLU())


def separable(a, b, stride=1):
    return nn.Sequential(conv(a, a, 3, stride, groups=a), conv(a, b, 1))


class KeywordSpotter(nn.Sequential):
    """DS-CNN as MLPerf Tiny has it."""

    def __init__(self):
        blocks = [separable(64, 64) for _ in range(4)]
        first = conv(1, 64, (10, 4), 2, (5, 1))
        pool = nn.AvgPool2d((25, 5))
        super().__init__(
            first, *blocks, pool, nn.Flatten(), nn.Linear(64, 12), nn.Softmax(1)
        )  # fmt: skip


class PersonDetector(nn.Sequential):
    """MobileNetV1 0.25 as MLPerf Tiny has it."""

    def __init__(self):
        widths = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        pairs = zip(widths[:-1], widths[1:], strides, strict=True)
        blocks = [separable(a, b, s) for a, b, s in pairs]
        ends = (nn.AvgPool2d(3), nn.Flatten(), nn.Linear(256, 2), nn.Softmax(1))
        super().__init__(conv(3, 8, 3, 2), *blocks, *ends)


class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.body = nn.Sequential(conv(a, b, 3, stride), nn.Conv2d(b, b, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(b)
        self.shortcut = nn.Conv2d(a, b, 1, stride) if a != b else nn.Identity()

    def forward(self, x):
        return (self.norm(self.body(x)) + self.shortcut(x)).relu()


class ImageClassifier(nn.Sequential):
    """ResNet-8 as MLPerf Tiny has it."""

    def __init__(self):
        blocks = (Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        ends = (nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
        super().__init__(conv(3, 16), *blocks, *ends)


REFERENCES = {
    "kws_ref_model.tflite": (KeywordSpotter, (1, 49, 10)),
    "vww_96_int8.tflite": (PersonDetector, (3, 96, 96)),
    "pretrainedResnet_quant.tflite": (ImageClassifier, (3, 32, 32)),
}


@pytest.mark.parametrize("kernels", RUNTIMES["tflm"]["int8"])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_module_is_deployed_as_the_file_that_was_made_of_it(name, kernels):
    """Operator by operator: what the converter fused is fused, and all is as large."""
    tiny(name)
    make, shape = REFERENCES[name]
    file = deployment(TINY / name, kernels=kernels)
    own = deployment(make().eval(), shape, kernels=kernels)
    assert [step.operator for step in file.steps] == [step.operator for step in own.steps]
    assert [step.bytes for step in file.steps] == [step.bytes for step in own.steps]
    assert (file.flash_bytes, file.ram_bytes) == (own.flash_bytes, own.ram_bytes)
    assert (file.scratch_bytes, file.ram_bound) == (own.scratch_bytes, own.ram_bound)
    assert file.persistent_bytes == own.persistent_bytes
    assert ((), ()) == (file.assumed, own.assumed)
    assert file.plan == own.plan


NAMED = {
    "ds_cnn": ("kws_ref_model.tflite", 16_000, 24_368),
    "mobilenet_v1_025": ("vww_96_int8.tflite", 73_728, 219_064),
    "resnet8": ("pretrainedResnet_quant.tflite", 49_152, 78_744),
}


@pytest.mark.parametrize("kernels", RUNTIMES["tflm"]["int8"])
@pytest.mark.parametrize("name", NAMED)
def test_a_named_network_of_mlperf_tiny_takes_what_its_file_takes(name, kernels, tflm):
    """The file ends in a pooling, a RESHAPE and a SOFTMAX where the spec ends in a mean."""
    file, ram, flash = NAMED[name]
    tiny(file)
    own, theirs = deployment(name, kernels=kernels), deployment(TINY / file, kernels=kernels)
    assert flash == own.flash_bytes == theirs.flash_bytes
    assert (theirs.ram_bytes, theirs.ram_bound) == (own.ram_bytes, own.ram_bound)
    if kernels == "reference":
        assert ram == own.ram_bytes
    assert () == own.assumed
    check_in_interpreter(plan(get_reference(name).spec, get_reference(name).input_shape), Target())
    steps = [[(s.operator, s.bytes) for s in found.steps] for found in (own, theirs)]
    assert steps[1][:-4] == steps[0][:-2]
    assert ["MEAN", "FULLY_CONNECTED"] == [operator for operator, _ in steps[0][-2:]]
    assert ["AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"] == [
        operator for operator, _ in steps[1][-4:]
    ]
    # TensorFlow's files pad unevenly, as torch's layers do not: only the note tells.
    (note,) = own.notes
    assert note.startswith("padded as 'same' does not, where a converter from PyTorch adds a PAD")


def test_the_autoencoder_of_mlperf_tiny():
    """There is no file of it here; its shapes are enough."""
    found = deployment("autoencoder")
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    pairs = list(itertools.pairwise(widths))
    assert sum(a * b + 4 * b for a, b in pairs) == found.flash_bytes
    assert ["FULLY_CONNECTED"] * 10 == [step.operator for step in found.steps]
    assert max(a + b for a, b in pairs) == found.ram_bytes == found.ram_bound
    assert ((), ()) == (found.assumed, found.notes)


def test_figures_from_elsewhere():
    found = deployment(MOBILENET, (3, 96, 96))
    assert (73_728, 55_296, 219_064) == (found.ram_bytes, found.ram_bound, found.flash_bytes)
    assert 55_296 == found.least().plan.size
    assert found.least().proven
    account = plan(MOBILENET, (3, 96, 96))
    assert account.peak_activation_bytes == deployment(account, runtime="eager").ram_bytes
    assert 20_032 == deployment("s6").ram_bytes  # of a file that litert-torch converted


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip


def vision(name):
    return getattr(
        pytest.importorskip("torchvision", reason="its networks are the test").models, name
    )


# What ExecuTorch 1.5.1 allocates: `to_executorch` of a float32 export, and of one that the
# quantiser and passes of its Cortex-M backend made for an M4, with inputs and outputs of int8.
EXECUTORCH = [
    ("small", (3, 16, 16), 16_384, 2_928),
    ("resnet18", (3, 224, 224), 6_422_528, 1_204_224),
    ("mobilenet_v2", (3, 224, 224), 9_936_896, 1_505_280),
]


@pytest.mark.parametrize(("name", "shape", "float32", "int8"), EXECUTORCH)
def test_executorch_allocates_as_much(name, shape, float32, int8):
    account = budgetnet.account((Small if name == "small" else vision(name))().eval(), shape)
    found = [deployment(account, runtime="executorch", dtype=t) for t in ("float32", "int8")]
    assert [float32, int8] == [each.ram_bytes for each in found]
    assert [(), ()] == [each.assumed for each in found]


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
@settings(max_examples=60, deadline=None)
@given(
    spec=specs(max_stages=5, max_channels=6),
    size=st.tuples(*[st.integers(4, 14)] * 2),
)
def test_a_random_spec_takes_the_arena_that_the_interpreter_allocates(dtype, spec, size):
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    try:
        account = plan(spec, (2, *size))
    except BudgetnetError:
        assume(False)
    target = Target("tflm", dtype)
    # Of some rows it is not known which operators a converter writes, so that there is no file.
    operators = lower(account, target).model.operators
    assume(not any(operator.name.startswith("CUSTOM") for operator in operators))
    check_in_interpreter(account, target)


def check_in_interpreter(account, target):
    """A file of the lowered account runs in the real interpreter, and costs what was said.

    Or it does not run, and that was said.
    """
    lowered, found = lower(account, target), deployment_of(account, target)
    content = tflite_files.content_of(lowered.model)
    if refused := refusals(lowered.model, lowered.places):
        assert set(refused) <= set(found.assumed)
        with pytest.raises(RuntimeError):
            tflite_files.interpret(content).run()
        return
    real = tflite_files.interpret(content)
    real.run()
    assert found.ram_bytes == real.head
    read = figures_of(parse_tflite(content))
    if not found.assumed:
        assert (account.macs, found.flash_bytes) == (read.macs, read.weight_bytes)
    assert abs(found.persistent_bytes - real.tail) < 100


# The operators of each activation that specs name, and the types in which they do not run.
ACTS = {
    "relu": (["CONV_2D"], []),
    "relu6": (["CONV_2D"], []),
    "hardswish": (["CONV_2D", "HARD_SWISH"], ["int16"]),
    "silu": (["CONV_2D", "LOGISTIC", "MUL"], []),
    "gelu": (["CONV_2D", "GELU"], ["int8", "int16", "float32"]),
    "leaky_relu": (["CONV_2D", "LEAKY_RELU"], []),
    "sigmoid": (["CONV_2D", "LOGISTIC"], []),
    "tanh": (["CONV_2D", "TANH"], []),
}


@pytest.mark.parametrize("dtype", RUNTIMES["tflm"])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_the_activations_of_specs_are_operators_that_the_interpreter_runs_or_refuses(
    act, dtype, tflm
):
    operators, refusing = ACTS[act]
    account = plan(f"c3{act}", (2, 6, 6))
    found = deployment(account, dtype=dtype)
    assert operators == [step.operator for step in found.steps]
    assert (dtype in refusing) == any(f"no {dtype} kernel" in line for line in found.assumed)
    check_in_interpreter(account, Target("tflm", dtype))


RESIZED = [
    ({"scale_factor": 2}, "RESIZE_NEAREST_NEIGHBOR"),
    ({"scale_factor": 3, "mode": "nearest-exact"}, "RESIZE_NEAREST_NEIGHBOR"),
    ({"size": (5, 11)}, "RESIZE_NEAREST_NEIGHBOR"),
    ({"scale_factor": 2, "mode": "bilinear"}, "RESIZE_BILINEAR"),
    ({"scale_factor": 3, "mode": "bilinear", "align_corners": True}, "RESIZE_BILINEAR"),
    ({"scale_factor": 2, "mode": "bicubic"}, "Upsample"),
    ({"scale_factor": 2, "mode": "area"}, "Upsample"),
]


@pytest.mark.parametrize("before", [[], [nn.Conv2d(2, 2, 3, 2, 1)], [nn.Upsample(scale_factor=2)]])
@pytest.mark.parametrize(("options", "operator"), RESIZED)
def test_what_a_resizing_reads_tells_its_operator(options, operator, before, tflm):
    account = budgetnet.account(nn.Sequential(*before, nn.Upsample(**options)), (2, 9, 7))
    found = deployment(account)
    assert operator == found.steps[-1].operator
    assert (operator == "Upsample") == bool(found.assumed)
    if not found.assumed:
        check_in_interpreter(account, Target())


def test_a_resizing_that_could_be_several_operators_is_assumed():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Upsample(scale_factor=2)).eval()
    found = deployment(net, (2, 9, 7))
    assert ("taken as one operator each: 1",) == found.assumed


@pytest.mark.parametrize("dtype", RUNTIMES["tflm"])
def test_a_gate_runs_in_every_type(dtype, tflm):
    account = plan("same c4 ir4se2 gap3", (2, 6, 6))
    assert () == deployment(account, dtype=dtype).assumed
    check_in_interpreter(account, Target("tflm", dtype))


class Graph(nn.Module):
    """Random branches, of what TensorFlow Lite Micro has operators for."""

    def __init__(self, seed):
        super().__init__()
        self.draw, self.seed = random.Random(seed), seed
        self.layers = nn.ModuleDict()
        self.width, self.steps = self.draw.choice([2, 3, 4]), self.draw.randint(2, 10)
        for i in range(self.steps):
            w = self.width
            self.layers[f"conv{i}"] = nn.Conv2d(w, w, 3, padding=1, bias=i % 2 == 0)
            self.layers[f"deep{i}"] = nn.Conv2d(w, w, 3, padding=1, groups=w)
            self.layers[f"norm{i}"] = nn.BatchNorm2d(w)
            self.layers[f"cat{i}"] = nn.Conv2d(2 * w, w, 1)
        self.last = nn.Linear(self.width, 5)

    def forward(self, x):
        draw, maps = random.Random(self.seed + 1), [x]
        for i in range(self.steps):
            one, two = draw.choice(maps[-3:]), draw.choice(maps[-3:])
            maps.append(self.step(draw.choice(STEPS), i, one, two))
        total = maps[-1]
        for one in maps[:-1]:  # so that every map leads to the output
            total = total + one
        return self.last(total.mean((2, 3))).softmax(1) if draw.random() < 0.5 else total

    def step(self, name, i, one, two):
        layers, f = self.layers, nn.functional
        if name in ("conv", "deep"):
            return layers[f"{name}{i}"](one)
        if name in ("conv norm", "conv norm relu"):
            made = layers[f"norm{i}"](layers[f"conv{i}"](one))
            return made.relu() if name.endswith("relu") else made
        if name == "cat":
            return f.relu6(layers[f"cat{i}"](torch.cat([one, two], 1)))
        if name == "norm relu":
            return layers[f"norm{i}"](one).relu()
        if name == "gate":
            return one * two.mean((2, 3), keepdim=True).sigmoid()
        if name == "pool":
            return f.interpolate(f.max_pool2d(one, 2), scale_factor=2)
        return {"add": lambda: one + two, "add relu": lambda: (one + two).relu(),
                "relu": one.relu, "silu": lambda: f.silu(one), "sub": lambda: one - two,
                "swish": lambda: f.hardswish(one), "twice": lambda: one + one}[name]()  # fmt: skip


STEPS = ["conv", "deep", "conv norm", "conv norm relu", "cat", "norm relu", "gate", "pool", "add",
         "add relu", "relu", "silu", "sub", "swish", "twice"]  # fmt: skip


@pytest.mark.parametrize("count", [40, pytest.param(150, marks=pytest.mark.deep)])
def test_a_random_network_takes_the_arena_that_the_interpreter_allocates(count, tflm):
    for seed in range(count):
        net = Graph(seed).eval()
        check_in_interpreter(budgetnet.account(net, (net.width, 8, 8)), Target())


@settings(max_examples=40, deadline=None)
@given(spec=specs(max_stages=3, max_channels=3), size=st.integers(2, 5))
def test_no_plan_at_all_is_better_than_the_least_of_a_small_network(spec, size):
    try:
        found = deployment(spec, (1, size, size))
    except BudgetnetError:
        assume(False)
    least = found.least()
    assert least.proven
    buffers = sorted((b for b in least.plan.buffers if b.size), key=lambda b: -b.bytes)
    assume(len(buffers) < 9)
    height = least.plan.size // UNIT
    assert fits(buffers, height)
    assert not fits(buffers, height - 1)


@given(spec=specs(max_stages=6), size=st.integers(6, 16))
def test_what_holds_of_every_deployment(spec, size):
    try:
        account = plan(spec, (2, size, size))
    except BudgetnetError:
        assume(False)
    for runtime, types in RUNTIMES.items():
        for dtype in types:
            found = deployment(account, runtime=runtime, dtype=dtype)
            assert found.ram_bound <= found.ram_bytes
            if found.plan is not None:
                assert () == found.plan.clashes()
                assert max([0, *(step.bytes for step in found.steps)]) <= found.ram_bound
                assert found.ram_bytes == found.plan.size
                assert len(found.buffers) == len(found.plan.buffers)
                assert found.least().plan.size <= found.ram_bytes
            saved = Account.from_json(account.to_json())
            assert found == deployment(saved, runtime=runtime, dtype=dtype)
            assert found.ram_bytes == json.loads(found.to_json())["ram_bytes"]


def test_a_norm_that_something_else_reads_around_is_two_operators():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y).relu() + y

    found = deployment(Both().eval(), (2, 4, 4))
    assert ["CONV_2D", "MUL", "ADD", "ADD"] == [step.operator for step in found.steps]
    assert ["Conv2d", "BatchNorm2d + relu", "BatchNorm2d + relu", "add"] == [
        step.kind for step in found.steps
    ]
    assert 4 + 2 * 4 + 2 * 2 == found.flash_bytes  # weights, biases, scale and shift


@pytest.mark.parametrize("runtime", ["tflm", "executorch"])
def test_a_network_of_no_operator_keeps_its_input_alone(runtime):
    found = deployment("drop0", (2, 6, 6), runtime=runtime)
    assert ((), None) == (found.steps, found.peak)
    assert (0, 80, 80) == (found.flash_bytes, found.ram_bytes, found.ram_bound)
    assert "no operator runs: what goes in comes out as it is\nflash 0 bytes" in str(found)
    assert json.loads(found.to_json())["peak"] is None
    (limit,) = Budget(ram=80, runtime=runtime).check(plan("drop0", (2, 6, 6)))
    assert ("within", 80) == (limit.verdict, limit.measured)


def test_views_are_free_or_an_operator():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    assert ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"] == [
        step.operator for step in deployment(net, (1, 8, 8)).steps
    ]
    found = deployment(net, (1, 8, 8), runtime="executorch")
    assert ["CONV_2D", "FULLY_CONNECTED"] == [step.operator for step in found.steps]
    assert ("reshaped channels last, where a converter from PyTorch adds a TRANSPOSE: 1",) == (
        deployment(net, (1, 8, 8)).notes
    )


def test_padding_that_same_does_not_express_is_told():
    told = "padded as 'same' does not, where a converter from PyTorch adds a PAD: conv1"
    assert (told,) == deployment("c8s2p1", (3, 8, 8)).notes
    assert () == deployment("c8s2p1", (3, 9, 9)).notes
    assert () == deployment("c8p1", (3, 8, 8)).notes
    assert () == deployment("c8s2", (3, 8, 8)).notes


def test_what_is_not_known_to_be_one_operator_is_assumed_and_limits_nothing():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)).eval()
    account = budgetnet.account(net, (1, 8, 8))
    found = deployment(account)
    assert ("taken as one operator each: 1",) == found.assumed
    assert "GroupNorm" == found.steps[-1].operator
    (limit,) = Budget(ram="1 MB").check(account)
    assert ("unknown", "taken as one operator each: 1") == (limit.verdict, limit.reason)


def test_what_the_interpreter_refuses_is_told():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in range(11))

        def forward(self, x):
            return torch.cat([part(x) for part in self.parts], 1)

    told = deployment(Wide().eval(), (1, 4, 4)).assumed
    assert ("more than 10 maps concatenated at once, which it refuses: cat",) == told


def test_concatenated_maps_whose_scales_are_fixed_and_differ_are_told(tflm):
    told = ("concatenated maps of different scales, which wants a QUANTIZE that is not counted: ",)
    for spec, dtype, is_told in (
        ("[ c3sigmoid | c3tanh ]", "int8", True),
        ("[ c3sigmoid p3s1p1 | c3tanh ]", "int8", True),
        ("[ c3sigmoid | c3tanh ]", "int16", False),
        ("[ c3sigmoid | c3 ]", "int8", False),
        ("c3sigmoid [ p3s1p1 | ]", "int8", False),
    ):
        account = plan(spec, (2, 6, 6))
        assumed = deployment(account, dtype=dtype).assumed
        assert is_told == any(line.startswith(told) for line in assumed)
        check_in_interpreter(account, Target("tflm", dtype))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.ReLU(), nn.Sigmoid()

    def forward(self, x):
        one, two = self.one(x), self.two(x)
        return one, one * two, x


def without_reads(account):
    return Account.from_dict({
        **account.to_dict(), "rows": [{**row, "reads": []} for row in account.to_dict()["rows"]],
    })  # fmt: skip


def test_what_cannot_be_told_is_refused():
    with pytest.raises(UnsupportedOp, match=r"rnn: LSTM is several operations whose memory is"):
        deployment(Recurrent(), (5, 4))
    with pytest.raises(UnsupportedOp, match=r"'Twins': which of 4 maps of shape 2x4x4 are out"):
        deployment(Twins(), (2, 4, 4))
    with pytest.raises(ArgumentError, match=r"'tflite' is not a runtime. Did you mean 'tflm'\?"):
        deployment("s6", runtime="tflite")
    with pytest.raises(ArgumentError, match=r"'int8' is not a type that eager has. Known: float32"):
        deployment("s6", runtime="eager", dtype="int8")
    with pytest.raises(ArgumentError, match="'cmsis' is not a library of kernels for tflm int8"):
        deployment("s6", kernels="cmsis")
    with pytest.raises(UnsupportedOp, match="eager follows no plan of memory"):
        deployment("s6", runtime="eager").least()


def test_an_account_that_does_not_say_what_rows_read_is_refused():
    old = without_reads(plan("c4 p", (1, 8, 8)))
    with pytest.raises(UnsupportedOp, match=r"conv1\.conv: what it reads is unknown. Account for"):
        deployment(old)


def test_a_file_keeps_to_itself(tmp_path):
    net = Graph(3).eval()
    content = tflite_files.content_of(
        lower(budgetnet.account(net, (net.width, 8, 8)), Target()).model
    )
    file = tmp_path / "net.tflite"
    file.write_bytes(content)
    assert "int8" == deployment(file).target.dtype
    assert deployment(file) == deployment(str(file))
    for given_, said in (
        ({"input_shape": (1, 8, 8)}, "has an input shape of its own"),
        ({"runtime": "executorch"}, "a .tflite file runs in tflm, not in executorch"),
        ({"dtype": "float32"}, r"of another type \(it has int8, asked for float32\)"),
    ):
        with pytest.raises(ArgumentError, match=said):
            deployment(file, **given_)
    file.write_bytes(content[:100])
    with pytest.raises(FormatError, match=r"net\.tflite: the file is damaged"):
        deployment(file)


def test_budgets_limit_flash_and_ram():
    limits = {"ram": "19 kB", "flash": "16 KiB", "board": "stm32f103c8"}
    found = Budget(**limits).check("s6")
    assert [("flash", "within"), ("ram", "over"), ("flash", "within"), ("ram", "over")] == [
        (finding.name, finding.verdict) for finding in found
    ]
    assert ["flash", "ram", "board", "board"] == [finding.key for finding in found]
    assert "at most 20,480 (stm32f103c8, tflm int8)" == found[-1].limit
    m3 = deployment("s6", kernels="cmsis-nn without dsp")
    assert m3.ram_bytes == found[1].measured == found[-1].measured
    (other,) = Budget(ram=1, runtime="executorch").check("s6")
    assert deployment("s6", runtime="executorch").ram_bytes == other.measured
    with pytest.raises(ArgumentError, match=r"'stm32' is not a board .* give flash and ram"):
        Budget(board="stm32")


def test_a_check_has_the_line_of_a_board_or_a_runtime(tmp_path, capsys):
    file = tmp_path / "pyproject.toml"
    head = '[[tool.budgetnet.check]]\nmodel = "s6"\n'
    for lines, code, said in (
        ('ram = "24 KiB"\nboard = "stm32f446"\n', 0, "at most 131,072 (stm32f446, tflm int8)"),
        ('flash = "1 MB"\nboard = "stm32f103c8"\n', 1, "edit pyproject.toml:4 (board)"),
        ('runtime = "tfl"\n', 2, "pyproject.toml:3: check 's6', runtime: 'tfl' is not a runtime"),
        ('ram = 9\ndtype = "int4"\n', 2, "pyproject.toml:4: check 's6', dtype: 'int4' is not"),
        ('ram = 20500\nruntime = "executorch"\n', 1, "at most 20,500 (executorch int8)"),
    ):
        file.write_text(head + lines)
        assert code == main(["check", "--config", str(file)])
        captured = capsys.readouterr()
        assert said in (captured.out + captured.err).replace(f"{tmp_path}/", "")
    assert 1 == main(["check", "s6", "--ram", "9kB", "--runtime", "tflm", "--dtype", "int16"])


def test_the_commands_print_and_write_what_python_gives(tmp_path, capsys, tflm):
    assert 0 == main(["deployment", "s6", "--board", "stm32f446"])
    out = capsys.readouterr().out
    assert out.startswith(str(deployment("s6", kernels="cmsis-nn")))
    assert "the least plan needs 20,608 (proven)\n2.8 % of the 524,288 bytes of flash" in out
    assert 0 == main(["deployment", "s6", "--runtime", "executorch", "--format", "json"])
    found = deployment("s6", runtime="executorch")
    assert json.loads(found.to_json()) == json.loads(capsys.readouterr().out)
    tiny("vww_96_int8.tflite")
    planned = tmp_path / "planned.tflite"
    assert 0 == main(["plan-memory", str(TINY / "vww_96_int8.tflite"), "-o", str(planned)])
    assert "allocates 55,296 bytes for activations, 18,432 less" in capsys.readouterr().out
    assert 55_296 == deployment(planned).ram_bytes == tflm(planned.read_bytes()).head
    command = ["plan-memory", str(TINY / "vww_96_int8.tflite"), "--board", "stm32f446"]
    assert 0 == main([*command, "-o", str(planned)])
    needs = deployment(planned, kernels="cmsis-nn").ram_bytes
    assert f"with cmsis-nn kernels the interpreter allocates {needs:,}" in capsys.readouterr().out
    assert (
        needs == deployment(TINY / "vww_96_int8.tflite", kernels="cmsis-nn", plan="least").ram_bytes
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deployment", "none.tflite"], "cannot read none.tflite"),
        (["deployment", "s6", "--board", "stm"], "'stm' is not a board that is known here"),
        (["deployment", "s6", "--dtype", "int4"], "'int4' is not a type that tflm has"),
        (["plan-memory", "none.tflite", "-o", "out.tflite"], "cannot read none.tflite"),
        (["plan-memory", __file__, "-o", "out.tflite"], "this is not a TensorFlow Lite file"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 2 == main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [] == list(tmp_path.iterdir())


def test_boards_have_sources_and_room():
    for board in BOARDS.values():
        assert board.source
        assert 0 < board.ram < board.flash
        assert board.kernels in RUNTIMES["tflm"]["int8"]


@pytest.mark.parametrize("seed", range(8))
def test_executorchs_own_export_allocates_as_much(seed):
    """In float32, for random networks; needs `pip install executorch`."""
    exir = pytest.importorskip("executorch.exir", reason="executorch is not installed")
    net = Graph(seed).eval()
    account = budgetnet.account(net, (net.width, 8, 8))
    found = deployment(account, runtime="executorch", dtype="float32")
    program = torch.export.export(net, (torch.zeros(1, net.width, 8, 8),))
    (plan_,) = exir.to_edge(program).to_executorch().executorch_program.execution_plan
    if found.assumed:  # of operations that it decomposes
        pytest.skip(found.assumed[0])
    assert found.ram_bytes == plan_.non_const_buffer_sizes[1]
