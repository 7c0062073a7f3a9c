"""Run folders that were changed, shared or cut off: each mistake one line, each run resumable."""

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "mnist_s6.py"
sys.path.insert(0, str(SCRIPT.parent))
# The recipe draws all that a recipe can draw: mirrored images as well.
TINY = (
    "--dataset", "digits", "--recipe", "fashion", "--model", "c4 p c8 gap10", "--epochs", "4",
)  # fmt: skip
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs permissions and signals of POSIX")


def unprivileged(*arguments):
    """What the example says on stderr when it refuses a user who is not root."""
    prefix = Path(sys.prefix).resolve()
    if not all(folder.stat().st_mode & 0o001 for folder in (prefix, *prefix.parents)):
        pytest.skip("another user cannot read this environment")
    run = forked.Run(forked.as_nobody, [*map(str, arguments)])
    out, err = run.communicate(timeout=120)
    assert (2, "") == (run.returncode, out), err
    return err


def main(*arguments):
    """The example within this process: status, what it printed, and its errors."""
    import mnist_s6

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = mnist_s6.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


def refusal(*arguments):
    code, _, err = main(*arguments)
    assert (2, 1) == (code, len(err.splitlines())), err
    return err


def finish(*arguments):
    code, out, err = main(*arguments)
    assert 0 == code, err
    return out


def process(*arguments):
    return forked.Run(forked.example, [*map(str, arguments)])


def run_with_small_files(size, *arguments):
    """The one line that the example says when it fails."""
    run = forked.Run(forked.with_small_files, size, [*map(str, arguments)])
    _, err = run.communicate()
    assert (2, 1) == (run.returncode, len(err.splitlines())), err
    return err


def fail_to_print(stdout, *arguments):
    """What the example says where its output goes nowhere: a process as its users start it."""
    call = [sys.executable, str(SCRIPT), *map(str, arguments)]
    run = subprocess.run(call, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert (2, 1) == (run.returncode, len(run.stderr.splitlines())), run.stderr
    return run.stderr


def edit(path, *keys, value):
    """Change one value of a JSON file; `...` takes it out."""
    data = json.loads(path.read_text())
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(data))


