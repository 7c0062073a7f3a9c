"""A network's account read back as a spec: of random specs, of torchvision, and what is refused."""

import dataclasses

import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import budgetnet
from budgetnet import Spec, blocks, models, plan
from budgetnet.accounting.account import Account
from budgetnet.errors import BudgetnetError, SpecError
from budgetnet.spec.chains import chain_of
from budgetnet.testing.strategies import specs
from budgetnet.trace.run import account_of_module

SHAPE = st.tuples(st.integers(1, 3), st.integers(4, 17), st.integers(4, 17))


def facts(account):
    """What the rows of an account have, whatever made them: what gives its input back left out."""
    shapes = [*(row.output_shape for row in account.rows), account.input_shape]  # -1 is the input
    return sorted(
        (row.role, row.params, row.macs, row.weight_shape, str(row.receptive_field))
        for row in account.rows if row.role not in ("identity", "reshape", "dropout")
        and not (row.role in ("join", "average pooling") and row.sliding is None
                 and [row.output_shape] == [shapes[i] for i in row.reads])
    )  # fmt: skip


def totals(account):
    return (account.params, account.macs, account.receptive_field, account.output_shape,
            account.depth, account.buffers)  # fmt: skip


@settings(max_examples=200)
@given(specs(), SHAPE)
def test_every_spec_is_read_back_from_its_network(spec, shape):
    note(str(spec))
    try:
        traced = account_of_module(models.build(spec, shape, device="meta"), shape)
    except BudgetnetError:
        assume(False)
    # Elements of one line stay apart in a trace when it is flattened; a plan calls them global.
    lines = [row.output_shape[:2] for row in traced.rows if len(row.output_shape) == 3]
    assume((1, 1) not in lines or not any(row.kind == "Flatten" for row in traced.rows))
    # Of a block that is one layer, squeeze-excite stands alone, where its gate is a sigmoid.
    assume(not any(row.kind == "Hardsigmoid" for row in traced.rows) or "k1" not in str(spec))
    found = Spec.from_account(traced)
    note(str(found))
    planned = plan(found, shape)
    assert totals(plan(spec, shape)) == totals(planned) == totals(traced)
    assert facts(traced) == facts(planned)
    again = account_of_module(models.build(found, shape, device="meta"), shape)
    assert found == Spec.from_account(again)  # a second reading changes nothing
    assert spec == Spec.from_account(plan(spec, shape))


TORCHVISION = {
    "resnet18": "c64k7s2same p3s2p1 bb64 bb64 bb128s2 bb128 bb256s2 bb256 bb512s2 bb512 gap fc1000",
    "resnet50": "c64k7s2same p3s2p1 3*bt256 bt512s2 3*bt512 bt1024s2 5*bt1024 bt2048s2 2*bt2048 "
    "gap fc1000",
    "mobilenet_v2": "relu6 c32s2same ir16e1 ir24s2 ir24 ir32s2 2*ir32 ir64s2 3*ir64 3*ir96 ir160s2 "
    "2*ir160 ir320 c1280k1 gap drop fc1000",
    "mobilenet_v3_small": "hardswish same c16s2 ir16s2e1hse8relu ir24s2e4.5relu ir24h88relu "
    "ir40k5s2e4hse24 2*ir40k5hse64 ir48k5e3hse32 ir48k5e3hse40 ir96k5s2hse72 2*ir96k5hse144 "
    "c576k1 gap l1024-bn drop fc1000",
    "efficientnet_b0": "silu c32s2same ir16e1se8 ir24s2se4 ir24se6 ir40k5s2se6 ir40k5se10 "
    "ir80s2se10 2*ir80se20 ir112k5se20 2*ir112k5se28 ir192k5s2se28 3*ir192k5se48 ir320se48 "
    "c1280k1 gap drop fc1000",
    "vgg16_bn": "+bias same 2*c64 p",
    "alexnet": "c64k11s4p2-bn p3s2 c192k5p2-bn p3s2 c384p1-bn 2*c256p1-bn p3s2 drop flatten "
    "l4096-bn drop l4096-bn fc1000",
    "squeezenet1_1": "",
    "densenet121": "c64k7s2same p3s2p1 db32n6 pc128k1 ap db32n12 pc256k1 ap db32n24 pc512k1 ap "
    "db32n16 bn gap fc1000",
    "regnet_y_400mf": "",
    "googlenet": "",
}  # fmt: skip


EVERY_RUN = ("resnet18", "mobilenet_v2", "squeezenet1_1")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in EVERY_RUN else pytest.mark.deep) for name in TORCHVISION
])  # fmt: skip
def test_networks_of_torchvision_have_a_spec(name):
    torchvision = pytest.importorskip("torchvision", reason="its networks are the test")
    size = 237 if name == "googlenet" else 224  # where its poolings need not round up
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **options)
    traced = budgetnet.account(model, (3, size, size))
    found = Spec.from_account(traced)
    planned = plan(found, (3, size, size))
    assert totals(traced) == totals(planned)
    assert facts(traced) == facts(planned)
    if TORCHVISION[name] and name != "vgg16_bn":
        assert Spec.parse(TORCHVISION[name]) == found


