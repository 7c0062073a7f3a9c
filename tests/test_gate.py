"""The gate never fails open: a status means one thing, whatever targets and readers do."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from budgetnet.accounting.formats import FORMATS
from budgetnet.accounting.table import visible
from budgetnet.cli import isolation
from budgetnet.cli.parser import main

TARGETS = '''
import os, sys, warnings
import torch
from torch import nn


def net():
    return nn.Conv2d(1, 1, 1)


def exits(code=0):
    sys.exit(code)


def leaves(code=0):
    os._exit(code)


def crashes():
    import ctypes
    ctypes.string_at(0)


def is_killed():
    os.kill(os.getpid(), 9)


def interrupts():
    raise KeyboardInterrupt


def raises(kind="BaseException"):
    raise getattr(__builtins__, kind, None) or __builtins__[kind]("no")


class Silent(Exception):
    def __str__(self):
        raise ValueError


def says_nothing():
    raise Silent


class Exits(nn.Module):
    def __init__(self, code=0):
        super().__init__()
        self.code = code

    def forward(self, x):
        sys.exit(self.code)


class Leaves(nn.Module):
    def forward(self, x):
        os._exit(0)


class Secretive(nn.Module):
    @property
    def forward(self):
        raise SystemExit(0)


class Over(nn.Module):
    """Raises what would be a verdict."""

    def forward(self, x):
        from budgetnet import Budget
        import budgetnet
        Budget(params=0).enforce(budgetnet.plan("c1", (1, 8, 8)))


class Prints(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        print("made")
        os.write(1, b"written\\n")
        warnings.warn("warned")

    def forward(self, x):
        print("::error file=pyproject.toml::forged\\x1b[2J")
        return self.conv(x)


NAMES = (
    "\\x1b]0;title\\x07", "a\\n::error::forged", "=1+1", "@sum", "-1+1", "##[error]x", "\\u202e",
)


def named():
    made = nn.Sequential()
    for name in NAMES:
        made.add_module(name, nn.Conv2d(1, 1, 1))
    return made


def leaves_traces():
    """Changes all that a process has."""
    import random
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    torch.manual_seed(5)
    random.seed(5)
    os.environ["BUDGETNET_TRACE"] = "here"
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    sys.stdout = sys.stderr = None
    nn.Conv2d = nn.Linear = None
    sys.modules["json"] = None
    return nn.ReLU()


def finds_traces():
    import json
    assert torch.get_default_dtype() is torch.float32
    assert str(torch.tensor(0.0).device) == "cpu"
    assert torch.is_grad_enabled()
    assert torch.initial_seed() != 5
    assert "BUDGETNET_TRACE" not in os.environ
    assert os.getcwd() != "/"
    assert "/nowhere" not in sys.path
    assert sys.stdout is not None
    return nn.Conv2d(1, 1, 1)
'''

BROKEN = '[[tool.budgetnet.check]]\nname = "first"\nmodel = "s6"\nparams = 1\n'


def section(model, **keys):
    """A check of a target with an input."""
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(
        ["[[tool.budgetnet.check]]", f'model = "{model}"', 'input = "1x8x8"', *lines, ""]
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to run in, with hostile targets and a function that writes the configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "evil.py").write_text(TARGETS)

    def write(*sections):
        (tmp_path / "pyproject.toml").write_text("\n".join(sections))
        return tmp_path

    return write


# ---------------------------------------------------------------- targets that leave

LEAVING = [
    "exits", "exits 1", "exits 3", "leaves", "leaves 1", "crashes", "is_killed", "interrupts",
    "raises", "raises GeneratorExit", "raises MemoryError", "says_nothing", "Exits", "Exits 1",
    "Leaves", "Secretive", "Over",
]  # fmt: skip


@pytest.mark.parametrize("how", LEAVING)
def test_a_target_that_leaves_is_an_error_of_one_line(how, project, capsys):
    name, _, value = how.partition(" ")
    key = "kind" if name == "raises" else "code"
    more = ["--set", f"{key}={value}"] if value else []
    call = ["--input", "1x8x8", *more]
    assert 2 == main(["check", f"evil.py:{name}", "--params", "1k", *call])
    assert "1 check: 1 error" in capsys.readouterr().out
    assert 2 == main(["account", f"evil.py:{name}", *call])
    captured = capsys.readouterr()
    assert "" == captured.out
    assert 1 == len(captured.err.splitlines())
    assert f"evil.py:{name}" in captured.err


@pytest.mark.parametrize("code", [0, 1])
def test_neither_does_a_module_that_leaves_when_imported(code, project, capsys):
    folder = project(BROKEN, section("leaving.py:net"), section("s6", params="20_000"))
    text = (
        (folder / "pyproject.toml")
        .read_text()
        .replace('"s6"\ninput = "1x8x8"\nparams = 20_000', '"s6"\nparams = 20_000')
    )
    (folder / "pyproject.toml").write_text(text)
    for how in ("sys.exit", "os._exit"):
        (folder / "leaving.py").write_text(f"import os, sys\n{how}({code})\n")
        assert 2 == main(["check", "--format", "json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        assert ["over budget", "error", "within"] == [check["verdict"] for check in checks]
        assert "leaving.py" in checks[1]["error"]


def test_a_target_cannot_speak_for_the_others(project, capsys):
    project(BROKEN, section("evil.py:exits"), section("evil.py:net", name='"last"', params=2))
    assert 2 == main(["check"])
    out = capsys.readouterr().out
    assert "3 checks: 1 within, 1 over budget, 1 error" in out


# ---------------------------------------------------------------- checks beside each other


def test_checks_do_not_see_what_others_have_done(project, capsys):
    project(
        section("evil.py:leaves_traces"),
        section("evil.py:finds_traces", params=2, weight_bytes=8, name='"after"'),
        section("evil.py:net", params=2, weight_bytes="[8, 8]"),
    )
    assert 0 == main(["check"]), capsys.readouterr().out


def test_helpers_of_one_name_in_two_folders_are_two(project, capsys):
    folder = project(
        section("a/net.py:make", params="[4, 4]"), section("b/net.py:make", params="[6, 6]")
    )
    for place, width in (("a", 2), ("b", 3)):
        (folder / place).mkdir()
        (folder / place / "helper.py").write_text(f"WIDTH = {width}\n")
        (folder / place / "net.py").write_text(
            "from torch import nn\nfrom helper import WIDTH\n"
            "def make():\n    return nn.Conv2d(1, WIDTH, 1)\n"
        )
    assert 0 == main(["check"]), capsys.readouterr().out


def test_a_file_that_has_changed_is_read_again(project, tmp_path):
    net = tmp_path / "net.py"
    for width, code in ((2, 0), (3, 1), (2, 0)):
        net.write_text(f"from torch import nn\ndef make():\n    return nn.Conv2d(1, {width}, 1)\n")
        stamp = time.time() + 10 * width + code
        os.utime(net, (stamp, stamp))
        for target in ("net.py:make", "net:make"):
            assert code == main(["check", target, "--input", "1x8x8", "--params", "4"])


@pytest.mark.deep
def test_where_nothing_forks_every_target_has_a_process_from_the_start(project, monkeypatch):
    project(section("evil.py:leaves"), section("evil.py:net", params=2, name='"after"'))
    isolation._fork_server.stop()
    monkeypatch.setattr(isolation, "FORKS", False)
    try:
        for code in (2, 0):
            assert code == main(["check", *(["--only", "after"] if code == 0 else [])])
    finally:
        isolation._fork_server.stop()


def test_this_process_stays_as_it_was(project, monkeypatch):
    project()
    before = (dict(os.environ), list(sys.path), os.getcwd(), set(sys.modules))
    assert 0 == main(["account", "evil.py:leaves_traces", "--input", "1x8x8"])
    assert before[:3] == (dict(os.environ), list(sys.path), os.getcwd())
    assert "evil" not in sys.modules
    monkeypatch.setenv("BUDGETNET_SEEN", "yes")
    Path("reads.py").write_text(
        "import os\nfrom torch import nn\ndef make():\n"
        "    return nn.Conv2d(1, len(os.environ['BUDGETNET_SEEN']), 1)\n"
    )
    assert 0 == main(["check", "reads.py:make", "--input", "1x8x8", "--params", "6..6"])


# ---------------------------------------------------------------- what targets print and name


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_a_target_prints_goes_to_stderr(form, project, capfd):
    project()
    assert 0 == main(["account", "evil.py:Prints", "--input", "1x8x8", "--format", form])
    captured = capfd.readouterr()
    if form == "json":
        assert 2 == json.loads(captured.out)["params"]
    else:
        assert ["Layer", "conv"] == [row[0] for row in csv.reader(io.StringIO(captured.out))]
    for word in ("made", "written", "warned", r"\::error file=pyproject.toml::forged\x1b[2J"):
        assert word in captured.err
    assert "\x1b" not in captured.err


def test_json_is_json_beside_annotations_and_baselines(project, capsys):
    project(BROKEN)
    assert 1 == main(["check", "--format", "json", "--format", "github", "--update"])
    captured = capsys.readouterr()
    assert 1 == json.loads(captured.out)["exit_code"]
    assert captured.err.startswith("::error file=pyproject.toml,line=4,title=budgetnet")
    assert "wrote budgetnet-baseline.json" in captured.err


@pytest.mark.filterwarnings("ignore:warned")
@pytest.mark.parametrize("name", [pytest.param("export", marks=pytest.mark.deep), "report"])
def test_so_it_does_where_the_model_itself_is_needed(name, project, capsys):
    pytest.importorskip("onnxruntime") if name == "export" else None
    more = ["-o", "net.onnx"] if name == "export" else ["-o", "net.html", "--footprints"]
    assert 0 == main([name, "evil.py:Prints", "--input", "1x8x8", *more])
    assert "made" not in capsys.readouterr().out
    for target in ("exits", "Exits"):
        assert 2 == main([name, f"evil.py:{target}", "--input", "1x8x8", *more])
        assert 1 == len(capsys.readouterr().err.splitlines())


COMMANDS = ["account", "check", "draw"]
FORMS = {
    "account": [["--format", form] for form in (*FORMATS, "json")],
    "check": [["--why"], *(["--format", form] for form in (*FORMATS, "json", "github"))],
    "draw": [[]],
}
CALLS = [(name, *form) for name in COMMANDS for form in FORMS[name]]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_names_of_layers_command_neither_terminal_nor_log(call, project, capsys):
    project()
    name, *form = call
    limits = ["--params", "1"] if name == "check" else []
    assert main([name, "evil.py:named", "--input", "1x8x8", *limits, *form]) in (0, 1)
    out = capsys.readouterr().out
    assert not [c for c in out if c != "\n" and not c.isprintable()]
    ours = "::error title=budgetnet%3A evil.py%3Anamed::params is"
    told = [line for line in out.splitlines() if line.lstrip().startswith("::")]
    assert (1 if "github" in form else 0) == len(told)
    assert all(line.startswith(ours) for line in told)
    assert "##[" not in out


def test_messages_and_names_of_checks_are_told_as_they_are(project, capsys, monkeypatch):
    project(
        BROKEN.replace('"first"', '"\\n::error::a%,b: c"'),
        'message = "\\u001b[31m\\n::warning::x"',
    )
    summary = Path("summary.md")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert 1 == main(["check", "--format", "github"])
    out = capsys.readouterr().out
    assert "\x1b" not in out + summary.read_text()
    commands = [line for line in out.splitlines() if line.lstrip().startswith("::")]
    (command,) = commands
    assert "title=budgetnet%3A %0A\\%3A%3Aerror%3A%3Aa%25%2Cb%3A c::params is" in command
    assert "\\x1b[31m%0A\\::warning::x" in command
    assert not [x for x in summary.read_text().splitlines() if x.lstrip().startswith("::")]


def test_no_cell_of_csv_is_a_formula(project, capsys):
    project()
    assert 0 == main(["account", "evil.py:named", "--input", "1x8x8", "--format", "csv"])
    cells = [cell for row in csv.reader(io.StringIO(capsys.readouterr().out)) for cell in row]
    assert {"'=1+1", "'@sum", "'-1+1"} <= set(cells)
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_visible_text_stays_as_it_is_and_ends_once():
    for text in ("conv1", "std::vector", "größe × 3", "C:\\nets", "#1 ##"):
        assert text == visible(text)
    for text in ("\x1b[0m", "::error::", "a ::b", "##[x]", "\udc80", "\x85", "\u2028"):
        once = visible(text)
        assert text != once == visible(once)


# ---------------------------------------------------------------- readers and encodings


def start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "budgetnet", *arguments],
        stdout=stdout, stderr=stderr, env={**os.environ, **environment},
    )  # fmt: skip


def gone():
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


LIMITS = [("20k", 0), ("1", 1)]


@pytest.mark.parametrize(("limit", "code"), LIMITS)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_leaves_does_not_hide_the_verdict(limit, code, buffered):
    pipe = gone()
    process = start("check", "s6", "--params", limit, stdout=pipe, PYTHONUNBUFFERED=buffered)
    os.close(pipe)
    assert (code, b"") == (process.wait(), process.stderr.read())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [("check", "s6"), ("account", "s6"), ("--help",), ("models",)]
)
def test_a_full_disk_is_an_error(arguments, buffered):
    with open("/dev/full", "wb") as full:
        process = start(*arguments, stdout=full, PYTHONUNBUFFERED=buffered)
        error = process.stderr.read().decode()
        assert 2 == process.wait()
        assert 1 == len(error.splitlines())
        assert "stdout could not be written" in error
        assert 0 == start("check", "s6", stderr=full, stdout=subprocess.DEVNULL).wait()
        assert 2 == start("check", "s7", stderr=full, stdout=full).wait()


@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", "<&-", pytest.param("<&- >&- 2>&-", marks=pytest.mark.deep)]
)
def test_descriptors_that_are_closed_change_nothing(closed, project):
    project()
    target, limits = "s6", ("20k", 1)
    if closed.startswith("<&- "):  # what the target's own process makes of it
        target, limits = "evil.py:net --input 1x8x8", (2, 1)
    command = f'"{sys.executable}" -m budgetnet check {target} --params'
    for limit, code in zip(limits, (0, 1), strict=True):
        done = subprocess.run(["sh", "-c", f"{command} {limit} {closed}"], capture_output=True)
        assert (code, b"") == (done.returncode, done.stderr)


ENCODINGS = ["cp1252", "ascii", "latin-1", "cp437", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_that_lacks_characters_gets_ascii(encoding):
    process = start("check", "s6", "--params", "20k", PYTHONIOENCODING=encoding)
    out, error = process.communicate()
    assert (0, b"") == (process.returncode, error)
    text = out.decode(encoding)
    assert "14,372" in text
    assert ("─────" if encoding in ("cp437", "utf-16") else "-----") in text


def test_characters_of_the_user_are_told_by_their_codes(project):
    project(BROKEN.replace("first", "größe 数"))
    process = start("check", PYTHONIOENCODING="ascii")
    out, error = process.communicate()
    assert (1, b"") == (process.returncode, error)
    assert rb"gr\xf6\xdfe \u6570: s6 on" in out


# ---------------------------------------------------------------- what nobody expected

DEEP = "[" * 5_000
MANY = "9" * 5_000
UNEXPECTED = [
    ["account", "c8", "--input", f"1x{MANY}x3"],
    ["account", f"c{MANY}", "--input", "1x8x8"],
    ["account", "s6", "--depth", MANY],
    ["account", "evil.py:net", "--input", "1x8x8", "--set", f"a={DEEP}"],
    ["account", "evil.py:net", "--input", "1x8x8", "--set", "a={[]: 1}"],
    ["check", "s6", "--params", MANY],
    ["check", "s6", "--params", "\ud800"],
    ["check", "--config", "loop.toml"],
    ["check", "--config", "deep.toml"],
    ["check", "--config", "\0"],
    ["check", "loop.json"],
    ["check", "deep.json"],
    ["check", "loop.py:net", "--input", "1x8x8"],
    ["check", "\0:net", "--input", "1x8x8"],
    ["design", "--input", "1x8x8", "--classes", "2", "--params", "1k", "--objective", "macs=1/0"],
    ["design", "--input", "1x8x8", "--classes", MANY],
    ["check", "--parms"],
    ["check", "\x1b[2J\n::error::forged"],
    ["\x1b[2J\n::error::forged"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", UNEXPECTED, ids=lambda words: " ".join(words)[:40])
def test_whatever_is_unexpected_is_one_line_and_2(arguments, project, capsys):
    folder = project()
    for name in ("loop.toml", "loop.json", "loop.py"):
        (folder / name).symlink_to(name)
    (folder / "deep.toml").write_text(f"a = {DEEP}")
    (folder / "deep.json").write_text(DEEP)
    assert 2 == main(arguments)
    captured = capsys.readouterr()
    lines = [*captured.err.splitlines(), *captured.out.splitlines()]
    assert "Traceback" not in captured.err + captured.out
    assert "\x1b" not in captured.err + captured.out
    assert len(captured.err.splitlines()) == (0 if "1 check: 1 error" in lines else 1)
    assert max(map(len, lines)) < 6_000


def test_a_working_directory_that_is_gone(project, tmp_path, monkeypatch, capsys):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert 2 == main(["check"])
    assert "the working directory cannot be read" in capsys.readouterr().err
    assert 1 == main(["check", f"{tmp_path}/evil.py:net", "--input", "1x8x8", "--params", "1"])


@pytest.mark.parametrize("place", [("--debug", "account"), ("account", "--debug")])
def test_debug_shows_where_it_was_raised(place, project, capsys):
    project()
    call = [*place, "evil.py:exits", "--input", "1x8x8"]
    assert 2 == main(call)
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "in exits" in error
    assert 2 == main(["check", "--debug", "evil.py:Exits", "--input", "1x8x8"])
    assert "in forward" in capsys.readouterr().err


# ---------------------------------------------------------------- Ctrl-C

WAITS = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


def waiting(folder):
    """A check whose target waits, and the process that waits."""
    (folder / "waits.py").write_text(WAITS)
    process = start("check", "waits.py:net", "--input", "1x8x8")
    for _ in range(3_000):
        if (folder / "pid").exists() and (text := (folder / "pid").read_text()):
            return process, int(text)
        time.sleep(0.02)
    raise AssertionError("it never began")


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_stops_a_check_stops_what_it_runs(how, project, tmp_path):
    project()
    process, pid = waiting(tmp_path)
    assert is_alive(pid)
    process.send_signal(how)
    out, error = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert (130, b"", b"budgetnet: stopped\n") == (process.returncode, out, error)
    for _ in range(500):
        if not is_alive(pid):
            return
        time.sleep(0.02)
    raise AssertionError("the target still runs")
