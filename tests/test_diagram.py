"""The diagram as a picture: boxes, edges, and what runs where, read back from its markup."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_folding import networks, torchvision
from test_report import evil, s6

from budgetnet.accounting.rows import Row
from budgetnet.report import draw_svg
from budgetnet.report.drawing import diagram
from budgetnet.report.folding import folds_of, tree_of
from budgetnet.report.layout import layout
from budgetnet.report.scene import placed


class Reads:
    """A layer of which only what it reads matters."""

    def __init__(self, *reads):
        self.reads = reads


@st.composite
def topologies(draw):
    count, inputs = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    layers = [
        Reads(*draw(st.sets(st.integers(-inputs, i - 1), min_size=1, max_size=3)))
        for i in range(count)
    ]
    return layers, inputs


SVG = "{http://www.w3.org/2000/svg}"


def moved(element):
    """How far a group is moved within the one around it."""
    return tuple(map(float, re.findall(r"-?[\d.]+", element.get("transform", "0 0"))))


def level_of(group):
    """Boxes and ways that stand directly in a group of a diagram, read back from its markup."""
    boxes, ways, inner = {}, {}, []
    sockets, nodes = [], []
    for child in group:
        cls = child.get("class", "").split()
        if cls[:1] == ["socket"] or cls[:1] == ["source"]:
            sockets.append(child)
        elif cls[:1] in (["node"], ["frame"]):
            nodes.append(child)
    has_exit = len(sockets) > 1 and sockets[-1].get("class") == "socket"
    ends = {len(nodes): sockets.pop()} if has_exit else {}
    named = {**{-1 - i: s for i, s in enumerate(sockets)}, **dict(enumerate(nodes)), **ends}
    for place, element in named.items():
        cls = element.get("class").split()
        rect = next(r for r in element.findall(f"{SVG}rect") if r.get("class") != "behind")
        x, y, w, h = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
        dx, dy = moved(element)
        if cls[0] == "socket":  # as wide as a box, for edges in other columns
            x, w = x - 8, 300
        boxes[place] = (x + dx, y + dy, x + dx + w, y + dy + h)
        if cls[0] == "frame":
            inner.append((element, boxes[place]))
    for edge in group.findall(f"{SVG}g[@class='edges']/{SVG}path"):
        # Corners are round: their middle is where a sharp one would be.
        corners = re.sub(r"L[\d. -]+Q([\d.-]+ [\d.-]+) [\d.-]+ [\d.-]+", r"L\1", edge.get("d"))
        points = [tuple(map(float, p.split())) for p in re.split("[ML]", corners)[1:]]
        pair = int(edge.get("data-from")), int(edge.get("data-to"))
        assert pair not in ways
        ways[pair] = points
    return boxes, ways, inner


def segments(points):
    return [(*map(min, zip(p, q, strict=True)), *map(max, zip(p, q, strict=True)))
            for p, q in itertools.pairwise(points)]  # fmt: skip


def overlap(one, two):
    """Whether two lines along the axes, or a line and a box, share more than a point."""
    across, down = (min(one[k + 2], two[k + 2]) - max(one[k], two[k]) for k in (0, 1))
    return min(across, down) >= 0 and max(across, down) > 0


def touches(box, point):
    """Whether a point is on the border of a box, up to the tip of an arrow."""
    (left, top, right, foot), (x, y) = box, point
    beside = top <= y <= foot and min(abs(x - left), abs(x - right)) <= 1
    return beside or (left <= x <= right and min(abs(y - top), abs(y - foot)) <= 1)


def check_level(boxes, ways):
    """No box on another, no edge through a box or along another, and each from box to box."""
    assert not any(overlap(one, two) for one, two in itertools.combinations(boxes.values(), 2))
    for (source, reader), points in ways.items():
        for x, y, a, b in segments(points):
            assert x == a or y == b
            for left, top, right, foot in boxes.values():
                assert not (max(x, left) < min(a, right) or left < x == a < right) or not (
                    max(y, top) < min(b, foot) or top < y == b < foot
                )
        assert touches(boxes[source], points[0])
        assert touches(boxes[reader], points[-1])
    for (one, mine), (two, theirs) in itertools.combinations(ways.items(), 2):
        if not set(one) & set(two):
            assert not any(overlap(s, t) for s in segments(mine) for t in segments(theirs)), (
                one,
                two,
            )


def check_picture(markup):
    """Every level of a diagram, and that each holds what stands in it."""
    root = ET.fromstring(markup)
    wide, high = (float(root.get(key)) for key in ("width", "height"))
    todo = [(root.find(f"{SVG}g[@class='diagram']"), (0, 0, wide, high))]
    while todo:
        group, (left, top, right, foot) = todo.pop()
        boxes, ways, inner = level_of(group)
        check_level(boxes, ways)
        for points in [*ways.values(), *([(b[0], b[1]), (b[2], b[3])] for b in boxes.values())]:
            assert all(0 <= x <= right - left and 0 <= y <= foot - top for x, y in points)
        for element, (a, b, c, d) in inner:
            held = element.find(f"{SVG}g[@transform]")
            todo.append((held, (a, b + moved(held)[1], c, d)))


@given(topologies())
def test_no_edge_runs_through_a_box_or_along_another(topology):
    layers, inputs = topology
    rows = tuple(Row(str(i), "", (i,), i % 2, 0, None, reads=layer.reads)
                 for i, layer in enumerate(layers))  # fmt: skip
    shape = (1, 8, 8) if inputs == 1 else ((1, 8, 8),) * inputs
    account = dataclasses.replace(s6(), rows=rows, input_shape=shape)
    markup = draw_svg(account, depth=1)
    check_picture(markup)
    _, ways, _ = level_of(ET.fromstring(markup).find(f"{SVG}g[@class='diagram']"))
    assert {(source, i) for i, layer in enumerate(layers) for source in layer.reads} == set(ways)


@given(networks(), st.data())
def test_open_folds_hold_their_boxes_and_edges(layers, data):
    rows = tuple(row._replace(output_shape=(i,)) for i, row in enumerate(layers))
    account = dataclasses.replace(s6(), rows=rows, input_shape=((1, 8, 8),) * 2)
    root = tree_of(account.layers())
    keys = [fold.key for fold in folds_of(root)]
    room = data.draw(st.sampled_from([(1180, 760), (360, 9000), (3000, 300)]))
    for opened in ({*keys}, data.draw(st.sets(st.sampled_from(keys))) if keys else set()):
        scene = placed(root, account.layers(), opened, room, inputs=2)
        check_picture(str(diagram(account, account.layers(), scene, " ")))


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "googlenet", "mobilenet_v3_small"])
@pytest.mark.parametrize("depth", [None, 1, 2, 9])
def test_pictures_of_known_networks(name, depth):
    check_picture(draw_svg(torchvision(name), (3, 224, 224), depth=depth))


def test_a_u_net_is_drawn_as_a_u():
    markup = draw_svg("unet")
    check_picture(markup)
    boxes, ways, _ = level_of(ET.fromstring(markup).find(f"{SVG}g[@class='diagram']"))
    for skip in ((0, 8), (1, 7), (2, 6), (3, 5)):
        (x, y), (a, b) = ways[skip]
        assert y == b
        assert x < a
    assert [boxes[i][1] for i in range(5)] == sorted({boxes[i][1] for i in range(5)})
    assert [boxes[i][1] for i in range(5, 9)] == [boxes[i][1] for i in (3, 2, 1, 0)]
    hues = re.findall(r"skip (hue\d)", markup)
    assert 4 == len(hues) == len({*hues})
    # As modules say it, level in level: no U.
    check_picture(draw_svg("unet", depth=2))


def test_branches_stand_side_by_side_below_what_they_read():
    layers = [Reads(-1), Reads(0), Reads(0), Reads(2), Reads(1, 3), Reads(4, 0)]
    places = layout(layers).places
    assert {-1: (0, 0), 0: (1, 0), 1: (2, 0), 2: (2, 1), 3: (3, 1), 4: (4, 0), 5: (5, 0)} == places
    many = [Reads(-1) for _ in range(9)]
    assert [(1, 5), (2, 0)] == [layout(many).places[i] for i in (5, 6)]
    alone = [Reads(), Reads(), Reads()]  # of a file that an earlier release has saved
    assert [(1, 0), (2, 0), (3, 0)] == [layout(alone).places[i] for i in range(3)]


def test_the_diagram_is_a_picture_with_every_layer_and_edge():
    root = ET.fromstring(draw_svg(s6()))
    name = "{http://www.w3.org/2000/svg}"
    titles = [t.text for t in root.iter(f"{name}title")]
    assert "conv5: Conv2d + BatchNorm2d + ReLU  3x3 / 1 / 0; output 16x8x8; RF 14 / 2; " \
        "parameters 2,336 · 16.3 %; MACs 147,456 · 4.0 %" in titles  # fmt: skip
    assert 9 + 3 == sum(e.get("class") == "edge" for e in root.iter(f"{name}path"))
    assert 2 + len(s6().layers()) == len(titles)  # the picture and the head have theirs
    ET.fromstring(draw_svg(evil()))
    assert len(draw_svg(s6(), depth=1)) < len(draw_svg(s6()))


@pytest.mark.parametrize("name", ["s6", "unet", "resnet50"])
def test_the_diagrams_in_the_docs_are_what_is_drawn(name):
    """`python docs/pictures.py` draws them again."""
    file = Path(__file__).resolve().parents[1] / "docs" / "images" / f"{name}.svg"
    drawn = draw_svg(torchvision(name), (3, 224, 224)) if name == "resnet50" else draw_svg(name)
    # A traced network is called as its class is, or as it was on the command line.
    titles = r"[^\"<>]*: (?=\d+ layers)"
    assert re.sub(titles, "", drawn) == re.sub(titles, "", file.read_text(encoding="utf-8"))
