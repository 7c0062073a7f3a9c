"""`budgetnet check` and `init`: configuration files, exit codes, baselines, bad input."""

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from golden import check_golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetnet import models, plan
from budgetnet.budget.figures import LISTED
from budgetnet.cli.config import checks_of
from budgetnet.cli.parser import main

NETS = """
import torch
from torch import nn


def small(width=4):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 3))


def wants(width):
    return small(width)


def breaks():
    raise RuntimeError("no weights at hand")


class Inverse(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class ByValue(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


number = 3
"""

SECTION = """
[[tool.budgetnet.check]]
name = "digits"
model = "s6"
params = "20k"
receptive_field = 22
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder to run in, with models and a function that writes pyproject.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "nets.py").write_text(NETS)

    def write(text):
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n' + text)
        return tmp_path

    return write


def test_a_project_within_budget(project, capsys):
    project(SECTION)
    assert 0 == main(["check"])
    out = capsys.readouterr().out
    check_golden("check_within", out)
    assert "1 check: 1 within" in out


def test_a_project_over_budget(project, capsys):
    project(SECTION.replace("20k", "14k") + 'message = "Ask the firmware team."\n' + '''
[[tool.budgetnet.check]]
name = "other"
model = "nets.py:small"
input = "1x9x9"
set = { width = 8 }
forbid = ["ReLU"]
''')  # fmt: skip
    assert 1 == main(["check", "--why"])
    check_golden("check_over", capsys.readouterr().out)
    assert 1 == main(["check", "--format", "markdown"])
    check_golden("check_over_markdown", capsys.readouterr().out)
    assert 1 == main(["check", "--format", "github", "--only", "digits"])
    check_golden("check_over_github", capsys.readouterr().out)
    assert 1 == main(["check", "--format", "json"])
    content = json.loads(capsys.readouterr().out)
    assert ("budgetnet.check", 1, 1) == (
        content["format"], content["version"], content["exit_code"],
    )  # fmt: skip
    assert ["over budget", "over budget"] == [check["verdict"] for check in content["checks"]]
    assert [-372, 0] == [found["headroom"] for found in content["checks"][0]["findings"]]
    assert (4, "pyproject.toml") == (content["checks"][0]["line"], content["checks"][0]["file"])
    assert 1 == main(["check", "--format", "csv"])
    lines = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert ["Check", "Limit", "Measured", "Allowed", "Headroom", "Verdict"] == lines[0]
    assert ["digits", "params", "14,372", "at most 14,000", "372 over (2.7 %)", "OVER"] == lines[1]
    assert ["digits", "digits", "other"] == [line[0] for line in lines[1:]]


def test_csv_tells_errors_and_figures_that_nothing_limits(project, capsys):
    project(check_of(model='"nets.py:breaks"', input='"1x9x9"') + check_of(model='"s6"'))
    assert 2 == main(["check", "--format", "csv"])
    _, error, *figures = csv.reader(capsys.readouterr().out.splitlines())
    assert ["nets.py:breaks", "ERROR"] == [error[0], error[-1]]
    assert "no weights at hand" in error[4]
    assert ["s6", "params", "14,372", "", "", ""] == figures[0]
    assert len(LISTED) == len(figures)


def test_github_goes_beside_any_format(project, capsys, monkeypatch, tmp_path):
    project(SECTION.replace("20k", "14k"))
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    annotation = "::error file=pyproject.toml,line=7,title=budgetnet%3A digits::params is 14,372"
    for form in ("table", "markdown", "csv", "json"):
        for call in (["--format", form, "--format", "github"],
                     ["--format", "github", "--format", form, "-o", "out"]):  # fmt: skip
            summary.write_text("")
            assert 1 == main(["check", *call])
            captured = capsys.readouterr()
            beside = form in ("csv", "json") and "-o" not in call
            told = captured.err if beside else captured.out
            assert annotation in told
            assert 1 == (captured.out + captured.err).count("::error")
            assert "**digits: s6 on 1x28x28" in summary.read_text()
            if "-o" in call:
                assert captured.out.startswith("::error")
                assert "14,372" in (tmp_path / "out").read_text() or form == "json"
    assert 2 == main(["check", "--format", "json", "--format", "csv"])
    told = "--format takes one format, and github beside it (got json, csv)"
    assert told in capsys.readouterr().err


def test_hints_name_rows_as_tables_show_them(project, capsys):
    project("")
    target = ["c8+bias c8 p t8 gap", "--input", "1x28x28"]
    assert 0 == main(["account", *target, "--format", "csv"])
    shown = {line[0] for line in csv.reader(capsys.readouterr().out.splitlines())}
    assert 0 == main(["check", *target, "--why"])
    hints = [line.split(": ") for line in capsys.readouterr().out.splitlines() if "hint:" in line]
    where = {name: place for _, name, place, *_ in hints}
    assert {
        "bias-before-norm": "conv1", "activation-on-logits": "transition1",
        "small-field": "transition1", "pool-before-head": "pool1",
    } | where == where  # fmt: skip
    assert {*where.values()} <= shown


def test_the_job_summary_is_appended(project, capsys, monkeypatch, tmp_path):
    project(SECTION)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert 0 == main(["check", "--format", "github"])
    out = capsys.readouterr().out
    assert "::error" not in out
    assert out.startswith("digits: s6 on 1x28x28")
    assert summary.read_text().startswith("before\n**digits: s6 on 1x28x28")


@pytest.mark.parametrize("arguments", [
    ["s6"],
    ["s6", "--params", "20k", "--macs", "3M..4M", "--rf", "22", "--depth", "8"],
    ["s6", "--weight-bytes", "60 KiB", "--peak-activation-bytes", "120 KiB"],
    ["s6", "--require", "BatchNorm2d", "--require", "ReLU", "--forbid", "Linear"],
    ["c8 p c8 gap10", "--input", "1x28x28", "--params", "1k"],
    ["nets.py:small", "--input", "1x9x9", "--set", "width=2", "--params", "60"],
    ["nets:small", "--input", "1x9x9", "--trainable-params", "1k"],
    ["nets.py:Two", "--input", "1x9x9+1x9x9", "--params", "0"],
    ["saved.json", "--params", "20k"],
])  # fmt: skip
def test_targets_without_a_configuration(arguments, project, tmp_path):
    project("")
    (tmp_path / "saved.json").write_text(
        plan(models.get_reference("s6").spec, (1, 28, 28)).to_json()
    )
    assert 0 == main(["check", *arguments])


def test_limits_in_other_units_and_forms(project):
    folder = project('''
[[tool.budgetnet.check]]
model = "s6"
input = [1, 28, 28]
params = [14_000, 15_000]
macs = "3.7M..3.8M"
weight_bytes = "60 KiB"
require = "BatchNorm2d"

[tool.budgetnet.check.growth]
depth = 1
''')  # fmt: skip
    (check,) = checks_of(folder / "pyproject.toml")
    assert ("s6", (1, 28, 28), {"depth": 1}) == (check.name, check.shape, dict(check.growth))
    assert {"": 4, "model": 5, "input": 6, "params": 7, "macs": 8, "weight_bytes": 9,
            "require": 10, "growth": 12} == dict(check.lines)  # fmt: skip


def test_growth_is_measured_against_the_baseline(project, capsys):
    section = """
