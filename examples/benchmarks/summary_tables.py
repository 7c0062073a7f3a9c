"""The headline tables: each number with n and spread, and a link to how it was measured."""

from __future__ import annotations

import deployment_tables
from accuracy_tables import COURSE, OURS, fastest_way
from cost_tables import libraries, rounds, zoo
from raw_results import between, read

from budgetnet.accounting.table import Column, Table

SECTIONS = {  # of the audit
    "fewest": "accuracy-by-parameters",
    "frontier": "accuracy-by-parameters",
    "sizes": "accuracy-by-parameters",
    "muon": "s6-in-one-two-and-three-epochs",
    "default": "s6-in-five-epochs-the-default-recipe",
    "together": "s6-in-twenty-epochs",
    "fashion": "fashion-mnist",
}


def linked(text: str, section: str) -> str:
    return f"[{text}](audit.md#{section})"


def headlines(columns: list[str], rows: list[tuple[str, ...]]) -> str:
    """A table whose first and last columns are words."""
    last = len(columns) - 1
    head = tuple(Column(name, numeric=0 < i < last) for i, name in enumerate(columns))
    return Table(head, tuple(rows)).to_markdown()


def accuracies(ours: list[tuple[str, str, str]] = OURS) -> str:
    """Networks of this library by parameters."""
    rows = []
    for name, key, title in ours:
        row = read(name)["summary"][key]
        rows.append(
            (title, f"{row['parameters']:,}", f"{row['mean']:.2f} ± {row['sd']:.2f}",
             f"{row['least']:.2f} to {row['most']:.2f}", str(row["n"]),
             linked(f"`sweep.py {name}`", SECTIONS[name]))
        )  # fmt: skip
    columns = ["network", "parameters", "% right", "range", "seeds", "measured by"]
    return headlines(columns, rows)


def checks() -> str:
    """What was compared with an independent count, and what came of it."""
    operators, modules = read("operators")["totals"]["cases"], read("operators")["module_totals"]
    right, total = _constructs()
    rows = [
        ("cases of PyTorch's operators", operators["right"], operators["loose"],
         operators["refused"], operators["wrong"] + operators["crashed"],
         linked("`operators.py`", "checked-against-databases-of-pytorch")),
        ("cases of PyTorch's modules", modules["right"], modules["accepted"], modules["refused"],
         modules["wrong"] + modules["crashed"] + modules["differs"],
         linked("`operators.py`", "checked-against-databases-of-pytorch")),
        (f"networks of {libraries()} model zoos", zoo("accounted"), 0, zoo("refused"),
         zoo("wrong") + zoo("crashed"),
         linked("`sweep_models.py`", "checked-against-model-zoos")),
        ("figures that are easy to miscount", right, 0, 0, total - right,
         linked("`constructs.py`", "hard-constructs")),
    ]  # fmt: skip
    for runtime, title in zip(
        deployment_tables.RUNTIMES,
        ("arenas of TensorFlow Lite Micro", "plans of ExecuTorch, int8", "the same in float32"),
        strict=True,
    ):
        equal, known = deployment_tables.equal(runtime), len(deployment_tables.known(runtime))
        rows.append((title, equal, 0, deployment_tables.assumed(runtime), known - equal,
                     linked("`deployments.py`", "memory-on-a-device")))  # fmt: skip
    cells = [(name, *(f"{n:,}" for n in numbers), link) for name, *numbers, link in rows]
    columns = [
        "compared with an independent count",
        "agree",
        "loose",
        "refused",
        "wrong",
        "measured by",
    ]
    return headlines(columns, cells)


def _constructs() -> tuple[int, int]:
    """How many figures of the hard constructs are right, and how many there are."""
    wanted = [(row["given"]["budgetnet"].get(key), truth)
              for row in read("constructs")["constructs"]
              for key, truth in row["truth"].items() if truth is not None]  # fmt: skip
    return sum(said == truth for said, truth in wanted), len(wanted)


def speeds() -> str:
    """Times beside the fastest other way to the same end."""
    rows = [_accounting(name) for name in ("resnet50", "mobilenet_v3_small", "vit_b_16")]
    found = read("designing")["cases"]["MNIST: params 20k, RF 22"]
    rows.append(
        (f"`design`, best of {found['covered'] / 1e6:.0f} million networks",
         f"{1000 * found['seconds']:.0f} ms",
         between([1000 * s for s in found["all_seconds"]], ".0f"), str(len(found["all_seconds"])),
         "-", linked("`designing.py`", "designing"))
    )  # fmt: skip
    way, course = fastest_way(), read("training_cpu")["to_target"][COURSE]
    seconds = [run["seconds"] for run in way["runs"]]
    rows.append(
        ("training of s6 to 99.4 %",
         f"{way['mean']['seconds']:.0f} s",
         between(seconds, ".0f"), str(len(seconds)),
         f"{course['mean']['seconds']:.0f} s, course set-up",
         linked("`training.py`", "training-speed"))
    )  # fmt: skip
    columns = ["task", "time", "range", "runs", "next best", "measured by"]
    return headlines(columns, rows)


def _accounting(name: str) -> tuple[str, ...]:
    result = read("accounting")
    found = result["networks"][name]
    peer = found["fastest_peer"]
    return (
        f"`account` of {name}", f"{found['median_ms']['budgetnet.account']:.1f} ms",
        f"from {found['least_ms']['budgetnet.account']:.1f}", str(rounds()),
        f"{found['median_ms'][peer]:.0f} ms, {peer}",
        linked("`accounting.py`", "accounting-speed"),
    )  # fmt: skip
