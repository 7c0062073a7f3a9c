"""Accounts held against PyTorch's own database of modules, as built and changed afterwards."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetnet.trace.shortcuts import SHORTCUTS

ROOT = Path(__file__).resolve().parents[1]
STATED = json.loads((ROOT / "docs" / "results" / "operators.json").read_text())["modules"]
# Tried in every run; the others by `pytest --deep`.
FAST = {f"nn.{cls.__name__}" for cls in SHORTCUTS} & STATED.keys()


@pytest.fixture
def modules(of_database):
    return of_database("modules")


@functools.cache
def database():
    import modules

    return modules.database()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.deep) for n in STATED]
)
def test_shortcuts_and_rules_and_the_module_agree_on(name, modules):
    info = database().get(name)
    if info is None:
        pytest.skip("this PyTorch has no such module")
    verdicts = [modules.judge(case) for case in modules.cases_of(info) if case is not None]
    wrong = ("differs", "wrong", "crashed", "accepted")
    if name == "nn.MultiheadAttention":  # a changed bias is turned down inside its fast path
        wrong = wrong[:-1]
    assert [] == [str(verdict) for verdict in verdicts if verdict.outcome in wrong]


def test_the_oracle_sees_a_broken_shortcut(modules, monkeypatch):
    case = modules.Case("", nn.Conv2d(1, 2, 3), (torch.rand(1, 1, 5, 5),))
    assert "right" == modules.judge(case).outcome
    monkeypatch.setitem(SHORTCUTS, nn.Conv2d, SHORTCUTS[nn.ReLU])
    assert "differs" == modules.judge(case).outcome
    monkeypatch.setitem(SHORTCUTS, nn.Conv2d, lambda layer, x: layer.nothing)
    assert "crashed" == modules.judge(case).outcome


class Choosy(nn.Module):
    """Runs under `account` alone, or with another shape there."""

    def __init__(self, raises):
        super().__init__()
        self.raises = raises

    def forward(self, x):
        if type(x) is not torch.Tensor:
            return x.relu()
        if self.raises:
            raise ValueError("not with numbers")
        return x[..., 0]


@pytest.mark.parametrize(("raises", "expected"), [(True, "accepted"), (False, "wrong")])
def test_the_oracle_sees_what_the_module_does_not_do(raises, expected, modules):
    case = modules.Case("", Choosy(raises), (torch.rand(1, 1, 5, 5),))
    assert expected == modules.judge(case).outcome


def test_every_kind_of_attribute_is_changed(modules):
    changes = [change for change, _ in modules.changes_of(nn.Conv2d(2, 4, 3, padding=1))]
    for said in ("groups=2", "kernel_size=(4, 3)", "padding='same'", "stride=1", "weight of (5, "):
        assert any(change.startswith(said) for change in changes), said
    assert "padding_mode='reflect', not 'zeros'" in changes
