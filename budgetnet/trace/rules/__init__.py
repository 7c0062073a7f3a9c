"""What each tensor operation does to shape, receptive field and cost: one table, op to rule.

Rules are keyed by ATen operation, since PyTorch reduces the many spellings of an operation
(`nn.MaxPool2d`, `F.max_pool2d`, `torch.max_pool2d`) to one before it runs. A rule is a pure
function with the operation's own signature: activations in, an `Effect` out, or a list of them for
an operation with several results. In-place variants share the rule of their plain form.
"""

from __future__ import annotations

from .core import RULES, Activation, Effect, Operand, Rule, anywhere, of, rule, seen

from .sliding import windowed  # isort: skip - it needs core
from . import (
    choices,
    pointwise,
    products,
    recurrent,
    reductions,
    resizing,
    sampling,
    scattering,
    sliding,
    views,
)  # fmt: skip

__all__ = [
    "RULES",
    "Activation",
    "Effect",
    "Operand",
    "Rule",
    "anywhere",
    "of",
    "rule",
    "seen",
    "windowed",
]

del choices, pointwise, products, recurrent, reductions, resizing, sampling, scattering, sliding
del views
