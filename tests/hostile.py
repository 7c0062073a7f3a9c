"""Hostile calls of the command line, made at random, and what is wrong with how each ends.

    python tests/hostile.py 200 --seed 1      # 200 of every kind: how many fell

A call falls if its status is not the one that is due, or not documented where any may be; if there
is a traceback, or more than a line of error; if stdout commands a terminal or a log, or cannot be
parsed; if a file has changed that the call does not name; or if it does not end.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

STATUSES = (0, 1, 2, 3)
PATIENCE = 60  # seconds until a call counts as one that does not end

# ---------------------------------------------------------------- targets

LEAVE = [
    "sys.exit(0)", "sys.exit(1)", "sys.exit('no')", "raise SystemExit", "raise SystemExit(3)",
    "os._exit(0)", "os._exit(1)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)",
    "os.kill(os.getpid(), 11)", "os.abort()", "raise KeyboardInterrupt", "raise GeneratorExit",
    "raise BaseException('no')", "raise MemoryError", "raise RecursionError", "raise StopIteration",
    "raise Silent", "raise type('\\x1b[2J\\n::error::x', (BaseException,), {})('a\\n::error::b')",
    "recurse()", "threading.Thread(target=os._exit, args=(0,)).start(); time.sleep(9)",
    "import budgetnet as b; b.assert_budget('c1', (1, 8, 8), params=0)",
    "exit()", "quit(1)", "os.execv('/bin/true', ['true'])",
]  # fmt: skip
DISTURB = [
    "print('noise')", "print('{\"format\": 1}')", "os.write(1, b'noise\\n')", "warnings.warn('w')",
    "print('::error file=a::forged')", "print('\\x1b[2J\\x1b]0;t\\x07')", "os.chdir('/')",
    "torch.set_default_dtype(torch.bfloat16)", "torch.set_default_device('meta')",
    "torch.set_grad_enabled(False)", "torch.set_num_threads(1)", "os.environ.clear()",
    "sys.path.clear()", "sys.modules.pop('json', None)", "sys.stdout.close()", "os.close(1)",
    "sys.stdout = None", "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)", "random.seed(0)",
    "atexit.register(os._exit, 0)", "atexit.register(print, 'late')", "os.umask(0o777)",
    "threading.Thread(target=time.sleep, args=(5,)).start()", "sys.setrecursionlimit(500)",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)", "sys.excepthook = None", "gc.disable()",
    "warnings.simplefilter('error')", "print('x' * 300_000)", "sys.argv.clear()",
    "builtins.print = None", "json.dumps = None", "logging.warning('noise')",
]  # fmt: skip
PLACES = ["import", "callable", "init", "forward"]
HEAD = """
import atexit, builtins, gc, json, logging, os, random, signal, sys, threading, time, warnings
import torch
from torch import nn


class Silent(Exception):
    def __str__(self):
        raise ValueError


def recurse():
    return recurse()


def act_at(place):
    {acts}


act_at("import")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=True, dtype=torch.float32)
        act_at("init")

    def forward(self, x):
        act_at("forward")
        return self.conv(x)


def make():
    act_at("callable")
    return Net()
