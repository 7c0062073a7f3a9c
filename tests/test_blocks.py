"""Blocks: torch's conventions, the compilers, devices and types, and what bad arguments say."""

import copy
import pickle

import pytest
import torch
from torch import nn

from budgetnet import account, blocks
from budgetnet.errors import ArgumentError
from budgetnet.trace.run import account_of_module

BLOCKS = {
    "ConvBNReLU": lambda **kw: blocks.ConvBNReLU(4, 6, (3, 5), stride=2, dropout=0.1, **kw),
    "plain conv": lambda **kw: blocks.ConvBNReLU(
        4, 6, norm_layer=None, activation_layer=None, **kw
    ),
    "even same": lambda **kw: blocks.ConvBNReLU(4, 6, 4, padding="same", **kw),
    "DepthwiseSeparable": lambda **kw: blocks.DepthwiseSeparable(4, 6, 3, 2, **kw),
    "Residual": lambda **kw: blocks.Residual(blocks.ConvBNReLU(4, 4, activation_layer=None, **kw)),
    "Residual with shortcut": lambda **kw: blocks.Residual(
        blocks.ConvBNReLU(4, 6, 3, 2, **kw), blocks.ConvBNReLU(4, 6, 1, 2, **kw)
    ),
    "MaxPool": lambda **kw: blocks.MaxPool(2),
    "Transition": lambda **kw: blocks.Transition(4, 2, pool=2, **kw),
    "GAP": lambda **kw: blocks.GAP(),
    "GAP with classifier": lambda **kw: blocks.GAP(4, 10, **kw),
    "BNReLUConv": lambda **kw: blocks.BNReLUConv(4, 6, 3, 2, groups=2, dropout=0.1, **kw),
    "BasicBlock": lambda **kw: blocks.BasicBlock(4, 4, 5, dilation=2, drop_path=0.1, **kw),
    "BasicBlock with stride": lambda **kw: blocks.BasicBlock(4, 6, 3, (2, 1), **kw),
    "Bottleneck": lambda **kw: blocks.Bottleneck(
        4, 8, 3, 2, groups=2, se_layer=blocks.SqueezeExcite, drop_path=0.1, **kw
    ),
    "InvertedResidual": lambda **kw: blocks.InvertedResidual(
        4, 4, 5, se_layer=blocks.SqueezeExcite, activation_layer=nn.Hardswish, drop_path=0.1, **kw
    ),
    "InvertedResidual with stride": lambda **kw: blocks.InvertedResidual(4, 6, 3, 2, **kw),
    "FusedInvertedResidual": lambda **kw: blocks.FusedInvertedResidual(
        4, 4, se_layer=blocks.SqueezeExcite, drop_path=0.1, **kw
    ),
    "FusedInvertedResidual of one": lambda **kw: blocks.FusedInvertedResidual(
        4, 4, expansion=1, **kw
    ),
    "SqueezeExcite": lambda **kw: blocks.SqueezeExcite(4, ratio=0.5, **kw),
    "Concat": lambda **kw: blocks.Concat(
        None, blocks.ConvBNReLU(4, 2, **kw), pool=blocks.AvgPool(3, 1, 1)
    ),
    "DenseLayer": lambda **kw: blocks.DenseLayer(4, 2, bottleneck=None, dropout=0.1, **kw),
    "DenseBlock": lambda **kw: blocks.DenseBlock(4, 2, 3, **kw),
    "DropPath": lambda **kw: blocks.DropPath(0.1),
    "UpBlock": lambda **kw: blocks.UpBlock(4, 6, **kw),
    "UpBlock, bilinear": lambda **kw: blocks.UpBlock(4, 6, mode="bilinear", **kw),
    "UpBlock, transposed": lambda **kw: blocks.UpBlock(4, 6, mode="transposed", scale=3, **kw),
    "Upsample": lambda **kw: blocks.Upsample(scale_factor=2),
    "Classifier": lambda **kw: nn.Sequential(
        blocks.GlobalAveragePool(),
        blocks.LinearBNReLU(4, 6, dropout=0.1, **kw),
        blocks.Classifier(6, 10, dropout=0.1, **kw),
    ),
}
every_block = pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())


