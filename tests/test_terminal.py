"""What people see on a terminal: what fits its width, in which colours, with which bars."""

import io
import os
import re
import sys
from functools import cache

import pytest
from golden import check_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet import Budget, design, models, plan
from budgetnet.accounting.layout import fit, lines
from budgetnet.accounting.table import Column, Table, Toned
from budgetnet.accounting.terminal import show
from budgetnet.budget.advice import reasons
from budgetnet.budget.findings import findings_table
from budgetnet.cli.parser import build_parser, main


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


@settings(max_examples=30, deadline=None)
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


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 140])
def test_an_account_and_a_check_at_a_width(columns):
    check_golden(f"terminal_{columns}", "\n".join(printed(parts_of("s6"), columns)))


def on_terminal(*words, columns=80, **environment):
    """What a command prints on a pseudo-terminal, and its status."""
    pty = pytest.importorskip("pty", reason="it opens a terminal")
    child, terminal = pty.fork()
    if child == 0:
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            os.environ.pop(name, None)
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": str(columns), **environment})
        os.execv(sys.executable, [sys.executable, "-m", "budgetnet", *words])
    text = b""
    while True:
        try:
            read = os.read(terminal, 10_000)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not read:
            break
        text += read
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return text.decode().replace("\r\n", "\n"), status


def test_a_verdict_on_a_real_terminal():
    text, status = on_terminal("check", "s6", "--params", "14k", "--why", columns=60)
    assert 1 == status
    assert "\x1b[1;31mOVER\x1b[0m" in text
    assert "\x1b[1;31m1 check: 1 over budget\x1b[0m" in text
    assert 60 >= max(map(len, PLAIN.sub("", text).splitlines()))
    plain, _ = on_terminal("check", "s6", "--params", "14k", "--why", columns=60, NO_COLOR="1")
    assert PLAIN.sub("", text) == plain


def test_a_spec_is_pointed_into_on_a_terminal_alone(capsys):
    text, status = on_terminal("account", "c16 q c32", "--input", "1x28x28")
    assert 2 == status
    assert ["  c16 q c32", "      ^"] == text.splitlines()[-2:]
    assert 2 == main(["account", "c16 q c32", "--input", "1x28x28"])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_the_example_of_a_front_in_the_help_has_one():
    commands = build_parser()._subparsers._group_actions[0].choices
    (example,) = re.findall(r"budgetnet design ([^;]*--pareto[^;]*)", commands["design"].epilog)
    _, shape, _, classes, _, params, _, pareto = example.split()
    shape = tuple(map(int, shape.split("x")))
    assert 3 <= len(design(shape, int(classes), params=params, pareto=pareto))
