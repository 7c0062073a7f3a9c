"""The training itself: one run's state, its step, and what is measured after an epoch.

A step reads nothing back from the device and depends on nothing but tensors that `Training` holds.
So it can be recorded once as a CUDA graph and replayed, which takes the Python between two kernels
out of a small network's way, and a run can be put on disk after any epoch and taken up again.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_data import Digits, Split
from muon import Muon
from recipes import Recipe

WARM_UP = 3  # steps before a graph is recorded: optimiser and libraries allocate in the first ones


class World:
    """The processes that share one run; alone unless torch.distributed was set up."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of something that all processes hold."""
        return rows.tensor_split(self.size)[self.rank]

    def sum(self, *parts: Tensor | float) -> list[float]:
        """Each number, summed over all processes."""
        numbers = torch.stack([torch.as_tensor(part).double().cpu() for part in parts])
        if self.size > 1:
            on_device = numbers.cuda() if dist.get_backend() == "nccl" else numbers
            dist.all_reduce(on_device)
            numbers = on_device.cpu()
        return numbers.tolist()

    def agree(self, model: nn.Module) -> None:
        """Give every process the first one's BatchNorm statistics; each saw its own images."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


class Training:
    """A run between two steps: model, optimiser, position in the epoch, random state."""

    copies = 1  # of the network, joined in the model

    def __init__(
        self,
        model: nn.Module,
        digits: Digits,
        recipe: Recipe,
        generator: torch.Generator,
        *,
        teacher: nn.Module | None = None,
        amp: bool = False,
        wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]] = lambda model: model,
    ) -> None:
        device = generator.device
        self.recipe, self.generator, self.amp, self.world = recipe, generator, amp, World()
        self.generators = [generator]
        self.dataset = digits.name
        self.train_set, self.test_set = digits.train.to(device), digits.test.to(device)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.forward = wrap(self.model)
        self.teacher = teacher
        if teacher is not None:
            teacher.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.answers = self.ask_once() if teacher and _few_views(recipe) else None
        # What is evaluated and kept: the weights, or their moving average.
        self.result = copy.deepcopy(self.model) if recipe.ema else self.model
        count = self.steps = math.ceil(len(self.train_set) / recipe.batch_size)
        done = [step / (recipe.epochs * count + 1) for step in range(1, recipe.epochs * count + 1)]
        self.rates = torch.tensor([recipe.rate(part) for part in done], device=device)
        self.strengths = torch.tensor([recipe.strength(part) for part in done], device=device)
        self.parameters = list(self.model.parameters())
        rate = torch.zeros((), device=device)
        self.optimizer = optimizer(recipe, self.parameters, rate, self.copies)
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.epoch = 0
        self.done = torch.zeros(1, dtype=torch.int64, device=device)  # steps, of all epochs
        self.order = torch.arange(len(self.train_set), device=device)
        self.position = torch.zeros((), dtype=torch.int64, device=device)  # in the order
        self.loss_sum = torch.zeros((), device=device)
        self.correct = torch.zeros((), device=device)

    def begin_epoch(self) -> list[int]:
        """Shuffle, and return the size of every batch to come."""
        self.epoch += 1
        self.model.train()
        count = len(self.train_set)
        self.shuffle()
        for total in (self.position, self.loss_sum, self.correct):
            total.zero_()
        # Equal parts: a short last batch would weigh more, and one image breaks BatchNorm.
        return [len(part) for part in torch.empty(count).tensor_split(self.steps)]

    def shuffle(self) -> None:
        count, device = len(self.order), self.order.device
        torch.randperm(count, generator=self.generator, device=device, out=self.order)

    def draw(self, size: int) -> tuple[Tensor, Tensor]:
        """The next `size` images of the epoch, and for each its random numbers."""
        rows = self.order[self.position + torch.arange(size, device=self.order.device)]
        return rows, self.recipe.augment.draws(size, self.generator)

    def step(self, size: int, side: int) -> None:
        """Learn from the next `size` images of the epoch, `side` pixels wide."""
        self.rate.copy_(self.rates[self.done].squeeze())
        # Every process draws for the whole batch: so they see what one process would see.
        rows, random = (self.world.share(part) for part in self.draw(size))
        pixels, strength = self.train_set.images[rows], self.strengths[self.done]
        images = self.train_set.normalise(self.recipe.augment(pixels, random, side, strength))
        labels = self.train_set.labels[rows]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.forward(images)
            wanted = self.lesson(images, rows, random)
        loss = self.loss(logits.float(), labels, wanted)
        self.optimizer.zero_grad()
        # DistributedDataParallel averages over processes, whatever part of the batch each had.
        # Copies add up: each has so many rows, and its own mean.
        (loss * (self.world.size * len(rows) / size)).backward()
        self.optimizer.step()
        if self.recipe.ema:
            self.average()
        # Summed on the device: reading a number here would make the device wait for us.
        self.loss_sum += loss.detach() * len(rows)
        right = logits.detach().argmax(1) == labels
        self.correct += right.view(*self.correct.shape, -1).sum(-1)
        self.position += size
        self.done += 1

    @torch.no_grad()
    def lesson(self, images: Tensor, rows: Tensor, random: Tensor) -> Tensor | None:
        """The teacher's logits of the same augmented images."""
        if self.teacher is None:
            return None
        if self.answers is None:
            return self.teacher(images)
        strength = self.strengths[self.done]
        return self.answers[self.recipe.augment.mirrored(random, strength).long(), rows]

    def ask_once(self) -> Tensor:
        """(2, images, classes): the teacher's logits of all images as they are, and mirrored."""
        images = self.train_set.images
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            views = [replace(self.train_set, images=view) for view in (images, images.flip(3))]
            return torch.stack([predict(self.teacher, view) for view in views])

    def loss(self, logits: Tensor, labels: Tensor, wanted: Tensor | None) -> Tensor:
        """Mean over the batch of the cross entropies with the labels and with the teacher."""
        recipe = self.recipe
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if wanted is None:
            return loss
        soft = F.log_softmax(logits / recipe.temperature, dim=1)
        aim = F.log_softmax(wanted.float() / recipe.temperature, dim=1)
        # Squared: the gradient of softened logits shrinks with the square of the temperature.
        taught = F.kl_div(soft, aim, reduction="batchmean", log_target=True)
        return (1 - recipe.distill) * loss + recipe.distill * recipe.temperature**2 * taught

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights and statistics towards the present ones."""
        averaged, present = ([*m.parameters(), *_statistics(m)] for m in (self.result, self.model))
        # Early on a slow average would still hold the weights of the beginning.
        keep = torch.clamp((self.done + 1) / (self.done + 10), max=self.recipe.ema).squeeze()
        for one, other in zip(averaged, present, strict=True):
            one.lerp_(other, 1 - keep)  # a tensor as weight: a number would be read off the device

    def end_epoch(self) -> dict[str, Any]:
        """The row of metrics of this epoch; accuracies are percentages."""
        loss_sum, correct = self.world.sum(self.loss_sum, self.correct)
        self.world.agree(self.result)
        test_loss, test_accuracy = evaluate(self.result, self.test_set, world=self.world)
        return {
            "epoch": self.epoch,
            "dataset": self.dataset,
            "train_loss": round(loss_sum / len(self.train_set), 6),
            "train_accuracy": round(100 * correct / len(self.train_set), 4),
            "test_loss": round(test_loss, 6),
            "test_accuracy": round(test_accuracy, 4),
        }

    # ------------------------------------------------------------------ on disk and back

    def state(self) -> dict[str, Tensor]:
        """All that the epochs to come depend on, by name."""
        parts = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.recipe.ema:
            parts |= {f"average.{name}": t for name, t in self.result.state_dict().items()}
        for index, kept in self.optimizer.state_dict()["state"].items():
            parts |= {f"optimizer.{index}.{name}": value for name, value in kept.items()}
        parts["generator"] = self.generator.get_state()
        parts["torch"] = torch.get_rng_state()  # dropout draws from torch's own generators
        if self.done.is_cuda:
            parts["cuda"] = torch.cuda.get_rng_state(self.done.device)
        return parts | {"done": self.done}

    def load(self, parts: dict[str, Tensor], epoch: int) -> None:
        """Continue after `epoch` from what `state` gave then."""
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {}
        models: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}}
        for path, value in parts.items():
            kind, _, name = path.partition(".")
            if kind == "optimizer":
                index, _, name = name.partition(".")
                # In the parameter's own memory order: the fused step walks both side by side.
                like = torch.empty_like(self.parameters[int(index)]).copy_(value)
                optimizer["state"].setdefault(int(index), {})[name] = like
            elif kind in models:
                models[kind][name] = value
        self.model.load_state_dict(models["model"])
        if self.recipe.ema:
            self.result.load_state_dict(models["average"])
        self.optimizer.load_state_dict(optimizer)
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.generator.set_state(parts["generator"].cpu())
        torch.set_rng_state(parts["torch"].cpu())
        if "cuda" in parts:
            torch.cuda.set_rng_state(parts["cuda"].cpu(), self.done.device)
        self.done.copy_(parts["done"])
        self.epoch = epoch


def optimizer(
    recipe: Recipe, parameters: list[nn.Parameter], lr: Tensor, copies: int
) -> torch.optim.Optimizer:
    if recipe.matrix_lr:
        scale = recipe.matrix_lr / recipe.lr
        return Muon(parameters, lr, recipe.momentum, matrix_scale=scale, copies=copies)
    return torch.optim.SGD(
        parameters,
        lr,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        fused=True,
    )


def _few_views(recipe: Recipe) -> bool:
    """Whether a teacher sees every image in no more than two ways."""
    return recipe.augment.moves_nothing and not recipe.early


def _statistics(model: nn.Module) -> list[Tensor]:
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]


# ---------------------------------------------------------------------------- epochs


class Stepper:
    """Steps several runs at once; on one GPU, from recorded graphs in which runs are parallel."""

    def __init__(self, runs: list[Training], graphs: bool) -> None:
        self.runs, self.taken = runs, 0
        self.use_graphs = graphs and runs[0].done.is_cuda and runs[0].world.size == 1
        self.graphs: dict[tuple[int, ...], torch.cuda.CUDAGraph] = {}
        if self.use_graphs:
            self.streams = [torch.cuda.Stream() for _ in runs]

    def step(self, size: int, side: int) -> None:
        if not self.use_graphs:
            for run in self.runs:
                run.step(size, side)
            return
        key = (size, side)
        if self.taken < WARM_UP:
            self._branch(size, side)
        else:
            if key not in self.graphs:
                self.graphs[key] = self._record(size, side)
            self.graphs[key].replay()
        self.taken += 1

    def _record(self, size: int, side: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in (each for run in self.runs for each in run.generators):
            graph.register_generator_state(generator)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            self._branch(size, side)
        return graph

    def _branch(self, size: int, side: int) -> None:
        """A stream a run, all of them between two points of the present stream."""
        present = torch.cuda.current_stream()
        for run, stream in zip(self.runs, self.streams, strict=True):
            stream.wait_stream(present)
            with torch.cuda.stream(stream):
                run.step(size, side)
        for stream in self.streams:
            present.wait_stream(stream)


def train(
    run: Training,
    on_step: Callable[[int, int, int, Tensor, Tensor], None] = lambda *_: None,
    *,
    graphs: bool = True,
) -> Iterator[dict[str, Any]]:
    """Train to the end of the recipe, in place, and yield a row of metrics after every epoch."""
    stepper = Stepper([run], graphs)
    while run.epoch < run.recipe.epochs:
        started = time.perf_counter()
        seen = 0
        for number, size in enumerate(run.begin_epoch(), start=1):
            stepper.step(size, run.recipe.side(run.epoch))
            seen += size
            on_step(run.epoch, number, seen, run.loss_sum, run.correct)
        row = run.end_epoch()
        yield row | {"seconds": round(time.perf_counter() - started, 3)}


@torch.inference_mode()
def predict(model: nn.Module, split: Split) -> Tensor:
    """Logits of every image, without augmentation."""
    model.eval()
    size = 2_000 if split.images.is_cuda else 250  # on a GPU launching costs more than computing
    return torch.cat([model(split.normalise(part)) for part in split.images.split(size)])


def predict_shifted(model: nn.Module, split: Split, reach: int = 1) -> Tensor:
    """Mean log-probabilities over the image and its shifts by up to `reach` pixels."""
    steps = range(-reach, reach + 1)
    views = [split.images.roll((down, across), (2, 3)) for down in steps for across in steps]
    logits = (predict(model, replace(split, images=view)) for view in views)
    return torch.stack([each.log_softmax(1) for each in logits]).mean(0)


def evaluate(model: nn.Module, split: Split, *, world: World | None = None) -> tuple[float, float]:
    """Mean cross entropy, and accuracy in percent."""
    world = world or World()
    share = replace(split, images=world.share(split.images), labels=world.share(split.labels))
    logits = predict(model, share)
    loss = F.cross_entropy(logits, share.labels, reduction="sum")
    loss_sum, correct = world.sum(loss, (logits.argmax(1) == share.labels).sum())
    return loss_sum / len(split), 100 * correct / len(split)
