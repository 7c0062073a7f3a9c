"""Render docs/results.md from the raw results under docs/results.

python examples/benchmarks/write_results.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from budgetnet.table import Column, Table

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = ("torch", "torchvision", "torchinfo", "thop", "fvcore", "calflops")
CLAIMS = {  # of the report: best accuracy over 20 epochs
    "s6": "99.57, and 99.4 within 13 epochs",
    "s6_exp1": "98.1",
    "s6_exp2": "98.5",
    "s6_exp3": "98.75",
}


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


def numbers(values: list[Any]) -> str:
    return ", ".join("never" if value is None else str(value) for value in values)


def markdown(columns: list[str], rows: list[tuple[str, ...]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    head = tuple(Column(name, numeric=i > 0) for i, name in enumerate(columns))
    return Table(head, tuple(rows)).to_markdown()


def default_recipe() -> str:
    result = read("recipe_default")
    row = result["summary"]["s6"]
    cells = (
        "s6, default recipe", f"{row['n']}", f"{row['last_mean']:.3f}", f"{row['last_sd']:.3f}",
        f"{min(row['last']):.2f}", f"{max(row['last']):.2f}", f"{row['at_target']} of {row['n']}",
    )  # fmt: skip
    columns = ["", "seeds", "mean", "sd", "least", "most", "at or above 99.4"]
    return f"{markdown(columns, [cells])}\n\n{source('recipe_default', result)}"


def choices(name: str) -> str:
    result = read(name)
    rows = [
        (variant, str(len(found["accuracies"])), f"{found['mean']:.3f}", f"{found['sd']:.3f}",
         f"{min(found['accuracies']):.2f}")
        for variant, found in result["variants"].items()
    ]  # fmt: skip
    table = markdown(["variant", "seeds", "held-out %, mean", "sd", "least"], rows)
    return f"{table}\n\n{source(name, result)}"


def report_recipe() -> str:
    result = read("report_recipe")
    rows = [
        (model, f"{row['parameters']:,}", str(row["receptive_field"][0]),
         numbers(row["first_epoch_at_target"]), numbers(row["best"]), numbers(row["last"]),
         f"{row['last_mean']:.2f}", CLAIMS[model])
        for model, row in result["summary"].items()
    ]  # fmt: skip
    columns = ["network", "parameters", "RF", "first epoch at 99.4", "best", "last", "mean last"]
    table = markdown([*columns, "the report: best"], rows)
    return f"{table}\n\n{source('report_recipe', result)}"


def accounting() -> str:
    result = read("accounting")
    tools = list(
        dict.fromkeys(t for found in result["networks"].values() for t in found["median_ms"])
    )
    rows = [
        (
            tool,
            *(milliseconds(found["median_ms"].get(tool)) for found in result["networks"].values()),
        )
        for tool in tools
    ]
    for title, key in (
        ("`account` is faster than the fastest peer by", "faster_by"),
        ("than the fastest on the meta device by", "faster_by_than_meta"),
    ):
        rows.append((title, *(f"{found[key]:.1f}" for found in result["networks"].values())))
    table = markdown(["median, ms", *result["networks"]], rows)
    return f"{table}\n\n{source('accounting', result)}"


def milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def plan_speed() -> str:
    medians = read("accounting")["networks"]["s6"]["median_ms"]
    peers = [ms for tool, ms in medians.items() if not tool.startswith(("budgetnet", "rules"))]
    return f"{min(peers) / medians['budgetnet.plan']:.0f}"


def extra_memory() -> str:
    memory = read("accounting")["extra_memory_mib"]
    return ", ".join(f"{tool} {mib:.1f}" for tool, mib in memory.items())


def shares() -> str:
    found = read("accounting")["shares"]
    rows = [
        (part, *(f"{100 * of[part]:.0f} %" for of in found.values()))
        for part in next(iter(found.values()))
    ]
    return markdown(["share of the time", *found], rows)


def startup() -> str:
    result = read("startup")
    rows = [(f"`{name}`", f"{seconds:.3f}") for name, seconds in result["median_s"].items()]
    return f"{markdown(['process', 'median, s'], rows)}\n\n{source('startup', result)}"


def training(name: str) -> str:
    result = read(name)
    found = result["throughput"]
    rows = [
        (side, f"{rate:,.0f}", f"{found['example_is_faster_by'][side]:.2f}")
        for side, rate in found["median"].items()
    ]
    reference = next(iter(found["median"]))
    table = markdown(["", "images/s", f'"{reference}" is faster by'], rows)
    note = f"\n\n{result['note']}" if "note" in result else ""
    return f"{table}{note}\n\n{source(name, result)}"


def to_target() -> str:
    result = read("training_cpu")
    rows = [
        (f"{name} recipe", str(found["epochs"]), f"{found['seconds']:.0f}")
        for name, found in result["to_target"].items()
        if found["reached"]
    ]
    table = markdown(["seed 0, a single run each", "epochs to 99.4 %", "seconds"], rows)
    return f"{table}\n\n{source('training_cpu', result)}"


def designing() -> str:
    result = read("designing")
    rows = []
    for name, case in result["cases"].items():
        found = case["sampling"]
        after = f"in {found['seconds']:.0f} s, {found['drawn']:,} drawn"
        best = "nothing" if found["best"] is None else f"{found['best']:,.0f}"
        sampled = f"as good {after}" if found["reached"] else f"{best} {after}"
        cells = (
            f"{case['seconds']:.2f}", case["goal"], f"{case['value']:,.0f}",
            f"{case['covered']:.2g}", f"{case['evaluated']:,}", f"{case['times_brute_force']:.1g}",
            sampled,
        )  # fmt: skip
        rows.append((name, *cells))
    columns = [
        "", "seconds", "objective", "best", "networks covered", "beginnings looked at",
        "times brute force", "sampling finds",
    ]  # fmt: skip
    return f"{markdown(columns, rows)}\n\n{source('designing', result)}"


def objectives() -> str:
    result = read("objectives")

    def signed(value: float | None) -> str:
        return "-" if value is None else f"{value:+.2f}"

    kinds = ("all", "mean_at_equal_params", "mean_at_equal_params_wide")
    figures = [(name, *(signed(found[kind]) for kind in kinds))
               for name, found in result["correlations"].items()]  # fmt: skip
    wide = f"with a field of {result['wide_field']} or more"
    levels = list(next(iter(result["choices"].values()))["accuracy"])
    choices = [
        (asked, f"{found['mean_rank']:.1f}", *(f"{found['accuracy'][n]:.2f}" for n in levels))
        for asked, found in result["choices"].items()
    ]
    networks = [
        (n["spec"], f"{n['params']:,}", f"{n['macs']:,}", str(n["receptive_field"]),
         str(n["depth"]), f"{n['accuracy']:.2f}")
        for n in sorted(result["networks"], key=lambda n: -n["accuracy"])
    ]  # fmt: skip
    tables = (
        markdown(["figure", "all", "at equal parameters", wide], figures),
        markdown(["objective", "mean rank", *(f"{int(n):,}" for n in levels)], choices),
        markdown(["network", "parameters", "MACs", "RF", "depth", "held-out %"], networks),
    )
    return "\n\n".join((*tables, source("objectives", result)))


PARTS = {
    "default_recipe": default_recipe,
    "sides": lambda: choices("recipe_sides"),
    "choices": lambda: choices("recipe_choices"),
    "report_recipe": report_recipe,
    "accounting": accounting,
    "plan_speed": plan_speed,
    "extra_memory": extra_memory,
    "shares": shares,
    "startup": startup,
    "training_cpu": lambda: training("training_cpu"),
    "training_cuda": lambda: training("training_cuda"),
    "to_target": to_target,
    "designing": designing,
    "objectives": objectives,
}


def render() -> str:
    """The page: the words of results.md.in, with every table put in its place."""
    page = (Path(__file__).parent / "results.md.in").read_text(encoding="utf-8")
    for name, part in PARTS.items():
        page = page.replace(f"@{name}@", part())
    return page


if __name__ == "__main__":
    (DOCS / "results.md").write_text(render(), encoding="utf-8")
