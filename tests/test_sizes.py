"""Bounds of size: each is said, known before the work, and stays within 64 bits and memory."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgetnet
from budgetnet import Account, InfeasibleBudget, SearchSpace, Spec, design, plan, rescale
from budgetnet.accounting.window import LARGEST, Window
from budgetnet.budget.advice import MOST_PLANNED
from budgetnet.cli.parser import main
from budgetnet.designer import graph as graphs
from budgetnet.designer import search
from budgetnet.designer.graph import build, caps_of, survey
from budgetnet.designer.labels import _dominated
from budgetnet.designer.objectives import figure_of
from budgetnet.designer.skeletons import SpaceChains
from budgetnet.errors import ArgumentError, SearchStopped
from budgetnet.spec.stages import Conv, Head

MNIST = ((1, 28, 28), 10)
FIGURES = ("params", "macs", "weight_bytes", "depth", "peak_activation_bytes")


def call(capsys, *arguments):
    code = main(["design", "--input", "1x28x28", "--classes", "10", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# ---------------------------------------------------------------------------- numbers

sizes = st.integers(0, 34).flatmap(lambda k: st.integers(2**k, 2 ** (k + 1)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(sizes, min_size=1, max_size=3, unique=True), sizes, st.tuples(sizes, sizes, sizes),
    st.sampled_from([1, 3, 1_023]), st.sampled_from(FIGURES), st.sampled_from(["max", "min"]),
)  # fmt: skip
def test_every_number_is_that_of_python_ints_or_refused(widths, classes, shape, kernel, name, way):
    """One convolution and a head, of sizes from 1 to 2^35, against plans in plain ints."""
    pads = (kernel // 2, kernel // 2)
    specs = [Spec((Conv(w, (kernel, kernel), padding=pads), Head(classes))) for w in widths]
    try:
        space = SearchSpace(
            widths=widths, kernels=kernel, convs=1, stage_convs=1, downsamples=0, paddings="same"
        )
        found = design(shape, classes, space=space, objective=f"{way} {name}")
    except ArgumentError as error:
        text = str(error)
        assert any(s in text for s in ("64", "largest may be", "at most", "too fine")), text
        # one stage may cost up to 2^52, so that hundreds of them add up within 64 bits
        largest = max(widths) * kernel**2 * shape[0] * shape[1] * shape[2]
        assert max(*widths, classes, *shape) > 2**10 or largest >= 2**52, f"no need: {text}"
        return
    sign = 1 if way == "max" else -1
    expected = max(sign * figure_of(name, plan(spec, shape)) for spec in specs)
    assert found.proven
    assert expected == sign * figure_of(name, found[0].account)
    assert found[0].spec in specs
    assert found[0].account == plan(found[0].spec, shape)


def test_a_width_beyond_32_bits_is_refused_by_name(capsys):
    code, out, err = call(capsys, "--widths", "2147483648", "--convs", "1", "--downsamples", "0")
    assert (2, "") == (code, out)
    assert "widths=2147483648" in err
    assert "2,147,483,647" in err
    with pytest.raises(ArgumentError, match=r"num_classes=2147483648 .* at most 2,147,483,647"):
        design((1, 28, 28), 2**31)
    with pytest.raises(ArgumentError, match=r"64-bit range \(widest c3000000000\)"):
        rescale(Spec((Conv(2), Conv(3_000_000_000), Head())), (1, 8, 8), params=10**9)


def test_limits_at_the_end_of_64_bits_are_limits_all_the_same():
    most = 2**63 - 1
    free = design(*MNIST, objective="max params")
    same = design(*MNIST, objective="max params", params=most, macs=(0, most))
    assert free[0].spec == same[0].spec
    with pytest.raises(InfeasibleBudget) as caught:
        design(*MNIST, params=(most - 1, most))
    assert free[0].account.params == caught.value.conflicts[0].best


def test_uses_too_far_apart_for_one_number_are_ranked():
    group = np.array([0, 0, 0, 1, 1])
    use = np.array([5, 1 << 61, 4, 0, 1 << 61])
    assert [False, True, False, False, True] == _dominated(group, [use]).tolist()
    small = np.array([5, 9, 4, 0, 1])
    assert [False, True, False, False, True] == _dominated(group, [small]).tolist()


# ---------------------------------------------------------------------------- graphs


@pytest.mark.parametrize("limits", [{}, {"params": 600}, {"macs": 90_000, "weight_bytes": 4_000},
                                    {"peak_activation_bytes": 30_000}])  # fmt: skip
@pytest.mark.parametrize("monotone", [True, False])
def test_the_size_of_a_graph_is_known_before_it_is_made(limits, monotone):
    """And what the caps leave out is what no network within the limits can have."""
    space = SearchSpace(widths=(1, 2, 3, 5, 8, 13), kinds=("plain", "separable"), convs=(1, 4),
                        monotone=monotone)  # fmt: skip
    box = {name: (None, high) for name, high in limits.items()}
    walk = SpaceChains(space, *MNIST, {})
    whole, capped = survey(walk), survey(walk, caps_of(box))
    for surveyed in (whole, capped):
        made = build(surveyed)
        assert surveyed.transitions == sum(len(level.source) for level in made.levels)
    assert capped.covers(box)
    assert whole.covers(box)
    assert capped.covers({}) == (not limits)
    assert bool(limits) == (capped.transitions < whole.transitions)
    one, two = (build(s).within(box).within({}) for s in (whole, capped))
    for a, b in zip(one.levels, two.levels, strict=True):
        if len(a.source):
            assert a.costs["params"].tolist() == b.costs["params"].tolist()
            assert a.width.tolist() == b.width.tolist()


def test_a_large_space_is_answered_within_tight_limits_as_it_is_without_caps(monkeypatch):
    from budgetnet.designer import searches

    for limits in ({"params": 3_000, "receptive_field": 20}, {"params": 200}):
        expected = str(_answer(**limits))
        with monkeypatch.context() as patch:
            patch.setattr(searches, "_MANY", 0)
            assert expected == str(_answer(**limits))


def _answer(**limits):
    try:
        found = design(*MNIST, top=3, **limits)
        return [design.spec for design in found], found.proven, found.at_most
    except InfeasibleBudget as error:
        return error


@pytest.mark.parametrize("widths", ["1..3000", "1..512"])
def test_too_many_widths_are_refused_before_the_work(widths, capsys):
    started = time.monotonic()
    code, out, err = call(capsys, "--widths", widths, "--rf", "22")
    assert (2, "") == (code, out)
    assert "at most 8,388,608" in err
    assert "GB" in err
    assert "Use fewer widths" in err
    assert time.monotonic() - started < 10
    code, out, _ = call(capsys, "--widths", widths, "--rf", "22", "--params", "2k")
    assert 0 == code
    assert "proven best" in out


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on memory")
def test_the_largest_graph_keeps_to_the_memory_that_is_said():
    """3 GB, of which the limit on addresses leaves 4."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2); "
    code += "import budgetnet as b; s = b.SearchSpace(widths=range(1, 236)); "
    code += "print(b.design((1, 28, 28), 10, receptive_field=22, params='1M', space=s).proven)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "True\n" == run.stdout, run.stderr


