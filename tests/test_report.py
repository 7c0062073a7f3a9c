"""The report and the diagram as text; what they do in a browser is in test_report_browser.py."""

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from png import lines_of

from budgetnet import Account, Budget, plan
from budgetnet import account as account_of
from budgetnet.accounting.rows import Row
from budgetnet.budget.advice import reasons
from budgetnet.cli.parser import main
from budgetnet.errors import ArgumentError
from budgetnet.report import render_html
from budgetnet.report.comparison import matched
from budgetnet.report.curves import curves_of
from budgetnet.report.grouping import folded_at_first, holders, parents, stages
from budgetnet.report.markup import tag, text
from budgetnet.report.pictures import data_address, footprint_address, picture
from budgetnet.report.samples import sample
from budgetnet.report.verdict import headline
from budgetnet.report.words import short

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
            self._open = dict(attributes).get("id", "load")

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, data):
        if self._open:
            self.scripts[self._open] = self.scripts.get(self._open, "") + data
        else:
            self.words.append(data)

    def unpacked(self, name):
        """The text of a script that is kept compressed."""
        return zlib.decompress(base64.b64decode(self.scripts[name])).decode()


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


def test_a_large_network_is_one_file_that_people_can_mail():
    page = render_html("densenet121", (3, 224, 224), budget=Budget(params="9M", macs="4G"))
    assert len(page.encode()) < 400_000


def test_no_script_runs_but_the_one_whose_digest_is_allowed():
    page = render_html(evil())
    code = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert 1 == len(code)
    packed = Reader(page).unpacked("code")
    digests = [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()
        for each in (code[0], packed)
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert f"script-src {allowed};" in html.unescape(page)


def test_the_account_is_embedded_whole():
    for account in (s6(), evil()):
        read = Reader(render_html(account))
        assert account == Account.from_json(read.unpacked("account"))


def test_names_are_text_wherever_they_stand():
    page = render_html(evil(), budget=Budget(params=20_000, forbid=[EVIL]), against=evil())
    read = Reader(page)
    assert not [a for _, a in read.tags if any(key.startswith("on") for key in a)]
    assert not [a for n, a in read.tags if n == "img"]
    assert EVIL in "".join(read.words)
    assert 4 == sum(n == "script" for n, _ in read.tags)


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
    for row in data["rows"][3:]:
        row |= {"macs": None, "receptive_field": None, "unknown": "no rule"}
    data |= {"macs": None, "depth": None, "receptive_field": None}
    account = Account.from_dict(json.loads(json.dumps(data)))
    page = render_html(account, budget=Budget(macs="9M"))
    words = " ".join(Reader(page).words)
    assert "unknown MACs" in words
    assert "receptive field unknown" in words
    assert "1 of 1 limit not met" in words


def pixels(address):
    """A PNG read by hand: width, height and bytes of its lines."""
    width, height, _, _, lines = lines_of(base64.b64decode(address.partition(",")[2]))
    return width, height, lines


def test_pictures_are_png_of_the_right_size(tmp_path):
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (4, 3, b"".join(b"\0" + bytes(line) for line in levels)) == pixels(data_address(levels))
    file = tmp_path / "digit.png"
    file.write_bytes(base64.b64decode(data_address(levels).partition(",")[2]))
    assert data_address(levels) == picture(file, 1, 28, 28)
    (tmp_path / "no.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(ArgumentError, match=r"is not a valid picture\. Give a PNG"):
        picture(tmp_path / "no.png", 1, 28, 28)
    with pytest.raises(ArgumentError, match="cannot read"):
        picture(tmp_path / "none.png", 1, 28, 28)


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((1, 28, 28), "digit"), ((3, 224, 224), "landscape"), ((3, 32, 32), "landscape"),
        ((1, 96, 96), "grey landscape"), ((1, 49, 10), "waves"), ((1, 1, 16000), "waves"),
        ((3, 512, 256), "landscape"),
    ],
)  # fmt: skip
def test_only_small_grey_inputs_are_shown_a_digit(shape, drawn):
    levels = sample(*shape)
    colours = 3 if drawn == "landscape" else 1
    assert colours == (levels.shape[2] if levels.ndim == 3 else 1)
    assert shape[1] * levels.shape[1] / shape[2] == pytest.approx(levels.shape[0], abs=1)
    dark = (levels < 20).mean()
    assert (drawn == "digit") == (dark > 0.5)  # ink on an empty ground
    assert len(data_address(levels)) < 8_000


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


