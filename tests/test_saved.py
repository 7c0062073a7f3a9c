"""Saved accounts: no figure can be edited alone, and every field has its type and range."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetnet import Account, Window, account, plan
from budgetnet.accounting.saved import as_version, bytes_of
from budgetnet.accounting.window import LARGEST
from budgetnet.budget.hints import find_hints
from budgetnet.cli.parser import main
from budgetnet.errors import FormatError

CHAIN = plan("c16 c16 p ds8 gap10", (1, 28, 28))
OLD = Path(__file__).with_name("golden")


def data():
    return json.loads(CHAIN.to_json())


def refused(content, message):
    with pytest.raises(FormatError) as caught:
        Account.from_dict(content)
    assert message in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


FIELD = CHAIN.receptive_field.to_dict()
TOTALS = {
    "params": ("params", 1, "params is not the sum of its rows, 2,932: 1"),
    "more params": ("params", 2933, "params is not the sum of its rows, 2,932: 2933"),
    "trainable": ("trainable_params", 2933, "trainable_params is more than params: 2933"),
    "macs": ("macs", 1, "macs is not what the rest of the file gives"),
    "no macs": ("macs", None, "macs is not what the rest of the file gives"),
    "depth": ("depth", 1, "depth is not what the rest of the file gives, 5: 1"),
    "bytes": ("weight_bytes", 1, "weight_bytes is not what the rest of the file gives"),
    "types": ("weight_bytes_by_type", {"float32": 4}, "weight_bytes is not what the rest"),
    "buffers": ("buffers", 0, "weight_bytes_by_type holds"),
    "peak": ("peak_activation_bytes", 1, "less than the 11,600 numbers that live at once"),
    "outputs": ("output_shapes", [[11]], "output_shapes is not the shape of any row: (11,)"),
    "no outputs": ("output_shapes", [], "output_shapes is not a shape"),
    "size": ("receptive_field", FIELD | {"size": [99, 99]}, "size is not what the rest"),
    "stride": ("receptive_field", FIELD | {"stride": ["1", "1"]}, "stride is not what the rest"),
    "padding": ("receptive_field", FIELD | {"padding": [1, 1]}, "padding is not what the rest"),
    "field": (
        "receptive_field", plan("c1k9", (1, 28, 28)).receptive_field.to_dict(),
        "receptive_field is not the field of the last map: '9'",
    ),
    "no field": ("receptive_field", None, "receptive_field is not the field of the last map"),
}  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), TOTALS.values(), ids=TOTALS.keys())
def test_a_total_that_does_not_follow_is_refused(key, value, message):
    refused(data() | {key: value}, message)


def test_types_and_totals_edited_together_are_held_to_the_parameters():
    edited = data() | {"weight_bytes": 4, "weight_bytes_by_type": {"float32": 4}}
    refused(edited, "weight_bytes_by_type holds 1 numbers, not the 2,932 params and ")


TYPES = {
    "name": ("name", 3, "name is not text: 3"),
    "surrogate": ("name", "\ud800", "name is not text"),
    "float": ("params", 2932.0, "params is not a whole number of at least 0: 2932.0"),
    "bool": ("buffers", True, "buffers is not a whole number of at least 0: True"),
    "negative": ("buffers", -1, "buffers is not a whole number of at least 0: -1"),
    "huge": ("buffers", 10**4000, "buffers is not a whole number of at least 0: 1000"),
    "text": ("macs", "3M", "macs is not what the rest of the file gives"),
    "input": ("input_shape", "1x28x28", "input_shape is not a list: '1x28x28'"),
    "empty input": ("input_shape", [], "input_shape is not a shape: []"),
    "input of 0": ("input_shape", [1, 0, 28], "input_shape is not a list of whole numbers"),
    "rows": ("rows", {}, "rows is not a list: {}"),
    "row": ("rows", [3], "rows[0] is not a mapping of names to values: 3"),
    "unused": ("unused", [3], "unused is not a list of non-empty texts: [3]"),
    "field": ("receptive_field", [], "receptive_field is not a mapping of names to values: []"),
    "windows": (
        "receptive_field",
        FIELD | {"windows": []},
        "receptive_field.size is not what the rest",
    ),
    "types": (
        "weight_bytes_by_type",
        [],
        "weight_bytes_by_type is not a mapping of names",
    ),
    "type": ("weight_bytes_by_type", {"float32": 3}, "float32 is not a multiple of 4: 3"),
}


@pytest.mark.parametrize(("key", "value", "message"), TYPES.values(), ids=TYPES.keys())
def test_a_field_of_another_type_is_refused_by_name(key, value, message):
    refused(data() | {key: value}, message)


ROWS = {
    "path": ("path", None, "rows[2].path is not text: None"),
    "kind": ("kind", "", "rows[2].kind is not text: ''"),
    "shape": ("output_shape", [16, -1, 26], "rows[2].output_shape is not a list of whole numbers"),
    "params": ("params", "1", "rows[2].params is not a whole number of at least 0: '1'"),
    "macs": ("macs", -1, "rows[2].macs is not a whole number of at least 0: -1"),
    "flag": ("is_global", 0, "rows[2].is_global is neither true nor false: 0"),
    "reads itself": (
        "reads",
        [2],
        "rows[2].reads is not a list of whole numbers in the allowed range",
    ),
    "reads no input": ("reads", [-2], "rows[2].reads is not a list of whole numbers"),
    "lines": ("lines", [0], "rows[2].lines is set on a row without global_context: (0,)"),
    "no such line": (
        "lines",
        [2],
        "rows[2].lines is not a list of whole numbers in the allowed range",
    ),
    "sliding": ("sliding", [3], "rows[2].sliding is not a mapping of names to values: [3]"),
    "role": ("role", None, "rows[2].role is not text: None"),
    "no such role": (
        "role",
        "conv",
        "rows[2].role is not one of convolution, transposed convolution,",
    ),
    "no bias": ("has_bias", True, "rows[2].has_bias is set on a row without weights: True"),
    "bias": ("has_bias", 1, "rows[2].has_bias is neither true nor false: 1"),
    "no weights": ("weight_shape", [3, 3], "weight_shape is set on a row without weights: [3, 3]"),
    "weights": ("weight_shape", "3x3", "rows[2].weight_shape is not a list of whole numbers"),
}


@pytest.mark.parametrize(("key", "value", "message"), ROWS.values(), ids=ROWS.keys())
def test_a_row_of_another_type_is_refused_by_name(key, value, message):
    edited = data()
    edited["rows"][2][key] = value
    refused(edited, message)


WEIGHTS = {
    "kernel": ([16, 1, 3, 5], "weight_shape is not consistent with the kernel: [16, 1, 3, 5]"),
    "axes": ([16, 9], "weight_shape is not valid for a convolution: [16, 9]"),
    "macs": ([17, 1, 3, 3], "97,344 MACs are not a multiple of 153 weights"),
    "nothing": (
        [16, 0, 3, 3],
        "weight_shape is not valid: 97,344 MACs are not a multiple of 0 weights",
    ),
    "params": ([8, 1, 3, 3], "rows[0].params is not the number of its weights and biases, 72: 144"),
}


@pytest.mark.parametrize(("shape", "message"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_are_held_to_the_kernel_to_macs_and_where_planned_to_params(shape, message):
    edited = data()
    edited["rows"][0]["weight_shape"] = shape
    refused(edited, message)


def test_a_bias_of_a_plan_is_held_to_params():
    edited = data()
    edited["rows"][0]["has_bias"] = True
    refused(edited, "rows[0].params is not the number of its weights and biases, 160: 144")
    found = Account.from_dict(edited | {"spec": ""})  # weights of others may be tied, or computed
    assert found.rows[0].has_bias


def test_the_spec_of_a_plan_is_saved():
    assert "c16 c16 p ds8 gap10" == Account.from_dict(data()).spec == CHAIN.spec
    refused(data() | {"spec": None}, "spec is not text: None")


@pytest.mark.parametrize(("key", "value"), [
    ("kernel", [3]), ("stride", [0, 1]), ("padding", [[0], [0, 0]]), ("padding", [0, 0]),
    ("dilation", ["1", 1]), ("ceil_mode", None), ("kernel", []),
])  # fmt: skip
def test_a_sliding_of_another_form_is_refused(key, value):
    edited = data()
    edited["rows"][0]["sliding"][key] = value
    refused(edited, "rows[0].sliding")


@pytest.mark.parametrize("runs", [
    [], [[[5, 1]]], [[[0]]], [[0, 1]], [[[0, 1.0]]], [[[0, LARGEST + 1]]],
    [[[0, 10**12]]], [[[0, 0], [10**12, 10**12]]], "0..1", None,
], ids=str)  # fmt: skip
def test_windows_that_cannot_be_are_refused(runs):
    edited = data()
    edited["rows"][0]["receptive_field"]["windows"][1]["runs"] = runs
    refused(edited, "rows[0].receptive_field.windows[1].runs is ")


def test_a_long_window_is_read_at_once():
    field = {"size": [10**7], "stride": ["2"], "padding": [0]}
    field |= {"windows": [{"runs": [[[0, 10**7 - 1]]], "advance": 2}]}
    window = type(CHAIN.receptive_field).from_dict(field).axes[0]
    assert (10**7, 2) == (window.size, window.stride)
    assert Window.sliding(1000, dilation=3) == Window.reading(range(0, 3000, 3))


@pytest.mark.parametrize("key", [*data()])
def test_no_field_may_be_missing(key):
    edited = data()
    del edited[key]
    refused(edited, " None" if key in ("format", "version") else f"{key} is missing")


@pytest.mark.parametrize("key", [*data()["rows"][0]])
def test_no_field_of_a_row_may_be_missing(key):
    edited = data()
    del edited["rows"][1][key]
    refused(edited, f"rows[1].{key} is missing")


@pytest.mark.parametrize("version", [0, 5, True, 4.0, "4", None, [4]])
def test_other_versions_are_refused(version):
    refused(data() | {"version": version}, "expected budgetnet.account 4, got budgetnet.account")


def test_the_command_refuses_what_the_library_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("net.json").write_text(json.dumps(data() | {"params": 1}))
    assert 2 == main(["check", "net.json", "--params", "10"])
    assert "net.json: the account is damaged (reason params is not" in capsys.readouterr().out
    Path("net.json").write_text(CHAIN.to_json().replace('"params"', '"params": 1, "params"', 1))
    assert 2 == main(["check", "net.json", "--params", "10"])
    assert "the key 'params' appears twice" in capsys.readouterr().out


class Plain(nn.Module):
    """A model without layers: its map and its spare parameter are told by no row."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 1, 3, 3, dtype=torch.float64))
        self.spare = nn.Parameter(torch.zeros(5), requires_grad=False)
        self.register_buffer("seen", torch.zeros(3, dtype=torch.bool))

    def forward(self, x):
        y = nn.functional.conv2d(x.double(), self.weight)
        return y.mean((2, 3)), y


