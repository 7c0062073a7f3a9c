"""`account` against oracles that share no formula with it: real forwards, numel, footprints."""

import copy
import io
import json
import re
import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from torch import nn

import budgetnet
from budgetnet import Account, account, blocks, find_hints, models, plan
from budgetnet.budget.advice import coverage_text
from budgetnet.errors import ArgumentError, FormatError, ShapeError, StrideMismatch, UnsupportedOp
from budgetnet.testing import assert_field_matches, chains, gradient_footprint, nan_footprint
from budgetnet.trace.rules.core import REMEDY
from budgetnet.trace.run import account_of_module

SIZE = st.integers(5, 14)


def real_shapes(model, shape):
    """Output shape of every leaf call of a real forward, in order."""
    seen = []
    for name, module in model.named_modules():
        if not module._modules:
            module.register_forward_hook(
                lambda _m, _i, out, name=name: seen.append((name, tuple(out.shape[1:])))
            )
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return seen


def forward_runs(model, shape):
    try:
        with torch.no_grad():
            copy.deepcopy(model).eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError):
        return False
    return True


@settings(max_examples=200)
@given(chains(), SIZE, SIZE, st.booleans())
def test_chains_equal_their_oracles(model, height, width, shortcuts):
    shape = (2, height, width)
    note(f"{model} on {shape}")
    if not forward_runs(model, shape):
        with pytest.raises(ShapeError, match="map"):
            account_of_module(model, shape, shortcuts=shortcuts)
        return
    result = account_of_module(model, shape, shortcuts=shortcuts)
    assert sum(p.numel() for p in model.parameters()) == result.params
    assert result.params == sum(row.params for row in result.rows)
    assert real_shapes(model, shape) == [(row.path, row.output_shape) for row in result.rows]
    mirrored = any(getattr(layer, "padding_mode", "zeros") != "zeros" for layer in model)
    footprint = nan_footprint(model, shape)
    assert_field_matches(result.receptive_field, footprint, border=not mirrored)


@settings(max_examples=60)
@given(chains(max_layers=4), SIZE, SIZE)
def test_fields_equal_gradient_footprints(model, height, width):
    shape = (2, height, width)
    assume(not any(isinstance(layer, nn.MaxPool2d | nn.SiLU | nn.Hardswish) for layer in model))
    assume(forward_runs(model, shape))
    footprint = gradient_footprint(model, shape)
    mirrored = any(getattr(layer, "padding_mode", "zeros") != "zeros" for layer in model)
    assert_field_matches(account(model, shape).receptive_field, footprint, border=not mirrored)


@settings(max_examples=150)
@given(chains(), SIZE, SIZE)
def test_shortcuts_change_nothing(model, height, width):
    shape = (2, height, width)
    assume(forward_runs(model, shape))
    assert account_of_module(model, shape, shortcuts=False) == account(model, shape)


@settings(max_examples=100)
@given(chains(), SIZE, SIZE)
def test_macs_equal_one_product_per_tap_of_a_real_unfold(model, height, width):
    shape = (2, height, width)
    assume(forward_runs(model, shape))
    products = []

    def count(layer, _inputs, out):
        products.append(out[0].numel() * layer.weight[0].numel())

    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    for layer in model:
        layer._forward_hooks.clear()
    assert sum(products) == account(model, shape).macs


class Inception(nn.Module):
    """Branches of equal stride that are concatenated, then a residual around a gate."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 3, 1)
        self.three = nn.Conv2d(2, 3, 3, padding=1)
        self.five = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1))
        self.body = blocks.ConvBNReLU(8, 8, (1, 5), padding=0)
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = torch.cat([self.one(x), self.three(x), self.five(x)], dim=1)
        x = F.relu(x + self.body(F.pad(x, (2, 2))))
        gate = torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return (x * gate).flatten(1).mean(1)


def test_branches_and_functional_operations():
    model = Inception()
    result = account(model, (2, 12, 12))
    assert sum(p.numel() for p in model.parameters()) == result.params
    by_kind = {row.kind: row for row in result.rows}
    assert (5, 5) == by_kind["cat"].receptive_field.size
    assert (5, 9) == by_kind["add"].receptive_field.size == result.receptive_field.size
    gated = by_kind["mul"]
    assert gated.global_context
    assert not gated.is_global
    assert by_kind["view"].is_global
    footprint = nan_footprint(nn.Sequential(Trunk(model)), (2, 12, 12))
    assert assert_field_matches(result.receptive_field, footprint) > 0


class Trunk(nn.Module):
    """The part of Inception before its gate."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole

    def forward(self, x):
        w = self.whole
        x = torch.cat([w.one(x), w.three(x), w.five(x)], dim=1)
        return F.relu(x + w.body(F.pad(x, (2, 2))))


