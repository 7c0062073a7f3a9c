"""`account` leaves the model and the process as they were, whatever a forward does to them."""

import copy
import pickle
import random
import threading
import weakref
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from digest import Digest
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from budgetnet import account
from budgetnet.errors import BudgetnetError, UnsupportedOp

SHAPE = (2, 8, 8)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No thread runs beside: some library's, of an earlier test, may sleep on in this process.

    With one, random states of Python and NumPy are left as they are, since it may draw as well.
    """
    monkeypatch.setattr(threading, "active_count", lambda: 1)


class Base(nn.Module):
    """A convolution and whatever else `start` adds; `disturb` changes something in every run."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.start()

    def start(self):
        pass

    def disturb(self, x):
        pass

    def forward(self, x):
        replaced = self.disturb(x)
        return self.norm(self.conv(x if replaced is None else replaced))


@dataclass
class Notes:
    count: int = 0
    seen: list = field(default_factory=list)


class Plain:
    def __init__(self):
        self.count, self.inner, self.below = 0, [1], Notes()


class Keeper:
    """An object that is no module, and holds one."""

    def __init__(self):
        self.norm, self.count = nn.BatchNorm2d(2), 0

    def __call__(self, x):
        self.count += 1
        return self.norm(x)


DISTURBANCES = {}


def disturbs(start=None):
    def add(function):
        members = {"disturb": function, **({"start": start} if start else {})}
        DISTURBANCES[function.__name__] = type(function.__name__, (Base,), members)
        return function

    return add


def sets(**values):
    """A `start` that sets attributes, each made anew."""

    def start(self):
        for name, make in values.items():
            setattr(self, name, make())

    return start


@disturbs()
def adds_hooks(self, x):
    self.conv.register_forward_hook(lambda module, args, out: out * 2)
    self.norm.register_forward_pre_hook(lambda module, args: None)
    self.register_full_backward_hook(lambda *_: None)


@disturbs(lambda self: self.conv.register_forward_hook(lambda *_: None))
def adds_hooks_beside_others(self, x):
    self.conv.register_forward_hook(lambda module, args, out: out * 2)


@disturbs()
def sets_data(self, x):
    self.conv.weight.data = torch.ones(2, 2, 3, 3)


@disturbs()
def writes_data(self, x):
    self.conv.weight.data.mul_(2)
    self.conv.bias.data[0] = 3
    self.norm.weight.detach().add_(1)


@disturbs()
def writes_parameters(self, x):
    self.conv.weight.mul_(2)
    self.conv.weight[0].zero_()
    nn.init.normal_(self.conv.bias)
    self.conv.reset_parameters()


@disturbs()
def freezes(self, x):
    for parameter in self.parameters():
        parameter.requires_grad_(False)
    self.conv.requires_grad_(False)


@disturbs()
def gives_gradients(self, x):
    self.conv.weight.grad = torch.zeros(2, 2, 3, 3)
    self.conv.weight.note = "seen"


@disturbs(lambda self: setattr(self.conv.weight, "grad", torch.ones(2, 2, 3, 3)))
def clears_gradients(self, x):
    self.zero_grad(set_to_none=False)
    self.zero_grad()


@disturbs(sets(seen=list, table=dict, kinds=set, notes=Notes, plain=Plain, deep=lambda: [[{}]]))
def changes_containers(self, x):
    self.seen.append(x.shape)
    self.table["shape"] = x
    self.kinds.add(x.dim())
    self.notes.count += 1
    self.notes.seen.append(x)
    self.plain.count += 1
    self.plain.inner.append(2)
    self.plain.below.count += 1
    self.plain.below.seen.append(x)
    self.deep[0][0]["x"] = x


def _closes_over_a_list(self):
    found = []
    self.conv.register_forward_hook(lambda module, args, out: found.append(out))
    self.found = found


@disturbs(_closes_over_a_list)
def appends_in_a_hook(self, x):
    self.found.append(x)


def _closes_over_a_hidden_list(self):
    found = []
    self.conv.register_forward_hook(lambda module, args, out: found.append(out))


@disturbs(_closes_over_a_hidden_list)
def appends_to_what_only_a_hook_holds(self, x):
    pass


@disturbs()
def registers(self, x):
    self.register_buffer("seen", torch.zeros(2))
    self.register_parameter("scale", nn.Parameter(torch.ones(2)))
    self.add_module("other", nn.Conv2d(2, 2, 1))
    self.note = "here"
    self.other.note = "there"


@disturbs(sets(note=lambda: "here", extra=lambda: nn.Conv2d(2, 2, 1)))
def deletes(self, x):
    del self.note, self.extra, self.conv.bias
    self.conv.register_parameter("bias", None)


@disturbs()
def trains(self, x):
    self.train()
    self.norm(x)
    self.eval()


@disturbs()
def counts_batches(self, x):
    self.norm.training = True
    self.norm(x)
    self.norm.num_batches_tracked += 1
    self.norm.running_mean.mul_(0.9).add_(1)
    self.norm.training = False


@disturbs()
def seeds(self, x):
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)


