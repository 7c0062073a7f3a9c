"""The command line of the example: every argument is checked before anything is written."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

import budgetnet
from budgetnet import errors, models
from data_sets import DATA_SETS


class UsageError(Exception):
    """An argument is not valid; the message is one line."""


IMAGE = (1, 28, 28)
CLASSES = 10
MOST_SEEDS = 1_000
MOST_STEPS = 10_000_000  # of one run: the rates of all of them are worked out beforehand
EXTRAS = {"torchvision": "torchvision", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def require_extras() -> None:
    missing = [name for module, name in EXTRAS.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f'{", ".join(missing)} missing: pip install -e ".[examples]"')


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            above = "" if most == 2**63 - 1 else f" and at most {most:,}"
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number of at least {least}{above}"
            )
        return value

    return read


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def parse(argv: list[str], recipes: Mapping[str, str]) -> argparse.Namespace:
    """The arguments, checked; `recipes` says of each what it does."""
    parser = OneLineParser(
        prog="mnist_s6.py",
        description="Train a small network on MNIST or Fashion-MNIST.",
        epilog="\n".join(["recipes:", *(f"  {name:10} {does}" for name, does in recipes.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="s6", help="a listed name or a spec such as 'c16 c16 p c16 gap10'")
    add("--recipe", choices=tuple(recipes), help="see below; default: that of the data set")
    add("--epochs", type=whole_number(1, 10_000), help="instead of the recipe's")
    add("--batch-size", type=whole_number(2), help="instead of the recipe's")
    add("--lr", type=positive, help="peak learning rate, instead of the recipe's")
    add("--seed", type=whole_number(0), default=0)
    add(
        "--seeds",
        type=whole_number(0),
        nargs="+",
        metavar="N",
        help="how many (0, 1, ...), or several by name: a run each, their mean and spread",
    )
    add(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="a finished run to learn from as well (distillation)",
    )
    add("--amp", action="store_true", help="bfloat16 where torch.autocast deems it safe")
    add("--compile", action="store_true", help="torch.compile the network")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ...; default: cuda if available")
    add(
        "--dataset",
        choices=("auto", *DATA_SETS),
        default="auto",
        help="auto: MNIST, or scikit-learn's digits if no data folder is named and MNIST cannot "
        "be found or downloaded; with --evaluate, what the weights were trained on",
    )
    add(
        "--data-dir",
        type=Path,
        help="holds MNIST/raw or FashionMNIST/raw, downloaded if missing; default: "
        "$BUDGETNET_DATA, else ./data",
    )
    add("--out", type=Path, help="a new or empty folder; default: runs/DATASET-MODEL-RECIPE-seedN")
    add(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="go on with a run, or a run over seeds, that was cut short, as it was started",
    )
    add(
        "--evaluate",
        nargs="?",
        const="mnist",
        metavar="WEIGHTS",
        help="train nothing: the accuracy of shipped weights (mnist, ...), or of a run's folder",
    )
    add("--debug", action="store_true", help="show where an unexpected error arose")
    args = parser.parse_args(argv)
    args.argv = argv
    _check_together(parser, args)
    source = DATA_SETS["mnist" if args.dataset == "auto" else args.dataset]
    args.recipe = args.recipe or source.recipe
    return args


def _check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What makes sense only alone, or only together."""
    given = {
        f"--{name.replace('_', '-')}"
        for name, value in vars(args).items()
        if name != "argv" and value != parser.get_default(name)
    }
    free = {"--device", "--data-dir", "--debug"}
    for alone, allowed in (
        ("--resume", free),
        ("--evaluate", free | {"--model", "--dataset"}),
    ):
        others = sorted(given - allowed - {alone})
        if alone in given and others:
            parser.error(f"{alone} cannot be combined with {', '.join(others)}")
    if {"--seed", "--seeds"} <= given:
        parser.error("--seed names one run and --seeds several; give one of them")
    if args.seeds and len(args.seeds) == 1:
        if not args.seeds[0]:
            parser.error("--seeds 0 asks for no run at all")
        if args.seeds[0] > MOST_SEEDS:
            parser.error(f"--seeds {args.seeds[0]} asks for more than {MOST_SEEDS:,} runs")
        args.seeds = list(range(args.seeds[0]))
    if args.seeds and len(set(args.seeds)) < len(args.seeds):
        parser.error(f"--seeds names a seed twice: {' '.join(map(str, args.seeds))}")


def pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one GPU a process
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        return torch.zeros(1, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu"] + [f"cuda:{k}" for k in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            here.append("mps")
        raise UsageError(f"--device {name!r} cannot be used; here: {', '.join(here)}") from error


def plan_model(text: str) -> budgetnet.Account:
    """What a network costs, before a weight exists."""
    try:
        account = budgetnet.plan(text, IMAGE)
    except errors.BudgetnetError as error:
        known = [
            name for name in models.list_models() if models.get_reference(name).input_shape == IMAGE
        ]
        why, *_ = str(error).splitlines()  # below it, a spec is shown with a mark where it is wrong
        raise UsageError(
            f"--model {text!r} is not one of {', '.join(known)}, nor a spec that fits: {why}"
        ) from error
    if account.output_shape != (CLASSES,):
        raise UsageError(
            f"--model {text!r} gives {account.output_shape} for an image, not the {CLASSES} scores "
            f"of the classes; end the spec with gap{CLASSES}"
        )
    return account


def pick_model(text: str) -> tuple[nn.Module, budgetnet.Account]:
    planned = plan_model(text)
    _check_room(text, planned, planned.weight_bytes, torch.device("cpu"))
    model = models.build(text, IMAGE)
    return model, budgetnet.account(model, IMAGE, name=text)


def check_size(text: str, batch_size: int, device: torch.device) -> None:
    """Refuse a network whose training cannot fit into memory, before anything is made."""
    account = plan_model(text)
    maps = sum(prod(row.output_shape) for row in account.layers())
    # Weights, gradients and momentum; every layer's output is kept for the way back.
    needed = 3 * account.weight_bytes + 4 * batch_size * maps
    _check_room(text, account, needed, device, f" in batches of {batch_size:,}")


def _check_room(
    text: str, account: budgetnet.Account, needed: int, device: torch.device, how: str = ""
) -> None:
    there = memory(device)
    if there is not None and needed > there:
        raise UsageError(
            f"--model {text!r} has {account.params:,} parameters and needs about "
            f"{needed // 10**9:,} GB{how}, {device} has {there // 10**9:,} GB; use fewer channels"
            + (" or a smaller --batch-size" if how else "")
        )


def memory(device: torch.device) -> int | None:
    """Bytes that a device has; None where nothing says so."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None


def pick_pretrained(name: str, weights: str) -> nn.Module:
    try:
        return models.get_model(name, weights=weights)
    except errors.BudgetnetError as error:
        raise UsageError(f"--evaluate {weights!r}: {error}") from error
