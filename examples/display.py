"""What a training run shows: a live bar on a terminal, a line an epoch everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor

from data_sets import DATA_SETS, TARGET, target_of
from mnist_data import Digits

REFRESH = 10  # steps; reading a loss waits for the device


class Terminal(Console):
    """A console that tells the caller when nobody reads; rich would end with 1 and say nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, **options)

    def on_broken_pipe(self) -> None:
        raise  # what rich has just caught


class Display:
    def __init__(self, epochs: int, steps: int, *, show: bool = True) -> None:
        self.console = Terminal(quiet=not show)
        self.epochs, self.steps = epochs, steps
        self.reached = False
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:6.2f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
            transient=True,
            disable=not (show and self.console.is_terminal),
        )
        self.task = self.progress.add_task(
            "", total=epochs * steps, epoch=1, epochs=epochs, loss=0.0, accuracy=0.0
        )

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, epoch: int, step: int, seen: int, loss_sum: Tensor, correct: Tensor) -> None:
        """Show the running means of the epoch; the two tensors are read now and then."""
        if self.progress.disable or (step % REFRESH and step != self.steps):
            return
        self.progress.update(
            self.task,
            completed=(epoch - 1) * self.steps + step,
            epoch=epoch,
            loss=float(loss_sum) / seen,
            accuracy=100 * float(correct) / seen,
        )

    def epoch(self, row: dict[str, Any]) -> None:
        target = target_of(row["dataset"])
        first = target is not None and row["test_accuracy"] >= target and not self.reached
        self.reached |= first
        width = len(str(self.epochs))
        self.console.print(
            f"epoch {row['epoch']:{width}}/{self.epochs}   "
            f"train loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:6.2f} %   "
            f"[bold]test loss {row['test_loss']:.4f}  accuracy {row['test_accuracy']:6.2f} %[/]   "
            f"{row['seconds']:5.1f} s" + (f"   [green]<- {target} reached[/]" if first else ""),
            soft_wrap=True,
        )


def warn_digits(digits: Digits) -> None:
    text = (
        f"Training on {digits.origin}: {len(digits.train):,} to train, {len(digits.test):,} to "
        f"test.\nNo accuracy of this run says anything about MNIST or about {TARGET} %."
    )
    if digits.why_not_mnist:
        text = (
            f"MNIST could be neither found nor downloaded.\n{digits.why_not_mnist}.\n\n{text}\n\n"
            "For MNIST: go online, or name the folder that holds MNIST/raw with --data-dir or "
            "$BUDGETNET_DATA."
        )
    _banner("THIS IS NOT MNIST", text)


def warn_evaluation(digits: Digits, trained_on: str) -> None:
    """Nothing, where weights are measured on what they learned from."""
    other = ""
    if digits.name != trained_on:
        other = (
            f"The weights were trained on {DATA_SETS[trained_on].origin}, not on {digits.origin}.\n"
        )
    if digits.name == "digits":
        other += f"This accuracy says nothing about MNIST or about {TARGET} %."
        _banner("THIS IS NOT MNIST", other)
    elif other:
        _banner("NOT WHAT THE WEIGHTS WERE TRAINED ON", other.rstrip())


def _banner(title: str, text: str) -> None:
    title = f"[bold reverse red] {title} [/]"
    Terminal().print(Panel(text, title=title, border_style="bold red", padding=1))


def closing_words(result: dict[str, Any], folder: Path) -> str:
    words = (
        f"\n{result['model']}, {result['parameters']:,} parameters: {result['last']:.2f} % of "
        f"{result['test_images']:,} test images ({result['dataset_origin']}) after "
        f"{result['epochs']} epoch{'s' if result['epochs'] > 1 else ''}, {result['seconds']:.0f} s"
    )
    if result["target"]:
        first = result["first_epoch_at_target"]
        words += f"; {result['target']} % " + (
            f"reached in epoch {first}" if first else "not reached"
        )
    return f"{words}.\nWeights, metrics and pictures: {folder}"


def seeds_table(result: dict[str, Any], folder: Path) -> None:
    """Every run, and below them what they come to."""
    console = Terminal()
    target = target_of(result["dataset"])
    columns = ["seed", "last epoch, %", "best, %", "seconds"]
    table = Table(*columns, *([f"epoch at {target}"] if target else []), box=SIMPLE)
    for run in result["runs"]:
        cells = [str(run["seed"]), f"{run['last']:.2f}", f"{run['best']:.2f}"]
        cells.append(f"{run['seconds']:.0f}")
        table.add_row(*cells, *([str(run["first_epoch_at_target"] or "-")] if target else []))
    console.print(table)
    spread = result["last_sd"]
    console.print(
        f"{result['model']}, {result['parameters']:,} parameters: last epoch "
        f"{result['last_mean']:.3f} % of {result['dataset_origin']} on average over "
        f"{result['seeds_run']} seeds"
        + (f" (sd {spread:.3f}, least {result['last_least']:.2f})" if spread is not None else "")
        + f".\nRuns, curves and summary: {folder}",
        soft_wrap=True,
    )
