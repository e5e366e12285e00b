"""What the store costs: a large array beside a plain copy, pickle and joblib, and many small values.

    python benchmarks/store.py [--mib 1024] [--small 10000] [--folder FOLDER]

Rounds of all subjects are interleaved; medians are printed as a table.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np

from flowbridge.artifacts.store import Store


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def large_round(folder: Path, array: np.ndarray, seconds: dict[str, list[float]]) -> None:
    """Save and read an array once with every subject."""
    plain, copied, pickled, dumped = (folder / name for name in ("plain", "copied", "pickled", "dumped"))
    array.tofile(plain)
    seconds["copy"].append(timed(lambda: shutil.copyfile(plain, copied)))
    store = Store.open(str(folder / "store"))
    saved = []
    seconds["flowbridge save"].append(timed(lambda: saved.append(store.save(array))))
    seconds["flowbridge load and read"].append(timed(lambda: Store.open(store.url).load(saved[0]).sum()))
    seconds["flowbridge load only"].append(timed(lambda: Store.open(store.url).load(saved[0])))
    seconds["plain read"].append(timed(lambda: np.fromfile(plain, array.dtype).sum()))
    with pickled.open("wb") as file:
        seconds["pickle save"].append(timed(lambda: pickle.dump(array, file, 5)))
    with pickled.open("rb") as file:
        seconds["pickle load and read"].append(timed(lambda: pickle.load(file).sum()))
    seconds["joblib save"].append(timed(lambda: joblib.dump(array, dumped)))
    seconds["joblib load and read"].append(timed(lambda: joblib.load(dumped).sum()))
    shutil.rmtree(folder / "store")


def small(folder: Path, count: int) -> float:
    """Return the milliseconds to save and load one small value."""
    store = Store.open(str(folder / "small"))
    took = timed(lambda: [store.load(store.save({"n": n, "text": "x" * 200})) for n in range(count)])
    return took / count * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder")
    given = parser.parse_args()
    array = np.random.default_rng(0).random(given.mib << 17)
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for _ in range(given.rounds):
            large_round(Path(folder), array, seconds)
        each = small(Path(folder), given.small)
    print(f"| {given.mib} MiB of floats | seconds |\n|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {statistics.median(took):.3f} |")
    print(f"| one of {given.small} small values, saved and loaded | {each:.3f} ms |")


if __name__ == "__main__":
    main()
