"""The limit on the peak of a training step."""

from __future__ import annotations

from dataclasses import dataclass

from ..accounting.account import Account
from ..accounting.training import TrainingSetup, find_peak
from .limits import Finding, bounds_text, judged


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """The peak of a training step between two bounds, either of which may be `None`."""

    setup: TrainingSetup
    low: int | None = None
    high: int | None = None

    def __call__(self, account: Account) -> Finding:
        """Judge an account, which holds the peaks that its maker was asked for."""
        name, text = "training_memory", f"{bounds_text(self.low, self.high)} ({self.setup})"
        peak = find_peak(account.training, self.setup)
        found = Finding(name, "unknown", None, text, reason=peak.unknown, key=name)
        return found if peak.bytes is None else judged(found, peak.bytes, self.low, self.high)
