"""Raw results under docs/results: how they are read, and tables that say where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from budgetnet.accounting.table import Column, Table

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = (
    "torch", "torchvision", "torchinfo", "thop", "fvcore", "calflops", "ptflops", "torchscan",
    "torchsummary", "torchlens", "litert-torch", "ai-edge-quantizer", "tflite-micro",
    "executorch", "torchao",
)  # fmt: skip


def read(name: str) -> Any:
    return json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))


def source(name: str, result: dict[str, Any]) -> str:
    """Where the numbers of a table come from: command, machine, versions, raw file."""
    machine, versions = result["hardware"], result["versions"]
    device = machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores"
    shown = ", ".join(f"{key} {versions[key]}" for key in SHOWN if key in versions)
    threads = f", {machine['threads']} thread(s)" if not machine.get("gpu") else ""
    return (
        f"`{result['command']}`  \n{device}{threads}; Python {versions['python']}, {shown}; "
        f"raw: [{name}.json](results/{name}.json)"
    )


def figure(form: str, name: str, *path: Any) -> str:
    """A number of a raw result as a sentence shows it; a function in the path is called."""
    found = read(name)
    for step in path:
        found = step(found) if callable(step) else found[step]
    return format(found, form)


def folded(title: str, table: str) -> str:
    """A long table that opens on a click."""
    return f"<details>\n<summary>{title}</summary>\n\n{table}\n\n</details>"


def numbers(values: list[Any]) -> str:
    return ", ".join("never" if value is None else str(value) for value in values)


def markdown(columns: list[str], rows: list[tuple[str, ...]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    head = tuple(Column(name, numeric=i > 0) for i, name in enumerate(columns))
    return Table(head, tuple(rows)).to_markdown()


def between(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def spread(row: dict[str, Any]) -> tuple[str, str]:
    """Mean and standard deviation as a table shows them."""
    return f"{row['mean']:.3f}", "-" if row["sd"] is None else f"{row['sd']:.3f}"


def sweep_source(name: str, result: dict[str, Any]) -> str:
    note = f"{result['note']}\n\n" if "note" in result else ""
    first, *others = result["machines"]
    told = [note + source(name, result | first)]
    for i, machine in enumerate(others, start=1):
        names = dict.fromkeys(run["name"] for run in result["runs"] if run["machine"] == i)
        told.append(f"{', '.join(names)}: {source(name, result | machine)}")
    return "  \n".join(told)
