"""Every file that is read, damaged at random: it is read rightly, or refused in one line.

A sample runs always, all of it with `pytest --deep`. The readers are called as a library first, so
that their errors are the project's own, and then through the command line.
"""

import io
import itertools
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import damage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetnet import Account, account, errors, models, plan
from budgetnet.accounting.saved import as_version
from budgetnet.cli import baseline, config
from budgetnet.cli.parser import main
from budgetnet.models import weights

NETS = """
from torch import nn


def small(width=4):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 3))
"""
PRETRAINED = Path(weights.__file__).with_name("pretrained")


def sizes(sample, deep):
    """A small number of draws, and a large one with --deep."""
    return pytest.mark.parametrize("count", [sample, pytest.param(deep, marks=pytest.mark.deep)])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "saved.json").write_text(plan("c4 gap2", (1, 9, 9)).to_json())
    return tmp_path


class Tried:
    """What was tried, and what fell."""

    def __init__(self):
        self.count, self.fallen, self.ends = 0, [], Counter()

    def library(self, what, call, kinds, seconds=20):
        """Call a reader; returns what it gives, `None` where it refuses by one of these kinds."""
        self.count += 1
        try:
            with damage.in_time(seconds):
                found = call()
        except kinds as error:
            self.ends[type(error).__name__] += 1
            first, *pointer = str(error).splitlines()
            points = len(pointer) == 2 and not pointer[1].strip(" ").strip("^")
            if (pointer and not points) or len(first) > 2000:
                self.fallen.append(f"{what}: {len(str(error))} characters: {str(error)[:200]!r}")
            return None
        except BaseException as error:  # whatever it is, it fell
            self.fallen.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
            return None
        self.ends["read"] += 1
        return found

    def command(self, what, arguments, statuses=(0, 1, 2, 3), changes=(), seconds=60):
        """Run a command line in this process; returns its status, or `None` where it fell."""
        self.count += 1
        before = contents()
        out, told = io.StringIO(), io.StringIO()
        try:
            with damage.in_time(seconds), redirect_stdout(out), redirect_stderr(told):
                status = main(arguments)
        except BaseException as error:  # whatever it is, it fell
            self.fallen.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
            return None
        self.ends[status] += 1
        after = contents()
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        if status not in statuses:
            self.fallen.append(f"{what}: status {status}")
        elif len(told.getvalue().splitlines()) > 1 or "Traceback" in out.getvalue():
            self.fallen.append(f"{what}: says {told.getvalue()[:200]!r}")
        elif not changed <= set(changes):
            self.fallen.append(f"{what}: changed {sorted(changed)}")
        else:
            return status
        return None

    def hold(self):
        """Raise where anything fell."""
        print(f"{self.count} tried: {dict(self.ends)}")
        told = "\n".join(self.fallen[:12])
        assert not self.fallen, f"{len(self.fallen)} of {self.count} fell\n{told}"


def contents():
    """Every file here with its bytes; what an import leaves behind does not count."""
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


# ---------------------------------------------------------------------------- configuration

GOOD = {
    "name": '"a"', "model": '"c4 gap2"', "input": '"1x9x9"', "set": "{ }", "message": '"no"',
    "growth": '{ params = "+2%" }', "params": '"2k"', "trainable_params": "2_000",
    "macs": "[0, 50_000]", "receptive_field": "3", "weight_bytes": '"4 KiB"',
    "peak_activation_bytes": '"1 MiB"', "depth": "4", "require": '["Conv2d"]', "forbid": '"Linear"',
}  # fmt: skip


def section(**changes):
    keys = {**GOOD, **changes}
    lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
    return "[[tool.budgetnet.check]]\n" + "\n".join(lines) + "\n"


def try_config(tried, what, text):
    file = Path("pyproject.toml")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = tried.library(what, lambda: config.checks_of(file), errors.ArgumentError)
    # The library has told; the command must, too, and say nothing else.
    status = tried.command(what, ["check"])
    if found is None and status not in (None, 2):
        tried.fallen.append(f"{what}: refused by the library, status {status} of the command")


def test_good_values_are_read(folder):
    tried = Tried()
    Path("pyproject.toml").write_text(section(growth=None))
    assert 0 == tried.command("good", ["check"])
    tried.hold()


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.deep)])
@pytest.mark.parametrize("key", GOOD)
def test_values_of_every_type_and_size(key, every):
    tried = Tried()
    start = sorted(GOOD).index(key) % every
    for value in damage.TOML_VALUES[start::every]:
        changes = {"growth": None, **({"set": None} if key == "model" else {}), key: value}
        try_config(tried, f"{key} = {value[:60]}", section(**changes))
    tried.hold()


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.deep)])
def test_sections_of_every_type(every):
    tried = Tried()
    for value in damage.TOML_VALUES[::every]:
        for head in ("tool", "tool.budgetnet", "tool.budgetnet.check"):
            try_config(tried, f"{head} = {value[:60]}", f"{head} = {value}\n")
    tried.hold()


