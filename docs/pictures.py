"""Draw the pictures of README and docs again.

    pip install -e ".[dev]"
    python docs/pictures.py            # all but s6.png
    python docs/pictures.py RUN        # s6.png, from the folder of a run of examples/mnist_s6.py

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
from PIL import Image
from playwright.sync_api import sync_playwright

from budgetnet.cli.parser import main as budgetnet

IMAGES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
COMMANDS = (
    f"draw s6 -o {IMAGES / 's6.svg'}",
    f"draw torchvision.models:resnet50 --input 3x224x224 -o {IMAGES / 'resnet50.svg'}",
    f"draw unet -o {IMAGES / 'unet.svg'}",
    f"draw s6 --plot {IMAGES / 's6-fields.png'}",
)
REPORT = "report s6 --footprints --weights mnist --params 14k --rf 22 --macs 4M -o"
VERDICT = 756  # the height of what a report begins with


def screenshot(page: Path, picture: Path, height: int) -> None:
    """The upper part of a report, as Chromium shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 1600}, device_scale_factor=1.25)
        tab.goto(page.as_uri())
        tab.locator("html[data-ready]").wait_for(state="attached")
        tab.screenshot(
            path=picture,
            clip={"x": 0, "y": 0, "width": 1280, "height": height},
            animations="disabled",
        )
        browser.close()


def join(run: Path) -> None:
    """Set the curves of a run above its misread digits."""
    parts = [Image.open(run / name).convert("RGB") for name in ("curves.png", "errors.png")]
    width = 1200
    parts = [part.resize((width, part.height * width // part.width)) for part in parts]
    joined = Image.new("RGB", (width, sum(part.height for part in parts) + 30), "white")
    joined.paste(parts[0])
    joined.paste(parts[1], (0, parts[0].height + 30))
    joined.quantize(256, dither=Image.Dither.NONE).save(IMAGES / "s6.png", optimize=True)


def main() -> None:
    """Draw them."""
    if len(sys.argv) > 1:
        return join(Path(sys.argv[1]))
    for command in COMMANDS:
        assert budgetnet(command.split()) == 0, command
    frontier_figure.main()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "s6.html")
        assert budgetnet([*REPORT.split(), str(page)]) == 0
        screenshot(page, IMAGES / "report.png", 1500)
        screenshot(page, IMAGES / "verdict.png", VERDICT)


if __name__ == "__main__":
    main()
