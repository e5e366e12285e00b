"""Large and small values on a local disk: flowbridge, a plain copy, pickle, joblib, and Metaflow's own datastore."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from typing_extensions import override

from flowbridge.artifacts.store import Store

Seconds = dict[str, dict[str, list[float]]]
SAVE, LOAD, OPEN = "save", "load and read", "open"


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def read_all(value: Any) -> float:
    """Touch every byte of an array or a frame."""
    return float(value.sum()) if isinstance(value, np.ndarray) else float(sum(value[c].to_numpy().sum() for c in value.columns))


class Subject:
    """Something that saves a value in a folder and loads it again.

    Args:
        folder: A folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, value: Any) -> None:
        """Save."""
        raise NotImplementedError

    def load(self) -> Any:
        """Load."""
        raise NotImplementedError


class Copy(Subject):
    """A plain copy of a file that holds the same bytes, and a plain read of it."""

    @override
    def save(self, value: Any) -> None:
        plain = self.folder.parent / "plain"
        shutil.copyfile(plain, self.folder / "copied")

    @override
    def load(self) -> Any:
        return np.fromfile(self.folder / "copied", np.float64)


class Flowbridge(Subject):
    """The store; each load from one that was opened anew."""

    @override
    def save(self, value: Any) -> None:
        self.reference = Store.open(str(self.folder / "store")).save(value)

    @override
    def load(self) -> Any:
        return Store.open(str(self.folder / "store")).load(self.reference)


class Pickle(Subject):
    """pickle, protocol 5, to a file."""

    @override
    def save(self, value: Any) -> None:
        with (self.folder / "file").open("wb") as file:
            pickle.dump(value, file, 5)

    @override
    def load(self) -> Any:
        with (self.folder / "file").open("rb") as file:
            return pickle.load(file)


class Joblib(Subject):
    """joblib; mapped where it can."""

    @override
    def save(self, value: Any) -> None:
        joblib.dump(value, self.folder / "file")

    @override
    def load(self) -> Any:
        return joblib.load(self.folder / "file", mmap_mode="r")


class Metaflow(Subject):
    """Metaflow's own datastore on a local folder: what `self.x = value` goes through at the end of a step."""

    @override
    def save(self, value: Any) -> None:
        data = self.flow().get_task_datastore("1", "start", "1", attempt=0, mode="w")
        data.init_task()
        data.save_artifacts([("x", value)])
        data.done()

    @override
    def load(self) -> Any:
        return self.flow().get_task_datastore("1", "start", "1", attempt=0, mode="r")["x"]

    def flow(self) -> Any:
        """Return the datastore of a flow."""
        from metaflow.datastore import FlowDataStore
        from metaflow.plugins.datastores.local_storage import LocalStorage

        root = self.folder / "metaflow"
        root.mkdir(exist_ok=True)
        return FlowDataStore("Bench", storage_impl=LocalStorage, ds_root=str(root))


SUBJECTS: dict[str, type[Subject]] = {
    "a plain copy": Copy,
    "flowbridge": Flowbridge,
    "pickle": Pickle,
    "joblib, mapped": Joblib,
    "Metaflow's datastore": Metaflow,
}
ONCE = "Metaflow's datastore"


def large(folder: Path, mib: int, rounds: int) -> str:
    """Measure an array and a frame of some MiB; return tables."""
    generator = np.random.default_rng(0)
    values = {"array of floats": generator.random(mib << 17)}
    values["data frame of eight columns"] = pd.DataFrame({f"c{i}": generator.random(mib << 14) for i in range(8)})
    parts = []
    for what, value in values.items():
        parts.append(f"{mib} MiB, {what}:\n\n{large_table(one_value(folder, value, rounds))}")
    return "\n\n".join(parts)


