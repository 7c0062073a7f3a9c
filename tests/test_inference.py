"""Folding BatchNorm: equal outputs in float64, exact accounts, and a reason for each norm left."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from budgetnet import account, blocks, find_folds, fold_batchnorm, models, plan
from budgetnet.errors import ArgumentError, BudgetnetError, ShapeError, UnsupportedOp
from budgetnet.spec.stages import Conv, Head, Pool, Separable, Transition
from budgetnet.testing import chains, specs

SHAPE = st.tuples(st.integers(1, 3), st.integers(4, 16), st.integers(4, 16))


def trained(model):
    """The model in float64, its norms as after some training: nothing is 0 or 1."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    tensor.data.uniform_(0.5, 1.5)
    return model.double()


def run(model, shape):
    torch.manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(2, *shape, dtype=torch.float64))


def assert_same_outputs(model, folded, shape):
    expected, actual = run(copy.deepcopy(model).eval(), shape), run(folded, shape)
    # The largest of padding alone is -inf, which may become NaN, folded or not.
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def numel(model):
    return sum(p.numel() for p in model.parameters())


def assert_exact_account(model, folded, shape):
    before, after = account(model, shape), account(folded, shape)
    assert numel(folded) == after.params
    assert before.macs == after.macs
    assert before.receptive_field == after.receptive_field
    assert before.output_shapes == after.output_shapes
    assert before.trainable_params - after.trainable_params == before.params - after.params


@settings(max_examples=100, deadline=None)
@given(specs(kinds=(Conv, Separable, Transition, Pool, Head)), SHAPE)
def test_every_norm_of_a_spec_folds(spec, shape):
    note(str(spec))
    try:
        plan(spec, shape)
    except BudgetnetError:
        assume(False)
    model = trained(models.build(spec, shape[0]))
    convs = {f"{path}.norm": f"{path}.conv" for path, m in model.named_modules()
             if hasattr(m, "norm")}  # fmt: skip
    assert convs == {fold.norm: fold.layer for fold in find_folds(model, shape)}
    folded = fold_batchnorm(model, shape, strict=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert_same_outputs(model, folded, shape)
    assert_exact_account(model, folded, shape)
    # Each norm takes 2 C parameters with it; its convolution gains C where it had no bias.
    gone = 0
    for norm, conv in convs.items():
        features = model.get_submodule(norm).num_features
        gone += features if model.get_submodule(conv).bias is None else 2 * features
    assert numel(model) - gone == numel(folded)


@settings(max_examples=150, deadline=None)
@given(chains(), SHAPE)
def test_in_a_chain_exactly_the_norms_right_after_a_convolution_fold(model, shape):
    shape = (2, *shape[1:])
    model = trained(model)
    try:
        account(model, shape)
    except ShapeError:
        assume(False)
    expected, before = {}, None
    for name, layer in model.named_children():
        if isinstance(layer, nn.BatchNorm2d):
            expected[name] = before
        if not isinstance(layer, nn.Identity | nn.Dropout2d):  # which do nothing at inference
            before = name if isinstance(layer, nn.Conv2d) else None
    note(f"{model} on {shape}")
    assert expected == {fold.norm: fold.layer for fold in find_folds(model, shape)}
    folded = fold_batchnorm(model, shape)
    assert_same_outputs(model, folded, shape)
    assert_exact_account(model, folded, shape)


class Program(nn.Module):
    """Random steps on the maps so far: modules, some of them twice, sums, and writes in place."""

    def __init__(self, steps, outputs):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(3))
        self.steps, self.outputs = steps, outputs

    def forward(self, x):
        maps = [x.clone()]
        for name, source, other in self.steps:
            x = maps[source % len(maps)]
            if name in ("convs", "norms"):
                maps.append(getattr(self, name)[other % 3](x))
            elif name == "add":
                maps.append(x + maps[other % len(maps)])
            else:
                maps.append(x.relu_())
        return [maps[i % len(maps)] for i in self.outputs]


