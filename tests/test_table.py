"""What people see: the tables, letter by letter."""

import csv
import io
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet import Budget, account, models, plan
from budgetnet.accounting.layout import fit, lines
from budgetnet.accounting.table import Column, Table, Toned
from budgetnet.accounting.terminal import show
from budgetnet.budget.advice import reasons
from budgetnet.budget.findings import findings_table

S6_TEXT = """\
s6  (input 1x28x28)
 Layer       Kind                          Kernel / stride / pad     Output         RF   Jump   Params     Share        MACs
 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 conv1       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x26x26          3      1      176     1.2 %      97,344
 conv2       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x24x24          5      1    2,336    16.3 %   1,327,104
 conv3       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x22x22          7      1    2,336    16.3 %   1,115,136
 conv4       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x20x20          9      1    2,336    16.3 %     921,600
 pool1       MaxPool2d                     2x2 / 2 / 0             16x10x10         10      2
 conv5       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x8x8         14      2    2,336    16.3 %     147,456
 conv6       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x6x6         18      2    2,336    16.3 %      82,944
 conv7       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x4x4         22      2    2,336    16.3 %      36,864
 head.conv   Conv2d + BatchNorm2d          1x1 / 1 / 0               10x4x4         22      2      180     1.3 %       2,560
 head.pool   GlobalAveragePool                                           10   28 (all)      -
 Total                                                                   10         22      2   14,372   100.0 %   3,731,008
58,528 bytes of weights and buffers, at most 120,128 bytes of activations at once"""  # noqa: E501 - a golden text


def test_the_table_of_the_reference_network():
    assert S6_TEXT == str(plan(models.get_reference("s6").spec, (1, 28, 28), name="s6"))
    assert S6_TEXT == str(account(models.get_model("s6"), (1, 28, 28), name="s6"))


def test_markdown_and_csv_hold_the_same_cells():
    table = plan("c4 p gap10", (1, 12, 12)).to_table()
    lines = table.to_markdown().splitlines()
    body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert [[column.name for column in table.columns]] == body[:1]
    assert list(map(list, table.rows)) == body[2:-1]
    read = list(csv.reader(io.StringIO(table.to_csv())))
    assert [[column.name for column in table.columns], *map(list, table.rows)] == read


@pytest.mark.parametrize("text", ["a|b", "[bold]x[/bold]", "back\\slash", ":smile:"])
def test_no_cell_is_read_as_markup(text):
    table = Table((Column("Name"), Column("N", numeric=True)), ((text, "1"),))
    assert text in table.to_text()
    assert text.replace("\\", "\\\\").replace("|", "\\|") in table.to_markdown()
    assert [text, "1"] == list(csv.reader(io.StringIO(table.to_csv())))[1]