def flip(path, at=-100):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, and one that was killed after its second epoch."""
    folder = tmp_path_factory.mktemp("runs")
    finish(*TINY, "--out", folder / "done")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(2, patch)
        assert 130 == main(*TINY, "--out", folder / "cut")[0]
    return folder


def stop_after(epoch, patch):
    import checkpoint

    write = checkpoint.write

    def stopping(folder, config, rows, parts):
        write(folder, config, rows, parts)
        if len(rows) == epoch:
            raise KeyboardInterrupt

    patch.setattr(checkpoint, "write", stopping)


@pytest.fixture
def done(runs, tmp_path):
    return Path(shutil.copytree(runs / "done", tmp_path / "done"))


@pytest.fixture
def cut(runs, tmp_path):
    return Path(shutil.copytree(runs / "cut", tmp_path / "cut"))


def assert_as_left(one, two):
    """Two finished runs are the same, times apart."""
    assert (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()
    rows = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
        for lines in ((f / "metrics.jsonl").read_text().splitlines() for f in (one, two))
    ]
    assert rows[0] == rows[1]
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


# ---------------------------------------------------------------------------- finished runs


@pytest.mark.parametrize("use", ["--evaluate", "--teacher"])
def test_one_flipped_bit_of_the_weights_is_refused(use, done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flip(done / "weights.safetensors")
    line = refusal(use, done, "--dataset", "digits")
    assert "damaged weights" in line
    assert str(done / "weights.safetensors") in line


SUMMARIES = {
    "digest gone": (("weights_sha256",), ..., "weights_sha256 is missing"),
    "accuracy edited": (("last",), 99.9, "last is 99.9, and metrics.jsonl gives"),
    "epochs gone": (("epochs",), ..., "epochs is 'missing'"),
    "another rate": (("settings", "lr"), 0.5, "settings.lr"),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_an_edited_summary_is_refused(case, done):
    keys, value, message = SUMMARIES[case]
    edit(done / "summary.json", *keys, value=value)
    assert message in refusal("--evaluate", done, "--dataset", "digits")


def test_a_changed_model_or_metric_of_a_finished_run_is_refused(done):
    lines = (done / "metrics.jsonl").read_text().splitlines()
    (done / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert "metrics.jsonl" in refusal("--evaluate", done, "--dataset", "digits")
    (done / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    edit(done / "config.json", "model", value="c4 p c7 gap10")
    assert "model is 'c4 p c7 gap10'" in refusal("--evaluate", done, "--dataset", "digits")


@pytest.mark.deep
def test_a_teacher_that_became_another_is_refused_and_may_move(done, tmp_path, monkeypatch):
    student = tmp_path / "student"
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        assert 130 == main(*TINY, "--teacher", done, "--out", student)[0]
    moved = done.rename(tmp_path / "elsewhere")
    assert "is not the folder of a run" in refusal("--resume", student)
    edit(student / "config.json", "teacher", value=str(moved))
    finish(*TINY, "--seed", 1, "--out", tmp_path / "other")
    edit(student / "config.json", "teacher", value=str(tmp_path / "other"))
    assert "is another one" in refusal("--resume", student)
    edit(student / "config.json", "teacher", value=str(moved))
    assert "going on after epoch 2" in finish("--resume", student)


# ---------------------------------------------------------------------------- edited and resumed


CONFIGS = {
    "rate": (("settings", "lr"), 0.1, "settings.lr is 0.1, and checkpoint-00002"),
    "epochs": (("settings", "epochs"), 5, "settings.epochs is 5"),
    "angle": (("settings", "augment", "degrees"), 9, "settings.augment.degrees is 9"),
    "seed": (("seed",), 1, "seed is 1"),
    "type": (("amp",), 1, "amp is 1"),
    "model": (("model",), "c4 p c7 gap10", "model is 'c4 p c7 gap10'"),
    "recipe": (("recipe",), "long", "recipe is 'long'"),
    "images": (("train_images",), 7, "train_images is 7"),
    "no rate": (("settings", "lr"), ..., "settings.lr is missing"),
    "no amp": (("amp",), ..., "amp missing"),
    "no teacher": (("teacher",), ..., "teacher missing"),
    "no digest": (("teacher",), "somewhere", "teacher_sha256 missing"),
    "no settings": (("settings",), [], "settings is []"),
    "no angle": (("settings", "augment"), {}, "settings.augment.crop is missing"),
    "no flips": (("settings", "augment", "flip"), ..., "settings.augment.flip is missing"),
    "chance": (("settings", "augment", "flip"), 1.5, "settings.augment.flip is 1.5"),
    "unknown": (("settings", "speed"), 3, "settings.speed is not known here"),
    "not finite": (("settings", "lr"), float("nan"), "settings.lr is nan"),
    "schedule": (("settings", "schedule"), "slow", "settings.schedule is 'slow'"),
    "batch": (("settings", "batch_size"), 0, "settings.batch_size is 0"),
    "data": (("dataset",), "letters", "dataset is 'letters'"),
    "origin": (("dataset_origin",), "MNIST", "dataset_origin is 'MNIST'"),
    "seeds": (("seeds",), [0, 0], "seeds is [0, 0]"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_an_edited_config_is_refused_by_key(case, cut):
    keys, value, message = CONFIGS[case]
    edit(cut / "config.json", *keys, value=value)
    line = refusal("--resume", cut)
    assert message in line
    assert str(cut / "config.json") in line


def rewrite(path, change):
    """Write a checkpoint again with another header, as a careful hand would."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    change(about)
    save_file(tensors, path, {"about": json.dumps(about)})


def test_an_edited_row_of_a_checkpoint_is_refused(cut):
    newest = cut / "checkpoint-00002.safetensors"
    rewrite(newest, lambda about: about["rows"][-1].update(epoch=9))
    line = refusal("--resume", cut)
    assert "does not have the SHA-256" in line
    assert str(newest) in line
    newest.rename(cut / "checkpoint-00009.safetensors")
    assert "does not have the SHA-256" in refusal("--resume", cut)


def test_a_renamed_checkpoint_is_refused(cut):
    (cut / "checkpoint-00002.safetensors").rename(cut / "checkpoint-00009.safetensors")
    assert "it holds checkpoint-00002" in refusal("--resume", cut)


def test_an_old_checkpoint_that_cannot_be_removed_stops_no_run(cut):
    (cut / "checkpoint-00001.safetensors").unlink()
    (cut / "checkpoint-00001.safetensors").mkdir()
    finish("--resume", cut)
    assert (cut / "summary.json").exists()


def test_edited_metrics_are_written_again(cut, runs):
    (cut / "metrics.jsonl").write_text("nonsense")
    finish("--resume", cut)
    assert_as_left(runs / "done", cut)