def test_residual_field_is_the_union_not_the_larger_branch():
    body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=(2, 1)), nn.Conv2d(4, 4, 3, padding=(0, 1)))
    shifted = blocks.Residual(body, nn.Conv2d(4, 4, 3, padding=1), activation_layer=None)
    field = account(shifted, (4, 11, 11)).receptive_field
    assert ((-2, 2), (-2, 2)) == field.region(0, 0)
    assert assert_field_matches(field, nan_footprint(shifted, (4, 11, 11))) > 0


def test_inplace_operations_change_what_follows():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    assert (5, 5) == account(model, (1, 9, 9)).receptive_field.size
    assert account(model, (1, 9, 9)) == account_of_module(model, (1, 9, 9), shortcuts=False)


def test_lenet_reads_the_whole_map_at_its_flatten():
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Linear(84, 10),
    )  # fmt: skip
    result = account(model, (1, 28, 28))
    assert sum(p.numel() for p in model.parameters()) == result.params
    assert (16, 16) == result.receptive_field.size
    assert (32, 32) == result.row("6").receptive_field.size
    linear = 400 * 120 + 120 * 84 + 84 * 10
    assert linear == sum(row.macs for row in result.rows if row.kind == "Linear")
    assert (10,) == result.output_shape


def test_tied_and_unused_parameters_count_once_and_are_listed():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(4, 4, 3, padding=1)
            self.second = nn.Conv2d(4, 4, 3, padding=1)
            self.second.weight = self.first.weight
            self.scale = nn.Parameter(torch.ones(1))
            self.spare = nn.Linear(3, 3)

        def forward(self, x):
            return self.second(self.first(self.first(x))) * self.scale

    model = Tied()
    model.first.bias.requires_grad_(False)
    result = account(model, (4, 8, 8))
    assert sum(p.numel() for p in model.parameters()) == result.params
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == result.trainable_params
    assert [148, 0, 4, 1] == [row.params for row in result.rows]
    assert ("spare.weight", "spare.bias") == result.unused
    assert "spare.weight" in str(result)


