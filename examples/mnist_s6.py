"""Train s6, a network of 14,372 parameters, to 99.4 % on MNIST in five epochs.

After the last epoch of the default recipe the test accuracy is 99.490 % on average over 20 seeds
(sd 0.045, least 99.41; NVIDIA H100, torch 2.11; docs/results/default.json). The recipe was
chosen on 5,000 held-out training images.

    python examples/mnist_s6.py                            # s6, the default recipe
    python examples/mnist_s6.py --recipe report            # the original 20 epochs
    python examples/mnist_s6.py --model "c8 c8 p c16 gap10"
    python examples/mnist_s6.py --seeds 5                  # five runs, their mean and spread
    python examples/mnist_s6.py --resume runs/FOLDER       # go on with what was cut short
    python examples/mnist_s6.py --evaluate                 # train nothing: the shipped weights
    python examples/mnist_s6.py --dataset fashion-mnist    # clothes instead, by their own recipe
    torchrun --nproc-per-node 2 examples/mnist_s6.py       # one run, shared by two processes

A run leaves a folder: config.json, metrics.jsonl (a line an epoch), weights.safetensors,
curves.png, preview.png, errors.png, and at the very end summary.json, so that a folder without
one is a run that was cut short; until then a checkpoint of the last complete epoch lies there too.
With --seeds there is such a folder for every seed, and above them summary.json and curves.png of
all. Nothing is overwritten: without --out the folder is runs/DATASET-MODEL-RECIPE-seedN, with -2,
-3, ... behind it when taken; a folder named with --out must be new or empty. The same seed on the
same machine gives the same numbers, resumed or not. Runs on cpu and cuda; mps is untested.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import math
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# Threads that spin while they wait cost a run tenfold where other work shares the cores. OpenMP
# reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import torch
    import torch.distributed as dist
    from torch import nn

    import arguments
    import checkpoint
    import run_folder
    from budgetnet.cli.streams import allow_all_characters
    from display import Display, closing_words, seeds_table, warn_digits
    from locking import locked
    from mnist_data import DataError, Digits, load
    from recipes import RECIPES, Recipe, descriptions
    from trained import load_run, print_accuracy
    from trainer import Training, World, predict, train
except ModuleNotFoundError as missing:
    print(f'{missing.name} is missing: pip install -e ".[examples]"', file=sys.stderr)
    sys.exit(2)


# ---------------------------------------------------------------------------- one run


def run(args: argparse.Namespace) -> Path | None:
    """Everything between the arguments and the finished run folder, in order."""
    arguments.require_extras()
    with processes(args.device) as device:
        if args.evaluate:
            print_accuracy(args, device)
            return None
        if args.resume:
            with alone(args.resume):
                return resume(args, device)
        # Whatever is wrong is said before a folder is made.
        arguments.plan_model(args.model)
        if args.teacher:
            load_run(args.teacher)
        digits = load(args.dataset, args.data_dir)
        config = describe(args, digits)
        arguments.check_size(args.model, config["settings"]["batch_size"], device)
        which = f"seeds{len(args.seeds)}" if args.seeds else f"seed{args.seed}"
        facts = (config["dataset"], args.model, args.recipe, which)
        folder = run_folder.create(args.out, *facts) if World().rank == 0 else None
        with alone(folder):
            if folder:
                begin(folder, config, made=folder != args.out)
                args.resume = folder  # what goes on with it from here, see `how_to_go_on`
            return go_on(config, folder, digits, device)


def resume(args: argparse.Namespace, device: torch.device) -> Path:
    """Take a run up again, as it was started."""
    folder, config = args.resume, run_folder.read_unfinished(args.resume)
    try:
        recipe = Recipe.read(config["settings"])
    except ValueError as error:
        raise run_folder.FolderError(f"{folder / 'config.json'} is damaged: {error}") from error
    check_processes(config)
    digits = load(config["dataset"], args.data_dir)
    facts = {
        "dataset_origin": digits.origin,
        "train_images": len(digits.train),
        "test_images": len(digits.test),
    }
    for key, found in facts.items():
        if config[key] != found:
            raise run_folder.FolderError(
                f"{folder / 'config.json'}: {key} is {config[key]!r}, and of the data set "
                f"{digits.name!r} it is {found!r}"
            )
    check_steps(recipe, digits)
    arguments.check_size(config["model"], recipe.batch_size, device)
    go_on(config, folder, digits, device)
    return folder


def go_on(
    config: dict[str, Any], folder: Path | None, digits: Digits, device: torch.device
) -> Path | None:
    if "seeds" in config:
        train_seeds(config, folder, digits, device)
    else:
        train_once(config, folder, digits, device)
    return folder


@contextlib.contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Hold a folder, as the first process does for all that share a run."""
    if folder is None or World().rank:
        yield
        return
    with locked(folder):
        run_folder.clear_parts(folder)
        yield


