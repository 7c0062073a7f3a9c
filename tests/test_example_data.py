"""Where the example takes its digits from, and what it says when they are not MNIST."""

import os
import urllib.request
from pathlib import Path

import pytest
from test_examples import MNIST, needs_mnist
from test_run_folder import TINY, finish, main, posix, refusal, unprivileged

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
    from mnist_data import load

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
    assert line.endswith("digits (scikit-learn's digits, not what they were trained on: MNIST)")


@pytest.fixture
def digits_run(tmp_path):
    finish(*TINY, "--out", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_measured_on_what_it_was_trained_on(digits_run):
    out = finish("--evaluate", digits_run)
    assert "THIS IS NOT MNIST" in out
    assert "trained on" not in out
    assert out.rstrip().endswith("% of 359 test digits (scikit-learn's digits)")


@needs_mnist
def test_a_run_on_digits_measured_on_mnist_says_so(digits_run):
    out = finish("--evaluate", digits_run, "--dataset", "mnist", "--data-dir", MNIST)
    assert "NOT WHAT THE WEIGHTS WERE TRAINED ON" in out
    assert "10,000 test digits (MNIST, not what they were trained on: scikit-learn's digits)" in out