def test_a_deadline_holds_while_the_graph_is_made(monkeypatch):
    """The clock runs out at the first look at it, so nothing but the making can have looked."""
    monkeypatch.setattr(search, "solve", None)
    space = SearchSpace(widths=range(1, 200))
    with pytest.raises(SearchStopped, match="more time, or a smaller space"):
        design(*MNIST, space=space, time_limit=0)
    started = time.monotonic()
    with pytest.raises(SearchStopped):
        design(*MNIST, space=SearchSpace(widths=range(1, 3_001)), params="20k", time_limit=0.1)
    assert time.monotonic() - started < 5


def test_a_search_that_would_fill_memory_ends_with_what_it_has(monkeypatch):
    monkeypatch.setattr(search, "MOST_LABELS", 20_000)
    exact_fill = {"objective": "max macs", "params": 20_000, "macs": 3_000_001}
    space = SearchSpace(kernels=(3, 5), monotone=False)
    found = design(*MNIST, space=space, **exact_fill)
    assert not found.proven
    assert found[0].account.macs <= 3_000_001


def test_pruning_early_changes_no_answer(monkeypatch):
    limits = {"params": 8_000, "receptive_field": 22, "macs": 500_000}
    expected = [d.spec for d in design(*MNIST, top=3, **limits)]
    pruned, undominated = [], search._Search._undominated
    monkeypatch.setattr(
        search._Search, "_undominated",
        lambda self, labels: pruned.append(labels.count) or undominated(self, labels),
    )  # fmt: skip
    design(*MNIST, top=3, **limits)
    whole = len(pruned)
    monkeypatch.setattr(search, "CHUNK", 500)
    monkeypatch.setattr(search, "CROWD", 2_000)
    found = design(*MNIST, top=3, **limits)
    assert len(pruned) > 2 * whole, "nothing was pruned early"
    assert found.proven
    assert expected == [d.spec for d in found]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("seconds", [0.6, pytest.param(1.5, marks=pytest.mark.deep)])
