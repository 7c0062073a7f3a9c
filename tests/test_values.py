"""What `forward` may ask of masks and the like: inputs that no field is measured in."""

import random
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from budgetnet import account
from budgetnet.errors import RunEnded, UnsupportedOp
from budgetnet.trace.run import account_of_module

ASKED = []  # what forwards were told; a global, so that runs do not copy it


class Masked(nn.Module):
    def __init__(self, decide):
        super().__init__()
        self.decide = decide
        self.short, self.long = nn.Conv1d(2, 4, 3), nn.Conv1d(2, 4, 5)
        self.register_buffer("table", torch.tensor([0, 1, 1, 0, 1, 1, 1, 1]))

    def forward(self, x, mask):
        return self.short(x) if self.decide(self, mask) else self.long(x)


def through_a_view(net, mask):
    mask[:, 2:4] = 0
    return mask.all()


def into_a_constant(net, mask):
    padded = torch.ones(1, 10, dtype=mask.dtype)
    padded[:, 1:9] = mask
    return padded.all()


DECISIONS = {
    "all": lambda net, mask: mask.all(),
    "equal": lambda net, mask: torch.equal(mask, torch.ones_like(mask)),
    "by a buffer": lambda net, mask: bool((mask * net.table).sum() == 6),
    "sum().item()": lambda net, mask: mask.sum(1).max().item() == 8,
    "padded": lambda net, mask: nn.functional.pad(mask, (0, 2)).sum() == 8,
    "written": lambda net, mask: mask.mul_(net.table).sum() > 6,
}


def example(mask):
    return {"x": torch.rand(1, 2, 8), "mask": mask}


@pytest.mark.parametrize("ones", [8, 3])
@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.uint8])
@pytest.mark.parametrize("name", DECISIONS)
def test_a_mask_decides_as_it_does_for_real(name, kind, ones):
    if kind == torch.bool and name in ("by a buffer", "written"):
        pytest.skip("torch itself adds no integers to booleans in place")
    model = Masked(DECISIONS[name])
    mask = (torch.arange(8) < ones).to(kind)[None]
    given = example(mask.clone())
    found = account(model, inputs=given, wrt="x")
    assert torch.equal(mask, given["mask"])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**given)
    assert counter.get_total_flops() // 2 == found.macs
    assert found.is_complete
    assert account_of_module(model, inputs=example(mask.clone()), shortcuts=False) == found


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"mask": torch.ones(1, 8)}, id="floats"),
        pytest.param({"mask": torch.ones(1, 8, dtype=torch.int64, device="meta")}, id="meta"),
        pytest.param({"mask": torch.ones(1, 1 << 17, dtype=torch.int64)}, id="large"),
    ],
)
def test_other_inputs_have_no_values(given):
    with pytest.raises(RunEnded, match="control flow depends on a value"):
        account(Masked(DECISIONS["all"]), inputs=example(**given), wrt="x")


def test_the_input_that_fields_are_measured_in_has_none():
    given = example(torch.ones(1, 8, dtype=torch.int64))
    with pytest.raises(RunEnded, match="control flow depends on a value"):
        account(Masked(DECISIONS["all"]), inputs=given, wrt="mask")


@pytest.mark.parametrize(
    "decide",
    [
        lambda net, mask: mask.mul_((net.x > 0).sum()).all(),
        lambda net, mask: (mask[:, 1:].mul_((net.x > 0).sum()), mask)[1].all(),
        lambda net, mask: (mask.fill_(net.x[0, 0, 0]), mask)[1].all(),
        lambda net, mask: (mask * (net.x > 0).sum()).all(),
        through_a_view,  # its values are known, but not followed that far
        into_a_constant,
    ],
)
def test_what_the_input_has_reached_has_none(decide):
    class Model(Masked):
        def forward(self, x, mask):
            self.x = x
            return super().forward(x, mask)

    given = example(torch.ones(1, 8, dtype=torch.int64))
    with pytest.raises(RunEnded, match="control flow depends on a value"):
        account(Model(decide), inputs=given)


STEPS = (
    lambda a, b: a + b,
    lambda a, b: a.add_(b),
    lambda a, b: a[:, 1:3].mul_(2),
    lambda a, b: a.T.sub_(1).T,
    lambda a, b: a.copy_(b.flip(1)),
    lambda a, b: a.view(-1).cumsum(0).view(4, 4),
    lambda a, b: torch.where(a > b, a, b),
    lambda a, b: a.masked_fill_(b > 2, 7),
    lambda a, b: a.reshape(2, 8).t().reshape(4, 4),
    lambda a, b: a.index_fill_(0, torch.tensor([1]), 5),
    lambda a, b: torch.cat([a[:2], b[2:]]),
    lambda a, b: (a > b).long(),
    lambda a, b: a.clamp(max=9).relu_(),
    lambda a, b: nn.functional.relu(a, inplace=True),
    lambda a, b: a.expand(3, 4, 4).sum(0),
    lambda a, b: a.roll(1, 1),
    lambda a, b: a.diagonal().fill_(3).sum() + b,
    lambda a, b: a.t(),
    lambda a, b: a.contiguous(),
    lambda a, b: a.unfold(0, 2, 2).sum(-1).repeat(2, 1),
)


class Program(nn.Module):
    """Random steps on two integer maps that share memory now and then."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        self.conv = nn.Conv1d(1, 1, 1)

    def forward(self, x, a, b):
        draw = random.Random(self.seed)
        maps = [a, b]
        for _ in range(draw.randint(1, 8)):
            i, j = draw.randrange(len(maps)), draw.randrange(len(maps))
            out = draw.choice(STEPS)(maps[i], maps[j])
            if out is not None and out.shape == (4, 4):
                maps.append(out)
        ASKED.append([values_of(m) for m in maps])
        return self.conv(x)


def values_of(m):
    try:
        return [int(v) for row in m for v in row]
    except RunEnded:
        return None


def test_random_programs_are_told_what_real_runs_are():
    a, b = torch.arange(16).view(4, 4), torch.arange(16).mul(7).remainder(5).view(4, 4)
    given = {"x": torch.rand(1, 1, 4), "a": a, "b": b}
    known, ran, refused = [], 0, 0
    for seed in range(60):
        ASKED.clear()
        model = Program(seed)
        try:
            model(given["x"], a.clone(), b.clone())
        except RuntimeError:  # a view, or a write, that torch does not do
            continue
        ran += 1
        with suppress(UnsupportedOp):  # of a step of these, or of what has no values
            account(model, inputs=given)
        if len(ASKED) < 2:
            refused += 1
            continue
        true, told = ASKED
        known += [mine is not None for mine in told]
        for theirs, mine in zip(true, told, strict=True):
            assert mine is None or theirs == mine, seed
    assert ran > 30
    assert refused < ran / 3
    assert sum(known) > len(known) / 2  # of memory that was written to through a view, none is
