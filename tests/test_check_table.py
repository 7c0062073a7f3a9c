"""Tables made by hand: read in every form, held against networks, and their mistakes found.

The columns are worked out here by loops of their own, as a student would, right and wrong; the
library must name the first row that differs and the mistake that was planted.
"""

import contextlib
import io
import json
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from budgetnet import account, plan
from budgetnet.accounting.hand_table import parse_table
from budgetnet.accounting.mistakes import MISTAKES
from budgetnet.cli.parser import main
from budgetnet.cli.table_command import judge
from budgetnet.errors import ArgumentError

S6 = [1, 3, 5, 7, 9, 10, 14, 18, 22, 22, 22]
NAMES = ["Input", "conv1", "conv2", "conv3", "conv4", "MaxPool", "conv5", "conv6", "conv7",
         "1x1 conv", "GAP"]  # fmt: skip


def markdown(names, fields):
    rows = [f"| {name} | {field} |" for name, field in zip(names, fields, strict=True)]
    return "\n".join(["Notes of mine", "", "| Layer | RF |", "|:--|--:|", *rows, "", "22, I think"])


def csv(names, fields):
    return "layer,k,Receptive field\n" + "".join(
        f"{n},3,{f}\n" for n, f in zip(names, fields, strict=True)
    )


def pasted(names, fields):
    rows = (f"{n:<12}  {f:>4}" for n, f in zip(names, fields, strict=True))
    return "\n".join([f"{'Layer':<12}    RF", *rows])


def tabs(names, fields):
    return "Layer\tr_out\n" + "\n".join(f"{n}\t{f}" for n, f in zip(names, fields, strict=True))


FORMS = [markdown, csv, pasted, tabs]
ACCOUNT = plan("s6", (1, 28, 28))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_is_read(form):
    assert S6 == [row.field[0] for row in parse_table(form(NAMES, S6))]
    found = judge(form(NAMES, S6), ACCOUNT)
    assert (0, None) == (found.code, found.first)
    found = judge(form(NAMES, [*S6[:5], 18, 20, 22, 24, 24, 24]), ACCOUNT)
    assert ("MaxPool", (18,)) == (found.first.row.label, found.first.row.field)
    assert ["pooling doubled the field"] == [one.mistake for one in found.mistakes]


@pytest.mark.parametrize("cell", ["22x22", "22 × 22", "(22, 22)", "18 + (3-1)*2 = 22", "22 px"])
def test_spellings_of_a_field(cell):
    assert 0 == judge(pasted(NAMES, S6).replace("22", cell, 1), ACCOUNT).code


# A chain of layers as a student sees it: (kind, kernel, stride, dilation, padding of both sides).
@st.composite
def chains(draw):
    layers, words = [], []
    for _ in range(draw(st.integers(2, 7))):
        if draw(st.integers(0, 3)) == 0:
            size = draw(st.sampled_from([2, 3]))
            layers.append(("pool", size, size, 1, 0))
            words.append(f"p{size}")
        else:
            kernel, stride = (
                draw(st.sampled_from([1, 3, 3, 5])),
                draw(st.sampled_from([1, 1, 1, 2])),
            )
            dilation = draw(st.sampled_from([1, 1, 2])) if kernel > 1 else 1
            pads = draw(st.integers(0, 2))
            layers.append(("conv", kernel, stride, dilation, 2 * pads))
            words.append(f"c4k{kernel}s{stride}d{dilation}p{pads}")
    if draw(st.booleans()):
        layers.append(("gap", 0, 1, 1, 0))
        words.append("gap4")
    return layers, " ".join(words)


def right(layer, r, j, n):
    kind, k, s, d, _ = layer
    return (r, j) if kind == "gap" else (r + (k - 1) * d * j, j * s)


def planted(name, layer, r, j, n):
    """What a mistake makes of a layer: the field and the jump behind it; `None` where it cannot."""
    kind, k, s, d, pad = layer
    grown, jump = right(layer, r, j, n)
    pool, conv = kind == "pool", kind == "conv"
    return {
        "stride not carried": (pool or conv) and s > 1 and (grown, j),
        "own stride counted": (pool or conv)
        and s > 1
        and k > 1
        and (r + (k - 1) * d * j * s, jump),
        "pooling doubled the field": pool and (r * s, jump),
        "stride multiplied the field": conv and s > 1 and (grown * s, jump),
        "layer left out": (pool or conv) and k > 1 and (r, jump),
        "whole kernel counted": (pool or conv) and k > 1 and (r + k * d * j, jump),
        "1x1 given credit": conv and k == 1 and (r + 2 * j, jump),
        "dilation ignored": d > 1 and (r + (k - 1) * j, jump),
        "dilation of the whole kernel": d > 1 and (r + (k * d - 1) * j, jump),
        "padding given credit": conv and pad > 0 and (grown + pad * j, jump),
        "padding taken off": conv and pad > 0 and (grown - pad * j, jump),
        "global read counted": kind == "gap" and (r + (n - 1) * j, jump),
    }[name] or None


