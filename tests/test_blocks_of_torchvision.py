"""The blocks against torchvision's: the same weights in the same order give the same outputs."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from budgetnet import account, blocks
from budgetnet.accounting.geometry import scaled_channels

torchvision = pytest.importorskip("torchvision", reason="its blocks are the test")
from torchvision.models import (  # noqa: E402  # after the skip
    densenet,
    efficientnet,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    squeezenet,
)
from torchvision.models._utils import _make_divisible  # noqa: E402  # after the skip
from torchvision.models.googlenet import Inception  # noqa: E402  # after the skip

BN = nn.BatchNorm2d
conv, plain = blocks.ConvBNReLU, partial(blocks.ConvBNReLU, norm_layer=None)
hard_squeeze = partial(blocks.SqueezeExcite, divisor=8, gate_layer=nn.Hardsigmoid)


def shortcut(channels, out, stride):
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), BN(out))


def basic(channels, out, stride):
    theirs = resnet.BasicBlock(channels, out, stride, shortcut(channels, out, stride))
    return theirs, blocks.BasicBlock(channels, out, stride=stride)


def bottleneck(channels, out, stride, **options):
    theirs = resnet.Bottleneck(
        channels, out // 4, stride, shortcut(channels, out, stride), **options
    )
    return theirs, blocks.Bottleneck(channels, out, stride=stride, **options)


def regnet_block(channels, out, stride, se_ratio):
    theirs = regnet.ResBottleneckBlock(
        channels, out, stride, BN, nn.ReLU, group_width=8, se_ratio=se_ratio
    )
    if theirs.proj is not None:  # theirs keeps the shortcut before the body
        theirs._modules["proj"] = theirs._modules.pop("proj")
    squeeze = partial(blocks.SqueezeExcite, squeeze_channels=round(se_ratio * channels))
    return theirs, blocks.Bottleneck(
        channels, out, stride=stride, hidden_channels=out, groups=out // 8,
        se_layer=squeeze if se_ratio else None,
    )  # fmt: skip


def inverted_v2(channels, out, stride, expansion):
    theirs = mobilenetv2.InvertedResidual(channels, out, stride, expansion)
    return theirs, blocks.InvertedResidual(
        channels, out, stride=stride, expansion=expansion, activation_layer=nn.ReLU6
    )


def inverted_v3(channels, kernel, hidden, out, squeeze, act, stride, dilation=1):
    norm = partial(BN, eps=0.001, momentum=0.01)
    config = mobilenetv3.InvertedResidualConfig(
        channels, kernel, hidden, out, squeeze, act, stride, dilation, 1.0
    )
    return mobilenetv3.InvertedResidual(config, norm), blocks.InvertedResidual(
        channels, out, kernel, 1 if dilation > 1 else stride, hidden_channels=hidden,
        dilation=dilation, se_layer=hard_squeeze if squeeze else None, norm_layer=norm,
        activation_layer=nn.Hardswish if act == "HS" else nn.ReLU,
    )  # fmt: skip


def mbconv(expansion, kernel, stride, channels, out):
    config = efficientnet.MBConvConfig(expansion, kernel, stride, channels, out, 1)
    squeeze = partial(
        blocks.SqueezeExcite, squeeze_channels=max(1, channels // 4), activation_layer=nn.SiLU
    )
    return efficientnet.MBConv(config, 0.2, BN), blocks.InvertedResidual(
        channels, out, kernel, stride, expansion=expansion, se_layer=squeeze,
        activation_layer=nn.SiLU, drop_path=0.2,
    )  # fmt: skip


def fused(expansion, kernel, stride, channels, out):
    config = efficientnet.FusedMBConvConfig(expansion, kernel, stride, channels, out, 1)
    return efficientnet.FusedMBConv(config, 0.2, BN), blocks.FusedInvertedResidual(
        channels, out, kernel, stride, expansion=expansion, activation_layer=nn.SiLU, drop_path=0.2
    )


def squeeze(channels, inner, **gate):
    theirs = torchvision.ops.SqueezeExcitation(channels, inner, **gate)
    gates = {"gate_layer": gate["scale_activation"]} if gate else {}
    return theirs, blocks.SqueezeExcite(channels, inner, **gates)


class Joined(nn.Module):
    """torchvision's dense layer gives what it adds, ours the whole."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return torch.cat([x, self.layer(x)], 1)


def dense_layer(channels, growth, bottleneck):
    theirs = densenet._DenseLayer(channels, growth, bottleneck, 0.0)
    return Joined(theirs), blocks.DenseLayer(channels, growth, bottleneck=bottleneck)


def dense_block():
    theirs = densenet._DenseBlock(3, 12, 4, 8, 0.0)
    return theirs, blocks.DenseBlock(12, 8, 3)


