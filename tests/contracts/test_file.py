"""The contract, in a folder of this machine: by name, by URL, and through fsspec as any file system that it knows."""

import pytest

from flowbridge.testing import StoreSuite


class TestFolder(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "store"), {}


class TestSyncedFolder(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path):
        return f"file://{tmp_path}/store", {"fsync": True}


class TestThroughFsspec(StoreSuite):
    """A file system of which nothing is known: what is written has to be moved into its place."""

    unlike = {"test_of_racers_one_creates": "it has no way to create a file only where none stands"}

    @pytest.fixture
    def place(self, tmp_path):
        return f"dir://store::file://{tmp_path}", {}
