"""The example as its users run it: a process, a folder of results, and one line per mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from budgetnet import models

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "mnist_s6.py"
PICTURES = ("curves.png", "preview.png", "errors.png")


def train(*arguments, cwd, data=None, code=0):
    env = {key: value for key, value in os.environ.items() if key != "BUDGETNET_DATA"}
    env |= {"BUDGETNET_DATA": str(data)} if data else {}
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=cwd, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert code == run.returncode, run.stdout + run.stderr
    return run


def mnist_root():
    root = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data")
    names = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    return root if all((root / "MNIST" / "raw" / name).exists() for name in names) else None


needs_mnist = pytest.mark.skipif(
    mnist_root() is None, reason="MNIST is neither in $BUDGETNET_DATA nor in ./data"
)


def read(folder, name):
    return json.loads((folder / name).read_text())


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A short training on the digits inside scikit-learn, which need no download."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    run = train("--dataset", "digits", "--epochs", 8, "--out", folder, cwd=folder.parent)
    return folder, run


def test_digits_beat_the_stated_accuracy(digits_run):
    folder, _ = digits_run
    summary = read(folder, "summary.json")
    assert summary["last"] > 90
    assert summary["last"] == metrics(folder)[-1]["test_accuracy"]


def test_digits_are_said_to_be_digits_everywhere(digits_run):
    folder, run = digits_run
    assert (
        "digits"
        == read(folder, "config.json")["dataset"]
        == read(folder, "summary.json")["dataset"]
    )
    assert {"digits"} == {row["dataset"] for row in metrics(folder)}
    assert "NOT MNIST" in run.stdout.upper()
    assert "99.4" not in (folder / "summary.json").read_text()


def test_the_run_folder_is_complete(digits_run):
    folder, run = digits_run
    expected = {"config.json", "metrics.jsonl", "summary.json", "weights.safetensors", *PICTURES}
    assert expected == {path.name for path in folder.iterdir()}
    assert 8 == len(metrics(folder))
    summary = read(folder, "summary.json")
    assert (14_372, [22, 22]) == (summary["parameters"], summary["receptive_field"])
    assert "14,372" in run.stdout
    assert "\x1b" not in run.stdout, "no control sequences when piped"
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_weights_load_into_the_model(digits_run):
    folder, _ = digits_run
    model = models.get_model("s6")
    model.load_state_dict(load_file(folder / "weights.safetensors"))


def test_the_same_seed_gives_the_same_numbers(tmp_path):
    for name in ("one", "two"):
        arguments = ("--dataset", "digits", "--epochs", 2, "--model", "c8 p c8 gap10")
        train(*arguments, "--seed", 3, "--out", tmp_path / name, cwd=tmp_path)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    for row in one + two:
        del row["seconds"]
    assert one == two
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_no_run_overwrites_another(tmp_path):
    arguments = ("--dataset", "digits", "--epochs", 1, "--model", "c4 gap10")
    for _ in range(2):
        train(*arguments, cwd=tmp_path)
    assert 2 == len(list((tmp_path / "runs").iterdir()))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("kept")
    run = train(*arguments, "--out", tmp_path / "full", cwd=tmp_path, code=2)
    assert "is not empty" in run.stderr
    assert ["precious.txt"] == [path.name for path in (tmp_path / "full").iterdir()]


MISTAKES = {
    "epochs": (("--epochs", "-1"), "--epochs"),
    "learning rate": (("--lr", "nan"), "--lr"),
    "device": (("--device", "abacus", "--dataset", "digits"), "'abacus'"),
    "spec": (("--model", "c16 x", "--dataset", "digits"), "cannot read 'x'"),
    "scores": (("--model", "c16 gap7", "--dataset", "digits"), "10 scores"),
    "batch": (("--batch-size", "99999", "--dataset", "digits"), "99999"),
}


@pytest.fixture
def refuse(tmp_path, monkeypatch, capsys):
    """Call the example within this process, for it to fail; return its one line."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUDGETNET_DATA", raising=False)
    import mnist_s6

    def call(*arguments):
        try:
            code = mnist_s6.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        assert 2 == code
        lines = capsys.readouterr().err.splitlines()
        assert 1 == len(lines)
        return lines[0]

    return call


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(case, tmp_path, refuse):
    arguments, message = MISTAKES[case]
    assert message in refuse(*arguments)
    assert not list(tmp_path.iterdir())


def test_explicit_mnist_never_falls_back(tmp_path, refuse):
    """A file where the folder should be, so that nothing is downloaded where there is a network."""
    (tmp_path / "file").write_text("in the way")
    line = refuse("--dataset", "mnist", "--data-dir", tmp_path / "file")
    assert str(tmp_path / "file") in line


def test_a_damaged_data_file_is_named(tmp_path, refuse):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind in ("train", "t10k"):
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03 cut short")
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01 cut short")
    assert "damaged MNIST" in refuse("--data-dir", tmp_path)


@needs_mnist
def test_mnist_one_epoch_clears_its_floor(tmp_path):
    run = train("--epochs", 1, "--out", tmp_path / "run", cwd=tmp_path, data=mnist_root())
    summary = read(tmp_path / "run", "summary.json")
    assert "mnist" == summary["dataset"]
    assert summary["last"] > 98, run.stdout
