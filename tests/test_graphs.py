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


NAMED = ("different rates", "have read differently", "no axis of the map")
COMPARING = {"masked", "where", "compared"}  # a NaN does not pass a comparison


def path(graph):
    """Names of the steps that lead to the output, along the first source of each."""
    place, names = len(graph.steps), []
    while place:
        name, sources, _ = graph.steps[place - 1]
        names.append(name)
        place = sources[0]
    return names


@torch.no_grad()
def changed_footprint(graph, shape, trials=2):
    """Which inputs change each output unit when they are replaced, as `nan_footprint` gives it."""
    net, generator = copy.deepcopy(graph).double().eval(), torch.Generator().manual_seed(0)
    _, height, width = shape
    found = None
    for _ in range(trials):
        x = torch.rand(1, *shape, dtype=torch.float64, generator=generator)
        for value in (-50.0, 50.0):
            every = x.repeat(height * width, 1, 1, 1)
            before = net(every)
            for place in range(height * width):
                every[place, :, place // width, place % width] = value
            hit = net(every).ne(before).any(1)
            found = hit if found is None else found | hit
    return found.view(height, width, *found.shape[1:]).permute(2, 3, 0, 1).numpy()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_every_unit_of_every_graph(drawn):
    graph, shape = drawn
    note(f"{graph.steps}\n{graph.layers} on {shape}")
    assume(graph.steps)
    torch.manual_seed(0)
    for weight in graph.parameters():
        nn.init.normal_(weight)
    with torch.no_grad():
        real = graph.eval()(torch.rand(1, *shape))
    try:
        result = account(graph, shape)
    except (StrideMismatch, UnsupportedOp) as error:
        # What no window can describe is refused by name; nothing else may be.
        event(type(error).__name__)
        named = any(reason in str(error) for reason in NAMED)
        if not named:
            raise
        return
    assert tuple(real.shape[1:]) == result.output_shape
    border = units_that_padding_reaches(graph, shape)
    upper = nan_footprint(graph, shape)
    # A NaN passes a weight of zero, as linear upsampling has at the border; a gradient passes a max
    # pooling at one place only. Each oracle is exact where the other is not.
    names = {name for name, _, _ in graph.steps}
    lower = gradient_footprint(graph, shape) | changed_footprint(graph, shape)
    is_exact = names.isdisjoint(COMPARING)
    has_max = any(isinstance(layer, nn.MaxPool2d) for layer in graph.layers)
    if has_max and is_exact and names.isdisjoint(("bilinear", "clamp", "write")):
        lower = upper
    # Where a unit reads nothing along one axis, a join may list more along the other.
    is_exact = is_exact and not any(
        isinstance(layer, nn.ConvTranspose2d)
        and max(layer.stride) > 1
        and (min(layer.kernel_size) < max(layer.stride) or max(layer.dilation) > 1)
        for layer in graph.layers
    )
    # The last row of a split is that of its last part, which need not be the output.
    last = result.rows[-1]
    field = last.receptive_field if last.is_global else result.receptive_field
    # Of a map joined with itself turned around, the row tells what all of it has read together.
    is_exact = is_exact and not (last.is_global and "transpose" in names)
    for unit in np.ndindex(*border.shape):
        every = field.reads(*unit)
        for axis, reads in enumerate(every):
            if not all(every):  # nothing along one axis is nothing at all
                reads = frozenset()
            low = set(np.flatnonzero(lower[unit].any(axis=1 - axis)).tolist())
            high = set(np.flatnonzero(upper[unit].any(axis=1 - axis)).tolist())
            assert low <= reads, f"{unit} axis {axis}: reads {sorted(low)}, not {sorted(reads)}"
            if is_exact and not border[unit]:
                assert reads <= high, f"{unit} axis {axis}: {sorted(reads)}, not {sorted(high)}"