@every_block
@pytest.mark.parametrize("shortcuts", [True, False])
def test_account_equals_the_real_block(make, shortcuts):
    block = make()
    result = account_of_module(block, (4, 12, 14), shortcuts=shortcuts)
    assert sum(p.numel() for p in block.parameters()) == result.params
    assert block.eval()(torch.zeros(2, 4, 12, 14)).shape[1:] == result.output_shape


@every_block
def test_mixed_with_foreign_modules_in_a_sequential(make):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), make(), nn.Flatten(), nn.LazyLinear(3))
    assert (2, 3) == model(torch.zeros(2, 1, 14, 14)).shape
    model(torch.zeros(2, 1, 14, 14)).sum().backward()
    assert sum(p.numel() for p in model.parameters()) == account(model, (1, 14, 14)).params


@every_block
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(make, twin):
    block, x = make().eval(), torch.rand(2, 4, 12, 14)
    copied = twin(block)
    assert not any(module.training for module in copied.modules())
    torch.testing.assert_close(block(x), copied(x))


@every_block
def test_export(make):
    block, x = make().eval(), torch.rand(2, 4, 12, 14)
    exported = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(block(x), exported(x))


@every_block
def test_export_for_any_batch_size(make):
    block, x = make().eval(), torch.rand(2, 4, 12, 14)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    exported = torch.export.export(block, (x,), dynamic_shapes=shapes).module()
    more = torch.rand(5, 4, 12, 14)
    torch.testing.assert_close(block(more), exported(more))


@every_block
def test_compile_fullgraph(make):
    torch.compiler.reset()  # torch keeps few variants of a function, over all tests together
    # The "eager" backend checks that the block is captured whole, without a C++ compiler.
    block, x = make().eval(), torch.rand(2, 4, 12, 14)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(block(x), compiled(x))


@every_block
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype(make, dtype):
    block = make(dtype=dtype).eval()
    assert {dtype} >= {p.dtype for p in block.parameters()}
    assert dtype == block(torch.zeros(1, 4, 12, 14, dtype=dtype)).dtype


@every_block
def test_device(make):
    block = make(device="meta")
    assert {"meta"} >= {t.device.type for t in [*block.parameters(), *block.buffers()]}
    assert "meta" == block(torch.zeros(2, 4, 12, 14, device="meta")).device.type


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_block
def test_cuda(make):
    block = make(device="cuda").eval()
    x = torch.rand(2, 4, 12, 14, device="cuda")
    torch.testing.assert_close(block.cpu()(x.cpu()), block.cuda()(x).cpu(), rtol=1e-3, atol=1e-3)
    assert account(block, (4, 12, 14)).params == sum(p.numel() for p in block.parameters())


def names(block):
    return [name for name, _ in block.named_children()]


def test_children_are_named_and_dropped_by_none():
    assert ["conv", "norm", "act", "drop"] == names(blocks.ConvBNReLU(1, 2, dropout=0.5))
    assert ["conv"] == names(blocks.ConvBNReLU(1, 2, norm_layer=None, activation_layer=None))
    assert ["conv", "norm", "act", "pool"] == names(blocks.Transition(4, 2, pool=2))
    assert ["pool"] == names(blocks.GAP())
    assert ["conv", "norm", "pool"] == names(blocks.GAP(4, 10))
    assert ["norm", "act", "conv", "drop"] == names(blocks.BNReLUConv(1, 2, dropout=0.5))
    assert ["conv1", "conv2", "drop"] == names(blocks.BasicBlock(4, 4, drop_path=0.1).body)
    assert ["flatten", "drop", "linear"] == names(blocks.Classifier(4, 2, dropout=0.5))
    assert ["0", "wide"] == names(blocks.Concat(None, wide=blocks.ConvBNReLU(1, 2)))


