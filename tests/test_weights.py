"""Shipped weights: whole, the ones their sidecar describes, and as accurate as it says."""

import copy
import hashlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from budgetnet import Account, Spec, account, errors, models, plan
from budgetnet.models import shipping, weights
from budgetnet.models.presets import GreyImage

ROOT = Path(__file__).resolve().parents[1]
PRETRAINED = ROOT / "budgetnet" / "models" / "pretrained"
SMALL = {"s6", "dsnet14"}  # evaluated in seconds
SHIPPED = models.list_weights()
PLAIN = models.get_weights("s6", "mnist").meta
META = {key: PLAIN[key] for key in weights.GIVEN} | {"weights": "test", "seed": 4, "rule": "any"}
RUNS = {3: 99.5, 4: 99.25}
DIGITS, LABELS = torch.zeros(7, 1, 28, 28, dtype=torch.uint8), torch.arange(7)


@pytest.fixture
def copied(tmp_path):
    """The shipped files of s6 in a folder of their own, to be damaged."""
    for suffix in ("json", "safetensors"):
        (tmp_path / f"s6-mnist.{suffix}").write_bytes(
            (PRETRAINED / f"s6-mnist.{suffix}").read_bytes()
        )
    return tmp_path


def edit(folder, signed=True, **changes):
    """Change fields of the sidecar, and its digest if it is `signed`; `None` removes one."""
    file = folder / "s6-mnist.json"
    meta = json.loads(file.read_text()) | changes
    meta = {key: value for key, value in meta.items() if value is not None}
    if signed and "digest" in meta:
        meta["digest"] = weights.digest_of(meta)
    file.write_text(json.dumps(meta))


# ---------------------------------------------------------------------------- what ships


def test_the_names_are_those_of_the_files():
    files = {file.name for file in PRETRAINED.iterdir()}
    assert files == {f"{m}-{w}.{suffix}" for m, w in SHIPPED for suffix in ("json", "safetensors")}
    assert ("s6", "mnist") in SHIPPED
    assert SHIPPED == [pair for name in models.list_models() for pair in models.list_weights(name)]


@pytest.mark.parametrize("pair", SHIPPED, ids="-".join)
def test_every_file_is_whole_and_described(pair):
    meta = models.get_weights(*pair).meta
    data = (PRETRAINED / f"{pair[0]}-{pair[1]}.safetensors").read_bytes()
    assert meta["sha256"] == hashlib.sha256(data).hexdigest()
    expected = plan(Spec.parse(meta["spec"]), meta["input_shape"], name=meta["model"])
    assert expected == Account.from_dict(meta["account"])
    net = models.get_model(*pair)
    assert expected.params == sum(p.numel() for p in net.parameters())
    assert expected.rows == account(net, meta["input_shape"]).rows
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.parametrize("pair", SHIPPED, ids="-".join)
def test_every_sidecar_agrees_with_itself(pair):
    meta = models.get_weights(*pair).meta
    values = {int(seed): value for seed, value in meta["seeds"]["accuracies"].items()}
    assert meta["seeds"]["n"] == len(values)
    assert math.isclose(statistics.mean(values.values()), meta["seeds"]["mean"], abs_tol=1e-4)
    if meta["rule"] == shipping.MEDIAN_RULE:
        assert shipping.median_run(values) == meta["seed"]
    accuracy = meta["accuracy"]
    assert accuracy["percent"] == round(100 * accuracy["correct"] / accuracy["images"], 4)
    assert not re.search(r"[\"\s=]/", json.dumps(meta)), "an absolute path of somebody's machine"


FOLDERS = {"MNIST": "MNIST", "Fashion-MNIST": "FashionMNIST"}


