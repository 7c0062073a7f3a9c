"""Images of ten classes in memory, and their augmentation as batched tensor work.

`load` returns MNIST, Fashion-MNIST, or the 1,797 digits that ship inside scikit-learn, also where
MNIST cannot be had.
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
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from data_sets import DATA_SETS, DIGITS, FILES, DataSet, Normalise

SIDE = 28
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
SIZES = {"train": 60_000, "t10k": 10_000}  # images; every data set of files has MNIST's
DOWNLOAD_TIMEOUT = 20.0  # seconds; a firewall that drops packets would hold us for ever


class DataError(Exception):
    """The data asked for is not there, or is damaged; the message is one line."""


@dataclass(frozen=True)
class Split:
    images: Tensor  # (N, 1, 28, 28) uint8, ink is 255
    labels: Tensor  # (N,) int64
    normalise: Normalise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Split:
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def to(self, device: torch.device) -> Split:
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Digits:
    source: DataSet
    train: Split
    test: Split
    why_not_mnist: str = ""

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def origin(self) -> str:
        return self.source.origin


# ---------------------------------------------------------------------------- loading


def load(wanted: str, data_dir: Path | None = None) -> Digits:
    """A data set by name from `data_dir`, else `$BUDGETNET_DATA`, else `./data`.

    Its files are downloaded when absent. "auto" is MNIST, for which the digits of scikit-learn
    stand in if no folder was named and it can be neither found in `./data` nor downloaded;
    `why_not_mnist` then says why. Damaged files raise `DataError` in either case: nobody wants a
    smaller data set because a file broke.
    """
    source = DATA_SETS["mnist" if wanted == "auto" else wanted]
    if source == DIGITS:
        return sklearn_digits()
    folder, named_by = _folder(data_dir)
    raw, missing = _find(source, folder, named_by)
    if missing:
        print(f"downloading {source.origin} into {raw}", file=sys.stderr)
        try:
            _download(source, raw)
        except (OSError, RuntimeError) as error:
            # not str(error), which names the temporary folder of the download
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            lack = f"no {source.origin if len(missing) == len(FILES) else ', '.join(missing)}"
            found = f"{lack} in {raw} ({named_by}); downloading failed: {reason}"
            if wanted != "auto" or named_by != DEFAULT:
                raise DataError(
                    f"{found}. Go online, or name the folder that holds {source.folder}/raw with "
                    "--data-dir or $BUDGETNET_DATA; --dataset digits takes scikit-learn's digits "
                    "instead"
                ) from error
            return sklearn_digits(why_not_mnist=found)
    return _read(source, raw)


DEFAULT = "the default place"


def _folder(data_dir: Path | None) -> tuple[Path, str]:
    if data_dir is not None:
        return data_dir, "--data-dir"
    if os.environ.get("BUDGETNET_DATA"):
        return Path(os.environ["BUDGETNET_DATA"]), "$BUDGETNET_DATA"
    return Path("data"), DEFAULT


def _find(source: DataSet, folder: Path, named_by: str) -> tuple[Path, list[str]]:
    """Where the files of a data set lie, or are to lie, and which of them are missing there.

    `folder` holds, say, MNIST/raw; naming MNIST or MNIST/raw itself means the same.
    """
    places = [folder / source.folder / "raw", folder / "raw", folder]
    inside = Path(os.path.abspath(folder)).parts[-2:]
    first = 2 if inside == (source.folder, "raw") else 1 if inside[-1:] == (source.folder,) else 0
    try:
        lacking = {
            place: [name for name in FILES if not (place / name).is_file()]
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


def _download(source: DataSet, raw: Path) -> None:
    """Download beside the final place and move file by file, so that no half file is left."""
    from torchvision import datasets

    made = [place for place in (raw, *raw.parents) if not place.exists()]
    raw.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=raw) as staging:
            with _quietly(DOWNLOAD_TIMEOUT):
                getattr(datasets, source.folder)(staging, download=True)
            for file in (Path(staging) / source.folder / "raw").glob("*-ubyte"):
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


def _read(source: DataSet, raw: Path) -> Digits:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    splits = []
    for part, expected in SIZES.items():
        try:
            images = read_image_file(str(raw / f"{part}-{IMAGES}"))
            labels = read_label_file(str(raw / f"{part}-{LABELS}"))
        except PermissionError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
        except Exception as error:  # the reader asserts, or fails in numpy, on a broken file
            raise _damaged(source, raw, part, "it cannot be parsed") from error
        if tuple(images.shape) != (expected, SIDE, SIDE) or len(labels) != expected:
            fact = f"it holds {tuple(images.shape)} images and {len(labels)} labels, "
            fact += f"{source.origin} has {expected} of 28x28"
            raise _damaged(source, raw, part, fact)
        for name in (f"{part}-{IMAGES}", f"{part}-{LABELS}"):
            _check(source, raw, part, name)
        splits.append(Split(images[:, None].contiguous(), labels, source.normalise))
    return Digits(source, *splits)


def _check(source: DataSet, raw: Path, part: str, name: str) -> None:
    """Refuse a file that is not what the data set was published with."""
    found = hashlib.sha256((raw / name).read_bytes()).hexdigest()
    if found == source.sha256[name]:
        return
    for other in DATA_SETS.values():  # the files of all have the same names
        if other.sha256.get(name) == found:
            raise DataError(
                f"{raw} holds {other.origin}, not {source.origin}: {name} is of {other.origin}. "
                f"Name the folder that holds {source.folder}/raw, or is to hold it, with "
                "--data-dir or $BUDGETNET_DATA"
            )
    fact = f"the SHA-256 of {name} is {found[:12]}..., {source.origin}'s is "
    raise _damaged(source, raw, part, f"{fact}{source.sha256[name][:12]}...")


def _damaged(source: DataSet, raw: Path, part: str, fact: str) -> DataError:
    return DataError(
        f"damaged {source.origin} in {raw}, {part}-*: {fact}. Delete {part}-* there; the next run "
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
    train, tests = (Split(images[k], labels[k], DIGITS.normalise) for k in (~test, test))
    return Digits(DIGITS, train, tests, why_not_mnist)


# ---------------------------------------------------------------------------- batches


NODES = 6  # by so many, the grid of an elastic map's random displacements


@dataclass(frozen=True)
class Affine:
    """A random map for every image of a batch; each amount is drawn from +-its limit.

    `crop_chance` is the share of images that are enlarged as if their central `crop`x`crop`
    pixels were cut out and resized to the whole field; `flip` is the share that is mirrored, left
    for right. With `elastic` the map is affine no more: every point is displaced as well, smoothly,
    as in Simard et al., "Best practices for convolutional neural networks applied to visual
    document analysis" (2003).
    """

    degrees: float = 0.0
    scale: float = 0.0  # a share: 0.08 is 92 % to 108 %
    shift: float = 0.0  # pixels
    shear: float = 0.0  # degrees
    crop: int = SIDE
    crop_chance: float = 0.0
    flip: float = 0.0
    elastic: float = 0.0  # pixels

    def __call__(
        self, pixels: Tensor, random: Tensor, side: int = SIDE, strength: Tensor | float = 1.0
    ) -> Tensor:
        """The central `side`x`side` pixels of the images, each mapped by its row of `draws`.

        `strength`, 0 to 1, is the share of the limits to which the amounts go.
        """
        # One resampling for the whole chain: crop and rotation about the centre commute, and
        # interpolating once keeps thin strokes.
        matrices = self.matrices(random, strength)
        share = side / SIDE
        centre = torch.cat([matrices[:, :, :2] * share, matrices[:, :, 2:]], dim=2)
        grid = F.affine_grid(centre, [*pixels.shape[:2], side, side], align_corners=False)
        if self.elastic:
            nodes = (random[:, -2 * NODES**2 :] * 2 - 1) * (self.elastic * 2 / SIDE * strength)
            field = F.interpolate(nodes.reshape(-1, 2, NODES, NODES), (SIDE, SIDE), mode="bicubic")
            inside = slice((SIDE - side) // 2, (SIDE + side) // 2)
            grid = grid + field[:, :, inside, inside].permute(0, 2, 3, 1)
        return F.grid_sample(pixels.float(), grid, align_corners=False)

    def draws(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, k): from 0 to 1, the random numbers of every image."""
        # More rows only where they are needed: all that was trained without stays as it was.
        rows = 7 + 2 * NODES**2 if self.elastic else 7 if self.flip else 6
        return torch.rand(rows, count, device=generator.device, generator=generator).T

    @property
    def moves_nothing(self) -> bool:
        """Whether images stay as they are, but for being mirrored."""
        return replace(self, flip=0.0) == Affine()

    def mirrored(self, random: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """(count,): whether an image is."""
        if not self.flip:
            return torch.zeros(len(random), dtype=torch.bool, device=random.device)
        return random[:, 6] < self.flip * strength

    def matrices(self, random: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """(count, 2, 3): where in the input, in units of half its side, each output pixel reads."""
        amount = (random.T[:5] * 2 - 1) * strength
        angle = amount[0] * math.radians(self.degrees)
        zoom = 1 / (1 + amount[1] * self.scale)
        if self.crop_chance:
            zoom = torch.where(
                random[:, 5] < self.crop_chance * strength, zoom * self.crop / SIDE, zoom
            )
        shear = torch.tan(amount[2] * math.radians(self.shear))
        across, down = amount[3:5] * (self.shift * 2 / SIDE)
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        rows = [cos, cos * shear - sin, across, sin, sin * shear + cos, down]
        if self.flip:
            mirror = 1 - 2 * self.mirrored(random, strength).float()
            rows[:3] = [row * mirror for row in rows[:3]]
        return torch.stack(rows, dim=1).view(-1, 2, 3)
