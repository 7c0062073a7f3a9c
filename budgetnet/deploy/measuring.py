"""`measure`: operators timed on this machine, one by one, with PyTorch on the CPU."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import prod
from statistics import quantiles
from typing import Any, NamedTuple

import torch

from .._version import __version__
from ..accounting.latency_table import Entry, LatencyTable
from ..accounting.operators import Operator, operator_at
from ..errors import ArgumentError, explain
from ..trace.account import account
from .operator_calls import call_of

SAME = ("processor", "threads", "torch")  # where times of two runs may stand in one table
MOST_THREADS = 1_024
PASSES, QUICK_PASSES, UNTIMED = 60, 12, 3  # the first passes choose kernels
MOST_NUMBERS = 1 << 27  # of weights and maps that are held at a time
MOST_HELD = 64  # operators; so few leave of the caches what layers of a network leave, about

Clock = Callable[[], int]


class Measuring(NamedTuple):
    """The progress of a measurement.

    Attributes:
        operators: how many there are.
        calls: of them so far; each is called many times.
        whole: of them in all.
    """

    operators: int
    calls: int
    whole: int


def measure(
    model: Any,
    input_shape: Any = None,
    *,
    threads: int | None = None,
    quick: bool = False,
    table: LatencyTable | None = None,
    watch: Callable[[Measuring], None] | None = None,
) -> LatencyTable:
    """Measure the operators that a network needs, on this machine.

    Each is timed by itself, as a module or function of PyTorch at batch 1 in float32, but operators
    of like size take turns: as in a network, other weights have gone through the caches since it
    last ran. Those that nothing here measures are left out; `latency` says which. Ctrl-C ends it
    with what was measured by then.

    Args:
        model: as for `account`; or operators, as `Latency.missing` has them.
        input_shape: as for `account`.
        threads: that PyTorch may use, by default as many as it does now.
        quick: a fifth of the samples, for a first look.
        table: whose entries are kept, and not measured again; of this machine.
        watch: called with the `Measuring` from time to time.

    Raises:
        ArgumentError: an argument is not valid, or the table is of another machine, number of
            threads or version of PyTorch.

    >>> table = measure("c4 gap2", (1, 8, 8), threads=1, quick=True)
    >>> for operator in table.entries:
    ...     print(operator)
    conv 1x8x8 -> 4x6x6, 3x3 / 1 / 0
    batch_norm 4x6x6
    relu 4x6x6
    conv 4x6x6 -> 2x6x6, 1x1 / 1 / 0
    batch_norm 2x6x6
    mean 2x6x6
    """
    before = torch.get_num_threads()
    threads = before if threads is None else threads
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        what = f"threads={threads!r} is not valid"
        raise ArgumentError(explain(what, remedy=f"Pass a number from 1 to {MOST_THREADS:,}."))
    machine = machine_of(threads)
    known = table or LatencyTable(machine, {})
    _check_same(known, machine)
    wanted = known.missing(_operators(model, input_shape))
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            passes = QUICK_PASSES if quick else PASSES
            found = _measured(wanted, passes, clock_of(threads)[1], watch)
    finally:
        torch.set_num_threads(before)
    return LatencyTable(known.machine, {**known.entries, **found}, known.name)


def _operators(model: Any, input_shape: Any) -> tuple[Operator | None, ...]:
    if isinstance(model, tuple | list) and all(isinstance(each, Operator) for each in model):
        return tuple(model)
    found = account(model, input_shape, strict=False)
    return tuple(operator_at(found, place)[0] for place in range(len(found.rows)))


def machine_of(threads: int) -> dict[str, str]:
    """Where and with what a measurement is made."""
    return {
        "processor": _processor(), "cores": str(os.cpu_count()), "threads": str(threads),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "clock": clock_of(threads)[0], "torch": torch.__version__, "budgetnet": __version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }  # fmt: skip


def _processor() -> str:
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            told = dict(line.split(":", 1) for line in lines if ":" in line)
        name = next((v for k, v in told.items() if k.strip() in ("model name", "Model")), "")
        family = {k.strip(): v.strip() for k, v in told.items()}
        kind = [f"{k} {family[k]}" for k in ("cpu family", "model", "stepping") if k in family]
    except OSError:
        name, kind = "", []
    name = name.strip() or platform.processor() or platform.machine()
    return f"{name} ({', '.join(kind)})" if kind else name


def _check_same(known: LatencyTable, machine: dict[str, str]) -> None:
    differ = {
        key: f"{known.machine.get(key, 'unknown')} there, {machine[key]} here"
        for key in SAME
        if known.machine.get(key) != machine[key]
    }
    if differ:
        what = f"{known.name} was measured otherwise"
        remedy = "Write another file, or measure as it was measured."
        raise ArgumentError(explain(what, numbers=differ, remedy=remedy))


def clock_of(threads: int) -> tuple[str, Clock]:
    """What times one call: its name, and the function that gives nanoseconds.

    The work of one thread is timed by that thread's own clock, which stands still while other
    programs run; that of several by the clock on the wall.
    """
    is_fine = time.get_clock_info("thread_time").resolution < 1e-6
    if threads == 1 and is_fine:
        return "CPU time of the thread", time.thread_time_ns
    return "wall time", time.perf_counter_ns


def _measured(
    operators: Sequence[Operator], passes: int, clock: Clock,
    watch: Callable[[Measuring], None] | None,
) -> dict[str, Entry]:  # fmt: skip
    """The entries of operators; after Ctrl-C of those that have been timed."""
    times: dict[str, list[int]] = {}
    calls, whole = 0, len(operators) * (UNTIMED + passes)
    itself = min(-(clock() - clock()) for _ in range(100))  # what reading the clock takes
    try:
        for some in _held(operators):
            made = [(str(each), call_of(each)) for each in some]
            for turn in range(UNTIMED + passes):
                if watch is not None:
                    watch(Measuring(len(operators), calls, whole))
                for key, call in made:
                    started = clock()
                    call()
                    taken = clock() - started - itself
                    if turn >= UNTIMED:
                        times.setdefault(key, []).append(max(0, taken))
                calls += len(made)
    except KeyboardInterrupt:
        if not times:
            raise
    found = {key: times.get(key, []) for key in map(str, operators)}
    return {key: _entry(each) for key, each in found.items() if len(each) > 1}


def _held(operators: Sequence[Operator]) -> Iterator[list[Operator]]:
    """Groups of operators of like size, whose weights and maps fit into memory together.

    By size, not in the order that is asked for: so what is measured with an operator depends less
    on what else is.
    """
    some: list[Operator] = []
    numbers = 0
    for each in sorted(operators, key=_numbers):
        more = _numbers(each)
        if some and (numbers + more > MOST_NUMBERS or len(some) == MOST_HELD):
            yield some
            some, numbers = [], 0
        some.append(each)
        numbers += more
    if some:
        yield some


def _numbers(each: Operator) -> int:
    """Of what an operator reads and writes."""
    return sum(map(prod, each.inputs)) + _weights(each) + prod(each.output)


def _weights(each: Operator) -> int:
    if each.name == "linear":
        return each.inputs[0][1] * each.output[1]
    kernel = each.sliding.kernel if each.sliding and "conv" in each.name else (0,)
    return each.inputs[0][0] * each.output[0] // each.groups * prod(kernel)


def _entry(times: list[int]) -> Entry:
    low, median, high = quantiles(times, n=4, method="inclusive")
    return Entry(round(median), round(low), round(high), len(times))
