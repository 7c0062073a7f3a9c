"""Where the example takes its digits from, and what it says when they are not MNIST."""

import os
import urllib.request
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from test_examples import FASHION, MNIST, needs_fashion, needs_mnist
from test_run_folder import TINY, finish, main, posix, refusal, unprivileged
from torchvision import datasets

from mnist_data import Affine, load
from recipes import RECIPES, Recipe

QUICK = ("--model", "c4 p c8 gap10", "--epochs", "1")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """An empty folder to work in, and no way to download: nobody listens on the proxy's port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUDGETNET_DATA", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of before


# ---------------------------------------------------------------------------- no MNIST


def test_other_digits_stand_in_only_where_no_folder_was_named():
    out = finish(*QUICK)
    assert "THIS IS NOT MNIST" in out
    assert ["runs"] == os.listdir(), "a download that failed leaves nothing"


@pytest.mark.parametrize("way", ["--data-dir", "$BUDGETNET_DATA"])
@pytest.mark.parametrize("there", [True, False])
def test_a_named_folder_without_mnist_fails(way, there, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    if there:
        folder.mkdir()
    if way == "$BUDGETNET_DATA":
        monkeypatch.setenv("BUDGETNET_DATA", str(folder))
    code, out, err = main(*QUICK, *(["--data-dir", folder] if way == "--data-dir" else []))
    assert (2, "") == (code, out)
    begun, line = err.splitlines()
    assert f"downloading MNIST into {folder / 'MNIST' / 'raw'}" == begun
    assert f"no MNIST in {folder / 'MNIST' / 'raw'} ({way}); downloading failed: " in line
    assert "--dataset digits" in line
    assert (["mine"] if there else []) == os.listdir(tmp_path), "no run was begun"
    assert not there or [] == os.listdir(folder)


@posix
def test_a_folder_that_takes_no_download_is_named_and_nothing_temporary(shared_folder):
    raw = shared_folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    raw.chmod(0o555)
    _, line = unprivileged(*QUICK, "--data-dir", shared_folder).splitlines()
    assert f"no MNIST in {raw} (--data-dir); downloading failed: Permission denied. " in line


# ---------------------------------------------------------------------------- the folder meant


def damaged(raw):
    """Files of MNIST's names: the complaint about them says which folder was taken."""
    raw.mkdir(parents=True)
    for kind in ("train", "t10k"):
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03 cut short")
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01 cut short")


