"""The report and the diagram as text; what they do in a browser is in test_report_browser.py."""

import base64
import dataclasses
import hashlib
import itertools
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetnet import Account, Budget, plan
from budgetnet.accounting import Row
from budgetnet.cli import main
from budgetnet.errors import ArgumentError
from budgetnet.report import draw_svg, render_html
from budgetnet.report.layout import layout
from budgetnet.report.markup import tag, text
from budgetnet.report.samples import data_address, footprint_address, picture

S6 = "c16 c16 c16 c16 p c16 c16 c16 gap10"
EVIL = "</script><img src=x onerror=alert(1)>\"'&"


class Reader(HTMLParser):
    """Tags, attributes and texts of a page, by Python's own parser."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.words, self._open = [], {}, [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self._open = dict(attributes).get("id", "code")

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, data):
        if self._open:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data
        else:
            self.words.append(data)


def s6():
    return plan(S6, (1, 28, 28), name="s6")


def evil():
    data = s6().to_dict()
    data["name"] = EVIL
    data["unused"] = [EVIL]
    for row in data["rows"]:
        row["path"] = row["path"].replace("conv5", EVIL)
        row["kind"] = row["kind"].replace("ReLU", EVIL)
    return Account.from_dict(json.loads(json.dumps(data)))


def test_the_reference_report_is_one_small_file_that_fetches_nothing():
    page = render_html(s6(), budget=Budget(params="20k", receptive_field=22), against=s6())
    assert len(page.encode()) < 150_000
    read = Reader(page)
    for name, attributes in read.tags:
        assert name not in ("link", "iframe", "object", "embed", "base", "form")
        for key in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, attributes)
    assert not re.search(r"url\((?!#)|@import", page)
    policy = next(a["content"] for n, a in read.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_no_script_runs_but_the_one_whose_digest_is_allowed():
    page = render_html(evil())
    code = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert 1 == len(code)
    digest = base64.b64encode(hashlib.sha256(code[0].encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;" in page


def test_the_account_is_embedded_whole():
    for account in (s6(), evil()):
        read = Reader(render_html(account))
        assert account == Account.from_json(read.scripts["account"])


def test_names_are_text_wherever_they_stand():
    page = render_html(evil(), budget=Budget(params=20_000, forbid=[EVIL]), against=evil())
    read = Reader(page)
    assert not [a for _, a in read.tags if any(key.startswith("on") for key in a)]
    assert not [a for n, a in read.tags if n == "img"]
    assert EVIL in "".join(read.words)
    assert 3 == sum(n == "script" for n, _ in read.tags)


@given(st.text())
def test_any_text_comes_back_from_markup(words):
    read = Reader(tag("p", words, title=words))
    expected = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", "\ufffd", words)
    assert expected.replace("\r\n", "\n").replace("\r", "\n") == "".join(read.words).replace(
        "\r\n", "\n"
    ).replace("\r", "\n")
    ET.fromstring(tag("p", words, title=words))
    assert text(text(words)) == text(words)


def test_verdicts_are_told_in_words():
    limits = Budget(params="20k", macs="3M", receptive_field=22, weight_bytes="50 KiB")
    read = Reader(render_html(s6(), budget=limits))
    verdicts = {a["data-limit"]: a["data-verdict"] for n, a in read.tags if "data-limit" in a}
    expected = {finding.name: finding.verdict for finding in limits.check(s6())}
    assert expected == verdicts
    words = " ".join(read.words)
    assert "2 of 4 limits not met" in words
    assert 2 == words.count("fail: over")
    assert 2 == words.count("✓  pass") + words.count("✓ pass")


def test_bars_are_used_against_allowed():
    page = render_html(s6(), budget=Budget(params=28_744, macs=3_731_008 // 2))
    fills = re.findall(r'class="fill" style="width:([\d.]+)%"', page)
    marks = re.findall(r'class="mark" style="left:([\d.]+)%"', page)
    assert ["50.00", "100.00"] == fills
    assert ["100.00", "50.00"] == marks


def test_an_unknown_figure_is_never_zero():
    data = s6().to_dict()
    data["rows"][3] |= {"macs": None, "receptive_field": None, "unknown": "no rule"}
    data["receptive_field"] = None
    account = Account.from_dict(json.loads(json.dumps(data)))
    page = render_html(account, budget=Budget(macs="9M"))
    words = " ".join(Reader(page).words)
    assert "unknown MACs" in words
    assert "receptive field unknown" in words
    assert "1 of 1 limit not met" in words


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


def pixels(address):
    """A PNG read by hand: width, height and bytes of its lines."""
    content = base64.b64decode(address.partition(",")[2])
    width, height = struct.unpack(">II", content[16:24])
    at, body = 8, b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            body += content[at + 8 : at + 8 + length]
        at += 12 + length
    return width, height, zlib.decompress(body)


def test_pictures_are_png_of_the_right_size(tmp_path):
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (4, 3, b"".join(b"\0" + bytes(line) for line in levels)) == pixels(data_address(levels))
    width, height, lines = pixels(picture(None, 28, 28))
    assert (28, 28) == (width, height)
    assert 150 < max(lines)
    assert (96, 48) == pixels(picture(None, 256, 512))[:2]
    file = tmp_path / "digit.png"
    file.write_bytes(base64.b64decode(data_address(levels).partition(",")[2]))
    assert data_address(levels) == picture(file, 28, 28)
    (tmp_path / "no.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(ArgumentError, match=r"is no picture\. Give a PNG"):
        picture(tmp_path / "no.png", 28, 28)
    with pytest.raises(ArgumentError, match="cannot read"):
        picture(tmp_path / "none.png", 28, 28)


def test_footprints_are_opaque_where_they_are_strong():
    footprint = np.zeros((5, 5))
    footprint[2, 2], footprint[1, 1] = 4.0, -1.0
    lines = pixels(footprint_address(footprint))[2]
    opacity = np.frombuffer(lines, np.uint8).reshape(5, 21)[:, 1:].reshape(5, 5, 4)[..., 3]
    assert (220, 110, 0) == (opacity[2, 2], opacity[1, 1], opacity[0, 0])


def test_curves_mark_the_first_layer_that_covers_the_input():
    page = render_html(plan("c8p1 c8p1 p c8p1 p c8p1 c8p1 gap10", (1, 24, 24)))
    assert "first to cover the input: conv5" in page
    assert "first to cover the input" not in render_html(s6())


def test_comparison_tells_differences():
    page = render_html(s6(), against=plan("c16 c16 p c32 gap10", (1, 28, 28), name="small"))
    words = " ".join(Reader(page).words)
    assert "+6,848 (+91.0 %)" in words
    assert "s6 against small" in words


def test_commands_write_files(tmp_path, capsys):
    out = tmp_path / "s6.html"
    assert 0 == main(
        ["report", "s6", "--budget", "params=20k,rf=22", "--macs", "3M", "-o", str(out)]
    )
    assert f"wrote {out}" in capsys.readouterr().out
    read = Reader(out.read_text(encoding="utf-8"))
    limits = [a["data-limit"] for _, a in read.tags if "data-limit" in a]
    assert ["params", "macs", "receptive_field"] == limits
    picture_file = tmp_path / "s6.svg"
    assert 0 == main(["draw", "s6", "--depth", "1", "-o", str(picture_file)])
    ET.fromstring(picture_file.read_text(encoding="utf-8"))


CONFIG = """
[[tool.budgetnet.check]]
name = "small"
model = "c16 gap10"
input = "1x28x28"
params = "1k"
forbid = ["</script><b>"]
growth = { macs = "+10%" }

