"""Arguments that several commands share; those of figures and formats follow their tables."""

from __future__ import annotations

import argparse
from typing import Any

from ..accounting.formats import FORMATS
from ..budget.figures import FIGURES

SPEC = "a spec in quotes (budgetnet words lists its words)"
TARGET = (
    f"a listed model, {SPEC}, package.module:callable, file.py:callable, a model.tflite or "
    "model.onnx, or a saved account.json"
)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Whether errors show where they arose."""
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks of errors"
    )


def add_target(parser: argparse.ArgumentParser, help: str = TARGET, **more: Any) -> None:
    """What to account for: TARGET, with its input and the arguments of a callable."""
    parser.add_argument("target", metavar="TARGET", help=help, **more)
    parser.add_argument(
        "--input",
        metavar="CxHxW",
        help="such as 1x28x28, several joined by + (listed models know their own)",
    )
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="argument of the callable"
    )


def add_checks(parser: argparse.ArgumentParser) -> None:
    """What to judge: the checks of a configuration, or one TARGET with its limits."""
    add_target(parser, nargs="?")
    parser.add_argument("--config", metavar="FILE", help="instead of pyproject.toml")
    parser.add_argument("--only", metavar="NAME", action="append", help="only checks of this name")
    limits = add_limits(parser)
    add_device(limits)
    limits.add_argument(
        "--training-memory", metavar="SIZE", help="bytes at the peak of a training step"
    )
    limits.add_argument("--batch", metavar="N", type=int, help="of that step")
    limits.add_argument("--optimizer", metavar="NAME", help="of that step, such as adam")
    for name in ("require", "forbid"):
        limits.add_argument(
            f"--{name}", metavar="KIND", action="append", help="a kind of layer, such as BatchNorm*"
        )


def add_device(limits: Any) -> None:
    """A board whose flash and RAM are limits, and what limits on them and on latency are of."""
    limits.add_argument(
        "--table", metavar="FILE", help="of latency: what budgetnet measure wrote on a machine"
    )
    limits.add_argument("--board", metavar="NAME", help="its flash and RAM, such as stm32f446")
    add_runtime(limits)


def add_runtime(parser: Any) -> None:
    """What flash and RAM are of."""
    parser.add_argument(
        "--runtime", metavar="NAME", help="of flash and RAM: tflm, executorch, eager"
    )
    parser.add_argument("--dtype", metavar="TYPE", help="of flash and RAM: int8, int16, float32")
    parser.add_argument(
        "--plan", metavar="NAME", help="of RAM: own, the runtime's, or least, as plan-memory writes"
    )


def add_limits(parser: argparse.ArgumentParser) -> Any:
    """A flag for every figure; returns their group."""
    limits = parser.add_argument_group(
        "limits", "a maximum or LOW..HIGH, such as 20k, 60KiB or 5ms"
    )
    for name, figure in FIGURES.items():
        names = [f"--{name.replace('_', '-')}", *([f"--{figure.short}"] if figure.short else [])]
        meaning = f"{figure.meaning}; a minimum" if figure.more_is_better else figure.meaning
        metavar = "TIME" if figure.unit == "nanoseconds" else "SIZE"
        limits.add_argument(*names, metavar=metavar, help=meaning)
    return limits


def add_format(parser: argparse.ArgumentParser, *own: str, **more: Any) -> None:
    """In which format to print, those of the command itself included, and where to."""
    choices = (*FORMATS, "json", *own)
    parser.add_argument("--format", choices=choices, **{"default": "table", **more})
    add_output(parser, "write to a file")


def add_output(parser: argparse.ArgumentParser, help: str, **more: Any) -> None:
    """The file to write to."""
    parser.add_argument("-o", "--output", metavar="FILE", help=help, **more)
