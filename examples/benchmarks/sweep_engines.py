"""Where the groups of a sweep train: in this process, or on the machines of a Ray cluster.

An engine is entered, says how many runs a group may have, and gives every group back once it is
trained, in any order.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sweep_runs import Run, Setting, Trained, train_group

import arguments

SIDE_BY_SIDE = 16  # runs on a GPU; more are not faster
RETRIES = 3  # of a group whose worker or machine was lost
ROOT = Path(__file__).resolve().parents[2]
SENT = ("budgetnet", "examples")  # to every machine


class Here:
    """One group after the other, in this process."""

    def __init__(self, device: str) -> None:
        self.device = str(arguments.pick_device(device))

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def width(self, runs: int) -> int:
        return SIDE_BY_SIDE if torch.device(self.device).type == "cuda" else 1

    def train(self, groups: list[tuple[Run, ...]], setting: Setting) -> Iterator[Trained]:
        for group in groups:
            yield train_group(group, setting)


class OnRay:
    """Groups are tasks of a Ray cluster; the task of a worker that was lost runs again elsewhere.

    A task has one GPU where the cluster has any, and otherwise as many CPUs as threads. The
    code of this clone is sent along, so that all machines run the same.
    """

    def __init__(self, device: str, threads: int, address: str | None) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise arguments.UsageError(
                f"--device {device!r}: on Ray, which picks the GPU, it is auto, cpu or cuda"
            )
        self.device, self.threads, self.address = device, threads, address

    def __enter__(self) -> OnRay:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # lines of equal groups are not the same line
        try:
            import ray
        except ModuleNotFoundError as error:
            raise arguments.UsageError(
                '--engine ray needs Ray: pip install -e ".[examples,ray]"'
            ) from error
        others = [path.name for path in ROOT.iterdir() if path.name not in SENT]
        code = {
            "working_dir": str(ROOT),
            "excludes": [f"/{name}" for name in others],
            # relative to the copy of working_dir, in which a worker starts
            "env_vars": {"PYTHONPATH": os.pathsep.join(["examples", "examples/benchmarks"])},
        }
        try:
            ray.init(address=self.address, runtime_env=code, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = self.address or os.environ.get("RAY_ADDRESS") or "this machine"
            reason = " ".join(str(error).split())
            raise arguments.UsageError(f"no Ray cluster at {where}: {reason}") from error
        self.ray = ray
        self._check_resources()
        return self

    def _check_resources(self) -> None:
        """Settle on a device, and refuse what no machine could ever run: Ray would wait for one."""
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.gpus = int(sum(machine.get("GPU", 0) for machine in machines))
        if self.device == "auto":
            self.device = "cuda" if self.gpus else "cpu"
        if self.device == "cuda" and not self.gpus:
            raise arguments.UsageError("--device cuda: no machine of the cluster has a GPU")
        most = int(max(machine.get("CPU", 0) for machine in machines))
        if self.device == "cpu" and self.threads > most:
            raise arguments.UsageError(
                f"--threads {self.threads}: a machine of the cluster has {most} CPUs at most"
            )

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

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


def train_and_tell(group: tuple[Run, ...], setting: Setting) -> Trained:
    """`train_group`, with a line that Ray shows where the sweep was started."""
    names = ", ".join(f"{job.name}, seed {seed}" for job, seed in group)
    print(f"{socket.gethostname()} trains {names}", flush=True)
    return train_group(group, setting)
