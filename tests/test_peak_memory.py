"""Peak memory of activations, equal to the byte with what a real network holds while it runs."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from budgetnet import account, models
from budgetnet.trace.run import account_of_module


class Measured(TorchDispatchMode):
    """The most bytes of distinct memory that tensors hold at once while a real network runs."""

    def __init__(self, model, inputs):
        super().__init__()
        held = (*model.parameters(), *model.buffers())
        self.fixed = {tensor.untyped_storage().data_ptr() for tensor in held}
        self.seen, self.peak = [weakref.ref(x) for x in inputs], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.seen.append(weakref.ref(tensor))
        self.seen = [ref for ref in self.seen if ref() is not None]
        live = {}
        for tensor in (ref() for ref in self.seen):
            storage = tensor.untyped_storage()
            live[storage.data_ptr()] = storage.nbytes()
        self.peak = max(self.peak, sum(n for at, n in live.items() if at not in self.fixed))
        return out


def measured(model, *inputs):
    with torch.no_grad(), Measured(model.eval(), inputs) as run:
        model(*inputs)
    return run.peak


def check(model, *inputs):
    """Hold accounts against a run: with and without shortcuts, on the CPU and the meta device."""
    expected = measured(copy.deepcopy(model), *inputs)  # the run may fill caches of the model
    for shortcuts in (True, False):
        result = account_of_module(model, inputs=inputs, shortcuts=shortcuts)
        assert expected == result.peak_activation_bytes
    shape = tuple(inputs[0].shape[1:])
    if (
        not torch.is_autocast_enabled("cpu")
        and len(inputs) == 1
        and inputs[0].dtype.is_floating_point
    ):
        assert expected == account(model, shape).peak_activation_bytes
        assert expected == account(model.to("meta"), shape).peak_activation_bytes


def torchvision(name, **options):
    zoo = pytest.importorskip("torchvision.models")
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if name in zoo.segmentation.__dict__:
        options["weights_backbone"] = None
    return zoo.get_model(name, weights=None, **options)


def test_the_reference_network():
    check(models.get_model("s6"), torch.zeros(1, 1, 28, 28))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny", "shufflenet_v2_x0_5"])
def test_torchvision(name):
    check(torchvision(name), torch.zeros(1, 3, 96, 96))


@pytest.mark.deep
@pytest.mark.parametrize("name", [
    "alexnet", "vgg11_bn", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "mnasnet0_5",
    "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "inception_v3", "googlenet",
    "squeezenet1_1", "swin_t", "swin_v2_t", "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large", "fcn_resnet50",
])  # fmt: skip
def test_more_of_torchvision(name):
    check(torchvision(name), torch.zeros(1, 3, 96, 96))


@pytest.mark.deep
@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 96), ("maxvit_t", 224)])
def test_attention_of_torchvision(name, size):
    option = {"vit_b_16": "image_size", "maxvit_t": "input_size"}[name]
    size_given = size if name == "vit_b_16" else (size, size)
    check(torchvision(name, **{option: size_given}), torch.zeros(1, 3, size, size))


@pytest.mark.deep
@pytest.mark.parametrize("name", [
    "vit_tiny_patch16_224", "mixer_s32_224", "resnetv2_50", "hrnet_w18_small", "levit_128s",
    "coatnet_nano_rw_224", "edgenext_xx_small", "poolformer_s12", "fastvit_t8", "repvgg_a0",
    "ghostnet_100", "cait_xxs24_224", "pvt_v2_b0", "twins_svt_small", "efficientformer_l1",
    "dla34", "res2net50_14w_8s", "nf_resnet50", "xcit_nano_12_p16_224", "gcresnet33ts",
])  # fmt: skip
def test_timm(name):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, pretrained=False)
    check(model, torch.zeros(1, *model.default_cfg["input_size"]))


@pytest.mark.deep
@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus", "PSPNet", "Segformer"])
def test_segmentation(name):
    smp = pytest.importorskip("segmentation_models_pytorch")
    check(getattr(smp, name)("resnet18", encoder_weights=None), torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    x = torch.zeros(1, 3, 64, 64, dtype=dtype)
    check(torchvision("mobilenet_v3_small").to(dtype), x)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_channels_last(name):
    x = torch.zeros(1, 3, 64, 64)
    check(torchvision(name).to(memory_format=torch.channels_last), x)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_autocast_around(name):
    """What autocast has cast of the weights it keeps until its block ends."""
    model = torchvision(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.zeros(1, 3, 64, 64)
        expected = measured(model, x)
        torch.clear_autocast_cache()
        for shortcuts in (True, False):
            result = account_of_module(model, (3, 64, 64), shortcuts=shortcuts)
            assert expected == result.peak_activation_bytes


class Runs(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(4, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x), x)


def last(x):
    return x.to(memory_format=torch.channels_last)


FUNCTIONS = [
    lambda y, x: y + torch.ones(8, 8, dtype=torch.float64),
    lambda y, x: y.double() + y,
    lambda y, x: (y > 0) * y,
    lambda y, x: y.argmax(1).unsqueeze(1) + y,
    lambda y, x: (y > 0).sum(1, keepdim=True) / 2 * y,
    lambda y, x: y * torch.linspace(0, 1, 8) + torch.zeros(4, 8, 8),
    lambda y, x: y.reshape(4, 64) @ torch.zeros(64, 3000),
    lambda y, x: y.half() * 2,
    lambda y, x: torch.where(y > 0, y, torch.tensor(0.0, dtype=torch.float64)),
    lambda y, x: y.softmax(1, dtype=torch.float64),
    lambda y, x: y + torch.arange(8),
    lambda y, x: x * F.one_hot(torch.arange(8), 8),
    lambda y, x: torch.zeros_like(x).add_(y),
    lambda y, x: x.new_zeros(1, 4, 8, 8).copy_(y),
    lambda y, x: F.layer_norm(y, (8,)),
    lambda y, x: F.layer_norm(y.half(), (8,)),
    lambda y, x: F.group_norm(y, 2),
    lambda y, x: F.instance_norm(y),
    lambda y, x: F.rms_norm(y, (8,)),
    lambda y, x: F.max_pool2d(y, 2, return_indices=True)[0],
    lambda y, x: F.adaptive_max_pool2d(y, 3, return_indices=True)[0],
    lambda y, x: y.max(1, keepdim=True)[0],
    lambda y, x: y.topk(2, dim=1)[0],
    lambda y, x: torch.std_mean(y, dim=1, keepdim=True)[0] * 2,
    lambda y, x: y.cummax(1)[0],
    lambda y, x: F.scaled_dot_product_attention(y, y, y),
    lambda y, x: F.scaled_dot_product_attention(*[y.bfloat16()] * 3),
    lambda y, x: F.scaled_dot_product_attention(y, y, y, attn_mask=torch.zeros(8, 8)),
    lambda y, x: (
        F.scaled_dot_product_attention(*[y.transpose(1, 2)] * 3).transpose(1, 2).flatten(2)
    ),
    lambda y, x: F.normalize(y),
    lambda y, x: y.logsumexp(1),
    lambda y, x: torch.einsum("nchw,ncHw->nhHw", y, y),
    lambda y, x: F.unfold(y, 3),
    lambda y, x: torch.stack([y, x]).sum(0),
    lambda y, x: F.interpolate(last(x), scale_factor=2).flatten(1),
    lambda y, x: torch.cat([last(x)] * 2, 1).flatten(1),
    lambda y, x: F.adaptive_avg_pool2d(last(x), 4).flatten(1),
    lambda y, x: F.pad(last(x), (1, 1, 1, 1)).flatten(1),
    lambda y, x: (torch.ones(1, 1, 8, 8) * last(x)).flatten(1),
    lambda y, x: F.conv2d(last(x), torch.ones(5, 4, 3, 3)).flatten(1),
    lambda y, x: F.group_norm(last(x), 2).flatten(1),
    lambda y, x: x.transpose(1, 3).sum(0, keepdim=True).transpose(1, 3).flatten(1),
    lambda y, x: (y.permute(0, 2, 3, 1) @ torch.ones(4, 7)).permute(0, 3, 1, 2).contiguous(),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_types_constants_layouts_and_further_results(function):
    model = Runs(function)
    expected = measured(model, torch.zeros(1, 4, 8, 8))
    for shortcuts in (True, False):
        result = account_of_module(model, (4, 8, 8), shortcuts=shortcuts)
        assert expected == result.peak_activation_bytes


def encoder(layers=2, **options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class Attends(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(8, 2, batch_first=True), options

    def forward(self, x):
        return self.attention(x, x, x, **self.options)[0]


@pytest.mark.parametrize("make", [
    encoder, lambda: encoder(norm_first=True), lambda: encoder(activation="gelu"),
    Attends, lambda: Attends(need_weights=False), lambda: Attends(average_attn_weights=False),
])  # fmt: skip
@pytest.mark.parametrize("fast", [True, False])
def test_fused_attention(make, fast):
    model, x = make(), torch.zeros(1, 6, 8)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        expected = measured(model, x)
        assert expected == account(model, (6, 8)).peak_activation_bytes
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
