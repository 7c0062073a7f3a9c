"""The designer against brute force over spaces that can be listed."""

import os
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from enumeration import networks, skeleton
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from budgetnet import Budget, SearchSpace, design
from budgetnet.designer import search
from budgetnet.designer.costs import COUNTED
from budgetnet.designer.infeasible import InfeasibleBudget, Side
from budgetnet.designer.kinds import KINDS
from budgetnet.designer.objectives import figure_of, parse_objective
from budgetnet.designer.skeletons import count_networks
from budgetnet.designer.space import HEADS

FIGURES = (*COUNTED, "trainable_params")  # which a search takes for params

EXAMPLES = int(os.environ.get("BUDGETNET_SPACES", "30"))
LARGEST = 500 if "BUDGETNET_SPACES" not in os.environ else 40_000
slow = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck)
)  # fmt: skip


class Drawn(NamedTuple):
    """A space with all of its networks, which would fill a screen if they were printed."""

    space: SearchSpace
    shape: tuple[int, ...]
    classes: int
    accounts: list

    def __repr__(self):
        return f"{self.space} on {self.shape} to {self.classes}: {len(self.accounts)} networks"


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted).map(tuple)


def some(*values):
    return st.lists(st.sampled_from(values), min_size=1, unique=True).map(tuple)


@st.composite
def spaces(draw):
    paddings = draw(some("valid", "same"))
    kernels = (1, 3, 5) if "same" in paddings else (1, 2, 3, 5)
    shape = (draw(st.integers(1, 3)), draw(st.integers(5, 14)), draw(st.integers(5, 14)))
    space = SearchSpace(
        widths=draw(some(*range(1, 9))),
        kernels=draw(some(*kernels)),
        kinds=draw(some("plain", "separable")),
        paddings=paddings,
        convs=draw(pairs(1, 4)),
        stage_convs=draw(pairs(0, 3)),
        downsamples=draw(pairs(0, 2)),
        positions=draw(st.just(()) | some(0, 1, 2, 3)),
        downsampling=draw(some("pool", "stride")),
        transitions=draw(st.booleans()),
        monotone=draw(st.booleans()),
        uniform=draw(st.booleans()),
    )
    return all_of(draw, space, shape)


def all_of(draw, space, shape):
    """A space with its networks, if these are neither none nor too many."""
    classes = draw(st.integers(1, 10))
    assume(1 <= count_networks(space, shape, classes) <= LARGEST)
    return Drawn(space, shape, classes, networks(space, shape, classes))


def blocks(draw, **more):
    """Options of spaces of blocks, few enough of each to be listed."""
    heads = draw(some(*HEADS))
    return more | {
        "widths": draw(st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True)),
        "kernels": draw(some(1, 3, 5)),
        "expansions": draw(some(1, 2, 0.5, 1.5)),
        "squeeze_excite": draw(some(0, 0.25, 2)),
        "activation": draw(st.sampled_from(["relu", "hardswish"])),
        "heads": heads,
        "head_widths": draw(st.just(()) | some(3, 9)) if "conv-fc" in heads else (),
        "stem_kernels": draw(st.just(()) | some(3, 5)),
        "monotone": draw(st.booleans()),
        "resolutions": draw(st.just(()) | some(6, 7, 9)),
    }


@st.composite
def spaces_of_blocks(draw):
    """Chains of blocks with downsamplings at any place."""
    kinds = draw(some(*KINDS))
    space = SearchSpace(**blocks(
        draw, kinds=kinds, convs=draw(pairs(1, 3)), stage_convs=draw(pairs(0, 2)),
        downsamples=draw(pairs(0, 2)), paddings=draw(st.sampled_from(["same", ("valid", "same")])),
        downsampling=draw(some("pool", "average", "stride")), transitions=draw(st.booleans()),
        uniform=draw(st.booleans()) and "dense" not in kinds,
        growths=draw(some(1, 2, 3)), dense_layers=draw(some(1, 2)),
    ))  # fmt: skip
    return all_of(draw, space, (draw(st.integers(1, 3)), 7, 8))


