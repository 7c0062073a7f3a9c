"""Texts that are held as files: `BUDGETNET_UPDATE_GOLDEN=1 pytest` writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def check_golden(name, text):
    """Compare a text with `golden/NAME.txt`."""
    file = FOLDER / f"{name}.txt"
    if os.environ.get("BUDGETNET_UPDATE_GOLDEN"):
        file.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    assert file.read_text(encoding="utf-8").rstrip("\n") == text.rstrip("\n")