class Cells(HTMLParser):
    """The texts of a page's elements, by their tags."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        self.found.append((self.open[-1], data))


@pytest.mark.parametrize("name", ["s6", "<b>&amp;</table>"])
def test_a_notebook_shows_the_same_cells(name):
    planned = plan("c16 p gap10", (1, 28, 28), name=name)
    table = planned.to_table()
    cells = [("caption", table.title), *(("th", column.name) for column in table.columns)]
    cells += [("td", cell) for row in table.rows for cell in row if cell]
    cells += [("th", cell) for cell in table.totals if cell] + [("p", n) for n in table.notes]
    assert cells == Cells(planned._repr_html_()).found


class Terminal(io.StringIO):
    def isatty(self):
        return True


def set_environment(monkeypatch, **environment):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)


def shown(monkeypatch, stream, **environment):
    set_environment(monkeypatch, **environment)
    show(stream, plan("c16 c16 p c32 gap10", (1, 28, 28), name="small").to_table(), "a line")
    return stream.getvalue()


def test_a_pipe_gets_plain_text(monkeypatch):
    account = plan("c16 c16 p c32 gap10", (1, 28, 28), name="small")
    assert f"{account}\na line\n" == shown(monkeypatch, io.StringIO(), COLUMNS="60")


PLAIN = re.compile(r"\x1b\[[0-9;]*m")
NETWORKS = ("s6", "resnet50", "mobilenet_v3_small", "densenet121", "unet", "ds_cnn")
ALL = ("Kind", "Kernel / stride / pad", "Output", "RF", "Jump", "Params", "Share", "MACs")


@cache
def parts_of(name):
    """What commands print of a network: its account, a check, and what a runtime needs."""
    reference = models.get_reference(name)
    account = plan(reference.spec, reference.input_shape, name=name)
    budget = Budget(params="14k", receptive_field=22, macs=account.macs, forbid=["ReLU*"])
    table = findings_table(name, budget.check(account))
    return (account.to_table(), table, *reasons(budget.limits, account, budget.check(account)))


def printed(parts, columns, **environment):
    """Lines on a terminal, without colours."""
    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, COLUMNS=str(columns), **environment)
        show(stream, *parts)
    return PLAIN.sub("", stream.getvalue()).splitlines()


def words_of(part):
    """The words that a part may be printed with: whole, or joined by the signs within a cell."""
    if isinstance(part, str):
        return {*part.split()}
    cells = [cell for row in (*part.rows, part.totals) for cell in row]
    names = [text for column in part.columns for text in (column.name, column.short)]
    found = {word for text in (*cells, *names, *part.notes, part.title) for word in text.split()}
    tight = {cell.replace(f" {sign} ", sign) for cell in cells for sign in "+/"}
    rest = {"no", "room", "for:", "more", "+", *map(str, range(9))}
    return found | tight | rest | {f"{word}," for word in found}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NETWORKS), st.integers(40, 200))
def test_no_line_is_over_the_width_and_no_word_is_broken(name, columns):
    for part in parts_of(name):
        lines = printed([part], columns)
        assert columns >= max(map(len, lines))
        is_narrow = columns < 60  # then a long name of a layer breaks behind its dots
        words = {word for line in lines for word in re.sub("[─▏▎▍▌▋▊▉█]", " ", line).split()}
        known = words_of(part)
        for word in words - known:
            assert is_narrow, word
            assert any(word in longer and "." in longer for longer in known), word


@given(st.sampled_from(NETWORKS), st.integers(40, 200))
def test_the_share_is_kept_longest(name, columns):
    lines = printed(parts_of(name)[:1], columns)
    text = " ".join(line.strip() for line in lines)
    grid, _, left_out = text.partition("no room for: ")
    kept = [name for name in ALL if name not in left_out.split(", ")]
    assert "Share" in kept
    order = ("Kernel / stride / pad", "Jump", "Kind", "Output", "RF", "MACs", "Params")
    assert left_out.split(", ")[: len(order)] == list(order[: len(ALL) - len(kept)]) or not left_out
    assert "Share" in grid


def test_one_line_a_layer_where_there_is_room():
    for columns in (40, 60, 80, 100, 120, 200):
        lines = printed(parts_of("s6")[:1], columns)
        rows = [line for line in lines if re.match(r" ?(conv|pool|head)", line)]
        assert 10 == len(rows), columns
    at_100 = printed(parts_of("s6")[:1], 100)
    assert "no room for" not in " ".join(at_100)
    assert [
        "conv2", "Conv2d+BatchNorm2d+ReLU", "3x3/1/0", "16x24x24", "5", "1", "2,336", "16.3", "%",
        "1,327,104",
    ] == at_100[4].split()  # fmt: skip


def test_bars_show_who_pays():
    lines = printed(parts_of("s6")[:1], 140)
    bars = [re.findall("[▏▎▍▌▋▊▉█]+", line) for line in lines if " conv" in line]
    assert [2] * 7 == [*map(len, bars)]
    assert ["███████", "███████"] == bars[1]  # conv2 has most of both
    assert not any(
        re.findall("[▏▎▍▌▋▊▉█]", line) for line in lines if "pool" in line or "Total" in line
    )


def test_what_cannot_fit_is_whole_all_the_same():
    text = "\n".join(printed(parts_of("s6")[:1], 12))
    for word in ("conv4", "16.3 %", "1.2 %"):
        assert word in text


@given(
    st.lists(st.tuples(*[st.text("ab, 1", max_size=12)] * 4), min_size=1, max_size=4),
    st.permutations([0, 0, 1, 2]), st.integers(1, 60), st.booleans(),
)  # fmt: skip
def test_fitted_tables_keep_their_words(rows, spared, room, bars):
    columns = tuple(
        Column(name, numeric=i % 2 == 1, spared=spared[i], bar=i == 3)
        for i, name in enumerate(("One", "Two words", "Three", "Four"))
    )
    made = fit(Table(columns, tuple(rows)), room, bars)
    kept = [columns.index(column) for column in made.table.columns]
    assert [tuple(row[i] for i in kept) for row in rows] == [*made.table.rows]
    assert all(spared[i] for i in range(4) if i not in kept)
    for place, shown in enumerate(made.shown):
        cells = [row[place] for row in made.table.rows]
        pieces = [p for cell in cells for p in ([cell] if shown.column.numeric else cell.split())]
        assert shown.width >= max(map(len, pieces), default=0)
    if made.width > room:
        assert not any(column.spared for column in made.table.columns)
    else:
        assert all(room >= sum(len(text) for text, _ in line) for line in lines(made))


BUDGETED = ("OVER", "31"), ("ok", "32"), ("ok", "33"), ("UNKNOWN", "35")


def test_verdicts_are_coloured_by_meaning(monkeypatch):
    set_environment(monkeypatch, COLUMNS="100")
    stream = Terminal()
    account = plan("c16 c16 p c32 gap10", (1, 28, 28), name="small")
    findings = Budget(params="7k", macs="9M", weight_bytes="31kB").check(account)
    unknown = findings[0]._replace(verdict="unknown", headroom=None, reason="no rule")
    assert [False, False, True] == [finding.is_near for finding in findings]
    show(stream, findings_table("small", [*findings, unknown]), Toned("1 check", "over"))
    for word, colour in (*BUDGETED, ("1 check", "31")):
        assert re.search(rf"\x1b\[(1;)?{colour}m{word}\x1b\[0m", stream.getvalue()), word


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_leaves_neither_colours_nor_bars(monkeypatch, environment):
    text = shown(monkeypatch, Terminal(), COLUMNS="200", **environment)
    assert "\x1b" not in text
    assert not re.search("[▏▎▍▌▋▊▉█]", text)
    assert "\x1b[" in (coloured := shown(monkeypatch, Terminal(), COLUMNS="200"))
    assert "██" in coloured


def test_a_terminal_without_such_signs_gets_no_bars(monkeypatch):
    set_environment(monkeypatch, COLUMNS="200")
    stream = Terminal()
    monkeypatch.setattr(Terminal, "encoding", "ascii", raising=False)
    show(stream, parts_of("s6")[0])
    assert "█" not in stream.getvalue()
