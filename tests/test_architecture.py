"""The floors of the package: what may import what, stated once and held against every import."""

import ast
import functools
import shutil
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "budgetnet"

# From the ground up. A name may import names of lower floors, and files of its own folder, in no
# circle. An import in a function counts; one for types alone may close a circle, but not go up.
FLOORS = (
    ("errors",),
    ("accounting",),
    ("spec", "blocks"),
    ("trace",),
    ("budget", "models", "deploy"),
    ("designer", "report", "testing"),
    ("cli",),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS, start=1) for name in names}
FREE = {"_version": 0, "__main__": len(FLOORS) + 1}  # the root itself is imported by nothing


def modules_of(package):
    """Every module by its dotted name below the package; "" is the root."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(name, file, known):
    """Pairs of a module that is imported from the package, and whether for types alone."""
    here = name.split(".") if name else []
    folder = here if file.name == "__init__.py" else here[:-1]

    def targets(node):
        if node.level:
            base = [*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]
        elif (node.module or "").split(".")[0] == "budgetnet":
            base = node.module.split(".")[1:]
        else:
            return
        place = ".".join(filter(None, base))
        for alias in node.names:
            inner = f"{place}.{alias.name}".lstrip(".")
            yield inner if inner in known else place

    for node, typed in statements_of(file.read_text(encoding="utf-8")):
        if isinstance(node, ast.ImportFrom):
            yield from ((target, typed) for target in targets(node))
        else:
            names = [a.name for a in node.names if a.name.split(".")[0] == "budgetnet"]
            yield from ((n.partition(".")[2], typed) for n in names)


@functools.cache  # the package with a broken file has all others as they are
def statements_of(text):
    """Pairs of a statement that imports, and whether for types alone."""

    def walk(node, typed):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, typed
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from walk(child, typed or for_types)

    return tuple(walk(ast.parse(text), False))


def circles_of(graph):
    """Modules that reach themselves, as one sorted line for each circle."""
    reached = {}
    for start in graph:
        seen, stack = set(), [*graph[start]]
        while stack:
            if (name := stack.pop()) not in seen:
                seen.add(name)
                stack.extend(graph.get(name, ()))
        reached[start] = seen
    own = (n for n in graph if n in reached[n])
    groups = {tuple(sorted({n} | {m for m in reached[n] if n in reached[m]})) for n in own}
    return [f"circle: {', '.join(group)}" for group in sorted(groups)]


def problems_of(package):
    """All that breaks the table, one line each."""
    known, found, graph = modules_of(package), [], {}
    floors = FLOOR_OF | FREE
    for name, file in known.items():
        top = name.partition(".")[0]
        if name and top not in floors:
            found.append(f"unlisted: {name}")
            continue
        imported = set(imports_of(name, file, known)) if name else set()
        graph[name] = {target for target, typed in imported if not typed and target != name}
        for target, _ in sorted(imported):
            to = target.partition(".")[0]
            if to != top and floors.get(to, len(FLOORS) + 2) >= floors[top]:
                found.append(f"breach: {name} imports {target or 'the root'}")
    return found + circles_of(graph)


def test_every_import_goes_down_and_none_in_a_circle():
    assert [] == problems_of(PACKAGE)


def test_the_top_is_small():
    names = {name.partition(".")[0] for name in modules_of(PACKAGE)} - {"", *FREE}
    assert set(FLOOR_OF) == names
    assert len(names) <= 12
    assert len(FLOORS) <= 7


BROKEN = {
    "upward": ("accounting/table.py", "from ..budget import limits\n", "breach: accounting.table"),
    "upward in a function": (
        "spec/text.py", "def f():\n    from ..trace.account import account\n", "breach: spec.text",
    ),
    "upward for types": (
        "trace/tracer.py", "if TYPE_CHECKING:\n    from ..models import zoo\n", "breach: trace.tr",
    ),
    "sideways": ("report/page.py", "from ..designer import space\n", "breach: report.page"),
    "absolute": ("errors.py", "from budgetnet.accounting import rows\n", "breach: errors imports"),
    "plain": ("errors.py", "import budgetnet.cli.parser\n", "breach: errors imports cli.parser"),
    "root": ("cli/checks.py", "from .. import plan\n", "breach: cli.checks imports the root"),
    "circle": ("accounting/window.py", "from .account import Account\n", "circle: accounting.acc"),
    "unlisted": ("helpers.py", "", "unlisted: helpers"),
    "unlisted folder": ("utils/text.py", "", "unlisted: utils.text"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "line", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_what_breaks_the_table_is_named(file, line, told, tmp_path):
    package = tmp_path / "budgetnet"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    (package / file).parent.mkdir(exist_ok=True)
    with (package / file).open("a", encoding="utf-8") as out:
        out.write(line)
    assert [told] == [found[: len(told)] for found in problems_of(package)][:1]


def test_contributing_shows_these_floors():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = page.partition("```text\nbudgetnet/\n")[2].partition("```")[0]
    shown = {}
    for line in tree.splitlines():
        name, floor, *_ = line.split()
        if floor.isdigit():
            shown[name.removesuffix("/").removesuffix(".py")] = int(floor)
    assert FLOOR_OF == shown
