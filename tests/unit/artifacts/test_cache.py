"""Copies on this machine: bounded, verified, and shared by processes."""

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from flowbridge.artifacts import digests, layout, marks
from flowbridge.artifacts.cache import ReadCache
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactNotFoundError


@pytest.fixture
def far(tmp_path):
    return Store.open(f"memory://{tmp_path.name}-{time.time_ns()}", cache_dir=tmp_path / "cache")


def fetched(store, monkeypatch):
    asked = []
    for name in ("get", "get_range", "get_file", "get_into"):
        real = getattr(store.content, name)
        monkeypatch.setattr(store.content, name, lambda path, *rest, real=real, name=name: asked.append((name, path)) or real(path, *rest))
    return asked


def test_what_was_read_once_is_not_fetched_again(far, monkeypatch):
    ref = far.save(b"x" * 5_000_000)
    asked = fetched(far, monkeypatch)
    assert far.load(ref) == b"x" * 5_000_000
    count = len(asked)
    assert count
    assert far.load(ref) == b"x" * 5_000_000
    assert len(asked) == count


@pytest.mark.parametrize("size", [10_000, 2_000_000, 6_000_000])
def test_a_damaged_copy_is_fetched_anew(far, size):
    ref = far.save(os.urandom(size))
    value = far.load(ref)
    copy = far.cache.path_of(ref.digest)
    copy.write_bytes(b"?" + copy.read_bytes()[1:])
    assert far.load(ref) == value
    copy.write_bytes(b"")
    assert far.load(ref) == value


def test_it_stays_within_its_bounds_and_keeps_what_was_used_last(tmp_path):
    cache = ReadCache(tmp_path, 10_000_000)
    for number in range(30):
        data = bytes([number]) * 1_000_000
        digest = digests.digest(data)
        cache.open(digest, len(data), lambda target, data=data: target.write_bytes(data) and None).close()
        first = digests.digest(b"\0" * 1_000_000)
        cache.open(first, 1_000_000, lambda target: target.write_bytes(b"\0" * 1_000_000) and None).close()
    cache.shrink()
    sizes = [p.stat().st_size for p in (tmp_path / "blobs").glob("*/*")]
    assert 0 < sum(sizes) <= 10_000_000
    assert cache.path_of(first).exists()


def test_what_is_larger_than_the_bounds_is_read_all_the_same(tmp_path):
    store = Store.open(f"memory://{tmp_path.name}-large", cache_dir=tmp_path / "cache", cache_size=1_000_000)
    ref = store.save(np.arange(500_000))
    assert store.load(ref).sum() == np.arange(500_000).sum()
    assert not store.cache.path_of(ref.digest).exists()


def test_an_open_copy_outlives_its_removal(far):
    ref = far.save(np.arange(1_000_000))
    found = far.load(ref)
    far.cache.forget(ref.digest)
    assert int(found[-1]) == 999_999


def test_many_want_the_same_at_once(far, monkeypatch):
    ref = far.save(os.urandom(6_000_000))
    asked = fetched(far, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: far.load(ref), range(8)))
    assert len(set(values)) == 1
    assert [path for _, path in asked] == [layout.blob(ref.digest)]


def test_without_a_cache(tmp_path):
    store = Store.open(f"memory://{tmp_path.name}-none", cache_size=0)
    ref = store.save(np.arange(1_000_000))
    assert store.cache is None
    assert store.load(ref)[-1] == 999_999


class TestMarks:
    def test_a_large_file_is_hashed_once(self, store, monkeypatch):
        ref = store.save(np.arange(1_000_000))
        hashed = []
        real = digests.digest_chunks
        monkeypatch.setattr(digests, "digest_chunks", lambda chunks, algorithm="blake3": hashed.append(1) or real(chunks, algorithm))
        store.load(ref)
        assert hashed == []  # it was marked when it was written
        path = store.content.path_of(layout.blob(ref.digest))
        path.touch()
        store.load(ref)
        assert hashed == [1]
        store.load(ref)
        assert hashed == [1]

    def test_whoever_writes_takes_the_mark_away(self, tmp_path):
        path, digest = tmp_path / "file", "blake3:" + "5f" * 32
        path.write_bytes(b"x" * 10)
        marks.mark(path, digest)
        assert marks.is_marked(path.stat(), digest)
        with path.open("r+b") as file:
            file.write(b"y")
        assert not marks.is_marked(path.stat(), digest)

    def test_the_time_stays_true_to_the_second(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"x")
        before = path.stat().st_mtime
        marks.mark(path, "blake3:" + "ab" * 32)
        assert abs(path.stat().st_mtime - before) < 1


