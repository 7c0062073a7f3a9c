"""Rules held against PyTorch's own database of operators, and the oracle held against bad rules."""

import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from budgetnet.accounting.window import Window
from budgetnet.errors import UnsupportedOp
from budgetnet.testing import assert_reads_match
from budgetnet.testing.operators import CannotRun, judge
from budgetnet.trace.rules import RULES
from budgetnet.trace.rules.core import of, same

ROOT = Path(__file__).resolve().parents[1]
STATED = json.loads((ROOT / "docs" / "results" / "operators.json").read_text())["operators"]
# Tried in every run; the others and more samples by `pytest --deep`.
FAST = (
    "__getitem__", "add", "addmm", "amax", "bmm", "cat", "chunk", "cumsum", "diagonal",
    "einsum", "eq", "expand", "flatten", "flip", "gather", "index_select", "logsumexp",
    "masked_fill", "matmul", "max.binary", "mean", "movedim", "mul", "narrow",
    "nn.functional.adaptive_avg_pool2d", "nn.functional.avg_pool2d", "nn.functional.batch_norm",
    "nn.functional.conv2d", "nn.functional.conv_transpose2d", "nn.functional.gelu",
    "nn.functional.group_norm", "nn.functional.interpolate.bilinear",
    "nn.functional.interpolate.nearest", "nn.functional.layer_norm", "nn.functional.linear",
    "nn.functional.max_pool2d", "nn.functional.pad.constant", "nn.functional.pixel_shuffle",
    "nn.functional.relu", "nn.functional.unfold",
    "permute", "repeat", "reshape", "roll", "softmax", "split", "squeeze", "stack", "sub", "sum",
    "transpose", "tril", "unbind", "unflatten", "unsqueeze", "var_mean", "view", "where",
)  # fmt: skip
LARGEST = 64, 200, 512  # elements; the script that counts all outcomes begins with 200
PLAIN = {"most": 3, "types": 1}  # in a plain run


@pytest.fixture
def operators(of_database):
    return of_database("operators")


@functools.cache
def database():
    import operators

    return operators.database()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.deep) for n in STATED]
)
def test_nothing_false_is_claimed_of(name, operators, pytestconfig):
    op = database().get(name)
    if op is None:
        pytest.skip("this PyTorch has no such operator")
    more = {} if pytestconfig.getoption("deep") else PLAIN
    verdicts = operators.verdicts_of(op, largest=LARGEST, **more)
    found = [verdict for verdict in verdicts if verdict is not None]
    assert [] == [str(v) for v in found if v.outcome in ("wrong", "crashed")]
    if not STATED[name]["refused"]:
        assert [] == [str(v) for v in found if v.outcome == "refused"]


def test_the_fast_ones_exist():
    assert set() == set(FAST) - STATED.keys()


def outcomes(function, *args):
    return {verdict.outcome for verdict in judge(function, args, {})}


def only_first(x, y, **_):
    return same(x) if hasattr(x, "field") else replace(same(y), field=nothing_of(y), reading=None)


def nothing_of(x):
    return replace(x.field, axes=(Window(((0, 0),)),) * len(x.field.axes))


def everything(x, *_):
    reading = of(x).gather(range(x.dim())).expand(x.shape)
    return replace(same(x), field=reading.field, reading=reading)


def fails(x, *_):
    raise KeyError("a mistake")


IMAGE = torch.rand(1, 2, 4, 4)
BROKEN = {
    "the second operand is dropped": (
        "add", only_first, torch.add, (torch.rand(2, 3), torch.rand(2, 3)), "wrong",
    ),
    "the second operand is dropped beside another": (
        "mul", lambda x, y: same(x) if hasattr(x, "field") else same(y),
        torch.mul, (torch.rand(2, 3), torch.rand(2, 3)), "wrong",
    ),
    "a pooling is taken for one of each element": (
        "avg_pool2d", lambda x, *_: replace(same(x), shape=(*x.shape[:2], 2, 2)),
        F.avg_pool2d, (IMAGE, 2), "wrong",
    ),
    "a shape": (
        "relu", lambda x: replace(same(x), shape=(*x.shape[:-1], 9)), F.relu, (IMAGE,), "wrong",
    ),
    "a transposition forgotten": (
        "permute", lambda x, *_: same(x), torch.Tensor.permute, (torch.rand(3, 3), (1, 0)), "wrong",
    ),
    "no MACs": (
        "mm", lambda x, y: everything(x if hasattr(x, "field") else y),
        torch.mm, (torch.rand(2, 2), torch.rand(2, 2)), "wrong",
    ),
    "all is claimed": ("relu", everything, F.relu, (IMAGE,), "loose"),
    "context where there is none": (
        "relu", lambda x: replace(same(x), global_context=True), F.relu, (IMAGE,), "loose",
    ),
    "an error of the rule's own": ("relu", fails, F.relu, (IMAGE,), "crashed"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_the_oracle_sees_a_broken_rule(case, monkeypatch):
    name, broken, function, args, expected = case
    assert expected not in outcomes(function, *args)
    monkeypatch.setitem(RULES, name, broken)
    assert expected in outcomes(function, *args)


def test_a_rule_of_ones_own_can_be_held_against_its_function(monkeypatch):
    assert 2 == assert_reads_match(F.max_pool2d, [IMAGE, 2])
    monkeypatch.setitem(RULES, "relu", everything)
    with pytest.raises(AssertionError, match="loose: output 0 does not seem to"):
        assert_reads_match(F.relu, [IMAGE])
    assert 2 == assert_reads_match(F.relu, [IMAGE], exact=False)
    monkeypatch.setitem(RULES, "relu", fails)
    with pytest.raises(KeyError, match="a mistake"):
        assert_reads_match(F.relu, [IMAGE])


def test_what_no_rule_covers_is_said_by_name():
    with pytest.raises(UnsupportedOp, match="nonzero"):
        assert_reads_match(torch.nonzero, [torch.ones(3)])


def test_a_function_that_does_not_run_is_no_verdict():
    with pytest.raises(CannotRun, match="RuntimeError"):
        assert_reads_match(torch.mm, [torch.rand(2, 3), torch.rand(2, 3)])
