"""zstd, for stores where the line is slower than the processor."""

import numpy as np
import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import ArtifactDamagedError, ConfigError

pytest.importorskip("zstandard")


@pytest.fixture
def packed(tmp_path):
    return Store.open(str(tmp_path / "store"), options={"compression": "zstd"})


@pytest.mark.parametrize(
    "value", [np.zeros(3_000_000), np.arange(30), "text" * 1_000_000, b"x" * 3_000_000, b"y" * 70_000], ids=lambda v: type(v).__name__
)
def test_values_come_back_from_less(packed, value):
    ref = packed.save(value)
    plain = Store.open(packed.url)  # it stands in the reference how the bytes are packed
    for store in (packed, plain):
        np.testing.assert_array_equal(store.load(ref), value)
    if len(value) > 1000:
        assert ref.encoding == "zstd"
        assert ref.size * 10 < ref.raw_size


def test_lists_and_folders(packed, tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_bytes(b"z" * 2_000_000)
    assert (packed.load(packed.save(tmp_path / "f")) / "a").stat().st_size == 2_000_000
    assert packed.load(packed.save([b"a" * 100_000, b"b"])) == [b"a" * 100_000, b"b"]


@pytest.mark.parametrize("claimed", [0, 10, 3_000_001, 1 << 60])
def test_a_size_that_is_not_so_takes_no_memory(packed, claimed):
    ref = packed.save(b"x" * 3_000_000).model_copy(update={"raw_size": claimed})
    with pytest.raises(ArtifactDamagedError):
        packed.load(ref)


def test_damage(packed):
    ref = packed.save(b"x" * 3_000_000)
    data = packed.get_bytes(ref.digest)
    other = packed.put_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactDamagedError):
        packed.load(ref.model_copy(update={"digest": other, "size": len(data) // 2}))


def test_other_ways_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="zstd"):
        Store.open(str(tmp_path), options={"compression": "gzip"})
    with pytest.raises(ConfigError, match="fsync"):
        Store.open(str(tmp_path), options={"fsinc": True})
