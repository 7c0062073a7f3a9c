"""The Ledger: bytes of live activations, by the lifetime of the storages that hold them."""

from __future__ import annotations

NEVER = -(1 << 30)  # below every row and every input


class Ledger:
    """Bytes of live activations, and the most there were."""

    def __init__(self) -> None:
        """Begin with nothing held."""
        self.live = self.peak = 0


class Storage:
    """Memory of one or more activations; let go when the last of them is."""

    __slots__ = ("ledger", "shared", "size", "written")

    def __init__(self, ledger: Ledger, size: int) -> None:
        """Take `size` bytes."""
        self.ledger, self.size, self.shared = ledger, size, False
        self.written = NEVER  # the last row that wrote in place
        ledger.live += size
        if ledger.live > ledger.peak:
            ledger.peak = ledger.live

    def __del__(self) -> None:
        """Give them back."""
        self.ledger.live -= self.size
