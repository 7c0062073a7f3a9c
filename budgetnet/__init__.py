"""CNN building blocks whose parameters, MACs and receptive field are known before a weight exists.

A Spec is planned, a Module is traced; both give an Account:

    budgetnet.plan("c16 c16 p c16 gap10", (1, 28, 28))   # no torch
    budgetnet.account(model, (1, 28, 28))                # any nn.Module

The other way round, from a budget to networks:

    budgetnet.design((1, 28, 28), 10, params="8k", receptive_field=22)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names are imported on first use, so that the command line starts without torch.
_HOMES = {
    "Account": "accounting",
    "ReceptiveField": "receptive_field",
    "Row": "accounting",
    "Sliding": "geometry",
    "Window": "window",
    "Spec": "spec",
    "plan": "spec",
    "account": "trace",
    "Budget": "budget",
    "SearchSpace": "designing.space",
    "design": "designer",
    "explain": "explaining",
    "fit": "fitting",
    "Design": "designing.answers",
    "Designs": "designing.answers",
    "InfeasibleBudget": "designing.infeasible",
    "to_python": "source",
    "BudgetExceeded": "budget",
    "Finding": "limits",
    "assert_budget": "budget",
    "find_hints": "lint",
    "rule": "rules",
    "Fold": "inference",
    "find_folds": "inference",
    "fold_batchnorm": "inference",
    "to_onnx": "exporting",
    "to_program": "exporting",
}
_MODULES = (
    "accounting",
    "blocks",
    "budget",
    "errors",
    "geometry",
    "limits",
    "lint",
    "models",
    "report",
    "rules",
    "spec",
    "table",
    "testing",
)

__all__ = [
    "Account",
    "Budget",
    "BudgetExceeded",
    "Design",
    "Designs",
    "Finding",
    "Fold",
    "InfeasibleBudget",
    "ReceptiveField",
    "Row",
    "SearchSpace",
    "Sliding",
    "Spec",
    "Window",
    "account",
    "accounting",
    "assert_budget",
    "blocks",
    "budget",
    "design",
    "errors",
    "explain",
    "find_folds",
    "find_hints",
    "fit",
    "fold_batchnorm",
    "geometry",
    "limits",
    "lint",
    "models",
    "plan",
    "report",
    "rule",
    "rules",
    "spec",
    "table",
    "testing",
    "to_onnx",
    "to_program",
    "to_python",
]

if TYPE_CHECKING:
    from . import (
        accounting,
        blocks,
        budget,
        errors,
        geometry,
        limits,
        lint,
        models,
        report,
        rules,
        spec,
        table,
        testing,
    )
    from .accounting import Account, Row
    from .budget import Budget, BudgetExceeded, assert_budget
    from .designer import design
    from .designing.answers import Design, Designs
    from .designing.infeasible import InfeasibleBudget
    from .designing.space import SearchSpace
    from .explaining import explain
    from .exporting import to_onnx, to_program
    from .fitting import fit
    from .geometry import Sliding
    from .inference import Fold, find_folds, fold_batchnorm
    from .limits import Finding
    from .lint import find_hints
    from .receptive_field import ReceptiveField
    from .rules import rule
    from .source import to_python
    from .spec import Spec, plan
    from .trace import account
    from .window import Window


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
