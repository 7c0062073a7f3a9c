"""The diagram as a picture: boxes, edges, and what runs where, read back from its markup."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from test_report import evil, s6

from budgetnet.accounting.rows import Row
from budgetnet.report import draw_svg
from budgetnet.report.layout import layout


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
    for layer in draw(st.sets(st.integers(0, count - 2), max_size=2)) if count > 1 else ():
        later = draw(st.integers(layer + 1, count - 1))  # as in a fold whose members read it back
        layers[layer] = Reads(*layers[layer].reads, later)
    return layers, inputs


def boxes_and_ways(layers, inputs):
    """The diagram of such layers, read back from its markup: boxes, and lines by their edge."""
    rows = tuple(Row(str(i), "", (), i % 2, 0, None, reads=layer.reads)
                 for i, layer in enumerate(layers))  # fmt: skip
    shape = (1, 8, 8) if inputs == 1 else ((1, 8, 8),) * inputs
    account = dataclasses.replace(s6(), rows=rows, input_shape=shape)
    root = ET.fromstring(draw_svg(account, depth=1))
    svg = "{http://www.w3.org/2000/svg}"
    rects = [
        next(group.iter(f"{svg}rect"))
        for cls in ("source", "node") for group in root.iter(f"{svg}g") if group.get("class") == cls
    ]  # fmt: skip
    sizes = [[float(rect.get(key)) for key in ("x", "y", "width", "height")] for rect in rects]
    boxes = dict(
        zip([*range(-1, -1 - inputs, -1), *range(len(layers))],
            [(x, y, x + w, y + h) for x, y, w, h in sizes], strict=True)
    )  # fmt: skip
    ways = {}
    for edge in root.iter(f"{svg}path"):
        if edge.get("class") == "edge":
            # Corners are round: their middle is where a sharp one would be.
            corners = re.sub(r"L[\d. -]+Q([\d.-]+ [\d.-]+) [\d.-]+ [\d.-]+", r"L\1", edge.get("d"))
            points = [tuple(map(float, p.split())) for p in re.split("[ML]", corners)[1:]]
            pair = int(edge.get("data-from")), int(edge.get("data-to"))
            assert pair not in ways
            ways[pair] = points
    return boxes, ways


def segments(points):
    return [(*map(min, zip(p, q, strict=True)), *map(max, zip(p, q, strict=True)))
            for p, q in itertools.pairwise(points)]  # fmt: skip


def overlap(one, two):
    """Whether two lines along the axes, or a line and a box, share more than a point."""
    across, down = (min(one[k + 2], two[k + 2]) - max(one[k], two[k]) for k in (0, 1))
    return min(across, down) >= 0 and max(across, down) > 0


@given(topologies())
def test_no_edge_runs_through_a_box_or_along_another(topology):
    layers, inputs = topology
    boxes, ways = boxes_and_ways(layers, inputs)
    assert {(source, i) for i, layer in enumerate(layers) for source in layer.reads} == set(ways)
    assert not any(overlap(one, two) for one, two in itertools.combinations(boxes.values(), 2))
    for (source, reader), points in ways.items():
        for x, y, a, b in segments(points):
            assert x == a or y == b
            for left, top, right, foot in boxes.values():
                assert not (max(x, left) < min(a, right) or left < x == a < right) or not (
                    max(y, top) < min(b, foot) or top < y == b < foot
                )
        (left, top, right, foot), (x, y) = boxes[source], points[0]
        assert (left <= x < right and y == foot) or (x == left and top < y < foot)
        (left, top, right, foot), (x, y) = boxes[reader], points[-1]
        assert (left <= x < right and y + 1 == top) or (x + 1 == left and top < y < foot)
    for (one, mine), (two, theirs) in itertools.combinations(ways.items(), 2):
        if not set(one) & set(two):
            assert not any(overlap(s, t) for s in segments(mine) for t in segments(theirs)), (
                one,
                two,
            )


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
    assert 10 == sum(e.get("class") == "edge" for e in root.iter(f"{name}path"))
    assert 1 + len(s6().layers()) == len(titles)
    ET.fromstring(draw_svg(evil()))
    assert len(draw_svg(s6(), depth=1)) < len(draw_svg(s6()))


def test_the_diagram_in_the_docs_is_what_is_drawn():
    """`python docs/pictures.py` draws it again."""
    file = Path(__file__).resolve().parents[1] / "docs" / "images" / "s6.svg"
    assert draw_svg(s6()) == file.read_text(encoding="utf-8")
