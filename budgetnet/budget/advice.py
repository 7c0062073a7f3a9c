"""Advice: what costs most, where the field covers the input, and the cheapest change that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import lcm, prod
from typing import Any, NamedTuple, TypeAlias

from ..accounting.account import Account
from ..accounting.latency import latency_of
from ..accounting.latency_table import LatencyTable
from ..accounting.rows import Row
from ..accounting.table import shape_text, time_text
from ..errors import BudgetnetError
from ..spec.branches import Branching, Sum
from ..spec.chains import chain_of
from ..spec.plan import Spec, plan
from ..spec.stage import Stage, named
from .figures import FIGURES
from .findings import check, findings_table
from .limits import Finding, Limit, Range

Made: TypeAlias = Callable[[], Spec]  # makes a changed spec, or raises where there is none
Accepts: TypeAlias = Callable[[Made], Account | None]

_KERNELS = (1, 3, 5, 7, 9, 11)
_EXPANSIONS = (1, 2, 3, 4, 5, 6)
_NARROWED = {
    "out_channels": "narrow {name} from {now} to {made} channels",
    "growth_rate": "narrow the growth of {name} from {now} to {made} channels",
    "hidden_channels": "narrow the inside of {name} from {now} to {made} channels",
}
MOST_PLANNED = 300_000  # stages of all candidates together, which takes some seconds


class Change(NamedTuple):
    """One change of a chain that meets the budget.

    Attributes:
        text: what to change.
        spec: the changed chain.
        account: its plan, which the budget accepts.
        alternatives: how many single changes would do, this one included.
    """

    text: str
    spec: Spec
    account: Account
    alternatives: int


class Advice(NamedTuple):
    """Why a network is within its budget or not, and what would help.

    Attributes:
        lines: the reasons for the findings, one line each.
        change: the cheapest change that meets the budget; `None` if none is needed or known.
    """

    lines: tuple[str, ...]
    change: Change | None = None


def explain_findings(limits: Sequence[Limit], account: Account, findings: Sequence[Finding]) -> str:
    """The whole message: findings, what costs most, the receptive field, the cheapest change."""
    broken = ", ".join(finding.name for finding in findings if not finding.ok)
    name = account.name or "the network"
    title = f"{name} on {account.input_text} breaks its budget: {broken}"
    return "\n".join(
        [findings_table(title, findings).to_text(), *reasons(limits, account, findings)]
    )


def reasons(limits: Sequence[Limit], account: Account, findings: Sequence[Finding]) -> list[str]:
    """The reasons for the findings, one line each."""
    return [*advise(limits, account, findings).lines]


def advise(limits: Sequence[Limit], account: Account, findings: Sequence[Finding]) -> Advice:
    """The reasons for the findings, and the cheapest change that meets the budget."""
    over = [finding.figure for finding in findings if finding.verdict == "over"]
    large = {FIGURES[name].driver for name in over if name} if findings else {"params", "macs"}
    lines = [f"unknown: {finding.reason}" for finding in findings if finding.verdict == "unknown"]
    broken = dict.fromkeys(finding.figure for finding in findings if not finding.ok)
    lines.extend(f"{name} counts {FIGURES[name].meaning}" for name in broken if name)
    if "params" in large:
        lines.append(f"most parameters: {_most(account, 'params')}")
    if "macs" in large:
        lines.append(f"most MACs: {_most(account, 'macs')}")
    if "latency" in large:
        for table in _tables(limits):
            lines.append(f"most of the estimate: {_slowest(account, table)}")
    if "maps" in large:
        lines.append(f"largest maps: {_largest(account)}")
    lines.extend(coverage_text(account))
    if not any(finding.verdict in ("over", "under") for finding in findings):
        return Advice(tuple(lines))
    told, change = _change(limits, account)
    return Advice((*lines, *told), change)


def _most(account: Account, figure: str) -> str:
    total = getattr(account, figure)
    layers = [layer for layer in account.layers() if getattr(layer, figure)]
    layers.sort(key=lambda layer: -getattr(layer, figure))
    shown = [
        f"{layer.path or layer.kind} {getattr(layer, figure):,}"
        + (f" ({getattr(layer, figure) / total:.1%})".replace("%", " %") if total else "")
        for layer in layers[:3]
    ]
    return ", ".join(shown) or "none"


def _tables(limits: Sequence[Limit]) -> list[LatencyTable]:
    """The tables by which limits on latency judge."""
    return [limit.table for limit in limits if isinstance(limit, Range) and limit.table]


def _slowest(account: Account, table: LatencyTable) -> str:
    estimate = latency_of(account, table)
    layers = sorted(estimate.by_layer(), key=lambda pair: -pair[1])
    return ", ".join(
        f"{layer.path or layer.kind} {time_text(ns)} ({ns / (estimate.ns or 1):.1%})".replace(
            "%", " %"
        )
        for layer, ns in layers[:3]
    )


def _largest(account: Account) -> str:
    layers = sorted(account.layers(), key=lambda layer: -prod(layer.output_shape))
    return ", ".join(
        f"{layer.path or layer.kind} {shape_text(layer.output_shape)}" for layer in layers[:3]
    )


def coverage(account: Account) -> tuple[Row | None, tuple[Row, ...]]:
    """The layer whose receptive field first covers the input, and later ones that enlarge it."""
    size = account.input_size
    if not size:
        return None, ()
    first, later, largest = None, [], size
    for layer in account.layers():
        field = layer.receptive_field
        if field is None or layer.is_global or len(field.size) != len(size):
            continue
        if first is not None and any(a > b for a, b in zip(field.size, largest, strict=True)):
            later.append(layer)
            largest = field.size
        elif first is None and all(a >= b for a, b in zip(field.size, size, strict=True)):
            first, largest = layer, field.size
    return first, tuple(later)


def coverage_text(account: Account) -> list[str]:
    """Where the receptive field stands against the input, as lines of a message."""
    if account.receptive_field is None or not account.input_size:
        return []
    field, size = account.receptive_field, shape_text(account.input_size)
    first, later = coverage(account)
    if first is None and account.global_text:
        return [f"receptive field: {field} of the {size} input, until {account.global_text}"]
    if first is None:
        return [f"receptive field: {field} of the {size} input; no layer covers it"]
    text = f"receptive field: {first.receptive_field} at {first.path} covers the {size} input"
    return [f"{text}; {_after(later)} no more of it" if later else text]


def _after(later: Sequence[Row]) -> str:
    names = [row.path or row.kind for row in later]
    if len(names) == 1:
        return f"{names[0]}, after it, sees"
    return f"the {len(names)} layers after it, {names[0]} to {names[-1]}, see"


def _change(limits: Sequence[Limit], account: Account) -> tuple[list[str], Change | None]:
    """What is said of a change, and the change."""
    chain = chain_of(account)
    if chain is None or not _agree(chain.planned, account, limits):
        return [], None
    candidates = count_candidates(chain.spec)
    if (stages := len(chain.spec.stages)) * candidates > MOST_PLANNED:
        words = (
            f"no change was looked for: {candidates:,} candidates of {stages:,} stages are more "
            f"than the {MOST_PLANNED:,} stages that are planned again"
        )
        return [words], None
    change = cheapest_change(chain.spec, chain.names, limits, account.input_shape)
    if change is not None:
        others = f" (one of {change.alternatives} that would do)" if change.alternatives > 1 else ""
        return [f"cheapest single change{others}: {change.text}, {_gives(change.account)}"], change
    none = "no single change of a width, a kernel or a stage meets the budget"
    if _tables(limits):
        none += ", of those whose operators the table has"
    scaled = scaled_change(chain.spec, limits, account.input_shape)
    if scaled is None:
        return [none], None
    return [f"{none}; {scaled.text}, {_gives(scaled.account)}"], scaled


def _gives(made: Account) -> str:
    return (
        f"which gives {made.params:,} parameters, {made.macs:,} MACs, "
        f"receptive field {made.receptive_field}"
    )


def _agree(planned: Account, account: Account, limits: Sequence[Limit]) -> bool:
    """Whether the budget finds the same in both, so that advice on one holds for the other."""
    one, two = (
        [(f.name, f.verdict, f.headroom) for f in check(limits, a)] for a in (planned, account)
    )
    return one == two


def cheapest_change(
    spec: Spec, names: Sequence[str], limits: Sequence[Limit], input_shape: tuple[int, ...]
) -> Change | None:
    """The single change of one stage that meets the whole budget.

    Each change is planned and checked. The cheapest has the smallest sum of two shares: of what is
    changed, such as the stage's channels or kernel positions, and of the network's parameters.
    `names` is what the text calls the stages.
    """
    before = plan(spec, input_shape)
    accepted = partial(_accepted, before, limits)
    found: list[tuple[Fraction, Change]] = []
    for share, text, made in _changes(spec, names, accepted):
        if (account := accepted(made)) is not None:
            moved = Fraction(abs(account.params - before.params), max(before.params, 1))
            found.append((share + moved, Change(text, made(), account, 0)))
    if not found:
        return None
    return min(found, key=lambda entry: entry[0])[1]._replace(alternatives=len(found))


def scaled_change(
    spec: Spec, limits: Sequence[Limit], input_shape: tuple[int, ...]
) -> Change | None:
    """The largest whole percentage of all widths but the output's that meets the budget."""
    output, before = output_stage(spec), plan(spec, input_shape)
    for percent in range(99, 0, -1):
        stages = enumerate(spec.stages)
        scaled = Spec(tuple(s if i == output else _scaled(s, percent) for i, s in stages))
        account = _accepted(before, limits, lambda made=scaled: made)  # type: ignore[misc]  # a constant
        if account is not None:
            return Change(f"all widths at {percent} % would ({scaled})", scaled, account, 1)
    return None