@st.composite
def spaces_of_stages(draw):
    """Stages that have their strides, with widths of their own or multiplied."""
    strides = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    options = blocks(
        draw, kinds=draw(some(*[kind for kind in KINDS if kind != "dense"])), strides=strides,
        stage_convs=draw(pairs(1, 2)), stem_stride=draw(st.integers(1, 2)),
        output_stride=draw(st.sampled_from([None, 1, 2, 4])), uniform=True,
        stem_widths=draw(st.just(()) | some(2, 3)),
    )  # fmt: skip
    options["uniform"] = (
        options["output_stride"] is not None or 1 in strides[1:] or draw(st.booleans())
    )
    if draw(st.booleans()):
        each = st.lists(st.integers(1, 12), min_size=1, max_size=2)
        options["stage_widths"] = [draw(each) for _ in strides]
    if draw(st.booleans()):
        options["stem_widths"] = 4
        options["stage_widths"] = [[draw(st.integers(1, 12))] for _ in strides]
        options["width_multipliers"] = draw(some(0.5, 0.75, 1, 2))
    return all_of(draw, SearchSpace(**options), (draw(st.integers(1, 3)), 12, 9))


every_space = spaces() | spaces_of_blocks() | spaces_of_stages()


@st.composite
def budgets(draw, accounts):
    """Limits at or beside the figures of networks that exist, so that they bind."""
    limits = {}
    for name in draw(st.lists(st.sampled_from(list(FIGURES)), unique=True, max_size=4)):
        values = [figure_of(name, draw(st.sampled_from(accounts))) for _ in range(2)]
        low, high = sorted(max(0, value + draw(st.integers(-1, 1))) for value in values)
        limits[name] = draw(st.sampled_from([(low, high), (0, high), (low, 10**9)]))
    return Budget.from_dict(limits)


weights = st.dictionaries(
    st.sampled_from(list(FIGURES)), st.sampled_from([-7, -1, "0.5", "1/3", 2, 100]), min_size=1
)
objectives = weights | st.tuples(
    st.sampled_from(("max", "min")), st.sampled_from(list(FIGURES))
).map(" ".join)  # fmt: skip


def key(goal, account):
    return (-goal.value(account), account.macs, account.params)


def named(account):
    return account.name, account.input_shape


def meets(budget, account):
    return all(finding.ok for finding in budget.check(account))


@slow
@given(every_space)
def test_the_size_of_a_space_is_the_number_of_its_networks(drawn):
    space, shape, classes, accounts = drawn
    assert len(accounts) == count_networks(space, shape, classes)


@slow
@given(st.data(), every_space, objectives, st.integers(1, 4))
def test_the_answer_is_that_of_brute_force(data, drawn, objective, top):
    space, shape, classes, accounts = drawn
    budget = data.draw(budgets(accounts))
    goal = parse_objective(objective)
    fit = [account for account in accounts if meets(budget, account)]
    best = {}
    for account in sorted(fit, key=lambda a: key(goal, a)):
        best.setdefault(skeleton(account), key(goal, account))
    expected = sorted(best.values())[:top]
    if not fit:
        with pytest.raises(InfeasibleBudget) as caught:
            design(shape, classes, budget, space=space, objective=objective, top=top)
        check_diagnosis(caught.value, budget, accounts)
        return
    found = design(shape, classes, budget, space=space, objective=objective, top=top)
    assert found.proven
    assert expected == [key(goal, design.account) for design in found]
    assert len({skeleton(design.account) for design in found}) == len(found)
    assert {named(design.account) for design in found} <= set(map(named, fit))
    assert float(-expected[0][0]) == pytest.approx(found.at_most)


