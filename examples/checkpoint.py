"""A run on disk between two epochs, so that it can be killed at any moment and taken up again.

A checkpoint is one safetensors file, written beside its final place and renamed, with a digest of
its tensors in its header. The one before it is kept until the next is in place.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from run_folder import FolderError, write_atomically

FORMAT = 1


def write(folder: Path, rows: list[dict[str, Any]], parts: dict[str, Tensor]) -> None:
    """Put the state after the last of `rows` in place; of older ones keep the newest."""
    tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items()}
    about = {"format": FORMAT, "rows": rows, "sha256": _digest(tensors)}
    path = folder / f"checkpoint-{rows[-1]['epoch']:05d}.safetensors"
    header = {"about": json.dumps(about)}
    write_atomically(path, lambda part: save_file(tensors, part, header))
    for old in _found(folder)[:-2]:
        old.unlink()


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]] | None:
    """Metrics and state after the last complete epoch; None where none was completed."""
    found = _found(folder)
    if not found:
        return None
    try:
        with safe_open(found[-1], framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, this script reads {FORMAT}")
        if about["sha256"] != _digest(tensors):
            raise ValueError("its tensors do not have the digest that its header states")
        return about["rows"], tensors
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        before = f"{found[-2].name}, the one before it" if len(found) > 1 else "the beginning"
        raise FolderError(
            f"damaged checkpoint {found[-1]}: {error}. Delete it to go on from {before}"
        ) from error


def remove(folder: Path) -> None:
    """Once a run is finished nobody goes on from it."""
    for path in _found(folder):
        path.unlink()


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
