"""What is built of any spec is a network like others: it pickles, exports and compiles."""

import pickle

import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings

from budgetnet import models, plan
from budgetnet.errors import BudgetnetError
from budgetnet.testing import specs

SHAPE = (2, 12, 10)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def built(spec):
    """The network of a spec that fits, and an input."""
    note(str(spec))
    try:
        plan(spec, SHAPE)
    except BudgetnetError:
        assume(False)
    return models.build(spec, SHAPE).eval(), torch.randn(2, *SHAPE)


@FEW
@given(specs(max_stages=4))
def test_any_network_pickles_with_its_outputs(spec):
    net, x = built(spec)
    copy = pickle.loads(pickle.dumps(net))
    assert repr(net) == repr(copy)
    assert torch.equal(net(x), copy(x))
    assert list(net.state_dict()) == list(models.build(spec, SHAPE).state_dict())


@pytest.mark.deep
@settings(FEW, max_examples=25)
@given(specs(max_stages=4))
def test_any_network_exports_and_compiles_with_its_outputs(spec):
    net, x = built(spec)
    expected = net(x)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), expected)
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


@FEW
@given(specs(max_stages=4))
def test_any_network_learns_by_every_weight(spec):
    """A gradient reaches every parameter: no branch is left out of the sum or the join."""
    net, _ = built(spec)
    net.train()
    x = torch.randn(4, *SHAPE, requires_grad=True)
    out = net(x)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
