"""What rows say of themselves: role, bias and weight shape, whatever classes are called."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from budgetnet import account
from budgetnet.budget.hints import find_hints


class Standardised(nn.Conv2d):
    """A convolution under a name that no list of names has."""

    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


class ConvTFoo(nn.Conv2d):
    """A convolution whose name begins as that of a transposed one."""


class Renamed(nn.BatchNorm2d):
    """A norm under another name."""


class Conv2d(nn.Module):
    """No convolution, whatever its name says."""

    def forward(self, x):
        return x * 2


class Runs(nn.Module):
    """A model that runs one function with its layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(x, *self.layers)


def functional(x, conv, norm):
    x = F.conv2d(x, conv.weight, conv.bias)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def hints(model, shape=(3, 9, 9)):
    return [(hint.name, hint.where) for hint in find_hints(account(model, shape))]


BIASED = {
    "layers": nn.Sequential(nn.Conv2d(3, 8, 9), nn.BatchNorm2d(8)),
    "subclass": nn.Sequential(Standardised(3, 8, 9), nn.BatchNorm2d(8)),
    "own norm": nn.Sequential(nn.Conv2d(3, 8, 9), Renamed(8)),
    "transposed": nn.Sequential(
        nn.ConvTranspose2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 9, bias=False)
    ),
    "parametrized": nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 9)), nn.BatchNorm2d(8)
    ),
    "functional": Runs(functional, nn.Conv2d(3, 8, 9), nn.BatchNorm2d(8)),
    "linear": nn.Sequential(
        nn.Conv2d(3, 8, 9, bias=False), nn.Flatten(), nn.Linear(8, 8), nn.BatchNorm1d(8)
    ),
}


@pytest.mark.parametrize("case", BIASED)
def test_a_bias_before_a_norm_is_found_under_any_name(case):
    (hint,) = [h for h in find_hints(account(BIASED[case], (3, 9, 9))) if "bias" in h.name]
    assert "its bias of 8 parameters has no effect" == hint.what


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 9), nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


UNBIASED = {
    "no bias": nn.Sequential(nn.Conv2d(3, 8, 9, bias=False), nn.BatchNorm2d(8)),
    "layer norm": nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm(9)),
    "group norm": nn.Sequential(nn.Conv2d(3, 8, 9), nn.GroupNorm(2, 8)),
    "name alone": nn.Sequential(Conv2d(), nn.BatchNorm2d(3)),
    "another reads it": Twice(),
    "over positions": nn.Sequential(nn.Flatten(2), nn.Linear(81, 3), nn.BatchNorm1d(3)),
}


@pytest.mark.parametrize("case", UNBIASED)
def test_a_bias_that_has_an_effect_is_no_hint(case):
    assert "bias-before-norm" not in dict(hints(UNBIASED[case]))


@pytest.mark.parametrize(("layer", "found"), [
    (ConvTFoo(3, 8, 4), True), (Standardised(3, 8, 4), True), (nn.Conv2d(3, 8, 3), False),
    (nn.ConvTranspose2d(3, 8, 4), False), (nn.LazyConv2d(8, 4), True),
    (Runs(lambda x, conv: F.conv2d(x, conv.weight), nn.Conv2d(3, 8, 4)), True),
    (nn.MaxPool2d(2, 1), False),
])  # fmt: skip
def test_an_even_kernel_is_found_under_any_name(layer, found):
    if isinstance(layer, nn.LazyConv2d):
        layer(torch.zeros(1, 3, 9, 9))
    assert found is ("even-kernel" in dict(hints(layer)))


class Own(nn.ReLU):
    """An activation under another name."""


LOGITS = {
    "layer": (nn.ReLU(), True),
    "own": (Own(), True),
    "PReLU": (nn.PReLU(), True),
    "function": (Runs(F.relu), True),
    "dropped": (nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Identity()), True),
    "sigmoid": (nn.Sigmoid(), False),
    "clamped": (nn.Hardtanh(), False),
    "softmax": (nn.Softmax(1), False),
    "squashed after": (nn.Sequential(nn.ReLU(), nn.Softmax(1)), False),
    "scaled": (nn.Sequential(nn.ReLU(), Runs(lambda x: x - 1)), False),
    "none": (nn.Identity(), False),
}


@pytest.mark.parametrize("case", LOGITS)
def test_an_activation_on_the_outputs_is_found_under_any_name(case):
    last, found = LOGITS[case]
    model = nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten(), last)
    assert found is ("activation-on-logits" in dict(hints(model)))


def test_a_pooling_before_the_head_is_found_under_any_name():
    class Halved(nn.MaxPool2d):
        pass

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for pool in (nn.MaxPool2d(2), Halved(2), Runs(lambda x: F.avg_pool2d(x, 2))):
        found = dict(hints(nn.Sequential(nn.Conv2d(3, 4, 3), pool, head)))
        assert "pool-before-head" in found, pool
