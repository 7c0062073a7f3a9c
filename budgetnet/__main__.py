"""`python -m budgetnet` is the command `budgetnet`."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
