"""The command `budgetnet`: what can be typed, what it names, and what is told of it."""

from __future__ import annotations

from .parser import main

__all__ = ["main"]
