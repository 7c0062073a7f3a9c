"""CNN building blocks whose parameters, MACs and receptive field are known before a weight exists.

A Spec is planned, a Module is traced; both give an Account:

    budgetnet.plan("c16 c16 p c16 gap10", (1, 28, 28))   # no torch
    budgetnet.account(model, (1, 28, 28))                # any nn.Module
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
    "InfeasibleBudget": "designing.infeasible",
    "BudgetExceeded": "budget",
    "Finding": "limits",
    "assert_budget": "budget",
    "find_hints": "lint",
    "rule": "rules",
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
    "rules",
    "spec",
    "table",
    "testing",
)

__all__ = [
    "Account",
    "Budget",
    "BudgetExceeded",
    "Finding",
    "ReceptiveField",
    "Row",
    "Sliding",
    "Spec",
    "Window",
    "account",
    "accounting",
    "assert_budget",
    "blocks",
    "budget",
    "errors",
    "find_hints",
    "geometry",
    "limits",
    "lint",
    "models",
    "plan",
    "rule",
    "rules",
    "spec",
    "table",
    "testing",
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
        rules,
        spec,
        table,
        testing,
    )
    from .accounting import Account, Row
    from .budget import Budget, BudgetExceeded, assert_budget
    from .geometry import Sliding
    from .limits import Finding
    from .lint import find_hints
    from .receptive_field import ReceptiveField
    from .rules import rule
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
