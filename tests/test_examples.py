"""The example as its users run it: a process, a folder of results, and one line per mistake."""

import contextlib
import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import forked
import pytest
import torch
from safetensors.torch import load_file

from budgetnet import models

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "mnist_s6.py"
sys.path.insert(0, str(SCRIPT.parent))
PICTURES = ("curves.png", "preview.png", "errors.png")


def train(*arguments, cwd, data=None, code=0):
    env = {key: value for key, value in os.environ.items() if key != "BUDGETNET_DATA"}
    env |= {"BUDGETNET_DATA": str(data)} if data else {}
    env["PYTHONIOENCODING"] = "cp1252"  # as a redirected stdout has it on Windows
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=cwd, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert code == run.returncode, run.stdout + run.stderr
    return run


def here(*arguments):
    """The example called within this process, which saves the start of a new one; its output."""
    import mnist_s6

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert 0 == mnist_s6.main([str(argument) for argument in arguments])
    return out.getvalue()


def root_of(folder):
    root = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data")
    names = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    return root if all((root / folder / "raw" / name).exists() for name in names) else None


MNIST, FASHION = root_of("MNIST"), root_of("FashionMNIST")
needs_mnist = pytest.mark.skipif(
    MNIST is None, reason="MNIST is neither in $BUDGETNET_DATA nor in ./data"
)
needs_fashion = pytest.mark.skipif(
    FASHION is None, reason="Fashion-MNIST is neither in $BUDGETNET_DATA nor in ./data"
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


@pytest.mark.deep
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


@pytest.mark.deep
def test_the_same_seed_gives_the_same_numbers(tmp_path):
    for name in ("one", "two"):
        arguments = ("--dataset", "digits", "--epochs", 2, "--model", "c8 p c8 gap10")
        here(*arguments, "--seed", 3, "--out", tmp_path / name)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    for row in one + two:
        del row["seconds"]
    assert one == two
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.deep
def test_no_run_overwrites_another(tmp_path):
    arguments = ("--dataset", "digits", "--epochs", "1", "--model", "c4 gap10")
    for _ in range(2):
        run = forked.Run(forked.example, arguments, cwd=tmp_path)
        assert 0 == (run.communicate(), run.returncode)[1]
    assert 2 == len(list((tmp_path / "runs").iterdir()))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("kept")
    run = forked.Run(forked.example, [*arguments, "--out", str(tmp_path / "full")], cwd=tmp_path)
    _, err = run.communicate()
    assert 2 == run.returncode
    assert "is not empty" in err
    assert ["precious.txt"] == [path.name for path in (tmp_path / "full").iterdir()]


KNOWN = ", ".join(name for _, name in models.list_weights("s6"))
MISTAKES = {
    "epochs": (("--epochs", "-1"), "--epochs"),
    "learning rate": (("--lr", "nan"), "--lr"),
    "device": (("--device", "abacus", "--dataset", "digits"), "'abacus'"),
    "spec": (("--model", "c16 x", "--dataset", "digits"), "'x' does not start with a stage"),
    "scores": (("--model", "c16 gap7", "--dataset", "digits"), "10 scores"),
    "batch": (("--batch-size", "99999", "--dataset", "digits"), "99999"),
    "no seed": (("--seeds", "0"), "--seeds 0"),
    "a seed twice": (("--seeds", "3", "5", "3"), "3 5 3"),
    "one and several": (("--seeds", "3", "--seed", "1"), "--seed names one run"),
    "resumed otherwise": (
        ("--resume", "runs", "--lr", "0.1"),
        "--resume cannot be combined with --lr",
    ),
    "nothing to teach": (("--recipe", "distilled", "--dataset", "digits"), "--teacher"),
    "no teacher": (
        ("--recipe", "distilled", "--dataset", "digits", "--teacher", "nobody"),
        "nobody is not the folder of a run",
    ),
    "unknown weights": (("--evaluate", "cats", "--dataset", "digits"), f"Known: {KNOWN}"),
}


@pytest.fixture
def refuse(tmp_path, monkeypatch, capsys):
    """Call the example within this process, for it to fail; return its one line."""
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


@pytest.mark.deep
@needs_mnist
def test_mnist_one_epoch_clears_its_floor(tmp_path):
    run = train("--epochs", 1, "--out", tmp_path / "run", cwd=tmp_path, data=MNIST)
    summary = read(tmp_path / "run", "summary.json")
    assert "mnist" == summary["dataset"]
    assert summary["last"] > 98, run.stdout


@pytest.mark.deep
@needs_fashion
def test_fashion_mnist_has_its_own_recipe_and_target(tmp_path):
    asked = ("--dataset", "fashion-mnist", "--model", "c8 p c16 p c16 gap10", "--epochs", 1)
    run = train(*asked, "--out", tmp_path / "run", cwd=tmp_path, data=FASHION)
    config, summary = (read(tmp_path / "run", f"{name}.json") for name in ("config", "summary"))
    assert ("fashion-mnist", "fashion") == (config["dataset"], config["recipe"])
    assert 0.5 == config["settings"]["augment"]["flip"]
    assert (92.5, None) == (summary["target"], summary["first_epoch_at_target"])
    assert "92.5 % not reached" in run.stdout
    assert summary["last"] > 75, run.stdout
    shown = here("--evaluate", tmp_path / "run", "--data-dir", FASHION)
    assert f"{summary['last']:.2f} % of 10,000 test images (Fashion-MNIST)" in shown


# ---------------------------------------------------------------------------- several seeds


SMALL = ("--dataset", "digits", "--model", "c8 c8 p c16 gap10")


def without_seconds(folder):
    return [{key: row[key] for key in row if key != "seconds"} for row in metrics(folder)]


@pytest.mark.deep
def test_seeds_are_runs_of_their_own_and_their_mean(tmp_path):
    shown = here(*SMALL, "--epochs", 2, "--seeds", 3, 5, "--out", tmp_path / "all")
    summary = read(tmp_path / "all", "summary.json")
    assert [3, 5] == summary["seeds"] == [row["seed"] for row in summary["runs"]]
    last = [metrics(tmp_path / "all" / f"seed{seed}")[-1]["test_accuracy"] for seed in (3, 5)]
    assert last == [row["last"] for row in summary["runs"]]
    assert sum(last) / 2 == pytest.approx(summary["last_mean"], abs=1e-4)
    assert abs(last[0] - last[1]) / 2**0.5 == pytest.approx(summary["last_sd"], abs=1e-3)
    assert f"{summary['last_mean']:.3f}" in shown
    assert (tmp_path / "all" / "curves.png").read_bytes().startswith(b"\x89PNG")
    here(*SMALL, "--epochs", 2, "--seed", 5, "--out", tmp_path / "alone")
    assert without_seconds(tmp_path / "alone") == without_seconds(tmp_path / "all" / "seed5")


@pytest.mark.deep
def test_finished_seeds_are_not_run_again(tmp_path):
    folder = tmp_path / "all"
    here(*SMALL, "--epochs", 2, "--seeds", 2, "--out", folder)
    before = read(folder, "summary.json")
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "seed1")  # as if stopped after the first
    first = {path: path.stat().st_mtime_ns for path in (folder / "seed0").iterdir()}
    here("--resume", folder)
    assert first == {path: path.stat().st_mtime_ns for path in (folder / "seed0").iterdir()}
    after = read(folder, "summary.json")
    assert (before["last_mean"], before["seeds"]) == (after["last_mean"], after["seeds"])