def data_set(name, part="t10k"):
    """Images and labels by numpy alone, so that neither torchvision nor the example is believed."""
    raw = Path(os.environ.get("BUDGETNET_DATA") or ROOT / "data") / FOLDERS[name] / "raw"
    images, labels = raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte"
    if not (images.exists() and labels.exists()):
        pytest.skip(f"{name} is neither in $BUDGETNET_DATA nor in ./data")
    pixels = np.frombuffer(images.read_bytes(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.tensor(pixels), torch.tensor(np.frombuffer(labels.read_bytes(), np.uint8)[8:])


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(pair, id="-".join(pair), marks=[pytest.mark.deep] * (pair[0] not in SMALL))
        for pair in SHIPPED
    ],
)
def test_every_accuracy_is_measured_again(pair):
    found, net = models.get_weights(*pair), models.get_model(*pair).eval()
    images, labels = data_set(found.meta["dataset"]["name"])
    with torch.inference_mode():
        # Maps of few images fit the processor's cache, which takes a quarter of the time.
        guesses = [net(found.transforms()(some)).argmax(1) for some in images.split(50)]
    correct = int((torch.cat(guesses) == labels).sum())
    stated = found.meta["accuracy"]
    assert stated["images"] == len(labels) == 10_000
    # Kernels of other machines sum in another order, which can tip one digit on the fence.
    assert abs(stated["correct"] - correct) <= 1, f"{correct} are right, {stated} is stated"


@pytest.mark.parametrize("name", sorted({name for _, name in SHIPPED}))
def test_images_are_prepared_by_the_constants_of_what_was_learned_from(name):
    metas = [models.get_weights(*pair).meta for pair in SHIPPED if pair[1] == name]
    (data,) = {meta["dataset"]["name"] for meta in metas}
    assert name == data.lower().replace("-", "_"), "they are named after it"
    images, labels = data_set(data, "train")
    pixels = images.numpy()
    constants = {"mean": round(pixels.mean() / 255, 4), "std": round(pixels.std() / 255, 4)}
    for meta in metas:
        assert meta["preprocessing"] | constants == meta["preprocessing"]
        assert (len(labels), 10_000) == tuple(
            meta["dataset"][part] for part in ("train_images", "test_images")
        )
        assert data in meta["licence"]


# ---------------------------------------------------------------------------- loading


def test_a_network_gets_exactly_the_tensors_of_the_file():
    expected = load_file(PRETRAINED / "s6-mnist.safetensors")
    net = models.get_model("s6", weights="mnist")
    assert list(net.state_dict()) == list(models.get_model("s6").state_dict())
    assert expected.keys() == net.state_dict().keys()
    assert all(torch.equal(expected[name], t) for name, t in net.state_dict().items())


def test_it_comes_as_from_torchvision():
    """In training mode with gradients, by name or by what `get_weights` returned."""
    net = models.get_model("s6", models.get_weights("s6", "mnist"), dtype=torch.float64)
    assert net.training
    assert all(p.requires_grad and p.dtype == torch.float64 for p in net.parameters())
    fresh = [models.get_model("s6")[0].conv.weight for _ in range(2)]
    assert not torch.equal(*fresh)


UNKNOWN = {
    "near": (("s6", "mnits"), "Did you mean 'mnist'? Known: "),
    "far": (("s6", "imagenet"), "s6: no weights are named 'imagenet'. Known: "),
    "none": (("s6_exp3", "mnist"), "s6_exp3: no weights ship for this model. Models with weights"),
    "model": (
        ("s66", "mnist"),
        "no model is named 's66'. Did you mean 's6'? models.list_models() gives",
    ),
    "path": (("s6", "../s6-mnist"), "no weights are named '../s6-mnist'"),
}


