"""Random graphs, every output unit held against both oracles."""

import copy
import os

import numpy as np
import torch
from hypothesis import HealthCheck, assume, event, given, note, settings
from torch import nn

from budgetnet import account
from budgetnet.errors import StrideMismatch, UnsupportedOp
from budgetnet.testing import gradient_footprint, graphs, nan_footprint

# The suite tries few, since each takes most of a second; see CONTRIBUTING.md for more.
EXAMPLES = int(os.environ.get("BUDGETNET_GRAPHS", "40"))


def units_that_padding_reaches(graph, shape):
    """Units whose value depends on padding, found by padding with NaN."""
    poisoned = copy.deepcopy(graph).double().eval()
    poisoned.pad_value = float("nan")
    with torch.no_grad():
        return poisoned(torch.rand(1, *shape, dtype=torch.float64)).isnan().any(1)[0].numpy()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_every_unit_of_every_graph(drawn):
    graph, shape = drawn
    note(f"{graph.steps}\n{graph.layers} on {shape}")
    assume(graph.steps)
    with torch.no_grad():
        real = graph.eval()(torch.rand(1, *shape))
    try:
        result = account(graph, shape)
    except (StrideMismatch, UnsupportedOp) as error:
        # What no window can describe is refused by name; nothing else may be.
        event(type(error).__name__)
        named = "different rates" in str(error) or "have read differently" in str(error)
        if not named:
            raise
        return
    assert tuple(real.shape[1:]) == result.output_shape
    border = units_that_padding_reaches(graph, shape)
    upper = nan_footprint(graph, shape)
    # A NaN passes a weight of zero, as linear upsampling has at the border; a gradient passes a max
    # pooling at one place only. Each oracle is exact where the other is not.
    has_max = any(isinstance(layer, nn.MaxPool2d) for layer in graph.layers)
    has_zero = any(name == "bilinear" for name, _, _ in graph.steps)
    lower = upper if has_max and not has_zero else gradient_footprint(graph, shape)
    # The last row of a split is that of its last part, which need not be the output.
    last = result.rows[-1]
    field = last.receptive_field if last.is_global else result.receptive_field
    for unit in np.ndindex(*border.shape):
        every = [window.reads(i) for window, i in zip(field.axes, unit, strict=True)]
        for axis, reads in enumerate(every):
            if not all(every):  # nothing along one axis is nothing at all
                reads = frozenset()
            low = set(np.flatnonzero(lower[unit].any(axis=1 - axis)).tolist())
            high = set(np.flatnonzero(upper[unit].any(axis=1 - axis)).tolist())
            assert low <= reads, f"{unit} axis {axis}: reads {sorted(low)}, not {sorted(reads)}"
            if not border[unit]:
                assert reads <= high, f"{unit} axis {axis}: {sorted(reads)}, not {sorted(high)}"
