"""Every exception and every public value crosses processes: pickled and copied with all it says."""

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil

import pytest

import budgetnet
from budgetnet import Budget, Spec, design, errors, marginal_costs, models, plan, rescale
from budgetnet.errors import shown, with_place

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: pickle.loads(
            pickle.dumps(value, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}
S6 = plan("c16 c16 c16 c16 p c16 c16 c16 gap10", (1, 28, 28), name="s6")


def modules():
    for found in pkgutil.walk_packages(budgetnet.__path__, "budgetnet."):
        yield importlib.import_module(found.name)


def exception_classes():
    """Every exception class that a module of the package defines."""
    found = {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__.startswith("budgetnet")
    }
    return sorted(found, key=lambda cls: cls.__qualname__)


def exceeded():
    with pytest.raises(budgetnet.BudgetExceeded) as caught:
        budgetnet.assert_budget(S6, budget=Budget(params="10k", macs=(0, 10)))
    return caught.value


def infeasible():
    with pytest.raises(budgetnet.InfeasibleBudget) as caught:
        design((1, 28, 28), 10, params=3)
    return caught.value


MADE = {"BudgetExceeded": exceeded, "InfeasibleBudget": infeasible}
CLASSES = exception_classes()


def test_the_walk_finds_them():
    names = {cls.__name__ for cls in CLASSES}
    assert {*errors.__all__, *MADE, "Damaged"} <= names


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_exception_comes_back_with_all_it_says(cls, way):
    error = MADE.get(cls.__name__, lambda: cls("conv3: the map is too small."))()
    error.hint = ["a caller's own"]
    error.add_note("seen on Tuesday")
    again = way(error)
    assert type(error) is type(again)
    assert (str(error), error.args) == (str(again), again.args)
    assert vars(error) == vars(again)
    assert error.hint == again.hint
    assert ["seen on Tuesday"] == again.__notes__


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_a_place_in_front_keeps_the_attributes(make):
    error = make()
    placed = with_place(error, "net.py:3")
    assert f"net.py:3: {error}" == str(placed)
    assert vars(error) == vars(placed)
    assert str(error) != str(placed)


def test_a_subclass_of_a_users_own_comes_back():
    class Wider(budgetnet.errors.ShapeError):
        def __init__(self, width, *, layer):
            super().__init__(f"{layer} is {width} wide")
            self.width = width

    again = copy.deepcopy(Wider(3, layer="conv1"))
    assert ("conv1 is 3 wide", 3) == (str(again), again.width)


def narrow(params):
    return design((1, 28, 28), 10, params=params).designs[0].account.params


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_one_infeasible_item_raises_in_the_parent(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not there")
    with multiprocessing.get_context(method).Pool(1) as pool:
        waiting = pool.map_async(narrow, [3])
        with pytest.raises(budgetnet.InfeasibleBudget, match="cannot hold") as caught:
            waiting.get(timeout=120)
    assert ["params"] == [conflict.name for conflict in caught.value.conflicts]
    assert caught.value.relaxation.design.account.params > 3


def values():
    designs = design((1, 28, 28), 10, params="8k", top=2)
    yield S6
    yield S6.rows[3]
    yield S6.receptive_field
    yield S6.receptive_field.axes[0]
    yield S6.rows[0].sliding
    yield S6.to_table()
    yield Spec.parse("c16 p ds32k5s2 gap10")
    yield Budget(params="20k", macs=(1, "4M"), receptive_field=22, require="Conv*", forbid=["Lin"])
    yield Budget(params="10k").check(S6)
    yield designs
    yield designs[0]
    yield rescale("c16 c16 gap10", (1, 28, 28), params=900)
    yield marginal_costs("c16 gap10", (1, 28, 28))
    yield budgetnet.SearchSpace()
    yield models.get_weights("s6", "mnist")
    yield models.get_reference("s6")
    yield infeasible().conflicts
    yield infeasible().relaxation


VALUES = list(values())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_value_comes_back_equal(value, way):
    again = way(value)
    assert type(value) is type(again)
    assert value == again
    assert str(value) == str(again)


def test_what_is_shown_is_one_short_line():
    class Broken:
        def __repr__(self):
            raise RuntimeError("no")

    assert "'1,5k'" == shown("1,5k")
    assert "a value of type int (ValueError)" == shown(10**5000)
    assert "a value of type Broken (RuntimeError)" == shown(Broken())
    assert 82 == len(shown("x" * 10_000_000))
    assert shown(type("Odd", (), {"__repr__": lambda self: "a\nb\x1b[31m"})()).isprintable()