def check_diagnosis(error, budget, accounts):
    conflict = [Side(c.name, *side_of(c)) for c in error.conflicts]
    assert conflict
    assert not any(all(holds(side, a) for side in conflict) for a in accounts)
    for i in range(len(conflict)):  # and without any one of them the rest can be met
        rest = conflict[:i] + conflict[i + 1 :]
        assert any(all(holds(side, a) for side in rest) for a in accounts)
    sides = merged(budget)
    nearest = []
    for found, side in zip(error.conflicts, conflict, strict=True):
        others = [other for other in sides if other != side]
        values = [figure_of(side.name, a) for a in accounts if all(holds(o, a) for o in others)]
        expected = None if not values else min(values) if side.low is None else max(values)
        assert expected == found.best
        if values:
            nearest.append(Fraction(abs(expected - side.bound), max(1, side.bound)))
    relaxed = error.relaxation
    changed = dict(relaxed.limits)
    if nearest:
        assert len(changed) == 1
        assert min(nearest) in {
            Fraction(abs(c.best - c.bound), max(1, c.bound))
            for c in error.conflicts if c.best is not None and c.best == changed.get(c.name)
        }  # fmt: skip
    assert named(relaxed.design.account) in set(map(named, accounts))


def side_of(conflict):
    low = "at least" in conflict.limit
    return (conflict.bound, None) if low else (None, conflict.bound)


def merged(budget):
    """The sides of all limits; parameters and trainable ones are the same in a design."""
    lows, highs = {}, {}
    for limit in budget.limits:
        name = "params" if limit.name == "trainable_params" else limit.name
        if limit.low is not None:
            lows[name] = max(limit.low, lows.get(name, 0))
        if limit.high is not None:
            highs[name] = min(limit.high, highs.get(name, limit.high))
    return [Side(n, v, None) for n, v in lows.items()] + [
        Side(n, None, v) for n, v in highs.items()
    ]


def holds(side, account):
    value = figure_of(side.name, account)
    return value >= side.low if side.high is None else value <= side.high


@slow
@given(st.data(), every_space)
def test_the_front_is_that_of_brute_force(data, drawn):
    space, shape, classes, accounts = drawn
    budget = data.draw(budgets(accounts))
    names = data.draw(st.lists(
        st.sampled_from([n for n in FIGURES if n != "trainable_params"]),
        unique=True, min_size=2, max_size=3,
    ))  # fmt: skip
    ways = [data.draw(st.sampled_from([1, -1])) for _ in names]
    points = {
        tuple(way * figure_of(name, a) for way, name in zip(ways, names, strict=True))
        for a in accounts if meets(budget, a)
    }  # fmt: skip
    assume(points)
    table = np.array(sorted(points))
    expected = {
        tuple(point) for point in table.tolist()
        if not ((table <= point).all(1) & (table < point).any(1)).any()
    }  # fmt: skip
    assume(len(expected) <= 40)
    goals = [f"{'min' if way > 0 else 'max'} {name}" for way, name in zip(ways, names, strict=True)]
    found = design(shape, classes, budget, space=space, pareto=goals)
    assert expected == {
        tuple(way * figure_of(name, d.account) for way, name in zip(ways, names, strict=True))
        for d in found
    }
    assert found.proven
    assert len(found) == len(expected)


SMALL = SearchSpace(
    widths=(2, 3, 5), kinds=("plain", "separable"), paddings=("valid", "same"), convs=(1, 3),
    stage_convs=(0, 2), downsamples=(0, 1), downsampling=("pool", "stride"),
)  # fmt: skip


def test_a_pooling_that_comes_first_doubles_the_stride():
    found = design((1, 9, 8), 3, receptive_field=6, space=SMALL, objective="min macs")
    assert ("p c2 gap3", 96) == (str(found[0].spec), found[0].account.macs)


