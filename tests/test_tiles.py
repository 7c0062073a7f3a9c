"""Tiles against whole images, and the figures of a contract against brute force."""

from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import budgetnet
from budgetnet import Budget, ReceptiveField, Window, account, models, plan, tile, tiled
from budgetnet.accounting.tiles import covers_of, halo_of, units_in
from budgetnet.budget.contract import CONTRACT
from budgetnet.deploy.tiled import run_tiles
from budgetnet.errors import ArgumentError
from budgetnet.testing import assert_tiles_exactly


class UNet(nn.Module):
    """The usual one, without norms, so that it can run in whole numbers."""

    def __init__(self, depth, width=2, channels=1, up="transposed"):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList(map(self.pair, [channels, *widths], widths))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, 2) if up == "transposed"
            else nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(b, a, 1))
            for a, b in pairwise(widths)
        )  # fmt: skip
        self.merge = nn.ModuleList(self.pair(2 * a, a) for a in widths[:-1])

    @staticmethod
    def pair(a, b):
        return nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU()
        )

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up[::-1], self.merge[::-1], skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return x


UNETS = {2: (44, 24), 3: (100, 48), 4: (204, 96)}  # by depth: receptive field, aligned halo


def in_integers(net, seed=0):
    """A copy whose weights are random whole numbers: sums modulo 2^64 have no order."""
    torch.manual_seed(seed)
    net = net.eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
        parameter.data = torch.randint(-(2**62), 2**62, parameter.shape)
    return net


@pytest.mark.parametrize("depth", UNETS)
def test_halos_of_unets_are_less_than_half_their_fields(depth):
    field, halo = UNETS[depth]
    found = tile(UNet(depth), (1, 512, 512))
    assert (field, field) == found.account.receptive_field.size
    assert ((halo, halo),) * 2 == found.halo
    assert (2**depth,) * 2 == found.period
    assert halo <= -(-field // 2 // 2**depth) * 2**depth
    assert ((halo - 2, halo - 2),) * 2 == found.account.halo


@pytest.mark.parametrize(
    "depth", [2, 3, pytest.param(4, marks=pytest.mark.deep)]
)  # fmt: skip
def test_unets_in_tiles_are_bit_for_bit_the_whole_in_integers(depth):
    size = (2**depth * 24, 2**depth * 20)
    tiling = tile(UNet(depth), (1, *size), 2 ** (depth + 1))
    net = in_integers(UNet(depth))
    image = torch.randint(-(2**62), 2**62, (1, 1, *size))
    whole = net(image)
    assert len(whole.unique()) > whole.numel() // 3  # it is no constant
    assert torch.equal(whole, run_tiles(net, image, tiling))
    # A period less of halo, and it would not be.
    less = replace(tiling, halo=tuple((lo - 2**depth, hi) for lo, hi in tiling.halo))
    with pytest.raises(ArgumentError, match="reads beyond the halo of its tile"):
        run_tiles(net, image, less)


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.deep)])
def test_halos_are_what_a_tile_reads_and_no_less(depth):
    torch.manual_seed(0)
    net = UNet(depth).double().eval()
    (before, after), _ = account(net, (1, 32 * 2**depth, 32 * 2**depth)).halo
    start = 2**depth * 14
    tile_of = slice(start, start + 2**depth)
    for row, is_read in (
        (start - before - 1, False), (start - before, True),
        (tile_of.stop + after - 1, True), (tile_of.stop + after, False),
    ):  # fmt: skip
        x = torch.rand(1, 1, 32 * 2**depth, 2**depth, dtype=torch.float64)
        x[:, :, row] = torch.nan
        with torch.no_grad():
            assert is_read == bool(net(x)[:, :, tile_of].isnan().any())


