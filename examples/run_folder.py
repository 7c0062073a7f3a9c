"""The record of one training run: a folder of small files, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import statistics
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import budgetnet

TARGET = 99.4  # percent of MNIST's test digits


class FolderError(Exception):
    """The run folder cannot be used; the message is one line."""


def create(out: Path | None, *facts: str) -> Path:
    """Make the folder: `out`, which must be new or empty, or the first free `runs/FACTS[-N]`."""
    default_name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", fact).strip("-")[:60] for fact in facts)
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
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


def of_seed(folder: Path, seed: int) -> Path:
    """Where a run over several seeds keeps one of them."""
    return folder / f"seed{seed}"


def is_finished(folder: Path, seed: int) -> bool:
    return (of_seed(folder, seed) / "summary.json").exists()


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The metrics of every epoch."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def finished_weights(folder: Path) -> Path:
    """The weights of a run that came to its end."""
    if not (folder / "summary.json").exists():
        raise FolderError(f"{folder} holds no finished run: summary.json is missing")
    return folder / "weights.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """What a run was started with."""
    path = folder / "config.json"
    try:
        config = read_json(path)
    except OSError as error:
        raise FolderError(
            f"{folder} is not the folder of a run: config.json: {error.strerror}"
        ) from error
    except ValueError as error:
        raise FolderError(f"{path} is damaged: {error}") from error
    lacking = [key for key in ("model", "dataset", "recipe", "settings") if key not in config]
    if lacking or not {"seed", "seeds"} & config.keys():
        raise FolderError(f"{path} does not state a run: {', '.join(lacking or ['seed'])} missing")
    return config


def read_unfinished(folder: Path) -> dict[str, Any]:
    """What a run that is to be taken up again was started with."""
    config = read_config(folder)
    if (folder / "summary.json").exists():
        raise FolderError(f"{folder} holds a finished run; there is nothing to resume")
    for part in (path for path in folder.rglob(".*.part*")):
        part.unlink()  # being written when the run was killed
    return config


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in place in one step."""
    # The suffix stays last: savefig and others choose the format by it.
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        with part.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut can leave the new name with no content
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_weights(path: Path, model: torch.nn.Module, about: dict[str, str]) -> str:
    """Save the weights as safetensors, `about` in the file's header; return its SHA-256."""
    from safetensors.torch import save_file

    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    # One key: safetensors writes several in random order, and equal runs should leave equal files.
    header = {"about": json.dumps(about)}
    write_atomically(path, lambda part: save_file(tensors, part, header))
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    """What the test accuracies, in percent, come to. Only MNIST has a target."""
    accuracies = [epoch["test_accuracy"] for epoch in epochs]
    last_three = accuracies[-3:]
    summary = {
        "last": accuracies[-1],
        "best": max(accuracies),
        "mean_of_last_three": round(sum(last_three) / len(last_three), 4),
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 2),
    }
    if dataset != "mnist":
        return summary | {"target": None}
    reached = [k for k, accuracy in enumerate(accuracies) if accuracy >= TARGET]
    first = reached[0] if reached else None
    return summary | {
        "target": TARGET,
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
