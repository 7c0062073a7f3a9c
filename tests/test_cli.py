"""The command line, run in-process and once as the installed script."""

import json
import shutil
import subprocess

import pytest

import budgetnet
from budgetnet import Account, models, plan
from budgetnet.accounting.formats import FORMATS, Format, render
from budgetnet.accounting.table import Column, Table
from budgetnet.cli.parser import main
from budgetnet.spec.stages import STAGES


def test_account_of_a_listed_model(capsys):
    assert 0 == main(["account", "s6"])
    expected = str(plan(models.get_reference("s6").spec, (1, 28, 28), name="s6"))
    assert expected + "\n" == capsys.readouterr().out


def test_account_of_a_spec_in_every_format(capsys):
    expected = plan("c8 p gap3", (3, 16, 20), name="c8 p gap3")
    call = ["account", "c8 p gap3", "--input", "3x16x20", "--format"]
    texts = {
        "table": str(expected), "markdown": expected.to_markdown(), "csv": expected.to_csv()
    }  # fmt: skip
    assert {*FORMATS} == {*texts}
    for name, text in texts.items():
        assert 0 == main([*call, name])
        assert text.rstrip("\n") == capsys.readouterr().out.rstrip("\n")
    assert 0 == main([*call, "json"])
    assert expected == Account.from_json(capsys.readouterr().out)


def test_output_file_is_written_whole_or_not_at_all(tmp_path, capsys):
    target = tmp_path / "s6.md"
    assert 0 == main(["account", "s6", "--format", "markdown", "-o", str(target)])
    assert target.read_text().startswith("**s6")
    assert ["s6.md"] == [path.name for path in tmp_path.iterdir()]
    assert 2 == main(["account", "s6", "-o", str(tmp_path / "no" / "s6.md")])
    assert "cannot write" in capsys.readouterr().err


CALLS = {
    "account": ["s6"],
    "design": ["--input", "1x9x9", "--classes", "2", "--params", "500"],
    "check": ["s6", "--params", "20k"],
    "models": [],
    "words": [],
}


@pytest.mark.parametrize("form", [*FORMATS, "json"])
@pytest.mark.parametrize("command", CALLS)
def test_every_command_that_prints_tables_has_every_format(command, form, tmp_path, capsys):
    call, file = [command, *CALLS[command], "--format", form], tmp_path / "out"
    assert 0 == main(call)
    out = capsys.readouterr().out
    assert 0 == main([*call, "-o", str(file)])
    assert "" == capsys.readouterr().out
    if form != "json":
        assert out == file.read_text(encoding="utf-8")
        return
    content = json.loads(out)
    assert type(content) is type(json.loads(file.read_text(encoding="utf-8")))


def test_a_new_format_is_one_entry_of_the_table(monkeypatch, capsys):
    def titles(parts):
        return " | ".join(part.title for part in parts if isinstance(part, Table))

    monkeypatch.setitem(FORMATS, "titles", Format(titles))
    for command, expected in (("account", "s6  (input 1x28x28)"), ("check", "s6 on 1x28x28")):
        assert 0 == main([command, *CALLS[command], "--format", "titles"])
        assert f"{expected}\n" == capsys.readouterr().out


def test_sections_of_lines_and_tables_in_markdown():
    table = Table((Column("A|B"), Column("N", numeric=True)), (("x", "1"),), "title")
    parts = [table, "first", "::error::second", "", "alone", "", "end"]
    assert """\
**title**

| A\\|B |   N |
| ---- | --: |
| x    |   1 |

- first
- \\::error::second

alone

end""" == render("markdown", *parts)
    assert f"{table.to_text()}\nfirst\n\\::error::second\n\nalone\n\nend" == render("table", *parts)
    assert "A|B,N\nx,1" == render("csv", *parts)


def test_no_command_prints_a_summary_and_is_no_success(capsys):
    assert 0 == main(["--help"])
    summary = capsys.readouterr().out
    for arguments in ([], ["--debug"]):
        assert 2 == main(arguments)  # 0 would pass for "within budget" in a script
        captured = capsys.readouterr()
        assert ("", summary) == (captured.out, captured.err)
    for name in (
        "account",
        "design",
        "check",
        "init",
        "report",
        "draw",
        "export",
        "models",
        "words",
    ):
        assert f"\n    {name} " in summary


