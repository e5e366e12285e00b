"""Large objects on Google Cloud Storage: resumable uploads, and parts that the store puts together."""

import os
from uuid import uuid4

import pytest

from flowbridge.artifacts import transfer
from flowbridge.artifacts.content import open_content
from flowbridge.errors import StoreUnavailableError

pytestmark = pytest.mark.gcs


@pytest.fixture
def content(gcs_options, monkeypatch):
    monkeypatch.setattr("flowbridge.artifacts.patience.PAUSE", 0.001)
    return open_content(f"gs://artifacts/{uuid4().hex}", gcs_options)


@pytest.mark.parametrize(("size", "composed"), [(20 << 20, 0), (transfer._COMPOSE_FROM + 12345, 1)], ids=["resumable", "composed"])
def test_all_bytes_arrive_and_nothing_else(content, monkeypatch, size, composed):
    fs = content._filesystem()
    merges = []
    merge = fs.merge
    monkeypatch.setattr(fs, "merge", lambda path, names: merges.append(names) or merge(path, names))
    data = os.urandom(1 << 20) * (size >> 20) + os.urandom(size % (1 << 20))
    content.put("large", data)
    assert len(merges) == composed
    target = bytearray(len(data))
    content.get_into("large", memoryview(target))
    assert target == data
    assert content.paths("") == ["large"]
    assert list(content.entries("", temporary=True)) == []


@pytest.mark.parametrize("where", ["a part", "the end"])
def test_what_fails_midway_is_not_visible(content, monkeypatch, where):
    fs = content._filesystem()
    stream = transfer._stream
    failures = []

    def fail(*_):
        failures.append(1)
        raise OSError("500 backend error")

    def failing(fs, path, pieces, start, stop):
        return fail() if start else stream(fs, path, pieces, start, stop)

    monkeypatch.setattr(transfer, "_stream", failing) if where == "a part" else monkeypatch.setattr(fs, "merge", fail)
    with pytest.raises(StoreUnavailableError, match="tried 6 times"):
        content.put("large", bytes(transfer._COMPOSE_FROM))
    assert len(failures) >= 4
    assert content.paths("") == []
    assert list(content.entries("", temporary=True)) == []