READER = """
import random, sys
from pathlib import Path
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.store import Store
url, cache, limit, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = Store.open(url, cache_dir=cache, cache_size=limit)
refs = [Reference.model_validate_json(line) for line in sys.stdin]
for _ in range(3):
    random.Random(seed).shuffle(refs)
    for ref in refs:
        value = store.load(ref)
        assert len(value) == 500_000 and value == value[:1] * 500_000, "what was loaded is something else"
"""


def test_processes_keep_its_bounds_together(tmp_path):
    limit = 5_000_000
    (tmp_path / "far").mkdir()
    url = f"dir://store::file://{tmp_path}/far"
    store = Store.open(url, cache_size=0)
    told = "\n".join(store.save(bytes([n]) * 500_000).model_dump_json() for n in range(40))
    arguments = [sys.executable, "-c", READER, url, str(tmp_path / "cache"), str(limit)]
    readers = [subprocess.Popen([*arguments, str(n)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for n in range(4)]
    for reader in readers:
        reader.stdin.write(told)
        reader.stdin.close()
        reader.stdin = None
    errors = [reader.stderr.read() for reader in readers]
    assert [reader.wait() for reader in readers] == [0] * 4, errors
    left = sum(size for _, size, _ in ReadCache(tmp_path / "cache", limit)._copies())
    assert 0 < left <= 1.5 * limit, "each of four may have added a tenth since somebody looked at what all have"


def refuse_writing(folder, monkeypatch, number=errno.ENOSPC):
    """Make a folder one in which nothing can be written, also by root."""
    real_open, real_mkdir = Path.open, Path.mkdir

    def refused(path, real, *args, **options):
        if path.is_relative_to(folder) and (real is real_mkdir or (args[:1] or (options.get("mode", "r"),))[0] != "rb"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", lambda path, *args, **options: refused(path, real_open, *args, **options))
    monkeypatch.setattr(Path, "mkdir", lambda path, *args, **options: refused(path, real_mkdir, *args, **options))


VALUES = {"small": 10_000, "one request": 3_000_000, "parts": 9_000_000}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("made", [True, False], ids=["full", "cannot be made"])
@pytest.mark.parametrize("size", VALUES.values(), ids=VALUES)
def test_without_room_for_copies_values_are_read_all_the_same(far, monkeypatch, size, made, number):
    array = np.frombuffer(os.urandom(size), dtype=np.uint8)
    refs = [far.save(array), far.save([array, array[1:]]), far.save(array.tobytes())]
    if made:
        for ref in refs:
            far.cache.path_of(ref.digest).parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    refuse_writing(far.cache.folder, monkeypatch, number)
    found, listed, text = [far.load(ref) for ref in refs]
    found[0] = 1
    assert np.array_equal(found[1:], array[1:])
    assert np.array_equal(listed[0], array)
    assert np.array_equal(listed[1], array[1:])
    assert text == array.tobytes()
    assert not [path for path in far.cache.folder.rglob("*") if path.is_file()]


def test_a_full_disk_for_copies(small_disk, tmp_path):
    store = Store.open(f"memory://{tmp_path.name}-full", cache_dir=small_disk / "cache")
    values = [os.urandom(size) for size in (900_000, 3_000_000, 5_000_000, 20_000_000, 900_000)]
    assert [store.load(store.save(value)) for value in values] == values
    assert not [path for path in store.cache.folder.rglob(".*") if path.is_file()], "nothing half-written is left"


@pytest.mark.parametrize("size", VALUES.values(), ids=VALUES)
def test_what_the_store_has_no_more_is_asked_for_once(far, monkeypatch, size):
    ref = far.save(b"x" * size)
    far.content.delete([layout.blob(ref.digest)])
    asked = fetched(far, monkeypatch)
    real = far.content.size
    monkeypatch.setattr(far.content, "size", lambda path: asked.append(("size", path)) or real(path))
    with pytest.raises(ArtifactNotFoundError):
        far.load(ref)
    assert len(asked) == 1


def test_what_is_larger_than_the_bounds_is_not_written(tmp_path, monkeypatch):
    cache = ReadCache(tmp_path / "cache", 1000)
    written = []
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: written.append(path))
    cache.keep(digests.digest(b"x" * 2000), b"x" * 2000)
    assert written == []