def dense_transition():
    ours = nn.Sequential(blocks.BNReLUConv(12, 6, 1), blocks.AvgPool(2))
    return densenet._Transition(12, 6), ours


def fire():
    ours = nn.Sequential(plain(12, 4, 1), blocks.Concat(plain(4, 8, 1), plain(4, 6, 3)))
    return squeezenet.Fire(12, 4, 8, 6), ours


def inception():
    basic = partial(conv, norm_layer=partial(BN, eps=0.001))
    pool = blocks.MaxPool(3, 1, 1, ceil_mode=True)
    ours = blocks.Concat(
        basic(12, 4, 1),
        nn.Sequential(basic(12, 3, 1), basic(3, 6)),
        nn.Sequential(basic(12, 2, 1), basic(2, 4)),
        nn.Sequential(pool, basic(12, 5, 1)),
    )
    return Inception(12, 4, 3, 6, 2, 4, 5), ours


PAIRS = {
    "basic": lambda: basic(12, 12, 1),
    "basic, stride": lambda: basic(12, 24, 2),
    "basic, wider": lambda: basic(12, 24, 1),
    "bottleneck": lambda: bottleneck(12, 12, 1),
    "bottleneck, stride": lambda: bottleneck(12, 16, 2),
    "bottleneck, dilated": lambda: bottleneck(12, 16, 1, dilation=2),
    "bottleneck, ResNeXt": lambda: bottleneck(12, 256, 2, groups=32, base_width=4),
    "bottleneck, wide": lambda: bottleneck(12, 32, 1, base_width=128),
    "bottleneck, RegNetX": lambda: regnet_block(12, 16, 2, 0),
    "bottleneck, RegNetY": lambda: regnet_block(12, 24, 2, 0.25),
    "bottleneck, RegNetY, no shortcut": lambda: regnet_block(16, 16, 1, 0.25),
    "inverted, V2": lambda: inverted_v2(12, 12, 1, 6),
    "inverted, V2, stride": lambda: inverted_v2(12, 20, 2, 6),
    "inverted, V2, narrow": lambda: inverted_v2(12, 8, 1, 1),
    "inverted, V3": lambda: inverted_v3(24, 5, 72, 24, True, "RE", 1),
    "inverted, V3, hardswish": lambda: inverted_v3(16, 3, 56, 24, True, "HS", 2),
    "inverted, V3, plain": lambda: inverted_v3(16, 3, 16, 16, False, "RE", 1),
    "inverted, V3, dilated": lambda: inverted_v3(16, 5, 40, 24, True, "HS", 2, 2),
    "inverted, EfficientNet": lambda: mbconv(6, 5, 1, 24, 24),
    "inverted, EfficientNet, stride": lambda: mbconv(6, 3, 2, 16, 24),
    "inverted, EfficientNet, first": lambda: mbconv(1, 3, 1, 32, 16),
    "fused": lambda: fused(4, 3, 1, 16, 16),
    "fused, stride": lambda: fused(4, 3, 2, 16, 24),
    "fused, no expansion": lambda: fused(1, 3, 1, 16, 16),
    "fused, no expansion, stride": lambda: fused(1, 3, 2, 16, 24),
    "squeeze-excite": lambda: squeeze(16, 4),
    "squeeze-excite, hard": lambda: squeeze(16, 8, scale_activation=nn.Hardsigmoid),
    "dense layer": lambda: dense_layer(12, 8, 4),
    "dense block": dense_block,
    "dense transition": dense_transition,
    "fire": fire,
    "inception": inception,
}  # fmt: skip


def copy_weights(theirs, ours):
    """Random weights and statistics, copied in order; both must have the same shapes in it."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            low = 0.5 if "var" in name else -0.5
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    tensors, names = theirs.state_dict().values(), ours.state_dict()
    ours.load_state_dict(dict(zip(names, tensors, strict=True)))


@given(st.integers(1, 3000), st.floats(0.01, 8), st.integers(2, 64))
def test_widths_are_rounded_as_theirs(channels, ratio, divisor):
    assert _make_divisible(channels * ratio, divisor) == scaled_channels(channels, ratio, divisor)


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS.keys())
def test_the_same_weights_give_the_same_outputs(make):
    theirs, ours = (module.eval() for module in make())
    copy_weights(theirs, ours)
    channels = next(m for m in ours.modules() if isinstance(m, nn.Conv2d)).in_channels
    x = torch.randn(2, channels, 13, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), ours(x))
    a, b = account(theirs, (channels, 13, 10)), account(ours, (channels, 13, 10))
    assert (a.params, a.macs, a.weight_bytes) == (b.params, b.macs, b.weight_bytes)
    assert a.receptive_field == b.receptive_field