"""


def target(rng):
    """The source of a module, and whether it leaves."""
    acts = [(rng.choice(PLACES), rng.choice(DISTURB)) for _ in range(rng.randint(0, 3))]
    leaves = rng.random() < 0.6
    if leaves:
        acts.append((rng.choice(PLACES), rng.choice(LEAVE)))
    lines = [f"if place == {place!r}:\n        {act}" for place, act in acts] or ["pass"]
    return HEAD.format(acts="\n    ".join(lines)), leaves


def hostile_target(rng, folder):
    """Three checks, the middle one of a hostile target; the others keep their verdicts."""
    source, leaves = target(rng)
    (folder / "evil.py").write_text(source)
    (folder / "pyproject.toml").write_text(
        '[[tool.budgetnet.check]]\nname = "first"\nmodel = "s6"\nparams = 1\n'
        '[[tool.budgetnet.check]]\nmodel = "evil.py:make"\ninput = "1x8x8"\nparams = 2\n'
        '[[tool.budgetnet.check]]\nmodel = "fine.py:make"\ninput = "1x8x8"\n'
        "params = 2\nweight_bytes = [8, 8]\n"
    )
    (folder / "fine.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Conv2d(1, 1, 1)\n"
    )
    ended = Ended.of(["check", "--format", "json"], folder)
    faults = ended.faults(lines=None)
    try:
        checks = json.loads(ended.out)["checks"]
    except (ValueError, KeyError):
        return [*faults, "stdout is no JSON"], source
    verdicts = [check["verdict"] for check in checks]
    # What disturbs may as well fail: no verdict may be another than that of the network.
    due = ["error"] if leaves else ["within", "error"]
    if verdicts[::2] != ["over budget", "within"] or verdicts[1] not in due:
        faults.append(f"verdicts {verdicts}")
    if ended.code != (2 if "error" in verdicts else 1):
        faults.append(f"status {ended.code} for {verdicts}")
    return faults, source


# ---------------------------------------------------------------- readers and encodings

ENCODINGS = [
    "ascii", "latin-1", "cp1252", "cp437", "cp850", "cp932", "cp936", "cp1251", "koi8-r", "gbk",
    "shift_jis", "euc_kr", "big5", "iso8859_7", "iso2022_jp", "mac_roman", "utf-8", "utf-8-sig",
    "utf-16", "utf-32", "utf-7", "cp1252:strict", "ascii:strict", "cp037", "hz", "ascii:replace",
]  # fmt: skip
FORMS = ["", "--why", "--format markdown", "--format json", "--format csv"]
WORDS = [
    "net",
    "größe",
    "数",
    "\N{SNOWMAN}",
    "× ─ │ —",
    "a\u202eb",
    "\x1b[2J",
    "::error::x",
    "=1+1",
]


def configured(rng, folder):
    """A configuration with names and messages of anything, and whether it holds."""
    holds = rng.random() < 0.5
    name, message = (json.dumps(" ".join(rng.sample(WORDS, 2))) for _ in range(2))
    (folder / "pyproject.toml").write_text(
        f'[[tool.budgetnet.check]]\nname = {name}\nmodel = "s6"\nmessage = {message}\n'
        f"params = {20_000 if holds else 1}\n",
        encoding="utf-8",
    )
    return holds


def hostile_encoding(rng, folder):
    """A check whose stdout lacks characters; the verdict stays."""
    holds = configured(rng, folder)
    encoding, form = rng.choice(ENCODINGS), rng.choice(FORMS)
    command = ["check", *form.split()]
    ended = Ended.of(command, folder, environment={"PYTHONIOENCODING": encoding})
    faults = ended.faults(expected=0 if holds else 1, lines=0, encoding=encoding.partition(":")[0])
    return faults, f"{encoding} {form}"


READERS = ["gone", "full", "closed", "file", "after 10", "after 100"]


def hostile_reader(rng, folder):
    """A check whose stdout or stderr leads nowhere; the verdict stays, or is known to be lost."""
    holds = configured(rng, folder)
    form = rng.choice([*FORMS, "--format github", "--format json --format github"])
    out, error = rng.choice(READERS), rng.choice([*READERS, "file", "file"])
    environment = {"PYTHONUNBUFFERED": rng.choice(["", "1"])}
    command = ["check", *form.split()]
    ended = Ended.of(command, folder, out=out, error=error, environment=environment)
    expected = 2 if out == "full" else 0 if holds else 1
    return ended.faults(expected=expected, lines=1 if out == "full" else 0), f"{form} {out} {error}"


# ---------------------------------------------------------------- arguments

TARGETS = [
    "s6", "c4 p gap2", "net.py:make", "net:make", "net.py:named", "net.py:number", "saved.json",
    "pyproject.toml", "s7", "", ":", ".py:", "net.py:", "net.py:make.x", "/:x", "loop.py:make",
    "loop.json", "folder", "folder.json", "deep.json", "\0:a", "\ud800:a", "\x1b[2J",
    "c" + "9" * 5000, "c4 " * 3000 + "gap2", "::error::x", "json:dumps", "os:abort", "os:_exit",
    "builtins:exit",
]  # fmt: skip
VALUES = [
    "", "0", "-1", "1", "2", "8", "20k", "1e999", "nan", "inf", "9" * 5000, "1_000", "1..2", "2..1",
    "..", "1x8x8", "1x8x8+1x8x8", "0x8x8", "1x8", "1x8x8x8", "1x" + "9" * 400 + "x8", "x", "+",
    "\0", "\ud800", "\x1b[2J", "\n::error::x", "é", "数", "a=1", "a=" + "[" * 3000, "a={[]: 1}",
    "a=b=c", "=", "params=1", "params,macs", "max params", "macs=1/0", "macs=1e999", "rf", "valid",
    "pyproject.toml", "other.toml", "deep.toml", "loop.toml", "folder", "digits", "mnist", "None",
    "ReLU", "*", "[", "(" * 500, "60KiB", "1" + "0" * 30, "\N{FULLWIDTH DIGIT THREE}", "--", "-",
]  # fmt: skip
PLACES_OUT = ["out.txt", "out.svg", "out.html", "folder", "loop.toml", "no/out.txt", ""]
OPTIONS = {
    "account": ["--input", "--set", "--depth", "--format=", "--lenient!", "-o", "--debug!"],
    "check": [
        "--input", "--set", "--config", "--only", "--params", "--macs", "--weight-bytes", "--rf",
        "--peak-activation-bytes", "--trainable-params", "--depth", "--require", "--forbid",
        "--why!", "--format=", "-o", "--debug!",
    ],
    "design": ["--params", "--macs", "--rf", "--depth", "--objective", "--pareto", "--format="],
    "draw": ["--input", "--set", "--depth", "-o"],
    "report": [
        "--input", "--set", "--config", "--only", "--params", "--rf", "--require", "--image",
        "--against",
    ],
    "init": ["--input", "--set", "--name", "--config"],
    "models": ["--format=", "-o"],
    "words": ["--format=", "-o"],
    "": [],
    "checks": [],
}  # fmt: skip
FORMATS = ["table", "markdown", "csv", "json", "python", "github", "", "\x1b"]
NET = """
from torch import nn
number = 3
def make(a=1):
    return nn.Conv2d(1, a, 1)