@pytest.mark.parametrize(("pair", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_names_list_the_known_ones(pair, message):
    for call in (models.get_model, models.get_weights):
        with pytest.raises(errors.ArgumentError) as caught:
            call(*pair)
        assert message in str(caught.value)


def test_weights_of_another_network_are_refused():
    with pytest.raises(errors.ArgumentError, match=r"not for 's6_exp1' \(weights s6-mnist\)"):
        models.get_model("s6_exp1", models.get_weights("s6", "mnist"))
    with pytest.raises(errors.ArgumentError, match="no model is named"):
        models.list_weights("s7")


@pytest.mark.parametrize("place", [0, 8, 2_000, -1])
def test_one_flipped_bit_is_refused(copied, place):
    file = copied / "s6-mnist.safetensors"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(errors.WeightsError) as caught:
        weights.load("s6", "mnist", copied).state_dict()
    for part in ("s6-mnist.safetensors: ", hashlib.sha256(data).hexdigest(), "Nothing was loaded"):
        assert part in str(caught.value)


def test_a_pickle_is_never_opened(copied):
    """Even where the sidecar vouches for it."""
    opened = copied / "opened"

    class Bomb:
        def __reduce__(self):
            return open, (str(opened), "w")

    torch.save(Bomb(), copied / "s6-mnist.safetensors")
    digest = hashlib.sha256((copied / "s6-mnist.safetensors").read_bytes()).hexdigest()
    edit(copied, sha256=digest)
    with pytest.raises(errors.WeightsError, match="not a safetensors file"):
        weights.load("s6", "mnist", copied).state_dict()
    assert not opened.exists()


def test_tensors_of_another_network_are_named(copied):
    other = models.build("c16 c8 p gap10").state_dict()
    save_file(other, copied / "s6-mnist.safetensors")
    digest = hashlib.sha256((copied / "s6-mnist.safetensors").read_bytes()).hexdigest()
    edit(copied, sha256=digest)
    found = weights.load("s6", "mnist", copied)
    net = models.get_model("s6")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(errors.WeightsError) as caught:
        models.get_model("s6", found)
    text = "conv2.conv.weight is (8, 16, 3, 3) in the file and (16, 16, 3, 3) in the network"
    assert text in str(caught.value)
    fewer = {name: tensor for name, tensor in before.items() if name != "conv3.conv.weight"}
    with pytest.raises(errors.WeightsError, match=r"here: .*weight is absent in the file and"):
        weights.copy_tensors(net, fewer, "here")
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())


SIDECARS = {
    "spec": ({"spec": "c8 gap10"}, errors.WeightsError, "the sidecar's spec is not the network's"),
    "shape": ({"input_shape": [3, 28, 28]}, errors.WeightsError, "got [3, 28, 28]"),
    "model": ({"model": "s7"}, errors.WeightsError, "expected s6, got s7"),
    "missing": ({"seeds": None, "licence": None}, errors.WeightsError, "missing seeds, licence"),
    "unknown": ({"acuracy": 1}, errors.WeightsError, "unknown acuracy"),
    "settings": ({"preprocessing": {"size": 28}}, errors.WeightsError, "missing channels"),
    "version": (
        {"format_version": 3},
        errors.FormatError,
        "expected budgetnet.weights 2, got",
    ),
    "version type": (
        {"format_version": True},
        errors.FormatError,
        "got 'budgetnet.weights' True",
    ),
    "categories": (
        {"categories": ["0"]},
        errors.WeightsError,
        "not one category for each of 10 classes",
    ),
    "category": (
        {"categories": [*range(10)]},
        errors.WeightsError,
        "not a list of non-empty texts",
    ),
    "seed": ({"seed": "0"}, errors.WeightsError, "seed is not a whole number of at least 0: '0'"),
    "rule": ({"rule": 3}, errors.WeightsError, "rule is not text: 3"),
    "recipe": (
        {"recipe": []},
        errors.WeightsError,
        "recipe is not a mapping of names to values: []",
    ),
    "sha256": ({"sha256": "0"}, errors.WeightsError, "sha256 is no sha256: '0'"),
    "no digest": ({"digest": None}, errors.WeightsError, "missing digest"),
}
SETTINGS = {
    "std": ({"std": 0}, "preprocessing.std is not a valid divisor: 0"),
    "negative": ({"std": -0.3}, "preprocessing.std is not a number in the allowed range: -0.3"),
    "mean": ({"mean": "x"}, "preprocessing.mean is not a number in the allowed range: 'x'"),
    "flag": ({"mean": True}, "preprocessing.mean is not a number in the allowed range: True"),
    "size": ({"size": 28.0}, "preprocessing.size is not a whole number of at least 1: 28.0"),
}
FIGURES = {
    "right": ({"accuracy": {"correct": 10_001}}, "accuracy.correct is not a whole number"),
    "percent": ({"accuracy": {"percent": 100.0}}, "accuracy.percent is not what the rest"),
    "images": ({"accuracy": {"images": 0}}, "accuracy.images is not a whole number of at least 1"),
    "runs": ({"seeds": {"n": 6}}, "seeds.n is not what the rest of the file gives, 5: 6"),
    "run": ({"seeds": {"accuracies": {"0": "x"}}}, "seeds.accuracies.0 is not a number"),
    "sd": ({"seeds": {"sd": []}}, "seeds.sd is not a number in the allowed range: []"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_that_cannot_be_meant_are_refused(copied, settings, message, tmp_path):
    changed = PLAIN["preprocessing"] | settings
    edit(copied, preprocessing=changed)
    with pytest.raises(errors.WeightsError) as caught:
        weights.load("s6", "mnist", copied)
    assert message in str(caught.value)
    with pytest.raises(errors.WeightsError) as caught:
        shipping.save(
            models.get_model("s6"), META | {"preprocessing": changed}, RUNS, DIGITS, LABELS,
            tmp_path / "out",
        )  # fmt: skip
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("changes", "message"), FIGURES.values(), ids=FIGURES.keys())
def test_figures_that_cannot_be_are_refused(copied, changes, message):
    ((key, values),) = changes.items()
    edit(copied, **{key: PLAIN[key] | values})
    with pytest.raises(errors.WeightsError) as caught:
        weights.load("s6", "mnist", copied)
    assert message in str(caught.value)


def test_an_edited_account_is_refused_however_it_is_signed(copied):
    account = PLAIN["account"] | {"peak_activation_bytes": 99_999}
    for signed in (True, False):
        edit(copied, signed, account=account)
        with pytest.raises(errors.WeightsError, match=r"account is not the network's .*peak_act"):
            weights.load("s6", "mnist", copied)
    edit(copied, account=PLAIN["account"] | {"params": 1})
    with pytest.raises(errors.WeightsError, match="params is not the sum of its rows, 14,372"):
        weights.load("s6", "mnist", copied)


@pytest.mark.parametrize("changes", [
    {"licence": "none"}, {"seed": 3}, {"command": "rm"}, {"sha256": "0" * 64},
    {"dataset": {"name": "EMNIST"}}, {"digest": "0" * 64},
], ids=lambda changes: next(iter(changes)))  # fmt: skip
def test_any_edit_is_refused_by_the_digest(copied, changes):
    edit(copied, signed=False, **changes)
    with pytest.raises(errors.WeightsError, match="was changed after it was written"):
        weights.load("s6", "mnist", copied)


def test_sidecars_of_the_version_before_still_read(copied):
    edit(copied, signed=False, format_version=1, digest=None)
    found = weights.load("s6", "mnist", copied)
    assert found.state_dict().keys() == models.get_model("s6").state_dict().keys()


@pytest.mark.parametrize("version", [2, 3])
def test_sidecars_with_an_account_of_a_version_before_still_read(copied, version):
    account = copy.deepcopy(PLAIN["account"]) | {"version": version}
    del account["spec"]
    for row in account["rows"]:
        for key in ("role", "has_bias", "weight_shape", "lines")[: 6 - version]:
            del row[key]
    edit(copied, account=account)
    assert "s6" == weights.load("s6", "mnist", copied).model
    account["rows"][0]["kind"] = "Conv3d"
    edit(copied, account=account)
    with pytest.raises(errors.WeightsError, match=r"account is not the network's \(differing rows"):
        weights.load("s6", "mnist", copied)


def test_a_sidecar_that_repeats_a_key_is_refused(copied):
    file = copied / "s6-mnist.json"
    file.write_text(file.read_text().replace('"seed":', '"seed": 1, "seed":'))
    with pytest.raises(errors.WeightsError, match="the key 'seed' appears twice"):
        weights.load("s6", "mnist", copied)


@pytest.mark.parametrize(("changes", "kind", "message"), SIDECARS.values(), ids=SIDECARS.keys())
def test_a_wrong_sidecar_is_refused(copied, changes, kind, message):
    edit(copied, **changes)
    with pytest.raises(kind) as caught:
        weights.load("s6", "mnist", copied)
    assert str(caught.value).startswith("s6-mnist.json")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"{}", b""])
