"""The command line of the example: every argument is checked before anything is written."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn

import budgetnet
from budgetnet import errors, models


class UsageError(Exception):
    """An argument cannot be meant; the message is one line."""


IMAGE = (1, 28, 28)
CLASSES = 10
EXTRAS = {"torchvision": "torchvision", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def require_extras() -> None:
    missing = [name for module, name in EXTRAS.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f'{", ".join(missing)} missing: pip install "budgetnet[examples]"')


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def whole_number(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
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


def parse(argv: list[str], recipes: Iterable[str]) -> argparse.Namespace:
    parser = OneLineParser(
        prog="mnist_s6.py", description="Train a small network on handwritten digits."
    )
    add = parser.add_argument
    add("--model", default="s6", help="a listed name or a spec such as 'c16 c16 p c16 gap10'")
    add(
        "--recipe",
        choices=tuple(recipes),
        default="default",
        help="'report' is the original 20 epochs",
    )
    add("--epochs", type=whole_number(1), help="instead of the recipe's")
    add("--batch-size", type=whole_number(2), help="instead of the recipe's")
    add("--lr", type=positive, help="peak learning rate, instead of the recipe's")
    add("--seed", type=whole_number(0), default=0)
    add("--device", default="auto", help="cpu, cuda, cuda:1, ...; default: cuda where there is one")
    add(
        "--dataset",
        choices=("auto", "mnist", "digits"),
        default="auto",
        help="auto: MNIST, or scikit-learn's digits where MNIST cannot be had",
    )
    add("--data-dir", type=Path, help="holds MNIST/raw; default: $BUDGETNET_DATA, else ./data")
    add("--out", type=Path, help="a new or empty folder; default: runs/DATASET-MODEL-RECIPE-seedN")
    args = parser.parse_args(argv)
    args.argv = argv
    return args


def pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
        return torch.zeros(1, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu"] + [f"cuda:{k}" for k in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            here.append("mps")
        raise UsageError(f"--device {name!r} cannot be used; here: {', '.join(here)}") from error


def pick_model(text: str) -> tuple[nn.Module, budgetnet.Account]:
    known = models.list_models()
    try:
        model = models.get_model(text) if text in known else models.build(text, IMAGE[0])
        account = budgetnet.account(model, IMAGE)
    except errors.BudgetnetError as error:
        raise UsageError(
            f"--model {text!r} is none of {', '.join(known)}, and not a spec that fits: {error}"
        ) from error
    if account.output_shape != (CLASSES,):
        raise UsageError(
            f"--model {text!r} gives {account.output_shape} for an image, not the {CLASSES} scores "
            f"of the digits; end the spec with gap{CLASSES}"
        )
    return model, account