@sizes(40, 1500)
def test_a_damaged_configuration(count):
    tried = Tried()
    text = ("# é🙂\n[project]\nname = 'x'\n\n" + section(growth=None)).encode()
    for i, random in enumerate(damage.draws("config", count)):
        try_config(tried, f"config {i}", damage.damaged_bytes(text, random))
    tried.hold()


# ---------------------------------------------------------------------------- accounts


class Own:
    """A model with a map, a parameter and a buffer that no row tells."""

    def __new__(cls):
        import torch
        from torch import nn

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.zeros(4, 1, 3, 3))
                self.spare = nn.Parameter(torch.zeros(5))
                self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))

            def forward(self, x):
                return nn.functional.conv2d(x, self.weight).mean((2, 3))

        return Own()


ACCOUNTS = {
    "chain": lambda: plan("c4 c4 p ds8 gap2", (1, 28, 28)),
    "own": lambda: account(Own(), (1, 9, 9)),
}


@pytest.mark.parametrize("make", ACCOUNTS.values(), ids=ACCOUNTS.keys())
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_good_accounts_are_read(make, version):
    made = make()
    data = json.loads(made.to_json())
    data["version"] = version
    later = [("reads",), ("lines",), ("role", "has_bias", "weight_shape")][version - 1 :]
    for row in data["rows"]:
        for key in itertools.chain(*later):
            del row[key]
    if version < 4:
        del data["spec"]
    assert as_version(made, version) == Account.from_dict(data)


def agrees(found):
    """Whether the totals of an account follow from its rows, by arithmetic of the test's own."""
    told = sum(row.params for row in found.rows)
    counts = [row.macs for row in found.rows]
    return (
        (told == found.params or (told < found.params and found.unused))
        and 0 <= found.trainable_params <= found.params
        and (None in counts or found.macs == sum(counts))
        and found.weight_bytes == sum(size for _, size in found.weight_bytes_by_type)
        and found.peak_activation_bytes > 0
        and all(-1 <= i < place for place, row in enumerate(found.rows) for i in row.reads)
    )


