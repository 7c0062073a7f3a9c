"""The raw results under docs/results: what they state follows from the runs."""

import json
import statistics
from pathlib import Path

import pytest

from budgetnet import deployment, models, plan
from budgetnet.models import shipping

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SWEEPS = sorted(path.stem for path in RESULTS.glob("*.json") if '"machines": [' in path.read_text())


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", SWEEPS)
def test_every_mean_is_that_of_the_runs(name):
    found = read(name)
    assert {run["name"] for run in found["runs"]} == set(found["summary"])
    for key, row in found["summary"].items():
        runs = [run for run in found["runs"] if run["name"] == key]
        last = [run["last"] for run in runs]
        assert sorted(run["seed"] for run in runs) == list(range(len(runs))), key
        assert [run["epochs"][-1] for run in runs] == last
        assert statistics.mean(last) == pytest.approx(row["mean"], abs=1e-4)
        if len(last) > 1:
            assert statistics.stdev(last) == pytest.approx(row["sd"], abs=1e-4)
        assert (len(last), min(last), max(last)) == (row["n"], row["least"], row["most"])
        known = row["model"] in models.list_models()
        spec = models.get_reference(row["model"]).spec if known else row["model"]
        account = plan(spec, (1, 28, 28))
        assert (account.params, account.macs) == (row["parameters"], row["macs"])
        assert list(account.receptive_field.size) == row["receptive_field"]


@pytest.mark.parametrize(("name", "limit"), [("dsnet24p", 5_000), ("dsnet36p", 15_000)])
def test_networks_for_clothes_were_the_best_of_their_size_on_held_out_images(name, limit):
    found = read("fashion_shapes")["summary"]
    near = [row for row in found.values() if 0.9 * limit < row["parameters"] < limit]
    assert len(near) >= 4
    assert all(row["held_out"] for row in near)
    best = max(near, key=lambda row: row["mean"])
    assert str(models.get_reference(name).spec) == best["model"]


# Where the runs are, by what they learned from and by network: a list and its experiment.
SHIPPED = {("mnist", "s6"): ("long", "20 epochs, distilled")}
LISTS = {"mnist": "frontier", "fashion_mnist": "fashion"}  # with experiments named as networks


@pytest.mark.parametrize(("model", "weights"), models.list_weights())
def test_what_ships_is_the_median_run_of_the_results(model, weights):
    sweep, name = SHIPPED.get((weights, model), (LISTS[weights], model))
    runs = {run["seed"]: run["last"] for run in read(sweep)["runs"] if run["name"] == name}
    meta = models.get_weights(model, weights).meta
    assert runs == {int(seed): value for seed, value in meta["seeds"]["accuracies"].items()}
    assert shipping.median_run(runs) == meta["seed"]
    assert runs[meta["seed"]] == pytest.approx(meta["accuracy"]["percent"], abs=0.011)
    assert read(sweep)["summary"][name]["recipe"] == meta["recipe"]["settings"]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # one of the constructs
def test_the_constructs_are_counted_as_the_table_says(monkeypatch):
    monkeypatch.syspath_prepend(str(RESULTS.parents[1] / "examples" / "benchmarks"))
    import constructs

    stated = {row["name"]: row for row in read("constructs")["constructs"]}
    assert [construct.name for construct in constructs.CONSTRUCTS] == list(stated)
    for construct in constructs.CONSTRUCTS:
        model = construct.make().eval()
        truth = constructs.truth(construct, model)
        assert truth == stated[construct.name]["truth"]
        ours = constructs.given("budgetnet", model)
        assert {k: v for k, v in truth.items() if v is not None}.items() <= ours.items()
        assert ours == stated[construct.name]["given"]["budgetnet"]


DEPLOYMENTS = read("deployments")


@pytest.mark.parametrize("name", DEPLOYMENTS["networks"])
def test_the_runtimes_allocate_what_the_library_says(name):
    for target, stated in DEPLOYMENTS["networks"][name].items():
        runtime, dtype = target.split()
        found = deployment(name, runtime=runtime, dtype=dtype)
        if "assumed" in stated:
            assert stated["assumed"] == list(found.assumed)
        else:
            said = {"said": found.ram_bytes, "bound": found.ram_bound, "flash": found.flash_bytes}
            assert stated == stated | said | {"real": found.ram_bytes}


def test_the_least_plans_run_as_they_are_planned():
    networks = {name: found["tflm int8"] for name, found in DEPLOYMENTS["networks"].items()}
    for name, found in (networks | DEPLOYMENTS["files"]).items():
        assert found.get("least") == found.get("least_real"), name
        assert found.get("least", 0) <= found.get("real", 0), name
    assert all(found["same_outputs"] for found in DEPLOYMENTS["files"].values())
