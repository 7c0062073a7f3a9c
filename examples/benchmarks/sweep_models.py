"""Account for some 500 networks of timm, torchvision, smp and transformers, and judge each account.

    pip install timm torchvision segmentation-models-pytorch transformers
    python examples/benchmarks/sweep_models.py --fields

Every network is accounted for in a process of its own, so that none that fails, hangs or takes all
memory ends the sweep. Outcomes:

- accounted: and all figures agree with a count that shares no code with budgetnet, see
  `model_checks`; `constants` are multiply-accumulates whose factors do not depend on the input,
  which cost nothing by the convention that docs/accounting.md states.
- refused: by an error of budgetnet's own, which names an operation. Where values decide what comes
  next, `up_to` says what `strict=False` knows of what ran before, held against counts of modules
  that had run where these are quick.
- crashed: any other exception, or no answer in time.
- wrong: a figure differs, the call left something changed, or the account or refusal is another at
  a second call or without shortcuts; `answer` is what the outcome would be else.
- not built: the library itself could not make or run the network; in no total.

Models of up to 60 M parameters are real, larger ones are on the meta device.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import inspect
import json
import logging
import multiprocessing
import re
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import model_checks
import torch
from model_cases import Case, Example, Shapes, all_cases
from torch import nn

import budgetnet
import run_folder
from budgetnet.errors import BudgetnetError
from budgetnet.trace.run import account_of_module

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "models.json"
LIBRARIES = ("timm", "torchvision", "smp", "transformers")
PACKAGES = {"smp": "segmentation-models-pytorch"}
OUTCOMES = ("accounted", "refused", "crashed", "wrong", "not built")
LARGEST_REAL = 60_000_000  # parameters
MOST_MACS = 12e9  # a real forward of more would take long
FIELDS_MACS = 2.5e9
ROWS_PER_NETWORK = 3
SLOW_MS = 1000
KNOWS_INPUTS = "inputs" in inspect.signature(budgetnet.account).parameters
# Their maps are laid out as (C, H, W); that of a Linear or LayerNorm no row tells.
CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
)
Result = dict[str, Any]


class NeedsInputs(BudgetnetError):
    """The network takes more than floats of a shape, and `account` has no way to say so."""


def account_for(
    model: nn.Module, inputs: Shapes | Example, *, shortcuts: bool = True, strict: bool = True
) -> budgetnet.Account:
    """The one place that calls budgetnet; shapes for images, tensors by name for all else."""
    if not isinstance(inputs, dict):
        shape = inputs[0] if len(inputs) == 1 else inputs
        return account_of_module(model, shape, shortcuts=shortcuts, strict=strict)
    if not KNOWS_INPUTS:
        raise NeedsInputs("inputs=: the forward takes tensors by name, not floats of a shape.")
    return account_of_module(model, inputs=inputs, shortcuts=shortcuts, strict=strict)


# ---- one network


def examine(case: Case, *, fields: bool) -> Result:
    """All that is found out about one network."""
    result: Result = {"library": case.library, "name": case.name}
    try:
        model = build(case)
        inputs = case.inputs(model)
    except Exception as error:  # whatever it is, it is an outcome
        return result | {"outcome": "not built", "error": told(error)}
    result["device"] = "meta" if any(p.is_meta for p in model.parameters()) else "cpu"
    result["inputs"] = {k: list(v.shape) for k, v in inputs.items()} if isinstance(
        inputs, dict) else [list(shape) for shape in inputs]  # fmt: skip
    found, faults = tried(model, inputs, result)
    if found is None and result["outcome"] == "crashed" and result["device"] == "meta":
        result["on_meta"] = result["error"]
        model = real(case)
        found, faults = tried(model, inputs, result)
        result["device"] = "cpu"
    result["params"] = sum(p.numel() for p in model_checks.distinct(model.parameters()))
    if "changes" in result:
        result["forward_leaves_the_same"] = forward_leaves(case, inputs, result["changes"])
        result["changes"] = result["changes"][:20]
    try:
        if found is not None:
            faults += judge(case, model, inputs, found, result, fields=fields)
        else:
            faults += again(model, inputs, None)
            if result.get("error", "").startswith("RunEnded"):
                faults += up_to_there(case, model, inputs, result)
            if not result.get("operation", "").startswith(("aten", "inputs=")):
                must_run(case, model, inputs)
                if result.get("operation", "").startswith("ShapeError"):
                    faults.append(f"runs, whatever {result['error']}")
    except Unrunnable as error:
        result |= {"outcome": "not built", "error": str(error), "account": result.get("error")}
        result.pop("operation", None)
    if faults:
        result |= {"answer": result["outcome"], "outcome": "wrong", "faults": faults}
    return result


class Unrunnable(Exception):
    """The library's own forward fails on the inputs of this sweep."""


