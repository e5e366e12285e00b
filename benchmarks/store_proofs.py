"""What the store promises, counted: bytes that a mapped task reads, damages that are noticed, writers that lose nothing."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from fsspec.implementations.local import LocalFileSystem

from flowbridge import each, flow, step
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.store import Store
from flowbridge.cli.main import call
from flowbridge.errors import FlowbridgeError
from flowbridge.records.files import Runs


class CountingFileSystem(LocalFileSystem):
    """Files of this machine as a store that is elsewhere; every byte that is read of it is counted."""

    protocol = "counted"
    cachable = False
    read = 0

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Read, and count."""
        data = super().cat_file(path, start=start, end=end, **kwargs)
        CountingFileSystem.read += len(data)
        return data


fsspec.register_implementation("counted", CountingFileSystem, clobber=True)


# --- a map reads its items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mapped:
    """What was read of a list.

    Attributes:
        each: Bytes that each task read, as parts of its item.
        whole: Bytes that were read to have the whole list at hand.
        saved: Seconds to save it.
        loaded: Seconds to load all items, one by one.
    """

    each: list[float]
    whole: int
    saved: float
    loaded: float


def count_read(folder: Path, items: int, mib: float) -> Mapped:
    """Save a list of arrays, then load each item as a task does, with a store of its own and no cache; count what is read."""
    url = f"counted://{folder}/store"
    count = int(mib * (1 << 17))
    began = time.perf_counter()
    saving = Store.open(url, cache_size=0)
    reference = saving.collect([saving.save(np.full(count, n, float)) for n in range(items)])
    saved = time.perf_counter() - began
    each_read = []
    began = time.perf_counter()
    for number in range(items):
        CountingFileSystem.read = 0
        item = Store.open(url, cache_size=0).load_item(reference, number)  # nothing is kept from the task before
        assert item[0] == item[-1] == number
        each_read.append(CountingFileSystem.read / (count * 8))
    took = time.perf_counter() - began
    CountingFileSystem.read = 0
    assert len(Store.open(url, cache_size=0).load(reference)) == items
    return Mapped(each_read, CountingFileSystem.read, saved, took)


def mapping(folder: Path, items: int, mib: int) -> str:
    """Count what tasks read; return a table."""
    found = count_read(folder, items, mib)
    assert max(found.each) < 1.1
    return "\n".join(
        [
            f"| a list of {items} arrays of {mib} MiB, in a store that counts | |",
            "|---|---:|",
            f"| bytes read by a task for its item, least to most, as parts of the item | {min(found.each):.4f} to {max(found.each):.4f} |",
            f"| bytes read to have the whole list at hand, before an item is asked for | {found.whole} |",
            f"| saved, s; all items loaded, one by one, s | {found.saved:.1f}; {found.loaded:.1f} |",
        ]
    )


# --- damages ------------------------------------------------------------------------------------------------------------------


@step
def parts(n: int) -> list[np.ndarray]:
    """Make arrays."""
    return [np.full(20_000, i, float) for i in range(n)]


@step
def table(a: np.ndarray) -> pd.DataFrame:
    """Make a frame of an array."""
    return pd.DataFrame({"a": a, "b": ["x"] * len(a)})


@step
def count(tables: list[pd.DataFrame]) -> dict[str, Any]:
    """Put something of everything together."""
    return {"rows": sum(len(t) for t in tables), "text": "x" * 5000, "tags": [str(t.shape) for t in tables]}


@flow
def several(n: int = 3) -> dict[str, Any]:
    """Make a run that has blobs of some kinds."""
    return count(table.map(each(parts(n))))


@dataclass
class Damages:
    """What became of some damages.

    Attributes:
        detected: Noticed when what was damaged was read.
        unnoticed: Files whose damage was not noticed.
        tracebacks: What escaped as something else than an error of flowbridge's.
        kinds: Damages by kind of file.
    """

    detected: int = 0
    unnoticed: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