@contextlib.contextmanager
def processes(name: str) -> Iterator[torch.device]:
    """The device of this process, in the company that torchrun started it in, if any."""
    device = arguments.pick_device(name)
    if "RANK" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def describe(args: argparse.Namespace, digits: Digits) -> dict[str, Any]:
    """What config.json states: enough to begin the run, or to go on with it."""
    seeds = {"seeds": args.seeds} if args.seeds else {"seed": args.seed}
    teacher: dict[str, Any] = {"teacher": None}
    if args.teacher:
        learned = run_folder.read_config(args.teacher)["dataset_origin"]
        if learned != digits.origin:
            raise arguments.UsageError(
                f"--teacher {args.teacher} learned from {learned}, not from {digits.origin}; name "
                "a run on the same data set"
            )
        digest = run_folder.read_summary(args.teacher)["weights_sha256"]
        teacher = {"teacher": str(args.teacher.resolve()), "teacher_sha256": digest}
    return {
        "command": shlex.join(["python", "examples/mnist_s6.py", *args.argv]),
        "model": args.model,
        "dataset": digits.name,
        "dataset_origin": digits.origin,
        "train_images": len(digits.train),
        "test_images": len(digits.test),
        "recipe": args.recipe,
        "settings": asdict(adapt(RECIPES[args.recipe], args, digits)),
        **seeds,
        **teacher,
        "amp": args.amp,
        "compile": args.compile,
        "processes": World().size,
    }


def adapt(recipe: Recipe, args: argparse.Namespace, digits: Digits) -> Recipe:
    given = {name: getattr(args, name) for name in ("epochs", "batch_size", "lr")}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if args.teacher and not recipe.distill:
        recipe = replace(recipe, distill=0.5, temperature=2.0)
    if recipe.batch_size < 2 * World().size:
        raise arguments.UsageError(
            f"--batch-size {recipe.batch_size} is too small for {World().size} processes: each "
            f"needs 2 images of every batch, so {2 * World().size} or more"
        )
    if recipe.distill and not args.teacher:
        raise arguments.UsageError(
            f"the recipe {args.recipe!r} learns from a teacher; name the folder of a finished run "
            "with --teacher"
        )
    if recipe.batch_size > len(digits.train):
        raise arguments.UsageError(
            f"--batch-size {recipe.batch_size} exceeds the {len(digits.train)} training images of "
            f"{digits.origin}"
        )
    check_steps(recipe, digits)
    return recipe


def check_steps(recipe: Recipe, digits: Digits) -> None:
    steps = recipe.epochs * math.ceil(len(digits.train) / recipe.batch_size)
    if steps > arguments.MOST_STEPS:
        raise arguments.UsageError(
            f"--epochs {recipe.epochs} in batches of {recipe.batch_size} are {steps:,} steps; "
            f"a run has at most {arguments.MOST_STEPS:,}"
        )


def begin(folder: Path, config: dict[str, Any], *, made: bool) -> None:
    """Write what the run is, from which on it can be resumed."""
    try:
        run_folder.write_json(folder / "config.json", config)
    except run_folder.FolderError:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # nobody could resume it
        raise


def check_processes(config: dict[str, Any]) -> None:
    if config["processes"] != World().size:
        raise arguments.UsageError(
            f"--resume: the run was shared by {config['processes']} processes and cannot go on "
            f"with {World().size}; use torchrun --nproc-per-node {config['processes']}"
        )


