"""Sweeps of many runs: what is left to do, how it comes together, and on which machines."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "examples" / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The modules of a sweep."""
    for folder in (ROOT / "examples", BENCHMARKS):
        monkeypatch.syspath_prepend(str(folder))
    import experiments
    import sweep
    import sweep_runs

    before = torch.get_num_threads()
    yield argparse.Namespace(experiments=experiments, sweep=sweep, runs=sweep_runs)
    torch.set_num_threads(before)


@pytest.fixture
def jobs(scripts, monkeypatch):
    """Two experiments of a list "trial" that takes no time."""
    narrow, wide = (replace(job, seeds=1) for job in scripts.experiments.LISTS["trial"]())
    quick = replace(narrow.recipe, batch_size=512)
    found = [replace(job, recipe=quick) for job in (narrow, wide)]
    monkeypatch.setitem(scripts.experiments.LISTS, "trial", lambda: found)
    return found


def row(name, seed, **more):
    return {"name": name, "seed": seed, "last": 99.0, "shifted": None} | more


def trained(scripts, *runs, machine="here"):
    """What an engine gives back for (job, seed, accuracy)."""
    return scripts.runs.Trained(
        group=tuple((job, seed) for job, seed, _ in runs),
        rows=tuple(row(job.name, seed, last=last) for job, seed, last in runs),
        weights=(None,) * len(runs),
        machine={"hardware": machine},
        seconds=1.0,
    )


def run(scripts, tmp_path, *more):
    """A sweep of "trial" within this process; its rows."""
    args = ["--out", str(tmp_path), "--weights", str(tmp_path / "kept"), "--device", "cpu"]
    scripts.sweep.main(["trial", *args, "--threads", "1", *more])
    return json.loads((tmp_path / "trial.json").read_text())["runs"]


# ---------------------------------------------------------------------------- what is done


def test_a_seed_that_has_a_row_is_not_done_again(scripts):
    two, one = scripts.experiments.LISTS["trial"]()
    rows = [row(two.name, 1), row(one.name, 0), row("an experiment of another list", 0)]
    assert [(two, 0), (one, 1)] == scripts.sweep.left_to_do([two, one], rows)


def test_a_group_has_runs_of_equal_steps_and_data_alone(scripts):
    one, two = scripts.experiments.LISTS["trial"]()
    other = replace(one, dataset="mnist")
    longer = replace(one, recipe=replace(one.recipe, epochs=2))
    work = [(job, seed) for job in (one, other, longer, two) for seed in (0, 1)]
    found = scripts.runs.groups(work, 3)
    assert [3, 1, 2, 2] == [len(group) for group in found]
    assert ((one, 0), (one, 1), (two, 0)) == found[0]
    assert sorted(map(str, work)) == sorted(str(one) for group in found for one in group)


def test_rows_stand_in_the_order_of_the_list_whichever_came_first(scripts):
    one, two = scripts.experiments.LISTS["trial"]()
    rows, machines = [], []
    for job, seed, machine in ((two, 1, "B"), (one, 1, "A"), (two, 0, "A"), (one, 0, "B")):
        new = trained(scripts, (job, seed, 90.0), machine=machine)
        rows, machines = scripts.sweep.merge([one, two], rows, machines, new)
    assert [{"hardware": "B"}, {"hardware": "A"}] == machines
    expected = [(one.name, 0, 0), (one.name, 1, 1), (two.name, 0, 1), (two.name, 1, 0)]
    assert expected == [(row["name"], row["seed"], row["machine"]) for row in rows]


def test_a_seed_has_one_row_though_it_came_back_twice(scripts):
    one, _ = scripts.experiments.LISTS["trial"]()
    rows, machines = scripts.sweep.merge([one], [], [], trained(scripts, (one, 0, 90.0)))
    again = trained(scripts, (one, 0, 10.0), (one, 1, 80.0), machine="another")
    rows, _ = scripts.sweep.merge([one], rows, machines, again)
    assert [90.0, 80.0] == [row["last"] for row in rows]


