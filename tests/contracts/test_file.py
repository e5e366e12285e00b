"""The contract, in a folder of this machine: by name, and by URL."""

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
