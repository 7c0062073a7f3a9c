"""The Chain: the spec of an account, what the network calls its stages, and the spec's plan."""

from __future__ import annotations

from typing import NamedTuple

from ..accounting.account import Account
from ..errors import BudgetnetError
from .plan import Spec, plan
from .reading import stages_of


class Chain(NamedTuple):
    """A spec that describes a network, what the network calls its stages, and the spec's plan."""

    spec: Spec
    names: tuple[str, ...]
    planned: Account


def chain_of(account: Account) -> Chain | None:
    """The chain whose plan has the rows and totals of an account; `None` if there is none."""
    try:
        stages, names = stages_of(account)
    except BudgetnetError:
        return None
    spec = Spec(stages)
    return Chain(spec, names, plan(spec, account.input_shape))
