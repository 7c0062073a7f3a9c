"""The Ledger: bytes of live activations, by the lifetime of the storages that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .constants import Constants
    from .writes import Root

NEVER = -(1 << 30)  # below every row and every input


class Ledger:
    """Bytes of live activations and of constants made in the run, and the most there were.

    Attributes:
        paused: inside one operation, whose workspace does not count.
        constants: the counter of those that are still held, if there are any.
    """

    def __init__(self) -> None:
        """Begin with nothing held."""
        self.live = self.peak = 0
        self.paused = False
        self.constants: Constants | None = None

    def take(self, size: int) -> None:
        """Hold more."""
        if self.constants is not None:
            self.constants.count()
        self.live += size
        if self.live > self.peak and not self.paused:
            self.peak = self.live


class Storage:
    """Memory of one or more activations; let go when the last of them is.

    Attributes:
        shared: whether there are views of it.
        written: the last row that wrote in place.
        root: what all of it has read, once there are views; they are read anew from it when
            `version` has moved on.
    """

    __slots__ = ("__weakref__", "ledger", "root", "shared", "size", "version", "written")

    def __init__(self, ledger: Ledger, size: int) -> None:
        """Take `size` bytes."""
        self.ledger, self.size, self.shared = ledger, size, False
        self.written, self.version = NEVER, 0
        self.root: Root | None = None
        if ledger.constants is None:  # as `take` does; this runs for every operation
            ledger.live += size
            if ledger.live > ledger.peak and not ledger.paused:
                ledger.peak = ledger.live
        else:
            ledger.take(size)

    def __del__(self) -> None:
        """Give them back."""
        self.ledger.live -= self.size
