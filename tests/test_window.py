"""The laws of windows, against index sets that are enumerated one by one."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from budgetnet import Window
from budgetnet.accounting.geometry import (
    Sliding,
    ceil_size,
    conv_size,
    conv_weights,
    same_padding,
)
from budgetnet.errors import ArgumentError, ShapeError, StrideMismatch

INDEX = range(-7, 8)


@st.composite
def windows(draw, max_phases=3):
    """Any window: several phases, sets with gaps and empty ones, advances of either sign or 0."""
    phases = draw(
        st.lists(st.sets(st.integers(-6, 6), max_size=4), min_size=1, max_size=max_phases)
    )
    return Window.reading(*phases, advance=draw(st.integers(-3, 5)))


def reads(window: Window, i: int) -> set[int]:
    """The index set of one output, from the definition alone."""
    period, phase = divmod(i, len(window.phases))
    first, bits = window.phases[phase]
    places = [place for place, digit in enumerate(reversed(f"{bits:b}")) if digit == "1"]
    return {first + place + period * window.advance for place in places}


@given(windows())
def test_identity_on_both_sides(window):
    assert window == Window().then(window) == window.then(Window())


@given(windows(), windows(), windows())
def test_composition_is_associative(a, b, c):
    assert a.then(b).then(c) == a.then(b.then(c))


@given(windows(), windows())
def test_composition_reads_what_the_inner_reads_of_what_the_outer_reads(inner, outer):
    both = inner.then(outer)
    for i in INDEX:
        assert {x for j in reads(outer, i) for x in reads(inner, j)} == reads(both, i)


@given(windows(), windows())
def test_union_reads_what_either_reads(a, b):
    if a.stride != b.stride and not (a.is_empty or b.is_empty):
        with pytest.raises(StrideMismatch, match="strides"):
            a.union(b)
        return
    both = a.union(b)
    assert both == b.union(a)
    for i in INDEX:
        assert reads(a, i) | reads(b, i) == reads(both, i)


@given(st.lists(st.sets(st.integers(-9, 9)), min_size=1, max_size=4), st.integers(-3, 5))
def test_a_window_reads_the_sets_it_was_made_of(phases, advance):
    window = Window.reading(*phases, advance=advance)
    for i in INDEX:
        period, phase = divmod(i, len(phases))
        truth = {x + period * advance for x in phases[phase]}
        assert truth == window.reads(i) == reads(window, i)
        first, last = window.at(i)
        assert (last - first + 1) == (max(truth) - min(truth) + 1 if truth else 0)
        assert not truth or (min(truth), max(truth)) == (first, last)


@given(windows())
def test_runs_list_every_input_once(window):
    for i, runs in enumerate(window.runs()):
        assert sorted(reads(window, i)) == [x for lo, hi in runs for x in range(lo, hi + 1)]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_a_sliding_window_reads_its_taps(kernel, stride, padding, dilation):
    window = Window.sliding(kernel, stride, padding, dilation)
    for i in INDEX:
        assert {stride * i - padding + dilation * j for j in range(kernel)} == reads(window, i)


@given(windows())
def test_equal_windows_compare_equal(window):
    doubled = [reads(window, i) for i in range(2 * len(window.phases))]
    assert window == Window.reading(*doubled, advance=2 * window.advance)
    assert hash(window) == hash(Window.reading(*doubled, advance=2 * window.advance))


@given(windows())
def test_size_is_the_largest_extent(window):
    sets = [reads(window, i) for i in range(6)]
    assert max(max(read) - min(read) + 1 if read else 0 for read in sets) == window.size


def test_stride_is_a_fraction_only_where_it_must_be():
    assert Window.sliding(3, stride=2).stride == 2
    assert isinstance(Window.sliding(3, stride=2).stride, int)
    assert Window.reading({0}, {0}).stride == Fraction(1, 2)


def test_a_window_needs_a_phase():
    with pytest.raises(ArgumentError, match="at least one phase"):
        Window(())


@given(
    size=st.integers(1, 20), kernel=st.integers(1, 6), stride=st.integers(1, 4),
    padding=st.integers(0, 3), dilation=st.integers(1, 3), ceil=st.booleans(),
)  # fmt: skip
def test_output_size_is_torchs(size, kernel, stride, padding, dilation, ceil):
    padding = min(padding, kernel // 2)  # torch pools pad at most half the kernel
    layer = nn.MaxPool1d(kernel, stride, padding, dilation, ceil_mode=ceil)
    formula = ceil_size if ceil else conv_size
    count = formula(size, kernel, stride, (padding, padding), dilation)
    try:
        truth = layer(torch.zeros(1, 1, size)).shape[-1]
    except RuntimeError:
        truth = 0
    assert truth == max(count, 0)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_padding_is_torchs(kernel, dilation):
    layer = nn.Conv1d(1, 1, kernel, dilation=dilation, padding="same", bias=False)
    nn.init.ones_(layer.weight)
    response = layer(torch.eye(31)[15].view(1, 1, 31)).flatten().nonzero().flatten()
    lo, hi = same_padding(kernel, dilation)
    # A tap at offset x - lo sees position 15, so the impulse spreads hi before and lo after it.
    assert (15 - hi, 15 + lo) == (response.min(), response.max())


def test_formulas_take_integer_arrays():
    widths = np.array([8, 16, 32])
    assert [72, 144, 288] == conv_weights(1, widths, (3, 3)).tolist()
    assert [13, 27] == conv_size(np.array([28, 56]), 3, 2, (0, 0), 1).tolist()


def test_a_kernel_larger_than_its_map_is_refused_with_the_numbers():
    with pytest.raises(ShapeError) as caught:
        Sliding((5, 5), (1, 1), ((0, 0), (0, 0))).output_size((4, 9), where="conv3")
    assert (
        "conv3: the kernel does not fit into the map (kernel / stride / padding 5x5 / 1 / 0, "
        "map 4x9). Use a larger input, fewer strides before this layer, or more padding."
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("sliding", "text"),
    [
        (Sliding((3, 3), (1, 1), ((1, 1), (1, 1))), "3x3 / 1 / 1"),
        (Sliding((3, 5), (1, 2), ((0, 0), (2, 2))), "3x5 / 1x2 / 0x2"),
        (Sliding((4, 4), (1, 1), ((1, 2), (1, 2)), (2, 2)), "4x4 / 1 / 1+2 / d2"),
    ],
)
def test_sliding_reads_as_kernel_stride_padding(sliding, text):
    assert text == str(sliding)
