"""What is fetched of a list in a store elsewhere before its items are asked for: some of it, and each once."""

import time
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest

from flowbridge.artifacts.store import Store

PAGES = 30


class Held:
    alive: ClassVar[list[int]] = []

    def __init__(self):
        Held.alive.append(1)

    def __del__(self):
        Held.alive.pop()

    def __reduce__(self):
        return Held, ()


@pytest.fixture
def far(tmp_path):
    return Store.open(f"memory://{tmp_path.name}-{time.time_ns()}", cache_dir=tmp_path / "cache")


@pytest.fixture
def asked(far, monkeypatch):
    """The paths that are read from the store, one by one."""
    found = []
    for name in ("get", "get_file", "get_into", "get_range"):
        real = getattr(far.content, name)
        monkeypatch.setattr(far.content, name, lambda path, *rest, real=real: found.append(path) or real(path, *rest))
    return found


def long_list(store, sizes):
    """Save a list of many pages, each of which has one item many times over."""
    refs = [store.save(np.full(size, page)) for page, size in zip(range(PAGES), sizes, strict=False)]
    return store.collect([ref for ref in refs for _ in range(1000)])


@pytest.mark.parametrize("sizes", [[10] * PAGES, [9000] * PAGES, [9000, *[10] * (PAGES - 1)]], ids=["inside", "blobs", "one blob"])
def test_the_first_item_needs_few_pages_and_all_need_each_once(far, asked, sizes, monkeypatch):
    monkeypatch.setattr("flowbridge.artifacts.loading.EAGER", 0)
    lazy = far.load(long_list(far, sizes))
    assert next(iter(lazy))[0] == 0
    assert len(asked) <= 3  # root, page, and the item
    far.cache.keep = lambda digest, data: None  # from here on nothing is hidden by copies of small blobs
    asked.clear()
    assert sum(int(item[0]) for item in lazy) == 1000 * sum(range(PAGES))
    assert len(asked) == len(set(asked))


def test_a_copy_of_a_pack_is_not_asked_for_again(far, asked):
    ref = far.save([np.full(2000, n) for n in range(50)])
    assert len(far.load(ref)) == 50
    asked.clear()
    again = Store(far.content, cache=far.cache)
    assert [again.load_item(ref, n)[0] for n in (3, 40, 7)] == [3, 40, 7]
    assert asked == []


def test_a_damaged_copy_of_a_pack_is_not_used(far):
    ref = far.save([np.full(2000, n) for n in range(50)])
    far.load(ref)
    item = far.item(ref, 9)
    copy = far.cache.path_of(item.pack)
    copy.write_bytes(bytes(copy.stat().st_size))
    assert Store(far.content, cache=far.cache).load_item(ref, 9)[0] == 9


def test_of_a_pack_of_8_mib_not_each_item_is_a_request(far, asked, monkeypatch):
    """As they were written until they became smaller."""
    monkeypatch.setattr("flowbridge.artifacts.saving.PACK", 8 << 20)
    ref = far.save([np.full(12_000, n) for n in range(80)])
    assert far.item(ref, 0).pack_size > 7 << 20
    asked.clear()
    assert [far.load_item(ref, n)[0] for n in range(70)] == list(range(70))
    assert len(asked) <= 3  # the page, the first item, and then the pack


def test_of_a_stream_one_item_is_held(far, asked):
    stream = far.load(far.save(Held() for _ in range(5000)))
    asked.clear()
    most = []
    for item in islice(stream, 1500):
        most.append(len(Held.alive))
        del item
    assert max(most) == 1
    assert len(asked) == 2
