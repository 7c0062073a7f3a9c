"""The command `budgetnet`: its arguments, their targets, and its output."""

from __future__ import annotations

from .parser import main

__all__ = ["main"]
