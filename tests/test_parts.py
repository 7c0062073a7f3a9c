"""Readings in several parts, and products of activations, against the plain statement of each."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import budgetnet
from budgetnet.accounting.receptive_field import ReceptiveField
from budgetnet.accounting.window import Window
from budgetnet.errors import UnsupportedOp
from budgetnet.trace.rules.joins import join, unite
from budgetnet.trace.rules.parts import Part
from budgetnet.trace.rules.readings import CHANNEL, Reading

SIZES = (2, 3, 4)  # of the dimensions that classes are drawn for


@st.composite
def tables(draw, varying):
    """A part over factors of SIZES that varies along some of them; every window stands still."""
    shape = [n if k in varying else 1 for k, n in enumerate(SIZES)]
    sets = st.frozensets(st.integers(-2, 6), max_size=3)
    windows = st.builds(lambda read: Window.reading(read, advance=0), sets)
    fields = draw(st.lists(st.builds(lambda a, b: ReceptiveField((a, b)), windows, windows),
                           min_size=1, max_size=4))  # fmt: skip
    count = int(np.prod(shape))
    drawn = draw(st.lists(st.integers(0, len(fields) - 1), min_size=count, max_size=count))
    return Part(tuple(fields), np.array(drawn, np.intp).reshape(shape)).distinct()


def elements(reading):
    """What every element has read: the slow and obvious way, for readings without positions."""
    sizes = [n for dim in reading.dims for _, n in dim]
    out = np.empty(reading.shape, object)
    parts = [(p.fields, np.broadcast_to(p.classes, sizes).reshape(-1)) for p in reading.parts]
    for i in range(out.size):
        read = [fields[classes[i]].axes for fields, classes in parts]
        out.reshape(-1)[i] = tuple(
            frozenset().union(*(axes[axis].reads(0) for axes in read)) for axis in range(2)
        )
    return out


def union_along(array, dim):
    out = np.empty([1 if i == dim else n for i, n in enumerate(array.shape)], object)
    for index in np.ndindex(*out.shape):
        line = array[tuple(slice(None) if i == dim else k for i, k in enumerate(index))]
        out[index] = tuple(frozenset().union(*(e[axis] for e in line)) for axis in range(2))
    return out


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_parts_say_what_each_element_has_read_through_any_steps(data):
    dims = tuple(((CHANNEL, n),) for n in SIZES)
    one, two = data.draw(tables({0, 1})), data.draw(tables({1, 2}))
    reading = Reading.of_parts(dims, [one, two])
    array = elements(Reading(dims, one.fields, one.classes, also=(two,)))
    for _ in range(data.draw(st.integers(0, 5))):
        dim = data.draw(st.integers(0, array.ndim - 1))
        size = array.shape[dim]
        kind = data.draw(st.sampled_from(["permute", "merge", "split", "take", "gather", "expand",
                                          "insert", "select", "again", "choose"]))  # fmt: skip
        if kind == "permute":
            order = data.draw(st.permutations(range(array.ndim)))
            reading, array = reading.permute(order), array.transpose(order)
        elif kind == "merge" and dim + 1 < array.ndim:
            shape = (*array.shape[:dim], size * array.shape[dim + 1], *array.shape[dim + 2 :])
            reading, array = reading.reshape(shape), array.reshape(shape)
        elif kind == "split" and size % 2 == 0:
            shape = (*array.shape[:dim], 2, size // 2, *array.shape[dim + 1 :])
            reading, array = reading.reshape(shape), array.reshape(shape)
        elif kind == "take":
            start = data.draw(st.integers(0, size - 1))
            reading = reading.take(dim, start, 1, size - start)
            array = array.take(range(start, size), dim)
        elif kind == "choose":
            chosen = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))
            reading, array = reading.choose(dim, chosen), array.take(chosen, dim)
        elif kind == "select" and array.ndim > 1:
            index = data.draw(st.integers(0, size - 1))
            reading, array = reading.select(dim, index), array.take(index, dim)
        elif kind == "gather":
            reading, array = reading.gather([dim]), union_along(array, dim)
        elif kind == "expand" and size == 1:
            shape = [3 if i == dim else n for i, n in enumerate(array.shape)]
            reading, array = reading.expand(shape), array.repeat(3, dim)
        elif kind == "insert":
            reading, array = reading.insert(dim), np.expand_dims(array, dim)
        elif kind == "again" and array.size <= 200:
            reading = join([reading, reading], dim)
            array = np.concatenate([array, array], dim)
    assert array.shape == reading.shape
    assert array.tolist() == elements(reading).tolist()
    assert array.tolist() == elements(reading.resolved()).tolist()
    everything = tuple(
        frozenset().union(*(e[axis] for e in array.reshape(-1))) for axis in range(2)
    )
    assert everything == tuple(window.reads(0) for window in reading.field.axes)


def test_rows_and_columns_stay_apart_until_they_are_gathered():
    tokens = Reading.of_map((1, 3, 5, 5), ReceptiveField((Window(), Window())))
    tokens = tokens.reshape((1, 3, 25)).permute([0, 2, 1]).enumerated(1).gather([2])
    rows, columns = tokens.expand((1, 25, 25)), tokens.permute([0, 2, 1]).expand((1, 25, 25))
    scores = unite(rows, columns)
    assert [(25, 1), (1, 25)] == [part.classes.shape for part in scores.parts]
    assert 25 * 26 // 2 >= len(scores.resolved().fields)
    assert not scores.gather([2]).also


def test_channels_whose_windows_move_evenly_are_positions_again():
    field = ReceptiveField((Window.sliding(3, 2, 1), Window.sliding(5, 2, 2)))
    plain = Reading.of_map((1, 8, 4, 6), field)
    tokens = plain.reshape((1, 8, 24)).permute([0, 2, 1]).enumerated(1)
    again = tokens.permute([0, 2, 1]).reshape((1, 8, 4, 6))
    assert again.as_map() is None
    assert field == again.map_like().as_map()
    flipped = tokens.take(1, 23, -1, 24).permute([0, 2, 1]).reshape((1, 8, 4, 6))
    backwards = [Window.reading({last}, advance=-1) for last in (3, 5)]
    assert field.then(tuple(backwards)) == flipped.map_like().as_map()
    cut = tokens.take(1, 0, 1, 12).permute([0, 2, 1]).reshape((1, 8, 4, 3))
    assert 0 not in cut.map_like().axes  # two rows of six are no four rows of three


class Product(nn.Module):
    """A 3x3 convolution for each operand, and a product of them over tokens."""

    def __init__(self, product):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(1, 4, 3, 2, 1)
        self.product = product

    def forward(self, x):
        a, b = self.a(x).flatten(2), self.b(x).flatten(2)  # (1, 4, N)
        return self.product(a, b)


def last(product, shape=(1, 12, 12)):
    result = budgetnet.account(Product(product), shape)
    return result.rows[-1]


LOCAL = Window.sliding(3, 2, 1)


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: (a.mT @ b).softmax(-1) @ b.mT,  # rows: queries
        lambda a, b: b @ (a.mT @ b).softmax(-1).mT,  # columns: those of the second operand
        lambda a, b: a.mT @ (b @ b.mT),  # linear attention
        lambda a, b: (a @ b.mT).softmax(-1) @ b,  # among channels
        lambda a, b: torch.baddbmm(b.mT, a.mT, b @ b.mT),
        lambda a, b: nn.functional.scaled_dot_product_attention(a.mT, b.mT, b.mT),
    ],
)
def test_positions_are_those_of_the_dimension_that_survives(product):
    row = last(product)
    assert (LOCAL, LOCAL) == row.receptive_field.axes
    assert not row.is_global
    # The footprint of one output element is everything: a window, and the rest as its context.
    model = Product(product).double()
    with torch.no_grad():
        for at in ((0, 0), (11, 11)):
            x = torch.rand(1, 1, 12, 12, dtype=torch.float64)
            x[0, 0][at] = float("nan")
            assert model(x).isnan().all()
    assert result_has_context(product)


def result_has_context(product):
    result = budgetnet.account(Product(product), (1, 12, 12))
    return any(row.global_context for row in result.rows)


def test_positions_that_are_all_summed_over_are_read_whole():
    row = last(lambda a, b: a @ b.mT)
    assert row.is_global
    assert ((-1, 11), (-1, 11)) == row.receptive_field.region(0, 0)


def test_learned_queries_have_read_nothing_and_get_everything():
    query = torch.rand(1, 2, 4)
    row = last(lambda a, b: nn.functional.scaled_dot_product_attention(query, a.mT, b.mT))
    assert row.is_global
    assert ((-1, 11), (-1, 11)) == row.receptive_field.region(0, 0)


def test_an_attention_mask_made_of_the_input_is_read_as_well():
    def masked(a, b):
        wide = nn.functional.max_pool1d(a, 3, 1, 1)
        mask = wide.mean(1, keepdim=True).mT.expand(-1, -1, 36)
        return nn.functional.scaled_dot_product_attention(a.mT, a.mT, a.mT, attn_mask=mask)

    with pytest.raises(UnsupportedOp):  # a pooling along both axes at once is no window
        last(masked)

    def narrow(a, b):
        mask = b.mean(1, keepdim=True).mT.expand(-1, -1, 36)
        return nn.functional.scaled_dot_product_attention(a.mT, a.mT, a.mT, attn_mask=mask)

    assert (LOCAL, LOCAL) == last(narrow).receptive_field.axes


def test_columns_of_scores_lose_their_positions_and_have_read_everything():
    row = last(lambda a, b: b @ (b.mT @ a))
    assert row.is_global
    assert ((-1, 11), (-1, 11)) == row.receptive_field.region(0, 0)


def test_a_bias_made_of_the_input_is_read_as_well():
    def biased(a, b):
        wide = nn.functional.max_pool2d(b.unflatten(2, (6, 6)), 3, 1, 1).flatten(2)
        return torch.addmm(wide[0].mT, a[0].mT, torch.rand(4, 4))

    wide = Window.sliding(7, 2, 3)
    assert (wide, wide) == last(biased).receptive_field.axes
