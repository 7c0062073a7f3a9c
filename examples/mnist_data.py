"""Handwritten digits in memory, and their augmentation as batched tensor work.

`load` returns MNIST, or the 1,797 digits that ship inside scikit-learn where MNIST cannot be had.
Images stay uint8 until a batch needs them; `Affine` moves a whole batch at once, every image by
its own random amount, on the device that trains.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 28
MEAN, STD = 0.1307, 0.3081  # of the MNIST training pixels, on a scale of 0 to 1
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
MNIST_SIZES = {"train": 60_000, "t10k": 10_000}
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ORIGINS = {"mnist": "MNIST", "digits": "scikit-learn's digits"}
DOWNLOAD_TIMEOUT = 20.0  # seconds; a firewall that drops packets would hold us for ever


class DataError(Exception):
    """The data asked for is not there, or is damaged; the message is one line."""


@dataclass(frozen=True)
class Split:
    images: Tensor  # (N, 1, 28, 28) uint8, ink is 255
    labels: Tensor  # (N,) int64

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Digits:
    name: Literal["mnist", "digits"]
    origin: str
    train: Split
    test: Split
    why_not_mnist: str = ""


# ---------------------------------------------------------------------------- loading


def load(wanted: Literal["auto", "mnist", "digits"], data_dir: Path | None = None) -> Digits:
    """MNIST from `data_dir`, else `$BUDGETNET_DATA`, else `./data`, downloaded when absent.

    With "auto", the digits of scikit-learn stand in if no folder was named and MNIST can be
    neither found in `./data` nor downloaded; `why_not_mnist` then says why. Damaged files raise
    `DataError` in either case: nobody wants a smaller data set because a file broke.
    """
    if wanted == "digits":
        return sklearn_digits()
    folder, named_by = _folder(data_dir)
    raw, missing = _find(folder, named_by)
    if missing:
        print(f"downloading MNIST into {raw}", file=sys.stderr)
        try:
            _download(raw)
        except (OSError, RuntimeError) as error:
            # not str(error), which names the temporary folder of the download
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            lack = "no MNIST" if len(missing) == 4 else f"no {', '.join(missing)}"
            found = f"{lack} in {raw} ({named_by}); downloading failed: {reason}"
            if wanted == "mnist" or named_by != DEFAULT:
                raise DataError(
                    f"{found}. Go online, or name the folder that holds MNIST/raw with --data-dir "
                    "or $BUDGETNET_DATA; --dataset digits takes scikit-learn's digits instead"
                ) from error
            return sklearn_digits(why_not_mnist=found)
    return _read_mnist(raw)


DEFAULT = "the default place"


def _folder(data_dir: Path | None) -> tuple[Path, str]:
    if data_dir is not None:
        return data_dir, "--data-dir"
    if os.environ.get("BUDGETNET_DATA"):
        return Path(os.environ["BUDGETNET_DATA"]), "$BUDGETNET_DATA"
    return Path("data"), DEFAULT


def _find(folder: Path, named_by: str) -> tuple[Path, list[str]]:
    """Where the files of MNIST lie, or are to lie, and which of them are missing there.

    `folder` holds MNIST/raw; naming MNIST or MNIST/raw itself means the same.
    """
    places = [folder / "MNIST" / "raw", folder / "raw", folder]
    inside = Path(os.path.abspath(folder)).parts[-2:]
    first = 2 if inside == ("MNIST", "raw") else 1 if inside[-1:] == ("MNIST",) else 0
    names = [f"{part}-{kind}" for part in MNIST_SIZES for kind in (IMAGES, LABELS)]
    try:
        lacking = {
            place: [name for name in names if not (place / name).is_file()]
            for place in places[first:] + places[:first]
        }
        raw = min(lacking, key=lambda place: len(lacking[place]))
        for place in (folder, raw.parent, raw):
            if place.exists() and not place.is_dir():
                raise DataError(f"{place} ({named_by}) is a file; a data folder is needed")
            if place.is_dir() and place.is_relative_to(folder):
                os.listdir(place)
    except PermissionError as error:
        raise DataError(f"cannot read {error.filename} ({named_by}): {error.strerror}") from error
    return raw, lacking[raw]


def _download(raw: Path) -> None:
    """Download beside the final place and move file by file, so that no half file is left."""
    from torchvision.datasets import MNIST

    made = [place for place in (raw, *raw.parents) if not place.exists()]
    raw.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=raw) as staging:
            with _quietly(DOWNLOAD_TIMEOUT):
                MNIST(staging, download=True)
            for file in (Path(staging) / "MNIST" / "raw").glob("*-ubyte"):
                file.replace(raw / file.name)
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()  # only succeeds while empty


@contextlib.contextmanager
def _quietly(timeout: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    silence = io.StringIO()
    try:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _read_mnist(raw: Path) -> Digits:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    splits = {}
    for part, expected in MNIST_SIZES.items():
        try:
            images = read_image_file(str(raw / f"{part}-{IMAGES}"))
            labels = read_label_file(str(raw / f"{part}-{LABELS}"))
        except PermissionError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
        except Exception as error:  # the reader asserts, or fails in numpy, on a broken file
            raise _damaged(raw, part, "it cannot be parsed") from error
        if tuple(images.shape) != (expected, SIDE, SIDE) or len(labels) != expected:
            shapes = f"{tuple(images.shape)} images and {len(labels)} labels"
            raise _damaged(raw, part, f"it holds {shapes}, MNIST has {expected} of 28x28")
        for name in (f"{part}-{IMAGES}", f"{part}-{LABELS}"):
            found = hashlib.sha256((raw / name).read_bytes()).hexdigest()
            if found != SHA256[name]:
                fact = (
                    f"the SHA-256 of {name} is {found[:12]}..., MNIST's is {SHA256[name][:12]}..."
                )
                raise _damaged(raw, part, fact)
        splits[part] = Split(images[:, None].contiguous(), labels)
    return Digits("mnist", ORIGINS["mnist"], splits["train"], splits["t10k"])


def _damaged(raw: Path, part: str, fact: str) -> DataError:
    return DataError(
        f"damaged MNIST in {raw}, {part}-*: {fact}. Delete {part}-* there; the next run "
        "downloads the files again"
    )


def sklearn_digits(why_not_mnist: str = "") -> Digits:
    """The 8x8 digits of scikit-learn in MNIST's geometry: a 20x20 glyph in a 28x28 field."""
    from sklearn.datasets import load_digits

    source = load_digits()
    small = torch.from_numpy(source.images).float()[:, None] / 16
    glyphs = F.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False)
    images = F.pad(glyphs.clamp(0, 1) * 255, (4, 4, 4, 4)).round().to(torch.uint8)
    labels = torch.from_numpy(source.target).long()
    test = torch.arange(len(labels)) % 5 == 4  # fixed, and spread over all the writers
    return Digits(
        "digits",
        ORIGINS["digits"],
        Split(images[~test], labels[~test]),
        Split(images[test], labels[test]),
        why_not_mnist,
    )


