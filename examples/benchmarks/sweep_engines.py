"""Where the groups of a sweep train: in this process, or on the machines of a Ray cluster.

An engine says how many runs a group may have, and gives every group back once it is trained, in any
order.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sweep_runs import Run, Setting, Trained, train_group

import arguments

SIDE_BY_SIDE = 16  # runs on a GPU; one that is lost costs all of its group
RETRIES = 3  # of a group whose worker or machine was lost
ROOT = Path(__file__).resolve().parents[2]
SENT = ("budgetnet", "examples")  # to every machine


class Here:
    """One group after the other, in this process."""

    def __init__(self, device: str) -> None:
        self.device = str(arguments.pick_device(device))

    def width(self, runs: int) -> int:
        return SIDE_BY_SIDE if torch.device(self.device).type == "cuda" else 1

    def train(self, groups: list[tuple[Run, ...]], setting: Setting) -> Iterator[Trained]:
        for group in groups:
            yield train_group(group, setting)


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; the code of this clone is sent along, so that all machines run the same."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # lines of equal groups are not the same line
    try:
        import ray
    except ModuleNotFoundError as error:
        raise arguments.UsageError(
            '--engine ray needs Ray: pip install -e ".[examples,ray]"'
        ) from error
    code = {
        "working_dir": str(ROOT),
        "excludes": [f"/{path.name}" for path in ROOT.iterdir() if path.name not in SENT],
        # relative to the copy of working_dir, in which a worker starts
        "env_vars": {"PYTHONPATH": os.pathsep.join(["examples", "examples/benchmarks"])},
    }
    address = address or os.environ.get("RAY_ADDRESS")
    check_answers(address)
    try:
        ray.init(address, runtime_env=code, include_dashboard=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise arguments.UsageError(f"Ray, {address or 'here'}: {reason}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def resources(ray: Any) -> list[dict[str, float]]:
    """What every machine of the cluster has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def settle(machines: list[dict[str, float]], device: str, threads: int) -> tuple[str, int]:
    """The device of all runs, and how many GPUs there are for them.

    What no machine could ever run is refused: Ray would wait for one.
    """
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device not in ("cpu", "cuda"):
        raise arguments.UsageError(
            f"--device {device!r}: on Ray, which picks the GPU, it is auto, cpu or cuda"
        )
    if device == "cuda" and not gpus:
        raise arguments.UsageError("--device cuda: no machine of the cluster has a GPU")
    most = int(max(machine.get("CPU", 0) for machine in machines))
    if device == "cpu" and threads > most:
        raise arguments.UsageError(
            f"--threads {threads}: a machine of the cluster has {most} CPUs at most"
        )
    return device, gpus


@dataclass(frozen=True)
class OnRay:
    """Groups are tasks of a Ray cluster; the task of a worker that was lost runs again elsewhere.

    A task has one GPU or, without any, as many CPUs as threads.
    """

    ray: Any
    device: str
    gpus: int
    threads: int

    def width(self, runs: int) -> int:
        """On GPUs, no more than keeps all of them busy."""
        return min(SIDE_BY_SIDE, math.ceil(runs / self.gpus)) if self.device == "cuda" else 1

    def train(self, groups: list[tuple[Run, ...]], setting: Setting) -> Iterator[Trained]:
        needs: dict[str, Any] = (
            {"num_gpus": 1} if self.device == "cuda" else {"num_cpus": self.threads}
        )
        task = self.ray.remote(max_retries=RETRIES, **needs)(train_and_tell)
        shared = self.ray.put(setting)
        waiting = [task.remote(group, shared) for group in groups]
        while waiting:
            (done, *_), waiting = self.ray.wait(waiting)
            try:
                yield self.ray.get(done)
            except self.ray.exceptions.RayTaskError as error:  # what a run raised, there
                raise error.cause from error


def check_answers(address: str | None) -> None:
    """Ray itself would try for minutes to reach an address where nothing is."""
    host, _, port = (address or "").rpartition("/")[2].rpartition(":")
    if not port.isdigit():  # such as auto
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise arguments.UsageError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; give the address "
            "that `ray start --head` printed"
        ) from error


def train_and_tell(group: tuple[Run, ...], setting: Setting) -> Trained:
    """`train_group`, with a line that Ray shows where the sweep was started."""
    names = ", ".join(f"{job.name}, seed {seed}" for job, seed in group)
    print(f"{socket.gethostname()} trains {names}", flush=True)
    return train_group(group, setting)
