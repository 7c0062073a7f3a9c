"""Networks that are trained already: finished runs, and shipped weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import arguments
import run_folder
from budgetnet import models
from data_sets import DATA_SETS
from display import warn_evaluation
from mnist_data import load
from trainer import World, evaluate


def load_run(folder: Path, sha256: str | None = None) -> nn.Module:
    """The network of a finished run, with its weights, all unchanged since the run ended.

    `sha256`, where given, is that of the weights that are wanted.
    """
    config, summary = run_folder.read_config(folder), run_folder.read_summary(folder)
    run_folder.check_same(config, summary, folder / "config.json", "summary.json", subset=True)
    found = summary["weights_sha256"]
    if sha256 not in (None, found):
        raise run_folder.FolderError(
            f"the teacher {folder} is another one: its weights have the SHA-256 {found[:12]}..., "
            f"the run began with {str(sha256)[:12]}..."
        )
    model, _ = arguments.pick_model(config["model"])
    path = folder / "weights.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise run_folder.FolderError(
            f"{path} does not hold the weights of {config['model']!r}: {reason}"
        ) from error
    return model


def learned_from(args: argparse.Namespace) -> str:
    """The data set that shipped weights were trained on."""
    origin = models.get_weights(args.model, args.evaluate).meta["dataset"]["name"]
    return next(known.name for known in DATA_SETS.values() if known.origin == origin)


def print_accuracy(args: argparse.Namespace, device: torch.device) -> None:
    """Measure a finished run, or shipped weights, on the test images of what they learned from."""
    if Path(args.evaluate).is_dir():
        model, name = load_run(Path(args.evaluate)), args.evaluate
        trained_on = run_folder.read_config(Path(args.evaluate))["dataset"]
    else:
        model = arguments.pick_pretrained(args.model, args.evaluate)
        name, trained_on = f"{args.model}, weights {args.evaluate!r}", learned_from(args)
    digits = load(trained_on if args.dataset == "auto" else args.dataset, args.data_dir)
    model.to(device).to(memory_format=torch.channels_last)
    _, accuracy = evaluate(model, digits.test.to(device))
    if World().rank:
        return
    origin = digits.origin
    if digits.name != trained_on:
        origin += f", not what they were trained on: {DATA_SETS[trained_on].origin}"
    warn_evaluation(digits, trained_on)
    print(f"{name}: {accuracy:.2f} % of {len(digits.test):,} test images ({origin})")
