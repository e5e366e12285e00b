"""A store in trouble: retried, told clearly, and nothing half-written is left."""

import errno
import json
import os
import subprocess
import sys

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flowbridge.artifacts.store import Store
from flowbridge.errors import StoreFullError, StoreUnavailableError


class Faulty(MemoryFileSystem):
    """Memory that fails as often as it is told to, before or in the middle of a write."""

    protocol = "faulty"
    store = {}
    pseudo_dirs = [""]
    failures = []

    def _fail(self):
        if Faulty.failures:
            raise Faulty.failures.pop(0)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if Faulty.failures:  # half of it arrives beside its place
            super().pipe_file(path, value[: len(value) // 2])
        self._fail()
        super().pipe_file(path, value, mode=mode, **kwargs)

    def _open(self, path, mode="rb", **kwargs):
        file = super()._open(path, mode, **kwargs)
        if "w" in mode:
            write, blocks = file.write, []

            def failing(data):
                blocks.append(1)
                if len(blocks) == 3:
                    self._fail()
                return write(data)

            file.write = failing
        return file

    def cat_file(self, path, **kwargs):
        self._fail()
        return super().cat_file(path, **kwargs)


fsspec.register_implementation("faulty", Faulty, clobber=True)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    monkeypatch.setattr("flowbridge.artifacts.patience.PAUSE", 0.001)
    Faulty.store.clear()
    Faulty.pseudo_dirs[:] = [""]
    Faulty.failures = []
    return Store.open("faulty://bucket", cache_size=0)


FAULTS = [OSError("500 Internal Server Error"), TimeoutError("slow"), ConnectionResetError("mid-write")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
def test_a_store_that_comes_back_is_not_noticed(faulty, fault):
    Faulty.failures = [fault, fault]
    reference = faulty.save(b"x" * 100_000)
    Faulty.failures = [fault, fault]
    assert faulty.load(reference) == b"x" * 100_000


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
def test_a_store_that_stays_away_is_told_and_nothing_is_visible(faulty, fault):
    Faulty.failures = [fault] * 50
    with pytest.raises(StoreUnavailableError, match="tried 6 times"):
        faulty.save(b"x" * 100_000)
    Faulty.failures = []
    assert faulty.content.paths("blobs/") == []


LARGE = np.arange(5 << 20)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
def test_a_large_value_that_breaks_off_midway_is_sent_again(faulty, fault):
    Faulty.failures = [fault, fault]
    reference = faulty.save(LARGE)
    assert Faulty.failures == []
    assert (faulty.load(reference) == LARGE).all()
    assert len(faulty.content.paths("")) == 1
    assert list(faulty.content.entries("", temporary=True)) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
def test_a_large_value_that_never_arrives_leaves_nothing(faulty, fault):
    Faulty.failures = [fault] * 50
    with pytest.raises(StoreUnavailableError, match="tried 6 times"):
        faulty.save(LARGE)
    Faulty.failures = []
    assert faulty.content.paths("") == []
    assert list(faulty.content.entries("", temporary=True)) == []


def test_items_of_a_list_that_fail_behind_the_saver_fail_the_list(faulty):
    items = [os.urandom(200_000) for _ in range(40)]
    Faulty.failures = [OSError("500 Internal Server Error")] * 500
    with pytest.raises(StoreUnavailableError, match="tried 6 times"):
        faulty.save(items)
    Faulty.failures = []
    assert faulty.load(faulty.save(items)) == items


def test_a_remote_store_that_is_full(faulty):
    Faulty.failures = [OSError(errno.ENOSPC, "no room")] * 50
    with pytest.raises(StoreFullError, match="full"):
        faulty.save(b"x" * 100_000)
    Faulty.failures = []
    assert faulty.content.paths("blobs/") == []


def test_a_full_disk(small_disk):
    store = Store.open(str(small_disk / "store"))
    kept = store.save(b"a" * 1_000_000)
    for size in (6 << 20, 20 << 20):
        with pytest.raises(StoreFullError, match="full"):
            store.save(os.urandom(size))
    assert list(store.content.entries("", temporary=True)) == []
    assert len(store.content.paths("blobs/")) == 1
    assert store.load(kept) == b"a" * 1_000_000


WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from flowbridge.artifacts.store import Store
store, number = Store.open(sys.argv[1]), int(sys.argv[2])
def write(n):
    store.save(b"same" * 50_000)
    return store.save(f"{number}-{n} ".encode() * 20_000).model_dump_json()
with ThreadPoolExecutor(5) as pool:
    print("\\n".join(pool.map(write, range(5))))
"""


def test_a_hundred_writers_lose_nothing(store):
    from flowbridge.artifacts.reference import Reference

    writers = [subprocess.Popen([sys.executable, "-c", WRITER, store.url, str(n)], stdout=subprocess.PIPE, text=True) for n in range(20)]
    told = [writer.communicate()[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 20
    for number, lines in enumerate(told):
        values = [store.load(Reference.model_validate_json(line)) for line in lines]
        assert values == [f"{number}-{n} ".encode() * 20_000 for n in range(5)]
    assert len(store.content.paths("blobs/")) == 101
    assert list(store.content.entries("", temporary=True)) == []


KILLED = """
import os, signal, sys
from flowbridge.artifacts.store import Store
writer = Store.open("memory://x", cache_size=0).blobs.writer()
writer.write(bytes(2 << 20))
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
writer.abandon()
"""


def test_a_writer_that_is_killed_leaves_no_file_that_nobody_removes(tmp_path):
    def write(how):
        return subprocess.run([sys.executable, "-c", KILLED, how], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False).returncode

    assert write("killed") == -9
    assert write("whole") == 0
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_json_is_asked_for_again(faulty):
    reference = faulty.save(b"x" * 100_000)
    Faulty.failures = [json.JSONDecodeError("Unterminated string", "{", 1), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "cut")]
    assert faulty.load(reference) == b"x" * 100_000
