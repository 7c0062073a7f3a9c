"""A network's account read back as a spec: of random specs, of torchvision, and what is refused."""

import dataclasses

import pytest
import torch
import torchvision
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import budgetnet
from budgetnet import Spec, blocks, models, plan
from budgetnet.accounting.account import Account
from budgetnet.errors import BudgetnetError, SpecError
from budgetnet.spec.chains import chain_of
from budgetnet.testing.strategies import specs
from budgetnet.trace.run import account_of_module

SHAPE = st.tuples(st.integers(1, 3), st.integers(4, 17), st.integers(4, 17))


def facts(account):
    """What the rows of an account have, whatever made them: views and paths are left out."""
    return sorted(
        (row.role, row.params, row.macs, row.weight_shape, str(row.receptive_field))
        for row in account.rows if row.role not in ("identity", "reshape", "dropout")
    )  # fmt: skip


def totals(account):
    return (account.params, account.macs, account.receptive_field, account.output_shape,
            account.depth, account.buffers)  # fmt: skip


@settings(max_examples=300)
@given(specs(), SHAPE)
def test_every_spec_is_read_back_from_its_network(spec, shape):
    note(str(spec))
    try:
        traced = account_of_module(models.build(spec, shape, device="meta"), shape)
    except BudgetnetError:
        assume(False)
    found = Spec.from_account(traced)
    note(str(found))
    planned = plan(found, shape)
    assert totals(plan(spec, shape)) == totals(planned) == totals(traced)
    assert facts(traced) == facts(planned)
    again = account_of_module(models.build(found, shape, device="meta"), shape)
    assert found == Spec.from_account(again)  # a second reading changes nothing
    assert spec == Spec.from_account(plan(spec, shape))