@pytest.mark.parametrize("up", ["transposed", "nearest", "bilinear"])
def test_networks_repeat_themselves_after_the_period_and_no_sooner(up):
    torch.manual_seed(1)
    net = UNet(2, 4, up=up).double().eval()
    assert (4, 4) == account(net, (1, 128, 128)).period
    x = torch.randn(1, 1, 160, 4, dtype=torch.float64)
    with torch.no_grad():
        whole = net(x)
        assert len(whole.unique()) > whole.numel() // 8  # ReLUs leave something to see
        for step in (4, 8, 2, 1):
            moved = net(x.roll(step, 2))[:, :, 40 + step : 120 + step]
            assert (step % 4 == 0) == torch.allclose(whole[:, :, 40:120], moved, atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "up"), [(2, "transposed"), (2, "nearest"), (3, "transposed")]
)  # fmt: skip
def test_floats_are_bit_for_bit_the_whole_where_kernels_keep_their_order(depth, up):
    torch.manual_seed(0)
    net = UNet(depth, 4, 3, up).eval()
    image = torch.randn(2, 3, 96, 128)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        whole = net(image)
        assert torch.equal(whole, tiled(net, image, 32))
    assert torch.allclose(whole, tiled(net, image, 32), atol=1e-6)


EXACT = {
    "unet": (UNet(2), (1, 48, 40), None),
    "nearest": (UNet(2, up="nearest"), (1, 48, 40), None),
    "bilinear": (UNet(2, up="bilinear"), (1, 64, 80), 16),
    "no padding": (models.build("c4 c4 p c4 c4", 1), (1, 33, 38), None),
    "strides": (models.build("c4s2same c4s2same c4same", 2), (2, 41, 30), None),
    "resnet": (
        nn.Sequential(models.build("c4s2same c4same p3s2p1 c4same", 1)), (1, 40, 40), 8,
    ),
    "dilated": (nn.Conv2d(1, 2, 3, dilation=4, padding=4), (1, 24, 24), 3),
    "reflected": (nn.Conv2d(1, 1, 7, padding=3, padding_mode="reflect"), (1, 24, 24), 5),
    "norms": (models.build("c4same u2 c3", 1), (1, 20, 22), None),
    "gaps": (nn.Conv2d(1, 1, 2, stride=3), (1, 23, 24), None),
    "sigmoid": (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.AvgPool2d(2), nn.PixelShuffle(1)),
        (1, 30, 30), None,
    ),
    "one axis": (nn.Sequential(nn.Conv1d(2, 3, 5, padding=2), nn.MaxPool1d(2)), (2, 40), None),
    "three axes": (nn.Conv3d(1, 1, 3, padding=1), (1, 6, 7, 8), 2),
    "unshuffled": (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 3, padding=1),
                                 nn.PixelShuffle(2)), (1, 20, 24), None),
}  # fmt: skip


