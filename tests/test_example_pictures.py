"""The pictures of a run, by what is in them: names, points, and the share of the page."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="it draws the pictures")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "benchmarks"))

import frontier_figure
from matplotlib.transforms import Bbox

import figures
from budgetnet import plan
from budgetnet.report import plotting
from data_sets import FASHION, NUMERALS
from mnist_data import SIDE, Affine
from recipes import RECIPES


def written(figure):
    """All that is written: titles, labels, captions, the legend, and the names of ticks in view."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            names = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            found += [name for place, name in names if axes.axison and low <= place <= high]
    return [text for text in found if text.get_text().strip()]


def assert_whole(figure):
    """Nothing that is written leaves the page, and no two words lie on each other."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in written(figure)]
    for words, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, (words, box, figure.bbox)
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, (words, box, figure.bbox)
    for k, (words, box) in enumerate(boxes):
        for others, its in boxes[:k]:
            assert not box.overlaps(its), (words, others)


# ---------------------------------------------------------------------------- mistakes


def misread(count, classes=NUMERALS):
    """The figure of `count` mistakes in 100 test images."""
    labels = torch.arange(100) % 10
    logits = torch.nn.functional.one_hot(labels, 10).float()
    logits[:count] = logits[:count].roll(1, 1)
    images = torch.full((100, 1, SIDE, SIDE), 255, dtype=torch.uint8)
    return figures.errors(images, labels, logits, "s6 on MNIST", classes)


@pytest.mark.parametrize("classes", [NUMERALS, FASHION.classes], ids=["digits", "names"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 12, 13, 25, 47, 60, 61])
def test_mistakes_fill_their_picture(count, classes):
    figure = misread(count, classes)
    assert min(count, figures.MOST_ERRORS) == len(figure.axes)
    figure.draw_without_rendering()
    parts = [axes.bbox for axes in figure.axes]
    parts += [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    around = Bbox.union(parts)
    share = around.width * around.height / (figure.bbox.width * figure.bbox.height)
    assert share > (0.35 if count == 1 else 0.6)
    places = {(round(box.x0), round(box.y0)) for box in (axes.bbox for axes in figure.axes)}
    across, down = (len({*values}) for values in zip(*places, strict=True))
    assert across * down - len(places) < down, "only the last row has room left"
    assert_whole(figure)


def test_classes_that_have_names_are_named():
    texts = [[text.get_text() for text in axes.texts] for axes in misread(3, FASHION.classes).axes]
    expected = [["T-shirt/top", "Trouser"], ["Trouser", "Pullover"], ["Pullover", "Dress"]]
    assert expected == texts


def test_a_picture_of_no_mistake_is_its_title():
    figure = misread(0)
    assert [] == figure.axes
    assert ["s6 on MNIST: 0 of 100 test images mistaken"] == [t.get_text() for t in written(figure)]
    assert figure.get_figheight() < 0.6
    assert_whole(figure)


# ---------------------------------------------------------------------------- previews


def previewed(recipe, classes=()):
    images = torch.rand(figures.PREVIEW, 1, SIDE, SIDE)
    rows = {"plain": images}
    for name, side in figures.views(recipe).items():
        margin = (SIDE - side) // 2
        rows[name] = images[:, :, margin : margin + side, margin : margin + side]
    return figures.preview(rows, "MNIST", classes)


@pytest.mark.parametrize("name", RECIPES)
def test_the_rows_of_a_preview_have_names_of_their_own(name):
    recipe = RECIPES[name]
    figure = previewed(recipe)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(names) == len({*names})
    assert "plain" == names[0]
    rows = figure.axes[0].images[0].get_array().shape[0]
    assert len(names) == (rows + figures.GAP) / (SIDE + figures.GAP)
    assert_whole(figure)


def test_a_preview_names_the_classes_of_its_columns():
    classes = [FASHION.classes[k % 10] for k in range(figures.PREVIEW)]
    figure = previewed(RECIPES["fashion"], classes)
    assert classes == [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert_whole(figure)


def test_a_preview_shows_every_stage_and_what_chance_does():
    cropped = replace(RECIPES["default"], epochs=5, early=0.8, early_side=24)
    assert {
        "epochs 1-4\ncentre 24x24": 24, "epochs 1-4\ndrawn again": 24,
        "epoch 5": 28, "epoch 5\ndrawn again": 28,
    } == figures.views(cropped)  # fmt: skip
    still = replace(cropped, augment=Affine())
    assert {"epochs 1-4\ncentre 24x24": 24, "epoch 5": 28} == figures.views(still)
    assert {} == figures.views(replace(still, early=0.0)), "they would be the plain ones again"


# ---------------------------------------------------------------------------- curves


def rows(epochs, seed=0, dataset="mnist", best=99.5):
    """Metrics that get better from epoch to epoch, test ahead of train."""
    return [
        {
            "epoch": k, "dataset": dataset, "train_loss": 0.3 / (k + 1), "test_loss": 0.2 / (k + 1),
            "train_accuracy": best - 4 / k + seed / 20, "test_accuracy": best - 2 / k + seed / 20,
        }
        for k in range(1, epochs + 1)
    ]  # fmt: skip


def drawn(epochs, seeds=(0,), recipe="default", **options):
    runs = [rows(epochs, seed, **options) for seed in seeds]
    return figures.curves(runs, "s6 on MNIST", replace(RECIPES[recipe], epochs=epochs), seeds)


def points(axes):
    """The points of every labelled line."""
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    return [[*zip(*line.get_data(), strict=True)] for line in lines]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_curves_have_a_point_an_epoch(seeds):
    figure = drawn(5, seeds)
    for axes in figure.axes:
        assert [[1, 2, 3, 4, 5]] * 2 == [[x for x, _ in line] for line in points(axes)]
        assert (0 if len(seeds) == 1 else 2) == len(axes.collections), "bands"
    assert_whole(figure)


@pytest.mark.parametrize("seeds", [(0,), (3, 5, 8), range(40)])
def test_one_epoch_of_several_runs_shows_every_run(seeds):
    figure = drawn(1, seeds)
    for axes in figure.axes:
        train, test = points(axes)
        assert [*range(len(seeds))] == [x for x, _ in train] == [x for x, _ in test]
        ticks = [text.get_text() for text in axes.get_xticklabels()]
        assert [str(seed) for seed in seeds][:: -(-len(seeds) // 20)] == ticks
    misses = [100 - rows(1, seed)[0]["test_accuracy"] for seed in seeds]
    assert misses == pytest.approx([y for _, y in points(figure.axes[1])[1]])
    assert_whole(figure)


DRAWN = [(60.0, "digits"), (98.0, "digits"), (99.9, "mnist"), (93.2, "fashion-mnist")]


@pytest.mark.parametrize(("best", "dataset"), DRAWN)
def test_the_points_use_the_scale_of_accuracies(best, dataset):
    """No more than the upper half is free, but for the line of MNIST's target."""
    figure = drawn(3, best=best, dataset=dataset)
    axes = figure.axes[1]
    places = [axes.transAxes.inverted().transform(axes.transData.transform(point))[1]
              for line in points(axes) for point in line]  # fmt: skip
    assert min(places) > 0
    assert 0.5 < max(places) < 1
    assert len(axes.get_yticks()) > 4
    assert_whole(figure)