def try_account(tried, what, text, original):
    def read():
        return Account.from_json(text)

    found = tried.library(what, read, errors.FormatError)
    Path("damaged.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    status = tried.command(what, ["check", "damaged.json", "--params", "3k", "--why"])
    if found is None:
        if status not in (None, 2):
            tried.fallen.append(f"{what}: refused, then status {status}")
        return
    if not agrees(found):
        tried.fallen.append(f"{what}: read, although its totals are not those of its rows")
    if found != original and tried.count % 5 == 0:  # what is read must also bear being shown
        tried.command(what, ["account", "damaged.json", "--depth", "1"], (0,))
        tried.command(what, ["report", "damaged.json", "-o", "out.html"], (0, 2), ["out.html"])


@sizes(30, 1200)
@pytest.mark.parametrize("make", ACCOUNTS.values(), ids=ACCOUNTS.keys())
def test_an_account_with_other_values(make, count):
    tried, original = Tried(), make()
    data = json.loads(original.to_json())
    for i, random in enumerate(damage.draws("account", count)):
        try_account(tried, f"account {i}", damage.damaged_json(data, random), original)
    tried.hold()


@sizes(20, 1000)
def test_an_account_with_other_bytes(count):
    tried, original = Tried(), ACCOUNTS["chain"]()
    data = original.to_json().encode()
    for i, random in enumerate(damage.draws("account bytes", count)):
        try_account(tried, f"bytes {i}", damage.damaged_bytes(data, random), original)
    tried.hold()


# ---------------------------------------------------------------------------- baselines


@sizes(30, 1000)
def test_a_damaged_baseline(count):
    tried = Tried()
    Path("pyproject.toml").write_text(section())
    assert 0 == tried.command("update", ["check", "--update"], changes=[baseline.NAME])
    file = Path(baseline.NAME)
    good = file.read_bytes()
    assert 0 == tried.command("check", ["check"])
    for i, random in enumerate(damage.draws("baseline", count)):
        text = damage.damaged_json(json.loads(good), random).encode()
        if i % 3 == 0:
            text = damage.damaged_bytes(good, random)
        file.write_bytes(text)
        kinds = (errors.FormatError, errors.ArgumentError)
        found = tried.library(f"baseline {i}", lambda: baseline.parse_baseline(file), kinds)
        tried.command(f"baseline {i}", ["check"])
        if found is not None:
            figures = [n for check in found.values() for n in check.values()]
            if not all(type(n) is int and n >= 0 for n in figures):
                tried.fallen.append(f"baseline {i}: read as {figures}")
    tried.hold()


# ---------------------------------------------------------------------------- shipped weights

REFUSALS = (errors.WeightsError, errors.FormatError)


def copied(folder):
    for suffix in ("json", "safetensors"):
        name = f"s6-mnist.{suffix}"
        (folder / name).write_bytes((PRETRAINED / name).read_bytes())
    return json.loads((folder / "s6-mnist.json").read_text())


@sizes(30, 1200)
def test_a_damaged_sidecar(count, folder):
    """Read only where it says what it said; with a digest made for it, never by a wrong type."""
    tried, meta = Tried(), copied(folder)
    file = folder / "s6-mnist.json"
    good = file.read_bytes()
    for i, random in enumerate(damage.draws("sidecar", count)):
        text = damage.damaged_json(meta, random).encode()
        if i % 4 == 0:
            text = damage.damaged_bytes(good, random)
        signed = False
        if i % 2:
            try:
                changed = json.loads(text)
                changed["digest"] = weights.digest_of(changed)
                text, signed = json.dumps(changed).encode(), True
            except (ValueError, TypeError, RecursionError):
                pass
        file.write_bytes(text)
        load = lambda: weights.load("s6", "mnist", folder)  # noqa: E731  # a name for one call
        found = tried.library(f"sidecar {i}", load, REFUSALS)
        if found is not None:
            if not signed and found.meta != meta:
                tried.fallen.append(f"sidecar {i}: an edit was read")
            tried.library(f"sidecar {i}", found.transforms, ())
            tried.library(f"sidecar {i}", found.state_dict, REFUSALS)
    tried.hold()


@sizes(30, 1200)
def test_damaged_tensors(count, folder):
    """With the digest of the sidecar, and with one made for the damage."""
    import hashlib

    tried, meta = Tried(), copied(folder)
    file = folder / "s6-mnist.safetensors"
    good = file.read_bytes()
    head = int.from_bytes(good[:8], "little") + 8
    for i, random in enumerate(damage.draws("tensors", count)):
        data = damage.damaged_bytes(good, random)
        if i % 2:  # the part that says what the rest is
            data = damage.damaged_bytes(good[:head], random) + good[head:]
        file.write_bytes(data)
        if i % 3:
            meta["sha256"] = hashlib.sha256(data).hexdigest()
            meta["digest"] = weights.digest_of(meta)
        (folder / "s6-mnist.json").write_text(json.dumps(meta))

        def fill():
            return models.get_model("s6", weights.load("s6", "mnist", folder))

        found = tried.library(f"tensors {i}", fill, REFUSALS)
        if found is not None and not i % 3 and data != good:
            tried.fallen.append(f"tensors {i}: read, although they are not those of the sidecar")
    tried.hold()


# ---------------------------------------------------------------------------- specs and init


def planned(text, shape):
    return str(plan(text, shape))


@sizes(150, 1500)
def test_any_text_is_a_spec_or_refused(count):
    tried = Tried()
    kinds = (errors.SpecError, errors.ShapeError, errors.ArgumentError)
    for i, random in enumerate(damage.draws("spec", count)):
        words = random.choice([damage.WORDS, damage.GOOD_WORDS])
        text = " ".join(random.choices(words, k=random.randint(1, 5)))
        if i % 3 == 0:
            some = random.choice(["c16 ds8k5s2 p3 gap10", text[:200]])
            text = damage.damaged_bytes(some.encode("utf-8", "replace"), random).decode("latin-1")
        shape = random.choice([(1, 9, 9), (3, 28, 28), (1, 100_000, 100_000)])
        what = f"spec {i} {text[:80]!r}"
        tried.library(what, partial(planned, text, shape), kinds, seconds=60)
    tried.hold()


FILES = {
    "none": None,
    "empty": "",
    "other": "[project]\nname = 'é'\n",
    "windows": '[project]\r\nname = "x"\r\n\r\n[tool.ruff]\r\nline-length = 100',
    "checks": '[[tool.budgetnet.check]]\nmodel = "c4 gap2"\ninput = "1x9x9"\n# end',
    "list": "[tool.budgetnet]\ncheck = []  # none yet\n[tool.ruff]\nx = nan\n",
    "inline": 'tool = { ruff = { x = 1 } }\n[project]\nname = "x"\n',
    "both": '[tool]\nbudgetnet = { check = [{ model = "s6", name = "b" }] }  # one\n',
    "broken": "[tool.budgetnet\n",
}


def try_init(tried, what, content, arguments):
    file = Path("pyproject.toml")
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content.encode())
    call = ["init", "c4 gap2", "--input", "1x9x9", "--config", "pyproject.toml", *arguments]
    if any(argument.startswith("--set") for argument in arguments):
        call[1] = "nets.py:small"
    status = tried.command(what, call, (0, 2), ["pyproject.toml"])
    now = file.read_bytes() if file.exists() else None
    if status == 2 and now != (None if content is None else content.encode()):
        tried.fallen.append(f"{what}: refused, but written")
    if status == 0:
        try:
            before, after = tomllib.loads(content or ""), tomllib.loads(now.decode())
            checks = after["tool"]["budgetnet"]["check"]
            added = checks.pop()
            old = before.get("tool", {}).get("budgetnet", {}).get("check", [])
            assert repr(old) == repr(checks)
            assert added["params"] in (56, 86, 114)
            assert (b"\r\n" in now) == ("\r\n" in (content or ""))
            assert now.count(b"\r\n") in (0, now.count(b"\n"))
            for comment in ("# none yet", "# one", "# end"):
                assert (comment in (content or "")) == (comment.encode() in now)
        except (ValueError, KeyError, AssertionError) as error:
            tried.fallen.append(f"{what}: wrote {now!r}: {error!r}")