def count_damages(folder: Path, number: int, seed: int = 0) -> Damages:
    """Change one byte of a blob or record of a run, look at the run by all ways, put the byte back; so many times."""
    url = str(folder / "store")
    run = several.options(backend="inline", store=url).run()
    assert run.status == "done", run.message
    chance = random.Random(seed)
    content = Store.open(url).content
    paths = sorted(p for p, size, _ in content.entries("") if size and "/logs/" not in p)  # logs are text for people, and are not sealed
    found = Damages()
    for _ in range(number):
        path = chance.choice(paths)
        sound = content.get(path)
        place = chance.randrange(len(sound))
        content.put(path, sound[:place] + bytes([sound[place] ^ chance.randrange(1, 256)]) + sound[place + 1 :])
        found.kinds["record" if path.startswith("runs/") else path.partition("/")[0].rstrip("s")] += 1
        try:
            look(url, run.id)
            found.unnoticed.append(f"{path} at {place}")
        except FlowbridgeError:
            found.detected += 1
        except Exception as error:  # noqa: BLE001  (this is what must not be)
            found.tracebacks.append(f"{path} at {place}: {error!r}")
        found.tracebacks += command(["show", run.id], url) + command(["runs", "--json"], url)
        content.put(path, sound)
    look(url, run.id)
    return found


def look(url: str, run_id: str) -> None:
    """Read all that a store has of a run: records, graph, code, values."""
    store = Store.open(url, cache_size=0)
    files = Runs(store.content).find(run_id)
    record = files.run()
    files.native(), files.ended(), files.summary()
    read_value(store.load(record.graph))
    if record.bundle is not None:
        store.get_bundle(record.bundle)
    for _, digest in record.locks:
        store.get_environment(digest)
    for task in files.read_files(list(files.task_files())):
        for _, reference in getattr(task, "outputs", ()):
            read_value(store.load(reference))


def read_value(value: Any) -> None:
    """Touch all of a value."""
    for item in value if isinstance(value, list) else [value]:
        np.asarray(item).sum() if isinstance(item, np.ndarray) else repr(item)


def command(arguments: list[str], url: str) -> list[str]:
    """Run a command of the CLI; return what it told of tracebacks, which is nothing."""
    told = io.StringIO()
    before = os.environ.get("FLOWBRIDGE_STORE")
    os.environ["FLOWBRIDGE_STORE"] = url
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            call(arguments)
    finally:
        os.environ.pop("FLOWBRIDGE_STORE")
        if before is not None:
            os.environ["FLOWBRIDGE_STORE"] = before
    text = told.getvalue()
    return [f"{arguments}: {text}"] if "Traceback" in text or "Error inside flowbridge" in text else []


def damages(folder: Path, number: int) -> str:
    """Count damages; return a table."""
    found = count_damages(folder, number)
    kinds = ", ".join(f"{count} in {kind}s" for kind, count in found.kinds.most_common())
    assert not found.unnoticed, found.unnoticed[:5]
    assert not found.tracebacks, found.tracebacks[:5]
    return f"| {number} damages of one byte ({kinds}) | |\n|---|---:|\n| noticed | {found.detected} |\n| tracebacks | {len(found.tracebacks)} |"


# --- writers ------------------------------------------------------------------------------------------------------------------

EACH = 5


def write_some(url: str, number: int, start: Any, told: Any) -> None:
    """Wait for all others, then save some values, one of which they all save; tell the references."""
    store = Store.open(url)
    start.wait()
    references = [store.save(np.full(20_000, number * EACH + n, float)) for n in range(EACH)] + [store.save(b"the same" * 50_000)]
    told.put((number, [r.model_dump_json() for r in references]))


def count_written(folder: Path, processes: int) -> tuple[int, int, int]:
    """Have processes write into one store at the same moment; return values, those that came back, and what is left beside them."""
    url = str(folder / "store")
    forking = multiprocessing.get_context("fork")
    start, told = forking.Barrier(processes), forking.Queue()
    running = [forking.Process(target=write_some, args=(url, number, start, told)) for number in range(processes)]
    for process in running:
        process.start()
    found = dict(told.get(timeout=300) for _ in running)
    for process in running:
        process.join()
    store = Store.open(url)
    sound = 0
    for number, texts in found.items():
        values = [store.load(Reference.model_validate_json(text)) for text in texts]
        sound += sum(bool((value == number * EACH + n).all()) for n, value in enumerate(values[:-1])) + (values[-1] == b"the same" * 50_000)
    return processes * (EACH + 1), sound, len(list(store.content.entries("", temporary=True)))


def writers(folder: Path, processes: int) -> str:
    """Count what writers lose; return a table."""
    began = time.perf_counter()
    written, sound, left = count_written(folder, processes)
    assert written == sound
    return (
        f"| {processes} processes writing at once | |\n|---|---:|\n| values written, and found again | {written}, {sound} |\n"
        f"| files left beside them | {left} |\n| s | {time.perf_counter() - began:.1f} |"
    )