def test_inverted_blocks_have_what_they_need():
    inverted, fused = blocks.InvertedResidual, blocks.FusedInvertedResidual
    options = {"se_layer": blocks.SqueezeExcite, "drop_path": 0.1}
    assert ["expand", "depthwise", "se", "project", "drop"] == names(inverted(4, 4, **options))
    assert ["depthwise", "project"] == names(inverted(4, 6, expansion=1, drop_path=0.1))
    assert ["expand", "se", "project"] == names(fused(4, 4, stride=2, **options))
    assert ["project"] == names(fused(4, 6, expansion=1))
    assert [True, False, False] == [
        inverted(4, 4).residual, inverted(4, 6).residual, inverted(4, 4, stride=(1, 2)).residual
    ]  # fmt: skip
    assert "residual=True" in repr(inverted(4, 4))


def test_a_shortcut_is_a_convolution_where_stride_or_widths_need_one():
    kept = {True: nn.Identity, False: blocks.ConvBNReLU}
    for block in (blocks.BasicBlock, blocks.Bottleneck):
        for out, stride in ((8, 1), (8, 2), (12, 1), (8, (1, 2))):
            shortcut = block(8, out, stride=stride).shortcut
            assert kept[(out, stride) == (8, 1)] is type(shortcut)


def test_the_middle_convolution_of_a_bottleneck_strides():
    body = blocks.Bottleneck(8, 8, stride=2).body
    assert [(1, 1), (2, 2), (1, 1)] == [conv[0].stride for conv in body]


def test_a_branch_may_stand_twice_in_a_concat():
    conv = blocks.ConvBNReLU(4, 2).eval()
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(torch.cat([conv(x), conv(x)], 1), blocks.Concat(conv, conv)(x))
    assert sum(p.numel() for p in conv.parameters()) == (
        account(blocks.Concat(conv, conv), (4, 5, 5)).params
    )


def test_maps_without_batch_are_joined_along_channels():
    assert (6, 5, 7) == blocks.Concat(None, nn.Conv2d(4, 2, 1))(torch.zeros(4, 5, 7)).shape


def test_bias_is_there_exactly_where_no_norm_is():
    assert blocks.ConvBNReLU(1, 2).conv.bias is None
    assert blocks.ConvBNReLU(1, 2, norm_layer=None).conv.bias is not None
    assert blocks.ConvBNReLU(1, 2, bias=True).conv.bias is not None
    assert blocks.GAP(4, 10, norm_layer=None).conv.bias is not None


def test_any_callable_serves_as_norm_and_activation():
    block = blocks.ConvBNReLU(
        2, 4, norm_layer=lambda c: nn.GroupNorm(2, c), activation_layer=nn.SiLU
    )
    assert [nn.Conv2d, nn.GroupNorm, nn.SiLU] == [type(child) for child in block]


@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 7)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_none_keeps_the_size_of_odd_kernels(kernel, dilation):
    block = blocks.ConvBNReLU(1, 1, kernel, dilation=dilation)
    assert (1, 1, 15, 16) == block(torch.zeros(1, 1, 15, 16)).shape[:4]


def test_gap_is_the_mean_over_the_map():
    x = torch.rand(3, 5, 4, 7)
    torch.testing.assert_close(x.mean(dim=(2, 3)), blocks.GAP()(x))


def test_separable_is_depthwise_then_pointwise():
    block = blocks.DepthwiseSeparable(6, 8, 3)
    assert 6 == block.depthwise.conv.groups
    assert (8, 6, 1, 1) == block.pointwise.conv.weight.shape


