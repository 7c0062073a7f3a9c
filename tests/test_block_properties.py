"""The blocks at random sizes and options: counts, shapes, formulas and fields against oracles."""

from functools import partial
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from budgetnet import account, blocks
from budgetnet.testing import assert_field_matches, gradient_footprint, nan_footprint
from budgetnet.trace.run import account_of_module

WIDTHS = st.integers(1, 8)
ODD = st.sampled_from([1, 3, 5])
STEP = st.integers(1, 3)
ACTIVATIONS = [
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Sigmoid, None,
]  # fmt: skip


def size(axis):
    return axis | st.tuples(axis, axis)


def build(block, *args, **options):
    given = st.fixed_dictionaries(options)
    return st.builds(lambda a, o: block(*a, **o), st.tuples(*args), given)


LAYERS = {
    "norm_layer": st.sampled_from([nn.BatchNorm2d, None]),
    "activation_layer": st.sampled_from(ACTIVATIONS),
}
SLIDES = (WIDTHS, size(ODD), size(STEP))  # what follows in_channels
DILATED = {"dilation": size(st.integers(1, 2)), **LAYERS}
HIDDEN = {"hidden_channels": st.none() | WIDTHS}


def local_blocks(channels):
    """Blocks without squeeze-excite, whose field is all that they read."""
    c = st.just(channels)
    branch = st.none() | build(blocks.ConvBNReLU, c, WIDTHS, size(ODD), **LAYERS)
    return st.one_of(
        build(blocks.ConvBNReLU, c, *SLIDES, **DILATED),
        build(blocks.BNReLUConv, c, *SLIDES, **DILATED),
        build(blocks.BasicBlock, c, *SLIDES, **DILATED),
        build(blocks.Bottleneck, c, WIDTHS.map(lambda n: 4 * n), *SLIDES[1:], **DILATED),
        build(blocks.InvertedResidual, c, *SLIDES, expansion=st.floats(0.1, 4), **DILATED),
        build(blocks.InvertedResidual, c, c, size(ODD), **HIDDEN, **DILATED),
        build(blocks.FusedInvertedResidual, c, *SLIDES, expansion=st.floats(0.1, 4), **DILATED),
        build(blocks.FusedInvertedResidual, c, c, size(ODD), expansion=st.just(1), **DILATED),
        build(
            blocks.DenseBlock, c, WIDTHS, STEP, size(ODD),
            bottleneck=st.none() | STEP, **DILATED,
        ),
        build(
            blocks.UpBlock, c, WIDTHS, size(ODD), scale=STEP,
            mode=st.sampled_from(["nearest", "transposed"]), **LAYERS,
        ),
        st.lists(branch, min_size=1, max_size=3).map(lambda several: blocks.Concat(*several)),
    )  # fmt: skip


def squeezing_blocks(channels):
    """Blocks whose gates read the whole map."""
    c = st.just(channels)
    squeeze = partial(partial, blocks.SqueezeExcite, gate_layer=nn.Hardsigmoid)
    layer = st.builds(squeeze, ratio=st.floats(0.1, 2), divisor=st.sampled_from([1, 2, 8]))
    return st.one_of(
        build(blocks.InvertedResidual, c, *SLIDES, se_layer=layer, **HIDDEN, **DILATED),
        build(blocks.FusedInvertedResidual, c, *SLIDES, se_layer=layer, **HIDDEN, **DILATED),
        build(blocks.Bottleneck, c, *SLIDES, se_layer=layer, hidden_channels=WIDTHS, **DILATED),
        layer.map(lambda make: make(channels)),
    )


@st.composite
def cases(draw, kind):
    shape = draw(st.tuples(WIDTHS, st.integers(5, 11), st.integers(5, 11)))
    return draw(kind(shape[0])).eval(), shape


