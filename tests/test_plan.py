"""Specs, the double entry: what is planned is what the built module does."""

from operator import lt

import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from budgetnet import Spec, account, models, plan
from budgetnet.errors import ArgumentError, BudgetnetError, ShapeError, SpecError
from budgetnet.spec.stages import TransposedConv
from budgetnet.testing import assert_field_matches, nan_footprint, specs
from budgetnet.trace.run import account_of_module

SHAPE = st.tuples(st.integers(1, 3), st.integers(4, 16), st.integers(4, 16))


@settings(max_examples=400)
@given(specs(), SHAPE, st.booleans())
def test_plan_equals_trace_row_by_row(spec, shape, shortcuts):
    note(str(spec))
    try:
        planned = plan(spec, shape, name="Sequential")
    except SpecError:
        with pytest.raises(SpecError):
            models.build(spec, shape)
        return
    except ShapeError as error:
        with pytest.raises(ShapeError) as caught:
            account_of_module(models.build(spec, shape, device="meta"), shape, shortcuts=shortcuts)
        assert str(error).partition(": ")[2] == str(caught.value).partition(": ")[2]  # noqa: PT017 - two errors are compared
        return
    # Elements of one line stay apart in a trace when it is flattened; a plan calls them global.
    lines = [row.output_shape[:2] for row in planned.rows if len(row.output_shape) == 3]
    assume((1, 1) not in lines or not any(row.kind == "Flatten" for row in planned.rows))
    model = models.build(spec, shape, device="meta")
    assert planned == account_of_module(model, shape, shortcuts=shortcuts)


@settings(max_examples=100)
@given(specs(max_stages=4), SHAPE)
def test_plan_equals_the_real_network(spec, shape):
    try:
        planned = plan(spec, shape)
    except BudgetnetError:
        return
    model = models.build(spec, shape)
    assert sum(p.numel() for p in model.parameters()) == planned.params
    assert sum(b.numel() for b in model.buffers()) == planned.buffers
    saved = model.state_dict().values()
    assert sum(t.numel() * t.element_size() for t in saved) == planned.weight_bytes
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, *shape)).shape[1:] == planned.output_shape
    ends_local = not planned.rows[-1].is_global
    sees_all = any(row.global_context for row in planned.rows)  # a gate reads the whole map
    spoils = "bilinear" in str(spec)  # a NaN of weight zero is a NaN, though it is not read
    gaps = any(isinstance(stage, TransposedConv) and any(map(lt, stage.kernel_size, stage.stride))
               for stage in spec.stages)  # some outputs are a bias alone  # fmt: skip
    if ends_local and not (sees_all or spoils or gaps):
        assert_field_matches(planned.receptive_field, nan_footprint(model, shape))


PUBLISHED = {
    "s6": (14_372, 22, [3, 5, 7, 9, 10, 14, 18, 22, 22]),
    "s6_exp1": (5_828, 10, [7, 9, 10, 10]),
    "s6_exp2": (14_468, 8, [3, 5, 7, 8, 8]),
    "s6_exp3": (19_764, 10, [5, 7, 9, 10, 10]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_reference_networks_have_the_published_figures(name):
    params, field, growth = PUBLISHED[name]
    reference = models.get_reference(name)
    planned = plan(reference.spec, reference.input_shape, name=name)
    assert params == planned.params
    assert (field, field) == planned.receptive_field.size
    layers = [row for row in planned.layers() if not row.is_global]
    assert growth == [row.receptive_field.size[0] for row in layers]
    assert planned == account(models.get_model(name), reference.input_shape, name=name)


def test_s6_maps_and_global_read():
    planned = plan(models.get_reference("s6").spec, (1, 28, 28))
    sizes = [row.output_shape[1] for row in planned.layers() if not row.is_global]
    assert [26, 24, 22, 20, 10, 8, 6, 4, 4] == sizes
    last = planned.rows[-1]
    assert last.is_global
    assert (28, 28) == last.receptive_field.size
    assert (10,) == planned.output_shape


def test_origin_is_said_of_every_reference():
    origins = {name: models.get_reference(name).origin for name in models.list_models()}
    assert {
        **dict.fromkeys(models.list_models(), "reproduction"),
        **dict.fromkeys(("s6_exp1", "s6_exp2", "s6_exp3"), "reconstruction"),
        **{name: "own" for name in models.list_models() if name.startswith("dsnet")},
    } == origins


def test_the_reconstructions_are_unique():
    """The claim in the notes, searched: only one chain fits each pair of figures."""
    from itertools import combinations_with_replacement, product

    found = {name: [] for name in PUBLISHED if name != "s6"}
    for depth in (1, 2, 3, 4):
        for widths in combinations_with_replacement((8, 16, 32), depth):
            for kernels in product((3, 5, 7), repeat=depth):
                convs = [f"c{w}k{k}" for w, k in zip(widths, kernels, strict=True)]
                for pool in range(1, depth + 1):
                    text = " ".join([*convs[:pool], "p", *convs[pool:], "gap10"])
                    planned = plan(text, (1, 56, 56))  # so that every kernel fits
                    for name, (params, field, _) in PUBLISHED.items():
                        if (params, field) == (planned.params, planned.receptive_field.size[0]):
                            found.setdefault(name, []).append(str(Spec.parse(text)))
    found.pop("s6", None)
    assert {name: [str(models.get_reference(name).spec)] for name in found} == found


CHAIN_ERRORS = {
    "c16 gap c8": "conv2 cannot follow a vector: the whole map has been read before it. Put gap, "
    "flatten and what follows them last.",
    "c8 l10": "linear1 reads a vector, not a map. Put gap or flatten before it.",
    "c8 [c8k1 c8k1 + c4k1]": "residual1: body and shortcut give different channels (body 8, "
    "shortcut 4). Give the shortcut the channels of the body, such as c32k1-act.",
    "c8 c4g3": "conv2: groups must divide the channels on both sides (in 8, out 4, groups 3). "
    "Choose widths that are multiples of groups.",
}


@pytest.mark.parametrize("text", CHAIN_ERRORS)
def test_chains_that_cannot_be_built_are_refused_by_plan_and_build_alike(text):
    with pytest.raises(SpecError) as planned:
        plan(text, (1, 28, 28))
    with pytest.raises(SpecError) as built:
        models.build(text)
    assert CHAIN_ERRORS[text] == str(planned.value) == str(built.value)


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(ArgumentError) as caught:
        models.get_model("s6-exp1")
    expected = (
        "no model is named 's6-exp1'. Did you mean 's6_exp1' or 's6_exp3' or 's6_exp2'? "
        "models.list_models() gives all 30 names."
    )
    assert expected == str(caught.value)
