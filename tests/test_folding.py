"""Folds of a diagram: convex, without circles, and every layer and its cost in exactly one box."""

import dataclasses
import graphlib

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from budgetnet import account, plan
from budgetnet.accounting.rows import Row
from budgetnet.errors import StrideMismatch, UnsupportedOp
from budgetnet.report.folding import folds_of, open_at_first, open_to_depth, shown, tree_of
from budgetnet.testing import graphs

NAMES = st.lists(st.sampled_from(["a", "b", "0", "1"]), max_size=4).map(".".join)
COSTS = st.integers(0, 5)


@st.composite
def networks(draw):
    """Layers that read any earlier ones, in modules that come and go as they like."""
    paths = draw(st.lists(NAMES, min_size=1, max_size=16))
    return tuple(
        Row(path, draw(st.sampled_from(["x", "y"])), (1, draw(COSTS), 1), draw(COSTS),
            draw(st.none() | COSTS), None,
            reads=tuple(draw(st.sets(st.integers(-2, i - 1), min_size=1, max_size=3))))
        for i, path in enumerate(paths)
    )  # fmt: skip


def check(layers, root, opened):
    """Every layer in one box, all costs kept, boxes convex, and no circle among them."""
    boxes = [*shown(root, opened)]
    assert [*range(len(layers))] == [i for box in boxes for i in range(*box.key)]
    assert sum(row.params for row in layers) == sum(box.row.params for box in boxes)
    counts = [row.macs for row in layers]
    macs = [box.row.macs for box in boxes]
    assert (None in counts) == (None in macs)
    assert sum(filter(None, counts)) == sum(filter(None, macs)) or None in counts
    box_of = {i: place for place, box in enumerate(boxes) for i in range(*box.key)}
    reads = {place: set() for place in range(len(boxes))}
    ancestors = []
    for i, row in enumerate(layers):
        own = {source for source in row.reads if source >= 0}
        reads[box_of[i]] |= {box_of[source] for source in own} - {box_of[i]}
        ancestors.append(own.union(*(ancestors[source] for source in own)))
    graphlib.TopologicalSorter(reads).prepare()  # raises if it finds a circle
    for i, above in enumerate(ancestors):
        for between in above:
            for top in ancestors[between]:
                assert box_of[top] != box_of[i] or box_of[between] == box_of[i]


def check_all(layers, draw):
    root = tree_of(layers)
    keys = [fold.key for fold in folds_of(root)]
    assert len(keys) == len({*keys})
    for fold in folds_of(root):
        assert len(fold.children) > 1 or fold is root
        assert [fold.first, *(child.end for child in fold.children)] == [
            *(child.first for child in fold.children), fold.end
        ]  # fmt: skip
    some = {root.key, *draw(st.sets(st.sampled_from(keys)) if keys else st.just(()))}
    deep = [open_to_depth(tree_of(layers, levels=False), n) for n in range(1, 5)]
    for opened in (set(), some, {*keys}, open_at_first(root)):
        check(layers, root, opened)
    for opened in deep:
        check(layers, tree_of(layers, levels=False), opened)


@given(networks(), st.data())
def test_folds_of_any_reads_are_convex(layers, data):
    check_all(layers, data.draw)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.data())
def test_folds_of_random_graphs_are_convex(drawn, data):
    graph, shape = drawn
    assume(graph.steps)
    try:
        found = account(graph, shape)
    except (StrideMismatch, UnsupportedOp):
        return
    # Modules that come and go: what stands between two of one belongs to neither by its name.
    names = data.draw(st.lists(NAMES, min_size=len(found.rows), max_size=len(found.rows)))
    rows = tuple(row._replace(path=name) for row, name in zip(found.rows, names, strict=True))
    check_all(found.layers(), data.draw)
    check_all(dataclasses.replace(found, rows=rows).layers(), data.draw)


def names_of(model, shape=None, **options):
    root = tree_of(account(model, shape).layers(), **options)
    return root, [box.row.path or box.row.kind for box in shown(root, open_at_first(root))]


def torchvision(name):
    zoo = pytest.importorskip("torchvision.models", reason="its networks are the test")
    import torch

    with torch.device("meta"):
        return zoo.get_model(name, weights=None)


def test_stages_hold_blocks_and_repeats_stand_once():
    root, names = names_of(torchvision("resnet50"), (3, 224, 224))
    stages = [f"layer{i}.{part}" for i, n in enumerate((2, 3, 5, 2), 1) for part in ("0", f"1–{n}")]
    assert ["conv1", "maxpool", *stages, "avgpool", "view", "fc"] == names
    assert [2, 3, 5, 2] == [fold.repeats for fold in folds_of(root) if fold.repeats]


def test_a_transformer_has_no_box_with_both_of_its_ends():
    layers = account(torchvision("vit_b_16"), (3, 224, 224)).layers()
    root, names = tree_of(layers), names_of(torchvision("vit_b_16"), (3, 224, 224))[1]
    assert ["conv_proj", "view", "permute", "cat", "encoder", "encoder.dropout", "encoder.layers",
            "encoder.ln", "select", "heads.head"] == names  # fmt: skip
    assert 12 == next(f.repeats for f in folds_of(root) if f.repeats)
    plain = tree_of(layers, levels=False)
    blocks = [b.row.path for b in shown(plain, open_to_depth(plain, 3))]
    assert [f"encoder.layers.encoder_layer_{i}" for i in range(12)] == [
        path for path in blocks if "encoder_layer" in path
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("vit_b_16", marks=pytest.mark.deep),
        "densenet121", "googlenet", "mobilenet_v3_small",
    ],
)  # fmt: skip
def test_folds_of_known_networks_are_convex(name):
    layers = account(torchvision(name), (3, 224, 224), strict=False).layers()
    plain = tree_of(layers, levels=False)
    for root, opened in (
        (tree_of(layers), open_at_first(tree_of(layers))),
        *((plain, open_to_depth(plain, n)) for n in range(1, 5)),
    ):
        check(layers, root, opened)


def test_a_u_net_has_a_fold_for_each_level_of_its_arms():
    _, names = names_of("unet")
    down, up = ([f"{way} {i}" for i in range(1, 5)] for way in ("down", "up"))
    assert [*down, "floor", *reversed(up)] == names


def test_a_network_of_no_layers_has_no_box():
    assert [] == [box for box in shown(tree_of(()), ()) if box.children]


def test_a_chain_is_its_layers():
    layers = plan("c16 c16 p c8", (1, 28, 28)).layers()
    assert [*layers] == [box.row for box in shown(tree_of(layers), {(0, 4)})]