[[tool.budgetnet.check]]
name = "wide"
model = "c16 gap10"
input = "1x28x28"
"""


def test_limits_of_a_configured_check(tmp_path, capsys):
    file, out = tmp_path / "nets.toml", tmp_path / "a.html"
    file.write_text(CONFIG, encoding="utf-8")
    call = ["report", "small", "--budget", str(file), "-o", str(out)]
    assert 2 == main(call)
    assert "the baseline has no macs of 'small'" in capsys.readouterr().err
    assert 0 == main(["check", "--config", str(file), "--update"])
    assert 0 == main([*call, "--rf", "3"])
    tags = Reader(out.read_text(encoding="utf-8")).tags
    limits = {a["data-limit"]: a["data-verdict"] for _, a in tags if "data-limit" in a}
    assert {"params": "within", "growth of macs": "within", "receptive_field": "within",
            "forbid </script><b>": "within"} == limits  # fmt: skip
    capsys.readouterr()
    for arguments, message in (
        (["c16 gap10"], "2 checks are of 'c16 gap10' (checks small, wide)"),
        (["none"], "no checks are of 'none'"),
        (["small", "--input", "1x9x9"], "--input and --set are those of"),
    ):
        assert 2 == main(["report", *arguments, "--budget", str(file), "-o", str(out)])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "sign"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_receptive_fields_are_plotted(ending, sign, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"rf.{ending}"
    assert 0 == main(["draw", "s6", "--plot", str(file)])
    assert f"wrote {file}\n" == capsys.readouterr().out
    assert file.read_bytes().startswith(sign)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "s6", "--budget", "parms=20k"], "'parms' is no limit. Did you mean 'params'?"),
        (
            ["report", "s6", "--budget", "20k"],
            "cannot read --budget '20k'. Write params=20k,rf=22.",
        ),
        (["report", "s6", "--image", "none.png"], "cannot read none.png"),
        (["draw", "s6", "--plot", "rf.bmp"], "--plot cannot write rf.bmp. End its name in .png"),
        (["draw", "c8", "--input", "1x8+1x8", "--plot", "a.png"], "input_shape must be positive"),
        (["draw", "s6", "--depth", "0"], "--depth must be at least 1 (got 0)"),
    ],
)
def test_wrong_calls_are_told_in_one_line(arguments, message, tmp_path, capsys):
    assert 2 == main([*arguments, "-o", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert message in err
    assert 1 == len(err.splitlines())
    assert [] == list(tmp_path.iterdir())


def test_a_report_needs_no_torch(tmp_path):
    code = (
        "import sys; from budgetnet.cli import main; "
        f"main(['report', 's6', '-o', {str(tmp_path / 'a.html')!r}]); "
        f"main(['draw', 's6', '-o', {str(tmp_path / 'a.svg')!r}]); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" == run.stdout.splitlines()[-1]


def test_it_is_a_public_name():
    import budgetnet

    assert render_html is budgetnet.report.render_html
