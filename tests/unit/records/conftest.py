"""A store's bytes for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbridge.artifacts.content import Content, open_content
from flowbridge.artifacts.reference import Reference
from flowbridge.records.files import RunFiles
from flowbridge.records.models import RunRecord


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return open_content(str(tmp_path / "store"))


def run_record(run: str = "r1", flow: str = "f", created: float = 1.0) -> RunRecord:
    return RunRecord(
        id=run,
        flow=flow,
        graph=Reference(digest="sha256:0", size=1, serializer="json"),
        graph_digest="0",
        params={"lr": 0.1},
        backend="test",
        created=created,
    )


@pytest.fixture
def files(content: Content) -> RunFiles:
    return RunFiles.create(content, run_record())