def state(model):
    """All that account must leave as it was."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    modules = [
        (path, module.training, len(module._forward_hooks), sorted(module.__dict__))
        for path, module in model.named_modules()
    ]
    devices = [(p.device, p.requires_grad, id(p)) for p in model.parameters()]
    return buffer.getvalue(), modules, devices


def test_the_module_comes_back_as_it_was():
    model = models.get_model("s6")
    model.conv3.eval()
    before, call = state(model), nn.Module._call_impl
    account(model, (1, 28, 28))
    assert before == state(model)
    with pytest.raises(ShapeError):
        account(model, (1, 8, 8))
    assert before == state(model)
    assert call is nn.Module._call_impl


def test_hooks_of_the_user_still_run():
    model, seen = models.get_model("s6"), []
    model.conv1.conv.register_forward_hook(
        lambda module, args, out: seen.append(out) or out[:, :, 1:]
    )
    result = account(model, (1, 28, 28))
    assert (16, 25, 26) == result.row("conv1.conv").output_shape
    assert [] == seen, "the hook keeps what it keeps in a copy of its list"
    assert 14_372 == result.params


def test_modules_of_other_threads_run_as_ever():
    layer, results = nn.Linear(2, 2), []

    class Slow(nn.Module):
        def forward(self, x):
            other = threading.Thread(target=lambda: results.append(layer(torch.ones(1, 2))))
            other.start()
            other.join()
            return F.relu(x)

    account(Slow(), (1, 4, 4))
    assert (1, 2) == results[0].shape
    assert type(results[0]) is torch.Tensor


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_device_and_dtype(device, dtype):
    model = models.get_model("s6", device=device, dtype=dtype)
    result = account(model, (1, 28, 28))
    expected = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert expected == result.weight_bytes
    assert 14_372 == result.params


def test_nothing_is_allocated_for_a_network_too_large_to_run():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 200_000, 3), nn.ReLU(), nn.Conv2d(200_000, 100_000, 3))
    result = account(model, (3, 4096, 4096))
    assert 200_000 * 28 + 100_000 * (200_000 * 9 + 1) == result.params
    assert (5, 5) == result.receptive_field.size


class Uses(nn.Module):
    """A child `body` that runs one function."""

    def __init__(self, function):
        super().__init__()
        self.body = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(x, self.body(x))


ERRORS = {
    "channels": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3)),
        ShapeError,
        "0 (Conv2d): the layer expects a different number of channels than it receives "
        "(expected 3, got 4). "
        "Set its in_channels (or num_features) to what the previous layer outputs.",
    ),
    "kernel": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 13)),
        ShapeError,
        "0 (Conv2d): the kernel does not fit into the map (kernel / stride / padding "
        "13x13 / 1 / 0, map 12x12). Use a larger input, fewer strides before this layer, or more "
        "padding.",
    ),
    "unknown": (
        lambda: Uses(lambda x, y: torch.linalg.inv(y)),
        UnsupportedOp,
        "the model (Uses): no accounting rule covers aten.linalg_inv_ex.default (input shapes "
        f"1x4x6x6). {REMEDY}",
    ),
    "inside a child": (
        lambda: nn.Sequential(Uses(lambda x, y: torch.linalg.qr(y).R)),
        UnsupportedOp,
        "0 (Uses): no accounting rule covers aten.linalg_qr.default (input shapes 1x4x6x6). "
        f"{REMEDY}",
    ),
    "value": (
        lambda: Uses(lambda x, y: y if y.sum() > 0 else x),
        UnsupportedOp,
        "the model (Uses) at test_account.py:0: the control flow depends on a value of the input. "
        "Pass strict=False for the figures up to there.",
    ),
    "view": (
        lambda: Uses(lambda x, y: y.squeeze_(0)),
        UnsupportedOp,
        "the model (Uses): aten.squeeze_.dim cannot be followed exactly: it changes the shape of "
        f"its argument in place (input shapes 1x4x6x6). {REMEDY}",
    ),
    "joined sizes": (
        lambda: Uses(lambda x, y: x + y),
        ShapeError,
        "the model (Uses): maps of different size are joined elementwise (shapes 1x4x12x12, "
        "1x4x6x6). Give both branches the same stride, padding and channels.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_texts(case):
    make, error, text = ERRORS[case]
    with pytest.raises(error) as caught:
        account(make(), (4, 12, 12))
    assert text == re.sub(r"(\.py):\d+", r"\1:0", str(caught.value))


def test_branches_of_different_stride_get_a_named_error():
    class Skewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Conv2d(1, 1, 3, stride=1, padding=0)
            self.far = nn.Conv2d(1, 1, 2, stride=2)

        def forward(self, x):
            return self.wide(x) + self.far(x)

    with pytest.raises(StrideMismatch) as caught:
        account(Skewed(), (1, 4, 4))  # both give 2x2, at strides 1 and 2
    assert (
        "the model (Skewed): branches that meet step over the input at different rates "
        "(strides 1 and 2). Give both branches the same total stride before they are joined."
    ) == str(caught.value)


@pytest.mark.parametrize("shape", [(1, 28, 0), 28, (1, 1, 1, 28, 28), (1, 2.5, 3), "abc", ()])
def test_input_shape_is_checked(shape):
    with pytest.raises(ArgumentError, match="is not a valid input shape"):
        account(nn.Identity(), shape)
    with pytest.raises(ArgumentError, match="is not a valid input shape"):
        budgetnet.plan("c8", shape)


@settings(max_examples=30)
@given(chains(), SIZE, SIZE)
def test_json_round_trip(model, height, width):
    assume(forward_runs(model, (2, height, width)))
    result = account(model, (2, height, width))
    assert result == Account.from_json(result.to_json())
    assert json.loads(result.to_json())["macs"] == result.macs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not JSON"),
        ("[]", r"expected budgetnet.account 4, got None None"),
        ('{"format": "budgetnet.account", "version": 5}', "got budgetnet.account 5"),
        ('{"format": "budgetnet.account", "version": 1}', "the account is damaged"),
    ],
)
def test_damaged_files_are_refused(text, message):
    with pytest.raises(FormatError, match=message):
        Account.from_json(text)


def test_row_lookup_names_near_paths():
    result = account(models.get_model("s6"), (1, 28, 28))
    assert "Conv2d" == result.row("conv3.conv").kind
    with pytest.raises(KeyError, match=r"near names: conv3\.conv"):
        result.row("conv3.cnv")


def test_where_most_costs_come_after_all_is_read():
    found = plan("c8k4s4 flatten l128 fc10", (1, 28, 28))
    assert "flatten1" == found.global_from.path
    table = found.to_table()
    assert "4, then all" == table.totals[4]
    text = "flatten1 reads the whole map, before 89.1 % of the MACs"
    assert f"receptive field 4 until {text}" in table.notes
    assert "small-field" not in [hint.name for hint in find_hints(found)]
    assert [f"receptive field: 4 of the 28x28 input, until {text}"] == coverage_text(found)
    for headed in ("c16 c16 p c32 gap10", "c8 p c8 flatten fc10", "c8 c8"):
        assert plan(headed, (1, 28, 28)).global_from is None
        assert "then all" not in str(plan(headed, (1, 28, 28)))
