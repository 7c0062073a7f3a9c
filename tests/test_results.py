"""The raw results under docs/results: what they state follows from the runs."""

import json
import re
import statistics
from collections import Counter
from pathlib import Path

import pytest

from budgetnet import deployment, models, plan
from budgetnet.models import shipping

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SWEEPS = sorted(
    path.stem
    for path in RESULTS.glob("*.json")
    if {"machines", "runs"} <= json.loads(path.read_text()).keys()
)


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
        if (name, row.get("dataset"), len(runs)) != ("objective_runs", "mnist", 1):
            assert [run["epochs"][-1] for run in runs] == last  # of those, the last one was kept
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
SHIPPED = {
    ("mnist", "s6"): ("together", "20 epochs, three teachers"),
    ("mnist", "dsnet24_40"): ("sizes", "dsnet24_40"),
    ("mnist", "dsnet40"): ("sizes", "dsnet40"),
}
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


# ---------------------------------------------------------------------------- headlines

ROOT = RESULTS.parents[1]
COUNTED = (
    r"`(\w+\.py)[^`]*`\]\((?:docs/)?audit\.md#([\w-]+)\)"  # its script, and where in the audit
)


def measured():
    """The statements of README's part that is rendered, a line each."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = re.search(r"<!-- measured -->\n- (.+?)<!-- end -->", text, re.DOTALL)[1]
    return [" ".join(statement.split()) for statement in part.split("\n- ")]


def counted_again():
    """What README may state, counted from the raw files without the code that renders it."""
    for sweep, name in (
        ("frontier", "dsnet16"),
        ("sizes", "dsnet40"),
        ("fashion", "dsnet36p"),
    ):
        last = [run["last"] for run in read(sweep)["runs"] if run["name"] == name]
        spread = f"{statistics.mean(last):.3f} ± {statistics.stdev(last):.3f}"
        yield f"{plan(name).params:,} parameters: {spread} over {len(last)} seeds"

    networks = [each for each in read("models")["networks"] if each["outcome"] != "not built"]
    found = Counter(each["outcome"] for each in networks)
    zoos = len({each["library"] for each in networks})
    yield f"{found['accounted']} of {len(networks)} networks of {zoos} model zoos agree"
    yield f"{len(networks) - found['accounted'] - found['refused']} are wrong"
    yield f"{found['refused']} are refused by name"

    told = DEPLOYMENTS["networks"] | {
        name: {"tflm int8": each} for name, each in DEPLOYMENTS["files"].items()
    }
    for said, target in (
        ("TensorFlow Lite Micro {}", "tflm int8"),
        ("{} in int8", "executorch int8"),
        ("{} in float32", "executorch float32"),
    ):
        both = [of[target] for of in told.values() if "real" in of.get(target, {})]
        yield said.format(f"{sum(one['said'] == one['real'] for one in both)} of {len(both)}")

    times, ours = read("accounting")["networks"]["resnet50"], "budgetnet.account"
    median, least = (times[key][ours] for key in ("median_ms", "least_ms"))
    rounds = re.search(r"--rounds (\d+)", read("accounting")["command"])[1]
    yield f"{median:.1f} ms (median of {rounds} rounds, least {least:.1f})"
    peers = [ms for tool, ms in times["median_ms"].items()
             if tool not in (ours, "budgetnet.plan", "rules only")
             and not tool.endswith(", meta")]  # fmt: skip
    yield f"{min(peers) / median:.0f} times faster than the fastest of {len(peers)} peers"


def test_every_headline_number_is_counted_again_from_the_raw_files():
    text = "\n".join(measured())
    for stated in counted_again():
        assert stated in text, f"{stated} is not what README says:\n{text}"
        text = text.replace(stated, "", 1)
    text = re.sub(r"\(\[.*?\]\(.*?\)\)|`.*?`", "", text)
    assert [] == re.findall(r"(?<![A-Za-z0-9])[\d.,]*\d", text), "a number that nothing counted"


def sections():
    """The audit's sections by the end of their address."""
    _, *found = re.split(r"^## ", (ROOT / "docs" / "audit.md").read_text("utf-8"), flags=re.M)
    by_address = {}
    for section in found:
        title = section.partition("\n")[0].lower()
        address = re.sub(r"[^a-z0-9]+", "-", title).strip("-")
        assert address == re.sub(r"[^\w -]", "", title).replace(" ", "-"), "as on GitHub"
        by_address[address] = section
    return by_address


@pytest.mark.parametrize(
    "statement",
    [
        *measured(),
        *re.findall(
            r"^\|.*`\w+\.py.*\|$", (RESULTS.parent / "results.md").read_text("utf-8"), re.M
        ),
    ],
    ids=lambda statement: statement[:40],
)
def test_every_headline_is_one_click_from_its_command_and_raw_file(statement):
    ((script, address),) = re.findall(COUNTED, statement)
    section = sections()[address]
    assert f"`python examples/benchmarks/{script}" in section
    raws = re.findall(r"raw: \[(\w+)\.json\]\(results/\1\.json\)", section)
    assert raws, "no raw file"
    assert all((RESULTS / f"{raw}.json").is_file() for raw in raws)


MEASURED = re.compile(  # times, sizes, factors and shares, as a sentence states a measurement
    r"[\d.]+ ?(?:ms|seconds|minutes|hours|points|GB)\b|[\d.]+ times\b|±|\d+\.\d+ ?%"
)
TARGETS = {"99.4%", "99.4 %", "92.5 %"}  # what others published


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
    ],
    ids=lambda page: page.name,
)
def test_only_what_is_rendered_states_measurements(page):
    """A sentence written by hand links to a measurement; limits are no measurements."""
    if page.name in ("results.md", "audit.md", "limits.md", "changes.md"):
        return
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- measured -->.*?<!-- end -->|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert [] == [found for found in MEASURED.findall(text) if found not in TARGETS]
