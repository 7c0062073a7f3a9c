"""Recurrent layers: shapes, costs, and how far they look."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from budgetnet import account
from budgetnet.testing.operators import without_mkldnn

LAYERS = list(itertools.product([nn.LSTM, nn.GRU, nn.RNN], [False, True], [False, True], [1, 2]))


def counted(module, *inputs):
    """MACs by torch's own count, with every step run by itself."""
    counter = FlopCounterMode(display=False)
    with without_mkldnn(), torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("kind", "first", "both", "layers"), LAYERS)
def test_layers(kind, first, both, layers):
    net = kind(3, 4, num_layers=layers, batch_first=first, bidirectional=both).eval()
    x = torch.rand(2, 5, 3)
    result = account(net, inputs=x)
    real = torch.utils._pytree.tree_leaves(net(x))
    assert [tuple(out.shape[1:]) for out in real] == list(result.output_shapes)
    assert counted(net, x) == result.macs
    assert sum(p.numel() for p in net.parameters()) == result.params
    assert not result.unused


def test_projections_are_counted():
    net = nn.LSTM(3, 4, proj_size=2)
    x = torch.rand(2, 5, 3)
    assert counted(net, x) == account(net, inputs=x).macs


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(kind):
    net, x = kind(3, 4), torch.rand(2, 3)
    assert counted(net, x) == account(net, inputs=x).macs


class Turned(nn.Module):
    def forward(self, x):
        return x.mT


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_step_claims_the_whole_sequence(kind):
    net = nn.Sequential(Turned(), kind(3, 4, batch_first=True, bidirectional=True))
    result = account(net, (3, 5))
    assert (5,) == result.rows[-1].receptive_field.size
    x = torch.rand(1, 3, 5, requires_grad=True)
    net(x)[0][0, 2].sum().backward()
    assert (x.grad != 0).all()


def test_a_model_on_the_meta_device():
    with torch.device("meta"):
        net = nn.LSTM(3, 4)
    assert 2 * 5 * (16 * 3 + 16 * 4) == account(net, inputs=torch.rand(2, 5, 3)).macs


def test_a_layer_that_is_called_as_a_function():
    weights = [torch.rand(16, 3), torch.rand(16, 4), torch.rand(16), torch.rand(16)]
    state = torch.zeros(1, 2, 4)

    def run(x):
        return torch.lstm(x, (state, state), weights, True, 1, 0.0, False, False, False)[0]

    class Runs(nn.Module):
        def forward(self, x):
            return run(x)

    result = account(Runs(), inputs=torch.rand(5, 2, 3))
    assert 2 * 5 * (16 * 3 + 16 * 4) == result.macs
    assert (2, 4) == result.output_shape