@pytest.mark.parametrize(("net", "shape", "size"), EXACT.values(), ids=EXACT.keys())
def test_tiles_are_exact(net, shape, size):
    assert assert_tiles_exactly(net, shape, size) > 3


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(
        ["c2", "c2same", "c2k5same", "c2s2", "p", "p3s2", "u2", "c2d2", "c2s2same"]
    ), min_size=1, max_size=5),
    st.integers(18, 40), st.integers(18, 40), st.integers(1, 3),
)  # fmt: skip
def test_random_networks_are_exact_in_tiles(words, height, width, periods):
    shape = (1, height, width)
    try:
        net = models.build(" ".join(words), 1)
        planned = plan(" ".join(words), shape)
    except (budgetnet.errors.ShapeError, budgetnet.errors.SpecError):
        return
    size = tuple(
        min(periods * p, -(-n // p) * p) for p, n in zip(planned.period, shape[1:], strict=True)
    )
    tiling = tile(planned, size=size)
    assert len(tiling) == assert_tiles_exactly(net, shape, size)
    seen = np.zeros(planned.output_shape[1:], int)
    for one in tiling.tiles():
        seen[one.output] += 1
    assert (seen == 1).all()


class Positions(nn.Module):
    def forward(self, x):
        return x + torch.linspace(0, 1, x.shape[3])


def test_a_network_that_knows_where_it_is_fails_by_the_first_output_that_differs():
    with pytest.raises(AssertionError) as error:
        assert_tiles_exactly(nn.Sequential(nn.Conv2d(1, 1, 1), Positions()), (1, 8, 8), 4)
    assert "output (0, 0, 1) is " in str(error.value)
    assert "the network depends on positions in the image" in str(error.value)


REFUSED = {
    "pooled": (
        "resnet18", (3, 64, 64), "head.pool (GlobalAveragePool) reads the whole map at once",
    ),
    "excited": (
        models.build("c4same se2 c4same", 1), (1, 16, 16), "se1.pool (AdaptiveAvgPool2d) reads",
    ),
    "group norm": (
        nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4)), (1, 8, 8), "1 (GroupNorm) also",
    ),
    "vector": (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8), "0 (Flatten) reads"),
    "zeros": (nn.ConvTranspose2d(1, 1, 1, stride=2), (1, 8, 8), "outputs that read nothing"),
    "around": (
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), (1, 8, 8), "Conv2d has outputs",
    ),
    "corners": (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (1, 16, 16),
        "align_corners=True",
    ),
    "adaptive": (
        nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Upsample(size=(32, 32))), (1, 32, 32),
        "0 (AdaptiveAvgPool2d) depends on the size of the input",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("net", "shape", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_local_is_refused_by_name(net, shape, message):
    net = models.get_model(net) if isinstance(net, str) else net
    with pytest.raises(ArgumentError) as error:
        tiled(net.eval(), torch.rand(1, *shape))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


WRONG = {
    "size": ({"size": 20}, "size=20 is not a size of tiles of this network (period 16, image "
             "256x256). The nearest size is 16."),
    "axes": ({"size": (16, 16, 16)}, "Write one number, or 2, of input positions."),
    "text": ({"size": "16"}, "size='16' is not a size of tiles"),
    "large": ({"size": 512}, "The nearest size is 256."),
    "memory": ({"memory": "64"}, "memory='64' is not valid. Write a whole number of bytes"),
    "little": ({"memory": 1000}, "no tile runs within this memory (a tile of one period needs "),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_size_that_is_not_possible_gets_one_clear_line(asked, message):
    with pytest.raises(ArgumentError) as error:
        tile("unet", (3, 256, 256), **asked)
    assert message in str(error.value)


def test_a_model_in_training_and_tiles_of_another_image_are_refused():
    net = nn.Conv2d(1, 1, 3)
    with pytest.raises(ArgumentError, match=r"in training mode\. Call model\.eval\(\)"):
        tiled(net, torch.rand(1, 1, 8, 8), 2)
    with pytest.raises(ArgumentError, match=r"of another image \(image 1x8x8, tiles 1x9x9\)"):
        tiled(net.eval(), torch.rand(1, 1, 8, 8), tile(net, (1, 9, 9)))


def test_tiles_within_a_memory_are_the_largest():
    most = 2**26
    found = tile("unet", (3, 1024, 1024), memory=most)
    larger = [n + 16 for n in found.size]
    of = [plan("unet", (3, *(n + 192 for n in size))) for size in (found.size, larger)]
    assert of[0].peak_activation_bytes <= most < of[1].peak_activation_bytes
    assert tuple(n + 192 for n in found.size) == found.input_size
    assert 1 == len(tile("unet", (3, 256, 256), memory=2**40))


def test_the_default_tile_is_as_large_as_its_halo():
    found = tile("unet", (3, 512, 512))
    assert ((192, 192), (384, 384)) == (found.size, found.input_size)
    assert range(16, 513, 16) == found.sizes[0]
    assert 9 * 384**2 / 512**2 == found.overhead


# The figures, against sets of integers.

slides = st.builds(
    Window.sliding, st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)
)
steps = st.one_of(slides, st.builds(Window.transposed, st.integers(2, 4), st.just(2)))
windows = st.lists(steps, min_size=1, max_size=4).map(lambda parts: reduce(Window.then, parts))


@settings(max_examples=150)
@given(windows)
def test_figures_of_fields_are_those_of_sets(window):
    field = ReceptiveField((window,))
    period = len(window.phases)
    reads = {i: window.reads(i) for i in range(-40 * period, 40 * period)}
    ahead = [max(r) - i * window.advance // period for i, r in reads.items() if r]
    assert (max(0, *ahead),) == field.lookahead
    gaps = [len(range(min(r), max(r) + 1)) - len(r) for r in reads.values() if r]
    assert (max(gaps),) == field.dilation_gaps


@settings(max_examples=150)
@given(windows)
def test_what_one_unit_covers_is_what_sets_cover(window):
    units = range(-60 * len(window.phases), 60 * len(window.phases))
    reads = [window.reads(i) for i in units]
    starts = range(window.advance)

    def fits(n):
        return all(any(r.issuperset(range(x, x + n)) for r in reads) for x in starts)

    n = covers_of(window)
    assert fits(n) if n else True
    assert not fits(n + 1)


@settings(max_examples=150)
@given(windows, st.integers(1, 3))
def test_halos_are_those_of_sets(window, times):
    period = window.advance * times
    outputs = units_in(window, period)
    read = set().union(*(window.reads(i) for i in range(outputs)))
    lo, hi = halo_of(window, period)
    assert (max(0, -min(read)), max(0, max(read) + 1 - period)) == (lo, hi)


def test_a_causal_network_looks_no_step_ahead():
    class Causal(nn.Conv1d):
        def forward(self, x):
            return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))

    net = nn.Sequential(*(Causal(1, 1, 3, dilation=2**i) for i in range(3))).double()
    field = account(net, (1, 64)).receptive_field
    assert ((15,), (0,)) == (field.size, field.lookahead)
    x = torch.rand(1, 1, 64, dtype=torch.float64)
    later = x.clone()
    later[..., 33:] = torch.nan
    with torch.no_grad():
        assert torch.equal(net(x)[..., :33], net(later)[..., :33])
    assert (1,) == account(nn.Conv1d(1, 1, 3, padding=1), (1, 64)).receptive_field.lookahead


