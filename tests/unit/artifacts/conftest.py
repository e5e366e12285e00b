"""A store in a folder of its own."""

import pytest

from flowbridge.artifacts.store import Store


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path / "store"), cache_dir=tmp_path / "cache")