def test_the_legend_says_how_train_and_test_were_measured():
    (legend,) = drawn(3).legends
    train, test = (text.get_text() for text in legend.get_texts())
    assert "while learning on augmented images" in train
    assert "on plain images (so it can beat train)" in test
    train, _ = figures.measured(RECIPES["one"])
    assert "while learning" in train
    assert "augmented" not in train, "the recipe changes no image"


def test_a_taught_run_does_not_call_its_loss_a_cross_entropy():
    assert "cross entropy" == drawn(3).axes[0].get_title(loc="left")
    assert "teacher" in drawn(3, recipe="distilled").axes[0].get_title(loc="left")


def test_long_titles_are_folded():
    name = "c32p1 c32p1 c32p1 p c64p1 c64p1 c64p1 p c64p1 c64p1 gap10 on scikit-learn's digits"
    figure = figures.curves([rows(3)], f"{name}, distilled recipe: the mean of some seeds",
                            RECIPES["distilled"])  # fmt: skip
    assert_whole(figure)


# ---------------------------------------------------------------------------- receptive fields


@pytest.mark.parametrize("spec", ["c16 c16 c16 c16 p c16 c16 c16 gap10", "c8 " * 40 + "gap10"])
def test_every_named_layer_has_a_point(spec):
    """A global read has no window of its own: it is not on the line, but a hollow point apart."""
    figure = plotting.draw_fields(plan(spec, (1, 100, 100)))
    growth = figure.axes[1]
    windows, hollow = (collection.get_offsets()[:, 0] for collection in growth.collections)
    assert [windows.max()] == [growth.lines[0].get_xdata()[-1]]
    places = np.sort([*windows, *hollow])
    ticks = [*growth.get_xticks()]
    assert [*places[:: -(-len(places) // plotting.MOST_NAMED)]] == ticks
    assert 1 == len(hollow)
    assert places.max() == pytest.approx(growth.dataLim.x1)


def test_labels_of_the_frontier_stand_at_their_points():
    figure = frontier_figure.draw()
    assert_whole(figure)
    assert ["MNIST", "Fashion-MNIST"] == [axes.get_title(loc="left") for axes in figure.axes]
    for axes in figure.axes:
        assert_labels_stand_at_their_points(axes)


def assert_labels_stand_at_their_points(axes):
    marked = [line for line in axes.lines if line.get_marker() in "Dso"]
    places = [place for line in marked for place in zip(*line.get_data(), strict=True)]
    marks = axes.transData.transform(places)
    for label in axes.texts:
        box = label.get_window_extent()
        assert not any(box.contains(*mark) for mark in marks), label.get_text()
        own = axes.transData.transform(label.xy)
        assert 60 * axes.figure.dpi / 72 > abs(np.clip(own, box.min, box.max) - own).max()


def test_layers_that_read_everything_are_plotted_hollow():
    figure = plotting.draw_fields(plan("c8k4s4 flatten l128 fc10", (1, 28, 28)))
    assert_whole(figure)
    _, growth = figure.axes
    windows, hollow = (part.get_offsets().tolist() for part in growth.collections)
    assert [[0, 4]] == windows
    assert [[i, 28] for i in range(1, 7)] == hollow