@settings(max_examples=150)
@given(st.one_of(cases(local_blocks), cases(squeezing_blocks)), st.booleans())
def test_account_equals_the_real_block(case, shortcuts):
    block, shape = case
    found = account_of_module(block, shape, shortcuts=shortcuts)
    assert sum(p.numel() for p in block.parameters()) == found.params
    assert block(torch.zeros(2, *shape)).shape[1:] == found.output_shape


@settings(max_examples=60)
@given(cases(local_blocks))
def test_fields_are_what_the_block_reads(case):
    block, shape = case
    assert_field_matches(account(block, shape).receptive_field, nan_footprint(block, shape))


@settings(max_examples=10)
@given(STEP, size(ODD), st.sampled_from([1, 2, 4]), st.integers(2, 4), st.integers(2, 4))
def test_fields_of_bilinear_decoders(c, kernel, scale, height, width):
    # Positions of other scales are rounded, and processors differ in whether a weight is 0 then.
    # The oracle is the gradient: a weight of 0 at the border passes a NaN on.
    block, shape = blocks.UpBlock(c, 2, kernel, scale=scale, mode="bilinear"), (c, height, width)
    assert_field_matches(account(block, shape).receptive_field, gradient_footprint(block, shape))


@settings(max_examples=20)
@given(cases(squeezing_blocks))
def test_fields_of_blocks_that_squeeze_are_local_beside_the_whole_map(case):
    block, shape = case
    found = account(block, shape)
    assert any(row.global_context for row in found.rows)
    whole = nan_footprint(block, shape)
    se = block if isinstance(block, blocks.SqueezeExcite) else block.get_submodule(path_of(block))
    se.forward = lambda x: x
    local = nan_footprint(block, shape)
    assert_field_matches(found.receptive_field, local)
    squeezed = nan_footprint(UpTo(block, se), shape).any(axis=(0, 1))
    assert (whole == squeezed | local).all()  # a stride may lie before the gate, or behind it


class UpTo(nn.Module):
    """A block up to one of its modules: the map that this receives."""

    def __init__(self, block, end):
        super().__init__()
        self.block, self.found = block, []
        (block if end is block else end).register_forward_pre_hook(self.keep)

    def keep(self, module, args):
        self.found.append(args[0])

    def forward(self, x):
        self.block(x)
        return self.found.pop()


def path_of(block):
    return next(n for n, m in block.named_modules() if isinstance(m, blocks.SqueezeExcite))


def shortcut(channels, out, stride):
    return 0 if stride == 1 and channels == out else channels * out + 2 * out


def basic_params(c, out, k, s):
    return k * k * out * (c + out) + 4 * out + shortcut(c, out, s)


def bottleneck_params(c, out, k, s, hidden):
    inner = c * hidden + k * k * hidden * hidden + hidden * out
    return inner + 4 * hidden + 2 * out + shortcut(c, out, s)


def inverted_params(c, out, k, _s, hidden):
    widening = 0 if hidden == c else c * hidden + 2 * hidden
    return widening + hidden * k * k + hidden * out + 2 * hidden + 2 * out


def fused_params(c, out, k, _s, hidden):
    if hidden == c:
        return c * out * k * k + 2 * out
    return c * hidden * k * k + hidden * out + 2 * hidden + 2 * out


def dense_params(c, growth, k, layers, bottleneck):
    inner = bottleneck * growth
    widths = range(c, c + layers * growth, growth)
    return sum(w * inner + k * k * inner * growth + 2 * w + 2 * inner for w in widths)


