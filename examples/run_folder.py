"""The record of one training run: a folder of small files, each written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import budgetnet
from data_sets import DATA_SETS, target_of

# What config.json states of every run, with the type of each; beside these a seed, or seeds.
CONFIG: Mapping[str, type | tuple[type, ...]] = {
    "model": str,
    "dataset": str,
    "dataset_origin": str,
    "train_images": int,
    "test_images": int,
    "recipe": str,
    "settings": dict,
    "teacher": (str, type(None)),
    "amp": bool,
    "compile": bool,
    "processes": int,
}
# Of a config: how it was typed. A teacher may move; teacher_sha256 says that it is the same one.
FREE = ("command", "teacher")


class FolderError(Exception):
    """The run folder cannot be used; the message is one line."""


def create(out: Path | None, *facts: str) -> Path:
    """Make the folder: `out`, which must be new or empty, or the first free `runs/FACTS[-N]`."""
    default_name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", fact).strip("-")[:60] for fact in facts)
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            if not os.access(out, os.R_OK | os.W_OK | os.X_OK):
                reason = os.strerror(errno.EACCES)
                raise FolderError(
                    f"cannot write into {out}: {reason}; name another folder with --out"
                )
            if any(out.iterdir()):
                raise FolderError(f"{out} is not empty; name a new folder with --out")
            return out
        for number in range(1, 10_000):
            folder = Path("runs") / (default_name if number == 1 else f"{default_name}-{number}")
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise FolderError(f"cannot make {error.filename}: {error.strerror}") from error
    raise FolderError(f"runs/{default_name}-* are all taken; name a folder with --out")


def make(folder: Path) -> None:
    """Make the folder of one seed, if it is not there."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FolderError(f"cannot make {folder}: {error.strerror}") from error


def of_seed(folder: Path, seed: int) -> Path:
    """Where a run over several seeds keeps one of them."""
    return folder / f"seed{seed}"


def is_finished(folder: Path, seed: int) -> bool:
    return (of_seed(folder, seed) / "summary.json").exists()


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The metrics of every epoch."""
    path = folder / "metrics.jsonl"
    rows = [_parsed(path, line) for line in _text(path).splitlines()]
    for number, row in enumerate(rows, start=1):
        lacking = [key for key in _MEASURED if not _is_finite(row.get(key))]
        if row.get("epoch") != number or lacking:
            what = ", ".join(lacking) or f"epoch {number}"
            raise FolderError(f"{path} is damaged: line {number} does not state {what}")
    if not rows:
        raise FolderError(f"{path} is damaged: it states no epoch")
    return rows


_MEASURED = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def read_json(path: Path) -> dict[str, Any]:
    return _parsed(path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FolderError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise FolderError(f"{path} is damaged: {error}") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path} is damaged: it does not hold an object")
    return content


def read_summary(folder: Path) -> dict[str, Any]:
    """What a run that came to its end states, held against its metrics and its weights.

    Whoever goes on from a run that is finished takes these three together, and one that was changed
    since would be believed in silence.
    """
    path = folder / "summary.json"
    if not path.exists():
        raise FolderError(f"{folder} holds no finished run: summary.json is missing")
    summary = read_json(path)
    if "runs" in summary:
        raise FolderError(f"{folder} holds runs over several seeds; name the folder of one of them")
    if not isinstance(summary.get("weights_sha256"), str):
        raise FolderError(f"{path} is damaged: weights_sha256 is missing")
    for key, value in summarise(read_rows(folder), str(summary.get("dataset"))).items():
        if summary.get(key, "missing") != value:
            raise FolderError(
                f"{path} is damaged: {key} is {summary.get(key, 'missing')!r}, and metrics.jsonl "
                f"gives {value!r}"
            )
    weights = folder / "weights.safetensors"
    try:
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise FolderError(f"cannot read {weights}: {error.strerror}") from error
    if found != summary["weights_sha256"]:
        raise FolderError(
            f"damaged weights {weights}: their SHA-256 is {found[:12]}..., summary.json states "
            f"{summary['weights_sha256'][:12]!s}...; train the run again"
        )
    return summary


def read_config(folder: Path) -> dict[str, Any]:
    """What a run was started with, every key of it there and of its type."""
    path = folder / "config.json"
    if not path.exists():
        raise FolderError(f"{folder} is not the folder of a run: config.json: No such file")
    config = read_json(path)
    lacking = [key for key in CONFIG if key not in config]
    if not {"seed", "seeds"} & config.keys():
        lacking.append("seed")
    if lacking:
        raise FolderError(f"{path} does not state a run: {', '.join(lacking)} missing")
    for key, kind in CONFIG.items():
        # a bool is an int to isinstance, and no number of images
        if not isinstance(config[key], kind) or (kind is int and type(config[key]) is not int):
            raise FolderError(f"{path} is damaged: {key} is {config[key]!r}")
    if config["dataset"] not in DATA_SETS:
        raise FolderError(
            f"{path} is damaged: dataset is {config['dataset']!r}, not one of "
            f"{', '.join(DATA_SETS)}"
        )
    seeds = config.get("seeds", [config.get("seed")])
    whole = isinstance(seeds, list) and all(type(n) is int and 0 <= n < 2**63 for n in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        key = "seeds" if "seeds" in config else "seed"
        raise FolderError(f"{path} is damaged: {key} is {config[key]!r}")
    return config


def check_same(
    config: dict[str, Any], other: Mapping[str, Any], path: Path, whose: str, subset: bool = False
) -> None:
    """Refuse to go on with another config than `other`, which says what was trained so far.

    With `subset`, `other` says more than a config does.
    """
    if subset:
        other = {key: value for key, value in other.items() if key in config}
    mine, theirs = ({k: v for k, v in _flat(c) if k not in FREE} for c in (config, other))
    for key in sorted(mine.keys() | theirs.keys()):
        one, two = (side.get(key, "missing") for side in (mine, theirs))
        if one != two or type(one) is not type(two):
            raise FolderError(
                f"{path} was changed: {key} is {one!r}, and {whose} was written with {two!r}; "
                "change it back, or begin a new run"
            )


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        inner = isinstance(value, dict)
        found += _flat(value, f"{prefix}{key}.") if inner else [(f"{prefix}{key}", value)]
    return found


def read_unfinished(folder: Path) -> dict[str, Any]:
    """What a run that is to be taken up again was started with."""
    config = read_config(folder)
    if (folder / "summary.json").exists():
        raise FolderError(f"{folder} holds a finished run; there is nothing to resume")
    if config["teacher"] and not isinstance(config.get("teacher_sha256"), str):
        path = folder / "config.json"
        raise FolderError(f"{path} does not state a run: teacher_sha256 missing")
    return config


def clear_parts(folder: Path) -> None:
    """Remove what was being written when a run was killed; the folder must be locked."""
    for part in folder.glob(".*.part*"):
        with contextlib.suppress(OSError):
            part.unlink()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step.

    A disk that is full leaves what was there: `FolderError` says so, and the run can be resumed.
    """
    # The suffix stays last: savefig and others choose the format by it.
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut can leave the new name with no content
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split()).replace(part.name, path.name)
        raise FolderError(
            f"cannot write {path}: {reason}; what was complete before is kept"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Any) -> bytes:
    """Write tensors as `pack_tensors` packs them; return what was written."""
    data = pack_tensors(tensors, about)
    # safetensors' own writing of files ends in ones that nobody but their owner may read.
    write_atomically(path, lambda part: part.write_bytes(data))
    return data