# ---------------------------------------------------------------------------- killed and resumed


LONG = (*SMALL, "--epochs", "8")


def kill_after(checkpoint, folder):
    """Start a run, and end it with SIGKILL once this checkpoint is there."""
    run = forked.Run(forked.example, [*LONG, "--out", str(folder)])
    deadline = time.monotonic() + 120
    while not (folder / checkpoint).exists() and run.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    _, err = run.communicate()
    assert -signal.SIGKILL == run.returncode, err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    here(*LONG, "--out", folder)
    return folder


def assert_equal_runs(one, two):
    assert without_seconds(one) == without_seconds(two)
    assert (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, uninterrupted):
    """It goes on into the last two epochs, which see the images at full size."""
    folder = tmp_path / "run"
    kill_after("checkpoint-00004.safetensors", folder)
    assert not (folder / "summary.json").exists()
    (folder / ".weights.part.safetensors").write_bytes(b"cut short")
    assert "going on after epoch" in here("--resume", folder)
    assert_equal_runs(uninterrupted, folder)


@pytest.mark.deep
def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(uninterrupted / "config.json", folder)
    here("--resume", folder)
    assert_equal_runs(uninterrupted, folder)


@pytest.mark.deep
def test_a_damaged_checkpoint_is_refused_and_the_one_before_kept(tmp_path, uninterrupted, refuse):
    folder = tmp_path / "run"
    kill_after("checkpoint-00003.safetensors", folder)
    *_, before, newest = sorted(folder.glob("checkpoint-*"))
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1  # one bit, in the middle of a tensor
    newest.write_bytes(data)
    line = refuse("--resume", folder)
    assert str(newest) in line
    assert before.name in line
    newest.write_bytes(data[: len(data) // 2])
    assert str(newest) in refuse("--resume", folder)
    newest.unlink()  # as the message says
    here("--resume", folder)
    assert_equal_runs(uninterrupted, folder)


RESUMES = {
    "no run": (lambda folder: None, "is not the folder of a run"),
    "damaged": (lambda folder: (folder / "config.json").write_text("{"), "is damaged"),
    "another file": (lambda folder: (folder / "config.json").write_text("{}"), "model, dataset"),
}


@pytest.mark.parametrize("case", RESUMES)
def test_what_cannot_be_resumed_is_said(case, tmp_path, refuse):
    prepare, message = RESUMES[case]
    prepare(tmp_path)
    assert message in refuse("--resume", tmp_path)


def test_a_finished_run_is_not_resumed(uninterrupted, refuse):
    assert "nothing to resume" in refuse("--resume", uninterrupted)


# ---------------------------------------------------------------------------- shared by processes


def share(*arguments, cwd):
    """The example in two processes, as `torchrun` starts them."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*call, str(SCRIPT), *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert 0 == run.returncode, run.stdout + run.stderr
    return run


@pytest.mark.deep
def test_two_processes_learn_what_one_learns(tmp_path):
    """Without BatchNorm, whose statistics are each process's own, they do the same sums.

    1,438 images in batches of 99 or 98, halves of unequal size; 359 to test in halves of 180 and
    179: a mean of means would show in the fourth digit.
    """
    plain = ("--dataset", "digits", "--model", "c8-bn p c16-bn gap10-bn", "--batch-size", 99)
    arguments = (*plain, "--epochs", 2, "--lr", 0.05)
    run = share(*arguments, "--out", tmp_path / "two", cwd=tmp_path)
    here(*arguments, "--out", tmp_path / "one")
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        assert one["test_loss"] == pytest.approx(two["test_loss"], rel=1e-4)
        assert one["train_accuracy"] == pytest.approx(two["train_accuracy"], abs=0.15)
        assert one["test_accuracy"] == pytest.approx(two["test_accuracy"], abs=0.6)
    assert 1 == run.stdout.count("epoch 2/2"), "one process speaks"
    assert 2 == read(tmp_path / "two", "config.json")["processes"]


@pytest.mark.deep
def test_two_processes_reach_the_accuracy_of_one(tmp_path, uninterrupted):
    share(*LONG, "--out", tmp_path / "two", cwd=tmp_path)
    one, two = (
        metrics(folder)[-1]["test_accuracy"] for folder in (uninterrupted, tmp_path / "two")
    )
    assert one == pytest.approx(two, abs=5)
    assert {path.name for path in uninterrupted.iterdir()} == {
        path.name for path in (tmp_path / "two").iterdir()
    }


# ---------------------------------------------------------------------------- teachers, evaluation


@pytest.mark.deep
def test_a_finished_run_teaches_another(digits_run, tmp_path):
    folder, _ = digits_run
    arguments = (*SMALL, "--epochs", 1, "--teacher", folder, "--out", tmp_path / "run")
    here(*arguments)
    settings = read(tmp_path / "run", "config.json")["settings"]
    assert (0.5, 2.0) == (settings["distill"], settings["temperature"])


def test_evaluate_repeats_the_accuracy_of_a_run(digits_run):
    folder, _ = digits_run
    shown = here("--evaluate", folder, "--dataset", "digits")
    assert f"{read(folder, 'summary.json')['last']:.2f} % of 359 test images" in shown


@needs_mnist
@needs_fashion
@pytest.mark.parametrize("name", [name for _, name in models.list_weights("s6")])
def test_evaluate_states_the_accuracy_of_the_sidecar(name):
    data = MNIST if name == "mnist" else FASHION
    shown = here("--evaluate", *([] if name == "mnist" else [name]), "--data-dir", data)
    meta = models.get_weights("s6", name).meta
    assert f"test images ({meta['dataset']['name']})" in shown
    percent = meta["accuracy"]["percent"]
    stated = float(shown.split(": ")[1].split(" %")[0])
    assert percent == pytest.approx(stated, abs=0.011)  # one digit, for other arithmetic


@needs_mnist
def test_one_wrong_bit_in_the_data_is_refused(tmp_path, refuse):
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(MNIST / "MNIST" / "raw", raw)
    path = raw / "train-images-idx3-ubyte"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(20_000_000)
        byte = file.read(1)[0]
        file.seek(20_000_000)
        file.write(bytes([byte ^ 1]))
    assert "SHA-256 of train-images-idx3-ubyte" in refuse("--data-dir", tmp_path)


@pytest.fixture
def learn():
    """Train s6 within this process; the run and its rows."""
    from mnist_data import load
    from mnist_s6 import seed_everything
    from recipes import RECIPES
    from trainer import Training
    from trainer import train as steps

    def call(device="cpu", on_step=lambda *_: None, graphs=True, teacher=None, **changes):
        generator = seed_everything(0, torch.device(device))
        recipe = replace(RECIPES["default"], **changes)
        model = models.get_model("s6")
        run = Training(model, load("digits"), recipe, generator, teacher=teacher)
        return run, steps(run, lambda *facts: on_step(run, *facts), graphs=graphs)

    return call


def test_averaged_weights_follow_the_weights(learn):
    expected = {}

    def follow(run, epoch, step, *_):
        keep = min(step / (step + 9), 0.8)
        for name, value in run.model.named_parameters():
            before = expected.get(name, start[name])
            expected[name] = keep * before + (1 - keep) * value.detach()

    run, rows = learn(on_step=follow, epochs=1, ema=0.8)
    start = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    (row,) = rows
    for name, value in run.result.named_parameters():
        torch.testing.assert_close(expected[name], value)
    from trainer import evaluate

    assert row["test_accuracy"] == pytest.approx(evaluate(run.result, run.test_set)[1], abs=1e-3)


def test_a_teacher_that_agrees_teaches_nothing(learn):
    run, _ = learn(distill=1.0, temperature=3.0)
    logits = torch.randn(8, 10, requires_grad=True)
    labels = torch.randint(10, (8,))
    run.loss(logits, labels, logits.detach()).backward()
    torch.testing.assert_close(torch.zeros(8, 10), logits.grad, atol=1e-6, rtol=0)
    other = torch.randn(8, 10)
    soft = (other / 3).softmax(1)
    expected = 9 * (soft * (soft.log() - (logits / 3).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(expected, run.loss(logits, labels, other))


@pytest.mark.parametrize(("flip", "fade"), [(0.0, 0.0), (0.5, 0.0), (0.9, 1.0)])
def test_a_teacher_is_asked_once_where_images_are_not_moved(learn, flip, fade):
    from mnist_data import Affine

    asked = []
    teacher = models.get_model("dsnet16", weights="mnist").eval()
    same = copy.deepcopy(teacher)
    teacher.register_forward_hook(lambda _module, images, _logits: asked.append(len(images[0])))
    run, _ = learn(
        teacher=teacher, augment=Affine(flip=flip), fade=fade, early=0.0, distill=0.5, epochs=1
    )
    assert sum(asked) == 2 * len(run.train_set)
    for size in run.begin_epoch()[:3]:
        rows, random = run.draw(size)
        strength = run.strengths[run.done]
        pixels = run.recipe.augment(run.train_set.images[rows], random, strength=strength)
        found = run.lesson(pixels, rows, random)
        assert sum(asked) == 2 * len(run.train_set), "not again"
        expected = same(run.train_set.normalise(pixels))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
        run.step(size, 28)
    moved, _ = learn(teacher=teacher, augment=Affine(shift=1.0), early=0.0, distill=0.5, epochs=1)
    cropped, _ = learn(teacher=teacher, augment=Affine(), early=0.5, early_side=24, distill=0.5)
    assert moved.answers is None
    assert cropped.answers is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_recorded_graphs_train_as_plain_steps_do(learn):
    def rows(graphs):
        _, found = learn("cuda:0", graphs=graphs)
        return [{key: row[key] for key in row if key != "seconds"} for row in found]

    assert rows(False) == rows(True)


def stepped_beside(shape, other):
    """A parameter after some steps of ours, and one after as many of another optimiser."""
    from muon import Muon

    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    expected = other([theirs])
    optimizer = Muon([ours], torch.tensor(0.1), 0.9, matrix_scale=0.5)
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        expected.step()
    return ours, theirs


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 or newer has Muon")
@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_matrices_take_the_steps_of_torchs_muon(shape):
    def other(params):
        return torch.optim.Muon(
            params, lr=0.05, momentum=0.9, weight_decay=0.0, adjust_lr_fn="original"
        )

    # torch's own turns its matrices in bfloat16
    torch.testing.assert_close(*stepped_beside(shape, other), atol=0.005, rtol=0)


def test_scales_and_shifts_learn_by_sgd():
    def other(params):
        return torch.optim.SGD(params, 0.1, 0.9, nesterov=True)

    torch.testing.assert_close(*stepped_beside((7,), other))


def test_a_run_by_muon_goes_on_where_it_was_put_down(learn):
    run, rows = learn(epochs=2, matrix_lr=0.05)
    next(rows)
    parts = {name: tensor.clone() for name, tensor in run.state().items()}
    next(rows)
    later, more = learn(epochs=2, matrix_lr=0.05)
    later.load(parts, 1)
    next(more)
    for name, tensor in run.state().items():
        assert torch.equal(tensor, later.state()[name]), name
    plain, rows = learn(epochs=2)
    next(rows)
    assert not torch.equal(
        parts["model.conv1.conv.weight"], plain.state()["model.conv1.conv.weight"]
    )


def test_muon_has_no_weight_decay():
    from recipes import RECIPES

    with pytest.raises(ValueError, match="matrix_lr"):
        replace(RECIPES["default"], matrix_lr=0.1, weight_decay=0.1)