INDEX = st.integers(-3, -1)  # recent maps, so that most steps have a part in the output
STEP = st.tuples(st.sampled_from(["convs", "norms", "add", "relu"]), INDEX, INDEX)
BLOCK = st.tuples(*(st.tuples(st.just(name), st.just(-1), INDEX) for name in ("convs", "norms")))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(BLOCK | st.tuples(STEP), min_size=1, max_size=6),
    st.sampled_from([(-1,), (-1, -2), (-1, -3)]),
)
def test_any_program_gives_the_same(pieces, outputs):
    model = trained(Program([step for piece in pieces for step in piece], outputs))
    found = find_folds(model, (2, 5, 5))
    event(f"{sum(fold.layer is not None for fold in found)} folded")
    folded = fold_batchnorm(model, (2, 5, 5))
    assert_same_outputs(model, folded, (2, 5, 5))
    assert numel(folded) == account(folded, (2, 5, 5)).params


def test_the_reference_network_is_planned_without_norms():
    model = models.get_model("s6")
    folded = fold_batchnorm(model, (1, 28, 28))
    assert 14_372 - 7 * 16 - 10 == numel(folded) == 14_250
    bare = "c16-bn c16-bn c16-bn c16-bn p c16-bn c16-bn c16-bn gap10-bn"
    planned = plan(bare, (1, 28, 28), name="Sequential")
    result = account(folded, (1, 28, 28))
    assert str(planned) == str(result)
    assert planned.layers() == result.layers()
    kept = [row for row in result.rows if row.kind != "Identity"]  # which others read by its place
    assert [row._replace(reads=()) for row in planned.rows] == [
        row._replace(reads=()) for row in kept
    ]


@pytest.mark.parametrize(
    ("name", "folds", "stay"),
    [
        ("resnet18", 20, 0),
        ("resnet50", 53, 0),
        ("mobilenet_v3_small", 34, 0),
        ("densenet121", 59, 62),  # in a dense layer the first norm comes before its convolution
        ("shufflenet_v2_x0_5", 56, 0),
        ("googlenet", 57, 2),  # the auxiliary heads do not run at inference
    ],
)
def test_torchvision(name, folds, stay):
    torchvision = pytest.importorskip("torchvision")
    options = {"init_weights": False} if name == "googlenet" else {}
    model = trained(torchvision.models.get_model(name, weights=None, **options))
    shape = (3, 32, 32)
    found = find_folds(model, shape)
    assert (folds, stay) == (
        sum(fold.layer is not None for fold in found),
        sum(fold.layer is None for fold in found),
    )
    folded = fold_batchnorm(model, shape)
    expected, actual = run(copy.deepcopy(model).eval(), shape), run(folded, shape)
    assert (actual - expected).abs().max() < 1e-12 * expected.abs().max()
    assert_exact_account(model, folded, shape)


def test_the_original_is_untouched():
    model = nn.Sequential(blocks.ConvBNReLU(2, 4), nn.BatchNorm2d(4).eval())
    modules = [*model.modules()]
    flags = [module.training for module in modules]
    state = copy.deepcopy(model.state_dict())
    folded = fold_batchnorm(model, (2, 8, 8))
    assert flags == [module.training for module in modules]
    assert modules == [*model.modules()]
    assert [*state] == [*model.state_dict()]
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert not any(module.training for module in folded.modules())
    mine = {t.data_ptr() for t in model.state_dict().values()}
    assert not mine & {t.data_ptr() for t in folded.state_dict().values()}


class Plain(nn.Module):
    """A convolution and a norm by torchvision's names; tests vary what `forward` does."""

    def __init__(self, **options):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4, **options)

    def forward(self, x):
        return F.relu(self.bn1(self.conv1(x)))


def sequence(*layers):
    return lambda: nn.Sequential(*layers)


