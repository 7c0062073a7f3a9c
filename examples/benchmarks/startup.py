"""Time whole processes of the command line beside an empty Python and an import of torch.

python examples/benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for run_folder, beside this folder

import torch

import run_folder
from budgetnet import models, plan
from budgetnet.accounting.table import Column, Table

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "startup.json"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import torch'": ["-c", "import torch"],
    "budgetnet --help": ["-m", "budgetnet", "--help"],
    "budgetnet check saved.json --params 20k": [
        *("-m", "budgetnet", "check", "saved.json", "--params", "20k"),
    ],
    "budgetnet check s6 --params 20k --why": [
        *("-m", "budgetnet", "check", "s6", "--params", "20k", "--why"),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        reference = models.get_reference("s6")
        saved = plan(reference.spec, reference.input_shape, name="s6").to_json()
        Path(folder, "saved.json").write_text(saved, encoding="utf-8")
        for _ in range(args.rounds + 1):  # the first round fills the file cache
            for name, arguments in COMMANDS.items():
                started = time.perf_counter()
                subprocess.run([sys.executable, *arguments], cwd=folder, check=True,
                               capture_output=True)  # fmt: skip
                seconds[name].append(time.perf_counter() - started)
    found = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    run_folder.write_json(
        RESULTS,
        {
            "command": f"python examples/benchmarks/startup.py --rounds {args.rounds}",
            "median_s": found,
            "versions": run_folder.versions(),
            "hardware": run_folder.hardware(torch.device("cpu")),
        },
    )
    columns = (Column("Process"), Column("Median, s", numeric=True))
    print(Table(columns, tuple((name, f"{s:.3f}") for name, s in found.items())).to_text())


if __name__ == "__main__":
    main()