MODELS = {
    "plain": (Plain(), (1, 9, 9)),
    "several": (nn.Bilinear(3, 4, 5), ((3,), (4,))),
    "recurrent": (nn.LSTM(5, 6, batch_first=True), (7, 5)),
    "cell": (nn.LSTMCell(5, 6), (5,)),
    "half": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(98, 3)).half(), (1, 9, 9)),
    "nothing": (nn.Identity(), (1, 9, 9)),
}


@pytest.mark.parametrize(("model", "shape"), MODELS.values(), ids=MODELS.keys())
def test_whatever_is_accounted_for_reads_back(model, shape):
    found = account(model, shape, strict=False)
    assert found == Account.from_json(found.to_json())
    assert found == Account.from_dict(found.to_dict())


def test_the_bytes_of_every_type_of_torch():
    kinds = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert len(kinds) > 20
    for kind in kinds:
        assert kind.itemsize == bytes_of(str(kind).removeprefix("torch.")), kind


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_that_earlier_releases_wrote_still_read(version):
    text = (OLD / f"account_{version}.json").read_text()
    found = Account.from_json(text)
    now = plan("c4 c4 p gap2", (1, 12, 12))
    assert replace(as_version(now, version), name=found.name) == found
    assert "" == found.spec
    assert {""} == {row.role for row in found.rows}
    assert now == as_version(now, 4)


