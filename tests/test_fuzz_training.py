"""Run folders with random damage: refused in a line, or as if nothing had happened.

`BUDGETNET_FUZZ=2000 pytest --deep -s tests/test_fuzz_training.py` tries more.
"""

import functools
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("needs fork and limits", allow_module_level=True)

from attack import apart, content, misbehaved, report

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "mnist_s6.py"
TINY = ("--dataset", "digits", "--model", "c4 p c8 gap10", "--epochs", "4")
SECONDS = 60
VALUES = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"),
    -float("inf"), 1e308, "", "x", "é😀\u202e", "0", "a" * 10_000, [], [1], [None], {}, {"a": 1},
    "c4 gap10", "c99999999 gap10", "digits", "/", ".", "\x00",
)  # fmt: skip


@functools.cache
def example():
    """The example, imported once; no tensor is computed in this process, only in its children."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(SCRIPT.parent))
    import sklearn.datasets  # noqa: F401  # so that children need not import it, and so below
    import torch
    import torch._dynamo  # the optimisers import it

    import budgetnet.trace.run  # noqa: F401  # so that children need not import it
    import figures  # noqa: F401  # so that children need not import it
    import mnist_s6

    torch.set_num_threads(1)
    return mnist_s6


def in_a_fresh_process(function, *arguments):
    """What a function gives in a process that may be forked: it has computed no gradient."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, one that was killed after two epochs, and what that one comes to."""
    folder = tmp_path_factory.mktemp("runs")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import checkpoint, mnist_s6\n"
        "write = checkpoint.write\n"
        "def stopping(folder, *args):\n"
        "    write(folder, *args)\n"
        "    if len(args[-2]) == 2: raise KeyboardInterrupt\n"
        "if sys.argv[2] == 'cut': checkpoint.write = stopping\n"
        "sys.exit(mnist_s6.main(sys.argv[3:]))"
    )
    for name, status in (("done", 0), ("cut", 130)):
        arguments = [str(SCRIPT.parent), name, *TINY, "--out", str(folder / name)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        run = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True)
        assert status == run.returncode, run.stderr
    return folder


# ---------------------------------------------------------------------------- damage


def damage(rng, folder):
    """Hurt one file of a run; what was done, in words."""
    file = rng.choice(sorted(path for path in folder.iterdir() if path.suffix != ".png"))
    ways = [flip, cut_short, overwrite, lengthen, replace_by_folder, remove, loop, empty]
    if file.suffix in (".json", ".jsonl"):
        ways = [*ways[:3], *[edit] * 20, remove, replace_by_folder, loop, nest]
    elif file.name.startswith("checkpoint"):
        ways += [edit_header] * 6
    way = rng.choice(ways)
    return f"{way.__name__} {file.name}: {way(rng, file) or ''}"


def flip(rng, file):
    data = bytearray(file.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)
    return bit


def cut_short(rng, file):
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def overwrite(rng, file):
    file.write_bytes(rng.randbytes(rng.choice([1, 8, 100, 5_000])))


def lengthen(rng, file):
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.choice([1, 8, 100])))


def empty(rng, file):
    file.write_bytes(b"")


def remove(rng, file):
    file.unlink()


def replace_by_folder(rng, file):
    file.unlink()
    file.mkdir()


def loop(rng, file):
    file.unlink()
    file.symlink_to(file.name)


def nest(rng, file):
    file.write_text("[" * 100_000 + "]" * 100_000)


def edit(rng, file):
    """One value of one object, by type and size, or a key taken out or added."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    at = rng.randrange(len(lines))
    data = json.loads(lines[at])
    said = change(rng, data)
    lines[at] = json.dumps(data)
    file.write_text("\n".join(lines) + "\n")
    return said


def change(rng, data):
    while True:
        key = rng.choice(list(data))
        if not isinstance(data[key], dict) or rng.random() < 0.2:
            break
        data = data[key]
    way, value = rng.randrange(8), rng.choice(VALUES)
    if way == 0:
        del data[key]
        return f"without {key}"
    if way == 1:
        data["more"] = value
        return f"with {value!r:.40}"
    data[key] = value
    return f"{key}={value!r:.40}"


def edit_header(rng, file):
    """A value of the header of a checkpoint, whose tensors stay as they are."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["about"])
    part = rng.choice([about, about["rows"][-1], about["rows"][0]])
    said = change(rng, part)
    header["__metadata__"]["about"] = json.dumps(about)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return said


# ---------------------------------------------------------------------------- attacks


