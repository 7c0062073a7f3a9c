"""`python -m budgetnet` is the command `budgetnet`."""

from __future__ import annotations

if __name__ == "__main__":
    try:
        from .cli import main

        status = main()
    except KeyboardInterrupt:  # while modules are imported; the command itself ends likewise
        status = 130
    raise SystemExit(status)