def _scaled(stage: Any, percent: int) -> Any:
    """A stage with a percentage of all of its widths."""
    if isinstance(stage, Branching):
        for name, branch in stage.branches_by_name:
            stage = _with_branch(stage, name, tuple(_scaled(each, percent) for each in branch))
        return stage
    widths = {}
    for name, now in _widths(stage):
        step = stage.multiples[1] if name == "out_channels" else 1
        widths[name] = max(step, now * percent // 100 // step * step)
    return replace(stage, **widths) if widths else stage


def _widths(stage: Any) -> list[tuple[str, int]]:
    """The widths that a stage has, of those that can be changed."""
    known = ("out_channels", "growth_rate", "hidden_channels")
    return [(name, now) for name in known if (now := getattr(stage, name, None)) is not None]


def _accepted(before: Account, limits: Sequence[Limit], made: Made) -> Account | None:
    """The plan of a changed spec if it has the same outputs, and the budget accepts it."""
    try:
        account = plan(made(), before.input_shape)
    except BudgetnetError:
        return None
    if account.output_shape[:1] != before.output_shape[:1]:  # type: ignore[index]  # of plans
        return None
    return account if all(finding.ok for finding in check(limits, account)) else None


def _changes(
    spec: Spec, names: Sequence[str], accepted: Accepts
) -> Iterator[tuple[Fraction, str, Made]]:
    """Single changes of every stage with the share of it that changes.

    The last width stays, since it is that of the output.
    """
    output = output_stage(spec)
    for i, (name, stage) in enumerate(zip(names, spec.stages, strict=True)):
        put = partial(_put, spec, i)
        yield from _of_stage(name, stage, put, accepted, i == output)
        if i != output and stage.gives != "vector" and len(names) > 1:
            yield Fraction(1), f"take out {name}", put


def _of_stage(
    name: str, stage: Any, put: Callable[..., Spec], accepted: Accepts, is_output: bool
) -> Iterator[tuple[Fraction, str, Made]]:
    """Changes of one stage; `put` gives the spec with other stages in its place."""

    def changed(**values: Any) -> Spec:
        return put(replace(stage, **values))

    if isinstance(stage, Branching):
        yield from _of_branches(name, stage, put, accepted)
        return
    for field, (text, now, numbers) in _lessened(stage, is_output):
        made = next((n for n in numbers if accepted(partial(changed, **{field: n}))), 0)
        if made:
            words = text.format(name=name, now=now, made=made)
            yield Fraction(now - made, now), words, partial(changed, **{field: made})
    if hasattr(stage, "kernel_size") and hasattr(stage, "dilation"):
        area, was = prod(stage.kernel_size), shape_text(stage.kernel_size)
        for size in _KERNELS:
            if (size, size) != stage.kernel_size:
                text = f"change the kernel of {name} from {was} to {size}x{size}"
                share = Fraction(abs(size * size - area), max(size * size, area))
                yield share, text, lambda size=size: put(_with_kernel(stage, size))  # type: ignore[misc]  # a constant
    if hasattr(stage, "expansion") and stage.hidden_channels is None:
        now = stage.expansion
        for value in _EXPANSIONS:
            if value != now:
                share = Fraction(abs(value - now) / max(value, now))
                text = f"change the expansion of {name} from {now} to {value}"
                yield share, text, partial(changed, expansion=value)
    if getattr(stage, "se", None) is not None:
        yield Fraction(1), f"take squeeze-excite out of {name}", partial(changed, se=None)


def _of_branches(
    name: str, stage: Branching, put: Callable[..., Spec], accepted: Accepts
) -> Iterator[tuple[Fraction, str, Made]]:
    """Changes of the stages within brackets."""
    for key, branch in stage.branches_by_name:
        for j, (child, inner) in enumerate(named(branch)):

            def put_inner(*stages: Stage, key: str = key, branch: Any = branch, j: int = j) -> Spec:
                rest = (*branch[:j], *stages, *branch[j + 1 :])
                return put(_with_branch(stage, key, rest))

            within = f"{key}.{child} of {name}"
            yield from _of_stage(within, inner, put_inner, accepted, False)
            yield Fraction(1), f"take out {within}", put_inner


def _with_branch(stage: Any, key: str, branch: tuple[Stage, ...]) -> Any:
    """A stage with one of its branches changed."""
    if isinstance(stage, Sum):
        body, shortcut = (branch, stage.shortcut) if key == "body" else (stage.body, branch)
        return replace(stage, body=body, shortcut=shortcut)
    branches = (branch if name == key else each for name, each in stage.branches_by_name)
    return replace(stage, branches=tuple(branches))


def _lessened(stage: Any, is_output: bool) -> Iterator[tuple[str, tuple[str, int, range]]]:
    """Fields that may be less, with what to say of it, the number now, and those below it."""
    for field, now in _widths(stage):
        if not (is_output and field == "out_channels"):
            step = stage.multiples[1] if field == "out_channels" else 1
            yield field, (_NARROWED[field], now, _narrower(now, step))
    if (layers := getattr(stage, "num_layers", 1)) > 1:
        text = "shorten {name} from {now} to {made} layers"
        yield "num_layers", (text, layers, range(layers - 1, 0, -1))


def count_candidates(spec: Spec) -> int:
    """How many changed chains the advice may plan, at most: known before one is planned."""
    output = output_stage(spec)
    counts = (_count(stage, i == output) for i, stage in enumerate(spec.stages))
    return 99 + sum(counts)  # of `scaled_change`, and of single changes


def _count(stage: Any, is_output: bool) -> int:
    if isinstance(stage, Branching):
        return sum(_count(each, False) for _, branch in stage.branches_by_name for each in branch)
    ranges = (numbers for _, (_, _, numbers) in _lessened(stage, is_output))
    numbers = sum(each.start // -each.step for each in ranges)  # a len() must fit into 64 bits
    return numbers + len(_KERNELS) + len(_EXPANSIONS) * hasattr(stage, "expansion") + 2


def output_stage(spec: Spec) -> int:
    """The stage whose width is that of the output; -1 if none has a width of its own."""
    return max((i for i, s in enumerate(spec.stages) if s.width is not None), default=-1)


def _put(spec: Spec, i: int, *stages: Stage) -> Spec:
    return Spec((*spec.stages[:i], *stages, *spec.stages[i + 1 :]))


def _with_kernel(stage: Any, size: int) -> Any:
    """The stage with a square kernel; "same" padding stays so."""
    if stage.pads:
        return replace(stage, kernel_size=(size, size))
    axes = list(zip(stage.padding, stage.dilation, stage.kernel_size, strict=True))
    same = any(stage.padding) and all(2 * p == d * (k - 1) for p, d, k in axes)
    high, wide = (d * (size - 1) // 2 for d in stage.dilation)
    padding = (high, wide) if same else stage.padding
    return replace(stage, kernel_size=(size, size), padding=padding)


def _narrower(now: int, multiple: int) -> range:
    """The widths below, the largest first; of wide stages every eighth."""
    step = multiple if now <= 128 else lcm(multiple, 8)
    return range((now - 1) // step * step, 0, -step)
