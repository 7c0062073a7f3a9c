"""`.tflite` files: read, costed, planned and damaged; all of it against the real interpreter.

The interpreter is TensorFlow Lite Micro itself (`pip install --pre tflite-micro`), the kernels
those of CMSIS-NN as ExecuTorch ships them; the files are MLPerf Tiny's and random ones, written
from the schema by `tflite_files`. What is not there is skipped.
"""

import os
import random
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import damage
import pytest
import tflite_files
from tflite_files import INT32, Net, flatbuffer, interpret, random_net

from budgetnet.accounting.device.arena import activations
from budgetnet.accounting.device.least_plan import least_plan
from budgetnet.accounting.device.memory import executorch_plan
from budgetnet.accounting.device.model import Options
from budgetnet.accounting.device.order import least_order
from budgetnet.accounting.device.scratch import cmsis_nn_scratch, reference_scratch
from budgetnet.deploy.tflite_figures import figures_of
from budgetnet.deploy.tflite_plan import write_plan
from budgetnet.errors import ArgumentError, FormatError
from budgetnet.trace.files.tflite import parse_tflite, read_tflite
from budgetnet.trace.files.tflite_costs import operator_macs

ROOT = Path(__file__).resolve().parents[1]
TINY = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / "mlperf_tiny"


def tiny(name):
    """The bytes of a reference model of MLPerf Tiny."""
    if not (TINY / name).exists():
        pytest.skip(f"{name} is neither in $BUDGETNET_DATA/mlperf_tiny nor in ./data/mlperf_tiny")
    return (TINY / name).read_bytes()


