"""The tables of the results page that tell of the library: figures, speed, size, searches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raw_results import between, folded, markdown, read, source

from data_sets import DATA_SETS


def accounting() -> str:
    result = read("accounting")
    tools = list(
        dict.fromkeys(t for found in result["networks"].values() for t in found["median_ms"])
    )
    rows = [
        (tool, *(milliseconds(found, tool) for found in result["networks"].values()))
        for tool in tools
    ]
    for title, key in (
        ("`account` is faster than the fastest peer by", "faster_by"),
        ("than the fastest on the meta device by", "faster_by_than_meta"),
    ):
        rows.append((title, *(f"{found[key]:.1f}" for found in result["networks"].values())))
    table = markdown(["median (least), ms", *result["networks"]], rows)
    return f"{table}\n\n{source('accounting', result)}"


def milliseconds(found: dict[str, Any], tool: str) -> str:
    """The median of a tool, and the least."""
    if tool not in found["median_ms"]:
        return ""
    return f"{found['median_ms'][tool]:.2f} ({found['least_ms'][tool]:.2f})"


def account_ms(name: str) -> str:
    """The time of an account, with its spread and the number of rounds."""
    result = read("accounting")
    found = {
        key: result["networks"][name][key]["budgetnet.account"] for key in ("median_ms", "least_ms")
    }
    return (
        f"{found['median_ms']:.1f} ms (median of {rounds()} rounds, least {found['least_ms']:.1f})"
    )


def rounds() -> int:
    """How often every tool was timed."""
    return int(read("accounting")["command"].split()[-1])


def peers(name: str) -> int:
    """How many other tools account for a network, those on the meta device not counted again."""
    tools = read("accounting")["networks"][name]["median_ms"]
    return sum(not tool.startswith(("budgetnet", "rules")) and "meta" not in tool for tool in tools)


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


REPORTS = {  # column of the table: figure, and how it is written
    "layers": ("layers", "{:,.0f}"),
    "account, ms": ("account_ms", "{:.3g}"),
    "page, ms": ("page_ms", "{:.3g}"),
    "page, KiB": ("page_bytes", "{:,.0f}"),
    "gzipped, KiB": ("page_gzip_bytes", "{:,.0f}"),
    "ready in Chromium, ms": ("ready_ms", "{:.3g}"),
    "diagram, ms": ("diagram_ms", "{:.3g}"),
    "diagram, KiB": ("diagram_bytes", "{:,.0f}"),
}


def reports() -> str:
    result = read("reports")
    rows = []
    for name, found in result["networks"].items():
        values = [found[key] / (1024 if "bytes" in key else 1) for key, _ in REPORTS.values()]
        cells = [form.format(v) for v, (_, form) in zip(values, REPORTS.values(), strict=True)]
        rows.append((name, *cells))
    table = markdown(["network", *REPORTS], rows)
    return f"{table}\n\n{source('reports', result)}"


def designing() -> str:
    result = read("designing")
    rows = []
    for name, case in result["cases"].items():
        found = case["sampling"]
        after = f"in {found['seconds']:.0f} s, {found['drawn']:,} drawn"
        best = "nothing" if found["best"] is None else f"{found['best']:,.0f}"
        sampled = f"as good {after}" if found["reached"] else f"{best} {after}"
        cells = (
            f"{case['seconds']:.2f}", between(case["all_seconds"], ".2f"), case["goal"],
            f"{case['value']:,.0f}",
            f"{case['covered']:.2g}", f"{case['evaluated']:,}", f"{case['times_brute_force']:.1g}",
            sampled,
        )  # fmt: skip
        rows.append((name, *cells))
    columns = [
        "search", f"median of {result['rounds']}, s", "least to most", "objective", "best",
        "networks covered", "beginnings looked at", "times brute force", "sampling finds",
    ]  # fmt: skip
    return f"{markdown(columns, rows)}\n\n{source('designing', result)}"


def objectives() -> str:
    """Correlations of figures with accuracy, ranks of what was asked for, and every network."""
    result = read("objectives")
    sets = result["datasets"]
    names = [DATA_SETS[name].origin for name in sets]

    def signed(value: float | None) -> str:
        return "-" if value is None else f"{value:+.2f}"

    kinds = ("all", "mean_at_equal_params", "mean_at_equal_params_wide")
    heads = ("all", "equal params", f"RF >= {result['wide_field']}")
    figures = [
        (figure, *(signed(each["correlations"][figure][kind])
                   for each in sets.values() for kind in kinds))
        for figure in next(iter(sets.values()))["correlations"]
    ]  # fmt: skip
    asked = list(dict.fromkeys(text for each in sets.values() for text in each["choices"]))
    ranks = {text: [each["choices"].get(text, {}).get("mean_rank") for each in sets.values()]
             for text in asked}  # fmt: skip
    choices = [
        (text, *("-" if rank is None else f"{rank:.1f}" for rank in found))
        for text, found in sorted(ranks.items(), key=lambda one: sum(r or 9 for r in one[1]))
    ]
    tables = (
        markdown(["figure", *(f"{name}: {head}" for name in names for head in heads)], figures),
        markdown(["objective: its mean rank of 8", *names], choices),
        folded("Every network", _designed_networks(sets, names)),
    )
    by = "  \n".join(source("objectives", result | machine) for machine in result["machines"])
    return "\n\n".join((*tables, by))


def _designed_networks(sets: dict[str, Any], names: list[str]) -> str:
    """Held-out accuracy of each on every data set, and how many seeds that is the mean of."""
    found: dict[str, dict[str, Any]] = {}
    for dataset, each in sets.items():
        for network in each["networks"]:
            found.setdefault(network["spec"], network | {"by": {}})["by"][dataset] = network
    rows = [
        (n["spec"], *(f"{n[key]:,}" for key in ("params", "macs", "receptive_field", "depth")),
         *(_of_seeds(n["by"].get(dataset)) for dataset in sets))
        for n in sorted(found.values(), key=lambda n: -n["accuracy"])
    ]  # fmt: skip
    heads = [f"{name}: held-out % (seeds)" for name in names]
    return markdown(["network", "parameters", "MACs", "RF", "depth", *heads], rows)


def _of_seeds(network: dict[str, Any] | None) -> str:
    return f"{network['accuracy']:.2f} ({len(network['accuracies'])})" if network else "-"


def constructs(figure: str) -> str:
    """What every tool says of one figure of the hard constructs, beside the truth."""
    rows = [row for row in read("constructs")["constructs"] if row["truth"][figure] is not None]
    tools = [t for t in rows[0]["given"] if any(figure in row["given"][t] for row in rows)]
    cells = [[_judged(row, tool, figure) for tool in tools] for row in rows]
    right = [f"{column.count('right')} of {len(rows)}" for column in zip(*cells, strict=True)]
    body = [
        (row["name"], f"{row['truth'][figure]:,}", *line)
        for row, line in zip(rows, cells, strict=True)
    ]
    return markdown(["construct", "truth", *tools], [*body, ("right", "", *right)])


def _judged(row: dict[str, Any], tool: str, figure: str) -> str:
    """One cell: "right", the wrong number, or that there is none."""
    said, truth = row["given"][tool], row["truth"][figure]
    if "error" in said:
        return "fails"
    if said.get(figure) is None:
        return "-"
    if figure == "receptive_field" and said.get("status", "exact") != "exact":
        return f"at most {said[figure]:,}"
    if said[figure] == truth:
        return "right"
    return f"{said[figure]:,}" + ", partial" * bool(figure == "macs" and said.get("lacks"))


def conventions() -> str:
    """What every tool adds to the MACs of a convolution for what goes with it."""
    result = read("constructs")
    rows = result["conventions"]
    tools = [t for t in next(iter(rows.values())) if any(of[t] is not None for of in rows.values())]
    first = result["first_convolution_macs"]
    body = [
        (name, *("-" if of[t] is None else f"{of[t] - first:,}" for t in tools))
        for name, of in rows.items()
    ]
    return markdown(["with", *tools], body)


def constructs_source() -> str:
    result = read("constructs")
    missing = result["not_installed"]
    lacking = f"Not installed: {', '.join(missing)}.\n\n" if missing else ""
    return lacking + source("constructs", result)


OUTCOMES = ("right", "refused", "loose", "wrong", "crashed")
FOUND = ("accounted", "refused", "wrong", "crashed")


def operators() -> str:
    """Cases of PyTorch's operator database, before rules were held against it and now."""
    before, now = read("before")["cases"], read("operators")["totals"]["cases"]
    rows = [(name, *(f"{cases[name]:,}" for name in OUTCOMES)) for name, cases in
            (("before", before), ("now", now))]  # fmt: skip
    return f"{markdown(['cases', *OUTCOMES], rows)}\n\n{source('operators', read('operators'))}"