# ---------------------------------------------------------------------------- in one process


def test_a_sweep_that_is_started_again_trains_what_is_missing(scripts, jobs, tmp_path):
    narrow, wide = jobs
    first = run(scripts, tmp_path, "--only", wide.name)
    assert [wide.name] == [row["name"] for row in first]
    weights = tmp_path / "kept" / "trial" / f"{wide.name}-0.safetensors"
    weights.unlink()
    both = run(scripts, tmp_path)
    assert [narrow.name, wide.name] == [row["name"] for row in both]
    assert first[0] == both[1]
    assert not weights.exists(), "what has a row is not trained again"
    assert both == run(scripts, tmp_path)


def test_weights_that_are_kept_are_those_of_the_row(scripts, jobs, tmp_path):
    from mnist_data import load
    from trainer import evaluate

    *_, found = run(scripts, tmp_path)
    model = jobs[1].build()
    model.load_state_dict(load_file(tmp_path / "kept" / "trial" / f"{found['name']}-0.safetensors"))
    _, accuracy = evaluate(model, load("digits").test)
    assert found["last"] == round(accuracy, 4)
    assert 1 == len(list((tmp_path / "kept" / "trial").iterdir()))


def test_teachers_are_the_first_seeds_of_their_experiment(scripts, jobs, tmp_path, monkeypatch):
    lists, (narrow, wide) = scripts.experiments.LISTS, jobs
    teaching = replace(wide, name="teachers", seeds=3)
    recipe = replace(narrow.recipe, distill=0.5, temperature=2.0)
    taught = replace(narrow, recipe=recipe, teacher="teachers", teachers=2)
    monkeypatch.setitem(lists, "teachers", lambda: [teaching])
    monkeypatch.setitem(lists, "trial", lambda: [taught])
    with pytest.raises(SystemExit, match=r"teachers-0\.safetensors: run sweep.py teachers first"):
        run(scripts, tmp_path)
    arguments = ["--out", str(tmp_path), "--weights", str(tmp_path / "kept"), "--device", "cpu"]
    scripts.sweep.main(["teachers", *arguments, "--threads", "1"])
    run(scripts, tmp_path)

    found = scripts.sweep.read_teachers([(taught, 0)], tmp_path / "kept")
    given = scripts.runs.Setting("cpu", 1, None, found)
    images = torch.rand(4, 1, 28, 28)
    for count in (1, 2, 3):
        several = scripts.runs.teacher_of(replace(taught, teachers=count), given)
        members = [teaching.build().eval() for _ in range(count)]
        for seed, member in enumerate(members):
            path = tmp_path / "kept" / "teachers" / f"teachers-{seed}.safetensors"
            member.load_state_dict(load_file(path))
        expected = sum(member(images) for member in members) / count
        torch.testing.assert_close(several(images), expected, rtol=1e-4, atol=1e-5)


def test_one_sweep_at_a_time_trains_a_list(scripts, jobs, tmp_path):
    from locking import locked

    (tmp_path / "kept" / "trial").mkdir(parents=True)
    with locked(tmp_path / "kept" / "trial"), pytest.raises(SystemExit, match="is in use"):
        run(scripts, tmp_path)
    assert [] == list(tmp_path.glob("*.json"))


