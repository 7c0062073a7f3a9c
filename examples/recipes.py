"""How a network is trained: recipes as data, each number with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from mnist_data import SIDE, Affine

# The least and the most of every number of a recipe.
RANGES: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 10_000),
    "batch_size": (2, 1 << 31),
    "lr": (0, math.inf),
    "matrix_lr": (0, math.inf),
    "momentum": (0, 1),
    "early": (0, 1),
    "early_side": (1, SIDE),
    "warm_up": (0, 1),
    "fade": (0, 1),
    "weight_decay": (0, math.inf),
    "label_smoothing": (0, 1),
    "ema": (0, 1),
    "distill": (0, 1),
    "temperature": (0, math.inf),
    "crop_chance": (0, 1),
    "flip": (0, 1),
    "elastic": (0, SIDE),
}
SCHEDULES = ("one-cycle", "step", "constant")


@dataclass(frozen=True)
class Recipe:
    """SGD on the cross entropy; `lr` is the peak learning rate."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    nesterov: bool
    schedule: Literal["one-cycle", "step", "constant"]
    augment: Affine
    early: float = 0.0  # the share of the epochs that see only the centre of the images,
    early_side: int = SIDE  # so many pixels wide: cheaper, and a digit is 20 pixels wide
    warm_up: float = 0.2  # the share of the steps in which a one-cycle rate rises
    matrix_lr: float = 0.0  # peak rate of Muon for the convolutions' weights; 0: SGD for all
    fade: float = 0.0  # the share of the steps, the last ones, over which augmentation fades away
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay, a step, of the averaged weights, which are then what is evaluated
    distill: float = 0.0  # the teacher's share of the loss,
    temperature: float = 4.0  # and what its logits and ours are divided by

    def __post_init__(self) -> None:
        if self.matrix_lr and (self.weight_decay or not self.nesterov):
            raise ValueError("matrix_lr is for Nesterov momentum without weight decay")

    @staticmethod
    def read(settings: dict[str, Any]) -> Recipe:
        """The recipe that `dataclasses.asdict` turned into `settings`.

        Raises `ValueError`, naming the key, where it did not.
        """
        augment = settings.get("augment")
        if not isinstance(augment, dict):
            raise ValueError("settings.augment is missing")
        for whose, type_, given in (
            ("settings", Recipe, settings),
            ("settings.augment", Affine, augment),
        ):
            known = {field.name for field in fields(type_)}
            for key in sorted(known ^ given.keys()):
                state = "missing" if key in known else "not known here"
                raise ValueError(f"{whose}.{key} is {state}")
        for key, value in settings.items():
            _check(f"settings.{key}", value, *RANGES.get(key, (-math.inf, math.inf)))
        for key, value in augment.items():
            _check(f"settings.augment.{key}", value, *RANGES.get(key, (0, 360)))
        return Recipe(**settings | {"augment": Affine(**augment)})

    def side(self, epoch: int) -> int:
        """Width of the images that this epoch, counted from 1, trains on."""
        return self.early_side if epoch <= self.early * self.epochs else SIDE

    def rate(self, progress: float) -> float:
        """The learning rate once `progress`, 0 to 1, of all steps are done."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "step":
            return self.lr if progress <= 0.75 else self.lr * 0.1  # after epoch 15 of 20
        return self.lr * min(progress / self.warm_up, (1 - progress) / (1 - self.warm_up))

    def strength(self, progress: float) -> float:
        """The share of its limits to which augmentation goes."""
        return min(1.0, (1 - progress) / self.fade) if self.fade else 1.0


def _check(key: str, value: Any, least: float, most: float) -> None:
    """Refuse a value that no recipe of this module could have."""
    name = key.rpartition(".")[2]
    if name == "augment":
        return
    kinds: tuple[type, ...] = (int, float)
    if name in ("epochs", "batch_size", "early_side", "crop"):
        kinds = (int,)
    if name == "nesterov":
        fine = type(value) is bool
    elif name == "schedule":
        fine = value in SCHEDULES
    else:
        fine = type(value) in kinds and math.isfinite(value) and least <= value <= most
        fine = fine and (name not in ("lr", "temperature") or value > 0)
    if not fine:
        raise ValueError(f"{key} is {value!r}")


MILD = Affine(degrees=8, scale=0.08, shift=1.5, shear=4)
GENTLE = Affine(degrees=7, scale=0.05, shift=1.0, shear=3)
FAST = Recipe(
    epochs=2,
    batch_size=128,
    lr=0.2,
    momentum=0.9,
    nesterov=True,
    schedule="one-cycle",
    augment=MILD,
)

RECIPES = {
    # A quarter less work by the crop, for 0.08 points of held-out accuracy.
    "default": replace(FAST, epochs=5, early=0.8, early_side=24),
    # All were chosen on held-out images: the lists of benchmarks/experiments.py.
    "one": replace(FAST, epochs=1, augment=Affine()),
    "short": replace(FAST, warm_up=0.3),
    "muon": replace(FAST, epochs=3, warm_up=0.3, matrix_lr=0.05),
    "long": replace(FAST, epochs=20, lr=0.1, augment=GENTLE),
    "elastic": replace(
        FAST,
        epochs=20,
        batch_size=64,
        lr=0.1,
        matrix_lr=0.05,
        fade=0.5,
        augment=replace(GENTLE, elastic=2.0),
    ),
    "distilled": replace(
        FAST, epochs=20, batch_size=64, lr=0.1, augment=GENTLE, distill=0.5, temperature=2.0
    ),
    "small": replace(FAST, epochs=60, augment=GENTLE),  # for networks below 10,000 parameters
    # A mirrored shoe is a shoe; a mirrored 3 is no digit. Shifting and turning cost accuracy here.
    "fashion": replace(FAST, epochs=40, augment=Affine(flip=0.5)),
    # The report names SGD and its learning rates, but no momentum, nor how often it crops. The
    # customary 0.9 and one image in ten are ours: without momentum s6 ends far below what it states
    # (benchmarks/sweep.py default_choices).
    "report": replace(
        FAST,
        epochs=20,
        lr=0.01,
        nesterov=False,
        schedule="step",
        augment=Affine(degrees=15, crop=22, crop_chance=0.1),
    ),
}

PURPOSES = {
    "default": "s6 to 99.4 % and beyond",
    "one": "without augmentation, for a first look",
    "short": "s6 as far as two epochs take it",
    "muon": "s6 beyond 99.4 % in three epochs, by Muon",
    "long": "gentler augmentation, for accuracy",
    "elastic": "by Muon on bent images, for accuracy with a --teacher",
    "distilled": "like long, and learns from a --teacher as well",
    "small": "for networks below 10,000 parameters",
    "fashion": "for Fashion-MNIST: half of the images are mirrored",
    "report": "as the course report trained s6",
}


def descriptions() -> dict[str, str]:
    """What each recipe does, in a line."""
    return {
        name: f"{recipe.epochs:2} epoch{'s' if recipe.epochs > 1 else ' '} in batches of "
        f"{recipe.batch_size:3}: {PURPOSES[name]}"
        for name, recipe in RECIPES.items()
    }