def test_a_broken_sidecar_is_refused(copied, content):
    (copied / "s6-mnist.json").write_bytes(content)
    with pytest.raises((errors.WeightsError, errors.FormatError), match=r"^s6-mnist\.json: "):
        weights.load("s6", "mnist", copied)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_half_a_pair_is_refused(copied, suffix):
    (copied / f"s6-mnist.{suffix}").unlink()
    with pytest.raises(errors.WeightsError, match=rf"s6-mnist\.{suffix}: this file cannot be read"):
        weights.load("s6", "mnist", copied).state_dict()


def test_weights_load_where_only_the_package_is(tmp_path):
    """From another folder, in a fresh process, torchvision and Pillow never imported."""
    code = (
        "import sys, torch; from budgetnet import models\n"
        "found = models.get_weights('s6', 'mnist'); net = models.get_model('s6', found).eval()\n"
        "print(net(found.transforms()(torch.zeros(2, 1, 28, 28))).shape)\n"
        "assert not {'torchvision', 'PIL'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "torch.Size([2, 10])\n" == run.stdout


# ---------------------------------------------------------------------------- transforms

PRESET = GreyImage()


def noise(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


random_digits = noise(4, 1, 28, 28)


@pytest.fixture(scope="module")
def oracle():
    transforms = pytest.importorskip("torchvision.transforms")
    normalise = transforms.Normalize((0.1307,), (0.3081,))
    return transforms.Compose([transforms.ToTensor(), normalise])


def test_it_is_torchvisions_totensor_and_normalize(oracle):
    image_of = pytest.importorskip("PIL.Image").fromarray
    for digit in random_digits:
        pixels = digit[0].numpy()
        expected = oracle(image_of(pixels))
        float_pixels = pixels.astype(np.float64) / 255
        for given_as in (image_of(pixels), pixels, pixels[None], digit, digit[0]):
            assert torch.equal(expected, PRESET(given_as))
        torch.testing.assert_close(expected, PRESET(float_pixels))
        torch.testing.assert_close(expected, PRESET(torch.tensor(float_pixels)))
    batch = torch.stack([oracle(image_of(digit[0].numpy())) for digit in random_digits])
    assert torch.equal(batch, PRESET(random_digits))
    assert torch.float32 == batch.dtype


@pytest.mark.parametrize("size", [(8, 8), (20, 31), (57, 57), (300, 200), (28, 29), (1, 1)])
def test_other_sizes_are_resized_as_torchvision_does(size, oracle):
    from torchvision.transforms import InterpolationMode, functional

    pixels = noise(3, 1, *size)
    scaled = pixels.float() / 255
    small = functional.resize(scaled, [28, 28], InterpolationMode.BILINEAR, antialias=True)
    expected = functional.normalize(small, [0.1307], [0.3081])
    torch.testing.assert_close(expected, PRESET(pixels), rtol=1e-5, atol=1e-5)
    assert (1, 28, 28) == PRESET(pixels[0]).shape == PRESET(pixels[0, 0]).shape
    # Pillow resizes by itself, and rounds to whole steps of 1/255 after each direction.
    image = pytest.importorskip("PIL.Image").fromarray(pixels[0, 0].numpy())
    by_pillow = oracle(image.resize((28, 28), resample=2))
    assert (by_pillow - PRESET(image)).abs().max() < 1.6 / 255 / 0.3081


def test_colours_become_grey_as_pillow_makes_them(oracle):
    image = pytest.importorskip("PIL.Image")
    colours = noise(28, 28, 3).numpy()
    for mode in ("RGB", "RGBA", "P", "1", "CMYK"):
        picture = image.fromarray(colours).convert(mode)
        assert torch.equal(oracle(picture.convert("L")), PRESET(picture)), mode


def test_what_is_given_stays_as_it_was():
    pixels = torch.rand(28, 28)
    before = pixels.clone()
    PRESET(pixels)
    assert torch.equal(before, pixels)
    fixed = np.zeros((28, 28), np.uint8)[::-1]  # neither writable nor in torch's order
    fixed.flags.writeable = False
    assert (1, 28, 28) == PRESET(fixed).shape
    assert torch.equal(PRESET(before), PRESET(before.numpy().astype(">f4")))


REFUSED = {
    "stack": (torch.zeros(5, 28, 28), "got (5, 28, 28), expected (H, W), (1, H, W) or (N, 1, H"),
    "stack remedy": (torch.zeros(5, 28, 28), "A stack of images needs its channel"),
    "colour": (torch.zeros(2, 3, 28, 28), "Average the channels"),
    "flat": (torch.zeros(784), "got (784,)"),
    "empty": (torch.zeros(0, 1, 28, 28), "there are no pixels"),
    "int": (torch.zeros(28, 28, dtype=torch.int64), "got numbers of type int64"),
    "bool": (np.zeros((28, 28), bool), "got numbers of type bool"),
    "uint16": (np.zeros((28, 28), np.uint16), "got numbers of type uint16"),
    "complex": (np.zeros((28, 28), complex), "got numbers of type complex128"),
    "range": (torch.full((28, 28), 255.0), "least 255, greatest 255). Divide pixels"),
    "normalised": (PRESET(torch.zeros(28, 28)), "Pass pixels as they are, not normalised"),
    "nan": (torch.full((28, 28), math.nan), "Clean up values that are not numbers"),
    "list": ([[0.0] * 28] * 28, "got list, expected a PIL image, a numpy array or a tensor"),
    "none": (None, "got NoneType"),
}


@pytest.mark.parametrize(("image", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused(image, message):
    with pytest.raises(errors.ArgumentError) as caught:
        PRESET(image)
    assert str(caught.value).startswith("image: ")
    assert message in str(caught.value)


def test_deep_pillow_images_are_refused_not_clipped():
    image = pytest.importorskip("PIL.Image").fromarray(np.full((28, 28), 1000, np.int32))
    with pytest.raises(errors.ArgumentError, match="PIL image of mode 'I'"):
        PRESET(image)


# ---------------------------------------------------------------------------- writing


def test_what_is_written_loads_and_says_what_was_computed(tmp_path):
    torch.manual_seed(0)
    net = models.get_model("s6")
    written = shipping.save(net, META, RUNS, DIGITS, LABELS, tmp_path)
    assert net.training
    found = weights.load("s6", "test", tmp_path)
    assert written == found
    assert [("s6", "test")] == weights.find_weights(tmp_path)
    loaded = models.get_model("s6", found)
    assert all(torch.equal(net.state_dict()[name], t) for name, t in loaded.state_dict().items())
    guess = int(loaded.eval()(PRESET(DIGITS[:1])).argmax())  # all images are equal
    correct = int((LABELS == guess).sum())
    assert {"percent": round(100 * correct / 7, 4), "correct": correct, "images": 7} == found.meta[
        "accuracy"
    ]
    seeds = {"n": 2, "mean": 99.375, "sd": 0.1768, "accuracies": {"3": 99.5, "4": 99.25}}
    assert seeds == found.meta["seeds"]
    assert META == {key: found.meta[key] for key in weights.GIVEN}


def test_equal_weights_are_equal_files(tmp_path):
    for name in ("one", "two"):
        net = models.get_model("s6", "mnist")
        shipping.save(net, META, RUNS, DIGITS, LABELS, tmp_path / name)
    for file in ("s6-test.safetensors", "s6-test.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


METAS = {
    "missing": (
        {"licence": None, "seed": None},
        errors.WeightsError,
        "missing seed, licence). Nothing was written. State",
    ),
    "unknown": ({"sha256": "0"}, errors.WeightsError, "unknown sha256"),
    "model": ({"model": "s7"}, errors.ArgumentError, "no model is named 's7'"),
    "network": ({"model": "s6_exp1"}, errors.WeightsError, "parameters 14,372, expected 5,828"),
    "categories": ({"categories": ["0"]}, errors.WeightsError, "not one category for each"),
    "seed": ({"seed": 9}, errors.ArgumentError, "seed is among the accuracies"),
    "rule": (
        {"rule": shipping.MEDIAN_RULE, "seed": 3},
        errors.ArgumentError,
        "seed is the one that the rule chooses, 4",
    ),
    "size": (
        {"preprocessing": PLAIN["preprocessing"] | {"size": 32}},
        errors.ArgumentError,
        "preprocessing fits the network's input",
    ),
    "name": ({"weights": "../up"}, errors.ArgumentError, "name of the weights"),
    "dash": ({"weights": "a-b"}, errors.ArgumentError, "name of the weights"),
    "data": ({"recipe": {"lr": math.nan}}, errors.ArgumentError, "not plain data"),
    "object": ({"recipe": Path("x")}, errors.ArgumentError, "not plain data"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), METAS.values(), ids=METAS.keys())
def test_nothing_is_written_that_is_not_so(changes, kind, message, tmp_path):
    meta = {key: value for key, value in (META | changes).items() if value is not None}
    with pytest.raises(kind) as caught:
        shipping.save(models.get_model("s6"), meta, RUNS, DIGITS, LABELS, tmp_path)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_mode_and_takes_any_number(training):
    net = models.get_model("s6", weights="mnist").train(training)
    labels = torch.arange(1234) % 10
    correct = shipping.count_correct(
        net, PRESET, noise(1, 1, 28, 28).expand(1234, -1, -1, -1), labels
    )
    assert training == net.training
    assert correct in (123, 124), "equal images have one answer, right for a tenth of the labels"


def test_every_image_needs_its_label(tmp_path):
    for labels in (LABELS[:3], LABELS[:0]):
        with pytest.raises(errors.ArgumentError, match="needs its label"):
            shipping.save(models.get_model("s6"), META, RUNS, DIGITS, labels, tmp_path)


# ---------------------------------------------------------------------------- the rule


@given(
    st.dictionaries(st.integers(0, 99), st.integers(9930, 9960).map(lambda x: x / 100), min_size=1)
)
def test_the_median_run_is_in_the_middle(accuracies):
    seed = shipping.median_run(accuracies)
    value = accuracies[seed]
    below = sum(other < value for other in accuracies.values())
    above = sum(other > value for other in accuracies.values())
    n = len(accuracies)
    assert below <= (n - 1) // 2, "the lower of two middle ones is in place (n - 1) // 2"
    assert above <= n // 2
    assert all(seed <= other for other, equal in accuracies.items() if equal == value)
    shuffled = dict(sorted(accuracies.items(), reverse=True))
    assert seed == shipping.median_run(shuffled)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ({5: 99.4}, 5),
        ({0: 99.6, 1: 99.4}, 1),
        ({0: 99.6, 1: 99.4, 2: 99.5}, 2),
        ({0: 99.6, 1: 99.5, 2: 99.4, 3: 99.3}, 2),
        ({9: 99.5, 3: 99.5, 4: 99.1, 7: 99.9}, 3),
    ],
)
def test_the_median_rule_by_hand(accuracies, expected):
    assert expected == shipping.median_run(accuracies)


@pytest.mark.parametrize("accuracies", [{}, {0: math.nan}, {0: 99.0, 1: math.inf}])
def test_no_median_without_numbers(accuracies):
    with pytest.raises(errors.ArgumentError, match="not valid accuracies to choose from"):
        shipping.median_run(accuracies)