# ---------------------------------------------------------------------------- batches


def normalise(pixels: Tensor) -> Tensor:
    """Pixels of 0 to 255 to what the network sees, in channels-last order."""
    scaled = pixels.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
    return scaled.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Affine:
    """A random affine map for every image of a batch; each amount is drawn from +-its limit.

    `crop_chance` is the share of images that are enlarged as if their central `crop`x`crop`
    pixels were cut out and resized to the whole field.
    """

    degrees: float = 0.0
    scale: float = 0.0  # a share: 0.08 is 92 % to 108 %
    shift: float = 0.0  # pixels
    shear: float = 0.0  # degrees
    crop: int = SIDE
    crop_chance: float = 0.0

    def __call__(self, pixels: Tensor, matrices: Tensor, side: int = SIDE) -> Tensor:
        """The central `side`x`side` pixels of the images, each mapped by its matrix."""
        # One resampling for the whole chain: crop and rotation about the centre commute, and
        # interpolating once keeps thin strokes.
        share = side / SIDE
        centre = torch.cat([matrices[:, :, :2] * share, matrices[:, :, 2:]], dim=2)
        grid = F.affine_grid(centre, [*pixels.shape[:2], side, side], align_corners=False)
        return F.grid_sample(pixels.float(), grid, align_corners=False)

    def matrices(
        self, count: int, generator: torch.Generator, strength: Tensor | float = 1.0
    ) -> Tensor:
        """(count, 2, 3): where in the input, in units of half its side, each output pixel reads.

        `strength`, 0 to 1, is the share of the limits to which the amounts are drawn.
        """
        random = torch.rand(6, count, device=generator.device, generator=generator)
        amount = (random[:5] * 2 - 1) * strength
        angle = amount[0] * math.radians(self.degrees)
        zoom = 1 / (1 + amount[1] * self.scale)
        if self.crop_chance:
            zoom = torch.where(
                random[5] < self.crop_chance * strength, zoom * self.crop / SIDE, zoom
            )
        shear = torch.tan(amount[2] * math.radians(self.shear))
        across, down = amount[3:5] * (self.shift * 2 / SIDE)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        rows = [cos, cos * shear - sin, across, sin, sin * shear + cos, down]
        return torch.stack(rows, dim=1).view(count, 2, 3)
