"""Seeds that train as one wide network learn what each learns alone."""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from budgetnet import models

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
SEEDS = 3


@pytest.fixture
def scripts(monkeypatch):
    for folder in (ROOT / "examples", ROOT / "examples" / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    import crowd

    import mnist_data
    import recipes
    import trainer
    from mnist_s6 import seed_everything

    return argparse.Namespace(
        crowd=crowd, data=mnist_data, recipes=recipes, trainer=trainer, seed=seed_everything
    )


@pytest.fixture
def in_double(monkeypatch):
    """Rounding as small as can be, so that what differs is not put down to it."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def begun(scripts, spec, recipe, teacher=None):
    """The runs of some seeds, each alone, and the same seeds as one."""
    digits = scripts.data.load("digits")
    digits = replace(digits, test=digits.test[:40])
    alone, networks, generators = [], [], []
    for seed in range(SEEDS):
        generator = scripts.seed(seed, CPU)
        model = models.build(spec, (1, 28, 28))
        run = scripts.trainer.Training(model, digits, recipe, generator, teacher=teacher)
        alone.append(run)
        generators.append(scripts.seed(seed, CPU))
        networks.append(models.build(spec, (1, 28, 28)))
    crowd = scripts.crowd.Crowd(networks, digits, recipe, generators, teacher=teacher)
    return alone, crowd


def largest_difference(crowd, alone):
    return max(
        float((one.detach() - other.detach()).abs().max())
        for run, model in zip(alone, crowd.results, strict=True)
        for one, other in zip(run.result.parameters(), model.parameters(), strict=True)
    )


CHANGES = {
    "SGD": {},
    "Muon": {"matrix_lr": 0.05},
    "averaged": {"ema": 0.9},
    "taught": {"distill": 0.5, "temperature": 2.0},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("spec", ["c6 ds8 p ds8 gap10", "c4s2same ir4e2 p ir4e2 gap10-bn"])
def test_every_seed_learns_what_it_learns_alone(scripts, in_double, spec, change):
    recipe = replace(scripts.recipes.RECIPES["long"], epochs=2, batch_size=24, **change)
    bent = replace(recipe.augment, elastic=1.0, flip=0.5)
    teacher = models.build("c4 p c8 gap10", (1, 28, 28)) if recipe.distill else None
    alone, crowd = begun(scripts, spec, replace(recipe, augment=bent, fade=0.5), teacher)
    for _ in range(2):
        sizes = [run.begin_epoch() for run in (*alone, crowd)]
        assert all(some == sizes[0] for some in sizes)
        for size in sizes[0][:4]:
            for run in (*alone, crowd):
                run.step(size, 28)
    assert largest_difference(crowd, alone) < 1e-9
    for mine, run, row in zip(crowd.correct, alone, crowd.end_epochs(), strict=True):
        assert mine == run.correct
        expected = run.end_epoch()
        assert row["test_loss"] == pytest.approx(expected["test_loss"], abs=1e-6)
        assert row.items() - {("test_loss", row["test_loss"])} <= expected.items()
    assert largest_difference(crowd, alone[::-1]) > 1e-2, "seeds differ"


def test_what_cannot_be_joined_is_refused_by_name(scripts):
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) for _ in range(2)]
    with pytest.raises(TypeError, match="1: seeds of a Linear cannot train side by side"):
        scripts.crowd.widened(networks)


AGREE = """
import sys
import torch
import torch.nn.functional as F
from grouped_conv import grouped_conv2d

for groups, before, after, side, padding, count, width in (
    (3, 16, 16, 3, 0, 2, 9),
    (2, 1, 16, 3, 0, 3, 10),
    (4, 16, 10, 1, 0, 2, 5),
    (2, 8, 19, 1, 0, 3, 7),
    (2, 5, 7, 3, 1, 2, 6),
    (2, 40, 33, 1, 0, 2, 4),
    (2, 4, 8, 5, 2, 1, 7),
):
    torch.manual_seed(0)
    x = torch.randn(count, groups * before, width, width, requires_grad=True)
    weight = torch.randn(groups * after, before, side, side, requires_grad=True)
    expected = F.conv2d(x, weight, padding=padding, groups=groups)
    given = torch.randn_like(expected)
    found = grouped_conv2d(x, weight, groups, padding)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    wanted, got = (torch.autograd.grad(y, (x, weight), given) for y in (expected, found))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
print("all agree")
"""


def test_the_kernels_of_grouped_convolutions_agree_with_torch():
    """On a CPU, operation by operation; Triton decides that when it is imported."""
    if not find_spec("triton"):
        pytest.skip("triton is not installed: torch for CPUs lacks it")
    paths = [str(ROOT / "examples" / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    call = [sys.executable, "-c", AGREE]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert "all agree\n" == done.stdout, done.stderr