def pack_tensors(tensors: Mapping[str, Tensor], about: Any) -> bytes:
    """Tensors as safetensors, `about` in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One key: safetensors writes several in random order, and equal runs should leave equal files.
    return save(tensors, {"about": json.dumps(about)})


def summarise_seeds(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the last epoch over several seeds, and every run."""
    last = [summary["last"] for summary in summaries]
    kept = ("seed", "last", "best", "mean_of_last_three", "first_epoch_at_target", "seconds")
    return {
        "seeds_run": len(last),
        "last_mean": round(statistics.mean(last), 4),
        "last_sd": round(statistics.stdev(last), 4) if len(last) > 1 else None,
        "last_least": min(last),
        "runs": [{key: summary.get(key) for key in kept} for summary in summaries],
    }


def summarise(epochs: list[dict[str, Any]], dataset: str) -> dict[str, Any]:
    """What the test accuracies, in percent, come to, also beside the data set's target."""
    accuracies = [epoch["test_accuracy"] for epoch in epochs]
    last_three = accuracies[-3:]
    summary = {
        "last": accuracies[-1],
        "best": max(accuracies),
        "mean_of_last_three": round(sum(last_three) / len(last_three), 4),
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 2),
    }
    target = target_of(dataset)
    if target is None:
        return summary | {"target": None}
    reached = [k for k, accuracy in enumerate(accuracies) if accuracy >= target]
    first = reached[0] if reached else None
    return summary | {
        "target": target,
        "first_epoch_at_target": None if first is None else first + 1,
        "seconds_to_target": None
        if first is None
        else round(sum(epoch["seconds"] for epoch in epochs[: first + 1]), 2),
        "epochs_at_target": len(reached),
    }


FACTS = ("parameters", "macs", "receptive_field", "versions", "hardware")


def facts(account: budgetnet.Account, device: torch.device) -> dict[str, Any]:
    """What the network is, and what it was trained with and on."""
    return {
        "parameters": account.params,
        "macs": account.macs,
        "receptive_field": list(account.receptive_field.size),
        "versions": versions(),
        "hardware": hardware(device),
    }


def versions() -> dict[str, str]:
    found = {"budgetnet": budgetnet.__version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "scikit-learn", "matplotlib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "device": str(device),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