@pytest.fixture
def tflm():
    """The real interpreter."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    return interpret


def small(**given):
    """A convolution, a depthwise one, a sum and a linear layer, tensors in the order of making."""
    net = Net(random.Random(0))
    image = net.tensor((1, 8, 6, 3))
    same = {0: ("b", 0), 1: ("i", 1), 2: ("i", 2), 3: ("b", 3)}
    first = net.add("CONV_2D", [image, net.weight(4, 3, 3, 3), net.numbers(*range(4))],
                    (1, 4, 6, 4), same)  # fmt: skip
    valid = {0: ("b", 1), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 6: ("i", 2)}
    second = net.add("DEPTHWISE_CONV_2D", [first, net.weight(1, 2, 3, 4), -1],
                     (1, 2, 4, 4), valid)  # fmt: skip
    doubled = net.add("ADD", [second, second], (1, 2, 4, 4))
    flat = net.add("RESHAPE", [doubled, net.numbers(1, 32)], (1, 32))
    last = net.add("FULLY_CONNECTED", [flat, net.weight(5, 32), net.numbers(*range(5))], (1, 5))
    net.inputs, net.outputs = [image], [last]
    return net.content(shuffle=False, **given)


def planned(content, name="model"):
    """A file with its least plan in its least order."""
    model = parse_tflite(content)
    arena = activations(model, reference_scratch(model).requests)
    order = least_order(arena.graph).order
    unplanned = write_plan(content, [-1] * len(model.tensors), order)
    assert arena.tflm_plan(order).size == arena_of(unplanned)
    plan = least_plan(arena.graph.buffers(order)).plan
    return write_plan(content, arena.tensor_offsets(plan), order, name), plan.size


def arena_of(content):
    """What the library says that the interpreter allocates for activations."""
    model = parse_tflite(content)
    return activations(model, reference_scratch(model).requests).tflm_plan().size


def test_a_file_is_read_as_it_was_written():
    model = parse_tflite(small())
    assert ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESHAPE", "FULLY_CONNECTED"] == [
        operator.name for operator in model.operators
    ]
    image, weight = model.tensors[0], model.tensors[1]
    assert ("tensor 0", (1, 8, 6, 3), "int8", False) == (
        image.name, image.shape, image.dtype, image.constant,
    )  # fmt: skip
    assert ((4, 3, 3, 3), 108, True) == (weight.shape, weight.stored, weight.constant)
    assert Options(stride=(2, 1), padding="same", activation="relu6") == model.operators[0].options
    assert Options(dilation=(2, 1), padding="valid", depth_multiplier=1) == (
        model.operators[1].options
    )
    assert (3, 4, -1) == model.operators[1].inputs
    assert ((0,), (11,), None) == (model.inputs, model.outputs, model.fixed)


def test_what_a_file_costs():
    model = parse_tflite(small())
    figures = figures_of(model)
    assert [24 * 4 * 27, 8 * 4 * 6, 0, 0, 5 * 32] == [operator_macs(model, k) for k in range(5)]
    assert 24 * 4 * 27 + 8 * 4 * 6 + 5 * 32 == figures.macs
    assert 108 + 4 + 24 + 160 + 5 == figures.params
    assert 108 + 4 * 4 + 24 + 160 + 4 * 5 == figures.weight_bytes
    assert figures.weight_bytes + 8 == figures.constant_bytes  # the shape that is reshaped to
    assert 144 + 96 == arena_of(small())


def test_an_operator_that_is_not_counted_leaves_the_total_unknown(monkeypatch):
    monkeypatch.setitem(tflite_files.CODES, "SVDF", (27, 0))
    net = Net(random.Random(0))
    net.inputs = [net.tensor((1, 8))]
    net.outputs = [net.add("SVDF", net.inputs, (1, 8))]
    model = parse_tflite(net.content())
    assert (None, ("SVDF",)) == (figures_of(model).macs, figures_of(model).uncounted)
    assert ("SVDF",) == reference_scratch(model).unknown


@pytest.mark.parametrize(
    ("name", "macs", "weights", "arena", "least"),
    [
        ("kws_ref_model.tflite", 2_656_768, 24_368, 16_000, 16_000),
        ("vww_96_int8.tflite", 7_489_664, 219_064, 73_728, 55_296),
        ("pretrainedResnet_quant.tflite", 12_501_632, 78_744, 49_152, 49_152),
    ],
)
def test_mlperf_tiny(name, macs, weights, arena, least):
    content = tiny(name)
    model = read_tflite(TINY / name)
    assert (macs, weights) == (figures_of(model).macs, figures_of(model).weight_bytes)
    graph = activations(model).graph
    found = least_plan(graph.buffers())
    assert (arena, arena) == (arena_of(content), executorch_plan(graph.buffers()).size)
    assert (least, least) == (found.plan.size, found.bound)
    assert least_order(graph).proven
    assert least == least_order(graph).peak  # no other order needs less


@pytest.mark.parametrize(
    "name", ["kws_ref_model.tflite", "vww_96_int8.tflite", "pretrainedResnet_quant.tflite"]
)
def test_mlperf_tiny_in_the_real_interpreter(name, tflm):
    content = tiny(name)
    better, size = planned(content)
    before, after = tflm(content), tflm(better)
    assert arena_of(content) == before.head
    assert size == arena_of(better) == after.head
    assert before.tail == after.tail
    for seed in range(3):
        assert before.run(seed) == after.run(seed)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.deep)])
def test_random_networks_in_the_real_interpreter(count, tflm):
    """The arena before and after planning, to the byte; and the same outputs."""
    smaller = 0
    for seed in range(count):
        draw = random.Random(seed)
        content = random_net(draw, draw.randint(1, 16)).content()
        better, size = planned(content)
        before, after = tflm(content), tflm(better)
        assert (seed, arena_of(content)) == (seed, before.head)
        assert (seed, arena_of(better), size) == (seed, after.head, size)
        assert before.run(seed) == after.run(seed), seed
        assert after.head <= before.head
        smaller += after.head < before.head
    assert smaller > count // 4


REDUCTIONS = [((1, 2), (1, 8)), ((3,), (1, 6, 4)), ((1, 2, 3), (1,))]


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n in ("MEAN", "SUM") for k in ("int8", "int16", "float32")]
    + [(n, k) for n in ("REDUCE_MAX", "REDUCE_MIN") for k in ("int8", "float32")],
)
def test_what_reductions_ask_for(name, kind, tflm, monkeypatch):
    code = {"MEAN": 40, "SUM": 74, "REDUCE_MAX": 82, "REDUCE_MIN": 89}[name]
    monkeypatch.setitem(tflite_files.CODES, name, (code, 27))
    for axes, shape in REDUCTIONS:
        net = Net(random.Random(0))
        dtype = {"int8": 9, "int16": 7, "float32": 0}[kind]
        net.inputs, result = [net.tensor((1, 6, 4, 8), dtype)], net.tensor(shape, dtype)
        inputs = [*net.inputs, net.numbers(*axes)]
        net.operators.append((name, inputs, [result], {0: ("?", False)}))
        net.outputs = [result]
        assert arena_of(net.content()) == tflm(net.content()).head


def test_a_new_plan_takes_the_place_of_an_old_one():
    content = small()
    once, _ = planned(content)
    model = parse_tflite(once)
    assert once == write_plan(once, model.fixed)
    other = write_plan(once, [-1] * len(model.tensors))
    assert len(once) == len(other)
    assert (-1,) * len(model.tensors) == parse_tflite(other).fixed
    assert arena_of(content) == arena_of(other)


def test_other_metadata_stays():
    content = small(metadata=[("min_runtime_version", b"1.5.0".ljust(16, b"\0"))])
    once, _ = planned(content)
    assert b"min_runtime_version" in once
    assert content in once  # as it was, behind the new parts
    assert 0 == (len(once) - len(content)) % 64
    assert replace(parse_tflite(once), fixed=None) == parse_tflite(content)


def test_a_plan_from_elsewhere_is_kept_to():
    model = parse_tflite(small())
    offsets = [-1] * len(model.tensors)
    offsets[0] = 4096
    raw = struct.pack(f"<{3 + len(offsets)}i", 1, 1, len(offsets), *offsets)
    content = small(metadata=[("OfflineMemoryAllocation", raw)])
    assert tuple(offsets) == parse_tflite(content).fixed
    assert 4096 + 144 == arena_of(content)


def test_a_plan_that_places_a_variable_is_not_predicted():
    raw = struct.pack("<5i", 1, 1, 2, -1, 64)
    content = graph_with(
        tensor={5: ("B", 1)}, operator={1: ("i*", [0, 1]), 2: ("i*", [])}, buffers=[{0: raw}],
        model={6: [{0: "OfflineMemoryAllocation", 1: ("I", 1)}]},
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"model: its offline plan places the variable 'x'"):
        activations(parse_tflite(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({0: 0, 3: 128}, "tensors 0 and 3"),
        ({0: 8}, r"a multiple of 16 below 2 GiB.* \(tensor 0, offset 8\)"),
        ({0: 1 << 31}, "a multiple of 16 below 2 GiB"),
        ({0: "16"}, "offset '16'"),
        ({1: 16}, r"has no place in the arena \(tensor 1, offset 16\)"),
        ({12: -1}, "offsets 13, tensors 12"),
    ],
)
def test_a_plan_that_would_go_wrong_is_refused(change, said):
    offsets = dict.fromkeys(range(12), -1) | change
    with pytest.raises(ArgumentError, match=said):
        write_plan(small(), list(offsets.values()))


def test_an_order_that_cannot_run_is_refused():
    with pytest.raises(ArgumentError, match=r"operator 1 reads a buffer that is not written yet"):
        write_plan(small(), [-1] * 12, order=[1, 0, 2, 3, 4])


def graph_with(**changes):
    """The smallest file: one operator that passes on its input; with changes to its parts."""
    tensor = {0: ("i*", [1, 4]), 1: ("b", 9), 2: ("I", 0), 3: "x"}
    operator = {0: ("I", 0), 1: ("i*", [0]), 2: ("i*", [1])}
    graph = {0: [tensor, tensor | changes.get("tensor", {})], 1: ("i*", [0]), 2: ("i*", [1])}
    graph[3] = [operator | changes.get("operator", {}), *changes.get("operators", [])]
    model = {0: ("I", 3), 1: [{3: ("i", 19)} | changes.get("code", {})]}
    model |= {2: [graph | changes.get("graph", {})], 4: [{}, *changes.get("buffers", [])]}
    return flatbuffer(model | changes.get("model", {}))


def test_the_smallest_file_is_read():
    assert 32 == arena_of(graph_with())


RELU = {0: ("I", 0), 1: ("i*", [0]), 2: ("i*", [1])}
STORED, CODE, CONV = {2: ("I", 1)}, {3: ("i", 3)}, {0: ("b", 0), 1: ("i", 0), 2: ("i", 1)}
REFUSED = {
    "another version": ({"model": {0: ("I", 2)}}, r"its schema is not known \(version 2\)"),
    "two graphs": ({"model": {2: [{}, {}]}}, r"of one subgraph are read; .* \(subgraphs 2\)"),
    "no graph": ({"model": {2: []}}, r"\(subgraphs 0\)"),
    "a new operator": ({"code": {3: ("i", 9999)}}, r"does not know \(code 9999\)"),
    "no such tensor": ({"graph": {1: ("i*", [7])}}, "an input of the graph is not a valid tensor"),
    "no such result": ({"operator": {2: ("i*", [2])}}, r"an output of operator 0 \(RELU\) is no"),
    "no such operand": ({"operator": {1: ("i*", [-2])}}, r"an input of operator 0 \(RELU\) is no"),
    "no such code": ({"operator": {0: ("I", 1)}}, "operator 0 has no code"),
    "nothing wrote it": ({"graph": {1: ("i*", [])}}, r"reads a tensor that nothing has written"),
    "written twice": ({"operators": [RELU]}, r"operator 1 \(RELU\) writes a tensor that has"),
    "no output": ({"operator": {2: ("i*", [])}}, "nothing writes an output of the graph"),
    "no such type": ({"tensor": {1: ("b", 77)}}, r"has no known type \(type 77\)"),
    "a negative size": ({"tensor": {0: ("i*", [1, -1])}}, "has no valid shape"),
    "a huge size": ({"tensor": {0: ("i*", [2**31 - 1] * 9)}}, "has no valid shape"),
    "no such buffer": ({"tensor": {2: ("I", 1)}}, r"has no buffer \(index 1, buffers 1\)"),
    "too little data": (
        {"tensor": STORED, "buffers": [{0: b"abc"}]}, r"size .* \(bytes 3, expected 4\)",
    ),
    "data elsewhere": (
        {"tensor": STORED, "buffers": [{1: ("q", 400), 2: ("q", 4)}]}, "outside the flatbuffer",
    ),
    "a stride of 0": (
        {"code": CODE, "operator": {3: ("B", 1), 4: CONV}}, r"no valid stride \(got \(1, 0\)\)",
    ),
    "foreign options": (
        {"code": CODE, "operator": {3: ("B", 5), 4: CONV}}, "the options of another operator",
    ),
    "a plan of others": (
        {"model": {4: [{}, {0: bytes(12)}], 6: [{0: "OfflineMemoryAllocation", 1: ("I", 1)}]}},
        "its offline plan does not match its tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_in_a_file_is_said_in_one_line(changes, said, tmp_path):
    (tmp_path / "net.tflite").write_bytes(graph_with(**changes))
    with pytest.raises(FormatError, match=said) as caught:
        read_tflite(tmp_path / "net.tflite")
    assert str(caught.value).startswith(f"{tmp_path / 'net.tflite'}: ")
    assert 1 == len(str(caught.value).splitlines())


def test_shapes_that_do_not_fit_are_no_macs():
    net = Net(random.Random(0))
    net.inputs = [net.tensor((1, 8, 8, 3))]
    options = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1)}
    parts = [*net.inputs, net.weight(4, 3, 3, 2), net.numbers(*range(4))]
    net.outputs = [net.add("CONV_2D", parts, (1, 8, 8, 4), options)]
    with pytest.raises(FormatError, match=r"cat\.tflite: .* operator 0 \(CONV_2D\) do not fit"):
        figures_of(parse_tflite(net.content(), "cat.tflite"))


def test_a_list_that_all_operators_share_does_not_take_for_ever():
    content = graph_with(operators=[RELU | {1: tflite_files.SHARED}] * 20_000)
    with damage.in_time(20), pytest.raises(FormatError, match="shared more often"):
        parse_tflite(content)


def use(content, name):
    """All that is done with a file."""
    model = parse_tflite(content, name)
    figures_of(model)
    cmsis_nn_scratch(model)
    arena = activations(model, reference_scratch(model).requests)
    plan = least_plan(arena.graph.buffers(), seconds=0.05).plan
    assert () == plan.clashes()
    if plan.size < 1 << 31:
        write_plan(content, arena.tensor_offsets(plan), name=name)


@pytest.mark.parametrize("count", [400, pytest.param(8_000, marks=pytest.mark.deep)])
def test_damaged_files_are_read_or_refused_in_one_line(count):
    files = [random_net(random.Random(seed), 6).content() for seed in range(10)]
    files += [small(), planned(small())[0], graph_with()]
    files += [path.read_bytes() for path in sorted(TINY.glob("*.tflite"))]
    refused = []
    for draw in damage.draws("tflite", count):
        content = damage.damaged_file(draw.choice(files), draw, step=4)
        try:
            with damage.in_time(20):
                use(content, "broken.tflite")
        except FormatError as error:
            refused.append(str(error))
    assert 0 < len(refused) < count
    for said in refused:
        assert said.startswith("broken.tflite: ")
        assert (1, True) == (len(said.splitlines()), len(said) < 600)


def test_cmsis_nn_says_the_same_of_its_buffers():
    """To the byte, for random layers; needs `pip install executorch`, which ships its functions."""
    library = pytest.importorskip(
        "executorch.backends.cortex_m.library._cmsis_nn.cmsis_nn",
        reason="executorch is not installed",
    )
    kind, draw = library.DataType.A8W8, random.Random(0)
    for _ in range(300):
        net = Net(draw)
        size = (1, draw.randint(8, 20), draw.randint(8, 20), draw.randint(1, 20))
        kernel, stride, same = (draw.choice([1, 3, 5]), 3), draw.choice([1, 2]), draw.random() < 0.5
        kernel = draw.choice([kernel, (1, 1)])
        deep = draw.random() < 0.5
        out = size[3] if deep else draw.randint(1, 9)
        shape = (1, *(tflite_files.slide(n, k, stride, same) for n, k in
                      zip(size[1:3], kernel, strict=True)), out)  # fmt: skip
        weight = (1, *kernel, out) if deep else (out, *kernel, size[3])
        window = {0: ("b", 0 if same else 1), 1: ("i", stride), 2: ("i", stride)}
        name, options = (
            ("DEPTHWISE_CONV_2D", window | {3: ("i", 1)}) if deep else ("CONV_2D", window)
        )
        net.inputs = [net.tensor(size)]
        net.outputs = [net.add(name, [*net.inputs, net.weight(*weight), -1], shape, options)]
        model = parse_tflite(net.content())
        missing = [max((o - 1) * stride + k - n, 0) if same else 0
                   for n, k, o in zip(size[1:3], kernel, shape[1:3], strict=True)]  # fmt: skip
        given = (kind, size, weight, shape, [n // 2 for n in missing], (stride, stride), (1, 1))
        for backend, dsp in ((library.Backend.DSP, True), (library.Backend.SCALAR, False)):
            if deep:
                real = library.depthwise_conv_wrapper_buffer_size(backend, *given, 1)
            else:
                real = library.convolve_wrapper_buffer_size(backend, *given)
            assert ({0: (real,)} if real else {}) == cmsis_nn_scratch(model, dsp).requests


def test_cmsis_nn_buffers_of_mlperf_tiny():
    model = parse_tflite(tiny("vww_96_int8.tflite"))
    scratch = cmsis_nn_scratch(model, dsp=True)
    assert {0: (4 * 28,), 27: (4 * 256,)} == scratch.requests  # the first, and the average pooling
    assert () == scratch.unknown
    assert 73_728 == activations(model, scratch.requests).tflm_plan().size  # they fit into gaps


def test_reading_needs_no_torch_and_no_numpy():
    code = (
        "import sys, budgetnet.deploy.tflite_plan, budgetnet.accounting.device.scratch;"
        "print(sorted({'torch', 'numpy', 'tensorflow', 'flatbuffers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


def test_a_constant_of_int32_is_no_activation():
    net = Net(random.Random(0))
    net.inputs = [net.tensor((1, 4))]
    constant = net.tensor((1, 4), INT32, bytes(16))
    net.outputs = [net.add("ADD", [*net.inputs, constant], (1, 4))]
    assert (32, 4) == (arena_of(net.content()), figures_of(parse_tflite(net.content())).params)