@pytest.mark.deep
def test_seeds_are_not_mixed(tmp_path, monkeypatch):
    """A rate edited after the first seed; then the first seed's weights."""
    folder = tmp_path / "all"
    finish(*TINY, "--seeds", 2, "--out", folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "seed1")
    before = (folder / "config.json").read_text()
    edit(folder / "config.json", "settings", "lr", value=0.3)
    assert "settings.lr is 0.3, and seed0/summary.json" in refusal("--resume", folder)
    (folder / "config.json").write_text(before)
    flip(folder / "seed0" / "weights.safetensors")
    assert "damaged weights" in refusal("--resume", folder)
    flip(folder / "seed0" / "weights.safetensors")
    finish("--resume", folder)
    assert "runs over several seeds" in refusal("--evaluate", folder, "--dataset", "digits")


# ---------------------------------------------------------------------------- one at a time


def wait_for(path, run):
    deadline = time.monotonic() + 120
    while not path.exists() and run.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.deep
def test_two_processes_do_not_share_a_folder_and_a_killed_one_holds_nothing(tmp_path):
    folder = tmp_path / "run"
    long = (*TINY[:-1], "60")
    first = process(*long, "--out", folder)
    try:
        wait_for(folder / "checkpoint-00001.safetensors", first)
        part = folder / ".weights.part.safetensors"
        part.write_bytes(b"being written")
        assert "in use: another process trains in it" in refusal("--resume", folder)
        assert part.exists(), "what another process writes is left alone"
    finally:
        first.kill()
        first.communicate()
    stopped = process("--resume", folder)
    wait_for(folder / "checkpoint-00005.safetensors", stopped)
    assert not part.exists()
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert 130 == stopped.returncode, err
    assert (folder / "checkpoint-00005.safetensors").exists(), err
    assert "Traceback" not in err


@posix
@pytest.mark.parametrize("stop", ["before the first epoch", "after an epoch"])
def test_ctrl_c_says_the_very_command_that_goes_on(stop, tmp_path, runs):
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / "my run"
    run = process(*TINY, "--device", "cpu", "--out", folder)
    wait_for(folder / ("config.json" if "before" in stop else "checkpoint-00002.safetensors"), run)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert 130 == run.returncode
    *_, line = err.splitlines()
    start, _, command = line.partition(": ")
    assert "stopped; go on from the last complete epoch with" == start
    expected = ["python", str(SCRIPT), "--resume", str(folder), "--device", "cpu"]
    assert expected == shlex.split(command)
    finish(*expected[2:])
    assert_as_left(runs / "done", folder)


def test_ctrl_c_before_there_is_a_folder_promises_nothing(tmp_path, monkeypatch):
    import mnist_s6

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist_s6, "load", stop)
    monkeypatch.chdir(tmp_path)
    assert (130, "", "\nstopped\n") == main(*TINY)


# ---------------------------------------------------------------------------- what is written


@posix
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_have_the_permissions_that_the_umask_leaves(mask, tmp_path):
    before = os.umask(mask)
    try:
        finish(*TINY[:-1], "1", "--out", tmp_path / "run")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()}
    assert dict.fromkeys(modes, 0o666 & ~mask) == modes
    assert "weights.safetensors" in modes


@posix
@pytest.mark.parametrize(
    "mode", [0o555, *(pytest.param(mode, marks=pytest.mark.deep) for mode in (0o333, 0o000))]
)
def test_a_folder_that_may_not_be_written_is_one_line(mode, shared_folder):
    folder = shared_folder / "mine"
    folder.mkdir()
    folder.chmod(mode)
    (line,) = unprivileged(*TINY, "--out", folder).splitlines()
    assert f"mnist_s6.py: error: cannot write into {folder}: Permission denied; " in line
    assert "name another folder with --out" in line
    folder.chmod(0o700)
    assert [] == os.listdir(folder)


@posix
def test_a_folder_that_may_not_be_read_is_not_said_to_be_in_use(shared_folder):
    folder = shared_folder / "mine"
    folder.mkdir()
    folder.chmod(0o000)
    (line,) = unprivileged("--resume", folder).splitlines()
    assert f"mnist_s6.py: error: cannot read {folder}: Permission denied" == line


