"""`to_tflite` and `budgetnet export --int8`: the real converter, quantiser and interpreter.

They are an extra, `pip install -e ".[litert]"`; without it, the one line that says so is tested.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from budgetnet import account, models, to_tflite
from budgetnet.cli.parser import main
from budgetnet.deploy.litert import PACKAGES, load_calibration
from budgetnet.errors import ArgumentError, ExportError

MISSING = [name for name in PACKAGES if find_spec(name) is None]
needs_litert = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")


@pytest.mark.skipif(not MISSING, reason="the packages are installed")
def test_what_to_install_is_said_in_one_line(tmp_path, capsys):
    said = r'files need .*litert_torch.*\. pip install -e "\.\[litert\]"'
    with pytest.raises(ExportError, match=said):
        to_tflite(nn.Conv2d(1, 2, 3), (1, 8, 8), tmp_path / "net.tflite")
    digits = tmp_path / "digits.npy"
    np.save(digits, np.zeros((4, 1, 28, 28), np.float32))
    asked = [
        "export",
        "s6",
        "--int8",
        "--calibrate",
        str(digits),
        "-o",
        str(tmp_path / "s6.tflite"),
    ]
    assert 2 == main(asked)
    assert 1 == len(capsys.readouterr().err.splitlines())
    assert [digits] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["--int8"], ["--calibrate", "x.npy"], ["--int8", "--calibrate", "x.npy", "--format", "onnx"]],
)
def test_int8_needs_a_tflite_file_and_typical_inputs(arguments, tmp_path, capsys):
    assert 2 == main(["export", "s6", *arguments, "-o", str(tmp_path / "s6.tflite")])
    assert "--int8 needs a .tflite file and --calibrate" in capsys.readouterr().err


def test_calibration_files_are_read_without_pickles(tmp_path):
    file = tmp_path / "digits.npy"
    np.save(file, np.ones((2, 1, 4, 4), np.float32))
    assert (2, 1, 4, 4) == load_calibration(file).shape
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    for content in (file.read_bytes(), b"GIF89a", b""):
        file.write_bytes(content)
        with pytest.raises(ArgumentError, match=r"digits\.npy is not a \.npy file"):
            load_calibration(file)
    with pytest.raises(ArgumentError, match="cannot read"):
        load_calibration(tmp_path / "none.npy")


@needs_litert
def test_a_float_file_costs_what_was_folded(tmp_path):
    net = models.get_model("dsnet14", weights="mnist").eval()
    written = to_tflite(net, (1, 28, 28), tmp_path / "net.tflite", name="dsnet14")
    assert written == account(tmp_path / "net.tflite", name="dsnet14")
    planned = models.get_reference("dsnet14").spec
    expected = account(planned, (1, 28, 28))
    assert (expected.macs, expected.receptive_field, (10,)) == (
        written.macs, written.receptive_field, written.output_shape,
    )  # fmt: skip
    assert written.weight_bytes == 4 * written.params


@needs_litert
def test_int8_from_the_command_line(tmp_path, capsys):
    generator = np.random.default_rng(0)
    np.save(tmp_path / "digits.npy", generator.normal(size=(32, 1, 28, 28)).astype(np.float32))
    asked = ["export", "s6", "--weights", "mnist", "--int8", "--calibrate"]
    file = tmp_path / "s6.tflite"
    assert 0 == main([*asked, str(tmp_path / "digits.npy"), "-o", str(file)])
    said = capsys.readouterr().out
    assert "14,250 after folding 8 norms" in said
    assert "TensorFlow Lite Micro plans 20,032 bytes of activations" in said
    if find_spec("tflite_micro") is not None:
        assert "and allocates 20,032" in said
    found = account(file)
    sizes = {"int8": 16 * 9 + 6 * 16 * 144 + 160, "int32": 4 * (7 * 16 + 10)}
    assert sizes == dict(found.weight_bytes_by_type)
    assert (3_731_008, (22, 22)) == (found.macs, found.receptive_field.size)


@needs_litert
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    net, file = nn.Conv2d(3, 4, 3), tmp_path / "net.tflite"
    for given in (np.zeros((2, 3, 9, 9)), np.zeros((2, 3, 8, 8), int), np.zeros((0, 3, 8, 8))):
        with pytest.raises(
            ArgumentError, match=r"calibrate is not valid .*expected \(N, 3, 8, 8\)"
        ):
            to_tflite(net, (3, 8, 8), file, calibrate=given)
    with pytest.raises(ArgumentError, match="not finite"):
        to_tflite(net, (3, 8, 8), file, calibrate=torch.full((2, 3, 8, 8), torch.nan))
    with pytest.raises(ArgumentError, match="of one input"):
        to_tflite(nn.Bilinear(2, 2, 3), ((2,), (2,)), file)
    assert not file.exists()


@needs_litert
@pytest.mark.filterwarnings("ignore")
def test_weights_in_channels_last_order_are_written_as_any_others(tmp_path):
    net = models.build("c8 c8 p gap4", (3, 12, 12)).eval()
    other = models.build("c8 c8 p gap4", (3, 12, 12)).eval()
    other.load_state_dict(net.state_dict())
    to_tflite(net, (3, 12, 12), tmp_path / "net.tflite")
    last = other.to(memory_format=torch.channels_last)
    to_tflite(last, (3, 12, 12), tmp_path / "last.tflite")
    assert last[0].conv.weight.is_contiguous(memory_format=torch.channels_last), "left as it was"
    assert (tmp_path / "net.tflite").read_bytes() == (tmp_path / "last.tflite").read_bytes()
