"""Roles: what a row is, as stated by the rule or stage that made it; names decide nothing."""

from __future__ import annotations

from math import prod

from .geometry import Sliding

ROLES = {
    "convolution": "weights that slide over a map, also at places that offsets give",
    "transposed convolution": "weights that every position of a map spreads over the output",
    "linear": "a matrix of weights on each vector",
    "product": "a matrix product that no one matrix of weights has part in, as in attention",
    "recurrent": "weights that step through a sequence",
    "batch norm": "scale and shift of each channel by its statistics over a batch",
    "norm": "any other norm, such as those of layers, groups and instances",
    "relu": "max(x, 0) of each element, the activation of specs",
    "activation": "any other nonlinear function of each element, such as GELU and ReLU6",
    "squashing": "one that gives values of a range, such as sigmoid, tanh and softmax",
    "pointwise": "any other function of each element, constants included",
    "dropout": "dropout, which does nothing at inference",
    "identity": "an `nn.Identity`; `Account.layers` leaves it out",
    "max pooling": "the largest of each window, or of the map",
    "average pooling": "the mean of each window, or of the map",
    "reduction": "sums, means and the like that channels have part in, and other statistics",
    "join": "branches made one: added, multiplied, concatenated",
    "reshape": "views, slices, permutations, copies; also a module that gave its input back",
    "padding": "a map made larger, or cropped",
    "resizing": "a map interpolated to another size",
    "composite": "several operations of a module without children, or of a sum of rows",
    "other": "any other operation",
}
WEIGHTED = frozenset({"convolution", "transposed convolution", "linear"})
POOLING = frozenset({"max pooling", "average pooling"})


def contradiction(
    role: str,
    has_bias: bool | None,
    weight_shape: tuple[int, ...],
    macs: int | None,
    sliding: Sliding | None,
) -> str:
    """Why the facts of a row contradict each other, as in "weight_shape is ..."; "" if they do not.

    >>> contradiction("linear", True, (3, 5), 15, None)
    ''
    >>> contradiction("linear", None, (3, 5), 16, None)
    'weight_shape is not valid: 16 MACs are not a multiple of 15 weights'
    """
    if role and role not in ROLES:
        return f"role is not one of {', '.join(ROLES)}"
    if role not in WEIGHTED and (weight_shape or has_bias is not None):
        return f"{'weight_shape' if weight_shape else 'has_bias'} is set on a row without weights"
    if not weight_shape:
        return ""
    if (len(weight_shape) == 2) is not (role == "linear") or len(weight_shape) < 2:
        return f"weight_shape is not valid for a {role}"
    if sliding is not None and sliding.kernel != weight_shape[2:]:
        return "weight_shape is not consistent with the kernel"
    count = prod(weight_shape)
    if macs and (not count or macs % count):
        return f"weight_shape is not valid: {macs:,} MACs are not a multiple of {count:,} weights"
    return ""