def test_ctrl_c_ends_a_search_at_once(seconds):
    limits = ("--rf", "22", "--params", "300k..310k", "--macs", "50M..60M")
    run = subprocess.Popen(
        [sys.executable, "-m", "budgetnet", "design", "--input", "1x28x28", "--classes", "10",
         "--widths", "1..235", *limits],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = run.communicate()
    assert time.monotonic() - started < 10
    assert "Traceback" not in err
    assert (130, "") == (run.returncode, out) or "not proven" in out


# ---------------------------------------------------------------------------- arguments

REFUSED = {
    "top": (("--top", "1000000000"), "top=1000000000 must be a whole number of at least 1 and"),
    "time below 0": (("--time-limit", "-1"), "time_limit=-1.0 is not valid; expected seconds"),
    "no time": (("--time-limit", "nan"), "time_limit=nan"),
    "all time": (("--time-limit", "inf"), "time_limit=inf"),
    "two goals": (("--objective", "max macs", "--pareto", "params,rf"), "Leave one of them out"),
    "a part of a front": (("--top", "2", "--pareto", "params,rf"), "Leave one of them out"),
    "no figures": (("--pareto", ""), "'' is not a figure"),
    "two divisors": (("--divisor", "4,8"), "divisor=(4, 8) is not valid"),
    "a list without end": (("--widths", "1..1000000000000"), "a list may have 10,000 values"),
    "convolutions": (("--convs", "1..1000"), "the largest may be 200"),
    "downsamplings": (("--downsamples", "0..99"), "the largest may be 30"),
    "kernels": (("--kernels", "1025"), "the largest may be 1,023"),
    "kinds": (("--kinds", "1"), "expected some of plain, separable"),
    "divided by 0": (("--objective", "macs=1/0"), "'1/0' is not a weight of macs"),
    "a long power": (("--objective", "macs=1e999999999"), "'1e999999999' is not a weight"),
    "a figure twice": (("--objective", "rf=1,receptive_field=2"), "names receptive_field twice"),
    "the input": (("--input", f"{10**30}x28x28"), "is not a valid input shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_ignored_or_never_end_is_refused(case, capsys):
    arguments, message = REFUSED[case]
    code, out, err = call(capsys, "--params", "8k", *arguments)
    assert (2, "") == (code, out)
    assert message in err
    assert 1 == len(err.splitlines())


def test_many_networks_are_given_as_far_as_there_are_any():
    space = SearchSpace(widths=(4, 8), convs=(1, 2), downsamples=0)
    found = design(*MNIST, space=space, top=1_000)
    assert found.proven
    assert len(found) == 4  # one or two convolutions, padded or not


@pytest.mark.parametrize("form", ["python", "csv"])
def test_an_answer_without_proof_says_so_in_every_form(form, capsys):
    call_ = ("--objective", "max macs", "--params", "20000", "--macs", "3000001", "--kernels",
             "3,5", "--widths", "3..39", "--no-monotone", "--time-limit", "3",
             "--format", form)  # fmt: skip
    code, out, err = call(capsys, *call_)
    assert 0 == code
    said = out.splitlines()[0] if form == "python" else err
    assert said.startswith("# not proven best" if form == "python" else "budgetnet: not proven")
    if form == "python":
        names = {}
        exec(out, names)
        assert budgetnet.account(names["model"], (1, 28, 28)).macs <= 3_000_001
    else:
        assert "not proven" not in out
    _, out, err = call(capsys, "--params", "8k", "--format", form)
    assert "proven" not in out + err


@pytest.mark.parametrize("command", ["account", "draw"])
def test_a_depth_below_0_is_refused(command, capsys):
    assert 2 == main([command, "s6", "--depth", "-1"])
    err = capsys.readouterr().err
    assert "-1" in err
    assert 1 == len(err.splitlines())


# ---------------------------------------------------------------------------- windows, advice


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_long_sets_are_composed_as_short_ones_are(data):
    """Against sets of ints, with and without the way for long ones."""
    kernel, dilation = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 3))
    stride, padding = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 5))
    inner = data.draw(st.sampled_from([
        Window.sliding(3), Window.sliding(2, 2), Window.transposed(3, 2, 1), Window.whole(70),
        Window.transposed(4, 3), Window.reading({0, 90}, {5}, advance=3),
        Window.sliding(5, 2, 1, 4), Window.reading({0}, {-3}, advance=-2),
    ]))  # fmt: skip
    outer = Window.sliding(kernel, stride, padding, dilation)
    both = inner.then(outer)
    for i in range(-3, 5):
        taps = [stride * i - padding + dilation * j for j in range(kernel)]
        assert set(taps) == outer.reads(i)
        assert frozenset().union(*(inner.reads(tap) for tap in taps)) == both.reads(i)
    assert both == Window.of_runs(both.runs(), both.advance)