def test_what_an_earlier_release_did_not_say_is_not_guessed():
    model = nn.Sequential(nn.Conv2d(1, 4, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    now = account(nn.Sequential(model, nn.ReLU()), (1, 9, 9))
    names = {"bias-before-norm", "even-kernel", "activation-on-logits"}
    assert names < {hint.name for hint in find_hints(now)}
    assert names.isdisjoint(hint.name for hint in find_hints(as_version(now, 3)))


class Hiding(nn.Module):
    """A layer whose row shows the last of its maps, while the network's field is that before."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 1, 3, 3))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight).flatten(1)


class Statistics(nn.Module):
    def forward(self, x):
        return torch.native_layer_norm(x, (9,), None, None, 1e-5)


class Early(nn.Module):
    """Two outputs, the first of which is not the last row's."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        y = self.one(x)
        return y, self.two(y)


HIDING = {
    "a map": (Hiding(), "composite"),
    "statistics": (nn.Sequential(Statistics()), "composite"),
    "two outputs": (Early(), "convolution"),
    "several maps": (nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(3, return_indices=True)),
                     "max pooling"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "role"), HIDING.values(), ids=HIDING.keys())
def test_outputs_that_no_row_shows_are_read_back(model, role):
    found = account(model, (1, 9, 9))
    assert role == found.rows[-1].role
    assert found == Account.from_json(found.to_json())