def without_seconds(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def attack(rng, runs, place):
    """One attack: what was done, and how it ended badly, if it did."""
    use = rng.choice(["--resume"] * 3 + ["--evaluate", "--teacher"])
    source = runs / ("cut" if use == "--resume" else "done")
    folder = Path(shutil.copytree(source, place / "run"))
    what = f"{use} after {damage(rng, folder)}"
    before = content(folder)
    call = [use, str(folder)]
    if use == "--evaluate":
        call += ["--dataset", "digits"]
    elif use == "--teacher":
        call += [*TINY[:-1], "1", "--out", str(place / "student")]
    ended = apart(lambda: example().main(call), seconds=SECONDS)
    wrong = misbehaved(ended, (0, 2, 130)) or consequences(use, ended, folder, before, runs)
    for path in place.iterdir():
        shutil.rmtree(path)
    return f"{what}: {wrong}" if wrong else ""


def consequences(use, ended, folder, before, runs):
    """What a call did that it should not have done."""
    after = content(folder)
    if ended.code == 2 or use != "--resume":
        if before != after:
            changed = {name for name in before.keys() | after.keys()
                       if before.get(name) != after.get(name)}  # fmt: skip
            return f"{sorted(changed)} changed"
        if ended.code == 2:
            return ""
    if use == "--evaluate":
        expected = json.loads((runs / "done" / "summary.json").read_text())["last"]
        found = re.search(r": (\d+\.\d\d) % of", ended.out)
        return "" if found and found[1] == f"{expected:.2f}" else f"said {ended.out[-120:]!r}"
    if use == "--teacher":
        files = ("weights.safetensors", "config.json")
        wanted = {name: content(runs / "done")[name] for name in files}
        model = json.loads((folder / "config.json").read_text())["model"]
        same = wanted["weights.safetensors"] == after["weights.safetensors"]
        return "" if same and model == TINY[3] else "learned from another teacher"
    whole, found = runs / "done", folder
    if without_seconds(whole) != without_seconds(found):
        return f"other rows: {[row['epoch'] for row in without_seconds(found)]}"
    one, two = ((f / "weights.safetensors").read_bytes() for f in (whole, found))
    return "" if one == two else "other weights"


def fuzz(count, seed, runs, place):
    """Damage runs; what fell, in words."""
    example()
    fell = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        if wrong := attack(rng, runs, place):
            fell.append(f"{number}: {wrong}")
    return fell


@pytest.mark.deep
def test_some_damage(runs, tmp_path):
    report(8, in_a_fresh_process(fuzz, 8, "some", runs, tmp_path))


@pytest.mark.deep
def test_much_damage(runs, tmp_path):
    count = int(os.environ.get("BUDGETNET_FUZZ", "30"))
    report(count, in_a_fresh_process(fuzz, count, "much", runs, tmp_path))


# ---------------------------------------------------------------------------- arguments

TYPED = (
    "nan", "inf", "-1", "0", "1", "2", "1e308", "1e999", "99999999999", "9" * 30, "9" * 5_000, "",
    " ", "é😀", "x" * 300, "/", ".", "/dev/null", "/dev/full/x", "c99999999 gap10", "c4 gap10",
    "c4 gap9", "c" + "9" * 400 + " gap10", "c4k99999999p99999999 gap10", "p9999 gap10",
    "c4d99999999p199999999 gap10", "gap10 " * 50, "1.5", "0x10", "True", "mnist", "digits", "cpu",
    "cuda:99", "meta",
)  # fmt: skip
OPTIONS = ("--model", "--recipe", "--epochs", "--batch-size", "--lr", "--seed", "--seeds",
           "--teacher", "--device", "--dataset", "--data-dir", "--out", "--resume",
           "--evaluate")  # fmt: skip


def typed(count, seed, place):
    """Call with arguments of all kinds; what fell, in words."""
    example()
    fell = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        chosen = rng.sample(OPTIONS, rng.choice([1, 1, 2]))
        call = [word for option in chosen for word in (option, rng.choice(TYPED))]
        for option, word in (("--dataset", "digits"), ("--epochs", "1"), ("--model", "c4 gap10")):
            if option not in chosen and not {"--resume", "--evaluate"} & {*chosen}:
                call += [option, word]
        folder = place / str(number)
        folder.mkdir()
        os.chdir(folder)
        ended = apart(lambda call=call: example().main(call), seconds=SECONDS)
        said = "\n".join(x for x in ended.err.splitlines() if not x.startswith("downloading "))
        wrong = misbehaved(ended._replace(err=said), (0, 2))
        if not wrong and ended.code == 2:
            left = {str(path) for path in content(folder)}
            trained = any(name.endswith("config.json") for name in left)  # cut short: resumable
            wrong = f"left {sorted(left)[:3]}" if left - {"runs"} and not trained else ""
        if wrong:
            fell.append(f"{number}: {[word[:40] for word in call]}: {wrong}")
        os.chdir(place)
        shutil.rmtree(folder)
    return fell


def test_some_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGETNET_DATA", str(tmp_path / "none"))
    report(6, in_a_fresh_process(typed, 6, "some", tmp_path))


@pytest.mark.deep
def test_many_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGETNET_DATA", str(tmp_path / "none"))
    count = int(os.environ.get("BUDGETNET_FUZZ", "30"))
    report(count, in_a_fresh_process(typed, count, "many", tmp_path))
