"""The commands `deployment` and `plan-memory`: what a runtime needs, the least plan in a file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..accounting.device.arena import activations
from ..accounting.device.boards import board_named
from ..accounting.device.deployment import Deployment, deployment_of, scratch_of
from ..accounting.device.least import least_memory
from ..accounting.device.target import Target
from ..accounting.files import read_bytes, write_atomically
from ..accounting.geometry import parse_shape
from ..accounting.table import Table, Toned
from ..deploy.deployment import deployment, is_tflite
from ..deploy.tflite_plan import write_plan
from ..errors import ArgumentError, explain
from ..trace.files.tflite import parse_tflite
from .targets import account_target, parse_options

SECONDS = 10.0  # of the search for a better plan


def deployed(args: argparse.Namespace) -> Deployment:
    """The deployment that a call asks for."""
    runtime, dtype, kernels = args.runtime or "tflm", args.dtype or "", args.kernels or ""
    plan = args.plan or "own"
    if args.board and not kernels and runtime != "eager":
        kernels = board_named(args.board).kernels
    shape, options = parse_shape(args.input) if args.input else None, parse_options(args.set)
    if not is_tflite(args.target):
        target = Target(runtime, dtype, kernels, plan)
        return deployment_of(account_target(args.target, shape, options), target)
    if options:
        raise ArgumentError(explain(f"{args.target} is a file: it takes no --set"))
    return deployment(args.target, shape, runtime, dtype, kernels=kernels, plan=plan)


def parts_of(found: Deployment, board: str | None) -> list[Table | str]:
    """A deployment as it is printed, with what a better plan saves and how it fits a board."""
    parts: list[Table | str] = [found.to_table()]
    if found.graph is not None and found.target.plan != "least":
        least = found.least(SECONDS)
        saved = found.ram_bytes - least.plan.size
        order = "" if least.order == tuple(range(len(least.order))) else ", in another order,"
        proven = "proven" if least.proven else "the best that was found"
        text = f"the least plan{order} needs {least.plan.size:,} ({proven})"
        parts.append(f"{text}, {saved:,} bytes less" if saved > 0 else text)
    if board is not None:
        for name, has, needs in (
            ("flash", board_named(board).flash, found.flash_bytes),
            ("RAM", board_named(board).ram, found.ram_bytes + (found.persistent_bytes or 0)),
        ):
            about = "about " if name == "RAM" and found.persistent_bytes else ""
            share = f"{needs / has:.1%}".replace("%", " %")
            tone = "over" if needs > has else "near" if 20 * (has - needs) < has else "ok"
            text = f"{about}{share} of the {has:,} bytes of {name} of {board}"
            parts.append(Toned(text, tone))
    return parts


def plan_file(args: argparse.Namespace) -> str:
    """Write the least plan into a copy of a file, and say what it saves."""
    kernels = args.kernels or (board_named(args.board).kernels if args.board else "")
    target = Target("tflm", kernels=kernels)
    data = read_bytes(Path(args.file))
    model = parse_tflite(data, args.file)
    scratch = scratch_of(model, target)
    arena = activations(model, scratch.requests)
    before = arena.tflm_plan().size
    least = least_memory(arena.graph, args.time_limit)
    offsets = arena.tensor_offsets(least.plan)
    write_atomically(Path(args.output), write_plan(data, offsets, least.order, args.file))
    after = replace(arena, model=replace(model, fixed=offsets)).tflm_plan(least.order).size
    proven = "no plan needs less" if least.proven else "the best that was found"
    saved = f"{before - after:,} less than before" if before > after else "as before"
    open_ = f"; scratch of {', '.join(scratch.unknown)} is not known" if scratch.unknown else ""
    return (
        f"wrote {args.output}: with {target.kernels} kernels the interpreter allocates {after:,} "
        f"bytes for activations, {saved}; {proven}{open_}"
    )