def build(case: Case) -> nn.Module:
    """The network, at inference: a real one unless it is large."""
    try:
        with torch.device("meta"):
            model = case.build()
        if sum(p.numel() for p in model.parameters()) > LARGEST_REAL:
            return model.eval()
    except Exception:  # many a constructor needs values; what is wrong otherwise shows below
        pass
    return real(case)


def real(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.build().eval()


def tried(
    model: nn.Module, inputs: Shapes | Example, result: Result
) -> tuple[budgetnet.Account | None, list[str]]:
    """Account once, timed, and see what the call left behind, an error or not."""
    found = None
    before = model_checks.State(model)
    started = time.perf_counter()
    try:
        found = account_for(model, inputs)
        result["outcome"] = "accounted"
    except BudgetnetError as error:
        result |= {"outcome": "refused", "operation": operation(error), "error": told(error)}
    except Exception as error:  # whatever it is, it is an outcome
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        result |= {"outcome": "crashed", "error": told(error), "where": place}
    result["account_ms"] = round(1000 * (time.perf_counter() - started), 2)
    changes = before.changes(model_checks.State(model))
    if not changes:
        return found, []
    result["changes"] = changes
    return found, [f"left changed: {', '.join(changes[:5])} ({len(changes)} in all)"]


def forward_leaves(case: Case, inputs: Shapes | Example, changes: list[str]) -> bool:
    """Whether a real forward changes all that the account did, as caches that fill do."""
    try:
        model = real(case)
        before = model_checks.State(model)
        model_checks.outputs_of(model, real_inputs(inputs))
        left = before.changes(model_checks.State(model))
        return {*map(_unnumbered, changes)} <= {*map(_unnumbered, left)}
    except Exception:  # it does not run: nothing is left by it
        return False


def _unnumbered(fact: str) -> str:
    """Without the number of a hook, which no two models share."""
    return re.sub(r"(_hooks)[.\w]*\.\d+", r"\1", fact)


def told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}"


def operation(error: BudgetnetError) -> str:
    """What an error names as the obstacle: an operation, or else the kind of the error."""
    text = str(error)
    if isinstance(error, NeedsInputs):
        return "inputs="
    if "control flow depends on a value" in text:
        return "a value of the input decides"
    named = re.search(r"no accounting rule covers ((?!aten).+?)(?: \(|\. )", text)
    if named:
        return named[1]
    named = re.search(r"\b(?:aten|torchvision|prims|higher_order|_\w+)\.\w+(?:\.\w+)?", text)
    if named:
        reason = re.search(r"cannot be followed exactly: (.*?)(?: \(|\. |$)", text)
        return f"{named[0]}: {reason[1]}" if reason else named[0]
    reason = re.search(r": ([^:]+?)(?: \(|\. |$)", text)
    return f"{type(error).__name__}: {reason[1]}" if reason else type(error).__name__


def judge(
    case: Case,
    model: nn.Module,
    inputs: Shapes | Example,
    found: budgetnet.Account,
    result: Result,
    *,
    fields: bool,
) -> list[str]:
    """What is wrong about an account."""
    size = found.receptive_field and list(found.receptive_field.size)
    result |= {"macs": found.macs, "receptive_field": size, "rows": len(found.rows)}
    faults = again(model, inputs, found)
    runs = result["device"] == "cpu" and (found.macs or 0) <= MOST_MACS
    fresh = real(case) if result["device"] == "cpu" else model
    given = real_inputs(inputs)
    reference = None
    try:
        if runs:
            reference = model_checks.outputs_of(fresh, given)
        truth = counted(case, fresh, inputs, runs)
    except Exception as error:  # whatever it is, it is an outcome
        return [*faults, f"accounted for, and yet its own forward fails: {told(error)}"]
    if truth is None:
        result["unchecked"] = "no count: its forward runs on the meta device only in part"
    else:
        faults += differences(found, truth, result)
    if reference is not None:
        changed = forward_changes(model, given, reference)
        result["bitwise"] = not changed
        faults += changed
    if fields and result["device"] == "cpu" and (found.macs or 0) <= FIELDS_MACS:
        faults += beyond_fields(fresh, inputs, found, result)
    return faults


