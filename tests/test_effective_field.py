"""The width that holds a share of the gradient, against sums written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from budgetnet import models
from budgetnet.errors import ArgumentError
from budgetnet.testing import centre_footprints, effective_receptive_field


def ones(*kernels):
    """Convolutions of ones: the gradient of a unit is the product of their polynomials."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, kernel, bias=False) for kernel in kernels))
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    return net


def narrowest(line, share):
    """The shortest run that holds a share, by trying every run."""
    found = [
        stop - start
        for start in range(len(line))
        for stop in range(start + 1, len(line) + 1)
        if line[start:stop].sum() >= share * line.sum() * (1 - 1e-9)
    ]
    return min(found)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.95, 1])
def test_convolutions_of_ones_have_the_widths_of_their_polynomials(share):
    line = np.array([1.0])
    for _ in range(5):
        line = np.convolve(line, np.ones(3))
    found = effective_receptive_field(ones(3, 3, 3, 3, 3), (1, 24, 24), share=share, inputs=3)
    width = narrowest(line, share)
    assert ((width, width),) * 3 == found.widths
    assert ((width, width), (0, 0), (11, 11)) == (found.mean, found.spread, found.size)
    assert share < 1 or width == 11


def test_axes_are_apart_and_layers_have_their_own():
    net = ones((3, 1), (5, 3))
    assert (7, 3) == effective_receptive_field(net, (1, 20, 20), share=1).mean
    found = effective_receptive_field(net, (1, 20, 20), "0", share=1, inputs=1)
    assert ((3, 1), (0, 0), (3, 1)) == (found.mean, found.spread, found.size)


def test_a_trained_network_is_measured_within_its_field_and_left_as_it_is():
    net = models.get_model("s6", weights="mnist").train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = effective_receptive_field(net, (1, 28, 28), inputs=6, seed=3)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(width <= 22 for pair in found.widths for width in pair)
    assert (22, 22) == found.size
    assert min(found.spread) > 0
    # One image alone is what the picture of the footprint shows.
    images = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    one = effective_receptive_field(net, (1, 28, 28), "conv7", inputs=images)
    picture = centre_footprints(net, (1, 28, 28), ["conv7"], trials=1, seed=3)["conv7"]
    assert ((narrowest(picture.sum(1), 0.95), narrowest(picture.sum(0), 0.95)),) == one.widths


WRONG = {
    "layer": ({"layer": "conv9"}, "no module at 'conv9' (near names conv7, "),
    "vector": ({"layer": "head"}, "head gives no map (N, C, H, W). Pass layer="),
    "share": ({"share": 95}, "share=95 is not a share of the gradient"),
    "inputs": ({"inputs": 0}, "inputs=0 is not a number of images"),
    "images": ({"inputs": torch.zeros(2, 3, 28, 28)}, "(got 2x3x28x28, input 1x28x28)"),
}


@pytest.mark.parametrize(("asked", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_measured_gets_one_clear_line(asked, message):
    with pytest.raises(ArgumentError) as error:
        effective_receptive_field(models.get_model("s6"), (1, 28, 28), **asked)
    assert message in str(error.value)


def test_without_a_gradient_there_is_no_width():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    nn.init.zeros_(net[0].weight)
    with pytest.raises(ArgumentError, match="no input has a gradient"):
        effective_receptive_field(net, (1, 9, 9))
