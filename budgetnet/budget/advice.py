"""Advice: what costs most, where the field covers the input, and the cheapest change that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any, NamedTuple

from ..accounting.account import Account
from ..accounting.rows import Row
from ..accounting.table import shape_text
from ..errors import BudgetnetError
from ..spec.chains import chain_of
from ..spec.plan import Spec, plan
from ..spec.stages import Stage, with_width
from .figures import FIGURES
from .findings import check, findings_table
from .limits import Finding, Limit

_KERNELS = (1, 3, 5, 7, 9, 11)
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
    over = [finding.figure for finding in findings if finding.verdict == "over"]
    large = {FIGURES[name].driver for name in over if name} if findings else {"params", "macs"}
    lines = [f"unknown: {finding.reason}" for finding in findings if finding.verdict == "unknown"]
    broken = dict.fromkeys(finding.figure for finding in findings if not finding.ok)
    lines.extend(f"{name} counts {FIGURES[name].meaning}" for name in broken if name)
    if "params" in large:
        lines.append(f"most parameters: {_most(account, 'params')}")
    if "macs" in large:
        lines.append(f"most MACs: {_most(account, 'macs')}")
    if "maps" in large:
        lines.append(f"largest maps: {_largest(account)}")
    lines.extend(coverage_text(account))
    if any(finding.verdict in ("over", "under") for finding in findings):
        lines.extend(_change_text(limits, account))
    return lines


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
    if first is None:
        return [f"receptive field: {field} of the {size} input; no layer covers it"]
    text = f"receptive field: {first.receptive_field} at {first.path} covers the {size} input"
    return [f"{text}; {_after(later)} no more of it" if later else text]


def _after(later: Sequence[Row]) -> str:
    names = [row.path or row.kind for row in later]
    if len(names) == 1:
        return f"{names[0]}, after it, sees"
    return f"the {len(names)} layers after it, {names[0]} to {names[-1]}, see"


def _change_text(limits: Sequence[Limit], account: Account) -> list[str]:
    chain = chain_of(account)
    if chain is None or not _agree(chain.planned, account, limits):
        return []
    candidates = count_candidates(chain.spec)
    if (stages := len(chain.spec.stages)) * candidates > MOST_PLANNED:
        return [
            f"no change was looked for: {candidates:,} candidates of {stages:,} stages are more "
            f"than the {MOST_PLANNED:,} stages that are planned again"
        ]
    change = cheapest_change(chain.spec, chain.names, limits, account.input_shape)
    if change is not None:
        others = f" (one of {change.alternatives} that would do)" if change.alternatives > 1 else ""
        return [f"cheapest single change{others}: {change.text}, {_gives(change.account)}"]
    none = "no single change of a width, a kernel or a stage meets the budget"
    scaled = scaled_change(chain.spec, limits, account.input_shape)
    return [none if scaled is None else f"{none}; {scaled.text}, {_gives(scaled.account)}"]


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
    """The single change of a width, a kernel or a stage that meets the whole budget.

    Each change is planned and checked. The cheapest has the smallest sum of two shares: of the
    stage's channels or kernel positions, and of the network's parameters. `names` is what the text
    calls the stages.
    """
    before = plan(spec, input_shape)
    found: list[tuple[Fraction, Change]] = []
    for share, text, changed in _changes(spec, names, limits, input_shape):
        account = _accepted(changed, limits, input_shape)
        if account is not None:
            moved = Fraction(abs(account.params - before.params), max(before.params, 1))
            found.append((share + moved, Change(text, changed, account, 0)))
    if not found:
        return None
    return min(found, key=lambda entry: entry[0])[1]._replace(alternatives=len(found))


def scaled_change(
    spec: Spec, limits: Sequence[Limit], input_shape: tuple[int, ...]
) -> Change | None:
    """The largest whole percentage of all widths but the output's that meets the budget."""
    output = output_stage(spec)
    for percent in range(99, 0, -1):
        stages = tuple(
            stage
            if i == output or stage.width is None
            else with_width(stage, max(1, stage.width * percent // 100))
            for i, stage in enumerate(spec.stages)
        )
        scaled = Spec(stages)
        account = _accepted(scaled, limits, input_shape)
        if account is not None:
            return Change(f"all widths at {percent} % would ({scaled})", scaled, account, 1)
    return None


def _accepted(spec: Spec, limits: Sequence[Limit], shape: tuple[int, ...]) -> Account | None:
    try:
        account = plan(spec, shape)
    except BudgetnetError:
        return None
    return account if all(finding.ok for finding in check(limits, account)) else None


def _changes(
    spec: Spec, names: Sequence[str], limits: Sequence[Limit], shape: tuple[int, ...]
) -> Iterator[tuple[Fraction, str, Spec]]:
    """Single changes of every stage with the share of it that changes.

    The last width stays, since it is that of the output.
    """
    output = output_stage(spec)
    for i, (name, stage) in enumerate(zip(names, spec.stages, strict=True)):
        put = partial(_put, spec, i)
        free, now = i != output, stage.width
        if free and now is not None:
            made = partial(_widened, spec, i, stage)
            if width := _widest(now, made, limits, shape):
                text = f"narrow {name} from {now} to {width} channels"
                yield Fraction(now - width, now), text, made(width)
        if now is not None and hasattr(stage, "kernel_size") and hasattr(stage, "dilation"):
            area, was = prod(stage.kernel_size), shape_text(stage.kernel_size)
            for size in _KERNELS:
                if (size, size) != stage.kernel_size:
                    text = f"change the kernel of {name} from {was} to {size}x{size}"
                    share = Fraction(abs(size * size - area), max(size * size, area))
                    yield share, text, put(_with_kernel(stage, size))
        if free and stage.gives != "vector" and len(names) > 1:
            yield Fraction(1), f"take out {name}", put()


def count_candidates(spec: Spec) -> int:
    """How many changed chains the advice may plan, at most: known before one is planned."""
    output, count = output_stage(spec), 99  # of `scaled_change`
    for i, stage in enumerate(spec.stages):
        if i != output and stage.width is not None:
            widths = _narrower(stage.width)
            count += widths.start // -widths.step  # its len() must fit into 64 bits
        count += len(_KERNELS) + 1
    return count


def output_stage(spec: Spec) -> int:
    """The stage whose width is that of the output; -1 if none has a width of its own."""
    return max((i for i, s in enumerate(spec.stages) if s.width is not None), default=-1)


def _put(spec: Spec, i: int, *stages: Stage) -> Spec:
    return Spec((*spec.stages[:i], *stages, *spec.stages[i + 1 :]))


def _widened(spec: Spec, i: int, stage: Stage, width: int) -> Spec:
    return _put(spec, i, with_width(stage, width))


def _with_kernel(stage: Any, size: int) -> Any:
    """The stage with a square kernel; "same" padding stays so."""
    if stage.pads:
        return replace(stage, kernel_size=(size, size))
    axes = list(zip(stage.padding, stage.dilation, stage.kernel_size, strict=True))
    same = any(stage.padding) and all(2 * p == d * (k - 1) for p, d, k in axes)
    high, wide = (d * (size - 1) // 2 for d in stage.dilation)
    padding = (high, wide) if same else stage.padding
    return replace(stage, kernel_size=(size, size), padding=padding)


def _widest(
    now: int, made: Callable[[int], Spec], limits: Sequence[Limit], shape: tuple[int, ...]
) -> int:
    """The largest width below `now` that meets the budget; 0 if none."""
    return next((n for n in _narrower(now) if _accepted(made(n), limits, shape)), 0)


def _narrower(now: int) -> range:
    """The widths below, the largest first; of wide stages every eighth."""
    step = 1 if now <= 128 else 8
    return range((now - 1) // step * step, 0, -step)
