"""`to_pte` and `budgetnet export --format pte`: ExecuTorch's own compiler and runtime.

They are an extra, `pip install -e ".[executorch]"`; without it, the line that says so is tested.
"""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from budgetnet import deployment, fold_batchnorm, models, to_pte
from budgetnet.cli.parser import main
from budgetnet.deploy.pte import program_of
from budgetnet.errors import ExportError, RunEnded

IS_THERE = find_spec("executorch") is not None
needs_executorch = pytest.mark.skipif(not IS_THERE, reason="executorch is not installed")


@pytest.mark.skipif(IS_THERE, reason="the package is installed")
def test_what_to_install_is_said_in_one_line(tmp_path, capsys):
    with pytest.raises(ExportError, match=r'\.pte files need executorch.*"\.\[executorch\]"'):
        to_pte(nn.Conv2d(1, 2, 3), (1, 8, 8), tmp_path / "net.pte")
    assert 2 == main(["export", "s6", "-o", str(tmp_path / "s6.pte")])
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert not list(tmp_path.iterdir())


@needs_executorch
@pytest.mark.parametrize("name", ["s6", "dsnet16", "resnet8"])
def test_the_runtime_allocates_what_was_said_beforehand(name, tmp_path):
    from executorch.runtime import Runtime

    shape = models.get_reference(name).input_shape
    model = models.get_model(name).eval()
    file = tmp_path / "net.pte"
    written = to_pte(model, shape, file, name=name)
    planned = deployment(written, runtime="executorch", dtype="float32").ram_bytes
    folded, ready = fold_batchnorm(model, shape), torch.zeros(1, *shape)
    assert planned == program_of(folded, (ready,), name)[1]
    x = torch.randn(1, *shape)
    (found,) = Runtime.get().load_program(file.read_bytes()).load_method("forward").execute((x,))
    assert torch.allclose(model(x), found, atol=1e-4)


@needs_executorch
def test_what_it_cannot_take_leaves_no_file(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(RunEnded):
        to_pte(Odd(), (1, 8, 8), tmp_path / "net.pte")
    assert not list(tmp_path.iterdir())


@needs_executorch
def test_the_command_says_what_executorch_plans(tmp_path, capsys):
    assert 0 == main(["export", "s6", "--weights", "mnist", "-o", str(tmp_path / "s6.pte")])
    planned = deployment("s6", runtime="executorch", dtype="float32")
    assert "ExecuTorch plans for activations: 86,528 bytes" in capsys.readouterr().out
    assert planned.ram_bytes > 86_528  # with its norms
