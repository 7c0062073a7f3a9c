"""Latency as data: what is measured, the sums against hand and brute force, and files gone bad.

Times in these tables are made up: what is claimed is exact with respect to a table.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import damage
import numpy as np
import pytest
import torch
import torchvision
from enumeration import networks
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_design import every_space
from test_designs_on_devices import random_network
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import budgetnet
from budgetnet import Budget, LatencyTable, SearchSpace, design, latency, measure, plan, rescale
from budgetnet.accounting.latency import latency_of
from budgetnet.accounting.latency_table import Entry
from budgetnet.accounting.operators import NAMES, operators_of
from budgetnet.cli.parser import main
from budgetnet.deploy.measuring import Measuring, machine_of
from budgetnet.deploy.operator_calls import call_of
from budgetnet.designer.costs import LATENCY, Setting
from budgetnet.designer.graph import build, survey
from budgetnet.designer.infeasible import InfeasibleBudget
from budgetnet.designer.measured import operators_of_space
from budgetnet.designer.objectives import figure_of, parse_objective
from budgetnet.designer.skeletons import SpaceChains
from budgetnet.errors import ArgumentError, FormatError, UnsupportedOp

GOLDEN = Path(__file__).parent / "golden" / "latency_table_1.json"  # of a first release
SMALL = SearchSpace(
    widths=(2, 3, 5), kinds=("plain", "separable"), paddings=("valid", "same"), convs=(1, 3),
    stage_convs=(0, 2), downsamples=(0, 1), downsampling=("pool", "stride"),
)  # fmt: skip
slow = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


class Anything(Mapping):
    """Entries of every operator there may be, of no order in its widths."""

    def __init__(self, seed):
        self.seed = seed

    def __getitem__(self, key):
        median = 1_000 + crc32(f"{self.seed} {key}".encode()) % 50_000
        return Entry(median, median - 7, median + 11, 5)

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def table_of(operators, seed=0):
    """A table of these operators alone."""
    every = Anything(seed)
    return LatencyTable({}, {str(each): every[str(each)] for each in operators if each})


def every(seed=0):
    return LatencyTable({"seed": str(seed)}, Anything(seed))


# ------------------------------------------------------------------ what an operator is


class Calls(TorchDispatchMode):
    """Every kernel that runs, with the shapes of its tensors and all arguments but floats."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        if not any(result.alias_info and not result.alias_info.is_write
                   for result in func._schema.returns):  # fmt: skip
            plain = [tuple(a.shape) if isinstance(a, torch.Tensor) else
                     tuple(tuple(t.shape) for t in a) if isinstance(a, list) and a
                     and isinstance(a[0], torch.Tensor) else repr(a)
                     for a in args if not isinstance(a, float)]  # fmt: skip
            self.found[name, *plain] += 1
        return func(*args, **kwargs or {})


MORE = (
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121",
    "regnet_y_400mf",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", *(pytest.param(name, marks=pytest.mark.deep) for name in MORE)]
)
def test_the_operators_run_what_the_network_runs(name):
    """Kernel by kernel, shape by shape and option by option, as the dispatcher sees them."""
    model = getattr(torchvision.models, name)().eval()
    account, image = budgetnet.account(model, (3, 64, 64)), torch.zeros(1, 3, 64, 64)
    with torch.inference_mode(), Calls() as real:
        model(image)
    mine = Counter()
    with torch.inference_mode():
        for operator in operators_of(account):
            if operator is not None:
                call = call_of(operator)
                with Calls() as one:
                    call()
                mine += one.found
    # At inference dropout gives back what it reads.
    assert Counter({key: n for key, n in real.found.items() if key[0] != "dropout"}) == mine


@pytest.mark.parametrize("spec", [
    "c8 p c12-bn+bias gap4", "ds8 t4 gap3", "same c8 bb8 bt16 [c16 c16 + ] ir8se4 gap10",
    "c8 flatten l5 l3-bn", "same c8 db4n2 bn gap3",
])  # fmt: skip
def test_a_plan_and_a_module_have_the_same_operators(spec):
    planned = plan(spec, (3, 12, 12))
    traced = budgetnet.account(budgetnet.models.build(spec, (3, 12, 12)), (3, 12, 12))
    assert operators_of(planned) == operators_of(traced)