def up_to_there(
    case: Case, model: nn.Module, inputs: Shapes | Example, result: Result
) -> list[str]:
    """What is wrong about the figures of a run that ends where values decide."""
    try:
        found = account_for(model, inputs, strict=False)
    except Exception as error:  # whatever it is, it is an outcome
        return [f"strict=False fails: {told(error)}"]
    faults = []
    if found.is_complete or found.macs is not None or found.peak_activation_bytes is not None:
        faults.append("strict=False claims figures of what did not run")
    if found.params != result["params"]:
        faults.append(f"params: {found.params} is {result['params']} in truth")
    known = {path: row.macs for path, row in found.by_module().items() if row.macs is not None}
    total, truth = sum(row.macs or 0 for row in found.rows), {}
    if total <= MOST_MACS:
        truth = model_checks.macs_by_module(real(case), real_inputs(inputs))
    for path in known.keys() & truth.keys():
        macs, constant = truth[path]
        if known[path] not in (macs, macs - constant):
            faults.append(f"macs of {path}: {known[path]} is {macs} in truth, {constant} constant")
    result["up_to"] = {"macs": total, "modules_checked": len(known.keys() & truth.keys())}
    return faults


def again(model: nn.Module, inputs: Shapes | Example, found: budgetnet.Account | None) -> list[str]:
    """A second account must equal the first, and one without shortcuts both."""
    faults = []
    for shortcuts in (True, False) if found else (False,):
        which = "a second account" if shortcuts else "an account without shortcuts"
        try:
            if account_for(model, inputs, shortcuts=shortcuts) != found:
                faults.append(f"{which} differs" if found else f"{which} is not refused")
        except Exception as error:  # whatever it is, it is an outcome
            if found:
                faults.append(f"{which} fails: {told(error)}")
    return faults


def forward_changes(
    model: nn.Module, given: model_checks.Inputs, reference: list[str]
) -> list[str]:
    """Whether an accounted model computes, to the bit, what a fresh one of equal weights does."""
    try:
        same = model_checks.outputs_of(model, given) == reference
    except Exception as error:  # whatever it is, it is an outcome
        return [f"after the account its own forward fails: {told(error)}"]
    return [] if same else ["after the account its own forward gives another result"]


def must_run(case: Case, model: nn.Module, inputs: Shapes | Example) -> None:
    """Raise where the network itself does not run: then an account has nothing to answer for."""
    try:
        counted(case, model, inputs, runs=True)
    except Exception as error:  # whatever it is, it is an outcome
        raise Unrunnable(told(error)) from error


def real_inputs(inputs: Shapes | Example, device: str = "cpu") -> model_checks.Inputs:
    """What the forward is called with: random floats of the shapes, or the example itself."""
    if isinstance(inputs, dict):
        return (), {name: value.to(device) for name, value in inputs.items()}
    generator = torch.Generator().manual_seed(1)
    made = (torch.rand((1, *shape), generator=generator).to(device) for shape in inputs)
    return tuple(made), {}


def counted(
    case: Case, model: nn.Module, inputs: Shapes | Example, runs: bool
) -> model_checks.Measured | None:
    """The independent count: on the meta device where that works, else on the real model."""
    try:
        given = real_inputs(inputs, "meta")
        twin = without_values(case, model)
        with torch.device("meta"):
            return model_checks.measured(twin, given)
    except Exception:  # some need values; a fault of the network itself shows on the real one
        if any(p.is_meta for p in model.parameters()):
            model = real(case)
        elif not runs:
            return None
        return model_checks.measured(model, real_inputs(inputs))


def without_values(case: Case, model: nn.Module) -> nn.Module:
    """The network on the meta device; built there, since attributes of a moved one stay behind."""
    try:
        with torch.device("meta"):
            return case.build().eval()
    except Exception:  # a constructor that computes with values
        return copy.deepcopy(model).to("meta")


def differences(
    found: budgetnet.Account, truth: model_checks.Measured, result: Result
) -> list[str]:
    """Where figures disagree; what constants cost is noted apart."""
    faults = []
    for figure in ("params", "trainable_params", "buffers", "weight_bytes", "output_shapes"):
        ours, theirs = getattr(found, figure), getattr(truth, figure)
        if ours != theirs:
            faults.append(f"{figure}: {ours} is {theirs} in truth")
    if truth.uncounted:
        result["uncounted"] = list(truth.uncounted)
    if truth.constant_macs:
        result["constants"] = truth.constant_macs
        if found.macs != truth.macs - truth.constant_macs:
            result["counts_constants"] = truth.macs
    if found.macs not in (truth.macs, truth.macs - truth.constant_macs):
        faults.append(
            f"macs: {found.macs} is {truth.macs} in truth, {truth.constant_macs} of constants"
        )
    return faults


