"""CNN building blocks whose parameters, MACs and receptive field are known before a weight exists.

A Spec is planned, a Module is traced; both give an Account:

    budgetnet.plan("c16 c16 p c16 gap10", (1, 28, 28))   # no torch
    budgetnet.account(model, (1, 28, 28))                # any nn.Module

The other way round, from a budget to networks:

    budgetnet.design((1, 28, 28), 10, params="8k", receptive_field=22)
"""

from __future__ import annotations

from importlib import import_module as _import
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import blocks, errors, models, report, testing
    from .accounting.account import Account
    from .accounting.geometry import Sliding
    from .accounting.receptive_field import ReceptiveField
    from .accounting.rows import Row
    from .accounting.window import Window
    from .budget.budget import Budget, BudgetExceeded, assert_budget
    from .budget.hints import find_hints
    from .budget.limits import Finding
    from .deploy.export import to_onnx, to_program
    from .deploy.folding import Fold, find_folds, fold_batchnorm
    from .designer.answers import Design, Designs
    from .designer.design import design
    from .designer.infeasible import InfeasibleBudget
    from .designer.marginal_costs import marginal_costs
    from .designer.rescale import rescale
    from .designer.space import SearchSpace
    from .spec.plan import Spec, plan
    from .spec.source import to_python
    from .trace import rules
    from .trace.account import account
    from .trace.rules import rule

# Names are imported on first use, so that the command line starts without torch.
_HOMES = {
    "Account": "accounting.account",
    "Budget": "budget.budget",
    "BudgetExceeded": "budget.budget",
    "Design": "designer.answers",
    "Designs": "designer.answers",
    "Finding": "budget.limits",
    "Fold": "deploy.folding",
    "InfeasibleBudget": "designer.infeasible",
    "ReceptiveField": "accounting.receptive_field",
    "Row": "accounting.rows",
    "SearchSpace": "designer.space",
    "Sliding": "accounting.geometry",
    "Spec": "spec.plan",
    "Window": "accounting.window",
    "account": "trace.account",
    "assert_budget": "budget.budget",
    "design": "designer.design",
    "find_folds": "deploy.folding",
    "find_hints": "budget.hints",
    "fold_batchnorm": "deploy.folding",
    "marginal_costs": "designer.marginal_costs",
    "plan": "spec.plan",
    "rescale": "designer.rescale",
    "rule": "trace.rules",
    "to_onnx": "deploy.export",
    "to_program": "deploy.export",
    "to_python": "spec.source",
}
_NAMESPACES = {
    "blocks": "blocks",
    "errors": "errors",
    "models": "models",
    "report": "report",
    "rules": "trace.rules",
    "testing": "testing",
}
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
    "assert_budget",
    "blocks",
    "design",
    "errors",
    "find_folds",
    "find_hints",
    "fold_batchnorm",
    "marginal_costs",
    "models",
    "plan",
    "report",
    "rescale",
    "rule",
    "rules",
    "testing",
    "to_onnx",
    "to_program",
    "to_python",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(_import(f".{_HOMES[name]}", __name__), name)
    elif name in _NAMESPACES:
        value = _import(f".{_NAMESPACES[name]}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