def test_what_ray_needs_is_said_before_anything_is_trained(scripts, jobs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(scripts, tmp_path, "--address", "auto")
    assert "--address is of a Ray cluster: it needs --engine ray" in capsys.readouterr().err
    if find_spec("ray"):
        more, said = ["--address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"
    else:
        more, said = [], "--engine ray needs Ray: pip install"
    with pytest.raises(SystemExit, match=said):
        run(scripts, tmp_path, "--engine", "ray", *more)
    assert [] == list(tmp_path.glob("*.json"))


def test_what_no_machine_can_run_is_refused(scripts):
    from sweep_engines import settle

    from arguments import UsageError

    small, large = {"CPU": 2.0}, {"CPU": 8.0, "GPU": 4.0}
    assert ("cpu", 0) == settle([small], "auto", 2)
    assert ("cuda", 4) == settle([small, large], "auto", 9)
    assert ("cpu", 4) == settle([small, large], "cpu", 8)
    for machines, device, threads, said in (
        ([small], "cuda", 1, "no machine of the cluster has a GPU"),
        ([small], "auto", 3, "--threads 3: a machine of the cluster has 2 CPUs at most"),
        ([large], "cuda:1", 1, "on Ray, which picks the GPU, it is auto, cpu or cuda"),
    ):
        with pytest.raises(UsageError, match=said):
            settle(machines, device, threads)


def test_groups_are_no_larger_than_keeps_all_gpus_busy(scripts):
    from sweep_engines import OnRay

    on_gpus = OnRay(None, "cuda", gpus=4, threads=1)
    assert [1, 5, 16] == [on_gpus.width(runs) for runs in (3, 20, 1000)]
    assert 1 == OnRay(None, "cpu", gpus=0, threads=1).width(1000)


# ---------------------------------------------------------------------------- on machines


def sweep_on(address, out):
    """A sweep of "trial" on a Ray cluster, in a process of its own."""
    call = [sys.executable, BENCHMARKS / "sweep.py", "trial", "--engine", "ray"]
    call += ["--address", address, "--threads", "1", "--device", "cpu"]
    call += ["--out", out, "--weights", out / "kept"]
    with open(out / "log.txt", "w") as log:
        return subprocess.Popen(list(map(str, call)), stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """The address of a Ray cluster of two machines with one CPU each, both on this one."""
    pytest.importorskip("ray", reason='ray is not installed: pip install -e ".[ray]"')
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home of whoever tests
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    machines.add_node(num_cpus=1)
    yield machines.address
    machines.shutdown()


TRAINS = re.compile(r"pid=(\d+)\S* \S+ trains (.+)")


def killed_while_it_trains(log, process):
    """Kill the first worker that says what it trains; what that was."""
    while process.poll() is None:
        if found := TRAINS.search(log.read_text()):
            os.kill(int(found[1]), signal.SIGKILL)
            return found[2]
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@pytest.mark.deep
def test_a_worker_that_is_killed_costs_its_run_and_nothing_else(scripts, cluster, tmp_path):
    alone, many = tmp_path / "alone", tmp_path / "many"
    expected = run(scripts, alone)
    many.mkdir()
    begun = json.loads((alone / "trial.json").read_text()) | {"runs": expected[:1]}
    (many / "trial.json").write_text(json.dumps(begun))  # a sweep that was cut short

    process = sweep_on(cluster, many)
    lost = killed_while_it_trains(many / "log.txt", process)
    counts = set()
    while process.poll() is None:
        runs = json.loads((many / "trial.json").read_text())["runs"]  # whole at all times
        assert len(runs) == len({(run["name"], run["seed"]) for run in runs})
        counts.add(len(runs))
        time.sleep(0.01)
    log = (many / "log.txt").read_text()
    assert 0 == process.returncode, log
    assert 1 in counts
    assert counts & {2, 3}, "a row is there as soon as it can be, and not with the last"

    assert 2 == len({pid for pid, what in TRAINS.findall(log) if what == lost}), log
    first = expected[0]
    assert f"trains {first['name']}, seed {first['seed']}" not in log, "what has a row"
    assert (alone / "trial.json").read_bytes() == (many / "trial.json").read_bytes()
    kept = {path.name: path.read_bytes() for path in (alone / "kept" / "trial").iterdir()}
    assert 2 == len(kept)
    assert kept == {path.name: path.read_bytes() for path in (many / "kept" / "trial").iterdir()}
