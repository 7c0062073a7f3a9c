"""The command `training`: what a training step of a target needs."""

from __future__ import annotations

import argparse

from ..accounting.geometry import parse_shape
from ..accounting.training import Training
from ..budget.limits import parse_size
from ..errors import ArgumentError, explain, shown
from ..trace.training import training
from .targets import errors_of_target, make_model, parse_options


def trained(args: argparse.Namespace) -> Training:
    """The training step that a call asks for; the model runs in this process."""
    shape = parse_shape(args.input) if args.input else None
    memory = None if args.memory is None else parse_size(args.memory, "memory", in_bytes=True)
    batch = _batch(args.batch, memory)
    model, shape, _ = make_model(args.target, shape, parse_options(args.set))
    with errors_of_target(args.target, shape):
        return training(
            model, shape, batch=batch, optimizer=args.optimizer, dtype=args.dtype,
            checkpoint=args.checkpoint, memory=memory, name=args.target,
        )  # fmt: skip


def _batch(typed: str | None, memory: int | None) -> int | str:
    if typed is None or typed == "max":
        return "max" if memory is not None else 1 if typed is None else typed
    if not typed.isascii() or not typed.isdigit() or len(typed) > 12:
        what = f"--batch {shown(typed)} is not a number of inputs"
        raise ArgumentError(explain(what, remedy="Write a whole number, or max with --memory."))
    return int(typed)
