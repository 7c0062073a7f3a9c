"""An optional pytest plugin: `-p budgetnet.testing.pytest_plugin`, or `pytest_plugins`.

    @pytest.mark.budget(params="20k", receptive_field=22)
    def test_small(budget):
        budget(make_model(), (1, 28, 28))

The fixture takes what `assert_budget` takes, and adds the limits of the marker. A marked test that
never calls it fails, since nothing was checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ..accounting.account import Account
from ..budget.budget import Budget, BudgetExceeded, assert_budget


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for `--strict-markers` and `--markers`."""
    config.addinivalue_line(
        "markers", "budget(**limits): limits of budgetnet.Budget for the `budget` fixture."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse marked tests that cannot check anything."""
    for item in items:
        if item.get_closest_marker("budget") and "budget" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(
                f"{item.nodeid} is marked with a budget but does not take the `budget` fixture, so "
                "that nothing would be checked. Add `budget` to its arguments and call it."
            )


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> Iterator[Callable[..., Account]]:
    """Check a model against the limits of the test's marker and those of the call."""
    marked = [limit for mark in request.node.iter_markers("budget") for limit in _limits(mark)]
    called = False

    def hold(
        model: Any,
        input_shape: Sequence[Any] | None = None,
        limits: Budget | None = None,
        **more: Any,
    ) -> Account:
        nonlocal called
        __tracebackhide__ = True
        called = True
        wanted = Budget(*marked, *(limits.limits if limits else ()), **more)
        try:
            return assert_budget(model, input_shape, wanted)
        except BudgetExceeded as error:
            exceeded = error
        # Without the library's own frames, the table is what the report shows.
        pytest.fail(str(exceeded), pytrace=False)

    yield hold
    if marked and not called:
        pytest.fail("the test is marked with a budget but never called it", pytrace=False)


def _limits(mark: pytest.Mark) -> tuple[Any, ...]:
    return Budget(*mark.args, **mark.kwargs).limits
