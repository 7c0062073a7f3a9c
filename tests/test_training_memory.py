"""`training` against real steps on the CPU: hooks, real optimisers and the allocator itself."""

import copy
import json
import threading
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
import torchvision.models as tv
from digest import Digest
from real_training import allocated_peak, saved_bytes, state_bytes, step
from torch import nn
from torch.utils.checkpoint import checkpoint

from budgetnet import (
    Account,
    Budget,
    BudgetExceeded,
    account,
    assert_budget,
    models,
    plan,
    training,
)
from budgetnet.accounting.training import OPTIMIZERS, TrainingSetup, in_units
from budgetnet.cli.parser import main
from budgetnet.errors import (
    ArgumentError,
    ForwardError,
    LeftBehind,
    RunEnded,
    UnsupportedOp,
)


def vit(**more):
    return tv.VisionTransformer(32, 8, 2, 4, 64, 128, **more)


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 15 * 15, 10),
    )  # fmt: skip


class Frozen(nn.Sequential):
    """A trunk that does not train, whose norms stay in evaluation mode."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        self[0].requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


class Odd(nn.Module):
    """Constants, masks, several outputs, a parametrised weight, accumulated gradients."""

    def __init__(self):
        super().__init__()
        self.one = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.scale = torch.ones(4, 1, 1)  # neither a parameter nor a buffer
        self.norm = nn.BatchNorm2d(4, momentum=None)

    def forward(self, x):
        x = self.norm(self.one(x) * self.scale)
        seq = x.flatten(2).transpose(1, 2)[:, :32]
        mask = torch.ones(32, 32, dtype=torch.bool).tril()
        seen, _ = self.attention(seq, seq, seq, attn_mask=~mask, need_weights=False)
        return {"map": x.sigmoid() + x.tanh() + x[:, [1, 0, 3, 2]], "seen": seen}


QUICK = {
    "plain": (plain, (3, 32, 32)),
    "frozen": (Frozen, (3, 16, 16)),
    "odd": (Odd, (3, 8, 8)),
    "resnet18": (tv.resnet18, (3, 32, 32)),
    "mobilenet_v3_small": (tv.mobilenet_v3_small, (3, 32, 32)),
    "vit": (vit, (3, 32, 32)),
    "vit with dropout": (lambda: vit(dropout=0.1, attention_dropout=0.1), (3, 32, 32)),
    "u-net": (
        lambda: models.get_model("unet"),
        (models.get_reference("unet").input_shape[0], 64, 64),
    ),
}
SMALL = ("plain", "frozen", "odd", "vit", "vit with dropout")
DEEP = {
    "alexnet": 64, "vgg11_bn": 32, "squeezenet1_1": 64, "densenet121": 32, "googlenet": 64,
    "inception_v3": 299, "shufflenet_v2_x0_5": 32, "mnasnet0_5": 32, "efficientnet_b0": 32,
    "regnet_y_400mf": 32, "convnext_tiny": 32, "swin_t": 64, "vit_b_16": 224,
}  # fmt: skip
CASES = [
    *(pytest.param(*case, id=name) for name, case in QUICK.items()),
    *(
        pytest.param(getattr(tv, name), (3, size, size), id=name, marks=pytest.mark.deep)
        for name, size in DEEP.items()
    ),
]


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_every_byte_that_is_saved(make, shape):
    model = make().train()
    x = torch.randn(2, *shape)
    assert saved_bytes(model, x) == training(model, shape, batch=2).saved_bytes


ROOT = Path(__file__).resolve().parents[1]
MODULES = [  # of PyTorch's database, as the file has them that it was last held against
    name
    for name in json.loads((ROOT / "docs" / "results" / "operators.json").read_text())["modules"]
    if name.startswith("nn.") and not name.endswith("Loss")
]


class Alone(nn.Module):
    """A module with the arguments that its database gives it, beside the one input."""

    def __init__(self, inner, args, kwargs):
        super().__init__()
        self.inner, self.args, self.kwargs = inner, args, kwargs
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = x * self.scale if x.is_floating_point() else x
        return self.inner(x, *self.args, **self.kwargs)


@pytest.mark.deep
@pytest.mark.parametrize("name", MODULES)
def test_pytorch_s_own_modules(name, of_database):
    """Every module of PyTorch's database saves what is told, or is refused by name."""
    info = of_database("modules").database().get(name)
    if info is None:
        pytest.skip("this PyTorch has no such module")
    known = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": True}
    for case in info.module_inputs_func(info, **known):
        given, made = case.forward_input, case.constructor_input
        inner = info.module_cls(*made.args, **made.kwargs).train()
        if not given.args:
            continue  # the input has a name
        x, *rest = (given.args[0].contiguous(), *given.args[1:])
        if not x.dim() or not len(x) or any(isinstance(r, torch.Tensor) for r in rest):
            continue  # there is no batch, or there are several inputs
        model = Alone(inner, rest, given.kwargs)
        try:
            told = training(model, (x,), batch=len(x)).saved_bytes
        except (UnsupportedOp, ForwardError, ArgumentError):
            continue  # refused, in training mode by the module itself, or without an output
        assert saved_bytes(model, x) == told


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else pytest.mark.deep) for name in QUICK]
)
@pytest.mark.parametrize("optimizer", ["sgd-momentum", "adam"])
def test_the_peak_is_that_of_the_allocator_but_for_workspace(name, optimizer):
    make, shape = QUICK[name]
    model = make().train()
    found = training(model, shape, batch=3, optimizer=optimizer)
    real = getattr(torch.optim, OPTIMIZERS[optimizer][0])
    allocated = allocated_peak(
        model, real(model.parameters(), **OPTIMIZERS[optimizer][1]), torch.randn(3, *shape)
    )
    workspace = allocated - found.peak_bytes  # of convolutions and attention, inside their kernels
    assert 0 <= workspace <= (64 if name == "plain" else max(2**18, allocated // 10))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_that_of_the_real_optimizer(name):
    model = plain()
    kind, options = OPTIMIZERS[name]
    optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
    step(model, optimizer, torch.randn(2, 3, 32, 32))
    found = training(model, (3, 32, 32), batch=2, optimizer=name)
    assert state_bytes(optimizer) == found.state_bytes
    assert sum(p.grad.nbytes for p in model.parameters()) == found.gradient_bytes


def test_an_optimizer_of_ones_own():
    def amsgrad(parameters):
        return torch.optim.Adam(parameters, amsgrad=True)

    found = training(plain(), (3, 32, 32), batch=2, optimizer=amsgrad)
    assert 3 * found.parameter_bytes + 6 * 4 == found.state_bytes
    assert "amsgrad" == found.setup.optimizer


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_another_type(dtype):
    model = vit().train()
    found = training(model, (3, 32, 32), batch=2, dtype=dtype)
    kind = getattr(torch, dtype)
    x = torch.randn(2, 3, 32, 32, dtype=kind)
    assert saved_bytes(copy.deepcopy(model).to(kind), x) == found.saved_bytes


def test_checkpoints_save_only_what_goes_in():
    model = tv.resnet18().train()
    plain_step = training(model, (3, 32, 32), batch=2)
    found = training(model, (3, 32, 32), batch=2, checkpoint="layer?.?")
    real = copy.deepcopy(model)
    for path, module in real.named_modules():
        if fnmatchcase(path, "layer?.?"):
            inner = module.forward
            module.forward = lambda x, inner=inner: checkpoint(inner, x, use_reentrant=False)
    assert saved_bytes(real, torch.randn(2, 3, 32, 32)) == found.saved_bytes
    assert found.saved_bytes < plain_step.saved_bytes
    assert plain_step.forward_macs == found.forward_macs
    again = sum(r.forward_macs for r in found.rows if r.path.startswith("layer"))
    assert plain_step.backward_macs + again == found.backward_macs


@pytest.mark.parametrize("name", ["plain", "resnet18", "mobilenet_v3_small", "vit"])
def test_macs(name):
    make, shape = QUICK[name]
    model = make()
    found = training(model, shape, batch=5)
    assert 5 * account(model, shape).macs == found.forward_macs
    assert found.forward_macs == sum(row.forward_macs for row in found.rows)
    first = next(row.forward_macs for row in found.rows if row.forward_macs)
    again = 0  # fused attention computes its weights anew
    if name == "vit":
        again = sum(r.forward_macs for r in found.rows if r.kind == "MultiheadAttention")
        tokens, width, layers = 17, 64, 2
        again = 5 * layers * tokens * tokens * width
    assert 2 * found.forward_macs - first + again == found.backward_macs


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_largest_batch_fits_and_one_more_does_not(optimizer):
    for memory in (3 * 2**20, 2**34):
        found = training("s6", batch="max", memory=memory, optimizer=optimizer)
        more = training("s6", batch=found.setup.batch + 1, optimizer=optimizer)
        assert found.peak_bytes <= memory < more.peak_bytes


def test_a_norm_over_one_value_begins_at_two():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    assert training(model, (8,), batch="max", memory=100_000).setup.batch > 2
    with pytest.raises(ForwardError, match="Expected more than 1 value per channel"):
        training(model, (8,))


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_changed(name, is_training, monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    make, shape = QUICK[name]
    model = make().train(is_training)
    before = Digest(model)
    training(model, shape, batch=2, optimizer="adam")
    assert [] == before.changes(Digest(model))


def test_evaluation_mode_is_that_of_no_training():
    model = plain()
    assert training(model.eval(), (3, 32, 32)) == training(model.train(), (3, 32, 32))


class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x)
        return x if x.sum() > 0 else -x


KEPT = []


class Keeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        KEPT.append(self.layer(x))
        return KEPT[-1] * 2


REFUSED = {
    "recurrent": (lambda: nn.LSTM(4, 4), (3, 4), UnsupportedOp, "training memory of lstm"),
    "mish": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Mish()), (4,), UnsupportedOp, "of mish"),
    "values": (Asks, (4,), RunEnded, "depends on a value"),
    "left": (Keeps, (4,), LeftBehind, "keeps tensors outside"),
    "frozen": (lambda: nn.Linear(4, 4).requires_grad_(False), (4,), ArgumentError, "nothing tra"),
    "shape": (lambda: nn.Linear(4, 4), (5,), ForwardError, "the model (Linear): training raised"),
}


