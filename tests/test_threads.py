"""Accounts, trainings and plain runs side by side: each right, and nothing seen by the others."""

import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from budgetnet import account
from budgetnet.trace.run import account_of_module

pytestmark = pytest.mark.moving
SHAPE = (2, 8, 8)
SECONDS = 60  # a test that waits longer has failed


def side_by_side(*works):
    """Run functions in threads that start together; raise what one of them raised."""
    start, failures, results = threading.Barrier(len(works)), [], [None] * len(works)

    def run(place, work):
        try:
            start.wait(SECONDS)
            results[place] = work()
        except BaseException as error:  # a thread would swallow it
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
    return results


class Counter:
    def __init__(self):
        self.runs, self.inner = 0, [0]


class Pauses(nn.Module):
    """A network whose forward stops halfway, in the thread that asks for it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("cache", torch.zeros(1, 4, 6, 6))
        self.runs, self.counter = 0, Counter()

    def forward(self, x):
        self.runs += 1
        self.counter.runs += 1
        self.counter.inner[0] += 1
        x = self.conv(x)
        pause = PAUSES.get(threading.get_ident())
        if pause is not None:
            self.cache += 1
            self.conv.weight.data.mul_(2)
            pause()
        return self.norm(x)


PAUSES = {}  # of no instance, so that no copy has one of its own


class Stop:
    """Where a thread stops until the test lets it go on."""

    def __init__(self):
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.go_on.wait(SECONDS)


def paused(work):
    """Start work that stops in its forward; gives what ends it, with its result."""
    stop, results = Stop(), []

    def run():
        PAUSES[threading.get_ident()] = stop
        try:
            results.append(work())
        finally:
            del PAUSES[threading.get_ident()]
            stop.reached.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert stop.reached.wait(SECONDS)
    assert not results

    def end():
        stop.go_on.set()
        thread.join(SECONDS)
        return results[0]

    return end


def train(model, steps=5):
    """Losses of a training, from the model's weights and a seed of its own."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for _ in range(steps):
        loss = model(torch.rand(2, *SHAPE, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fresh(seed=0):
    torch.manual_seed(seed)
    return Pauses().train()


def test_a_model_trains_while_its_account_is_halfway():
    expected_model = fresh()
    expected_account = account(expected_model, SHAPE)
    expected = train(expected_model)
    model = fresh()
    end = paused(lambda: account(model, SHAPE))
    assert 0 == model.runs
    assert model.training
    assert expected == train(model)
    assert (5, 5) == (model.runs, model.norm.num_batches_tracked.item())
    assert 0 == model.cache.sum()
    assert expected_account == end()
    assert 5 == model.runs
    for one, two in zip(expected_model.state_dict().values(), model.state_dict().values(),
                        strict=True):  # fmt: skip
        assert torch.equal(one, two)


def test_two_accounts_of_one_model_overlap():
    model = fresh()
    expected = account(model, SHAPE)
    first = paused(lambda: account(model, SHAPE))
    second = paused(lambda: account_of_module(model, SHAPE, shortcuts=False))
    assert expected == account(model, SHAPE)
    assert (0, [0]) == (model.counter.runs, model.counter.inner)
    assert expected == first() == second()
    assert (0, [0]) == (model.counter.runs, model.counter.inner)
    assert (0, 0) == (model.runs, model.norm.num_batches_tracked.item())
    assert model.training


CLASSES = (nn.Module, nn.Conv2d, nn.BatchNorm2d, nn.Sequential, nn.MultiheadAttention,
           nn.TransformerEncoderLayer, torch.Tensor, nn.Parameter)  # fmt: skip


def globals_now():
    return [
        *(dict(vars(cls)) for cls in CLASSES),
        {k: v for k, v in vars(torch.nn.modules.module).items() if not isinstance(v, dict)},
        dict(vars(nn.functional)),
        dict(vars(torch)),
        torch.backends.mha.get_fastpath_enabled(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch._C._len_torch_dispatch_stack(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.get_num_threads(),
    ]


def test_no_global_is_changed_meanwhile():
    model = fresh()
    account(model, SHAPE)
    before = globals_now()
    end = paused(lambda: account(model, SHAPE))
    try:
        now = globals_now()
        assert [] == [i for i, (one, two) in enumerate(zip(before, now, strict=True)) if one != two]
        with torch.no_grad():
            assert torch.rand(3).shape == (3,)
            assert (1, 4, 6, 6) == model(torch.rand(1, *SHAPE)).shape
        drawn = torch.get_rng_state()
    finally:
        end()
    assert torch.equal(drawn, torch.get_rng_state())  # what others have drawn is not drawn again


def test_random_numbers_of_others_are_their_own():
    class Draws(Pauses):
        def forward(self, x):
            x = x + torch.rand(8, 8) + torch.rand_like(x)
            return super().forward(nn.functional.dropout(x, 0.5, training=True))

    model = Draws()
    torch.manual_seed(7)
    expected = torch.rand(6).tolist()
    torch.manual_seed(7)
    first = torch.rand(3).tolist()
    end = paused(lambda: account(model, SHAPE))
    second = torch.rand(2).tolist()
    end()
    assert expected == first + second + torch.rand(1).tolist()


def test_all_at_once():
    """Accounts, trainings of the same and of other instances, and plain runs of encoder layers."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = torch.rand(1, 5, 8)
    with torch.no_grad():
        expected_tokens = layer(tokens)
    expected_layer = account(layer, (5, 8))
    alone = fresh()
    expected_account, expected_losses = account(alone, SHAPE), train(alone, 30)
    shared, other = fresh(), fresh()
    x = torch.rand(1, *SHAPE)
    still = fresh().eval()
    with torch.no_grad():
        expected_out = still(x)

    def accounts(model, shape, expected, **options):
        for _ in range(20):
            assert expected == account_of_module(model, shape, **options)

    def runs():
        for _ in range(50):
            with torch.no_grad():
                assert torch.equal(expected_tokens, layer(tokens))
                assert torch.equal(expected_out, still(x))

    results = side_by_side(
        lambda: train(shared, 30),
        lambda: train(other, 30),
        lambda: accounts(shared, SHAPE, expected_account),
        lambda: accounts(still, SHAPE, expected_account, shortcuts=False),
        lambda: accounts(layer, (5, 8), expected_layer),
        runs,
        runs,
    )
    assert expected_losses == results[0] == results[1]
    assert 30 == shared.norm.num_batches_tracked.item() == other.norm.num_batches_tracked.item()
    assert torch.equal(alone.norm.running_mean, shared.norm.running_mean)