@posix
def test_what_cannot_be_written_is_named_and_nothing_temporary(cut):
    """A folder is where the file should be, so that it is complete and cannot be put there."""
    (cut / "weights.safetensors").mkdir()
    line = refusal("--resume", cut)
    assert f"cannot write {cut / 'weights.safetensors'}: Is a directory; " in line
    assert ".weights" not in line


def test_the_table_bears_the_name_of_the_network(done, runs):
    assert finish(*TINY[:2], "--epochs", 1, "--out", done.parent / "s6").startswith("s6  (input 1x")
    out = finish(*TINY[:-1], "1", "--out", done.parent / "other")
    assert out.startswith("c4 p c8 gap10  (input 1x28x28)\n")


def test_help_says_what_every_recipe_does():
    from recipes import RECIPES

    code, out, _ = main("--help")
    assert 0 == code
    _, _, part = out.partition("\nrecipes:\n")
    lines = [line.split() for line in part.splitlines()]
    assert list(RECIPES) == [words[0] for words in lines]
    assert [str(recipe.epochs) for recipe in RECIPES.values()] == [words[1] for words in lines]
    assert all(len(words) > 5 for words in lines)


# ---------------------------------------------------------------------------- no room


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_full_disk_is_one_line_and_the_run_goes_on_after(tmp_path, runs):
    """Files of 4,096 bytes hold the configuration and no checkpoint."""
    folder = tmp_path / "run"
    err = run_with_small_files(4096, *TINY, "--out", folder)
    assert f"cannot write {folder / 'checkpoint-00001.safetensors'}: File too large; " in err
    assert {"config.json", "metrics.jsonl"} == {path.name for path in folder.iterdir()}
    finish("--resume", folder)
    assert_as_left(runs / "done", folder)


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_disk_that_fills_at_the_end_keeps_the_checkpoint(cut, runs):
    size = max(path.stat().st_size for path in cut.glob("checkpoint-*"))
    err = run_with_small_files(size + 4096, "--resume", cut)  # the pictures are larger
    assert "curves.png" in err
    finish("--resume", cut)
    assert_as_left(runs / "done", cut)


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_folder_that_cannot_state_its_run_is_not_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "config.json" in run_with_small_files(100, *TINY)
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.deep
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line(cut, runs):
    with open("/dev/full", "w") as full:
        assert "No space left" in fail_to_print(full, "--resume", cut)
    if not (cut / "summary.json").exists():
        finish("--resume", cut)
    assert_as_left(runs / "done", cut)


@pytest.mark.deep
def test_output_that_nobody_reads_is_one_line(cut, runs):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        fail_to_print(pipe, "--resume", cut)
    if not (cut / "summary.json").exists():
        finish("--resume", cut)
    assert_as_left(runs / "done", cut)


LARGE = {
    "weights": ("--model", "c99999999 gap10"),
    "wider than any tensor": ("--model", "c99999999999999999999 gap10"),
    "wider than any float": ("--model", "c" + "9" * 400 + " gap10"),
    "maps": ("--model", "c2000p1 c2000p1 c2000p1 c2000p1 c2000p1 c2000p1 gap10", "--recipe", "one",
             "--batch-size", "1438"),
    "epochs": ("--epochs", "10001"),
    "epochs and batch": ("--epochs", "1000000000000"),
    "steps": ("--epochs", "10000", "--batch-size", "2", "--model", "c4 gap10"),
    "seeds": ("--seeds", "1000000000"),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_what_is_too_large_is_refused_before_a_folder_is_made(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if case == "steps":
        import arguments

        monkeypatch.setattr(arguments, "MOST_STEPS", 1_000_000)
    line = refusal("--dataset", "digits", *LARGE[case])
    assert LARGE[case][1] in line or LARGE[case][0] in line
    assert not list(tmp_path.iterdir())


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on memory")
def test_memory_that_runs_out_all_the_same_is_one_line(tmp_path, monkeypatch):
    """An estimate counts what training keeps, not what a kernel works with."""
    import arguments

    monkeypatch.setattr(arguments, "memory", lambda device: None)
    monkeypatch.chdir(tmp_path)
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2); "
    code = f"{limit}sys.path.insert(0, {str(SCRIPT.parent)!r}); import arguments; "
    code += "arguments.memory = lambda device: None; import mnist_s6; sys.exit(mnist_s6.main())"
    run = subprocess.run(
        [sys.executable, "-c", code, "--dataset", "digits", "--model", "c99999999 gap10"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (2, 1) == (run.returncode, len(run.stderr.splitlines())), run.stderr
    assert "memory is full" in run.stderr
