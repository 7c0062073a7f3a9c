"""The command line against hostile targets, encodings, readers and arguments, at random."""

import pytest
from hostile import KINDS, attempt

FEW = {"targets": 1, "encodings": 4, "readers": 4, "arguments": 100}
MANY = {"targets": 8, "encodings": 15, "readers": 15, "arguments": 250}


def fallen(kind, seeds):
    found = {}
    for seed in seeds:
        faults, what = attempt(kind, seed)
        if faults:
            found[seed] = faults, what
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_call_fools_the_gate(kind):
    assert {} == fallen(kind, range(FEW[kind]))


@pytest.mark.deep
@pytest.mark.parametrize("kind", KINDS)
def test_none_of_many_does(kind):
    assert {} == fallen(kind, range(FEW[kind], FEW[kind] + MANY[kind]))
