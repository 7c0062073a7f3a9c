"""Weights that ship with the library: a safetensors file and a JSON sidecar.

To add weights, add the pair `pretrained/MODEL-WEIGHTS.safetensors` and `.json`: names come from the
files that are present. `shipping.save` writes both. Nothing is ever unpickled, and torch is
imported only to read tensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from ..accounting.account import Account
from ..accounting.files import parse_json
from ..accounting.parsing import Damaged, Fields
from ..accounting.saved import as_version
from ..errors import ArgumentError, FormatError, WeightsError, did_you_mean, explain, shown
from ..spec.plan import plan
from ..spec.references import get_reference

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .presets import GreyImage

FORMAT = "budgetnet.weights"
VERSION = 2  # 1 had no digest
GIVEN = (  # what only the caller of `shipping.save` knows
    "model", "weights", "dataset", "categories", "seed", "rule", "recipe", "preprocessing",
    "versions", "hardware", "command", "licence",
)  # fmt: skip
COMPUTED = (
    "format", "format_version", "sha256", "spec", "input_shape", "account", "accuracy", "seeds",
)  # fmt: skip
NUMBERS = {"accuracy": ("percent", "correct", "images"), "seeds": ("n", "mean", "sd", "accuracies")}
PREPROCESSING = ("size", "channels", "pixel_scale", "mean", "std", "ink")
_REINSTALL = "Nothing was loaded. Install budgetnet again, or write both files with shipping.save."


@dataclass(frozen=True)
class Weights:
    """Trained weights of a named network, and their sidecar.

    Attributes:
        model: the network's name, as in `models.list_models`.
        name: what these weights are called, as in `models.get_model(model, weights=name)`.
        meta: the sidecar's content; docs/weights.md explains every field.
        folder: the folder of the two files.

    >>> weights = load("s6", "mnist")
    >>> weights.meta["spec"], weights.meta["account"]["params"]
    ('c16 c16 c16 c16 p c16 c16 c16 gap10', 14372)
    """

    model: str
    name: str
    meta: dict[str, Any] = field(repr=False, hash=False)
    folder: Traversable = field(repr=False, compare=False)

    @property
    def stem(self) -> str:
        """Name of both files without the suffix."""
        return f"{self.model}-{self.name}"

    def transforms(self) -> GreyImage:
        """The preprocessing that these weights expect: image in, `(1, 28, 28)` float32 out.

        >>> load("s6", "mnist").transforms()
        GreyImage(size=28, mean=0.1307, std=0.3081)
        """
        from .presets import GreyImage

        settings = self.meta["preprocessing"]
        return GreyImage(**{name: settings[name] for name in ("size", "mean", "std")})

    def state_dict(self) -> dict[str, Tensor]:
        """Load the tensors by name, on the CPU, after checking the file's checksum.

        Raises:
            WeightsError: the file is missing, or is not the one that the sidecar describes.

        >>> load("s6", "mnist").state_dict()["head.conv.weight"].shape
        torch.Size([10, 16, 1, 1])
        """
        file = f"{self.stem}.safetensors"
        data = _read(self.folder, file)
        found, expected = hashlib.sha256(data).hexdigest(), self.meta["sha256"]
        if found != expected:
            numbers = {"sha256": found, "expected": expected, "bytes": f"{len(data):,}"}
            raise _damaged("this is not the file that its sidecar describes", file, numbers)
        return parse(data, file)


def find_weights(folder: Traversable | None = None) -> list[tuple[str, str]]:
    """Pairs (model, weights) of the files in a folder, the library's own by default.

    >>> ("s6", "mnist") in find_weights()
    True
    """
    folder = folder or pretrained()
    if not folder.is_dir():
        return []
    files = [entry.name for entry in folder.iterdir()]
    stems = {file.rpartition(".")[0] for file in files if file.endswith((".json", ".safetensors"))}
    splits = (stem.partition("-") for stem in stems)
    return sorted((model, name) for model, dash, name in splits if dash and model and name)


def load(model: str, name: str, folder: Traversable | None = None) -> Weights:
    """Find weights by name, and read their sidecar; `Weights.state_dict` reads the tensors.

    Raises:
        ArgumentError: there are no such weights; the message lists the available ones.
        FormatError: this release does not read the sidecar's version.
        WeightsError: the sidecar is damaged, was edited, or describes another network.

    >>> load("s6", "mnist")
    Weights(model='s6', name='mnist')
    """
    reference = get_reference(model)
    folder = folder or pretrained()
    known = find_weights(folder)
    if (model, name) not in known:
        raise _unknown(model, name, known)
    file = f"{model}-{name}.json"
    meta = _parse_sidecar(folder, file)
    described = plan(reference.spec, reference.input_shape, name=model)
    expected = {
        "model": model,
        "weights": name,
        "spec": str(reference.spec),
        "input_shape": list(reference.input_shape),
    }
    for key, value in expected.items():
        if meta[key] != value:
            got = meta[key] if isinstance(meta[key], str) else shown(meta[key])
            numbers = {"expected": value, "got": got}
            raise _damaged(f"the sidecar's {key} is not the network's", file, numbers)
    try:
        account = Account.from_dict(meta["account"])
    except FormatError as error:
        raise _damaged("the account cannot be read", file, {"reason": error}) from error
    then = as_version(described, meta["account"]["version"])
    if account != then:
        differ = [
            field.name
            for field in fields_of(then)
            if getattr(account, field.name) != getattr(then, field.name)
        ]
        numbers = {"differing": ", ".join(differ)}
        raise _damaged("the sidecar's account is not the network's", file, numbers)
    check_fields(meta, file, described.rows[-1].output_shape[0])
    if meta["format_version"] > 1 and meta["digest"] != digest_of(meta):
        numbers = {"digest": digest_of(meta), "expected": meta["digest"]}
        raise _damaged("the sidecar was changed after it was written", file, numbers)
    return Weights(model, name, meta, folder)


def copy_tensors(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a network that has exactly these names and shapes.

    Raises:
        WeightsError: a name or shape differs; the message lists the first three, and the network
            is left as it was.

    >>> from budgetnet import models
    >>> copy_tensors(models.get_model("s6"), load("s6", "mnist").state_dict(), "s6-mnist")
    """
    own = net.state_dict()
    differences = [
        f"{name} is {_shape(tensors, name)} in the file and {_shape(own, name)} in the network"
        for name in sorted({*own, *tensors})
        if _shape(tensors, name) != _shape(own, name)
    ]
    if differences:
        more = len(differences) - 3
        text = "; ".join(differences[:3]) + (f"; {more} more" if more > 0 else "")
        numbers = {"differences": f"{len(differences)}: {text}"}
        raise _damaged("the tensors do not fit the network", where, numbers)
    net.load_state_dict(dict(tensors))


