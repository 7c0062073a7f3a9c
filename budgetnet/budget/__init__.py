"""Limits, the judgement of an account by them, and what to change. No torch."""
