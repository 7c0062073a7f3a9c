"""Measured footprints: within what the account says, and all of it where nothing shuts a path."""

import numpy as np
import pytest
from torch import nn

from budgetnet import account, models
from budgetnet.errors import ArgumentError
from budgetnet.testing import centre_footprints, unit_footprints


@pytest.mark.parametrize("name", ["s6", "s6_exp1"])
def test_footprints_lie_within_the_fields(name):
    model = models.get_model(name)
    footprints = centre_footprints(model, (1, 28, 28), trials=4)
    checked = 0
    for layer in account(model, (1, 28, 28)).layers():
        if layer.is_global:
            continue
        unit = tuple(n // 2 for n in layer.output_shape[1:])
        seen = np.zeros((28, 28), bool)
        (top, bottom), (left, right) = layer.receptive_field.region(*unit)
        seen[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
        assert not footprints[layer.path][~seen].any()
        assert footprints[layer.path].max() > 0
        checked += 1
    assert checked > 3


def test_linear_networks_show_all_that_they_read():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.AvgPool2d(2), nn.Conv2d(2, 3, 2))
    for parameter in model.parameters():
        parameter.data.abs_().add_(0.1)
    footprints = centre_footprints(model, (1, 16, 20))
    for path, row in zip("012", account(model, (1, 16, 20)).rows, strict=True):
        unit = [n // 2 for n in row.output_shape[1:]]
        rows, columns = (w.reads(i) for w, i in zip(row.receptive_field.axes, unit, strict=True))
        expected = {(r, c) for r in rows for c in columns}
        assert expected == set(zip(*np.nonzero(footprints[path]), strict=True))


def test_only_what_was_asked_for_is_measured_and_the_model_stays():
    model = models.get_model("s6").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert {"conv4"} == set(centre_footprints(model, (1, 28, 28), ["conv4", "head"]))
    assert model.training
    assert all(bool((before[name] == tensor).all()) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_any_unit_is_measured_within_its_region():
    model = models.get_model("s6")
    units = [(0, 0), (19, 19), (3, 17), (10, 10)]
    found = unit_footprints(model, (1, 28, 28), {"conv4": units}, trials=4)
    row = next(layer for layer in account(model, (1, 28, 28)).layers() if layer.path == "conv4")
    assert units == [*found["conv4"]]
    for unit, footprint in found["conv4"].items():
        (top, bottom), (left, right) = row.receptive_field.region(*unit)
        inside = footprint[top : bottom + 1, left : right + 1]
        assert np.count_nonzero(inside) == np.count_nonzero(footprint) > 0
    middle = centre_footprints(model, (1, 28, 28), ["conv4"], trials=4)["conv4"]
    assert (middle == found["conv4"][10, 10]).all()


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"conv9": [(0, 0)]}, "'conv9' gives no map whose gradient is known"),
        ({"conv4": [(0, 20)]}, r"conv4 has no such unit \(unit 0,20, map 20x20\)"),
        ({"conv4": [(-1, 0)]}, r"conv4 has no such unit \(unit -1,0, map 20x20\)"),
    ],
)
def test_a_unit_that_is_not_there_is_refused(units, message):
    with pytest.raises(ArgumentError, match=message):
        unit_footprints(models.get_model("s6"), (1, 28, 28), units, trials=1)