def operators_told() -> str:
    """The same by operator, in words."""
    before, now = read("before"), read("operators")
    worst, kinds = now["totals"]["operators"], now["operators"].values()
    return (
        f"Of {len(kinds)} operators, {before['operators_with_wrong_cases']} had a wrong case and "
        f"{before['operators_with_crashed_cases']} a crashed one; now {worst['wrong']} and "
        f"{worst['crashed']}. {now['totals']['operators_never_refused']} are never refused "
        f"({before['operators_never_refused']} before); {worst['left_out']} cannot be run here."
    )


def modules() -> str:
    """Cases of PyTorch's module database, attributes changed one by one."""
    before, now = read("before")["modules"], read("operators")["module_totals"]
    rows = [
        ("before", *(f"{n:,}" for n in before.values())),
        ("now", *(f"{now[k]:,}" for k in before)),
    ]
    return markdown(["modules, built and changed", *before], rows)


def zoo(outcome: str) -> int:
    """How many networks of the model zoos have an outcome."""
    return sum(network["outcome"] == outcome for network in read("models")["networks"])


def zoo_total() -> int:
    """How many networks of the model zoos could be built."""
    return len(read("models")["networks"]) - zoo("not built")


def libraries() -> int:
    return len({network["library"] for network in read("models")["networks"]})


def networks() -> str:
    """What came of every network of four libraries, before and now."""
    before, now = read("before")["networks"], read("models")
    rows = []
    for library, found in before.items():
        outcomes = [n["outcome"] for n in now["networks"] if n["library"] == library]
        rows.append((f"{library}, before", *(str(found[name]) for name in FOUND)))
        rows.append((f"{library}, now", *(str(outcomes.count(name)) for name in FOUND)))
    return f"{markdown(['networks', *FOUND], rows)}\n\n{source('models', now)}"


def tiling() -> str:
    result = read("tiling")
    found = result["networks"]
    ways = list(next(iter(found.values()))["ways"])
    rows = [
        (
            name,
            *(f"{of[key]}" for key in ("receptive_field", "period", "halo", "tiles")),
            "equal" if of["exact"] == of["tiles"] else "not equal",
            *(
                "equal" if of["ways"][way]["equal"] else f"{of['ways'][way]['largest']:.0e}"
                for way in ways
            ),
        )
        for name, of in found.items()
    ]
    columns = ["network", "RF", "period", "halo", "tiles", "exact", *ways]
    return f"{markdown(columns, rows)}\n\n{source('tiling', result)}"