def parse(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises `WeightsError` if it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        tensors: dict[str, Tensor] = from_bytes(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged("this is not a safetensors file", where, {"reason": error}) from error
    return tensors


def pretrained() -> Traversable:
    """The folder of shipped weights inside the installed package."""
    return resources.files(__package__).joinpath("pretrained")


def _read(folder: Traversable, file: str) -> bytes:
    try:
        return folder.joinpath(file).read_bytes()
    except OSError as error:
        raise _damaged("this file cannot be read", file, {"reason": error}) from error


def _parse_sidecar(folder: Traversable, file: str) -> dict[str, Any]:
    try:
        meta = parse_json(_read(folder, file))
    except ValueError as error:  # no JSON, or no text
        raise _damaged("the sidecar is not JSON", file, {"reason": error}) from error
    found = (meta.get("format"), meta.get("format_version")) if isinstance(meta, dict) else None
    if found is None or found[0] != FORMAT or repr(found[1]) not in ("1", repr(VERSION)):
        got = "something else" if found is None else " ".join(map(shown, found))
        raise FormatError(
            explain(
                "this is not a sidecar that this release can read",
                where=file,
                numbers={"expected": f"{FORMAT} {VERSION}", "got": got},
                remedy="Use the release of budgetnet that wrote it.",
            )
        )
    digest = ("digest",) if meta["format_version"] > 1 else ()
    check_keys(meta, (*COMPUTED, *digest, *GIVEN), file)
    check_keys(meta["preprocessing"], PREPROCESSING, f"{file}, preprocessing")
    for key, names in NUMBERS.items():
        check_keys(meta[key], names, f"{file}, {key}")
    return dict(meta)


def digest_of(meta: Mapping[str, Any]) -> str:
    """The sha256 of everything else in a sidecar, independent of order and indentation."""
    rest = {key: value for key, value in meta.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_fields(
    meta: Mapping[str, Any], where: str, classes: int, remedy: str = _REINSTALL
) -> None:
    """Check the type and range of the given fields, and of the computed ones if present.

    Raises:
        WeightsError: a field is not valid; the message names it.
    """
    try:
        _check_given_fields(Fields(dict(meta)), classes)
        if "sha256" in meta:
            _check_computed_fields(Fields(dict(meta)))
    except Damaged as error:
        raise _damaged("a field is not valid", where, {"reason": error}, remedy) from error


def _check_given_fields(fields: Fields, classes: int) -> None:
    for name in ("model", "weights", "rule", "command", "licence"):
        fields.text(name)
    for name in ("dataset", "recipe", "versions", "hardware"):
        fields.fields(name)
    fields.count("seed", most=2**64 - 1)
    if len(fields.texts("categories")) != classes:
        raise fields.wrong(
            "categories",
            fields.get("categories"),
            f"not one category for each of {classes} classes",
        )
    settings = fields.fields("preprocessing")
    for name in ("size", "channels", "pixel_scale"):
        settings.count(name, least=1)
    settings.text("ink")
    settings.number("mean")
    if settings.number("std", least=0) == 0:
        raise settings.wrong("std", 0, "not a valid divisor")


def _check_computed_fields(fields: Fields) -> None:
    for name in ("sha256", "digest"):
        if name in fields and not re.fullmatch("[0-9a-f]{64}", fields.text(name)):
            raise fields.wrong(name, fields.get(name), "no sha256")
    accuracy, seeds = fields.fields("accuracy"), fields.fields("seeds")
    images = accuracy.count("images", least=1)
    correct = accuracy.count("correct", most=images)
    accuracy.number("percent", least=0)
    accuracy.same({"percent": round(100 * correct / images, 4)})
    runs = seeds.fields("accuracies")
    values = [runs.number(seed, least=0) for seed in runs.data]
    seeds.same({"n": len(values)})
    seeds.number("mean", least=0)
    seeds.optional("sd", lambda key: seeds.number(key, least=0))


def check_keys(data: Any, keys: tuple[str, ...], where: str, remedy: str = _REINSTALL) -> None:
    """Raise `WeightsError` unless `data` is a mapping with exactly these keys."""
    if not isinstance(data, Mapping):
        raise _damaged(
            "this is not a mapping of names to values", where, {"got": type(data).__name__}, remedy
        )
    missing = [key for key in keys if key not in data]
    unknown = [str(key) for key in data if key not in keys]
    if missing or unknown:
        sides = {"missing": ", ".join(missing), "unknown": ", ".join(unknown)}
        numbers = {side: names for side, names in sides.items() if names}
        raise _damaged("the fields are not those of a sidecar", where, numbers, remedy)


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "absent"


def _damaged(
    what: str, where: str, numbers: Mapping[str, object], remedy: str = _REINSTALL
) -> WeightsError:
    return WeightsError(explain(what, where=where, numbers=numbers, remedy=remedy))


def _unknown(model: str, name: str, known: list[tuple[str, str]]) -> ArgumentError:
    own = [other for owner, other in known if owner == model]
    elsewhere = ", ".join(f"{owner} ({other})" for owner, other in known) or "none"
    remedy = did_you_mean(name, own) if own else f"Models with weights: {elsewhere}."
    what = f"no weights are named {name!r}" if own else "no weights ship for this model"
    return ArgumentError(explain(what, where=model, remedy=remedy))