@pytest.mark.parametrize("named", ["", "MNIST", "MNIST/raw"])
def test_a_folder_within_is_recognised(named, tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    damaged(raw)
    assert f"damaged MNIST in {raw}, train-*" in refusal(*QUICK, "--data-dir", tmp_path / named)
    monkeypatch.chdir(tmp_path / named)
    assert "damaged MNIST in " in refusal(*QUICK, "--data-dir", ".")


@pytest.mark.parametrize("named", ["MNIST", "MNIST/raw"])
def test_an_empty_folder_within_is_filled_and_not_nested(named, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    _, _, err = main(*QUICK, "--data-dir", tmp_path / named)
    assert f"downloading MNIST into {raw}" == err.splitlines()[0]
    assert [raw.parent, raw] == [*tmp_path.rglob("*")]


@needs_mnist
@pytest.mark.parametrize("named", ["", "MNIST", "MNIST/raw"])
def test_mnist_is_read_from_each(named):
    digits = load("auto", Path(MNIST, named))
    assert ("mnist", 60_000, 10_000) == (digits.name, len(digits.train), len(digits.test))


# ---------------------------------------------------------------------------- evaluation


def test_shipped_weights_are_not_measured_on_other_digits_unasked():
    code, out, err = main("--evaluate")
    assert (2, "") == (code, out)
    assert "no MNIST in data/MNIST/raw (the default place)" in err


def test_asked_to_measure_on_other_digits_it_says_what_that_is_worth():
    out = finish("--evaluate", "--dataset", "digits")
    assert "THIS IS NOT MNIST" in out
    assert "The weights were trained on MNIST" in out
    *_, line = out.splitlines()
    assert line.endswith("images (scikit-learn's digits, not what they were trained on: MNIST)")


@pytest.fixture
def digits_run(tmp_path):
    finish(*TINY, "--out", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_measured_on_what_it_was_trained_on(digits_run):
    out = finish("--evaluate", digits_run)
    assert "THIS IS NOT MNIST" in out
    assert "trained on" not in out
    assert out.rstrip().endswith("% of 359 test images (scikit-learn's digits)")


@needs_mnist
def test_a_run_on_digits_measured_on_mnist_says_so(digits_run):
    out = finish("--evaluate", digits_run, "--dataset", "mnist", "--data-dir", MNIST)
    assert "NOT WHAT THE WEIGHTS WERE TRAINED ON" in out
    assert "10,000 test images (MNIST, not what they were trained on: scikit-learn's digits)" in out


@needs_mnist
def test_a_teacher_of_another_data_set_is_refused(digits_run):
    line = refusal("--teacher", digits_run, "--dataset", "mnist", "--data-dir", MNIST)
    assert f"--teacher {digits_run} learned from scikit-learn's digits, not from MNIST" in line


# ---------------------------------------------------------------------------- Fashion-MNIST


@needs_fashion
@pytest.mark.parametrize("named", ["", "FashionMNIST", "FashionMNIST/raw"])
def test_fashion_mnist_is_read_from_each_and_agrees_with_torchvision(named):
    theirs = datasets.FashionMNIST(str(FASHION))
    ours = load("fashion-mnist", Path(FASHION, named))
    assert ("fashion-mnist", "Fashion-MNIST") == (ours.name, ours.origin)
    assert tuple(theirs.classes) == ours.source.classes
    assert torch.equal(theirs.data[:, None], ours.train.images)
    assert torch.equal(theirs.targets, ours.train.labels)
    assert (10_000, 1, 28, 28) == tuple(ours.test.images.shape)


@needs_fashion
@needs_mnist
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_images_are_normalised_by_the_mean_and_deviation_of_their_own_data_set(name):
    split = load(name, MNIST if name == "mnist" else FASHION).train
    pixels = split.images.double() / 255
    constants = (split.normalise.mean, split.normalise.std)
    assert constants == (round(float(pixels.mean()), 4), round(float(pixels.std()), 4))
    seen = split.normalise(split.images)
    assert (0, 1) == (round(float(seen.mean()), 3), round(float(seen.std()), 3))


def test_fashion_mnist_that_is_not_there_is_named_and_nothing_stands_in_for_it():
    code, out, err = main(*QUICK, "--dataset", "fashion-mnist")
    assert (2, "") == (code, out)
    begun, line = err.splitlines()
    assert "downloading Fashion-MNIST into data/FashionMNIST/raw" == begun
    assert "no Fashion-MNIST in data/FashionMNIST/raw (the default place)" in line
    assert "name the folder that holds FashionMNIST/raw" in line


def test_damaged_fashion_mnist_is_named(tmp_path):
    damaged(tmp_path / "FashionMNIST" / "raw")
    said = refusal(*QUICK, "--dataset", "fashion-mnist", "--data-dir", tmp_path)
    assert "damaged Fashion-MNIST in" in said
    assert "train-*: it cannot be parsed" in said


@needs_mnist
def test_mnist_is_not_taken_for_fashion_mnist_nor_called_damaged():
    said = refusal(*QUICK, "--dataset", "fashion-mnist", "--data-dir", Path(MNIST, "MNIST"))
    assert "holds MNIST, not Fashion-MNIST: train-images-idx3-ubyte is of MNIST" in said
    assert "Delete" not in said


# ---------------------------------------------------------------------------- mirrored images


def generator():
    return torch.Generator().manual_seed(3)


def test_flips_mirror_images_and_leave_the_random_numbers_of_other_recipes_alone():
    images = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8, generator=generator())
    never, always, often = (Affine(flip=chance) for chance in (0.0, 1.0, 0.5))
    still = never(images, never.draws(200, generator()))
    assert torch.allclose(images.float(), still, atol=1e-2)
    mirrored = always(images, always.draws(200, generator()))
    assert torch.allclose(images.float().flip(3), mirrored, atol=1e-2)
    found = often.matrices(often.draws(10_000, generator()))[:, 0, 0]
    assert 0.5 == pytest.approx(float((found < 0).float().mean()), abs=0.02)
    # Six numbers an image, as it was before there were flips.
    drawn = generator()
    never.draws(200, drawn)
    expected = generator()
    torch.rand(6, 200, generator=expected)
    assert torch.equal(expected.get_state(), drawn.get_state())


def test_flips_fade_with_the_rest_of_the_augmentation():
    flip = Affine(flip=1.0)
    assert (flip.matrices(flip.draws(100, generator()), strength=0.0)[:, 0, 0] == 1).all()


# ---------------------------------------------------------------------------- bent images


def ramps():
    """Images whose grey is 4 a pixel across, and down: what is read tells from where."""
    across = 4.0 * torch.arange(28).expand(28, 28)
    return torch.stack([across, across.T])[:, None]


def displacements(pixels, side=28, strength=1.0, count=500):
    """(count, 2, inner pixels): how far from its place every output pixel was read, by axis."""
    bend = Affine(elastic=pixels)
    random = bend.draws(count, generator())
    axes = []
    for ramp in ramps():
        still = Affine()(ramp[None], torch.zeros(1, 6), side)
        axes.append(bend(ramp.expand(count, 1, 28, 28), random, side, strength) - still)
    return torch.cat(axes, 1)[:, :, 4:-4, 4:-4] / 4


def test_elastic_images_are_displaced_smoothly_and_by_no_more_than_was_asked():
    found = displacements(2.0)
    assert 1.5 < found.abs().max() < 2.0 * 1.4, "bicubic interpolation overshoots, by so much"
    assert 0.4 < found.std() < 2.0 / 3**0.5
    assert abs(found.mean()) < 0.05
    steps = torch.cat([found.diff(dim=2).flatten(), found.diff(dim=3).flatten()])
    assert steps.abs().max() < 1.5, "neighbours go together: nothing is torn or folded"
    halved = displacements(2.0, strength=0.5)
    torch.testing.assert_close(halved, found / 2, atol=2e-3, rtol=0)
    assert displacements(2.0, strength=0.0).abs().max() < 1e-4


def test_the_centre_of_elastic_images_is_bent_as_in_the_whole():
    torch.testing.assert_close(
        displacements(2.0, side=20), displacements(2.0)[:, :, 4:-4, 4:-4], atol=2e-3, rtol=0
    )


def test_a_chance_above_one_is_no_recipe():
    settings = asdict(RECIPES["long"])
    assert RECIPES["long"] == Recipe.read(settings)
    settings["augment"]["flip"] = 1.5
    with pytest.raises(ValueError, match=r"settings\.augment\.flip is 1\.5"):
        Recipe.read(settings)
