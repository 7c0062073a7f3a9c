"""A network written down: its stages, its text, and `plan`. No torch."""