ERRORS = {
    "ConvBNReLU: in_channels=0 is not valid. Pass an int of at least 1.": lambda: blocks.ConvBNReLU(
        0, 4
    ),
    "ConvBNReLU: out_channels=4.0 is not valid. Pass an int of at least 1.": lambda: (
        blocks.ConvBNReLU(4, 4.0)
    ),
    "ConvBNReLU: kernel_size=(3, 3, 3) is not valid. Pass an int or a pair (height, width).": (
        lambda: blocks.ConvBNReLU(4, 4, (3, 3, 3))
    ),
    "ConvBNReLU: stride=-1 is not valid. Pass an int of at least 1.": lambda: blocks.ConvBNReLU(
        4, 4, stride=-1
    ),
    "ConvBNReLU: groups=3 is not valid. It must divide in_channels=4 without remainder.": (
        lambda: blocks.ConvBNReLU(4, 6, groups=3)
    ),
    "ConvBNReLU: dropout=1.5 is not valid. Pass a probability from 0 up to, not including, 1.": (
        lambda: blocks.ConvBNReLU(4, 6, dropout=1.5)
    ),
    "ConvBNReLU: padding='full' is not valid. "
    'Pass an int, a pair, "same", "valid" or None.': lambda: blocks.ConvBNReLU(
        4, 6, padding="full"
    ),
    "ConvBNReLU: padding='same' is not valid. torch allows it at stride 1, not (2, 2).": (
        lambda: blocks.ConvBNReLU(4, 6, stride=2, padding="same")
    ),
    "ConvBNReLU: padding=None keeps the size, which kernel_size=(4, 4) cannot do evenly "
    "(dilation (1, 1), needed before and after [(1, 2), (1, 2)]). Pass padding=1 or padding=2, or "
    'padding="same" to pad as torch does: the larger half after the map.': lambda: (
        blocks.ConvBNReLU(4, 6, 4)
    ),
    "ConvBNReLU: padding=None keeps the size, which kernel_size=(3, 4) cannot do evenly "
    "(dilation (1, 1), needed before and after [(1, 1), (1, 2)]). Pass padding=1 or "
    'padding=(1, 2), or padding="same" to pad as torch does: the larger half after the map.': (
        lambda: blocks.ConvBNReLU(4, 6, (3, 4))
    ),
    "BNReLUConv: groups=3 is not valid. It must divide in_channels=4 without remainder.": (
        lambda: blocks.BNReLUConv(4, 6, groups=3)
    ),
    "BasicBlock: kernel_size=(3, 4) is not valid. "
    "Pass an odd size: the block pads both sides alike to keep sizes at stride 1.": lambda: (
        blocks.BasicBlock(4, 6, (3, 4))
    ),
    "BasicBlock: drop_path=1 is not valid. Pass a probability from 0 up to, not including, 1.": (
        lambda: blocks.BasicBlock(4, 6, drop_path=1)
    ),
    "Bottleneck: expansion=4 is not valid. It must divide out_channels=6 without remainder.": (
        lambda: blocks.Bottleneck(4, 6)
    ),
    "Bottleneck: base_width=4 is not valid. It leaves no channel of out_channels=8. "
    "Pass hidden_channels.": lambda: blocks.Bottleneck(4, 8, base_width=4),
    "Bottleneck: groups=3 is not valid. It must divide hidden_channels=8 without remainder.": (
        lambda: blocks.Bottleneck(4, 8, groups=3, hidden_channels=8)
    ),
    "InvertedResidual: expansion=0 is not valid. Pass a number above 0.": lambda: (
        blocks.InvertedResidual(4, 6, expansion=0)
    ),
    "InvertedResidual: expansion=nan is not valid. Pass a number above 0.": lambda: (
        blocks.InvertedResidual(4, 6, expansion=float("nan"))
    ),
    "InvertedResidual: hidden_channels=0 is not valid. Pass an int of at least 1.": lambda: (
        blocks.InvertedResidual(4, 6, hidden_channels=0)
    ),
    "FusedInvertedResidual: out_channels=0 is not valid. Pass an int of at least 1.": lambda: (
        blocks.FusedInvertedResidual(4, 0)
    ),
    "FusedInvertedResidual: stride=0 is not valid. Pass an int of at least 1.": lambda: (
        blocks.FusedInvertedResidual(4, 4, stride=0)
    ),
    "SqueezeExcite: ratio='a quarter' is not valid. Pass a number above 0.": lambda: (
        blocks.SqueezeExcite(4, ratio="a quarter")
    ),
    "SqueezeExcite: squeeze_channels=0 is not valid. Pass an int of at least 1.": lambda: (
        blocks.SqueezeExcite(4, 0)
    ),
    "Concat: branches=() is not valid. Pass at least one module.": lambda: blocks.Concat(),
    "Concat: branch wide=5 is not valid. Pass a module, or None.": lambda: blocks.Concat(
        None, wide=5
    ),
    "Concat: maps of different sizes cannot be joined (0 (1, 4, 8, 8), 1 (1, 4, 4, 4)). "
    "Give all of them the same stride and padding, or resize one before.": lambda: blocks.Concat(
        None, blocks.MaxPool(2)
    )(torch.zeros(1, 4, 8, 8)),
    "DenseLayer: bottleneck=0 is not valid. Pass an int of at least 1.": lambda: blocks.DenseLayer(
        4, 2, bottleneck=0
    ),
    "DenseBlock: growth_rate=0 is not valid. Pass an int of at least 1.": lambda: blocks.DenseBlock(
        4, 0, 3
    ),
    "DropPath: p=-0.1 is not valid. Pass a probability from 0 up to, not including, 1.": (
        lambda: blocks.DropPath(-0.1)
    ),
    "UpBlock: mode='cubic' is not valid. Pass one of nearest, bilinear, transposed.": lambda: (
        blocks.UpBlock(4, 6, mode="cubic")
    ),
    "UpBlock: skip=None is not valid. The block was made with skip_channels=2.": lambda: (
        blocks.UpBlock(4, 6, skip_channels=2)(torch.zeros(1, 4, 8, 8))
    ),
    "UpBlock: skip=(1, 4, 8, 8) is not valid. The block was made with skip_channels=0.": (
        lambda: blocks.UpBlock(4, 6)(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 8, 8))
    ),
    "UpBlock: maps of different sizes cannot be joined (enlarged (1, 4, 14, 14), "
    "skip (1, 2, 15, 15)). Give all of them the same stride and padding, or resize one before.": (
        lambda: blocks.UpBlock(4, 6, skip_channels=2)(
            torch.zeros(1, 4, 7, 7), torch.zeros(1, 2, 15, 15)
        )
    ),
    "Classifier: num_classes=0 is not valid. Pass an int of at least 1.": lambda: blocks.Classifier(
        4, 0
    ),
    "LinearBNReLU: dropout=1.5 is not valid. "
    "Pass a probability from 0 up to, not including, 1.": lambda: blocks.LinearBNReLU(
        4, 6, dropout=1.5
    ),
    "DepthwiseSeparable: in_channels=-3 is not valid. Pass an int of at least 1.": lambda: (
        blocks.DepthwiseSeparable(-3, 6)
    ),
    "Transition: pool=0 is not valid. Pass an int of at least 1.": lambda: blocks.Transition(
        4, 6, pool=0
    ),
    "GAP: in_channels=None is not valid. A classifier needs its input's channels.": lambda: (
        blocks.GAP(num_classes=10)
    ),
    "Residual: body=3 is not valid. Pass a module, such as a ConvBNReLU.": lambda: blocks.Residual(
        3
    ),
    "Residual: body and shortcut give different shapes (body (1, 6, 4, 4), shortcut (1, 4, 8, 8)). "
    "Give the shortcut the same stride and channels, such as ConvBNReLU(in_channels, out_channels, "
    "1, stride, activation_layer=None).": lambda: blocks.Residual(blocks.ConvBNReLU(4, 6, 3, 2))(
        torch.zeros(1, 4, 8, 8)
    ),
}


@pytest.mark.parametrize("text", ERRORS)
def test_bad_arguments_name_argument_value_and_remedy(text):
    with pytest.raises(ArgumentError) as caught:
        ERRORS[text]()
    assert text == str(caught.value)
    assert isinstance(caught.value, ValueError)