def one_value(folder: Path, value: Any, rounds: int) -> Seconds:
    """Measure every subject with one value, some rounds of all of them in turn."""
    (folder / "plain").write_bytes(memoryview(np.ascontiguousarray(value)).cast("B"))
    seconds: Seconds = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        order = [name for name in SUBJECTS if number == 0 or name != ONCE]  # it takes a minute, and needs no second look
        random.Random(number).shuffle(order)
        for name in order:
            place = folder / "place"
            place.mkdir()
            os.sync()  # what others wrote before is not this one's to wait for
            one_round(SUBJECTS[name](place), value, seconds[name])
            shutil.rmtree(place)
            print(f"round {number + 1}: {name}: {seconds[name][SAVE][-1]:.2f} s, {seconds[name][LOAD][-1]:.2f} s", file=sys.stderr)
    (folder / "plain").unlink()
    return seconds


def one_round(subject: Subject, value: Any, took: dict[str, list[float]]) -> None:
    """Save, open, and load with a read of every byte."""
    took[SAVE].append(timed(lambda: subject.save(value)))
    took[OPEN].append(timed(subject.load))
    took[LOAD].append(timed(lambda: read_all(subject.load())))


def large_table(seconds: Seconds) -> str:
    """Return a table of medians, with speeds beside those of the plain copy."""
    middle = {name: {what: statistics.median(took) for what, took in of.items()} for name, of in seconds.items()}
    base = middle["a plain copy"]
    lines = [
        "| | save, s | speed of a copy | open, s | load and read, s | speed of a plain read |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {of[SAVE]:.2f} | {base[SAVE] / of[SAVE]:.0%} | {of[OPEN]:.4f} | {of[LOAD]:.2f} | {base[LOAD] / of[LOAD]:.0%} |"
        for name, of in sorted(middle.items(), key=lambda item: list(SUBJECTS).index(item[0]))
    ]
    return "\n".join(lines)


# --- small values -------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: n,
    "dicts of 220 bytes": lambda n: {"n": n, "text": "x" * 200},
    "arrays of 100 floats": lambda n: np.full(100, float(n)),
    "arrays of 1,000 floats": lambda n: np.full(1000, float(n)),
    "pickled sets": lambda n: {n, n + 1},
    "bytes of 10 KB": lambda n: n.to_bytes(4, "little") * 2500,
}


def small(folder: Path, count: int, rounds: int) -> str:
    """Measure small values, each saved and loaded by itself; return a table.

    Nothing is removed before the end: ext4 passes over inodes that were freed in the last minutes, one by one, so that making a file costs ten
    times as much in a folder that lands where many were removed.
    """
    took: Seconds = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for name, make in SMALL.items():
            values = [make(n) for n in range(count)]
            for subject in (one_small_store, one_small_metaflow):
                place = folder / f"{number}-{name}-{subject.__name__}"
                place.mkdir()
                os.sync()
                share = values if subject is one_small_store else values[: max(count // 10, 1)]
                took[name][subject.__name__].append(timed(lambda: subject(place, share)) / len(share) * 1e3)  # noqa: B023  (called at once)
            print(f"round {number + 1}: {name}: {took[name]['one_small_store'][-1]:.3f} ms", file=sys.stderr)
    lines = [f"| {count} values, one by one | saved and loaded, ms each | Metaflow's datastore |", "|---|---:|---:|"]
    for name, of in took.items():
        mine, theirs = (statistics.median(of[s.__name__]) for s in (one_small_store, one_small_metaflow))
        lines.append(f"| {name} | {mine:.3f} | {theirs:.3f} |")
    return "\n".join(lines)


def one_small_store(folder: Path, values: list[Any]) -> None:
    """Save and load each value."""
    store = Store.open(str(folder / "store"))
    for value in values:
        store.load(store.save(value))


def one_small_metaflow(folder: Path, values: list[Any]) -> None:
    """Save and load each value as an artifact of one task."""
    subject = Metaflow(folder)
    flow = subject.flow()
    data = flow.get_task_datastore("1", "start", "1", attempt=0, mode="w")
    data.init_task()
    for number, value in enumerate(values):
        data.save_artifacts([(f"x{number}", value)])
    data.done()
    back = flow.get_task_datastore("1", "start", "1", attempt=0, mode="r")
    for number in range(len(values)):
        back[f"x{number}"]
