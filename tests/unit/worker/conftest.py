"""A store for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbridge.artifacts.store import Store

from .driver import open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")
