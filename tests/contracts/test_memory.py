"""The contract, in memory."""

from uuid import uuid4

import pytest

from flowbridge.testing import StoreSuite


class TestMemory(StoreSuite):
    unlike = {"test_of_racers_one_creates": "fsspec's memory file system looks and writes in two steps; a process has it to itself"}

    @pytest.fixture
    def place(self):
        return f"memory://{uuid4().hex}", {}
