"""Which rows read which: against graphs that other tools find, and topologies that are known."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from torch import fx, nn

from budgetnet import Account, account, blocks, models, plan
from budgetnet.accounting.saved import as_version
from budgetnet.errors import StrideMismatch, UnsupportedOp
from budgetnet.testing import graphs
from budgetnet.trace.run import account_of_module


def edges(result):
    return {(source, i) for i, row in enumerate(result.rows) for source in row.reads}


def test_a_chain_is_read_one_by_one():
    planned = plan("c8 ds16 p gap10", (1, 28, 28))
    assert [(i - 1,) for i in range(len(planned.rows))] == [row.reads for row in planned.rows]


@pytest.mark.parametrize("name", models.list_models())
def test_plan_and_trace_agree(name):
    planned = plan(name)
    traced = account(models.get_model(name, device="meta"), planned.input_shape)
    assert [row.reads for row in planned.rows] == [row.reads for row in traced.rows]


@pytest.mark.parametrize("text", [
    "[ | c1k1]", "[drop0.5 | c1k1 | p1]", "[bb1 | ]", "[[c1k1 + ] | c1k1]",
    "[drop0.5 drop0.1 | c1k1]", "c1 [[drop0.5 | c1p1] + c2k1]",
])  # fmt: skip
def test_who_reads_what_a_layer_has_handed_on_reads_the_layer(text):
    planned = plan(text, (1, 4, 4))
    traced = account_of_module(models.build(text, (1, 4, 4)), (1, 4, 4))
    assert [row.reads for row in planned.rows] == [row.reads for row in traced.rows]


class Parent(nn.Module):
    """A module with a child, so that each operation of its own has a row."""

    def __init__(self):
        super().__init__()
        self.child = nn.Identity()


class Skip(nn.Module):
    """Named layers, an addition that reads both, and a concatenation that reads three."""

    def __init__(self, inplace):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.drop, self.same = nn.ReLU(inplace), nn.Dropout(), nn.Identity()
        self.c = nn.Conv2d(4, 4, 1)
        self.inplace = inplace

    def forward(self, x):
        a = self.a(x)  # 0
        b = self.drop(self.act(self.b(a)))  # 1, 2, 3
        if self.inplace:
            b += self.same(a)  # 4, 5
        else:
            b = b + self.same(a)
        c = self.c(a)  # 6
        return torch.cat([b, c, a, x], 1)  # 7


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("shortcuts", [True, False])
def test_branches_and_what_hands_its_input_on(inplace, shortcuts):
    result = account_of_module(Skip(inplace), (3, 8, 8), shortcuts=shortcuts)
    assert ["a", "b", "act", "drop", "same", "", "c", ""] == [row.path for row in result.rows]
    # An Identity hands on the very tensor: from then on it stands for it.
    expected = [(-1,), (0,), (1,), (2,), (0,), (3, 4), (4,), (5, 6, 4, -1)]
    assert expected == [row.reads for row in result.rows]


def test_layers_read_layers_and_identities_vanish():
    layers = account(Skip(False), (3, 8, 8)).layers()
    assert ["a", "b", "", "c", ""] == [layer.path for layer in layers]
    assert ["Conv2d", "Conv2d + ReLU + Dropout", "add", "Conv2d", "cat"] == [
        layer.kind for layer in layers
    ]
    assert [(-1,), (0,), (1, 0), (0,), (2, 3, 0, -1)] == [layer.reads for layer in layers]


def test_writing_through_a_view_is_seen_by_all_who_read_the_tensor():
    class Writes(Parent):
        def forward(self, x):
            y = F.relu(x)  # 0
            flat = y.view(1, -1)  # 1
            flat.relu_()  # 2
            return y.neg()  # 3

    reads = [row.reads for row in account(Writes(), (2, 4, 4)).rows]
    assert [(-1,), (0,), (1,)] == reads[:3]
    assert {0, 2} == set(reads[3])


def test_several_inputs():
    class Two(Parent):
        def forward(self, x, y):
            return F.relu(y) + x

    class Leaf(nn.Module):
        forward = Two.forward

    shapes = ((1, 4, 4), (1, 4, 4))
    assert [(-2,), (0, -1)] == [row.reads for row in account(Two(), shapes).rows]
    assert [(-2, -1)] == [row.reads for row in account(Leaf(), shapes).rows]


def leaf_edges_by_fx(model):
    """Which leaf modules and functions feed which, found by torch.fx: no code of ours."""
    graph = fx.symbolic_trace(model).graph
    order = [n for n in graph.nodes if n.op in ("call_module", "call_function", "call_method")]
    number = {node: i for i, node in enumerate(order)}
    number |= {node: -1 for node in graph.nodes if node.op == "placeholder"}
    return {(number[source], number[node]) for node in order for source in node.all_input_nodes}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "googlenet", "densenet121"])
@pytest.mark.parametrize("shortcuts", [True, False])
def test_torchvision_graphs_equal_those_of_fx(name, shortcuts):
    zoo = pytest.importorskip("torchvision.models", reason="its networks are the test")
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        model = zoo.get_model(name, weights=None, **options).eval()
    result = account_of_module(model, (3, 224, 224), shortcuts=shortcuts)
    assert leaf_edges_by_fx(model) == edges(result)


class UNet(nn.Module):
    """Two levels down and up: each decoder reads its own encoder across."""

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = blocks.ConvBNReLU(1, 4), blocks.ConvBNReLU(4, 8)
        self.pool, self.floor = nn.MaxPool2d(2), blocks.ConvBNReLU(8, 8)
        self.up2, self.up1 = nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.join2, self.join1 = blocks.ConvBNReLU(16, 8), blocks.ConvBNReLU(8, 2)

    def forward(self, x):
        one = self.down1(x)
        two = self.down2(self.pool(one))
        out = self.floor(self.pool(two))
        out = self.join2(torch.cat([two, self.up2(out)], 1))
        return self.join1(torch.cat([one, self.up1(out)], 1))


def test_a_u_net_reads_across():
    layers = account(UNet(), (1, 32, 32)).layers()
    names = [layer.path or layer.kind for layer in layers]
    reads = [[names[i] if i >= 0 else "input" for i in layer.reads] for layer in layers]
    expected = [
        ("down1", ["input"]), ("pool", ["down1"]), ("down2", ["pool"]), ("pool", ["down2"]),
        ("floor", ["pool"]), ("up2", ["floor"]), ("cat", ["down2", "up2"]), ("join2", ["cat"]),
        ("up1", ["join2"]), ("cat", ["down1", "up1"]), ("join1", ["cat"]),
    ]  # fmt: skip
    assert expected == list(zip(names, reads, strict=True))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_what_the_edges_reach_is_what_the_output_depends_on(drawn):
    graph, shape = drawn
    assume(graph.steps)
    try:
        result = account(graph, shape)
    except (StrideMismatch, UnsupportedOp):
        return
    wanted, reached = {len(graph.steps)}, set()
    while wanted:  # the steps that the last one needs, from what was drawn
        step = wanted.pop()
        reached.add(step)
        wanted |= set(graph.steps[step - 1][1]) - reached if step else set()
    needed, todo = set(), [len(result.rows) - 1]
    while todo:
        row = todo.pop()
        if row >= 0 and row not in needed:
            needed.add(row)
            todo += result.rows[row].reads
    layers = {f"layers.{graph.steps[i - 1][2]['index']}" for i in reached - {0}
              if "index" in graph.steps[i - 1][2]}  # fmt: skip
    assert layers == {p for i in needed if (p := result.rows[i].path).startswith("layers.")}


def test_every_row_reads_something_that_came_before():
    result = account(UNet(), (1, 32, 32))
    assert all(row.reads and max(row.reads) < i for i, row in enumerate(result.rows))
    assert 0 == min(np.diff(sorted(i for row in result.rows for i in row.reads)))


def test_edges_are_saved_and_older_files_still_read():
    result = account(UNet(), (1, 32, 32))
    data = json.loads(result.to_json())
    assert 4 == data["version"]
    assert [list(row.reads) for row in result.rows] == [row["reads"] for row in data["rows"]]
    assert result == Account.from_dict(data)
    data["version"] = 3
    del data["spec"]
    for row in data["rows"]:
        del row["role"], row["has_bias"], row["weight_shape"]
    before = as_version(result, 3)
    assert before == Account.from_dict(data)
    data["version"] = 2
    for row in data["rows"]:
        del row["lines"]
    assert before == Account.from_dict(data)
    data["version"] = 1
    for row in data["rows"]:
        del row["reads"]
    older = Account.from_dict(data)
    assert [()] * len(result.rows) == [row.reads for row in older.rows]
    assert result.macs == older.macs
    assert len(result.layers()) == len(older.layers())


def test_folds_read_folds():
    result = account(UNet(), (1, 32, 32))
    folded = result.fold(1)
    names = [row.path for row in folded]
    read = {row.path: {names[i] if i >= 0 else "input" for i in row.reads} for row in folded}
    assert {"input"} == read["down1"]
    assert {"pool"} == read["floor"] == read["down2"]
    assert {"down1", "down2"} == read["pool"]
    assert {""} == read["join1"] == read["join2"]
    assert all(() == row.reads for row in result.by_module().values())
