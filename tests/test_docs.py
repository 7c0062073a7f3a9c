"""Every snippet in README and docs runs, and prints what the page says; docstrings likewise."""

import collections
import contextlib
import doctest
import importlib
import io
import json
import os
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import torch

import budgetnet
from budgetnet.cli import parser as cli
from budgetnet.cli.config import checks_of
from budgetnet.spec import stages

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRAINS = ROOT / "docs" / "tutorial.md"
UPDATE = "BUDGETNET_UPDATE_DOCS" in os.environ  # writes what the snippets print into the pages


def run_page(text):
    """Run the python blocks of a page in one namespace; return the page with its real outputs.

    Blocks in HTML comments run as well: what a page needs and no reader does. They find the block
    before them that is not python as `shown`. Commands run if their output follows, and leave the
    exit code as `status`.
    """
    namespace, printed, pieces, end = {}, None, [], 0
    for block in FENCE.finditer(text):
        language, body = block.groups()
        pieces.append(text[end : block.start()])
        end = block.end()
        if language == "text" and printed is not None:
            body, printed = printed, None
        else:
            assert printed is None, f"the output of a snippet is not shown:\n{printed}"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                if language == "python":
                    exec(compile(body, f"<{language} block>", "exec"), namespace)
                elif language == "bash" and text[end:].startswith("\n\n```text"):
                    namespace["status"] = run_commands(body)
                else:
                    namespace["shown"] = body
            printed = out.getvalue() or None
        pieces.append(f"```{language}\n{body}```")
    assert printed is None, f"the output of a snippet is not shown:\n{printed}"
    return "".join(pieces) + text[end:]


def run_commands(block):
    """Run calls of budgetnet; return the exit code of the last."""
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "budgetnet"
        status = cli.main(arguments)
    return status


def name_of(page):
    return str(page.relative_to(ROOT))


def has_mnist():
    folder = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / "MNIST" / "raw"
    names = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    return all((folder / name).exists() for name in names)


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_snippets_print_what_the_page_says(page, request, monkeypatch, tmp_path):
    if page == TRAINS and not request.config.getoption("deep"):
        pytest.skip("needs --deep")
    if page == TRAINS and not has_mnist():
        pytest.skip("MNIST is neither in $BUDGETNET_DATA nor in ./data")
    monkeypatch.chdir(tmp_path)  # where a page makes its files
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)  # for what a page starts
    text = page.read_text(encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for further ones
    try:
        actual = run_page(text)
    finally:
        torch.set_num_threads(threads)
    if UPDATE:
        page.write_text(actual, encoding="utf-8")
    else:
        assert text == actual


def blocks(page, language):
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [block[2] for block in found if block[1] == language]


@every_page
def test_configuration_on_a_page_is_read(page, tmp_path):
    for i, block in enumerate(blocks(page, "toml")):
        file = tmp_path / f"{i}.toml"
        file.write_text(block, encoding="utf-8")
        for name in re.findall(r'^table = "(.+)"', block, re.MULTILINE):  # of measured operators
            (tmp_path / name).write_bytes((GOLDEN / "latency_table_1.json").read_bytes())
        assert checks_of(file)


def commands_on(page):
    """Every call of budgetnet or of a script that a page shows, as arguments."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] in (["budgetnet"], ["python"]):
                yield words


@every_page
def test_commands_on_a_page_can_be_typed(page):
    for program, *arguments in commands_on(page):
        if program == "budgetnet":
            cli.build_parser().parse_args(arguments)
        elif not arguments[0].startswith("-"):
            assert (ROOT / arguments[0]).is_file(), arguments[0]


def test_a_command_that_cannot_be_typed_is_found():
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args(["check", "s6", "--parms", "20k"])


MODULES = [module.name for module in pkgutil.walk_packages(budgetnet.__path__, "budgetnet.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert 0 == result.failed


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def documented():
    """What the reference documents: every object with the name that it has there."""
    names = [
        match
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for block in blocks(page, "{eval-rst}")
        for match in re.findall(r"^\.\. (?:auto|py:)\w+:: (\S+)", block, re.MULTILINE)
    ]
    return [(name, at(name)) for name in names]


def at(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def public():
    """What users may rely on: the names at the root, and those that its modules list."""
    modules = [name for name in dir(budgetnet) if name in budgetnet._NAMESPACES]
    yield from (f"budgetnet.{name}" for name in dir(budgetnet) if name not in modules)
    for module in (*(getattr(budgetnet, name) for name in modules), stages):
        yield from (f"{module.__name__}.{name}" for name in module.__all__)


def test_the_reference_has_every_public_name_once():
    times = collections.Counter(id(found) for _, found in documented())
    assert not [name for name, found in documented() if times[id(found)] > 1]
    missing = [name for name in public() if not times[id(at(name))]]
    assert not missing, f"docs/api has no entry for {', '.join(missing)}"


def test_the_page_of_specs_has_an_example_of_every_word():
    page = "\n".join(blocks(ROOT / "docs" / "specs.md", "python"))
    words = set(re.findall(r"[\w.+-]+", page))
    for kind in stages.STAGES:
        example = re.compile(rf"{kind.prefix}([0-9]|$)")
        assert any(example.match(word) for word in words), kind.prefix


def test_the_page_of_blocks_lists_every_block_once():
    page = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")
    named = [
        re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    ]
    assert sorted(budgetnet.blocks.__all__) == sorted(name for names in named for name in names)


@pytest.mark.parametrize(
    "stage", [*stages.STAGES, *stages.BRANCHES], ids=lambda kind: kind.__name__
)
def test_every_stage_says_its_word_shapes_source_and_an_example(stage):
    doc = " ".join(stage.__doc__.split())
    word = re.search(r"Text form `([^`]+)`", doc)[1]
    assert type(budgetnet.Spec.parse(word).stages[0]) is stage
    assert re.search(r"`blocks\.\w+`|`torch\.nn\.\w+`", doc.partition(" Text form")[0])
    assert (
        "`(C, H, W)`" in doc
        or "`(F,)`" in doc
        or "Any shape" in doc
        or "Shapes" in doc
        or ("Otherwise as" in doc)
    )
    assert "Source: " in doc or "`torch.nn." in doc
    assert ">>> " in doc


def test_the_reference_has_every_command_once():
    page = (ROOT / "docs" / "api" / "commands.md").read_text(encoding="utf-8")
    shown = re.findall(r"^:::\{command-help\} (\S+)$", page, re.MULTILINE)
    (commands,) = (a.choices for a in cli.build_parser()._actions if isinstance(a.choices, dict))
    assert sorted(commands) == sorted(shown)


def test_the_results_are_what_the_raw_results_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
    import write_results

    for path, page in write_results.pages().items():
        assert page == path.read_text(encoding="utf-8"), path.name


def test_the_claim_in_the_example_is_the_measured_one():
    raw = json.loads((ROOT / "docs" / "results" / "default.json").read_text())
    row = raw["summary"]["default"]
    claim = (
        f"is {row['mean']:.3f} % on average over {row['n']} seeds\n"
        f"(sd {row['sd']:.3f}, least {row['least']:.2f};"
    )
    assert claim in (ROOT / "examples" / "mnist_s6.py").read_text(encoding="utf-8")
