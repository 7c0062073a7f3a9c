"""What a run may leave outside the model: constants that a real run would leave as well."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from budgetnet import account
from budgetnet.errors import LeftBehind
from budgetnet.trace.run import account_of_module

SHAPE = (2, 6, 6)
KEPT = []


@lru_cache(maxsize=4)
def positions(size):
    table = torch.arange(size) + torch.arange(size)[:, None]
    table[0] = 3
    return table.float()


def random_positions(x):
    KEPT.append(torch.rand(6, 6))
    return x + KEPT[-1]


def large(x):
    KEPT.append(torch.zeros(1 << 17).fill_(3))
    return x + KEPT[-1][0]


def without_values(x):
    KEPT.append(torch.zeros(6, device="meta"))
    return x


def written_to(x):
    KEPT.append(torch.zeros(6, 6))
    KEPT[-1].copy_(x[0, 0])
    return x + KEPT[-1]


class Runs(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.run = run

    def forward(self, x):
        return self.run(self.conv(x))


@pytest.fixture(autouse=True)
def _nothing_kept():
    yield
    KEPT.clear()
    positions.cache_clear()


def test_a_cache_of_constants_is_left_as_a_real_run_leaves_it():
    model = Runs(lambda x: x + positions(6))
    cold = account(model, SHAPE)
    mine = positions(6)
    assert account(model, SHAPE) == cold == account_of_module(model, SHAPE, shortcuts=False)
    positions.cache_clear()
    model(torch.rand(1, *SHAPE))
    assert account(model, SHAPE) == cold  # filled by a real run it is no other
    assert torch.equal(positions(6), mine)
    assert (type(mine), mine.device, mine.requires_grad) == (
        torch.Tensor,
        torch.device("cpu"),
        False,
    )


@pytest.mark.parametrize("run", [lambda x: KEPT.append(x) or x, random_positions, large,
                                 without_values, written_to])  # fmt: skip
def test_what_a_real_run_would_not_leave_is_refused(run):
    with pytest.raises(LeftBehind, match="keeps tensors outside the model"):
        account(Runs(run), SHAPE)
