"""ONNX files and exported programs against the model they were made of."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from budgetnet import account, blocks, models, to_onnx, to_program
from budgetnet.cli.parser import main
from budgetnet.deploy.export import PACKAGES, at_inference
from budgetnet.errors import ArgumentError, ExportError

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 - torch needs it
except ImportError as error:
    missing = f'needs {error.name}: pip install -e ".[onnx]"'
else:
    missing = ""
needs_onnx = pytest.mark.skipif(bool(missing), reason=missing)

IMAGE = (1, 12, 14)
SPEC = "c8 p ds8s2same gap10"


class TwoMaps(nn.Module):
    """Two inputs, two outputs."""

    def __init__(self):
        super().__init__()
        self.left = blocks.ConvBNReLU(1, 4)
        self.right = blocks.ConvBNReLU(2, 4)

    def forward(self, x, y):
        left, right = self.left(x), self.right(y)
        return left + right, {"mean": (left * right).mean(dim=(2, 3))}


MODELS = {
    "spec": lambda: models.build(SPEC),
    "residual": lambda: nn.Sequential(
        blocks.ConvBNReLU(1, 8),
        blocks.Residual(blocks.ConvBNReLU(8, 8, activation_layer=None)),
        blocks.GAP(8, 10),
    ),
    "norm first": lambda: nn.Sequential(nn.BatchNorm2d(1), blocks.ConvBNReLU(1, 4), nn.Flatten()),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
both = pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])


def trained(model):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    tensor.data.uniform_(0.5, 1.5)
    return model


def outputs_of(path, *inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    slots = [slot.name for slot in session.get_inputs()]
    feed = {slot: x.numpy() for slot, x in zip(slots, inputs, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, feed)]


def weights_in(path):
    """Elements of all floating-point weights in a file."""
    graph = onnx.load(path).graph
    kept = [w for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT and w.dims]
    return sum(onnx.numpy_helper.to_array(w).size for w in kept)


@needs_onnx
@every_model
@both
def test_the_file_computes_what_the_model_does(make, fold, tmp_path):
    model, path = trained(make()), tmp_path / "net.onnx"
    assert model.training
    to_onnx(model, IMAGE, path, fold=fold)
    assert model.training
    assert ["net.onnx"] == [file.name for file in tmp_path.iterdir()]
    model.eval()
    for batch in (1, 2, 5):
        x = torch.rand(batch, *IMAGE)
        (actual,) = outputs_of(path, x)
        torch.testing.assert_close(actual, model(x), rtol=1e-4, atol=1e-5)


@needs_onnx
def test_what_the_file_says_of_itself(tmp_path):
    model, path = trained(models.build(SPEC)), tmp_path / "net.onnx"
    result = to_onnx(model, IMAGE, path, name="small", spec=SPEC)
    assert result.params == weights_in(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (slot,), (out,) = session.get_inputs(), session.get_outputs()
    assert ("input", ["batch", 1, 12, 14]) == (slot.name, slot.shape)
    assert ("output", ["batch", 10]) == (out.name, out.shape)
    metadata = session.get_modelmeta().custom_metadata_map
    version = metadata.pop("budgetnet.version")
    assert version.count(".") == 2
    assert {
        "budgetnet.name": "small",
        "budgetnet.spec": SPEC,
        "budgetnet.input": "1x12x14",
        "budgetnet.params": str(result.params),
        "budgetnet.macs": str(account(model, IMAGE).macs),
        "budgetnet.receptive_field": str(account(model, IMAGE).receptive_field),
    } == metadata
    onnx.checker.check_model(onnx.load(path), full_check=True)
    content = path.read_bytes()
    assert b".py" not in content  # torch notes the places of the code that ran


@needs_onnx
def test_the_account_is_of_what_was_written(tmp_path):
    model, path = models.get_model("s6", weights="mnist"), tmp_path / "s6.onnx"
    assert 14_250 == to_onnx(model, (1, 28, 28), path).params == weights_in(path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert [8, 0] == [kinds.count("Conv"), kinds.count("BatchNormalization")]
    assert 14_372 == to_onnx(model, (1, 28, 28), path, fold=False).params
    buffers = account(model, (1, 28, 28)).buffers - 8  # the counters are not used at inference
    assert 14_372 + buffers == weights_in(path)


@needs_onnx
def test_several_inputs_and_outputs(tmp_path):
    model, path, shapes = trained(TwoMaps()), tmp_path / "two.onnx", ((1, 8, 8), (2, 8, 8))
    to_onnx(model, shapes, path)
    x, y = torch.rand(4, 1, 8, 8), torch.rand(4, 2, 8, 8)
    graph = onnx.load(path).graph
    assert ["input1", "input2"] == [value.name for value in graph.input]
    assert ["output1", "output2"] == [value.name for value in graph.output]
    total, more = model.eval()(x, y)
    for expected, actual in zip((total, more["mean"]), outputs_of(path, x, y), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@needs_onnx
def test_nothing_reaches_the_terminal(tmp_path, capfd, recwarn):
    to_onnx(models.build("c4 gap2"), IMAGE, tmp_path / "net.onnx")
    assert ("", "") == capfd.readouterr()
    assert [] == [str(w.message) for w in recwarn]


class Fixed(nn.Module):
    def forward(self, x):
        return x.view(2, -1)


class Erring(nn.Conv2d):
    """Computes something else while torch exports it, as a wrong conversion would."""

    def forward(self, x):
        out = super().forward(x)
        return out * 1.01 if torch.compiler.is_exporting() else out


class Undefined(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).sub(1e9).sqrt()


def half():
    return nn.Sequential(nn.Conv2d(1, 2, 3)).half()


REFUSED = {
    "torch cannot export it for any batch size": Fixed,
    "0.weight: is float16, and ONNX files are written in float32. Export copy.deepcopy": half,
    "weight: has no values to write": lambda: nn.Conv2d(1, 2, 3, device="meta"),
    "the exported program does not compute what the model does (output 0, largest difference nan": (
        lambda: Undefined(1, 2, 3)
    ),
}
if hasattr(torch.compiler, "is_exporting"):  # since torch 2.7
    REFUSED["Erring: the exported program does not compute what the model does (output 0,"] = (
        lambda: Erring(1, 2, 3)
    )


@needs_onnx
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_leaves_no_file(text, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_text("before")
    with pytest.raises(ExportError) as caught:
        to_onnx(REFUSED[text](), IMAGE, path, fold=False)
    assert text in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
    assert ["net.onnx"] == [file.name for file in tmp_path.iterdir()]
    assert "before" == path.read_text()


@needs_onnx
def test_a_tolerance_decides(tmp_path):
    model = trained(models.build(SPEC))
    with pytest.raises(ExportError, match="a larger tolerance"):
        to_onnx(model, IMAGE, tmp_path / "net.onnx", tolerance=0.0)
    assert [] == [*tmp_path.iterdir()]


@needs_onnx
def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(ArgumentError, match="cannot write"):
        to_onnx(models.build("c4"), IMAGE, tmp_path / "no" / "net.onnx")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named(package, monkeypatch, tmp_path):
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(ExportError) as caught:
        to_onnx(models.build("c4"), IMAGE, tmp_path / "net.onnx")
    assert f'ONNX files need {package}. pip install -e ".[onnx]"' == str(caught.value)


def test_the_packages_are_those_of_the_extra():
    import tomllib
    from pathlib import Path

    file = Path(__file__).resolve().parents[1] / "pyproject.toml"
    extra = tomllib.loads(file.read_text())["project"]["optional-dependencies"]["onnx"]
    assert list(PACKAGES) == [requirement.partition(">=")[0] for requirement in extra]


@every_model
@both
def test_a_program_takes_any_batch_and_survives_a_file(make, fold, tmp_path):
    model, path = trained(make()), tmp_path / "net.pt2"
    program = to_program(model, IMAGE, fold=fold)
    torch.export.save(program, path)
    loaded = torch.export.load(path)
    model.eval()
    for batch in (1, 2, 5):
        x = torch.rand(batch, *IMAGE)
        for each in (program, loaded):
            torch.testing.assert_close(each.module()(x), model(x), rtol=1e-4, atol=1e-5)
    assert all(
        torch.equal(value, loaded.state_dict[name]) for name, value in program.state_dict.items()
    )
    norms = [name for name in program.state_dict if "running_mean" in name]
    assert bool(norms) == (not fold or isinstance(model[0], nn.BatchNorm2d))


def test_a_program_in_float64_equals_the_model():
    model = trained(models.build(SPEC)).double()
    before = copy.deepcopy(model.state_dict())
    program = to_program(model, IMAGE)
    x = torch.rand(3, *IMAGE, dtype=torch.float64)
    torch.testing.assert_close(program.module()(x), model.eval()(x), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_program_for_one_batch_size_is_refused():
    with pytest.raises(ExportError, match=r"Fixed: torch cannot export .*x.flatten\(1\)"):
        to_program(Fixed(), IMAGE)


@needs_onnx
def test_the_command(tmp_path, capsys):
    path = tmp_path / "s6.onnx"
    assert 0 == main(["export", "s6", "--weights", "mnist", "-o", str(path)])
    size = path.stat().st_size
    assert (
        f"wrote {path}: s6 on 1x28x28, 14,372 parameters, 14,250 after folding 8 norms, "
        f"3,731,008 MACs, receptive field 22, {size:,} bytes\n"
    ) == capsys.readouterr().out
    x = torch.rand(2, 1, 28, 28)
    expected = models.get_model("s6", weights="mnist").eval()(x)
    torch.testing.assert_close(outputs_of(path, x)[0], expected, rtol=1e-4, atol=1e-4)


@needs_onnx
def test_the_command_says_what_it_could_not_do(tmp_path, capsys):
    file, path = tmp_path / "net_to_export.py", tmp_path / "net.onnx"
    file.write_text(
        "from torch import nn\n"
        "def make(width):\n"
        "    return nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, width, 3))\n"
    )
    call = ["export", f"{file}:make", "--set", "width=2", "--input", "1x8x8", "-o", str(path)]
    assert 0 == main(call)
    line = "1 of 1 BatchNorms are not folded; 0 stays: its input is not the result of"
    out = capsys.readouterr().out
    assert line in out
    assert "after folding" not in out
    assert 0 == main([*call, "--no-fold"])
    out = capsys.readouterr().out
    assert "BatchNorms" not in out
    assert "after folding" not in out
    assert 0 == main(["export", "c4 gap2", "--input", "1x8x8", "-o", str(path)])
    assert "its weights are random: nothing has trained them" in capsys.readouterr().out
    assert "c4 gap2" in str(onnx.load(path).metadata_props)


BAD = {
    "account.json is a saved account; no model can be built from it": ["account.json"],
    "c4 has no known input shape": ["c4"],
    "no weights are named 'nothing'": ["s6", "--weights", "nothing"],
    "--weights is for listed models (got c4)": ["c4", "--input", "1x8x8", "--weights", "mnist"],
    "torch.nn:ReLU has no known input shape": ["torch.nn:ReLU"],
}


@pytest.mark.parametrize("text", BAD)
def test_bad_calls_exit_2_with_one_line(text, tmp_path, capsys):
    assert 2 == main(["export", *BAD[text], "-o", str(tmp_path / "net.onnx")])
    captured = capsys.readouterr()
    assert text in captured.err
    assert 1 == len(captured.err.splitlines())
    assert [] == [*tmp_path.iterdir()]


def test_nothing_imports_onnx_before_it_is_needed():
    code = "import sys; from budgetnet import to_onnx; print('onnx' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False\n" == run.stdout


@pytest.mark.parametrize("fold", [False, True])
def test_what_is_exported_lies_as_a_new_module_does_and_the_model_stays(fold):
    model = models.build("c8 c8 p gap4", (3, 12, 12)).to(memory_format=torch.channels_last)
    ready = at_inference(model, (3, 12, 12), fold)
    assert all(weight.is_contiguous() for weight in ready.parameters())
    assert not all(weight.is_contiguous() for weight in model.parameters())
