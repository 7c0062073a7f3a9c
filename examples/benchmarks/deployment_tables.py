"""The tables of the results pages that tell of memory on a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raw_results import folded, markdown, read, source

from data_sets import DATA_SETS

TFLM, RUNTIMES = "tflm int8", ("tflm int8", "executorch int8", "executorch float32")
MLPERF = ("ds_cnn", "mobilenet_v1_025", "resnet8", "autoencoder")
SHOWN = (*MLPERF, "s6", "dsnet14", "dsnet16", "dsnet34", "dsnet38", "mobilenet_v2")


def deployments() -> str:
    """What is predicted beside what the runtimes say: the networks of small boards, then all."""
    result = read("deployments")
    rows = {name: _row(name, {TFLM: found}) for name, found in result["files"].items()}
    rows |= {name: _row(name, found) for name, found in result["networks"].items()}
    first = [name for name in rows if name in SHOWN or name in result["files"]]
    columns = [
        "network", "flash", "TFLM", "interpreter", "bound", "least plan, run", "ExecuTorch int8",
        "its planner", "float32", "its planner",
    ]  # fmt: skip
    others = markdown(columns, [row for name, row in rows.items() if name not in first])
    return (
        f"{markdown(columns, [rows[name] for name in first])}\n\n"
        f"{folded('The other named networks', others)}\n\n{source('deployments', result)}"
    )


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    cells = {runtime: found.get(runtime, {}) for runtime in RUNTIMES}
    tflm, int8, float32 = cells.values()
    keys = ("flash", "said", "real", "bound", "least_real")
    wanted = [*(tflm.get(key) for key in keys),
              *(each.get(key) for each in (int8, float32) for key in ("said", "real"))]  # fmt: skip
    return name, *("-" if number is None else f"{number:,}" for number in wanted)


def known(runtime: str) -> dict[str, dict[str, int]]:
    """Networks and files that both the library and the runtime tell of."""
    result = read("deployments")
    found = {name: network[runtime] for name, network in result["networks"].items()}
    found |= result["files"] if runtime == TFLM else {}
    return {name: each for name, each in found.items() if "real" in each}


def equal(runtime: str) -> int:
    """How many predictions are right to the byte."""
    return sum(found["said"] == found["real"] for found in known(runtime).values())


def assumed(runtime: str) -> int:
    """How many networks have an operator that the library does not know in the runtime."""
    return sum("assumed" in found[runtime] for found in read("deployments")["networks"].values())


def agreement() -> str:
    tflm, int8, float32 = (f"{equal(each)} of {len(known(each))}" for each in RUNTIMES)
    return (
        f"RAM as predicted, to the byte: TensorFlow Lite Micro {tflm}, ExecuTorch {int8} in int8 "
        f"and {float32} in float32"
    )


def less() -> dict[str, float]:
    """The share of its arena that the least plan saves, for every network."""
    return {name: 1 - each["least_real"] / each["real"] for name, each in known(TFLM).items()}


def most_saved() -> str:
    return f"{100 * max(less().values()):.0f} %"


def savings() -> str:
    """What the least plans save, in words."""
    files, found = read("deployments")["files"].values(), known(TFLM)
    told = [f"{100 * share:.0f} % of `{name}`" for name, share in less().items() if share]
    reached = sum(each["least_real"] == each["bound"] for each in found.values())
    same = sum(each["same_outputs"] for each in files)
    return (
        f"it saves {', '.join(told)}, and nothing of the other {len(found) - len(told)}. It "
        f"reaches the bound on {reached} of {len(found)}; the outputs of {same} of the "
        f"{len(files)} files stay the same to the last bit."
    )


def int8() -> str:
    """Accuracy and bytes of every file; of a network that learned its rounding, both files."""
    result = read("int8")
    rows = []
    for found in result["networks"].values():
        origin = DATA_SETS[found["dataset"]].origin
        for made, each in (("after training", found), ("an epoch aware of it", found.get("aware"))):
            if each is None:
                continue
            before, after = (100 * each[key] / found["images"] for key in CORRECT)
            change = after - 100 * found["float_correct"] / found["images"]
            shares = (f"{before:.2f}", f"{after:.2f}", f"{change:+.2f}")
            sizes = (f"{each[key]:,}" for key in SIZES)
            own = f"{each['head']:,} + {each['tail']:,}"
            rows.append((found["model"], origin, made, *shares, *sizes, own))
    heads = ["network", "data", "quantised", "float32, %", "int8, %", "change", "judged otherwise"]
    table = markdown([*heads, "weights, B", "file, B", "planned, B", "allocated, B"], rows)
    return f"{table}\n\n{source('int8', result)}"


CORRECT = ("float_correct", "int8_correct")
SIZES = ("differ", "weight_bytes", "file_bytes", "planned")
