"""The tables of the results pages that tell of latency: estimates beside the clock."""

from __future__ import annotations

from statistics import median
from typing import Any

from raw_results import between, markdown, read, source

from budgetnet.accounting.table import time_text


def latencies() -> str:
    """The clock on every network beside the sum of its operators."""
    result = read("latency")
    rows = []
    for name, found in result["networks"].items():
        clock = found["clock_ns"]
        cells = [time_text(clock), "unknown", "-", "-", "-"]
        if found["own_ns"] is not None:
            cells = [
                time_text(clock), time_text(found["own_ns"]), _percent(_error(found, "own_ns")),
                _between([_error(each, "own_ns") for each in found["rounds"]]),
                _percent(_error(found, "shared_ns")),
            ]  # fmt: skip
        rows.append((name, f"{found['macs']:,}", str(found["operators"]), *cells))
    columns = [
        "network", "MACs", "operators", "clock", "estimate", "error", "in each round",
        "by one table of all",
    ]  # fmt: skip
    table = f"{markdown(columns, rows)}\n\n{source('latency', result)}"
    unknown = [f"{name}: {found['unknown']}." for name, found in result["networks"].items()
               if found["unknown"]]  # fmt: skip
    return "\n\n".join([table, *unknown])


def latency_agreement() -> str:
    """How far estimates are from the clock."""
    errors = [abs(_error(each, "own_ns")) for each in _known()]
    shared = [abs(_error(each, "shared_ns")) for each in _known()]
    return (
        f"off by {100 * median(errors):.0f} % in the median of {len(errors)} networks and by "
        f"{100 * max(errors):.0f} % at most; by {100 * median(shared):.0f} % and "
        f"{100 * max(shared):.0f} % if one table is for all of them"
    )


def latency_rounds() -> str:
    """How many times everything was measured, and the error of single times."""
    rounds = [each["rounds"] for each in _known()]
    errors = [_error(one, "own_ns") for each in rounds for one in each]
    return f"{len(rounds[0])} rounds; in single ones {_between(errors)}"


def _known() -> list[dict[str, Any]]:
    return [each for each in read("latency")["networks"].values() if each["own_ns"] is not None]


def _error(found: dict[str, Any], key: str) -> float:
    """By what share of the clock the estimate is above it."""
    return float(found[key] / found["clock_ns"] - 1)


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _between(shares: list[float]) -> str:
    return f"{between([100 * share for share in shares], '+.0f')} %"
