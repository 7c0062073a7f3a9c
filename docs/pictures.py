"""Draw the pictures of README and docs again, but for s6.png, which a training run draws.

    pip install -e ".[dev]"
    python docs/pictures.py

The picture of the report is a screenshot, and needs Debian's `chromium`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "benchmarks"))

import frontier_figure
from playwright.sync_api import sync_playwright

from budgetnet.cli.parser import main as budgetnet

IMAGES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
COMMANDS = (
    f"draw s6 -o {IMAGES / 's6.svg'}",
    f"draw s6 --plot {IMAGES / 's6-fields.png'}",
)
REPORT = "report s6 --footprints --weights mnist --params 20k --rf 22 --macs 3M -o"


def screenshot(page: Path, picture: Path) -> None:
    """The upper part of a report, as Chromium shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 1200}, device_scale_factor=1.25)
        tab.goto(page.as_uri())
        tab.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Draw all of them."""
    for command in COMMANDS:
        assert budgetnet(command.split()) == 0, command
    frontier_figure.main()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "s6.html")
        assert budgetnet([*REPORT.split(), str(page)]) == 0
        screenshot(page, IMAGES / "report.png")


if __name__ == "__main__":
    main()