SOME_LAYERS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8)


@given(SOME_LAYERS, SOME_LAYERS, st.booleans())
def test_layers_are_matched_once_each_and_in_order(one, two, renamed):
    of = dict(zip("abcd", ("Conv2d", "Linear", "Conv2d", "MaxPool2d"), strict=True))
    mine = [Row(f"{name}{i}", of[name], (4,), 0, 0, None) for i, name in enumerate(one)]
    prefix = "model." if renamed else ""
    theirs = [Row(f"{prefix}{name}{i}", of[name], (4,), 0, 0, None) for i, name in enumerate(two)]
    pairs = [*matched(mine, theirs)]
    assert mine == [left for left, _ in pairs if left]
    assert theirs == [right for _, right in pairs if right]
    if one == two:
        assert all(left.kind == right.kind for left, right in pairs)


def test_layers_of_other_names_are_matched_by_position():
    one = plan("c8 p c16 gap10", (1, 28, 28)).layers()
    two = [row._replace(path=f"model.{row.path}") for row in one]
    assert [*zip(one, two, strict=True)] == [*matched(one, two)]
    wider = [*two[:1], two[0]._replace(path="model.more"), *two[1:]]
    unmatched = [right.path for left, right in matched(one, wider) if left is None]
    assert 1 == len(unmatched)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"params": "14k"}, "OVER by 372 params"),
        ({"params": "20k..30k"}, "UNDER by 5,628 params"),
        ({"receptive_field": 24}, "Receptive field UNDER by 2"),
        ({"flash": 1000}, "OVER by 13,616 bytes of flash"),
        ({"params": "14k", "macs": "3M"}, "OVER by 372 params; OVER by 731,008 MACs"),
        ({"forbid": ["MaxPool2d"]}, "Forbid MaxPool2d: over"),
        ({"params": "20k", "macs": "4M"}, "Within budget: 2 limits met"),
    ],
)
def test_the_verdict_says_by_how_much(budget, words):
    assert words == headline(Budget(**budget).check(s6()))


def test_what_check_why_says_is_in_the_page():
    for limits in (Budget(params="14k", receptive_field=22), Budget(params="20k"), Budget(macs=1)):
        account = s6()
        lines = reasons(limits.limits, account, limits.check(account))
        words = " ".join(Reader(render_html(account, budget=limits)).words)
        assert all(line in words for line in lines)


@given(st.integers(-(10**16), 10**16))
def test_short_figures_are_those_rounded_to_three_digits(value):
    written = short(value)
    digits = written.rstrip("kMGTP")
    unit = 10 ** (3 * " kMGTP".index(written[len(digits) :] or " "))
    assert abs(float(digits.replace(",", "")) * unit - value) <= abs(value) * 0.005
    assert len(written) <= 7


def test_networks_of_tokens_have_no_map_and_read_all_at_once():
    import torch
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 96, 4, 4), nn.LayerNorm(96)
            self.wider = nn.Linear(96, 128)

        def forward(self, x):
            return self.wider(self.norm(self.patches(x).flatten(2).transpose(1, 2))).mean(1)

    with torch.device("meta"):
        account = account_of(Tokens(), (3, 32, 32))
    layers = account.layers()
    field, _, map_size, *_ = curves_of(account, layers)
    assert 8 == max(size for size in map_size.values if size is not None)  # 32 by a stride of 4
    reader = next(i for i, row in enumerate(layers) if row.is_global)
    assert (reader, 32) == (field.mark, field.whole[reader])
    name = layers[reader].path or layers[reader].kind
    assert f"no window covers the input; {name} reads the whole map" == field.note


def test_tables_open_at_stages_and_blocks():
    resnet, small = plan("resnet50"), s6()
    assert set() == folded_at_first(small.layers())
    folded = folded_at_first(resnet.layers())
    opened = {m for row in resnet.layers() for m in parents(row, holders(resnet.layers()))}
    assert folded <= opened
    lines = [
        row for row in resnet.layers() if not folded & {*parents(row, holders(resnet.layers()))}
    ]
    assert len(folded) + len(lines) <= 40
    stem = ["conv1", "conv2"]
    assert stem == [*dict.fromkeys(stages(plan("c8 c8 gap", (1, 9, 9)).layers()))][:2]


