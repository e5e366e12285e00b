"""Hand files and folders from step to step: a Path that a step returns is the file or folder itself, wherever the next step runs.

flowbridge run examples/files.py
"""

from __future__ import annotations

import csv
from pathlib import Path

from flowbridge import context, flow, step


@step
def write(rows: int) -> Path:
    """Write a folder of two CSV files into the task's own scratch folder."""
    folder = context().scratch / "data"
    folder.mkdir()
    for name, factor in (("a", 1), ("b", 10)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([i, i * factor] for i in range(rows))
    return folder


@step
def add_up(folder: Path) -> dict[str, int]:
    """Add up the second column of every file."""
    sums = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            sums[path.stem] = sum(int(row[1]) for row in csv.reader(file))
    print(sums)
    return sums


@flow
def files(rows: int = 100) -> dict[str, int]:
    """One step writes a folder, the next reads it."""
    return add_up(write(rows))