def train_once(
    config: dict[str, Any], folder: Path | None, digits: Digits, device: torch.device
) -> dict[str, Any]:
    """Train one seed, from its last checkpoint if there is one; return its summary.

    `folder` is None in all processes but the first, unless the run is resumed.
    """
    recipe = Recipe.read(config["settings"])
    lead = World().rank == 0
    generator = seed_everything(config["seed"], device)
    model, account = arguments.pick_model(config["model"])
    learner = Training(
        model,
        digits,
        recipe,
        generator,
        teacher=teacher_of(config),
        amp=config["amp"],
        wrap=wrapper(config, device),
    )
    rows: list[dict[str, Any]] = []
    saved = checkpoint.read(folder, config) if folder else None
    if saved:
        rows, parts = saved
        learner.load(parts, rows[-1]["epoch"])
        if lead and folder:  # it may be of an epoch that was not completed
            run_folder.write_json_lines(folder / "metrics.jsonl", rows)
    if lead:
        print(account)
        if digits.name == "digits":
            warn_digits(digits)
        if saved:
            print(f"going on after epoch {rows[-1]['epoch']}")
    with Display(recipe.epochs, learner.steps, show=lead) as display:
        # Compiled code may compile again for a batch of another size, which a graph cannot record.
        for row in train(learner, display.step, graphs=not config["compile"]):
            if not math.isfinite(row["train_loss"]):
                raise arguments.UsageError(
                    f"the training loss is {row['train_loss']} in epoch {row['epoch']}; "
                    f"try a learning rate below --lr {recipe.lr}"
                )
            rows.append(row)
            display.epoch(row)
            if lead and folder:
                run_folder.write_json_lines(folder / "metrics.jsonl", rows)
                checkpoint.write(folder, config, rows, learner.state())
    about = config | run_folder.facts(account, device)
    result = run_folder.summarise(rows, digits.name) | about
    if lead and folder:
        finish(folder, learner, digits, rows, result)
    return result


def teacher_of(config: dict[str, Any]) -> nn.Module | None:
    if not config["teacher"]:
        return None
    return load_run(Path(config["teacher"]), config["teacher_sha256"])


def wrapper(config: dict[str, Any], device: torch.device) -> Any:
    """What training calls instead of the bare network."""

    def wrap(model: nn.Module) -> Any:
        forward: Any = torch.compile(model) if config["compile"] else model
        if World().size == 1:
            return forward
        devices = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(forward, device_ids=devices)

    return wrap


def finish(
    folder: Path,
    learner: Training,
    digits: Digits,
    rows: list[dict[str, Any]],
    result: dict[str, Any],
) -> None:
    """Save the weights, draw the pictures, and last of all write the summary."""
    import figures  # matplotlib takes a second to import, and a wrong argument should not

    recipe, generator = learner.recipe, learner.generator
    header = {"model": result["model"], "dataset": digits.name, "recipe": result["recipe"]}
    weights = folder / "weights.safetensors"
    digest = hashlib.sha256(run_folder.write_tensors(weights, learner.result.state_dict(), header))
    name = f"{result['model']} on {digits.origin}"
    logits = predict(learner.result, learner.test_set).cpu()
    shown = digits.train.images[: figures.PREVIEW].to(generator.device)
    rows_shown = {"plain": shown}
    for row, side in figures.views(recipe).items():
        random = recipe.augment.draws(len(shown), generator)
        rows_shown[row] = recipe.augment(shown, random, side)
    seen = {row: digits.train.normalise(view).cpu() for row, view in rows_shown.items()}
    title = f"{name}, {result['recipe']} recipe"
    classes = digits.source.classes
    shown_classes = [classes[k] for k in digits.train.labels[: figures.PREVIEW]]
    pictures = {
        "curves.png": figures.curves([rows], title, recipe, [result["seed"]]),
        "preview.png": figures.preview(seen, digits.origin, shown_classes),
        "errors.png": figures.errors(digits.test.images, digits.test.labels, logits, name, classes),
    }
    for file, figure in pictures.items():
        run_folder.write_atomically(folder / file, figure.savefig)
    run_folder.write_json(folder / "summary.json", result | {"weights_sha256": digest.hexdigest()})
    checkpoint.remove(folder)
    print(closing_words(result, folder))


def seed_everything(seed: int, device: torch.device) -> torch.Generator:
    """Seed the weights, and return the source of order and augmentation on `device`."""
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return torch.Generator(device).manual_seed(seed)