def test_commands_write_files(tmp_path, capsys):
    out = tmp_path / "s6.html"
    limits = ["--params", "20k", "--rf", "22", "--macs", "3M", "--forbid", "Dropout*"]
    assert 0 == main(["report", "s6", *limits, "-o", str(out)])
    assert f"wrote {out}" in capsys.readouterr().out
    read = Reader(out.read_text(encoding="utf-8"))
    limits = [a["data-limit"] for _, a in read.tags if "data-limit" in a]
    assert ["params", "macs", "receptive_field", "forbid Dropout*"] == limits
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
    config = ["--config", str(file), "-o", str(out)]
    call = ["report", "--only", "small", *config]
    assert 2 == main(call)
    assert "the baseline has no macs of 'small'" in capsys.readouterr().err
    assert 0 == main(["check", "--config", str(file), "--update"])
    assert 0 == main(call)
    tags = Reader(out.read_text(encoding="utf-8")).tags
    limits = {a["data-limit"]: a["data-verdict"] for _, a in tags if "data-limit" in a}
    assert {
        "params": "within", "growth of macs": "within", "forbid </script><b>": "within"
    } == limits  # fmt: skip
    capsys.readouterr()
    for arguments, message in (
        ([], "a report covers one check (there are small, wide). Choose one with --only NAME"),
        (["--only", "none"], "there is no check named 'none' (there are small, wide)"),
        (["--only", "small", "--input", "1x9x9"], "limits on the command line need a TARGET"),
        (["c16 gap10", "--input", "1x9x9"], "--config and --only cannot be combined with a TARGET"),
    ):
        assert 2 == main(["report", *arguments, *config])
        assert message in capsys.readouterr().err


def test_a_report_of_pyproject_as_check_reads_it(tmp_path, capsys, monkeypatch):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make(width):\n    return nn.Conv2d(1, width, 3)\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.budgetnet.check]]\nmodel = "net.py:make"\nset = { width = 2 }\n'
        'input = "1x9x9"\nparams = 19\n'
    )
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    against = ["--against", "c4 gap2", "--footprints"]
    assert 0 == main(["report", *against, "-o", "net.html"])
    page = (inner / "net.html").read_text(encoding="utf-8")
    assert 'data-limit="params" data-verdict="over"' in page
    assert "c4 gap2" in page
    assert "data:image/png" in Reader(page).unpacked("view")


def test_what_is_compared_is_on_the_input_of_the_report(tmp_path):
    out = tmp_path / "s6.html"
    for other in ("c4 gap2", "resnet20"):  # a model that knows its own input is taken on that
        assert 0 == main(["report", "s6", "--against", other, "-o", str(out)])
        assert f"s6 against {other}" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(("ending", "sign"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_receptive_fields_are_plotted(ending, sign, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="it draws the plot")
    file = tmp_path / f"rf.{ending}"
    assert 0 == main(["draw", "s6", "--plot", str(file)])
    assert f"wrote {file}\n" == capsys.readouterr().out
    assert file.read_bytes().startswith(sign)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "s6", "--params", "many"], "params='many' is not a valid size"),
        (["report", "s6", "--image", "none.png"], "cannot read none.png"),
        (["draw", "s6", "--plot", "rf.bmp"], "--plot cannot write rf.bmp. End its name in .png"),
        (["draw", "c8", "--input", "1x8+1x8", "--plot", "a.png"], "is not a valid input shape"),
        (
            ["report", "s6", "--footprint", "conv9"],
            "'conv9' is no layer with a map. Layers with one",
        ),
        (["report", "s6", "--footprint", "conv4@9,20"], "conv4 has no unit 9,20 (its map 20x20)"),
        (["report", "s6", "--footprint", "conv4@"], "cannot read 'conv4@'. Write LAYER@row,column"),
        (["report", "s6", "--footprint", "head.pool"], "'head.pool' is no layer with a map"),
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
