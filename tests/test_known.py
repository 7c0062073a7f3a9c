"""What is remembered of operations changes no account."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import budgetnet
from budgetnet.trace import known

NAMES = ("swin_t", "vit_b_16", "convnext_tiny", "densenet121", "shufflenet_v2_x0_5")


def _forgetting(model: nn.Module, shape: tuple[int, ...]) -> budgetnet.Account:
    known.MEMORY.clear()
    return budgetnet.account(model, shape)


@pytest.mark.parametrize("name", NAMES)
def test_an_account_is_the_same_as_the_first_of_its_process(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None)
    first = _forgetting(model, (3, 224, 224))
    assert known.MEMORY
    assert first == budgetnet.account(model, (3, 224, 224))


def test_an_account_is_the_same_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchvision.models.get_model("swin_t", weights=None)
    remembered = budgetnet.account(model, (3, 224, 224))
    monkeypatch.setattr(known.Memory, "find", lambda *_: None)
    assert budgetnet.account(model, (3, 224, 224)) == remembered


class _Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _picks(*places: int) -> Callable[[Tensor], Tensor]:
    return lambda x: F.conv2d(x, torch.ones(1, 1, 3, 3))[:, :, torch.tensor(places)]


ALIKE = {
    "values of an index": (_picks(0, 1), _picks(0, 5)),
    "a number and a flag": (lambda x: x + 1, lambda x: x.bool() + True),
    "numbers of another type": (lambda x: x.long() + 1, lambda x: x.long() + 1.5),
    "a further tensor": (lambda x: x.sum(2), lambda x: x.sum((2, 3))),
    "a shape and a layout": (
        lambda x: x.transpose(2, 3).reshape(1, 64),
        lambda x: x.reshape(1, 64),
    ),
}


@pytest.mark.parametrize("what", ALIKE)
def test_operations_that_differ_in_little_are_told_apart(what: str) -> None:
    models = [_Of(function) for function in ALIKE[what]]
    alone = [_forgetting(model, (1, 8, 8)) for model in models]
    known.MEMORY.clear()
    assert alone == [budgetnet.account(model, (1, 8, 8)) for model in models]


def test_a_type_that_is_the_default_of_the_process_is_not_remembered() -> None:
    model = _Of(lambda x: (x.long() + 1.5) * 2)
    before = budgetnet.account(model, (1, 8, 8))
    torch.set_default_dtype(torch.float64)
    try:
        changed = budgetnet.account(model, (1, 8, 8))
        assert _forgetting(model, (1, 8, 8)) == changed
    finally:
        torch.set_default_dtype(torch.float32)
    assert before == budgetnet.account(model, (1, 8, 8))
    assert before.peak_activation_bytes != changed.peak_activation_bytes


def test_memory_is_emptied_before_it_grows_large(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchvision.models.get_model("convnext_tiny", weights=None)
    first = _forgetting(model, (3, 224, 224))
    whole = len(known.MEMORY)
    known.MEMORY.clear()
    monkeypatch.setattr(known, "_MOST", 20 * known._ENTRY)
    assert first == budgetnet.account(model, (3, 224, 224))
    assert len(known.MEMORY) <= 20 < whole


def test_a_note_on_activations_hides_no_method_of_tensors() -> None:
    notes = known.Activation.__annotations__
    hidden = {name for name in notes if callable(getattr(torch.Tensor, name, None))}
    assert hidden == set()


def test_a_rule_that_has_no_module_is_a_rule_of_the_users_own() -> None:
    """Such as a documentation tool reads from a page, by `exec`."""
    names: dict[str, Callable[..., None]] = {}
    exec("def rule(tracer, x): ...", {}, names)
    assert known.key_of(None, names["rule"], (), {}) is None  # type: ignore[arg-type]  # unread
