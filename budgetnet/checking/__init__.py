"""`budgetnet check`: checks in a file, what came of each, and how that is told."""
