"""Writes that are not followed: with strict=False figures are exact or unknown, never wrong."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from budgetnet import account
from budgetnet.errors import UnsupportedOp
from budgetnet.testing import assert_field_matches, nan_footprint

SHAPE = (2, 8, 8)


class Runs(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 5, padding=2)
        self.c, self.down = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, 2, padding=1)
        self.weight = nn.Parameter(torch.rand(64, 64))
        self.function = function

    def forward(self, x):
        return self.c(self.function(self, x))


WRITES, SHAPES = {}, {}


def writes(function):
    WRITES[function.__name__] = function
    return function


def changes_shape(function):
    SHAPES[function.__name__] = function
    return function


@writes
def a_slice_of_channels(net, x):
    y = net.a(x)
    y[:, :1] = net.b(x)[:, :1]
    return y


@writes
def a_slice_through_an_older_view(net, x):
    y = net.a(x)
    older = y.transpose(1, 2)
    y[:, :, ::2].add_(net.b(x)[:, :, ::2])
    return older.transpose(1, 2)


@writes
def rows_at_another_rate(net, x):
    y = net.a(x)
    y[:, :, :4] = net.down(x).repeat(1, 1, 1, 2)
    return y


@writes
def a_view_after_such_rows(net, x):
    y = net.a(x)
    older = y[:, :, 1:]
    y[:, :, :4] = net.down(x).repeat(1, 1, 1, 2)
    return F.pad(older, (0, 0, 1, 0))


@writes
def scattered(net, x):
    y = net.a(x)
    older = y.transpose(1, 2)
    y.scatter_(1, torch.zeros(1, 1, 8, 8, dtype=torch.long), 1.0)
    return older.transpose(1, 2)


@writes
def by_index(net, x):
    y = net.a(x)
    y[:, torch.tensor([0]), torch.tensor([3])] = 1.0
    return y


@writes
def every_second_of_all(net, x):
    y = x.new_zeros(1, 2, 8, 8)
    y.view(-1)[::2] = net.a(x).flatten()[::2]
    return y


@writes
def into_out(net, x):
    y = net.a(x)
    torch.add(y, net.b(x), out=y)
    return y


@writes
def into_an_out_that_is_a_view(net, x):
    y = net.a(x)
    torch.mul(net.b(x)[:, :1], 2, out=y[:, :1])
    return y


@writes
def into_a_constant(net, x):
    y = torch.zeros(1, 2, 8, 8)
    torch.mul(net.b(x), 2, out=y)
    return y


@writes
def a_product_into_out(net, x):
    y = net.a(x).reshape(-1, 64)
    out = x.new_zeros(2, 64)
    torch.mm(y, net.weight, out=out)
    return out.view(1, 2, 8, 8)


@writes
def a_product_in_place(net, x):
    y = net.a(x).reshape(-1, 64)
    y.addmm_(net.b(x).reshape(-1, 64), net.weight)
    return y.view(-1, 2, 8, 8)


@writes
def stacked_into_out(net, x):
    y = net.a(x)
    torch.stack([x[:, 0], x[:, 1]], 1, out=y)
    return y


@writes
def several_at_once(net, x):
    y, z = net.a(x), net.b(x)
    torch._foreach_add_([y, z], 1.0)
    return y + z


@writes
def through_as_strided(net, x):
    y = net.a(x)
    y.as_strided((1, 2, 4, 8), y.stride())[:] = net.b(x)[:, :, 4:]
    return y


@writes
def through_data(net, x):
    y = net.a(x)
    y.data.mul_(2)
    y.data[:, :1] = x[:, :1]
    return y


@writes
def other_data(net, x):
    y = net.a(x)
    y.data = net.b(x)
    return y


@changes_shape
def turned(net, x):
    return net.a(x)[:, :, 1:].transpose_(2, 3)


@changes_shape
def resized(net, x):
    return net.a(x).resize_(1, 2, 4, 8)


@changes_shape
def set_to_another(net, x):
    y = net.a(x)
    y.set_(net.down(x))
    return y


@changes_shape
def squeezed(net, x):
    return net.a(x).squeeze_(0).unsqueeze_(0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", WRITES)
def test_figures_are_exact_or_unknown(name, strict):
    model = Runs(WRITES[name]).eval()
    try:
        result = account(model, SHAPE, strict=strict)
    except UnsupportedOp:
        assert strict
        return
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        out = Runs(WRITES[name]).eval()(torch.rand(1, *SHAPE))
    assert tuple(out.shape[1:]) == result.output_shape
    if result.macs is not None:
        uncounted = 2 * 64 * 64 if name == "a_product_in_place" else 0  # FlopCounterMode has none
        assert counter.get_total_flops() == 2 * (result.macs - uncounted)
    layers = {row.path: row.macs for row in result.rows if row.kind == "Conv2d"}
    assert None not in layers.values()
    if result.receptive_field is None:
        assert result.rows[-1].unknown
        assert not strict
    elif not any(row.is_global or row.global_context for row in result.rows):
        assert_field_matches(result.receptive_field, nan_footprint(model, SHAPE))


@pytest.mark.parametrize("name", SHAPES)
def test_a_run_ends_where_a_shape_is_changed_in_place(name):
    with pytest.raises(UnsupportedOp):
        account(Runs(SHAPES[name]), SHAPE)
    found = account(Runs(SHAPES[name]), SHAPE, strict=False)
    assert not found.is_complete
    assert "Even the shape of its output is unknown" in found.rows[-1].unknown
    assert all(row.receptive_field for row in found.rows[:-1])


def test_branches_of_different_stride_cost_what_they_cost():
    """Only what was read is unknown where branches meet that cannot: not what later layers cost."""
    model = Runs(
        lambda net, x: (
            net.down(net.a(x)) + net.b(x)[:, :, ::3, ::3].repeat(1, 1, 2, 2)[:, :, :4, :4]
        )
    )
    result = account(model, SHAPE, strict=False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.rand(1, *SHAPE))
    assert result.receptive_field is None
    assert counter.get_total_flops() == 2 * result.macs
