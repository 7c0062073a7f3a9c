"""Networks that are trained already: finished runs, and shipped weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import arguments
import run_folder
from mnist_data import load
from trainer import World, evaluate


def load_run(folder: Path) -> nn.Module:
    """The network of a finished run, with its weights."""
    config = run_folder.read_config(folder)
    model, _ = arguments.pick_model(config["model"])
    model.load_state_dict(load_file(run_folder.finished_weights(folder)))
    return model


def print_accuracy(args: argparse.Namespace, device: torch.device) -> None:
    """Measure a finished run, or shipped weights, on the test digits."""
    digits = load(args.dataset, args.data_dir)
    if Path(args.evaluate).is_dir():
        model, name = load_run(Path(args.evaluate)), args.evaluate
    else:
        model = arguments.pick_pretrained(args.model, args.evaluate)
        name = f"{args.model}, weights {args.evaluate!r}"
    model.to(device).to(memory_format=torch.channels_last)
    _, accuracy = evaluate(model, digits.test.to(device))
    if World().rank == 0:
        print(f"{name}: {accuracy:.2f} % of {len(digits.test):,} test digits ({digits.origin})")