class Hidden(nn.Module):
    """Runs its layers through a plain list, which `state_dict` does not know."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.order = [self.conv, self.norm]

    def forward(self, x):
        for layer in self.order:
            x = layer(x)
        return x


class TwoNames(Plain):
    def __init__(self):
        super().__init__()
        self.alias = self.bn1


class TwoInputs(Plain):
    def forward(self, x, y):
        return super().forward(x) + y


IMAGE = (3, 8, 8)
FOLDING = {
    "attributes": (Plain, IMAGE),
    "no scale and shift": (lambda: Plain(affine=False), IMAGE),
    "eps": (lambda: Plain(eps=0.3), IMAGE),
    "bias": (sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), IMAGE),
    "groups": (sequence(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), IMAGE),
    "reflect": (
        sequence(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)),
        IMAGE,
    ),
    "one axis": (sequence(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), (3, 8)),
    "three axes": (sequence(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)), (3, 4, 5, 6)),
    "transposed": (sequence(nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4)), IMAGE),
    "linear": (sequence(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,)),
    "linear, no scale and shift": (
        sequence(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4, affine=False)),
        (5,),
    ),
    "many devices": (sequence(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)), IMAGE),
    "dropout between": (
        sequence(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4)),
        IMAGE,
    ),
    "nested": (sequence(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)), IMAGE),
    "in place after": (
        sequence(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        IMAGE,
    ),
    "hidden list": (Hidden, IMAGE),
    "two names": (TwoNames, IMAGE),
    "residual": (
        lambda: blocks.Residual(blocks.ConvBNReLU(3, 3, activation_layer=None)),
        IMAGE,
    ),
}


@pytest.mark.parametrize(("make", "shape"), FOLDING.values(), ids=FOLDING.keys())
def test_folds(make, shape):
    model = trained(make())
    folded = fold_batchnorm(model, shape, strict=True)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    assert_same_outputs(model, folded, shape)
    assert_exact_account(model, folded, shape)
    once = nn.Sequential(folded)
    assert () == find_folds(once, shape)


def test_several_inputs():
    model, shapes = trained(TwoInputs()), ((3, 8, 8), (4, 8, 8))
    folded = fold_batchnorm(model, shapes, strict=True)
    x, y = (torch.rand(2, *shape, dtype=torch.float64) for shape in shapes)
    torch.testing.assert_close(folded(x, y), model.eval()(x, y))


def test_a_frozen_layer_stays_frozen_and_a_new_bias_is_trainable():
    for trainable in (True, False):
        model = Plain().requires_grad_(trainable)
        folded = fold_batchnorm(model, IMAGE)
        assert {trainable} == {p.requires_grad for p in folded.parameters()}


class Shared(Plain):
    def forward(self, x):
        return self.bn1(self.conv1(x)) + self.conv1(x)


class SharedNorm(Plain):
    def forward(self, x):
        return self.bn1(self.bn1(self.conv1(x)))


class UsedElsewhere(Plain):
    def forward(self, x):
        x = self.conv1(x)
        return self.bn1(x) + x.mean()


class Returned(Plain):
    def forward(self, x):
        x = self.conv1(x)
        return self.bn1(x), {"before": x}


class Kept(Plain):
    def forward(self, x):
        self.seen = self.conv1(x)
        return self.bn1(self.seen)


class InPlace(Plain):
    def forward(self, x):
        x = self.conv1(x)
        x.relu_()
        return self.bn1(x)


class Viewed(Plain):
    def forward(self, x):
        return self.bn1(self.conv1(x).flip(1))


class TwoNorms(Plain):
    def __init__(self):
        super().__init__()
        self.bn2 = nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv1(x)
        return self.bn1(x) * self.bn2(x)


class Tied(Plain):
    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3, padding=1)
        self.other.weight = self.conv1.weight

    def forward(self, x):
        return super().forward(x) + self.other(x)


class ReadWeight(Plain):
    def forward(self, x):
        return super().forward(x) * self.conv1.weight.norm()


class ReadNorm(Plain):
    def forward(self, x):
        return super().forward(x) * self.bn1.running_mean.sum()


class Functional(Plain):
    def forward(self, x):
        return self.bn1(F.conv2d(x, self.conv1.weight))


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias)


class Gated(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


class Before(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class Unused(Plain):
    def forward(self, x):
        return self.conv1(x)


def hooked(name):
    def make():
        model = Plain()
        getattr(model, name).register_forward_hook(lambda _module, _args, out: out * 2)
        return model

    return make


def kept_by_a_hook():
    model, seen = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)), []
    model[0].register_forward_hook(lambda _module, _args, out: seen.append(out))
    return model


def parametrized():
    model = Plain()
    weight_norm(model.conv1)
    return model


NO_LAYER = "its input is not the result of a convolution or linear layer"
ELSEWHERE = "the output of conv1 is also used elsewhere"
STAYING = {
    "shared layer": (Shared, IMAGE, "conv1 runs 2 times"),
    "shared norm": (SharedNorm, IMAGE, "it runs 2 times"),
    "output used": (UsedElsewhere, IMAGE, ELSEWHERE),
    "output returned": (Returned, IMAGE, ELSEWHERE),
    "output kept": (Kept, IMAGE, ELSEWHERE),
    "kept by a hook": (kept_by_a_hook, IMAGE, "the output of 0.0 is also used elsewhere"),
    "in place": (InPlace, IMAGE, ELSEWHERE),
    "two norms": (TwoNorms, IMAGE, ELSEWHERE),
    "between": (Viewed, IMAGE, NO_LAYER),
    "before": (Before, IMAGE, NO_LAYER),
    "pooling": (sequence(nn.MaxPool2d(2), nn.BatchNorm2d(3)), IMAGE, NO_LAYER),
    "norm of a norm": (sequence(nn.GroupNorm(1, 3), nn.BatchNorm2d(3)), IMAGE, NO_LAYER),
    "functional": (Functional, IMAGE, NO_LAYER),
    "tied": (Tied, IMAGE, "other uses the parameters of conv1 as well"),
    "weight read": (ReadWeight, IMAGE, "the model uses the parameters of conv1 as well"),
    "norm read": (ReadNorm, IMAGE, "the model uses the parameters of bn1 as well"),
    "no statistics": (
        lambda: Plain(track_running_stats=False),
        IMAGE,
        "it has no running statistics, so it normalises by the batch",
    ),
    "hook on layer": (hooked("conv1"), IMAGE, "conv1 has hooks"),
    "hook on norm": (hooked("bn1"), IMAGE, "it has hooks"),
    "parametrized": (parametrized, IMAGE, "conv1 computes its parameters"),
    "own layer": (
        sequence(Standardised(3, 4, 3), nn.BatchNorm2d(4)),
        IMAGE,
        "0 has a forward of its own",
    ),
    "own norm": (
        sequence(nn.Conv2d(3, 4, 3), Gated(4)),
        IMAGE,
        "it has a forward of its own",
    ),
    "grouped transposed": (
        sequence(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4)),
        (4, 8, 8),
        "0 is transposed and has groups, for which torch has no formula",
    ),
    "another axis": (
        sequence(nn.Linear(5, 4), nn.BatchNorm1d(4)),
        (4, 5),
        "it normalises another axis than the features of 0",
    ),
    "not run": (Unused, IMAGE, "the model does not run it"),
}


@pytest.mark.parametrize(("make", "shape", "reason"), STAYING.values(), ids=STAYING.keys())
def test_stays(make, shape, reason):
    model = trained(make())
    found = find_folds(model, shape)
    assert {(None, reason)} == {(fold.layer, fold.reason) for fold in found}
    folded = fold_batchnorm(model, shape)
    assert numel(model) == numel(folded)
    assert account(model, shape) == account(folded, shape)
    assert_same_outputs(model, folded, shape)
    with pytest.raises(ArgumentError, match="cannot be folded"):
        fold_batchnorm(model, shape, strict=True)


def test_another_type_stays():
    model = Plain().to(torch.bfloat16)
    model.bn1.float()
    (fold,) = find_folds(model, IMAGE)
    assert "bn1 stays: conv1 has another type or device" == str(fold)


def test_strict_names_each_norm_and_its_reason():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(ArgumentError) as caught:
        fold_batchnorm(model, IMAGE, strict=True)
    assert (
        "Sequential: 1 of 2 BatchNorms cannot be folded (0: its input is not the result of a "
        "convolution or linear layer). Pass strict=False to leave them as they are."
    ) == str(caught.value)


class Deciding(Plain):
    def forward(self, x):
        x = self.conv1(x)
        return self.bn1(x) if x.sum() > 0 else x


def test_control_flow_on_values_is_an_error():
    with pytest.raises(UnsupportedOp, match="the control flow depends on a value"):
        fold_batchnorm(Deciding(), IMAGE)


def test_a_model_that_cannot_be_copied():
    model = Plain()
    model.lock = threading.Lock()
    with pytest.raises(ArgumentError, match=r"Plain cannot be copied \(TypeError"):
        fold_batchnorm(model, IMAGE)


def test_a_forward_that_a_copy_does_not_own():
    model = Plain()
    model.forward = lambda x: model.bn1(model.conv1(x))
    with pytest.raises(ArgumentError, match="a copy does not run its own conv1 and bn1"):
        fold_batchnorm(model, IMAGE)


def test_half_precision_keeps_its_type():
    folded = fold_batchnorm(Plain().to(torch.bfloat16), IMAGE)
    assert {torch.bfloat16} == {p.dtype for p in folded.parameters()}