@disturbs()
def draws(self, x):
    random.random(), np.random.rand(3), torch.rand(3), torch.randn(2), torch.randperm(4)
    torch.rand(2, 8, 8).bernoulli_(0.5), torch.empty(3).normal_(), torch.randint(3, (2,))
    return x + torch.rand(8, 8) * random.random() + torch.rand_like(x) + F.dropout(x, 0.5, True)


@disturbs()
def draws_much(self, x):
    torch.rand(300, 300), torch.empty(300, 300).uniform_(), torch.randperm(100_000)


@disturbs()
def sets_the_process(self, x):
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("medium")
    # As the properties of torch.backends do, which torch's own test tools close for a process.
    torch._C._set_cudnn_benchmark(not torch._C._get_cudnn_benchmark())
    torch.backends.mha.set_fastpath_enabled(False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_autocast_enabled("cpu", True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.autograd.set_detect_anomaly(True)
    torch.backends.cuda.enable_flash_sdp(False)
    torch._C._set_cudnn_allow_tf32(not torch._C._get_cudnn_allow_tf32())
    torch.set_autocast_enabled("cpu", False)


@disturbs()
def sets_the_device(self, x):
    torch.set_default_device("meta")


@disturbs(sets(hidden=lambda: [nn.BatchNorm2d(2)], table=lambda: {"a": nn.Conv2d(2, 2, 1)}))
def runs_unregistered_modules(self, x):
    return self.table["a"](self.hidden[0](x))


@disturbs(sets(keeper=Keeper))
def runs_an_object_that_holds_a_module(self, x):
    return self.keeper(x)


@disturbs(lambda self: self.register_buffer("cache", torch.zeros(1, 4, 8, 8)))
def writes_a_cache(self, x):
    self.cache[:, :2] = x
    self.cache[:, 2:] = x * 2
    return self.cache[:, 1:3]


@disturbs(lambda self: self.register_buffer("cache", torch.zeros(1, 40, 64, 64)))
def writes_a_large_cache(self, x):
    self.cache[:, :2, :8, :8] = x
    return self.cache[:, :2, :8, :8]


@disturbs(lambda self: self.register_buffer("steps", torch.zeros((), dtype=torch.long)))
def counts_steps(self, x):
    self.steps += 1
    self.steps = self.steps + 1


def _refers_to_itself(self):
    self.method, self.part = self.norm.forward, partial(self.helper, 2)
    self.function = lambda x: self.helper(2, x)
    self.me, self.owner = weakref.ref(self), [self]
    self.conv.parent = weakref.ref(self)


def _changes_by_all_ways(self, x):
    self.method(x)
    for way in (self.part, self.function, self.me().part, self.owner[0].function):
        x = way(x)
    self.conv.parent().count = 3
    self.owner[0].other = 4
    return x


DISTURBANCES["refers_to_itself"] = type(
    "refers_to_itself",
    (Base,),
    {
        "start": _refers_to_itself,
        "disturb": _changes_by_all_ways,
        "helper": lambda self, n, x: (self.__dict__.update(helped=n), self.conv(x))[1],
    },
)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x):
        self.one.weight.data.add_(1)
        return self.two(self.one(x))


class Double(nn.Module):
    def forward(self, weight):
        return weight * 2


class Fails(Base):
    def disturb(self, x):
        self.seen = x
        self.conv.weight.data.mul_(2)
        torch.set_default_dtype(torch.float64)
        raise RuntimeError("on purpose")


class Inference(Base):
    @torch.inference_mode()
    def forward(self, x):
        self.seen = x.reshape(2, 64) if x.shape[0] == 2 else x.contiguous()
        return super().forward(x)


def parametrized():
    model = Base()
    parametrize.register_parametrization(model.conv, "weight", Double())
    return model


def with_norms():
    model = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4)))
    parametrizations.weight_norm(model[0])
    parametrizations.spectral_norm(model[1])
    with pytest.warns(FutureWarning):
        weight_norm(model[2])
    spectral_norm(model[3])
    return model


def graph_module():
    return torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))


def compiled():
    return torch.compile(Base(), backend="eager")


def parts_compiled():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU())
    model[0] = torch.compile(model[0], backend="eager")
    model[1].compile(backend="eager")
    return model