@pytest.mark.deep
def test_every_figure_limits_every_objective():
    """Each figure as a limit, at values that networks have, with each objective."""
    shape, classes = (1, 9, 8), 3
    accounts = networks(SMALL, shape, classes)
    assert 400 < len(accounts) < 1_000
    figures = {name: [figure_of(name, a) for a in accounts] for name in FIGURES}
    for limited, values in figures.items():
        steps = sorted(set(values))
        for bound in {steps[0], steps[len(steps) // 3], steps[-1]}:
            for low, high in ((0, bound), (bound, 10**9)):
                budget = Budget.from_dict({limited: (low, high)})
                fit = [a for a, value in zip(accounts, values, strict=True) if low <= value <= high]
                for name in FIGURES:
                    for way in ("max", "min"):
                        goal = parse_objective(f"{way} {name}")
                        found = design(shape, classes, budget, space=SMALL, objective=goal)
                        expected = min(key(goal, a) for a in fit)
                        assert (limited, low, high, goal.text, expected) == (
                            limited, low, high, goal.text, key(goal, found[0].account)
                        )  # fmt: skip


@pytest.mark.parametrize("top", [1, 3])
def test_little_room_changes_no_answer(top, monkeypatch):
    """Setting labels aside, turning to them later, and making them in small parts."""
    monkeypatch.setattr(search, "ROOM", (2, 5))
    monkeypatch.setattr(search, "CHUNK", 7)
    check_all(top, "max params", "max macs", "min macs", "max depth")


def test_ties_that_64_bits_do_not_hold_are_broken_too():
    """Weights so large that MACs and parameters are not folded into the worth."""
    check_all(1, {"depth": 10**15, "receptive_field": -(10**14)}, {"receptive_field": 10**15})


def check_all(top, *objectives):
    shape, classes = (1, 9, 8), 3
    accounts = networks(SMALL, shape, classes)
    for limits in ({}, {"params": 150}, {"params": (100, 170), "macs": 4_000}, {"macs": 2_500}):
        budget = Budget.from_dict(limits)
        fit = [account for account in accounts if meets(budget, account)]
        for objective in objectives:
            goal, best = parse_objective(objective), {}
            for account in sorted(fit, key=lambda a: key(goal, a)):
                best.setdefault(skeleton(account), key(goal, account))
            found = design(shape, classes, budget, space=SMALL, objective=goal, top=top)
            assert found.proven
            assert sorted(best.values())[:top] == [key(goal, d.account) for d in found]


LARGE = SearchSpace(
    widths=(3, 4, 7), kernels=(1, 3), transitions=False, paddings=("valid", "same"), convs=(2, 4),
    stage_convs=(0, 3), downsamples=(0, 2), downsampling=("pool", "stride"),
)  # fmt: skip


@pytest.fixture(scope="module")
def large():
    """All networks of a space of tens of thousands, and a table of their figures."""
    accounts = networks(LARGE, (2, 13, 11), 4)
    assert 20_000 < len(accounts) < 40_000
    return np.array([[figure_of(name, a) for name in FIGURES] for a in accounts], np.int64)


@pytest.mark.deep
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), objective=objectives)
def test_tens_of_thousands_of_networks(large, data, objective):
    names = list(FIGURES)
    limits, within = {}, np.ones(len(large), bool)
    for name in data.draw(st.lists(st.sampled_from(names), unique=True, max_size=3)):
        values = large[:, names.index(name)]
        picks = [int(values[data.draw(st.integers(0, len(large) - 1))]) for _ in range(2)]
        low, high = data.draw(st.sampled_from([sorted(picks), (0, picks[0]), (picks[0], 10**9)]))
        limits[name] = (low, high)
        within &= (low <= values) & (values <= high)
    goal = parse_objective(objective)
    _, weights = goal.scaled()
    worth = sum(weight * large[:, names.index(name)] for name, weight in weights.items())
    order = np.lexsort((large[:, 0], large[:, names.index("macs")], -worth))
    order = order[within[order]]
    try:
        found = design((2, 13, 11), 4, Budget.from_dict(limits), space=LARGE, objective=goal)
    except InfeasibleBudget:
        assert not len(order)
        return
    best = large[order[0]]
    assert found.proven
    assert [worth[order[0]], best[names.index("macs")], best[0]] == [
        goal.value(found[0].account) * goal.scaled()[0],
        found[0].account.macs,
        found[0].account.params,
    ]
