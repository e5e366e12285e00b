"""What is small stands in its reference: no file is written for it, and it is verified all the same."""

import base64
from dataclasses import dataclass

import numpy as np
import pytest

from flowbridge.artifacts import digests
from flowbridge.artifacts.reference import Reference
from flowbridge.artifacts.saving import INLINE_BYTES
from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, UntrustedError


@dataclass
class Pair:
    name: str
    data: np.ndarray


VALUES = {
    "number": 3,
    "dict": {"a": [1, 2.5, None]},
    "array": np.arange(100.0),
    "set": {1, 2, 3},
    "tuple": ("a", 1),
    "bytes": b"\x00\xff" * 100,
    "dataclass": Pair("x", np.arange(20)),
}


def same(one, other):
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("name", VALUES)
def test_no_file_is_written(store, name):
    made = store.save(VALUES[name], name="output 'x' of step y")
    ref = Reference.model_validate_json(made.model_dump_json())
    assert list(store.content.entries("")) == []
    assert list(store.blobs_of(ref)) == []
    assert store.exists(ref)
    back = Store.open(store.url).load(ref)
    assert type(back) is type(VALUES[name])
    if name == "dataclass":
        assert back.name == "x"
        assert same(back.data, VALUES[name].data)
    else:
        assert same(back, VALUES[name])


def test_a_loaded_array_may_be_changed(store):
    ref = store.save(np.zeros(10))
    store.load(ref)[0] = 1
    assert store.load(ref)[0] == 0


@pytest.mark.parametrize(("size", "files"), [(INLINE_BYTES, 0), (INLINE_BYTES + 1, 1)])
def test_the_bound(store, size, files):
    ref = store.save(b"x" * size)
    assert len(store.content.paths("blobs/")) == files
    assert store.load(ref) == b"x" * size


@pytest.mark.parametrize("name", ["array", "set", "bytes", "dataclass"])
def test_every_damage_inside_a_reference_is_noticed(store, name):
    ref = store.save(VALUES[name], name="output 'x' of step y")
    sound = bytearray(base64.b64decode(ref.data))
    for place in range(0, len(sound), 7):
        damaged = sound.copy()
        damaged[place] ^= 1
        for text in (base64.b64encode(damaged).decode(), ref.data[:-4], ref.data + "AAAA", "not base64!"):
            with pytest.raises(ArtifactDamagedError, match="'x' of step y"):
                store.load(ref.model_copy(update={"data": text}))


def test_a_pickle_in_a_reference_needs_trust_too(store):
    ref = store.save({1, 2, 3})
    assert ref.data is not None
    with pytest.raises(UntrustedError):
        Store.open(store.url, trust=False).load(ref)


def test_a_large_field_of_a_small_dataclass_keeps_its_blob(store):
    ref = store.save([Pair("x", np.arange(100_000)), Pair("y", np.arange(3))])
    blobs = {digest for digest, _ in store.blobs_of(ref)}
    assert {f"blake3:{path.rpartition('/')[2]}" for path in store.content.paths("blobs/")} == blobs
    first, second = store.load(ref)
    assert first.data.sum() == np.arange(100_000).sum()
    assert second.data.tolist() == [0, 1, 2]


def test_pages_over_values_in_references_stay_small(store):
    refs = [store.save(np.full(300, n)) for n in range(1500)]
    listed = store.collect(refs)
    largest = max(size for _, size, _ in store.content.entries("blobs/"))
    assert largest <= 2 << 20
    assert [store.load_item(listed, n)[0] for n in (0, 700, 1499)] == [0, 700, 1499]
    assert [a[0] for a in store.load(listed)] == list(range(1500))


def test_what_comes_from_elsewhere_is_hashed_once(monkeypatch, tmp_path):
    store = Store.open(f"memory://{tmp_path.name}", cache_size=0)
    ref = store.save(b"x" * 9000)
    hashed, matches = [], digests.matches
    monkeypatch.setattr(digests, "matches", lambda data, wanted: hashed.append(len(data)) or matches(data, wanted))
    assert store.load(ref) == b"x" * 9000
    assert hashed == [9000]
