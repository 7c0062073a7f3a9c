"""What rows say of themselves: role, bias and weight shape, whatever classes are called."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from torch import nn

from budgetnet import Account, Spec, Window, account, blocks, models, plan, rules
from budgetnet.accounting.roles import ROLES, WEIGHTED
from budgetnet.budget.hints import find_hints
from budgetnet.errors import ArgumentError, StrideMismatch, UnsupportedOp
from budgetnet.spec.chains import chain_of
from budgetnet.testing import graphs
from budgetnet.trace.rules.core import ROLE_OF
from budgetnet.trace.run import account_of_module


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


def test_chains_are_read_by_roles():
    chain = nn.Sequential(ConvTFoo(1, 4, 3), Renamed(4), Own(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    assert "c4+bias p c2-bn-act" == str(chain_of(account(chain, (1, 12, 12))).spec)
    grouped = Runs(
        lambda x, conv: F.conv2d(x, conv.weight, groups=2), nn.Conv2d(4, 6, 3, groups=2, bias=False)
    )
    found = chain_of(account(nn.Sequential(nn.Conv2d(4, 4, 1), grouped), (4, 9, 9)))
    assert Spec.parse("c4k1-bn-act c6g2-bn-act-bias") == found.spec
    assert ("0", "1") == found.names
    two = Runs(
        lambda x, conv: F.conv2d(F.conv2d(x, conv.weight), conv.weight),
        nn.Conv2d(4, 4, 3, bias=False),
    )
    assert chain_of(account(two, (4, 9, 9))) is None
    tied = nn.Conv2d(4, 4, 3)
    assert chain_of(account(nn.Sequential(tied, tied), (4, 9, 9))) is None


@pytest.mark.parametrize("end", [nn.ELU(), nn.Hardsigmoid(), nn.AdaptiveMaxPool2d(1)])
def test_a_network_of_other_layers_than_specs_have_is_no_chain(end):
    model = nn.Sequential(nn.Conv2d(4, 4, 3), end)
    assert chain_of(account(model, (4, 9, 9))) is None


def test_a_spec_that_an_account_does_not_follow_is_not_believed():
    data = plan("c4 c8 gap10", (1, 12, 12)).to_dict()
    assert "c4 c8 gap10" == str(chain_of(Account.from_dict(data)).spec)
    for text in ("c4 c16 gap10", "c4", "nonsense"):
        assert chain_of(Account.from_dict(data | {"spec": text})) is None


# ---- what rows say

CONV = nn.Conv2d
LAYERS = {
    "convolution": [CONV(4, 4, 3), CONV(4, 4, 2, padding="same"), CONV(4, 4, 3, groups=4),
                    CONV(4, 4, 3, padding=1, padding_mode="reflect"), Standardised(4, 4, 3),
                    CONV(4, 4, 3, padding=1, padding_mode="circular")],
    "transposed convolution": [nn.ConvTranspose2d(4, 4, 3),
                               nn.ConvTranspose2d(4, 2, 3, bias=False)],
    "linear": [nn.Linear(8, 3), nn.Linear(8, 3, bias=False),
               Runs(lambda x, layer: layer(x.permute(0, 2, 3, 1)), nn.Linear(4, 3))],
    "batch norm": [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.SyncBatchNorm(4)],
    "norm": [nn.GroupNorm(2, 4), nn.LayerNorm((4, 8, 8)), nn.InstanceNorm2d(4), nn.RMSNorm(8),
             nn.LocalResponseNorm(2)],
    "relu": [nn.ReLU(), nn.ReLU(inplace=True), Runs(torch.relu), Runs(lambda x: x.relu_())],
    "activation": [nn.ReLU6(), nn.PReLU(), nn.GELU(), nn.SiLU(), nn.Hardswish(),
                   nn.ELU(), nn.Mish(), nn.Softplus(), nn.LeakyReLU(), nn.CELU(), nn.SELU()],
    "squashing": [nn.Sigmoid(), nn.Tanh(), nn.Hardsigmoid(), nn.Softmax(1), nn.LogSoftmax(1),
                  nn.Hardtanh(), nn.LogSigmoid()],
    "pointwise": [Conv2d(), Runs(torch.exp), Runs(lambda x: x + 1)],
    "dropout": [nn.Dropout(), nn.Dropout2d(), nn.Dropout3d(), nn.AlphaDropout()],
    "identity": [nn.Identity()],
    "max pooling": [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(2), Runs(lambda x: x.amax((2, 3)))],
    "average pooling": [nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1),
                        Runs(lambda x: x.mean((2, 3))), blocks.GAP(4)],
    "reduction": [Runs(lambda x: x.mean(1)), Runs(lambda x: x.sum((2, 3)))],
    "join": [Runs(lambda x: torch.cat([x, x], 1)),
             Runs(lambda x: x * x.mean((2, 3), keepdim=True))],
    "product": [Runs(lambda x: F.scaled_dot_product_attention(x, x, x)), Runs(lambda x: x @ x)],
    "reshape": [nn.Flatten(), nn.PixelShuffle(2), nn.ChannelShuffle(2), nn.Unflatten(1, (2, 2)),
                Runs(lambda x: x[:, :2]), Runs(lambda x: x.clone())],
    "padding": [nn.ZeroPad2d(1), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1)],
    "resizing": [nn.Upsample(scale_factor=2), nn.UpsamplingBilinear2d(scale_factor=2)],
    "recurrent": [nn.Sequential(nn.Flatten(2), nn.LSTM(64, 3, batch_first=True))],
    "composite": [nn.LPPool2d(2, 2), nn.GLU(1), nn.Softsign()],
    "other": [nn.Unfold(2), Runs(lambda x: torch.cumsum(x, 2))],
}  # fmt: skip


def last_of(layer, shortcuts):
    rows = account_of_module(nn.Sequential(layer), (4, 8, 8), shortcuts=shortcuts).rows
    return next(row for row in reversed(rows) if row.kind != "_unsafe_view")  # behind a product


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("role", ROLES)
def test_every_role(role, shortcuts):
    for layer in LAYERS[role]:
        row = last_of(layer, shortcuts)
        assert role == row.role, layer
        inner = layer.layers[0] if getattr(layer, "layers", None) else layer
        is_weighted = role in WEIGHTED
        assert (inner.bias is not None if is_weighted else None) is row.has_bias, layer
        assert (tuple(inner.weight.shape) if is_weighted else ()) == row.weight_shape, layer
        assert type(row.weight_shape) is tuple


def test_functions_and_products_say_their_weights():
    cases = [
        (lambda x, conv, linear: F.conv2d(x, conv.weight), (False, (6, 4, 3, 3))),
        (lambda x, conv, linear: F.conv2d(x, conv.weight, conv.bias), (True, (6, 4, 3, 3))),
        (lambda x, conv, linear: F.linear(x.mean((2, 3)), linear.weight), (False, (6, 4))),
        (lambda x, conv, linear: F.linear(x.mean((2, 3)), linear.weight, linear.bias),
         (True, (6, 4))),
        (lambda x, conv, linear: x.mean((2, 3)) @ linear.weight.t(), (False, (6, 4))),
        (lambda x, conv, linear: linear.weight @ x.mean((2, 3)).t(), (False, (6, 4))),
        (lambda x, conv, linear: torch.addmm(x.mean((2, 3)).sum(1, keepdim=True), x.mean((2, 3)),
                               linear.weight.t()), (False, (6, 4))),
    ]  # fmt: skip
    for function, facts in cases:
        row = account(Runs(function, nn.Conv2d(4, 6, 3), nn.Linear(4, 6)), (4, 9, 9)).rows[-1]
        assert facts == (row.has_bias, row.weight_shape)


@settings(max_examples=40)
@given(graphs())
def test_facts_of_random_graphs_hold_with_and_without_shortcuts(drawn):
    model, shape = drawn
    try:
        found = account(model, shape)
    except (StrideMismatch, UnsupportedOp):  # which test_graphs.py judges
        assume(False)
    assert found == account_of_module(model, shape, shortcuts=False)
    assert found == Account.from_json(found.to_json())
    layers = dict(model.named_modules())
    for row in found.rows:
        assert row.role in ROLES
        if isinstance(layers.get(row.path), nn.Conv2d) and row.weight_shape:
            assert tuple(layers[row.path].weight.shape) == row.weight_shape
            assert (layers[row.path].bias is not None) is row.has_bias


def test_a_plan_says_what_its_network_does():
    planned = plan("c8+bias ds6 t4 c4g2-bn p gap3", (2, 16, 16))
    net = models.build("c8+bias ds6 t4 c4g2-bn p gap3", 2)
    traced = account(net, (2, 16, 16))
    for name in ("role", "has_bias", "weight_shape"):
        told = [getattr(row, name) for row in planned.rows]
        assert told == [getattr(row, name) for row in traced.rows], name
    layers = dict(net.named_modules())
    for row in planned.rows:
        if row.role == "convolution":
            assert tuple(layers[row.path].weight.shape) == row.weight_shape
            assert (layers[row.path].bias is not None) is row.has_bias


def test_a_layer_and_a_sum_of_rows():
    model = nn.Sequential(
        blocks.ConvBNReLU(3, 8), nn.Identity(), nn.Sequential(Own(), nn.Identity())
    )
    found = account(model, (3, 9, 9))
    first, second = found.layers()
    assert ("convolution", False, (8, 3, 3, 3)) == (first.role, first.has_bias, first.weight_shape)
    assert "Own" == second.kind
    whole = found.fold(0)[0]
    assert ("composite", None, ()) == (whole.role, whole.has_bias, whole.weight_shape)
    one = found.by_module()["0.conv"]
    assert ("convolution", False, (8, 3, 3, 3)) == (one.role, one.has_bias, one.weight_shape)


def test_a_network_of_an_operation_without_a_rule():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    found = account(nn.Sequential(nn.Conv2d(3, 8, 3), Inverse()), (3, 9, 9), strict=False)
    assert ["convolution", ""] == [row.role for row in found.rows]
    assert found == Account.from_json(found.to_json())


# ---- rules of one's own


@torch.library.custom_op("roles::pool", mutates_args=())
def own_pool(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, ::2, ::2].clone()


class OwnPool(nn.Module):
    def forward(self, x):
        return torch.ops.roles.pool(x)


def halved(x, **facts):
    window = Window.sliding(1, 2)
    size = [(n + 1) // 2 for n in x.shape[2:]]
    effect = rules.windowed(x, (window, window), size)
    for name, value in facts.items():
        setattr(effect, name, value)
    return effect


@pytest.fixture
def forgotten():
    yield
    rules.RULES.pop("roles::pool", None)
    ROLE_OF.pop("roles::pool", None)


@pytest.mark.usefixtures("forgotten")
def test_a_rule_of_ones_own_says_a_role():
    with pytest.raises(ArgumentError) as caught:
        rules.rule("roles::pool", role="pool")(halved)
    assert "the role of a rule is not valid (got 'pool', allowed convolution," in str(caught.value)
    rules.rule("roles::pool")(halved)
    assert "other" == account(OwnPool(), (1, 8, 8)).rows[0].role
    rules.RULES.pop("roles::pool")
    rules.rule("roles::pool", role="max pooling")(halved)
    assert "max pooling" == account(OwnPool(), (1, 8, 8)).rows[0].role


WRONG = {
    "role": ({"role": "pool"}, "role is not one of convolution, transposed convolution, "),
    "weights": ({"weight_shape": (3, 3)}, "weight_shape is set on a row without weights"),
    "bias": ({"has_bias": True}, "has_bias is set on a row without weights"),
    "macs": ({"role": "linear", "weight_shape": (3, 3), "macs": 10},
             "weight_shape is not valid: 10 MACs are not a multiple of 9 weights"),
}  # fmt: skip


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(("facts", "message"), WRONG.values(), ids=WRONG.keys())
def test_facts_that_cannot_be_are_refused_when_they_are_told(facts, message):
    rules.rule("roles::pool")(lambda x: halved(x, **facts))
    with pytest.raises(ArgumentError) as caught:
        account(OwnPool(), (1, 8, 8))
    assert f"the model (OwnPool): the rule of roles::pool is not valid: {message}" in str(
        caught.value
    )


def test_every_rule_has_a_role_and_the_docs_list_them_all():
    assert rules.RULES.keys() == ROLE_OF.keys()
    assert set(ROLE_OF.values()) <= ROLES.keys()
    text = (Path(__file__).parents[1] / "docs" / "accounting.md").read_text()
    assert "\n".join(f"| {role} | {meaning} |" for role, meaning in ROLES.items()) in text