class Odd(nn.Module):
    """Of all that is measured, what common networks lack."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, (1, 3), (2, 1), (0, 2), dilation=(1, 2)), nn.Sigmoid(),
            nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), nn.LeakyReLU(),
            nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True), nn.GELU(), nn.Hardsigmoid(),
            nn.AvgPool2d(2, ceil_mode=True), nn.ELU(), nn.Tanh(), nn.AdaptiveAvgPool2d((3, 2)),
            nn.SiLU(),
        )  # fmt: skip

    def forward(self, x):
        x = self.layers(x)
        x = torch.cat([x + x, x * x], 1)
        return nn.functional.linear(x.flatten(2).transpose(1, 2), torch.ones(2, 12))


def test_every_operator_gives_the_shape_that_it_tells():
    account = budgetnet.account(Odd(), (3, 21, 17))
    found = [each for each in operators_of(account) if each]
    found += filter(None, operators_of(plan("same relu6 c8 hardswish c8 relu bb8 gap2", (3, 9, 9))))
    for operator in found:
        made = call_of(operator)()
        if operator.name in ("mean", "linear"):  # whose shapes have ones
            assert torch.Size(operator.output).numel() == made.numel()
        else:
            assert (1, *operator.output) == made.shape
    assert {*NAMES} == {each.name for each in found}


def test_the_text_of_an_operator_says_all_of_it():
    account = budgetnet.account(Odd(), (3, 21, 17))
    texts = {}
    for operator in filter(None, operators_of(account)):
        assert operator == texts.setdefault(str(operator), operator)
    assert "conv 3x21x17 -> 4x11x17, 1x3 / 2x1 / 0x2 / d1x2, bias" in texts
    assert "conv_transpose 4x11x17 -> 6x22x34, 3x3 / 2 / 1, groups 2, bias" in texts


@pytest.mark.parametrize(("model", "why"), [
    (nn.LayerNorm(8), "nothing measures LayerNorm (norm)"),
    (nn.Upsample(scale_factor=2), "nothing measures Upsample (resizing)"),
    (nn.Conv2d(3, 3, 2, padding="same"), "nothing measures Conv2d (convolution)"),
    (nn.Conv2d(3, 3, 2).half(), "tables are of float32, the network has float16"),
    (nn.PixelShuffle(1), "PixelShuffle"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_what_nothing_measures_is_unknown_by_name(model, why):
    found = latency_of(budgetnet.account(model, (3, 8, 8), strict=False), every())
    assert (None, None, None) == (found.ns, found.seconds, found.spread_ns)
    assert why in found.reason
    assert () == found.missing
    with pytest.raises(UnsupportedOp):
        operators_of(found.account)


# ------------------------------------------------------------------ sums


def test_the_estimate_is_the_sum_by_hand():
    times = {
        "conv 1x9x9 -> 2x7x7, 3x3 / 1 / 0": 900, "batch_norm 2x7x7": 40, "relu 2x7x7": 30,
        "max_pool 2x7x7 -> 2x3x3, 2x2 / 2 / 0": 200, "mean 3x3x3": 70,
        "conv 2x3x3 -> 2x3x3, 1x1 / 1 / 0": 500, "batch_norm 2x3x3": 21, "relu 2x3x3": 11,
        "conv 2x3x3 -> 3x3x3, 1x1 / 1 / 0": 300,
        "batch_norm 3x3x3": 5, "relu 9x9x9": 10**9,
    }  # fmt: skip
    table = LatencyTable({}, {key: Entry(ns, ns - 1, ns + 2, 9) for key, ns in times.items()})
    found = latency("c2 p c2k1 c2k1 gap3", (1, 9, 9), table=table)
    by_hand = 900 + 40 + 30 + 200 + 2 * (500 + 21 + 11) + 300 + 5 + 70
    assert by_hand == found.ns == round(found.seconds * 1e9)
    assert (by_hand - 13, by_hand + 26) == found.spread_ns  # thirteen kernels
    assert ((), (), "") == (found.unknown, found.missing, found.reason)
    shown = [row[-1] for row in found.to_table().rows]
    assert ["970 ns", "200 ns", "532 ns", "532 ns", "305 ns", "70 ns"] == shown
    assert [970, 200, 532, 532, 305, 70] == [ns for _, ns in found.by_layer()]
    assert ["2.609 us"] == [row[-1] for row in found.to_table(depth=0).rows]
    assert "2.609 us" == found.to_table().totals[-1]
    told = json.loads(found.to_json())
    assert (by_hand, True, []) == (told["ns"], told["is_estimate"], told["unknown"])
    assert "an estimate" in str(found)
    assert "an estimate" in repr(found)


def test_one_missing_entry_makes_the_sum_unknown():
    account = plan("c2 p c3 gap3", (1, 9, 9))
    whole = table_of(operators_of(account))
    for key in whole.entries:
        rest = {other: entry for other, entry in whole.entries.items() if other != key}
        found = latency_of(account, LatencyTable({}, rest))
        assert None is found.ns
        assert [key] == [str(each) for each in found.missing]
        assert f"table has no entry for {key}" == found.reason
        (judged,) = Budget(latency="1 s", table=LatencyTable({}, rest)).check(account)
        assert ("unknown", None, found.reason) == (judged.verdict, judged.measured, judged.reason)
        assert "unknown" == found.to_table().totals[-1]


@slow
@given(every_space, st.integers(0, 2**32 - 1))
def test_latency_adds_up_over_stages(drawn, seed):
    space, shape, classes, _ = drawn
    table = every(seed)
    rng = np.random.default_rng(seed)
    for one, size in space.variants(shape)[:2]:
        graph = build(survey(SpaceChains(one, size, classes, {}), setting=Setting(table=table)))
        assume(graph.has_networks)
        for _ in range(5):
            costs, spec = random_network(graph, rng)
            parts = [int(stage[LATENCY]) for stage in costs]
            assert sum(parts) == latency_of(plan(spec, size), table).ns


# ------------------------------------------------------------------ limits


def test_a_limit_is_alike_in_python_files_and_flags(tmp_path, capsys):
    table = LatencyTable.load(GOLDEN)
    account = plan("c4 p c6 gap3", (1, 12, 12), name="small")
    exact = latency_of(account, table).ns
    (tmp_path / "saved.json").write_text(account.to_json())
    (tmp_path / "table.json").write_text(GOLDEN.read_text())
    for ns, verdict, code in ((exact, "within", 0), (exact - 1, "over", 1)):
        (found,) = Budget(latency=f"{ns} ns", table=GOLDEN).check(account)
        assert (verdict, "latency", "latency", exact, ns - exact) == (
            found.verdict, found.figure, found.key, found.measured, found.headroom,
        )  # fmt: skip
        flags = ["--latency", f"{ns}ns", "--table", str(tmp_path / "table.json")]
        assert code == main(["check", str(tmp_path / "saved.json"), *flags])
        config = tmp_path / "pyproject.toml"  # from where the path of a table begins
        config.write_text(
            '[[tool.budgetnet.check]]\nmodel = "saved.json"\n'
            f'latency = "{ns} ns"\ntable = "table.json"\n'
        )
        assert code == main(["check", "--config", str(config)])
        assert "estimate by table.json" in capsys.readouterr().out
    assert 3 == main(["check", "c5 gap2", "--input", "1x9x9", *flags])
    assert "table.json has no entry for 6 operators" in capsys.readouterr().out
    low = Budget(latency=("1 us", "0.5 s"), table=GOLDEN).limits[0]
    assert (1_000, 5 * 10**8, "1 us to 500 ms (estimate by latency_table_1.json)") == (
        low.low, low.high, low.text,
    )  # fmt: skip


@pytest.mark.parametrize(("limits", "message"), [
    ({"latency": "5 ms"}, r"a limit on latency needs a table\. Add table='this-machine\.json'"),
    ({"latency": 5, "table": GOLDEN}, r"latency=5 is not a valid time\. Write whole nanoseconds"),
    ({"latency": "5", "table": GOLDEN}, "latency='5' is not a valid time"),
    ({"latency": "5 MB", "table": GOLDEN}, "is not a valid time"),
    ({"latency": "0.5 ns", "table": GOLDEN}, "is not a valid time"),
    ({"latency": "9999999999999 s", "table": GOLDEN}, "is not a valid time"),
    ({"latency": ("2 ms", "1 ms"), "table": GOLDEN}, r"low is above high \(low 2 ms, high 1 ms\)"),
    ({"latency": "5 ms", "table": 3}, r"3 is not a table of latencies\. Pass the file"),
    ({"latency": "5 ms", "table": "none.json"}, r"cannot read none\.json \(reason No such file"),
])  # fmt: skip
def test_bad_limits_are_refused_by_name(limits, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        Budget(**limits)
    assert "\n" not in str(caught.value)


def test_a_broken_limit_says_by_how_much_and_does_not_guess_changes():
    account = plan("c4 p c6 gap3", (1, 12, 12))
    with pytest.raises(budgetnet.BudgetExceeded) as caught:
        Budget(latency="100 us", table=GOLDEN).enforce(account)
    text = str(caught.value)
    assert "at most 100 us (estimate by latency_table_1.json)" in text
    assert " us over (" in text
    assert "\nmost of the estimate: conv2 146.7 us (32.6 %), head.conv " in text
    assert "no single change" in text
    assert "of those whose operators the table has" in text
    page = budgetnet.report.render_html(account, budget=Budget(latency="1 us", table=GOLDEN))
    assert '<span class="limit">latency</span>' in page


# ------------------------------------------------------------------ designs


def brute(goal, fit, setting):
    """The best value of the goal, and what breaks ties."""
    return max((goal.value(a, setting), -a.macs, -a.params) for a in fit)


@pytest.mark.parametrize("goal", ["max params", "max macs", "min latency", "latency=-1,macs=9"])
def test_a_design_under_a_latency_is_that_of_brute_force(goal):
    shape, classes = (1, 9, 8), 3
    accounts = networks(SMALL, shape, classes)
    setting, goal = Setting(table=every(1)), parse_objective(goal)
    steps = sorted(figure_of("latency", account, setting) for account in accounts)
    for most in (steps[0], steps[len(steps) // 10], steps[len(steps) // 2]):
        for limits in ({}, {"params": 120}):
            budget = Budget(latency=f"{most} ns", table=setting.table, **limits)
            fit = [a for a in accounts if all(found.ok for found in budget.check(a))]
            if not fit:
                with pytest.raises(InfeasibleBudget):
                    design(shape, classes, budget, space=SMALL, objective=goal)
                continue
            found = design(shape, classes, budget, space=SMALL, objective=goal)
            assert found.proven
            assert figure_of("latency", found[0].account, setting) <= most
            assert brute(goal, fit, setting) == brute(goal, [found[0].account], setting)


def test_limits_that_exclude_each_other_say_what_can_be_reached():
    accounts = networks(SMALL, (1, 9, 8), 3)
    setting = Setting(table=every(2))
    least = min(figure_of("latency", a, setting) for a in accounts)
    with pytest.raises(InfeasibleBudget) as caught:
        design((1, 9, 8), 3, latency=f"{least - 1} ns", table=setting.table, space=SMALL)
    assert least == caught.value.conflicts[0].best
    assert "smallest change that helps: latency at most" in str(caught.value)


def test_the_front_over_latency_is_that_of_brute_force():
    accounts = networks(SMALL, (1, 9, 8), 3)
    setting = Setting(table=every(3))
    points = {(a.macs, figure_of("latency", a, setting)) for a in accounts}
    best = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)}
    found = design(
        (1, 9, 8), 3, latency="1 s", table=setting.table, space=SMALL, pareto="max macs,latency"
    )
    assert found.proven
    assert best == {(d.account.macs, figure_of("latency", d.account, setting)) for d in found}
    assert "Latency" == found.to_table().columns[-1].name


@slow
@pytest.mark.deep
@given(every_space, st.integers(0, 99), st.sampled_from(["max macs", "max params", "min macs"]))
def test_any_space_under_any_table(drawn, seed, objective):
    space, shape, classes, accounts = drawn
    setting, goal = Setting(table=every(seed)), parse_objective(objective)
    times = [figure_of("latency", a, setting) for a in accounts]
    most = sorted(times)[len(times) // 3]
    fit = [a for a, time in zip(accounts, times, strict=True) if time <= most]
    found = design(
        shape, classes, latency=f"{most} ns", table=setting.table, space=space, objective=goal
    )
    assert found.proven
    assert max(goal.value(a) for a in fit) == goal.value(found[0].account)


def test_a_space_of_which_the_table_lacks_operators_is_refused_by_name():
    needed = operators_of_space(SMALL, (1, 9, 8), 3)
    listed = {str(o) for a in networks(SMALL, (1, 9, 8), 3) for o in operators_of(a) if o}
    assert listed <= {str(each) for each in needed}  # and those of stages that come to no end
    whole = table_of(needed)
    assert design((1, 9, 8), 3, latency="1 s", table=whole, space=SMALL).proven
    for lack, told in ((1, "[a-z_]+ [0-9]"), (4, "4 operators, such as")):
        rest = LatencyTable({}, dict([*whole.entries.items()][:-lack]))
        message = rf"table has no entry for {told}.*\. Measure what is missing with budgetnet meas"
        with pytest.raises(ArgumentError, match=message):
            design((1, 9, 8), 3, latency="1 s", table=rest, space=SMALL)
    with pytest.raises(ArgumentError, match="an objective on latency needs a table"):
        design((1, 9, 8), 3, space=SMALL, objective="min latency")
    two = [Budget(latency="1 s", table=every(seed)).limits[0] for seed in (1, 2)]
    with pytest.raises(ArgumentError, match="by one table at a time"):
        design((1, 9, 8), 3, Budget(*two), space=SMALL)


def test_rescale_keeps_to_widths_that_the_table_knows():
    shape = (1, 12, 12)
    known = [plan(f"c{a} c{b} gap3", shape) for a in (4, 8, 12) for b in (4, 8, 12)]
    table = table_of({o for account in known for o in operators_of(account)}, seed=5)
    times = {str(a.spec): latency_of(a, table).ns for a in known}
    for most in sorted(times.values()):
        found = rescale("c8 c8 gap3", shape, latency=f"{most} ns", table=table)
        fit = {spec: ns for spec, ns in times.items() if ns <= most}
        assert str(found.spec) in fit
        assert found.proven
    with pytest.raises(InfeasibleBudget):
        rescale("c8 c8 gap3", shape, latency=f"{min(times.values()) - 1} ns", table=table)
    with pytest.raises(ArgumentError, match="table has no entry for"):
        rescale("c9 c8 gap3", shape, latency="1 s", table=table)


# ------------------------------------------------------------------ measuring


def test_measuring_a_small_network():
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    seen = []
    table = measure("c4 p c6 gap3", (1, 12, 12), threads=1, quick=True, watch=seen.append)
    assert before == torch.get_num_threads()
    assert torch.equal(state, torch.random.get_rng_state())
    account = plan("c4 p c6 gap3", (1, 12, 12))
    assert {str(each) for each in operators_of(account)} == {*table.entries}
    for entry in table.entries.values():
        assert 0 < entry.low_ns <= entry.median_ns <= entry.high_ns < 10**9
        assert 12 == entry.samples
    assert "1" == table.machine["threads"]
    assert torch.__version__ == table.machine["torch"]
    assert Measuring(10, 0, 10 * 15) == seen[0]
    assert latency(account, table=table).ns > 0
    more = measure("c4 p c6 gap2", (1, 12, 12), threads=1, quick=True, table=table)
    assert table.entries == {key: more.entries[key] for key in table.entries}  # not again
    assert 3 == len(more.entries) - len(table.entries)
    again = measure(latency("c7 gap2", (1, 12, 12), table=more).missing, threads=1, quick=True)
    assert 6 == len(again.entries)


def test_ctrl_c_keeps_what_was_measured():
    def stop(now):
        if now.calls >= 10 * 8:
            raise KeyboardInterrupt

    table = measure("c4 p c6 gap3", (1, 12, 12), threads=1, watch=stop)
    assert {5} == {entry.samples for entry in table.entries.values()}

    def at_once(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure("c4 gap3", (1, 12, 12), threads=1, watch=at_once)


def test_what_cannot_be_measured_is_left_out_and_refused_by_name():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1))
    assert 1 == len(measure(net, (1, 5, 5), threads=1, quick=True).entries)
    for threads in (0, True, "2", 10**6):
        with pytest.raises(ArgumentError, match=r"threads=.* is not valid"):
            measure("c4 gap3", (1, 12, 12), threads=threads)
    other = LatencyTable(machine_of(1) | {"torch": "1.13"}, {}, "old.json")
    with pytest.raises(ArgumentError, match=r"old.json was measured otherwise \(torch 1\.13 there"):
        measure("c4 gap3", (1, 12, 12), threads=1, table=other)


# ------------------------------------------------------------------ files and the command


def test_a_table_of_the_first_release_is_read():
    table = LatencyTable.load(GOLDEN)
    assert LatencyTable.from_json(table.to_json()) == table
    assert hash(LatencyTable.from_json(table.to_json())) == hash(table)
    assert "LatencyTable('latency_table_1.json', 10 operators)" == repr(table)
    assert table != LatencyTable(table.machine, {}) != 3


def edited(**changes):
    data = json.loads(GOLDEN.read_text())
    key = next(iter(data["operators"]))
    for name, value in changes.items():
        if name in data:
            data[name] = value
        else:
            data["operators"][key][name] = value
    return json.dumps(data)


BAD = {
    "not JSON": ("{", "this is not JSON"),
    "another file": ('{"format": "budgetnet.account", "version": 4}', "not a table of latencies"),
    "a later version": (edited(version=2), "that this release reads"),
    "an edited time": (edited(median_ns=9_500), "not that of the content, which changed"),
    "a negative time": (edited(low_ns=-1), "low_ns is not a whole number"),
    "quartiles that cross": (edited(low_ns=20_000), "median_ns is not a whole number"),
    "no samples": (edited(samples=0), "samples is not a whole number"),
    "no operators": (edited(operators=[]), "operators is not a mapping"),
    "another operator": (edited(operators={"fly 3x3": {}}), "not by the names of operators"),
    "an empty operator": (edited(operators={" ": {}}), "not by the names of operators"),
    "a machine of numbers": (edited(machine={"threads": 1}), "machine.threads is not text"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_one_clear_line(text, message, tmp_path, capsys):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        LatencyTable.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    for call in (["account", "s6", "--table", str(file)],
                 ["check", "s6", "--latency", "5ms", "--table", str(file)],
                 ["measure", "c4 gap2", "--input", "1x8x8", "-o", str(file)]):  # fmt: skip
        assert 2 == main(call)
        told = capsys.readouterr().err
        assert 1 == told.count("\n")
        assert message in told
    assert text == file.read_text()


def test_damaged_tables_are_refused_or_the_same():
    good = json.loads(GOLDEN.read_text())
    rng = random.Random(5)
    for _ in range(150):
        with suppress(FormatError):  # or else nothing that counts was damaged
            table = LatencyTable.from_json(damage.damaged_json(good, rng))
            assert table == LatencyTable.from_dict(good)


def test_the_command_writes_adds_and_estimates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 0 == main(["measure", "c4 gap2", "--input", "1x8x8", "--quick", "-o", "t.json"])
    assert "wrote t.json: 6 operators measured\n" == capsys.readouterr().out
    first = LatencyTable.load("t.json")
    assert 0 == main(["measure", "c4 c4 gap2", "--input", "1x8x8", "--quick", "-o", "t.json"])
    assert "wrote t.json: 6 operators measured, 6 kept\n" == capsys.readouterr().out
    assert first.entries.items() <= LatencyTable.load("t.json").entries.items()
    assert 2 == main(["measure", "c4 gap2", "--input", "1x8x8", "--threads", "7", "-o", "t.json"])
    assert "t.json was measured otherwise (threads 1 there, 7 here)" in capsys.readouterr().err
    assert 0 == main(["account", "c4 gap2", "--input", "1x8x8", "--table", "t.json"])
    out = capsys.readouterr().out
    assert "Latency" in out
    assert "latency: an estimate" in out
    call = ["account", "c4 gap2", "--input", "1x8x8", "--table", "t.json", "--format", "json"]
    assert 0 == main(call)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert first.entries == {row["operator"]: Entry(**row["entry"]) for row in rows}


def test_the_command_measures_a_space_for_design(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = ["--input", "1x8x8", "--classes", "2", "--widths", "2,3", "--convs", "1..2"]
    design_it = ["design", *space, "--latency", "1s", "--table", "t.json", "--format", "json"]
    assert 0 == main(["measure", "c2 gap2", "--input", "1x8x8", "--quick", "-o", "t.json"])
    assert 2 == main(design_it)
    assert "Measure what is missing with budgetnet measure" in capsys.readouterr().err
    assert 0 == main(["measure", *space, "--quick", "-o", "t.json"])
    capsys.readouterr()
    assert 0 == main(design_it)
    assert json.loads(capsys.readouterr().out)["proven"]
    for wrong in (["c4 gap2", *space], space[:2], space[2:4], [*space, "--set", "a=1"]):
        assert 2 == main(["measure", *wrong, "-o", "t.json"])
        assert 1 == capsys.readouterr().err.count("\n")