def named():
    made = nn.Sequential()
    for name in ("\\x1b[2J", "a\\n::error::b", "=1+1", "##[error]", "\\u202e"):
        made.add_module(name, nn.Conv2d(1, 1, 1))
    return made
"""


def words(rng):
    """What might be typed, and the files that it may write."""
    name = rng.choice([*OPTIONS, *["check", "account"] * 4])
    call, written = [name] if name else [], []
    if name in ("account", "check", "draw", "report", "init") and rng.random() < 0.9:
        call.append(rng.choice(TARGETS))
        if rng.random() < 0.5:
            call += ["--input", "1x8x8"]
    if name == "design":  # a small space: how long a large one takes is not the question here
        call += ["--input", "1x9x9", "--classes", "2", "--widths", "2..4", "--convs", "1..3"]
    if name == "report":
        call += ["-o", "out.html"]
        written.append("out.html")
    if name == "init":
        written.append("pyproject.toml")
    for option in rng.sample(OPTIONS[name], min(len(OPTIONS[name]), rng.randint(0, 3))):
        if option == "-o":
            place = rng.choice(PLACES_OUT)
            call += ["-o", place]
            written.append(place)
        elif option.endswith("!"):
            call.append(option[:-1])
        elif option.endswith("="):
            call += [option[:-1], rng.choice(FORMATS)]
        else:
            call += [option, rng.choice(VALUES)]
            written += [call[-1]] * (name == "init" and option == "--config")
    if rng.random() < 0.1:
        call.insert(rng.randint(0, len(call)), rng.choice(VALUES))
    return call, written


def furnish(folder):
    """The files that arguments may name."""
    (folder / "net.py").write_text(NET)
    (folder / "folder").mkdir()
    (folder / "folder.json").mkdir()
    for name in ("loop.py", "loop.json", "loop.toml"):
        (folder / name).symlink_to(name)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "deep.toml").write_text("a = " + "[" * 5_000)
    (folder / "other.toml").write_text("[tool]\n")
    (folder / "pyproject.toml").write_text(
        '[[tool.budgetnet.check]]\nname = "digits"\nmodel = "s6"\nparams = 20_000\n'
    )
    (folder / "saved.json").write_text("{}")


def hostile_words(rng, folder):
    """A call of anything that might be typed, in this process."""
    furnish(folder)
    call, written = words(rng)
    before = contents(folder)
    ended = Ended.here(call, folder)
    lines = None if "--debug" in call or not call else 1  # alone it prints its help
    faults = ended.faults(lines=lines, debug="--debug" in call)
    after = contents(folder)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    faults += [f"it changed {name}" for name in sorted(changed - set(written))]
    return faults, call


def contents(folder):
    """Every file in a folder, by name, with a digest of what is in it."""
    files = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


# ---------------------------------------------------------------- how calls end


class Ended:
    """A status, with what was written; `None` for what nobody could read."""

    def __init__(self, code, out, error):
        self.code, self.raw, self.error = code, out, error.decode("utf-8", "backslashreplace")
        self.out = out.decode("utf-8", "backslashreplace")

    @classmethod
    def of(cls, call, folder, out="file", error="file", environment=None):
        """In a process of its own, its stdout and stderr as they are named."""
        with tempfile.TemporaryDirectory() as beside:
            names = {1: Path(beside, "out"), 2: Path(beside, "error")}
            opened = {number: _open(how, names[number]) for number, how in ((1, out), (2, error))}
            redirected = [f"{n}>&-" if how == "closed" else "" for n, how in ((1, out), (2, error))]
            command = ["sh", "-c", f'exec "$@" {" ".join(redirected)}', "sh"]
            process = subprocess.Popen(
                [*command, sys.executable, "-m", "budgetnet", *call], cwd=folder,
                stdout=opened[1][0], stderr=opened[2][0], stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})}, start_new_session=True,
            )  # fmt: skip
            for descriptor, _ in opened.values():
                os.close(descriptor)
            for _, reading in opened.values():
                if reading is not None:  # a reader that takes so much, and leaves
                    os.read(reading[0], reading[1])
                    os.close(reading[0])
            try:
                code = process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = "none: it does not end"
            read = {n: f.read_bytes() if f.exists() else b"" for n, f in names.items()}
            return cls(code, read[1], read[2])

    @classmethod
    def here(cls, call, folder):
        """In this process, which is quicker."""
        from budgetnet.cli.parser import main

        out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogatepass") for _ in range(2))
        before = os.getcwd()
        os.chdir(folder)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(PATIENCE)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                try:
                    code = main(call)
                except SystemExit as stop:
                    code = stop.code
                except BaseException:  # whatever it is, it is judged
                    traceback.print_exc()
                    code = 1
        except TimeoutError:
            code = "none: it does not end"
        finally:
            signal.alarm(0)
            os.chdir(before)
        for stream in (out, error):
            stream.flush()
        return cls(code, out.buffer.getvalue(), error.buffer.getvalue())

    def faults(self, *, expected=None, lines=1, debug=False, encoding="utf-8"):
        """What is wrong with it, in words."""
        found = []
        if self.code != expected if expected is not None else self.code not in STATUSES:
            found.append(f"status {self.code}")
        if "Traceback" in self.error + self.out and not debug:
            found.append("a traceback")
        error = [line for line in self.error.splitlines() if line]
        # A design that no network meets is an answer, told with a table.
        if lines is not None and len(error) > lines and self.code != 1:
            found.append(f"{len(error)} lines of error")
        try:
            out = self.raw.decode(encoding)
        except UnicodeDecodeError:
            found.append("stdout is not in its encoding")
            out = self.out
        if [c for c in out.lstrip("\ufeff") + self.error if c != "\n" and not c.isprintable()]:
            found.append("it commands a terminal")
        forged = [line for line in out.splitlines() if line.lstrip().startswith("::")]
        if [line for line in forged if not line.startswith(("::error title=", "::error file="))]:
            found.append("it commands a log")
        return found


def _late(*_):
    raise TimeoutError


def _open(how, file):
    """A descriptor to write to, and a pipe to read so much of, if it is one."""
    if how == "full":
        return os.open("/dev/full", os.O_WRONLY), None
    if how.startswith("after"):
        reading, writing = os.pipe()
        return writing, (reading, int(how.split()[1]))
    if how == "gone":
        reading, writing = os.pipe()
        os.close(reading)
        return writing, None
    return os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), None


KINDS = {
    "targets": hostile_target,
    "encodings": hostile_encoding,
    "readers": hostile_reader,
    "arguments": hostile_words,
}


def attempt(kind, seed):
    """One attempt of a kind: what is wrong, and with what."""
    with tempfile.TemporaryDirectory() as folder:
        return KINDS[kind](random.Random(f"{kind} {seed}"), Path(folder).resolve())


def forked(kind, seed):
    """The same in a fork, for versions that run what is hostile in the process of the caller."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        result = json.dumps(attempt(kind, seed)).encode()
        with open(writing, "wb") as pipe:
            pipe.write(result)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        result = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(result) if result else ([f"it ends its process with {status}"], "")


def main():
    """Try many, and say how many fell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--show", type=int, default=5)
    parser.add_argument("--fork", action="store_true", help="every call of arguments in a fork")
    args = parser.parse_args()
    for kind in [args.only] if args.only else KINDS:
        fallen, reasons = [], Counter()
        for seed in range(args.seed, args.seed + args.count):
            run = forked if args.fork and kind == "arguments" else attempt
            faults, what = run(kind, seed)
            if faults:
                fallen.append((seed, faults, what))
                reasons.update(faults)
        only = [all(f.endswith("lines of error") for f in faults) for _, faults, _ in fallen]
        print(f"{kind}: {args.count} tried, {len(fallen)} fell, {sum(only)} by length alone")
        print("  ", *reasons.most_common(), flush=True)
        for seed, faults, what in fallen[: args.show]:
            print("  ", seed, faults, ascii(what if kind != "targets" else what[320:900])[:600])


if __name__ == "__main__":
    main()
