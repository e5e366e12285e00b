"""One byte that changed anywhere is always noticed, and is always an error of the store."""

import random

import numpy as np
import pandas as pd
import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import StoreError

MAKERS = {
    "array": lambda _: np.arange(40_000),
    "mapped array": lambda _: np.arange(400_000),
    "frame": lambda _: pd.DataFrame({"a": range(20_000), "b": ["x"] * 20_000}),
    "text": lambda _: "text" * 30_000,
    "pickle": lambda _: {("a", n): bytes(100) for n in range(500)},
    "list of numbers": lambda _: list(range(60_000)),
    "list of arrays": lambda _: [np.full(20_000, n) for n in range(5)],
}


def read_all(store, reference):
    value = store.load(reference)
    for item in value if isinstance(value, list) else [value]:
        np.asarray(item).sum() if isinstance(item, np.ndarray) else item


@pytest.mark.parametrize("name", MAKERS)
def test_every_damage_is_noticed(tmp_path, name):
    chance = random.Random(name)
    store = Store.open(str(tmp_path / "store"))
    reference = store.save(MAKERS[name](tmp_path))
    read_all(store, reference)
    paths = [p for p, _, _ in store.content.entries("blobs/")]
    assert paths
    for _ in range(100):
        path = chance.choice(paths)
        sound = store.content.get(path)
        place = chance.randrange(len(sound))
        store.content.put(path, sound[:place] + bytes([sound[place] ^ chance.randrange(1, 256)]) + sound[place + 1 :])
        with pytest.raises(StoreError):
            read_all(Store.open(store.url), reference)
        store.content.put(path, sound)
    read_all(Store.open(store.url), reference)