FORMULAS = {
    "BNReLUConv": (
        lambda c, out, k, s, n: c * out * k * k + 2 * c,
        lambda c, out, k, s, n: blocks.BNReLUConv(c, out, k, s),
    ),
    "BasicBlock": (
        lambda c, out, k, s, n: basic_params(c, out, k, s),
        lambda c, out, k, s, n: blocks.BasicBlock(c, out, k, s),
    ),
    "Bottleneck": (
        bottleneck_params,
        lambda c, out, k, s, n: blocks.Bottleneck(c, out, k, s, hidden_channels=n),
    ),
    "InvertedResidual": (
        inverted_params,
        lambda c, out, k, s, n: blocks.InvertedResidual(c, out, k, s, hidden_channels=n),
    ),
    "FusedInvertedResidual": (
        fused_params,
        lambda c, out, k, s, n: blocks.FusedInvertedResidual(c, out, k, s, hidden_channels=n),
    ),
    "SqueezeExcite": (
        lambda c, out, k, s, n: 2 * c * n + c + n,
        lambda c, out, k, s, n: blocks.SqueezeExcite(c, n),
    ),
    "DenseBlock": (
        dense_params,
        lambda c, out, k, s, n: blocks.DenseBlock(c, out, s, k, bottleneck=n),
    ),
    "DenseLayer without bottleneck": (
        lambda c, out, k, s, n: k * k * c * out + 2 * c,
        lambda c, out, k, s, n: blocks.DenseLayer(c, out, k, bottleneck=None),
    ),
    "UpBlock": (
        lambda c, out, k, s, n: k * k * out * (c + n + out) + 4 * out,
        lambda c, out, k, s, n: blocks.UpBlock(c, out, k, scale=s, skip_channels=n),
    ),
    "UpBlock, transposed": (
        lambda c, out, k, s, n: out * (c * s * s + 1) + k * k * out * (2 * out + n) + 4 * out,
        lambda c, out, k, s, n: blocks.UpBlock(
            c, out, k, scale=s, skip_channels=n, mode="transposed"
        ),
    ),
    "Classifier": (
        lambda c, out, k, s, n: out * (c + 1),
        lambda c, out, k, s, n: blocks.Classifier(c, out),
    ),
    "LinearBNReLU": (
        lambda c, out, k, s, n: c * out + 2 * out,
        lambda c, out, k, s, n: blocks.LinearBNReLU(c, out),
    ),
}


@pytest.mark.parametrize(("formula", "make"), FORMULAS.values(), ids=FORMULAS.keys())
@settings(max_examples=20)
@given(WIDTHS, WIDTHS.map(lambda n: 4 * n), ODD, STEP, WIDTHS)
def test_parameters_are_those_of_the_docstring(formula, make, c, out, k, s, n):
    numbers = (c, out, k, s, n)
    assert sum(p.numel() for p in make(*numbers).parameters()) == formula(*numbers)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "transposed"])
@given(WIDTHS, WIDTHS, WIDTHS, STEP, st.integers(2, 6), st.integers(2, 6))
@settings(max_examples=20)
def test_a_decoder_joins_its_skip_connection(mode, c, out, skip, scale, height, width):
    block = blocks.UpBlock(c, out, scale=scale, skip_channels=skip, mode=mode).eval()
    x, kept = torch.rand(2, c, height, width), torch.rand(2, skip, scale * height, scale * width)
    assert (2, out, *kept.shape[2:]) == block(x, kept).shape
    found = account(block, inputs=(x[:1], kept[:1]))
    assert (out, *kept.shape[2:]) == found.output_shape
    assert sum(p.numel() for p in block.parameters()) == found.params
    convs = found.params - 4 * out - (out * (c * scale**2 + 1) if mode == "transposed" else 0)
    enlarging = c * out * scale**2 * height * width if mode == "transposed" else 0
    assert convs * prod(kept.shape[2:]) + enlarging == found.macs


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    torch.manual_seed(0)
    block, x = blocks.DropPath(0.25), torch.ones(4000, 2, 3, 1)
    dropped = block(x)
    values = dropped.flatten(1)
    torch.testing.assert_close(torch.tensor([0, 4 / 3]), values.unique())
    assert (values == values[:, :1]).all()
    assert pytest.approx(0.25, abs=0.03) == (values[:, 0] == 0).float().mean().item()
    assert block.eval()(x) is x