@pytest.mark.parametrize(("make", "shape", "error", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_known_is_refused_by_name(make, shape, error, told):
    with pytest.raises(error) as raised:
        training(make(), shape, batch=2)
    assert told in str(raised.value)
    KEPT.clear()


WRONG = [
    ({"batch": 0}, "batch=0 is not a valid batch size"),
    ({"batch": True}, "batch=True is not a valid batch size"),
    ({"batch": "max"}, 'Pass both batch="max" and memory='),
    ({"memory": 10}, 'Pass both batch="max" and memory='),
    ({"batch": "max", "memory": 10}, "a batch of 1 does not fit (needed "),
    ({"batch": "max", "memory": "10"}, "memory='10' is not a number of bytes"),
    ({"optimizer": "adm"}, "Did you mean 'adam'?"),
    ({"dtype": "int8"}, "dtype='int8' is not a type to train in"),
    ({"checkpoint": "layer"}, "checkpoint='layer' matches no module"),
]


@pytest.mark.parametrize(("options", "told"), WRONG)
def test_arguments_that_are_not_valid(options, told):
    with pytest.raises(ArgumentError) as raised:
        training("s6", **options)
    assert told in str(raised.value)


def test_what_does_not_train():
    for model in (account("s6"), "net.tflite"):
        with pytest.raises(ArgumentError, match="does not say how a network trains"):
            training(model)
    with pytest.raises(ArgumentError, match="is not a network"):
        training(3)


def test_the_table_and_the_data():
    found = training("s6", batch=128, optimizer="adam")
    lines = str(found).splitlines()
    assert "s6  (input 1x28x28, batch 128, adam)" == lines[0]
    assert f"peak of a step {found.peak_bytes:,} bytes" in lines[-2]
    data = json.loads(found.to_json())
    assert found.saved_bytes == data["saved_bytes"] == sum(r["saved_bytes"] for r in data["rows"])
    assert ["0.0 B", "1.0 KiB", "3.0 TiB"] == [in_units(n) for n in (0, 1024, 3 * 2**40)]


def test_limits_judge_the_peak():
    peak = training("s6", batch=8, optimizer="adam").peak_bytes
    for limit, verdict in ((peak, "within"), (peak - 1, "over"), (f"{peak + 1}..9 GiB", "under")):
        budget = Budget(training_memory=limit, batch=8, optimizer="adam")
        (finding,) = budget.check("s6")
        assert (verdict, peak) == (finding.verdict, finding.measured)
    with pytest.raises(BudgetExceeded, match="training_memory"):
        assert_budget(
            models.get_model("s6"),
            (1, 28, 28),
            training_memory=peak - 1,
            batch=8,
            optimizer="adam",
        )
    (finding,) = Budget(training_memory=1, batch=8).check(nn.LSTM(4, 4), (3, 4))
    assert ("unknown", True) == (finding.verdict, "lstm" in finding.reason)
    (finding,) = Budget(training_memory=1, batch=8).check(plan("s6"))
    assert ("unknown", True) == (finding.verdict, "pass the model" in finding.reason)
    for wrong in ({"training_memory": 3}, {"training_memory": 3, "batch": 8, "optimizer": "x"}):
        with pytest.raises(ArgumentError, match=r"needs a batch|not a known optimizer"):
            Budget(**wrong)


def test_an_account_keeps_the_peaks_that_limits_asked_for():
    found = assert_budget("s6", training_memory="1 GiB", batch=8)
    again = Account.from_json(found.to_json())
    assert (found.training, TrainingSetup(8)) == (again.training, again.training[0].setup)
    assert ["within"] == [f.verdict for f in Budget(training_memory="1 GiB", batch=8).check(again)]


def test_the_command_line(tmp_path, capsys, monkeypatch):
    assert 0 == main(
        ["training", "s6", "--optimizer", "adam", "--memory", "1GiB", "--format", "json"]
    )
    data = json.loads(capsys.readouterr().out)
    assert (
        training("s6", batch="max", memory=2**30, optimizer="adam").peak_bytes == data["peak_bytes"]
    )
    assert 2 == main(["training", "s6", "--batch", "1e3"])
    assert "--batch '1e3' is not a number of inputs" in capsys.readouterr().err
    assert 2 == main(["training", "s6", "--batch", "max"])
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Linear(4, 4)\n"
    )
    file = tmp_path / "pyproject.toml"
    section = '[[tool.budgetnet.check]]\nmodel = "net.py:make"\ninput = "4"\n'
    file.write_text(f'{section}training_memory = 400\nbatch = 2\noptimizer = "adam"\n')
    monkeypatch.chdir(tmp_path)
    assert 1 == main(["check"])
    peak = training(nn.Linear(4, 4), (4,), batch=2, optimizer="adam").peak_bytes
    assert f"{peak} " in capsys.readouterr().out
    assert 0 == main(
        ["check", "net.py:make", "--input", "4", "--training-memory", "1kB", "--batch", "2"]
    )
    file.write_text(f"{section}training_memory = 400\n")
    assert 2 == main(["check"])
    assert ":4: check 'net.py:make', training_memory: " in capsys.readouterr().err
