"""Training with the rounding of an int8 file: what is rounded, and what is left at the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetnet import models

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def aware(monkeypatch):
    for folder in (EXAMPLES, EXAMPLES / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    import aware

    return aware


def test_a_weight_has_255_levels_an_output_channel_with_its_largest_kept(aware):
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-3, 1, 6).view(6, 1, 1, 1)
    rounded = aware.RoundedWeight()(weight)
    for channel, was in zip(rounded, weight, strict=True):
        step = was.abs().max() / 127
        levels = channel / step
        torch.testing.assert_close(levels.round(), levels, atol=1e-4, rtol=0)
        assert levels.abs().max().round() == 127
        assert (channel - was).abs().max() <= step * 0.5001


def test_a_tensor_has_256_levels_one_of_them_zero_in_the_range_that_was_seen(aware):
    rounded = aware.RoundedTensor().train()
    x = torch.linspace(-1.0, 3.0, 1001)
    rounded(x)
    given = rounded.eval()(torch.cat([x, torch.tensor([0.0, -50.0, 50.0])]))
    assert given[-3] == 0
    assert len(given[:1001].unique()) <= 256
    step = 4 / 255
    assert (given[:1001] - x).abs().max() <= 0.501 * step + step  # zero moves the ends by a level
    assert given[-2] >= -1 - step, "beyond the range it is cut"
    assert given[-1] <= 3 + step
    again = rounded(x * 10)
    assert again.abs().max() <= 3 + step, "evaluation moves no range"


def test_gradients_pass_the_rounding(aware):
    weight = torch.randn(2, 3, requires_grad=True)
    aware.RoundedWeight()(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(2, 3))


def test_an_epoch_moves_weights_and_leaves_a_plain_network(aware):
    from mnist_data import load
    from recipes import RECIPES

    digits = load("digits")
    digits = replace(digits, train=digits.train[:256], test=digits.test[:64])
    torch.manual_seed(0)
    net = models.build("c4 ds6 p c8 gap10").eval()
    before = aware.fold_batchnorm(net, (1, 28, 28))
    after = aware.learn_rounding(net, (1, 28, 28), digits, RECIPES["default"])
    assert not after.training
    assert not any(module._forward_hooks for module in after.modules())
    assert before.state_dict().keys() == after.state_dict().keys()
    moved = [not torch.equal(a, b) for a, b in
             zip(before.parameters(), after.parameters(), strict=True)]  # fmt: skip
    assert all(moved)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in after.modules())