# ---------------------------------------------------------------------------- several runs


def train_seeds(
    config: dict[str, Any], folder: Path | None, digits: Digits, device: torch.device
) -> None:
    """A run for every seed that has no summary yet, then what they come to together."""
    summaries = []
    done = {seed for seed in config["seeds"] if folder and run_folder.is_finished(folder, seed)}
    for seed in config["seeds"]:
        own = run_folder.of_seed(folder, seed) if folder else None
        once = {key: value for key, value in config.items() if key != "seeds"} | {"seed": seed}
        if seed in done and own and folder:
            summary = run_folder.read_summary(own)
            whose = f"{own.name}/summary.json"
            run_folder.check_same(once, summary, folder / "config.json", whose, subset=True)
            summaries.append(summary)
            continue
        if World().rank == 0 and own:
            run_folder.make(own)
            print(f"\nseed {seed}")
        with alone(own):
            if World().rank == 0 and own:
                run_folder.write_json(own / "config.json", once)
            summaries.append(train_once(once, own, digits, device))
    if World().rank == 0 and folder:
        finish_seeds(folder, config, summaries)


def finish_seeds(folder: Path, config: dict[str, Any], summaries: list[dict[str, Any]]) -> None:
    import figures

    runs = [run_folder.read_rows(run_folder.of_seed(folder, seed)) for seed in config["seeds"]]
    title = f"{config['model']} on {config['dataset_origin']}, {config['recipe']} recipe: "
    title += (
        f"{len(runs)} seeds"
        if len(runs[0]) == 1
        else (f"mean of {len(runs)} seeds, from least to most")
    )
    picture = figures.curves(runs, title, Recipe.read(config["settings"]), config["seeds"])
    run_folder.write_atomically(folder / "curves.png", picture.savefig)
    shared = {key: summaries[0][key] for key in run_folder.FACTS}
    result = run_folder.summarise_seeds(summaries) | config | shared
    run_folder.write_json(folder / "summary.json", result)
    seeds_table(result, folder)


# ---------------------------------------------------------------------------- start


def main(argv: list[str] | None = None) -> int:
    args = arguments.parse(sys.argv[1:] if argv is None else argv, descriptions())
    try:
        run(args)
        sys.stdout.flush()
        return 0
    except (arguments.UsageError, DataError, run_folder.FolderError) as error:
        return refused(str(error))
    except KeyboardInterrupt:
        if is_first():
            print(f"\nstopped{how_to_go_on(args)}", file=sys.stderr)
        return 130
    except Exception as error:  # one line, whatever it is
        if args.debug:
            raise
        return refused(_unexpected(error) + how_to_go_on(args))


def how_to_go_on(args: argparse.Namespace) -> str:
    """The very command that takes up what was stopped, where there is something to take up."""
    folder = args.resume
    if folder is None or not (folder / "config.json").exists():
        return ""
    if (folder / "summary.json").exists():
        return f"; {folder} holds the finished run"
    shared = os.environ.get("WORLD_SIZE")
    command = ["torchrun", "--nproc-per-node", shared] if shared else ["python"]
    command += [sys.argv[0], "--resume", str(folder)]
    if args.data_dir:
        command += ["--data-dir", str(args.data_dir)]
    if args.device != "auto":
        command += ["--device", args.device]
    return f"; go on from the last complete epoch with: {shlex.join(command)}"


def is_first() -> bool:
    """Whether this process speaks for all that share a run, also once they have parted."""
    return os.environ.get("RANK", "0") == "0"


def refused(why: str) -> int:
    if is_first():
        print(f"mnist_s6.py: error: {why}", file=sys.stderr)
    return 2


def _unexpected(error: Exception) -> str:
    """One line on what no check has foreseen."""
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, OSError):  # printing, say, into a pipe that nobody reads any more
        silence()
        return f"{error.filename or 'standard output'}: {error.strerror or reason}"
    # The CPU's allocator has no exception of its own.
    full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in reason
    if full:
        return f"memory is full: {reason or 'Python has none left'}"
    return f"unexpected {type(error).__name__}: {reason} (--debug shows where)"


def silence() -> None:
    """Let nothing more be written to standard output: at its end Python would try once more."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    with allow_all_characters():  # a redirected stdout may lack characters of the tables
        sys.exit(main())
