"""Saving and loading N bytes takes at most N + 64 MiB of further memory: measured in processes of their own."""

import subprocess
import sys

import pytest

MIB = 1 << 20
N = 192 * MIB
ALLOWED = N + 64 * MIB

HEAD = """
import os, sys, threading, time
import numpy as np, pandas as pd, pyarrow as pa
import cloudpickle, zstandard
from pathlib import Path
from flowbridge.artifacts.store import Store
N, folder, url = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
store = Store.open(url, cache_dir=folder / "cache", options=OPTIONS)
store.load(store.save({(1,): np.arange(10)})); store.load(store.save(pd.DataFrame({"a": [1]})))

def held():
    # what the process has for itself: pages of mapped files can be taken back at any time
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

class Peak:
    def __enter__(self):
        self.start = self.most = held()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self
    def watch(self):
        while not self.over.wait(0.002):
            self.most = max(self.most, held())
    def __exit__(self, *_):
        self.most = max(self.most, held())
        self.over.set()
        self.thread.join()
        print(self.most - self.start)
"""

BODIES = {
    "array": "value = np.ones(N // 8)",
    "array not contiguous": "value = np.ones((N // 8, 2))[:, 0]",
    "object with arrays": "value = {'a': np.ones(N // 16), ('b',): np.ones(N // 16)}",
    "bytes": "value = bytes(N)",
    "text": "value = 'x' * N",
    "frame": "value = pd.DataFrame({str(i): np.ones(N // 64) for i in range(8)})",
    "frame of nullable numbers": "value = pd.DataFrame({'a': pd.array(np.ones(N // 8, dtype='i8'), dtype='Int64')})",
    "slice of a table in an object": (
        "value = {'few': pa.table({str(i): np.ones(3 * N // 64) for i in range(8)}).slice(5, N // 64), ('b',): 1}"
    ),
    "polars": "import polars as pl\nvalue = pl.DataFrame({str(i): np.ones(N // 64) for i in range(8)})",
    "table": "value = pa.table({str(i): np.ones(N // 64) for i in range(8)})",
    "file": "value = folder / 'file'\nwith value.open('wb') as f:\n    for _ in range(N >> 20): f.write(os.urandom(1 << 20))",
    "folder": (
        "value = folder / 'many'\nvalue.mkdir()\n"
        "for i in range(N >> 22): (value / f'{i}').write_bytes(os.urandom(1 << 22))\n"
        "for i in range(200): (value / f's{i}').write_bytes(os.urandom(1000))"
    ),
    "list of arrays": "value = [np.full(1 << 17, i) for i in range(N >> 20)]",
}
NEEDS_NOTHING = {"array", "file", "folder", "table"}
"""Kinds that are mapped or streamed, so that loading them takes no memory for what they hold."""


def measured(tmp_path, body, url, options="{}"):
    code = (
        HEAD.replace("OPTIONS", options) + body + "\nwith Peak(): ref = store.save(value)\ndel value\nwith Peak(): back = store.load(ref)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(N), str(tmp_path), url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_on_this_machine(tmp_path, name):
    save, load = measured(tmp_path, BODIES[name], str(tmp_path / "store"))
    assert save <= ALLOWED
    assert load <= ALLOWED
    if name in NEEDS_NOTHING:
        assert save <= 64 * MIB, f"saving took {save >> 20} MiB for {N >> 20} MiB"
        assert load <= 64 * MIB, f"loading took {load >> 20} MiB for {N >> 20} MiB"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["array", "frame", "file", "object with arrays"])
def test_elsewhere(tmp_path, name):
    (tmp_path / "far").mkdir()
    save, load = measured(tmp_path, BODIES[name], f"dir://store::file://{tmp_path}/far")
    assert save <= 64 * MIB, f"saving took {save >> 20} MiB for {N >> 20} MiB"
    assert load <= (64 * MIB if name in NEEDS_NOTHING else ALLOWED)


@pytest.mark.slow
def test_packed(tmp_path):
    save, load = measured(tmp_path, BODIES["array"], str(tmp_path / "store"), '{"compression": "zstd"}')
    assert save <= 64 * MIB, f"saving took {save >> 20} MiB for {N >> 20} MiB"
    assert load <= ALLOWED