[[tool.budgetnet.check]]
name = "net"
model = "{}"
input = "1x28x28"
growth = {{ params = "+2%", macs = "+500" }}
"""
    folder = project(section.format("c16 c16 p c32 gap10"))
    assert 2 == main(["check"])
    assert "pyproject.toml:8: the baseline has no params of 'net'" in capsys.readouterr().out
    assert 0 == main(["check", "--update"])
    baseline = (folder / "budgetnet-baseline.json").read_text()
    assert 7_524 == json.loads(baseline)["checks"]["net"]["params"]
    assert 0 == main(["check"])
    assert "at most 7,674 (baseline 7,524 +2%)" in capsys.readouterr().out
    project(section.format("c16 c16 p c33 gap10"))
    assert 1 == main(["check"])
    out = capsys.readouterr().out
    assert ["growth of params", "7,680"] == re.split(r"  +", out.splitlines()[3].strip())[:2]
    assert "pyproject.toml:8 (growth)" in out
    assert baseline == (folder / "budgetnet-baseline.json").read_text()


@pytest.mark.parametrize("text", [
    '{"format": "budgetnet.baseline", "version": 2, "checks": {}}',
    '{"format": "budgetnet.baseline", "version": 1, "checks": {"net": {"params": "many"}}}',
    "no json",
    "[]",
])  # fmt: skip
@pytest.mark.parametrize("option", [[], ["--update"]])
def test_a_baseline_of_another_kind_is_refused_and_kept(text, option, project, capsys):
    folder = project('[[tool.budgetnet.check]]\nmodel = "s6"\ngrowth = { params = 0 }\n')
    (folder / "budgetnet-baseline.json").write_text(text)
    assert 2 == main(["check", *option])
    error = capsys.readouterr().err
    assert "budgetnet-baseline.json: this is not a baseline that this release can read" in error
    assert text == (folder / "budgetnet-baseline.json").read_text()


def test_update_keeps_the_old_baseline_where_anything_fails(project, capsys, monkeypatch):
    good = '[[tool.budgetnet.check]]\nname = "a"\nmodel = "s6"\n'
    folder = project(good)
    assert 0 == main(["check", "--update"])
    before = (folder / "budgetnet-baseline.json").read_text()
    project(good + '[[tool.budgetnet.check]]\nmodel = "nets.py:breaks"\ninput = "1x9x9"\n')
    assert 2 == main(["check", "--update"])
    assert "the baseline was not written" in capsys.readouterr().err
    project(good)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert 2 == main(["check", "--update"])
    assert "disk full" in capsys.readouterr().err
    assert before == (folder / "budgetnet-baseline.json").read_text()
    left = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert ["budgetnet-baseline.json", "nets.py", "pyproject.toml"] == left


def test_init_writes_todays_numbers(project, capsys):
    folder = project(SECTION.rstrip("\n"))
    assert 0 == main(
        ["init", "nets.py:small", "--input", "1x9x9", "--set", "width=3", "--name", "n"]
    )
    assert "added the check 'n' at pyproject.toml:10" in capsys.readouterr().out
    check_golden("init", (folder / "pyproject.toml").read_text())
    assert 0 == main(["check"])
    before = (folder / "pyproject.toml").read_text()
    assert 2 == main(["init", "s6", "--name", "n"])
    assert "pyproject.toml:10: a check named 'n' already exists" in capsys.readouterr().err
    assert before == (folder / "pyproject.toml").read_text()


def test_init_keeps_line_endings_comments_and_order(project, capsys):
    folder = project("")
    file = folder / "pyproject.toml"
    before = b'# mine\r\n[project]\r\nname = "x"  # here\r\n\r\n[tool.ruff]\r\nline-length = 99\r\n'
    file.write_bytes(before)
    assert 0 == main(["init", "s6", "--name", "é🙂\\"])
    after = file.read_bytes()
    assert after.startswith(before + b"\r\n[[tool.budgetnet.check]]\r\n")
    assert after.count(b"\n") == after.count(b"\r\n")
    (check,) = checks_of(file)
    assert "é🙂\\" == check.name
    assert 0 == main(["check"])


@pytest.mark.parametrize("text", [
    "[tool.budgetnet]  # ours\ncheck = []  # none\n# end\n",
    'tool = { ruff = { x = 1 } }  # tools\n# end\n',
    '[tool.budgetnet]\ncheck = [\n  { model = "s6", name = "a" },  # one\n]  # end\n',
    '[[tool.budgetnet.check]]\nmodel = "s6"\nname = "a"\n[tool.x]\ny = nan  # end\n',
])  # fmt: skip
def test_init_adds_to_what_is_written_inline(text, project, capsys):
    file = project("") / "pyproject.toml"
    file.write_text(text)
    assert 0 == main(["init", "c4 gap2", "--input", "1x9x9"])
    after = file.read_text()
    assert [c.strip() for c in re.findall("#.*", text)] == re.findall("#.*", after)
    assert "c4 gap2" == checks_of(file)[-1].name
    place = capsys.readouterr().out.strip().rpartition(":")[2]
    assert "c4 gap2" in "".join(after.splitlines()[int(place) - 1 : int(place) + 1])
    assert 0 == main(["check"])


@pytest.mark.parametrize("option", ["a=[1,None]", "a=None", "a=(1,2)", "a={1}", "a=" + "9" * 30])
def test_init_refuses_what_toml_cannot_say(option, project, capsys):
    file = project(SECTION) / "pyproject.toml"
    file.with_name("any.py").write_text(NETS.replace("width=4", "width=4, **ignored"))
    before = file.read_bytes()
    assert 2 == main(["init", "any.py:small", "--input", "1x9x9", "--set", option, "--name", "n"])
    told = (
        f"--set a={ast.literal_eval(option[2:])!r} cannot be written as TOML. Nothing was written"
    )
    assert told in capsys.readouterr().err
    assert before == file.read_bytes()


def test_init_leaves_out_what_is_unknown(project, capsys):
    folder = project("")
    assert 0 == main(["init", "nets.py:Inverse", "--input", "1x9x9"])
    text = (folder / "pyproject.toml").read_text()
    assert (
        "# macs is unknown: the model (Inverse): no accounting rule covers aten.linalg_inv" in text
    )
    assert 0 == main(["check"])


def check_of(**keys):
    return "[[tool.budgetnet.check]]\n" + "".join(
        f"{key} = {value}\n" for key, value in keys.items()
    )


BAD = {
    "no_toml": "[tool.budgetnet\n",
    "no_section": "",
    "misspelt_section": '[[tool.budgetnet.checks]]\nmodel = "s6"\n',
    "section_is_no_list": '[tool.budgetnet.check]\nmodel = "s6"\n',
    "misspelt_key": check_of(modle='"s6"'),
    "misspelt_limit": check_of(model='"s6"', parms="20_000"),
    "unknown_key": check_of(model='"s6"', colour='"red"'),
    "no_model": check_of(name='"x"', params="20_000"),
    "latency_without_table": check_of(model='"s6"', latency='"5 ms"'),
    "table_missing": check_of(model='"s6"', latency='"5 ms"', table='"none.json"'),
    "table_damaged": check_of(model='"s6"', latency='"5 ms"', table='"damaged.json"'),
    "low_above_high": check_of(model='"s6"', params="[20_000, 10_000]"),
    "three_bounds": check_of(model='"s6"', params="[1, 2, 3]"),
    "negative": check_of(model='"s6"', macs="-1"),
    "unreadable": check_of(model='"s6"', weight_bytes='"60 kilos"'),
    "kinds": check_of(model='"s6"', require="[3]"),
    "kinds_number": check_of(model='"s6"', require="3"),
    "kinds_flag": check_of(model='"s6"', forbid="true"),
    "kinds_table": check_of(model='"s6"', forbid="{ a = 1 }"),
    "thousands": check_of(name='"digits"', model='"s6"', params='"1,5k"'),
    "commas": check_of(model='"s6"', params='"1,,,5"'),
    "input_nested": check_of(model='"s6"', input="[[[1, 28, 28]]]"),
    "name_number": check_of(model='"s6"', name="3"),
    "message_list": check_of(model='"s6"', message="[]"),
    "set_text": check_of(model='"s6"', set='"a=1"'),
    "growth_thousands": check_of(model='"s6"', growth='{ params = "+1,5" }'),
    "growth_figure": check_of(model='"s6"', growth='{ parms = "+2%" }'),
    "growth_text": check_of(model='"s6"', growth='{ params = "-2%" }'),
    "growth_no_table": check_of(model='"s6"', growth='"+2%"'),
    "two_of_a_name": check_of(model='"s6"') + check_of(model='"s6"'),
    "no_input": check_of(model='"nets.py:small"'),
    "bad_input": check_of(model='"s6"', input='"28"'),
    "bad_input_type": check_of(model='"s6"', input="28"),
    "no_file": check_of(model='"net.py:small"', input='"1x9x9"'),
    "no_module": check_of(model='"no_such_module:small"', input='"1x9x9"'),
    "no_name": check_of(model='"nets.py:smal"', input='"1x9x9"'),
    "no_callable": check_of(model='"nets.py:number"', input='"1x9x9"'),
    "breaks": check_of(model='"nets.py:breaks"', input='"1x9x9"'),
    "wants_arguments": check_of(model='"nets.py:wants"', input='"1x9x9"'),
    "wrong_set": check_of(model='"nets.py:small"', input='"1x9x9"', set="{ wdth = 3 }"),
    "shape_does_not_fit": check_of(model='"nets.py:small"', input='"3x9x9"'),
    "map_too_small": check_of(model='"nets.py:small"', input='"1x4x4"'),
    "forward_wants_more": check_of(model='"nets.py:Two"', input='"1x9x9"'),
    "no_spec": check_of(model='"resnet9000"', input='"1x9x9"'),
    "damaged_account": check_of(model='"damaged.json"'),
    "missing_account": check_of(model='"missing.json"'),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_paragraph_and_exit_2(name, project, capsys):
    folder = project(BAD[name])
    (folder / "damaged.json").write_text('{"format": "budgetnet.account", "version": 9}')
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert 2 == main(["check"])
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "Traceback" not in text
    check_golden(f"bad_{name}", text)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--params", "3"], "limits on the command line need a TARGET"),
        (["s6", "--config", "x.toml"], "--config and --only cannot be combined with a TARGET"),
        (["s6", "--update"], "--update is for all checks of a configuration file"),
        (["--only", "nobody"], "there is no check named 'nobody' (there are digits)"),
        (["--config", "x.toml"], "cannot read x.toml"),
        (["s6", "--params", "many"], "params='many' is not a valid size"),
        (["s6", "--params", "3..2"], "params can never be met: low is above high"),
        (["s6", "--set", "a"], "--set 'a' is not valid"),
    ],
)
def test_bad_calls(arguments, message, project, capsys):
    project(SECTION)
    assert 2 == main(["check", *arguments])
    assert message in capsys.readouterr().err


def test_no_configuration_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert 2 == main(["check"])
    assert "there is no pyproject.toml here or above" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "limit", "code"),
    [
        ("Inverse", "macs", 3),
        ("Inverse", "params", 0),
        ("ByValue", "macs", 3),
        ("ByValue", "params", 0),
    ],
)
def test_what_cannot_be_determined_exits_3(target, limit, code, project, capsys):
    project("")
    call = ["check", f"nets.py:{target}", "--input", "1x9x9", f"--{limit}", "1k"]
    assert code == main(call)
    assert ("unknown" in capsys.readouterr().out) == bool(code)


def test_paths_begin_at_the_configuration(project, tmp_path, monkeypatch):
    project(check_of(model='"nets.py:small"', input='"1x9x9"', params="200"))
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert 0 == main(["check"])


TEXTS = st.text("[]=\"{}kKiBM.,_-+% #\n\\'0123456789abcdefgimnoprstw", max_size=10)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_damage_to_the_file_is_an_answer(data, project):
    text = check_of(
        name='"a"', model='"c4 gap2"', input='"1x8x8"', params='"2k"', macs="[0, 50_000]",
        require='["Conv2d"]', set="{ }", message='"no"',
    )  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + data.draw(TEXTS) + text[end:]
    folder = project(text)
    assert main(["check"]) in (0, 1, 2)
    assert ["nets.py", "pyproject.toml"] == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "s6", "--params", "20k"], 0),
        (["check", "s6", "--params", "10k"], 1),
        (["check", "s7", "--params", "10k"], 2),
        (["check", "nets.py:Inverse", "--input", "1x9x9", "--macs", "1"], 3),
        (["check", "--parms"], 2),
    ],
)
def test_exit_codes_of_the_console_script(arguments, code, project, tmp_path):
    project("")
    script = shutil.which("budgetnet", path=Path(sys.executable).parent)
    assert script, "install the package, with pip install -e ."
    command = [script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert code == done.returncode, done.stderr
    assert "Traceback" not in done.stderr


def test_a_saved_account_is_checked_without_torch(tmp_path):
    (tmp_path / "s6.json").write_text(plan(models.get_reference("s6").spec, (1, 28, 28)).to_json())
    program = (
        "import sys; from budgetnet.cli import main; code = main(['check', 's6.json', '--params',"
        " '20k', '--why']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    assert "14,372" in done.stdout