PLANTED = ["stride not carried", "own stride counted", "pooling doubled the field",
           "stride multiplied the field", "layer left out", "whole kernel counted",
           "1x1 given credit", "dilation ignored", "dilation of the whole kernel",
           "padding given credit", "padding taken off", "global read counted"]  # fmt: skip


def column(layers, sizes, name="", where=frozenset()):
    r, j, fields = 1, 1, []
    for i, layer in enumerate(layers):
        wrong = planted(name, layer, r, j, sizes[i]) if i in where else None
        r, j = wrong or right(layer, r, j, sizes[i])
        fields.append(r)
    return fields


def planned(chain, size=20_000):
    """The account of a chain, and the size of the map before each layer."""
    layers, words = chain
    network = plan(words, (1, size, size))
    sizes, n = [], size
    for kind, k, s, d, pad in layers:
        sizes.append(n)
        n = 1 if kind == "gap" else (n + pad - d * (k - 1) - 1) // s + 1
    return network, sizes


def named(layers):
    return [f"{kind}{i}" if kind != "gap" else "GAP" for i, (kind, *_) in enumerate(layers)]


@settings(max_examples=150)
@given(chains())
def test_what_is_right_by_hand_is_right(chain):
    network, sizes = planned(chain)
    assert 0 == judge(markdown(named(chain[0]), column(chain[0], sizes)), network).code


@pytest.mark.parametrize("name", PLANTED)
@settings(max_examples=90)
@given(chains(), st.data())
def test_a_planted_mistake_is_named(name, chain, data):
    layers = chain[0]
    network, sizes = planned(chain)
    places = [i for i, layer in enumerate(layers) if planted(name, layer, 1, 1, 8)]
    assume(places)
    where = data.draw(st.sampled_from([places, *([place] for place in places)]))
    fields, good = column(layers, sizes, name, where), column(layers, sizes)
    assume(fields != good)
    assume(min(fields) > 0)
    first = next(i for i, (one, two) in enumerate(zip(fields, good, strict=True)) if one != two)
    found = judge(markdown(named(layers), fields), network)
    assert named(layers)[first] == found.first.row.label
    assert first + 5 == found.first.row.line
    assert name in {one.mistake for one in found.mistakes}
    # Whatever else would give this column gives all of it.
    assert {len(layers)} == {len(one.explained) for one in found.mistakes}
    assert {"ok", "wrong", "follows"} >= {row.verdict for row in found.rows}
    assert 1 == sum(row.verdict == "wrong" for row in found.rows)


@settings(max_examples=100)
@given(chains(), st.data())
def test_a_number_that_nothing_gives(chain, data):
    layers = chain[0]
    network, sizes = planned(chain)
    fields = column(layers, sizes)
    place = data.draw(st.integers(0, len(layers) - 1))
    fields[place] += 100_003  # a prime, beyond all that the mistakes give
    found = judge(markdown(named(layers), fields), network)
    assert named(layers)[place] == found.first.row.label
    assert () == found.mistakes
    assert place == sum(row.verdict == "ok" for row in found.rows[:place])


def judged(names, fields, network):
    found = judge(markdown(names, fields), network)
    return found.first.row.label, [one.mistake for one in found.mistakes]


def test_mistakes_that_no_chain_has():
    assert ("conv1", ["started from 0"]) == judged(NAMES[1:], [n - 1 for n in S6[1:]], ACCOUNT)
    maps = ["26", "24", "22", "20"]
    assert ("conv1", ["map size written"]) == judged(NAMES[1:5], maps, ACCOUNT)
    jumps = [*S6[:5], 2, *S6[6:]]
    assert ("MaxPool", ["jump written"]) == judged(NAMES, jumps, ACCOUNT)
    half = [*S6[:5], 4.5]
    with pytest.raises(ArgumentError, match=r"line 10, MaxPool: '4\.5' is not a receptive field"):
        judged(NAMES[:6], half, ACCOUNT)
    branches = plan("same c4 [c4 | c4k5] c4", (1, 20, 20))
    names = [row.path for row in branches.layers()]
    fields = [row.receptive_field.size[0] for row in branches.layers()]
    assert 0 == judge(markdown(names, fields), branches).code
    place = next(i for i, row in enumerate(branches.layers()) if row.role == "join")
    fields[place:] = [fields[1] + fields[2]] * (len(fields) - place)
    assert (names[place], ["branches added up"]) == judged(names, fields, branches)


