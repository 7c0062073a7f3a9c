"""Resampling, grids, regions, folds and windows on channels, against the operations themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from budgetnet import account
from budgetnet.errors import UnsupportedOp
from budgetnet.testing.operators import assert_reads_match

MODES = [("bilinear", False), ("bicubic", False), ("bilinear", True), ("bicubic", True)]


class Resizes(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return F.interpolate(x, **self.options)


@pytest.mark.parametrize(("mode", "antialias"), MODES)
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("to", [1, 3, 4, 9, 14, 0.7, 1.3, 2.5])
@pytest.mark.parametrize("size", [1, 3, 5, 8])
def test_taps_of_resizing(size, to, corners, mode, antialias):
    how = {"size": (to, to)} if isinstance(to, int) else {"scale_factor": to}
    if size == 1 and to == 0.7:
        pytest.skip("nothing is left of the map")
    net = Resizes(mode=mode, align_corners=corners, antialias=antialias, **how)
    impulses = torch.eye(size).reshape(size, 1, 1, size).expand(-1, -1, size, -1).contiguous()
    out = net(impulses)[:, 0, 0]
    window = account(net, (1, size, size)).receptive_field.axes[1]
    for i in range(out.shape[1]):
        read = {k for k in range(size) if out[k, i] != 0}
        claimed = {k for k in window.reads(i) if 0 <= k < size}
        assert read <= claimed
        # Where a weight is zero but for rounding, processors differ.
        assert all(abs(net(impulses.double())[k, 0, 0, i]) < 1e-6 for k in claimed - read)


GRID = torch.rand(2, 3, 4, 2) * 2 - 1


@pytest.mark.parametrize(
    ("function", "tensors", "exact"),
    [
        (lambda x, g: F.grid_sample(x, g, align_corners=False), [torch.rand(2, 3, 4, 5), GRID], 0),
        (lambda t: F.affine_grid(t, (2, 3, 3, 4), align_corners=False), [torch.rand(2, 2, 3)], 1),
        (
            lambda t: F.affine_grid(t, (2, 3, 3, 4, 2), align_corners=False),
            [torch.rand(2, 3, 4)],
            1,
        ),
        (lambda x: x.unfold(2, 3, 2), [torch.rand(2, 2, 7)], 1),
        (lambda x: x.unfold(2, 3, 1).unfold(3, 3, 1), [torch.rand(1, 2, 5, 5)], 1),
        (lambda x: F.pad(x, (2, 1, 1, 1), mode="circular"), [torch.rand(1, 2, 4, 5)], 1),
        (lambda x: torch.view_as_real(torch.view_as_complex(x)), [torch.rand(1, 3, 4, 2)], 0),
    ],
)
def test_grids_and_windows(function, tensors, exact):
    assert assert_reads_match(function, tensors, exact=bool(exact)) > 0


def test_a_fold_reads_every_patch_that_covers_a_position():
    def function(x):
        patches = F.unfold(x, 3, padding=1, stride=2)
        return F.fold(patches, (5, 5), 3, padding=1, stride=2)

    assert assert_reads_match(function, [torch.rand(1, 2, 5, 5)], layouts=["map"]) == 1


def in_windows(x, k=4):
    n, c, h, w = x.shape
    return x.view(n, c, h // k, k, w // k, k).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, k, k)


def put_back(x, c, h, w, k=4):
    return x.view(1, h // k, w // k, c, k, k).permute(0, 3, 1, 4, 2, 5).reshape(1, c, h, w)


WEIGHT = torch.rand(2, 2, 3, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.conv2d(in_windows(x), WEIGHT, padding=1),
        lambda x: put_back(F.conv2d(in_windows(x), WEIGHT, padding=1), 2, 8, 8),
        lambda x: F.max_pool2d(in_windows(x), 2),
        lambda x: F.adaptive_avg_pool2d(in_windows(x), 2),
    ],
)
def test_sliding_inside_windows_that_lie_in_the_batch(function):
    assert assert_reads_match(function, [torch.rand(1, 2, 8, 8)]) == 2


def test_a_convolution_over_a_channel_vector():
    class Eca(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

        def forward(self, x):
            gate = self.conv(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
            return x * gate.sigmoid()

    result = account(Eca(), (6, 5, 5))
    assert (3, 18, (6, 5, 5)) == (result.params, result.macs, result.output_shape)
    assert result.rows[-1].global_context


def test_deformable_convolution():
    ops = pytest.importorskip("torchvision.ops")

    class Deforms(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(3, 18, 3, padding=1)
            self.conv = ops.DeformConv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    result = account(Deforms(), (3, 6, 7))
    assert 6 * 7 * 9 * 3 * (18 + 4) == result.macs
    assert (4, 6, 7) == result.output_shape
    assert result.rows[-1].global_context


def test_as_many_boxes_as_values_decide_are_refused_by_name():
    ops = pytest.importorskip("torchvision.ops")

    class Keeps(nn.Module):
        def forward(self, x):
            return ops.nms(x[0], x[0, :, 0], 0.5)

    with pytest.raises(UnsupportedOp, match="the number of boxes that torchvision"):
        account(Keeps(), inputs=torch.rand(1, 5, 4))