# ---- receptive fields


def beyond_fields(
    model: nn.Module, inputs: Shapes | Example, found: budgetnet.Account, result: Result
) -> list[str]:
    """Input positions outside a row's field that have a gradient to the centre of its map."""
    rows = fields_to_check(model, found)
    if isinstance(inputs, dict) or len(inputs) > 1 or not rows:
        return []
    for module in model.modules():
        if getattr(module, "inplace", False):  # it would overwrite what a gradient needs
            module.inplace = False
    model_checks.open_branches(model)
    (shape,) = inputs
    faults, checked = [], {}
    for path, (out, grad) in model_checks.reached(model, shape, list(rows)).items():
        row = rows[path]
        if out[1:] != row.output_shape:
            continue
        allowed = region_of(row, shape[1:])
        if (grad & ~allowed).any():
            outside = int((grad & ~allowed).sum())
            faults.append(f"field of {path}: {outside} positions outside it have a gradient")
        checked[path] = round(float(grad.sum() / max(allowed.sum(), 1)), 3)
    result["fields_checked"] = checked
    return faults


def fields_to_check(model: nn.Module, found: budgetnet.Account) -> dict[str, Any]:
    """A few rows whose field tells all that they read, the last one among them."""
    leaves = {path for path, module in model.named_modules() if isinstance(module, CHANNELS_FIRST)}
    often = Counter(row.path for row in found.rows)
    beyond = rows_beyond(found)
    rows = [
        row
        for i, row in enumerate(found.rows)
        if i not in beyond
        and row.path in leaves
        and often[row.path] == 1
        and row.receptive_field
        and -1 not in row.receptive_field.places  # no position of the map tells where it lies
        and not row.reused
        and len(row.output_shape) == len(row.receptive_field.axes) + 1
    ]
    last = len(rows) - 1
    chosen = {last * i // (ROWS_PER_NETWORK - 1) for i in range(ROWS_PER_NETWORK)} if rows else ()
    return {rows[i].path: rows[i] for i in sorted(chosen)}


def rows_beyond(found: budgetnet.Account) -> set[int]:
    """Rows that statistics of a whole map have reached; only the row that mixes them in says so."""
    beyond: set[int] = set()
    for i, row in enumerate(found.rows):
        if row.is_global or row.global_context or not beyond.isdisjoint(row.reads):
            beyond.add(i)
    return beyond


def region_of(row: Any, sizes: tuple[int, ...]) -> Any:
    """A mask of the input positions that the field gives to the centre of the row's map."""
    mask = torch.ones(sizes, dtype=torch.bool)
    axes = zip(row.receptive_field.axes, row.output_shape[1:], sizes, strict=True)
    for axis, (window, length, size) in enumerate(axes):
        line = torch.zeros(size, dtype=torch.bool)
        line[[i for i in window.reads(length // 2) if 0 <= i < size]] = True
        mask &= line.view([-1 if i == axis else 1 for i in range(len(sizes))])
    return mask.numpy()


# ---- all networks


def isolated(case: Case, seconds: float, *, fields: bool) -> Result:
    """Examine one network in a process of its own, which may end in any way."""
    context = multiprocessing.get_context("fork")  # what is imported already need not be again
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(sender, case, fields))
    worker.start()
    sender.close()
    answer: Result = {"library": case.library, "name": case.name, "outcome": "crashed"}
    try:
        if receiver.poll(seconds):
            answer = receiver.recv()
        else:
            answer["error"] = f"Timeout: no answer in {seconds:g} s"
    except EOFError:
        worker.join(5)
        answer["error"] = f"the process ended with {worker.exitcode}"
    if worker.is_alive():
        worker.kill()
    worker.join()
    receiver.close()
    return answer


def _work(sender: Connection, case: Case, fields: bool) -> None:
    try:
        result = examine(case, fields=fields)
    except Exception as error:  # of the sweep itself
        last = "".join(traceback.format_exception(error)[-2:])
        result = {"library": case.library, "name": case.name, "outcome": "not judged"}
        result["error"] = f"{told(error)}\n{last}"
    sender.send(result)
    sender.close()


def warm_up() -> None:
    """What a first account imports and keeps is not the first network's."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    for shortcuts in (True, False):
        account_of_module(net.eval(), (3, 16, 16), shortcuts=shortcuts)
    with torch.device("meta"):
        twin = copy.deepcopy(net)
    model_checks.measured(twin, ((torch.rand(1, 3, 16, 16),), {}))


def summary(results: list[Result]) -> str:
    """What came of it, per library and per operation."""
    lines = []
    for library in LIBRARIES:
        own = [r for r in results if r["library"] == library]
        if own:
            lines += [*_of_library(library, own), ""]
    lines += ["all libraries: operations by the networks they block", *_blockers(results, " ")]
    return "\n".join(lines) + "\n"


def _of_library(library: str, results: list[Result]) -> list[str]:
    counts = Counter(r["outcome"] for r in results)
    total = len(results) - counts["not built"]
    parts = ", ".join(f"{counts[o]} {o}" for o in sorted(counts, key=_place))
    answers = Counter(r["answer"] for r in results if "answer" in r)
    if answers:
        of_wrong = ", ".join(f"{n} {answer}" for answer, n in answers.most_common())
        parts += f"; of the wrong, {of_wrong}"
    lines = [f"{library}: {total} networks: {parts}"]
    lines += _blockers(results, "  refused by ")
    ended = [r for r in results if "up_to" in r]
    if ended:
        checked = sum(r["up_to"]["modules_checked"] for r in ended)
        lines.append(f"  known up to there: {len(ended)} networks, {checked} modules checked")
    for outcome in ("crashed", "wrong", "not judged", "not built"):
        for r in (r for r in results if r["outcome"] == outcome):
            reason = "; ".join(r.get("faults", [])) or r["error"]
            if r.get("forward_leaves_the_same"):
                reason = f"(as a forward does) {reason}"
            lines.append(f"  {outcome} {r['name']}: {reason[:300]}")
    checks = [r for r in results if r["outcome"] == "accounted"]
    bitwise = sum(bool(r.get("bitwise")) for r in checks)
    fields = sum(bool(r.get("fields_checked")) for r in checks)
    lines.append(f"  forward unchanged to the bit: {bitwise} of {len(checks)} accounted")
    lines.append(f"  receptive fields held against gradients: {fields} of {len(checks)}")
    for what in ("constants", "counts_constants", "uncounted", "unchecked", "on_meta"):
        those = [r for r in results if what in r]
        if those:
            lines.append(f"  {what}: " + ", ".join(f"{r['name']} ({r[what]})" for r in those))
    slow = sorted(
        (-r["account_ms"], r["name"]) for r in results if r.get("account_ms", 0) > SLOW_MS
    )
    if slow:
        lines.append("  over 1 s: " + ", ".join(f"{n} {-ms / 1000:.1f} s" for ms, n in slow))
    return lines


def _place(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


def _blockers(results: list[Result], lead: str) -> list[str]:
    """Operations that errors named, also where the network counts as wrong for leaving changes."""
    blocked = defaultdict(list)
    for r in results:
        if "operation" in r:
            blocked[r["operation"]].append(r["name"])
    ranked = sorted(blocked.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{lead}{len(names):3} {what} ({', '.join(names[:3])})" for what, names in ranked]


def versions() -> dict[str, str]:
    found = run_folder.versions()
    for library in LIBRARIES:
        package = PACKAGES.get(library, library)
        found[package] = importlib.metadata.version(package)
    return found


def write(path: Path, results: list[Result], *, fields: bool) -> None:
    """The raw file, after every network, so that a sweep that is stopped leaves what it has."""
    command = "python examples/benchmarks/sweep_models.py" + " --fields" * fields
    run_folder.write_json(
        path,
        {
            "command": command,
            "networks": results,
            "versions": versions(),
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--only", default="", help="a regular expression that names must match")
    parser.add_argument("--fields", action="store_true", help="hold fields against gradients")
    parser.add_argument("--seconds", type=float, default=90, help="the most for one network")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the raw results go")
    parser.add_argument("--summarise", type=Path, help="print what a raw file says")
    args = parser.parse_args()
    if args.summarise:
        print(summary(json.loads(args.summarise.read_text(encoding="utf-8"))["networks"]))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable()
    for library in args.libraries:
        __import__(PACKAGES.get(library, library).replace("-", "_"))
    warm_up()
    results = []
    for case in all_cases():
        if case.library in args.libraries and re.search(args.only, case.name):
            started = time.perf_counter()
            results.append(isolated(case, args.seconds, fields=args.fields))
            took = time.perf_counter() - started
            reason = results[-1].get("faults") or results[-1].get("error", "")
            write(args.out, results, fields=args.fields)
            print(f"{took:5.1f} s", case.library, case.name, results[-1]["outcome"],
                  str(reason)[:160], flush=True)  # fmt: skip
    print(summary(results))


if __name__ == "__main__":
    main()