MODELS = {
    **DISTURBANCES,
    "tied": Tied, "parametrized": parametrized, "norms": with_norms, "fx": graph_module,
    "compiled": compiled, "parts_compiled": parts_compiled, "inference": Inference,
    "fails": Fails, "parallel": lambda: nn.DataParallel(Base()),
    "spread": lambda: nn.Sequential(Base(), Base().train(), Base().eval()),
}  # fmt: skip
NO_COPIES = {"compiled", "parts_compiled", "norms"}  # PyTorch itself refuses
FAILING = {"fails"}
REFUSED = {
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Conv2d(2, 2, 3))),
    "traced": lambda: torch.jit.trace(nn.Conv2d(2, 2, 3), torch.zeros(1, *SHAPE)),
    "holds scripted": lambda: nn.Sequential(nn.ReLU(), torch.jit.script(nn.Conv2d(2, 2, 3))),
    "lazy": lambda: nn.Sequential(nn.LazyConv2d(2, 3), nn.ReLU()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_changed(name, training):
    torch.manual_seed(1)
    model = MODELS[name]().train(training)
    x = torch.rand(1, *SHAPE)
    untouched = copy.deepcopy(model) if name not in NO_COPIES else None
    before = Digest(model)
    try:
        first = account(model, SHAPE)
    except BudgetnetError:
        first = None
    assert [] == before.changes(Digest(model))
    assert (name in FAILING) == (first is None)
    if first is not None:
        assert first == account(model, SHAPE)
        assert [] == before.changes(Digest(model))
    if untouched is not None and first is not None:
        outs = []
        for each in (untouched, model, copy.deepcopy(model)):
            torch.manual_seed(2), random.seed(2), np.random.seed(2)
            with torch.no_grad():
                try:
                    outs.append(each.eval()(x).tolist())
                finally:
                    torch.set_default_device(None)
                    torch.set_default_dtype(torch.float32)
                    torch.use_deterministic_algorithms(False)
                    torch.backends.mha.set_fastpath_enabled(True)
                    torch.set_float32_matmul_precision("highest")
                    torch.autograd.set_detect_anomaly(False)
                    torch.backends.cuda.enable_flash_sdp(True)
                    torch.set_autocast_dtype("cpu", torch.bfloat16)
        assert outs[0] == outs[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_copied_is_refused_by_name(name):
    model = REFUSED[name]()
    before = Digest(model)
    with pytest.raises(UnsupportedOp):
        account(model, SHAPE)
    assert [] == before.changes(Digest(model))


AROUND = {
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
    "grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: _default_dtype(torch.float64),
    "meta": lambda: torch.device("meta"),
}


class _default_dtype:
    def __init__(self, dtype):
        self.dtype = dtype

    def __enter__(self):
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_):
        torch.set_default_dtype(self.before)


@pytest.mark.parametrize("name", AROUND)
def test_whatever_mode_is_on_around_it(name):
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    expected = account(model, SHAPE)
    with AROUND[name]():
        before = Digest(model)
        result = account(model, SHAPE)
        assert [] == before.changes(Digest(model))
    assert (expected.macs, expected.params) == (result.macs, result.params)
    assert expected.receptive_field == result.receptive_field


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = DISTURBANCES["writes_parameters"]()
        before = Digest(model)
        account(model, SHAPE)
        assert [] == before.changes(Digest(model))
    before = Digest(model)
    account(model, SHAPE)
    assert [] == before.changes(Digest(model))


def test_a_copy_and_a_pickle_made_afterwards():
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True))
    expected = account(model, SHAPE)
    assert expected == account(copy.deepcopy(model), SHAPE)
    assert expected == account(pickle.loads(pickle.dumps(model)), SHAPE)


def test_a_training_step_goes_on_around_an_account():
    """The graph of a forward pass is not spoilt by an account before its backward pass."""
    torch.manual_seed(0)
    model, x = DISTURBANCES["writes_parameters"]().train(), torch.rand(2, *SHAPE)
    plain = nn.Sequential(model.conv, model.norm)
    grads = []
    for between in (lambda: None, lambda: account(model, SHAPE)):
        model.zero_grad()
        loss = plain(x).square().sum()
        between()
        loss.backward()
        grads.append([p.grad.tolist() for p in model.parameters()])
    assert grads[0] == grads[1]


def segformer(transformers):
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16],
        patch_sizes=[3, 3], strides=[2, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=16,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config)


def vit(transformers):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def clip(transformers):
    config = transformers.CLIPVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, projection_dim=8,
    )  # fmt: skip
    return transformers.CLIPVisionModelWithProjection(config)


@pytest.mark.parametrize("make", [segformer, vit, clip])
def test_transformers(make):
    """Their forwards add and remove hooks, look at their own signature, and keep flags."""
    transformers = pytest.importorskip("transformers")
    model = make(transformers).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)[0]
    before = Digest(model)
    first = account(model, (3, 32, 32), strict=False)
    assert [] == before.changes(Digest(model))
    with torch.no_grad():
        assert torch.equal(expected, model(x)[0])
    second = account(model, (3, 32, 32), strict=False)
    assert first == second
    assert sum(p.numel() for p in model.parameters()) == first.params


@pytest.fixture
def other_generator():
    """NumPy's functions over another algorithm, for one test."""
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(3))
    yield
    np.random.set_bit_generator(before)


DRAWS = [np.random.rand, np.random.randn, lambda: np.random.randn(2), lambda: np.random.seed(5)]


def draw_all(moved_on):
    class Draws(Base):
        def disturb(self, x):
            self.draw()

    for draw in DRAWS:
        net = Draws()
        net.draw = draw
        moved_on()
        before = np.random.get_state(legacy=False)
        account(net, SHAPE)
        assert str(np.random.get_state(legacy=False)) == str(before)


def test_half_of_a_pair_of_normal_numbers_is_left_as_it_was():
    for moved_on in (lambda: None, np.random.rand, np.random.randn):
        draw_all(moved_on)


def test_other_generators_of_numpy_stay(other_generator):
    draw_all(np.random.rand)
