"""One experiment: a network, a recipe, a data set and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

import budgetnet
from budgetnet import models
from mnist_data import SIDE
from recipes import Recipe

WIDE = "c32p1 c32p1 c32p1 p c64p1 c64p1 c64p1 p c64p1 c64p1 gap10"  # the teachers
IMAGE = (1, SIDE, SIDE)


@dataclass(frozen=True)
class Job:
    """A network, by name or as a spec, trained by a recipe over several seeds."""

    name: str
    model: str
    recipe: Recipe
    seeds: int
    dataset: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    held_out: bool = False  # learn from 55,000 images and be read off the other 5,000
    teacher: str = ""  # an experiment of the list "teachers",
    teachers: int = 1  # and how many of its seeds
    keep: bool = False  # the weights
    dropout: float = 0.0
    amp: bool = True  # bfloat16 where torch.autocast deems it safe

    def build(self) -> nn.Module:
        model: nn.Module = models.build(self.model, IMAGE)
        if self.dropout:
            for block in list(model.children())[:-1]:
                if isinstance(block, nn.Sequential):
                    block.append(nn.Dropout2d(self.dropout))
        return model

    def account(self) -> budgetnet.Account:
        return budgetnet.account(self.build(), IMAGE, name=self.name)