NAMES = ["é🙂", "a\nb", 'a"b', "a'b'''", "\\", "\x7f", "\x00", "\x1b[31m", "\ud800", "#", "]]",
         "x" * 9999, "tab\there", "\u2028", '"""', "\r", " "]  # fmt: skip
SETS = [
    "a=1e999", "a=[1,None]", "é=1", "a=nan", "a=-1e999", "a=None", "a=(1,2)", "a={1:2}",
    "a={'b':1}", "a=b'x'", "a=1j", "a=" + "9" * 400, "a=[[1,[2.5,'é🙂']],True]", "a='\ud800'",
    "a=\ud800", "width=3", "a=[1,[2,[None]]]", "a='''x\ny'''", "a=\x7f", "a=[]", "a=True",
    "a=9223372036854775808", "a=-9223372036854775808", "a=" + "[" * 90 + "]" * 90, "ª=1", "a=...",
]  # fmt: skip


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.deep)])
def test_init_writes_what_reads_back_or_nothing(every):
    tried = Tried()
    Path("nets.py").write_text(NETS.replace("width=4", "width=4, **ignored"))
    cases = [(name, ["--name", text]) for name in FILES for text in NAMES]
    cases += [(name, ["--set", text]) for name in FILES for text in SETS]
    for name, arguments in cases[::every]:
        try_init(tried, f"{name} {arguments[0]} {arguments[1][:40]!r}", FILES[name], arguments)
    tried.hold()


@settings(max_examples=40)
@given(name=st.text(max_size=30), kind=st.sampled_from(sorted(FILES)))
def test_init_with_any_name(name, kind):
    tried = Tried()
    try_init(tried, f"{kind} {name!r}", FILES[kind], [f"--name={name}"])
    tried.hold()


# ---------------------------------------------------------------------------- real processes


@pytest.mark.deep
def test_some_of_all_that_in_processes_of_their_own(folder):
    """What is true in one process for thousands is true at the door."""
    fallen, account_text = [], plan("c4 gap2", (1, 9, 9)).to_json()
    for i, random in enumerate(damage.draws("process", 40)):
        key, value = random.choice([*GOOD]), random.choice(damage.TOML_VALUES)
        (folder / "pyproject.toml").write_text(section(**{"growth": None, key: value}))
        (folder / "damaged.json").write_text(damage.damaged_json(json.loads(account_text), random))
        before = contents()
        arguments = random.choice([["check"], ["check", "damaged.json", "--params", "2k"]])
        command = [sys.executable, "-m", "budgetnet", *arguments]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, timeout=120, env=env)
        told = done.stdout + done.stderr
        one_line = len(done.stderr.splitlines()) <= 1 and b"Traceback" not in told
        if done.returncode not in (0, 1, 2, 3) or not one_line or before != contents():
            fallen.append(f"{i} {arguments} {key} = {value[:60]}: {done.returncode} {told[:300]!r}")
    assert not fallen, "\n".join(fallen)