def test_gridding_is_seen():
    grid = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=2, dilation=2) for _ in range(2)))
    mixed = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in (1, 2)))
    for net, gaps in ((grid, 4), (mixed, 0)):
        net = net.double()
        for parameter in net.parameters():
            parameter.data.abs_()
        found = account(net, (1, 32, 32))
        x = torch.zeros(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
        net(x)[0, 0, 16, 16].backward()
        hit = x.grad[0, 0].numpy().any(axis=1).nonzero()[0]
        assert gaps == hit[-1] - hit[0] + 1 - len(hit)
        assert (gaps, gaps) == found.receptive_field.dilation_gaps


def test_figures_of_what_is_unknown_are_unknown():
    class Inverse(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    found = account(Inverse(), (1, 8, 8), strict=False)
    assert [None] * 4 == [found.period, found.halo, found.covers, found.output_stride]
    assert {"unknown"} == {f.verdict for f in Budget(halo=1, covers=1, lookahead=1).check(found)}


def test_contracts_are_limits_in_python_and_in_files(tmp_path, capsys):
    from budgetnet.cli.parser import main

    found = plan("c8same p c8same u2 c8same", (3, 64, 64))
    (tmp_path / "net.json").write_text(found.to_json())
    for name in CONTRACT:
        measured = CONTRACT[name](found)
        bound = measured[0]
        (finding,) = Budget(**{name: bound}).check(found)
        assert ("within", name, 0, measured) == (
            finding.verdict, finding.key, finding.headroom, finding.measured,
        )  # fmt: skip
        beyond = bound + 1 if name == "covers" else bound - 1
        if beyond < 0:
            continue
        config = tmp_path / "pyproject.toml"
        for value, code in ((bound, 0), (beyond, 1)):
            config.write_text(f'[[tool.budgetnet.check]]\nmodel = "net.json"\n{name} = {value}\n')
            assert code == main(["check", "--config", str(config)])
            assert name in capsys.readouterr().out
    with pytest.raises(ArgumentError, match="halo='3' is not valid"):
        Budget(halo="3")
