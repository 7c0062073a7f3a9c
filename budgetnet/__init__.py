"""CNN building blocks whose parameters, MACs and receptive field are known before a weight exists.

A Spec is planned, a Module is traced; both give an Account, and a Budget judges it. The other way
round, a budget gives networks:

    budgetnet.plan("c16 c16 p c16 gap10", (1, 28, 28))                    # no torch
    budgetnet.account(model, (1, 28, 28))                                 # any nn.Module
    budgetnet.design((1, 28, 28), 10, params="8k", receptive_field=22)

What to call; help(budgetnet.plan) says more of each:

    plan            the account of a spec, by integer arithmetic
    account         the account of an nn.Module, a spec, a reference network, or a file
    assert_budget   the account of a network, held to limits
    find_hints      habits that waste parameters, or mislead about the receptive field
    design          the best networks within a budget, proven
    rescale         a network with its widths scaled to fill a budget
    marginal_costs  where the parameters went, and what one more channel costs
    to_python       a spec as source code
    deployment      the flash and RAM that a runtime needs, such as TensorFlow Lite Micro
    find_folds      which BatchNorms fold into the layer before them
    fold_batchnorm  a copy for inference with these folded
    to_onnx         an ONNX file, checked before it is put in place
    to_tflite       a .tflite file, in float32 or int8
    to_pte          an ExecuTorch program, in float32
    to_program      a torch.export program for any batch size
    tile            how a large image can be cut, and the halo that a tile needs
    tiled           a large image through a network, tile by tile
    training        what a training step needs: saved bytes, state, the peak, MACs
    measure         a table of operators, timed on this machine
    latency         the estimate that such a table gives for a network
    rule            register how an operation of one's own is accounted for

What is passed and returned:

    Account         totals, and a Row for every layer; prints as a table
    Row             one layer: parameters, MACs, output shape, receptive field
    Spec            a chain of stages; Spec.parse("c16 p gap10") reads the text form
    Budget          limits; gives a Finding for each, or raises BudgetExceeded
    Designs         what design found: each a Design; else InfeasibleBudget
    SearchSpace     what design chooses from
    Deployment      what deployment found: figures, steps, the plan of memory
    Training        what training found: rows of saved bytes, and the figures
    LatencyTable    what measure found: operators and their times
    Latency         what latency found: the sum, its rows, and what the table lacks
    Fold            what becomes of one BatchNorm
    Tiling          what tile found: sizes, halo, tiles
    ReceptiveField  made of a Window for every axis
    Sliding         kernel, stride, padding and dilation

Modules:

    models          reference networks and their weights: get_model, build, list_models
    blocks          ConvBNReLU and other modules to build networks of
    report          HTML reports and diagrams: render_html, draw_svg
    rules           rules for operations of one's own
    testing         oracles and strategies for tests
    errors          what is raised

The command line, python -m budgetnet, does the same for files and names.
"""

from __future__ import annotations

from importlib import import_module as _import
from typing import TYPE_CHECKING

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import blocks as blocks
    from . import errors as errors
    from . import models as models
    from . import report as report
    from . import testing as testing
    from .accounting.account import Account as Account
    from .accounting.geometry import Sliding as Sliding
    from .accounting.latency import Latency as Latency
    from .accounting.latency_table import LatencyTable as LatencyTable
    from .accounting.receptive_field import ReceptiveField as ReceptiveField
    from .accounting.rows import Row as Row
    from .accounting.training import Training as Training
    from .accounting.window import Window as Window
    from .budget.budget import Budget as Budget
    from .budget.budget import BudgetExceeded as BudgetExceeded
    from .budget.budget import assert_budget as assert_budget
    from .budget.hints import find_hints as find_hints
    from .budget.limits import Finding as Finding
    from .deploy.deployment import Deployment as Deployment
    from .deploy.deployment import deployment as deployment
    from .deploy.export import to_onnx as to_onnx
    from .deploy.export import to_program as to_program
    from .deploy.folding import Fold as Fold
    from .deploy.folding import find_folds as find_folds
    from .deploy.folding import fold_batchnorm as fold_batchnorm
    from .deploy.latency import latency as latency
    from .deploy.litert import to_tflite as to_tflite
    from .deploy.measuring import measure as measure
    from .deploy.pte import to_pte as to_pte
    from .deploy.tiled import tiled as tiled
    from .deploy.tiling import Tiling as Tiling
    from .deploy.tiling import tile as tile
    from .designer.answers import Design as Design
    from .designer.answers import Designs as Designs
    from .designer.design import design as design
    from .designer.infeasible import InfeasibleBudget as InfeasibleBudget
    from .designer.marginal_costs import marginal_costs as marginal_costs
    from .designer.rescale import rescale as rescale
    from .designer.space import SearchSpace as SearchSpace
    from .spec.plan import Spec as Spec
    from .spec.plan import plan as plan
    from .spec.source import to_python as to_python
    from .trace import rules as rules
    from .trace.account import account as account
    from .trace.rules import rule as rule
    from .trace.training import training as training

# Names are imported on first use, so that the command line starts without torch.
_HOMES = {
    "Account": "accounting.account",
    "Budget": "budget.budget",
    "BudgetExceeded": "budget.budget",
    "Deployment": "deploy.deployment",
    "Design": "designer.answers",
    "Designs": "designer.answers",
    "Finding": "budget.limits",
    "Fold": "deploy.folding",
    "InfeasibleBudget": "designer.infeasible",
    "Latency": "accounting.latency",
    "LatencyTable": "accounting.latency_table",
    "ReceptiveField": "accounting.receptive_field",
    "Row": "accounting.rows",
    "SearchSpace": "designer.space",
    "Sliding": "accounting.geometry",
    "Spec": "spec.plan",
    "Tiling": "deploy.tiling",
    "Training": "accounting.training",
    "Window": "accounting.window",
    "account": "trace.account",
    "assert_budget": "budget.budget",
    "deployment": "deploy.deployment",
    "design": "designer.design",
    "find_folds": "deploy.folding",
    "find_hints": "budget.hints",
    "fold_batchnorm": "deploy.folding",
    "latency": "deploy.latency",
    "marginal_costs": "designer.marginal_costs",
    "measure": "deploy.measuring",
    "plan": "spec.plan",
    "rescale": "designer.rescale",
    "rule": "trace.rules",
    "tile": "deploy.tiling",
    "tiled": "deploy.tiled",
    "to_onnx": "deploy.export",
    "to_program": "deploy.export",
    "to_python": "spec.source",
    "to_tflite": "deploy.litert",
    "to_pte": "deploy.pte",
    "training": "trace.training",
}
_NAMESPACES = {
    "blocks": "blocks",
    "errors": "errors",
    "models": "models",
    "report": "report",
    "rules": "trace.rules",
    "testing": "testing",
}


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
    # There is no __all__: with it, help(budgetnet) prints every class in full, some 2,000 lines.
    return sorted([*_HOMES, *_NAMESPACES])
