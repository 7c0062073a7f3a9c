"""Designs under limits on flash and RAM, against brute force and against whole deployments."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_design import every_space

from budgetnet import Budget, SearchSpace, Spec, deployment, design, plan, rescale
from budgetnet.accounting.device.deployment import deployment_of
from budgetnet.accounting.device.target import RUNTIMES, Target
from budgetnet.designer.costs import FLASH, RAM, Setting
from budgetnet.designer.each import Each, Mixed
from budgetnet.designer.graph import build, survey
from budgetnet.designer.infeasible import InfeasibleBudget
from budgetnet.designer.objectives import figure_of, parse_objective
from budgetnet.designer.search import solve
from budgetnet.designer.skeletons import SpaceChains
from budgetnet.errors import ArgumentError, SearchStopped

slow = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
targets = st.sampled_from([
    Target(runtime, dtype, kernels)
    for runtime, types in RUNTIMES.items() if runtime != "eager"
    for dtype, libraries in types.items() for kernels in libraries
])  # fmt: skip


def answer(call, *args, **more):
    """What a call returns or raises; what a runtime does with some stages is not known."""
    try:
        return call(*args, **more)
    except ArgumentError as error:
        if "needs for" not in str(error):
            raise
        assume(False)
    except (InfeasibleBudget, SearchStopped) as error:
        return error


def random_network(graph, rng):
    """Some network of a graph: the costs of its stages, and its spec."""
    ahead = graph.suffixes([np.zeros(len(level.source), np.int64) for level in graph.levels])
    state, path = 0, []
    for i, level in enumerate(graph.levels):
        if graph.ends[i][state]:
            break
        after = np.flatnonzero((level.source == state) & (ahead[i + 1][level.target] == 0))
        t = int(rng.choice(after))
        path.append((i, t))
        state = int(level.target[t])
    costs = [{name: of[t] for name, of in graph.levels[i].costs.items()} for i, t in path]
    stages = [(int(graph.levels[i].stage[t]), int(graph.levels[i].width[t])) for i, t in path]
    return costs, graph.spec(stages)


@slow
@given(every_space, targets, st.integers(0, 2**32 - 1))
def test_stages_add_up_to_what_a_whole_network_needs(drawn, target, seed):
    space, shape, classes, _ = drawn
    rng = np.random.default_rng(seed)
    for one, size in space.variants(shape)[:2]:
        chains = SpaceChains(one, size, classes, {})
        graph = answer(lambda chains=chains: build(survey(chains, setting=Setting(target))))
        assume(graph.has_networks)
        for _ in range(5):
            costs, spec = random_network(graph, rng)
            found = deployment_of(plan(spec, size), target)
            assert found.flash_bytes == sum(stage[FLASH] for stage in costs)
            assert found.ram_bound == max(stage[RAM] for stage in costs)


@st.composite
def device_budgets(draw, accounts, target):
    """Limits at or beside what networks need, so that they bind."""
    some = [deployment_of(draw(st.sampled_from(accounts)), target) for _ in range(2)]
    limits = {
        "ram": draw(st.sampled_from([each.ram_bytes for each in some]))
        + draw(st.integers(-16, 32)),
        "flash": max(each.flash_bytes for each in some) + draw(st.integers(-1, 1)),
    }
    if draw(st.booleans()):
        limits["macs"] = draw(st.sampled_from(accounts)).macs
    given = draw(st.lists(st.sampled_from(sorted(limits)), min_size=1, unique=True))
    settings = {"runtime": target.runtime, "dtype": target.dtype, "plan": target.plan}
    return Budget(**{name: limits[name] for name in given}, **settings)


@slow
@pytest.mark.deep
@given(
    st.data(), every_space, st.sampled_from(["tflm", "executorch"]), st.booleans(),
    st.sampled_from(["max macs", "min params", "max params", "macs=1,params=-20"]),
)  # fmt: skip
def test_the_answer_is_that_of_brute_force(data, drawn, runtime, least, objective):
    space, shape, classes, accounts = drawn
    assume(len(accounts) <= 200)
    target = Target(runtime, plan="least" if least and runtime == "tflm" else "own")
    assume(not any(deployment_of(account, target).assumed for account in accounts))
    budget = data.draw(device_budgets(accounts, target))
    fit = [a for a in accounts if all(f.ok for f in budget.check(a))]
    found = answer(design, shape, classes, budget, space=space, objective=objective)
    if isinstance(found, Exception):  # where plans took too much, none may have been found
        assert isinstance(found, InfeasibleBudget) or target.plan == "own"
        assert not fit or isinstance(found, SearchStopped)
        return
    goal = parse_objective(objective)
    best = max(goal.value(a) for a in fit)
    got = goal.value(found[0].account)
    assert target.plan == "own" or found.proven
    assert got == best if found.proven else got <= best <= found.at_most


@slow
@pytest.mark.deep
@given(every_space, st.sampled_from(["params", "macs", "flash"]))
def test_the_front_over_ram_is_that_of_brute_force(drawn, other):
    space, shape, classes, accounts = drawn
    assume(len(accounts) <= 150)
    target = Target(plan="least")
    assume(not any(deployment_of(account, target).assumed for account in accounts))
    way = -1 if other == "macs" else 1
    setting = Setting(target)
    points = {(way * figure_of(other, a, setting), figure_of("ram", a, setting)) for a in accounts}
    goals = [f"{'min' if way > 0 else 'max'} {other}", "ram"]
    found = answer(design, shape, classes, space=space, pareto=goals)
    expected = {
        p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
    }
    assert found.proven
    assert expected == {
        (way * figure_of(other, d.account, setting), figure_of("ram", d.account, setting))
        for d in found
    }


def test_the_least_plan_makes_room_for_a_better_network():
    limits = {"ram": "192 KiB", "flash": "512 KiB"}
    call = {"space": "mobile", "objective": "max macs"}
    least = design((3, 96, 96), 2, Budget(**limits, plan="least"), **call)
    found = deployment(least[0].spec, (3, 96, 96), plan="least")
    assert least.proven
    assert found.ram_bytes == found.ram_bound <= 192 * 1024
    assert found.flash_bytes <= 512 * 1024
    by_itself = deployment(least[0].spec, (3, 96, 96))
    assert by_itself.ram_bytes > 192 * 1024  # so that it is no answer without that plan
    assert "RAM B" in str(least)
    assert "(tflm int8, least plan)" in str(least)


def test_a_stop_while_looking_for_better_keeps_what_was_found(monkeypatch):
    """The first search refuses some and finds one; those with less RAM are stopped at once."""
    calls = []

    def stopped_later(graph, problem, *rest):
        calls.append(problem.box.get(RAM))
        if len(calls) > 1:
            raise SearchStopped("no time is left")
        return solve(graph, problem, *rest)._replace(
            proven=False, refused=(Spec.parse("c4 gap10"),)
        )

    monkeypatch.setattr("budgetnet.designer.searches.solve", stopped_later)
    found = design((1, 28, 28), 10, ram="8 KiB", params="8k", objective="max macs")
    assert 2 == len(calls)
    assert not found.proven
    assert deployment(found[0].spec, (1, 28, 28)).ram_bytes <= 8 * 1024


def test_a_board_is_a_limit_of_a_design():
    found = design((1, 28, 28), 10, board="stm32f103c8", params="20k", objective="max params")
    assert found.proven
    needs = deployment(found[0].spec, (1, 28, 28), kernels="cmsis-nn without dsp")
    assert needs.ram_bytes <= 20 * 1024
    assert needs.flash_bytes <= 64 * 1024


def test_ram_that_cannot_be_met_is_explained_by_what_is_live():
    with pytest.raises(InfeasibleBudget) as caught:
        design((1, 28, 28), 10, ram=1000, params="20k")
    (conflict,) = caught.value.conflicts
    assert conflict.name == "ram"
    assert conflict.best == deployment(conflict.design.spec, (1, 28, 28)).ram_bound > 1000
    assert "what is live at once" in str(caught.value)


def test_a_network_is_rescaled_into_flash_and_ram():
    found = rescale("mobilenet_v1_025", ram="56 KiB", plan="least", flash="100 kB", divisor=8)
    needs = deployment(found.spec, found.account.input_shape, plan="least")
    assert needs.ram_bytes <= 56 * 1024
    assert needs.flash_bytes <= 100_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"ram": ("1 kB", "2 kB")}, "design accepts only a highest RAM, not 1,000 to 2,000"),
        ({"ram": "9 kB", "objective": "min ram"}, 'design can optimise .* Add plan="least"'),
        ({"plan": "best", "ram": 1}, "'best' is not a plan of tflm.*least"),
        ({"plan": "least", "runtime": "executorch", "ram": 1}, "'least' is not a plan of exec"),
        ({"objective": "ram=-1,peak_activation_bytes=-1"}, "can follow one of"),
    ],
)
def test_what_cannot_be_asked_says_so(call, message):
    with pytest.raises(ArgumentError, match=message):
        design((1, 28, 28), 10, **call)


def test_limits_for_two_runtimes_are_refused():
    two = Budget(*Budget(ram="9 kB").limits, ram="9 kB", runtime="executorch")
    with pytest.raises(ArgumentError, match="one runtime at a time"):
        design((1, 28, 28), 10, two)


def test_eager_ram_is_the_peak_of_pytorch():
    found = design((1, 28, 28), 10, ram="60 KiB", runtime="eager", params="9k")
    assert found[0].account.peak_activation_bytes <= 60 * 1024
    same = design((1, 28, 28), 10, peak_activation_bytes="60 KiB", params="9k")
    assert found[0].spec == same[0].spec
    assert "RAM B" not in str(same)


numbers = st.lists(st.integers(-50, 50), min_size=1, max_size=4)


@given(numbers, st.integers(-9, 9))
def test_what_stands_for_many_counts_as_each_of_them(values, other):
    many = Each(np.array(values))
    assert [-(-v * 3 // 16) * 16 + other - v for v in values] == list(
        (-(-many * 3 // 16) * 16 + other - many).all
    )
    assert [True * v for v in values] == list((True * many).all)
    for test in (lambda v: v < other, lambda v: other == v, bool, lambda v: v != 3):
        truths = [test(v) for v in values]
        if len({*truths}) == 1:
            assert truths[0] == test(many)
        else:
            with pytest.raises(Mixed) as caught:
                test(many)
            assert truths == list(caught.value.where)


def test_spaces_say_which_stage_a_runtime_does_not_know():
    space = SearchSpace(kinds="dense", downsamples=0, convs=2, heads="gap")
    with pytest.raises(ArgumentError, match=r"what tflm int8 needs for .* is unknown .* fused"):
        design((1, 16, 16), 10, ram="9 kB", space=space)
