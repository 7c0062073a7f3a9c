"""The data sets of the example, each one value: what a third one needs is one more entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalise:
    """Pixels of 0 to 255 to what the network sees, in channels-last order."""

    mean: float  # both of the training pixels, on a scale of 0 to 1
    std: float

    def __call__(self, pixels: Tensor) -> Tensor:
        scaled = pixels.float().mul_(1 / (255 * self.std)).sub_(self.mean / self.std)
        return scaled.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before it is read."""

    name: str  # as --dataset takes it
    origin: str  # as people call it
    credit: str  # who made it
    ink: str
    classes: tuple[str, ...]
    normalise: Normalise
    target: float | None = None  # percent of test images: what reaches it is told of
    recipe: str = "default"  # what it is trained by unless another is asked for
    # Where it comes from: torchvision's class of this name, which keeps FILES in FOLDER/raw.
    folder: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)


TARGET = 99.4  # percent of MNIST's test digits: the course report's
FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


def _digests(*found: str) -> dict[str, str]:
    return dict(zip(FILES, found, strict=True))


NUMERALS = tuple(str(digit) for digit in range(10))
MNIST = DataSet(
    "mnist",
    "MNIST",
    "LeCun, Cortes and Burges, from NIST's special databases 1 and 3",
    "white on black",
    NUMERALS,
    Normalise(mean=0.1307, std=0.3081),
    target=TARGET,
    folder="MNIST",
    sha256=_digests(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION = DataSet(
    "fashion-mnist",
    "Fashion-MNIST",
    "Xiao, Rasul and Vollgraf, from Zalando's photographs",
    "bright on black",
    (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    Normalise(mean=0.2860, std=0.3530),
    target=92.5,  # of its official table's "2 conv, under 100K parameters"
    recipe="fashion",
    folder="FashionMNIST",
    sha256=_digests(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)  # fmt: skip
# It stands in for MNIST, so a network sees it through MNIST's normalisation.
DIGITS = DataSet(
    "digits",
    "scikit-learn's digits",
    "Alpaydin and Kaynak, from the UCI repository",
    "white on black",
    NUMERALS,
    MNIST.normalise,
)
DATA_SETS = {known.name: known for known in (MNIST, FASHION, DIGITS)}


def target_of(name: str) -> float | None:
    """The target of a data set by its name, which a file may misstate."""
    known = DATA_SETS.get(name)
    return known.target if known else None