def test_axes_that_differ():
    network = plan("c4k3x5 c4k3x1", (1, 20, 20))
    assert 0 == judge(markdown(["conv1", "conv2"], ["3x5", "5 × 5"]), network).code
    found = judge(markdown(["conv1", "conv2"], ["3", "5"]), network)
    assert ((3,), (3, 5)) == (found.first.row.field, found.first.right)


def test_networks_whose_own_table_is_given_back(capsys, tmp_path):
    from torchvision.models import resnet18

    for network in (account(resnet18(), (3, 64, 64)), plan("unet", None), ACCOUNT):
        table = network.to_table()
        for text in (table.to_text(), table.to_markdown(), table.to_csv()):
            assert 0 == judge(text, network).code


def test_layers_that_a_table_may_leave_out(tmp_path):
    network = plan("c16 p c8k1 c32", (1, 28, 28))
    assert 0 == judge(markdown(["conv", "pool", "conv"], [3, 4, 8]), network).code
    assert 0 == judge(markdown(["conv", "pool", "conv", "conv"], [3, 4, 4, 8]), network).code
    assert 0 == judge(markdown(["conv1", "pool1", "conv2"], [3, 4, 8]), network).code
    found = judge(markdown(["conv", "pool", "1x1", "conv"], [3, 4, 6, 8]), network)
    assert ("1x1", (4, 4)) == (found.first.row.label, found.first.right)
    found = judge(markdown(["conv", "pool", "conv 3x3"], [3, 4, 6]), network)
    assert ["stride not carried"] == [one.mistake for one in found.mistakes]
    from torchvision.models import resnet18

    network = account(resnet18(), (3, 64, 64))
    plain = [row for row in network.layers() if row.sliding and row.sliding.kernel != (1, 1)]
    names = ["pool" if "pool" in row.path else "conv" for row in plain]
    fields = [row.receptive_field.size[0] for row in plain]
    assert 0 == judge(markdown(names, fields), network).code


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no column of receptive fields"),
        ("a | b\n--|--\n1 | 2", "no column of receptive fields"),
        ("| Layer | RF |\n|---|---|\n", "no rows below"),
        ("| Layer | RF |\n| conv1 | three |", "line 2, conv1: 'three' is not a receptive field"),
        ("| Layer | RF |\n| conv1 | -3 |", "'-3' is not a receptive field"),
        (markdown(["conv1", "pool"], [3, 4]), "line 6, 'pool': this row is about another layer"),
        (markdown(["c"] * 12, [3] * 12), "line 13, 'c': the network has no layer for this row"),
        (markdown(["5x5"], [5]), "(the layer that comes next conv1.conv Conv2d)"),
        (markdown(["relu"] * 40, [3] * 40), "this row is about another layer"),
    ],
)
def test_tables_that_cannot_be_held_against_a_network(text, told):
    with pytest.raises(ArgumentError) as error:
        judge(text, ACCOUNT)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=200)
@given(st.text(alphabet="RF| \n,;\t-123x(=)allc", max_size=80))
def test_any_text_is_judged_or_refused(text):
    with contextlib.suppress(ArgumentError):
        assert judge(text, ACCOUNT).code in (0, 1)


def test_the_command(tmp_path, capsys, monkeypatch):
    file = tmp_path / "notes.md"
    file.write_text(markdown(NAMES, [1, 3, 5, 7, 9, 10, 12, 14, 16, 16, 16]), encoding="utf-8")
    assert 1 == main(["check-table", str(file), "s6"])
    out = capsys.readouterr().out
    assert "line 11, conv5: 12 is wrong, 14 is right: 10 + (3 - 1) * 2\n" in out
    assert "stride not carried: the stride 2 of pool1 is not carried on\n" in out
    assert "4 more wrong rows follow from it" in out
    assert 1 == main(["check-table", str(file), "s6", "--format", "json"])
    content = json.loads(capsys.readouterr().out)
    assert (11, "pool1") == (content["first_wrong_line"], content["mistakes"][0]["layer"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(markdown(NAMES, S6)))
    assert 0 == main(["check-table", "-", "s6"])
    assert "11 of 11 rows are right" in capsys.readouterr().out
    assert 2 == main(["check-table", str(tmp_path / "none.md"), "s6"])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_every_mistake_is_planted_somewhere():
    others = {"jump written", "map size written", "branches added up", "pooling divided the field",
              "smaller branch taken", "layer without a kernel given credit"}  # fmt: skip
    assert {one.name for one in MISTAKES} == {*PLANTED, *others}
