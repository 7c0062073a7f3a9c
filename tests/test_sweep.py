"""Sweeps of many runs: what is left to do, how it comes together, and on which machines."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

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

    return argparse.Namespace(experiments=experiments, sweep=sweep, runs=sweep_runs)


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
    scripts.sweep.main(["trial", *args, *more])
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
        rows, machines = scripts.sweep.merge("trial", rows, machines, new)
    assert [{"hardware": "B"}, {"hardware": "A"}] == machines
    expected = [(one.name, 0, 0), (one.name, 1, 1), (two.name, 0, 1), (two.name, 1, 0)]
    assert expected == [(row["name"], row["seed"], row["machine"]) for row in rows]


def test_a_seed_has_one_row_though_it_came_back_twice(scripts):
    one, _ = scripts.experiments.LISTS["trial"]()
    rows, machines = scripts.sweep.merge("trial", [], [], trained(scripts, (one, 0, 90.0)))
    again = trained(scripts, (one, 0, 10.0), (one, 1, 80.0), machine="another")
    rows, _ = scripts.sweep.merge("trial", rows, machines, again)
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
    from safetensors.torch import load_file

    from mnist_data import load
    from trainer import evaluate

    *_, found = run(scripts, tmp_path)
    model = jobs[1].build()
    model.load_state_dict(load_file(tmp_path / "kept" / "trial" / f"{found['name']}-0.safetensors"))
    _, accuracy = evaluate(model, load("digits").test)
    assert found["last"] == round(accuracy, 4)
    assert 1 == len(list((tmp_path / "kept" / "trial").iterdir()))