def test_models_lists_what_is_known(capsys):
    assert 0 == main(["models"])
    out = capsys.readouterr().out
    for name in models.list_models():
        assert f" {name} " in out
    assert "14,372" in out
    assert "reconstruction" in out


def test_words_lists_what_a_spec_is_written_of(capsys):
    assert 0 == main(["words", "--format", "json"])
    words = [row["word"] for row in json.loads(capsys.readouterr().out)]
    assert {kind.prefix for kind in STAGES} <= {word.rstrip("16") for word in words}
    assert {"c16", "gap", "[a + b]", "[a | b]", "3*a", "(a b)", "same"} <= set(words)


@pytest.mark.parametrize("command", ["account", "check", "init", "report", "draw", "export"])
def test_commands_that_take_a_spec_say_where_its_words_are_listed(command, capsys):
    assert 0 == main([command, "--help"])
    assert "(budgetnet words lists its words)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["account", "s9x"], "'s9x' is not a listed model"),
        (["account", "c8"], "c8 has no known input shape. Add the shape, such as --input 1x28x28"),
        (["account", "c8", "--input", "28x28"], "(28, 28) is not a valid input shape"),
        (["account", "c8", "--input", "28"], "(28,) is not a valid input shape"),
        (["account", "c8", "--input", "0x28x28"], "'0x28x28' is not a valid input shape"),
        (["account", "c8k9", "--input", "1x4x4"], "conv1.conv: the kernel does not fit"),
    ],
)
def test_bad_calls_exit_2_with_one_line(arguments, message, capsys):
    assert 2 == main(arguments)
    captured = capsys.readouterr()
    assert "" == captured.out
    assert message in captured.err
    assert 1 == len(captured.err.splitlines())


def test_the_installed_script_runs():
    script = shutil.which("budgetnet")
    if script is None:
        pytest.skip("the package is not installed, only importable")
    run = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert f"budgetnet {budgetnet.__version__}\n" == run.stdout


NET = """
from torch import nn

def small(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.ConvTranspose2d(width, 2, 2, 2))

number = 3
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net_of_test.py"
    path.write_text(NET)
    return path


def test_account_of_a_callable_in_a_file(net, capsys):
    assert 0 == main(["account", f"{net}:small", "--input", "3x16x16", "--set", "width=4"])
    out = capsys.readouterr().out
    assert "ConvTranspose2d" in out
    assert " 146 " in out
    assert 0 == main(["account", f"{net}:small", "--input", "3x16x16", "--format", "json"])
    assert (2, 28, 28) == Account.from_json(capsys.readouterr().out).output_shape


def test_account_of_a_callable_in_a_module_folded(capsys):
    pytest.importorskip("torchvision")
    target = "torchvision.models:resnet18"
    assert 0 == main(["account", target, "--input", "3x64x64", "--depth", "1"])
    out = capsys.readouterr().out
    assert "11,689,512" in out
    assert "layer4" in out
    assert "layer4.0" not in out


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("{}:nope", (), "has no 'nope'. It has small."),
        ("{}:number", (), "is not callable"),
        ("{}:small", ("--set", "foo=4"), "could not be called (TypeError"),
        ("{}:small", ("--set", "foo"), "--set 'foo' is not valid"),
        ("no_such_package:small", (), "could not be imported (ModuleNotFoundError"),
        ("no_such_file.py:small", (), "there is no file no_such_file.py"),
    ],
)
def test_targets_that_cannot_be_made(target, more, message, net, capsys):
    assert 2 == main(["account", target.format(net), "--input", "3x16x16", *more])
    err = capsys.readouterr().err
    assert message in err
    assert 1 == len(err.splitlines())


def test_a_shape_that_does_not_fit_the_model(net, capsys):
    assert 2 == main(["account", f"{net}:small", "--input", "1x16x16"])
    assert "0 (Conv2d): the layer expects a different number of channels" in capsys.readouterr().err
