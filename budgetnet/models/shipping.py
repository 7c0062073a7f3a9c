"""Write weights to ship: the file, and a sidecar whose figures are computed."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..accounting.account import Account
from ..accounting.files import write_atomically
from ..errors import ArgumentError, WeightsError, explain
from ..spec.plan import plan
from ..spec.references import Reference, get_reference
from ..trace.account import account
from .weights import (
    FORMAT,
    GIVEN,
    PREPROCESSING,
    VERSION,
    Weights,
    check_fields,
    check_keys,
    copy_tensors,
    digest_of,
    parse,
)

MEDIAN_RULE = (
    "Fixed before the runs: the file is the run whose last-epoch accuracy is the median of all "
    "seeds, with an even number of seeds the lower of the two middle ones, and among equal "
    "accuracies the lowest seed."
)

_STATE = "Nothing was written. State exactly the fields that docs/weights.md explains."


def median_run(accuracies: Mapping[int, float]) -> int:
    """The seed that `MEDIAN_RULE` chooses from the last-epoch accuracy of every seed.

    Raises:
        ArgumentError: there is no run, or an accuracy is not a number.

    >>> median_run({0: 99.5, 1: 99.6, 2: 99.4, 3: 99.5})
    0
    """
    values = accuracies.values()
    if not accuracies or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    ):
        raise ArgumentError(
            explain(
                "these are not valid accuracies to choose from", numbers={"got": dict(accuracies)}
            )
        )
    median = statistics.median_low(values)
    return min(seed for seed, value in accuracies.items() if value == median)


def save(
    net: nn.Module,
    meta: Mapping[str, Any],
    accuracies: Mapping[int, float],
    images: Tensor,
    labels: Tensor,
    folder: Path | None = None,
) -> Weights:
    """Write `MODEL-WEIGHTS.safetensors` and its sidecar, each whole or not at all.

    Computes checksum, spec, account, and the accuracy of this file; the network comes back as it
    was.

    Args:
        net: the trained network, as `models.get_model(meta["model"])` builds it, on any device.
        meta: exactly the fields of `weights.GIVEN`, which docs/weights.md explains.
        accuracies: seed to last-epoch accuracy in percent, of every run of this recipe.
        images: `(N, 1, H, W)` uint8, the test images.
        labels: `(N,)`, their classes.
        folder: where to write; by default into this package, to be shipped with it.

    Raises:
        WeightsError: a field is missing or unknown, or the network is not the named one.
        ArgumentError: a field contradicts another, or a file cannot be written.
    """
    check_keys(meta, GIVEN, "meta", _STATE)
    check_keys(meta["preprocessing"], PREPROCESSING, "meta, preprocessing", _STATE)
    _plain(meta)
    _check_meta(meta, accuracies)
    if not 0 < len(labels) == len(images):
        numbers = {"images": len(images), "labels": len(labels)}
        raise ArgumentError(explain("every test image needs its label", numbers=numbers))
    tensors = {name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()}
    data = _to_bytes(tensors, f"{meta['model']}-{meta['weights']}")
    sidecar = _describe(net, meta, accuracies, hashlib.sha256(data).hexdigest())
    folder = folder or Path(__file__).with_name("pretrained")
    found = Weights(meta["model"], meta["weights"], _plain(sidecar), folder)
    loaded = copy.deepcopy(net).cpu().to(memory_format=torch.contiguous_format)  # as users get it
    copy_tensors(loaded, parse(data, found.stem), found.stem)
    correct = count_correct(loaded, found.transforms(), images.cpu(), labels.cpu())
    found.meta["accuracy"] = {
        "percent": round(100 * correct / len(labels), 4),
        "correct": correct,
        "images": len(labels),
    }
    folder.mkdir(parents=True, exist_ok=True)
    found.meta["digest"] = digest_of(found.meta)
    # The sidecar last: cut off between the two, the checksum tells.
    write_atomically(folder / f"{found.stem}.safetensors", data)
    write_atomically(folder / f"{found.stem}.json", json.dumps(found.meta, indent=2) + "\n")
    return found


@torch.inference_mode()
def count_correct(
    net: nn.Module, transforms: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor
) -> int:
    """Count the images `(N, 1, H, W)` that the network classifies correctly, in evaluation mode.

    >>> from budgetnet import models
    >>> from budgetnet.models import weights
    >>> found, net = weights.load("s6", "mnist"), models.get_model("s6", "mnist")
    >>> blank = torch.zeros(3, 1, 28, 28)
    >>> count_correct(net, found.transforms(), blank, torch.full((3,), -1))
    0
    """
    was_training = net.training
    net.eval()
    try:
        correct = 0
        # Small parts: maps that fit the processor's cache take half the time of large ones.
        for part, wanted in zip(torch.split(images, 125), torch.split(labels, 125), strict=True):
            correct += int((net(transforms(part)).argmax(1) == wanted).sum())
        return correct
    finally:
        net.train(was_training)


def _describe(
    net: nn.Module, meta: Mapping[str, Any], accuracies: Mapping[int, float], sha256: str
) -> dict[str, Any]:
    """The sidecar in the order that people read it, its accuracy not measured yet."""
    reference = get_reference(meta["model"])
    return {
        "format": FORMAT,
        "format_version": VERSION,
        **{key: meta[key] for key in ("model", "weights")},
        "sha256": sha256,
        "digest": "",  # of all else, once it is known
        "spec": str(reference.spec),
        "input_shape": list(reference.input_shape),
        "accuracy": {},
        "seeds": _spread(accuracies),
        **{key: meta[key] for key in GIVEN},
        "account": _proven_account(net, meta["model"], reference).to_dict(),
    }


def _to_bytes(tensors: dict[str, Tensor], stem: str) -> bytes:
    from safetensors.torch import save as to_bytes

    # One key: safetensors writes several in random order, and equal weights should be equal files.
    data: bytes = to_bytes(tensors, {"about": stem})
    return data


def _spread(accuracies: Mapping[int, float]) -> dict[str, Any]:
    """Number, mean and sample standard deviation of the runs, and every one of them."""
    values = list(accuracies.values())
    return {
        "n": len(values),
        "mean": round(statistics.mean(values), 4),
        "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "accuracies": {str(seed): value for seed, value in sorted(accuracies.items())},
    }


def _proven_account(net: nn.Module, name: str, reference: Reference) -> Account:
    """What `plan` says of the named network, if `net` itself accounts to the same."""
    expected = plan(reference.spec, reference.input_shape, name=name)
    found = replace(account(net, reference.input_shape), name=name)
    if found != expected:
        raise WeightsError(
            explain(
                f"the network is not {name!r}",
                where="net",
                numbers={
                    "parameters": f"{found.params:,}",
                    "expected": f"{expected.params:,} of {reference.spec}",
                },
                remedy=f"Train what models.get_model({name!r}) builds.",
            )
        )
    return expected


def _check_meta(meta: Mapping[str, Any], accuracies: Mapping[int, float]) -> None:
    """Check the fields by type and against each other, before anything is computed."""
    net = get_reference(str(meta["model"]))
    settings, shape = meta["preprocessing"], net.input_shape
    classes = plan(net.spec, shape).rows[-1].output_shape[0]
    check_fields(meta, "meta", classes, "Nothing was written.")
    chosen = median_run(accuracies)
    facts = {
        "preprocessing fits the network's input": shape
        == (settings["channels"], settings["size"], settings["size"]),
        "pixels are scaled by 255, as GreyImage does": settings["pixel_scale"] == 255,
        "seed is among the accuracies": meta["seed"] in accuracies,
        f"seed is the one that the rule chooses, {chosen}": meta["rule"] != MEDIAN_RULE
        or meta["seed"] == chosen,
        "the name of the weights is of letters, digits, _ and .": str(meta["weights"])
        .translate(str.maketrans("", "", "_."))
        .isalnum(),
    }
    broken = [fact for fact, holds in facts.items() if not holds]
    if broken:
        raise ArgumentError(
            explain(
                "the fields contradict each other",
                where="meta",
                numbers={"not so": "; ".join(broken)},
                remedy="Nothing was written.",
            )
        )


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """What reading the JSON will give: tuples as lists. Not-a-number raises."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            explain("this is not plain data", where="meta", numbers={"reason": error})
        ) from error
    return plain