def test_a_densenet_is_read_whether_it_joins_maps_again_or_goes_on_from_them():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(blocks.BNReLUConv(4 + 2 * i, 2) for i in range(3))

        def forward(self, x):
            maps = [x]
            for layer in self.layers:
                maps.append(layer(torch.cat(maps, 1)))
            return torch.cat(maps, 1)

    found = Spec.from_account(budgetnet.account(Again(), (4, 8, 8)))
    assert "db2n3b0" == str(found)


class Runs(nn.Module):
    """A forward of its own over some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


CONV = nn.Conv2d(4, 4, 3, padding=1)
REFUSED = {
    "row 1, 1 (GroupNorm): no word stands for a row of its role, norm": (
        nn.Sequential(CONV, nn.GroupNorm(2, 4), nn.ReLU()),
    ),
    "row 0, 0 (MaxPool2d): it rounds the size of its map up (ceil_mode)": (
        nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), CONV), (4, 7, 7),
    ),
    "row 1, 1 (ELU): the activations of specs are relu, relu6": (nn.Sequential(CONV, nn.ELU()),),
    "row 2, relu (relu): no word stands for an activation apart from": (
        Runs(lambda x, conv: F.relu(F.max_pool2d(conv(x), 2)), CONV),
    ),
    "row 1, 0 (Conv2d): its weights have been used before": (nn.Sequential(CONV, CONV),),
    "row 1, flip (flip): no word stands for a row of its role, reshape": (
        Runs(lambda x, conv: conv(x).flip(3), CONV),
    ),
    "row 1, mul (mul): no word stands for a product but": (
        Runs(lambda x, conv: conv(x) * x, CONV),
    ),
    "row 1, sub (sub): no word stands for a join but": (Runs(lambda x, conv: x - conv(x), CONV),),
    "row 2, add (add): it joins a map with itself": (
        Runs(lambda x, conv: conv(x) + conv(x), nn.Identity()),
    ),
    "its totals: no operation reads its layers.1.weight": (
        Runs(lambda x, one, two: one(x), CONV, nn.Conv2d(4, 4, 1, bias=False)),
    ),
    "row 0, constant_pad_nd (constant_pad_nd): no word stands for a row of its role, padding": (
        Runs(lambda x, conv: conv(F.pad(x, (1, 1, 1, 1))), CONV),
    ),
    "its totals: a spec has one output": (Runs(lambda x, conv: (conv(x), x), CONV),),
    "row 0, 0 (Conv1d): a spec has one input, of two axes or a vector": (
        nn.Sequential(nn.Conv1d(4, 4, 3)), (4, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_the_first_row_that_no_word_describes_is_named(message):
    model, *shape = REFUSED[message]
    account = budgetnet.account(model, *(shape or [(4, 8, 8)]))
    with pytest.raises(SpecError) as caught:
        Spec.from_account(account)
    assert message in str(caught.value)
    assert chain_of(account) is None


def test_what_is_read_twice_belongs_to_no_bracket():
    def forward(x, one, two):
        a = one(x)
        b = two(a + x)
        return torch.cat([a, b], 1)

    account = budgetnet.account(Runs(forward, CONV, nn.Conv2d(4, 4, 1)), (4, 8, 8))
    with pytest.raises(SpecError, match="read by branches that meet apart from each other"):
        Spec.from_account(account)


def test_an_edited_account_is_not_believed():
    net = models.build("same c4 bb8s2 gap10", 3)
    account = budgetnet.account(net, (3, 16, 16))
    assert "c4same bb8s2 gap10" == str(Spec.from_account(account))
    rows = list(account.rows)
    place = next(i for i, row in enumerate(rows) if row.kind == "add")
    rows[place] = rows[place]._replace(reads=(rows[place].reads[0], -1))
    with pytest.raises(SpecError):
        Spec.from_account(dataclasses.replace(account, rows=tuple(rows)))


def test_a_saved_account_of_a_module_has_a_spec():
    account = budgetnet.account(models.build("same c4 [c4 + ] gap10", 3), (3, 16, 16))
    again = Account.from_json(account.to_json())
    assert Spec.from_account(account) == Spec.from_account(again)


def test_stages_are_named_after_modules_or_by_their_turn():
    def forward(x, one, two):
        x = F.max_pool2d(F.relu(one(x)), 2)
        return F.max_pool2d(F.relu(two(x)), 2)

    net = Runs(forward, nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))
    chain = chain_of(budgetnet.account(net, (1, 28, 28)))
    pool = "max_pool2d_with_indices"
    assert ("layers.0", f"{pool} (1)", "layers.1", f"{pool} (2)") == chain.names


class Mirror(nn.Module):
    """A module of a user's own, without children, that flips the map."""

    def forward(self, x):
        return x.flip(-1)


def test_what_gives_another_map_of_the_same_shape_is_not_read_as_nothing():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), Mirror(), nn.Conv2d(4, 4, 3))
    made = budgetnet.account(net, (2, 12, 12), strict=False)
    with pytest.raises(SpecError):
        Spec.from_account(made)