def test_windows_of_millions_take_no_time():
    started = time.monotonic()
    window = Window.whole(10_000_000)
    assert (((0, 9_999_999),),) == window.runs()
    assert window == Window.of_runs(window.runs(), 0)
    assert 5_000_001 == Window.transposed(3, 2, 1).then(window).size
    account = plan("c16 c16 p c16 gap10", (1, 10_000_000, 100_000))
    assert account == Account.from_dict(json.loads(account.to_json()))
    assert time.monotonic() - started < 10


def test_windows_too_wide_to_be_followed_are_refused_by_layer():
    bound = f"at most {LARGEST:,}"
    for spec, shape, where in (
        ("c4 gap10", (1, 10**9, 10**9), "head.pool: "),
        ("c4k100000000p50000000 gap10", (1, 28, 28), "conv1: "),
        ("c4d100000000p200000000 gap", (1, 28, 28), "conv1: "),
        ("c4 p4000 p4000 p4000", (1, 10**12, 10**12), "pool3: "),
    ):
        with pytest.raises(ArgumentError) as caught:
            plan(spec, shape)
        assert bound in str(caught.value)
        assert str(caught.value).startswith(where)
    with pytest.raises(ArgumentError, match="more inputs than can be tracked"):
        Window.reading({0, 1 << 25})
    with pytest.raises(ArgumentError, match="more inputs than can be tracked"):
        Window.of_runs([[(0, 1 << 60)]])


def test_advice_on_a_huge_input_takes_no_time():
    started = time.monotonic()
    with pytest.raises(budgetnet.BudgetExceeded) as caught:
        budgetnet.assert_budget(
            "c16 c16 c32 c32 p c64 c64 gap10", (1, 100_000, 100_000), params="30k"
        )
    assert "cheapest single change" in str(caught.value)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("spec", ["c8p1 " * 100 + "gap10", "c100000000 c8 gap10"])
def test_advice_that_would_take_long_is_left_out_and_says_so(spec):
    started = time.monotonic()
    with pytest.raises(budgetnet.BudgetExceeded) as caught:
        budgetnet.assert_budget(spec, (1, 28, 28), params=100)
    assert time.monotonic() - started < 20
    text = str(caught.value)
    assert f"{MOST_PLANNED:,}" in text or "single change" in text
    if "100000000" in spec:
        assert "no change was looked for" in text


def test_fit_says_how_wide_a_network_may_be():
    with pytest.raises(ArgumentError, match="at most 100,000"):
        rescale("c1000000 c8 gap10", (1, 28, 28), params="1M")
    with pytest.raises(ArgumentError, match="the search space is too large"):
        rescale("c20000 c20000 gap10", (1, 28, 28), params="10G")


def test_stages_without_end_are_refused():
    count = graphs.MOST_LEVELS + 1
    with pytest.raises(ArgumentError, match="more stages than a search can follow"):
        rescale("c2p1 " * count + "gap10", (1, 9, 9), params=9_000)


@pytest.mark.deep
def test_the_longest_spaces_are_searched():
    """200 convolutions in a row; with strides between them a field would outgrow any input."""
    same = {"widths": (1, 2), "convs": 200, "paddings": "same", "downsampling": "stride"}
    space = SearchSpace(**same, stage_convs=200, downsamples=0, uniform=True)
    found = design((1, 4, 4), 2, space=space, params="60k", objective="max params")
    assert found.proven
    assert found[0].account == plan(found[0].spec, (1, 4, 4))
    strided = SearchSpace(**same, stage_convs=(0, 200), downsamples=30)
    with pytest.raises(
        ArgumentError, match=r"more inputs than can be tracked .* at most 16,777,216"
    ):
        design((1, 4, 4), 2, space=strided, params="60k", objective="max params")
    with pytest.raises(ArgumentError, match="more inputs than can be tracked"):
        design((1, 1 << 25, 8), 2, space=SearchSpace(convs=1, downsamples=0))
