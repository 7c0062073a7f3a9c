"""A run on disk between two epochs, so that it can be killed at any moment and taken up again.

A checkpoint is one safetensors file, written beside its final place and renamed. Its header holds
the metrics so far, what the run was started with, and a digest of all that is resumed from: of both
and of the tensors. The one before it is kept until the next is in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from run_folder import FolderError, check_same, write_tensors

FORMAT = 2


def write(
    folder: Path, config: dict[str, Any], rows: list[dict[str, Any]], parts: dict[str, Tensor]
) -> None:
    """Put the state after the last of `rows` in place; of older ones keep the newest."""
    tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items()}
    about: dict[str, Any] = {"format": FORMAT, "rows": rows, "config": config}
    about["sha256"] = _digest(about, tensors)
    write_tensors(folder / f"{_name(rows)}.safetensors", tensors, about)
    _drop(_found(folder)[:-2])


def read(
    folder: Path, config: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Tensor]] | None:
    """Metrics and state after the last complete epoch; None where none was completed.

    `config` is what the folder states now; another than the run was started with is refused.
    """
    found = _found(folder)
    if not found:
        return None
    try:
        about, tensors = _read(found[-1])
    except (OSError, SafetensorError, ValueError, RecursionError, RuntimeError) as error:
        before = f"{found[-2].name}, the one before it" if len(found) > 1 else "the beginning"
        raise FolderError(
            f"damaged checkpoint {found[-1]}: {' '.join(str(error).split())}. Delete it to go on "
            f"from {before}"
        ) from error
    check_same(config, about["config"], folder / "config.json", found[-1].name)
    return about["rows"], tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("about")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    about = json.loads(text) if text is not None else None
    if not isinstance(about, dict):
        raise ValueError("its header does not say what it is")
    if about.get("format") != FORMAT:
        raise ValueError(f"its format is {about.get('format')}, this script reads {FORMAT}")
    stated = about.pop("sha256", None)
    if stated != _digest(about, tensors):
        raise ValueError("it does not have the SHA-256 that its header states")
    if _name(about["rows"]) != path.stem:
        raise ValueError(f"it holds {_name(about['rows'])}")
    return about, tensors


def remove(folder: Path) -> None:
    """Once a run is finished nobody goes on from it."""
    _drop(_found(folder))


def _drop(paths: list[Path]) -> None:
    """Remove what nobody goes on from; a run does not end because it cannot be removed."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def _name(rows: list[dict[str, Any]]) -> str:
    return f"checkpoint-{rows[-1]['epoch']:05d}"


def _digest(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode() + b"\n")
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
