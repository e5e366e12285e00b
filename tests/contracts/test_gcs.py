"""The contract on Google Cloud Storage's protocol, as far as the emulator has it."""

from uuid import uuid4

import pytest

from flowbridge.testing import StoreSuite
from tests.unit.artifacts.test_memory import BODIES, MIB, measured

pytestmark = pytest.mark.gcs
_NO_PRECONDITIONS = "the emulator ignores ifGenerationMatch, which is how GCS creates an object only where none stands"


class TestGcs(StoreSuite):
    unlike = {
        "test_create_refuses_what_is_there": _NO_PRECONDITIONS,
        "test_of_racers_one_creates": _NO_PRECONDITIONS,
        "test_runs_are_found": _NO_PRECONDITIONS,
    }

    @pytest.fixture
    def place(self, gcs_options):
        return f"gs://artifacts/{uuid4().hex}", gcs_options


@pytest.mark.slow
def test_a_large_array_takes_little_memory_more(gcs_options, tmp_path):
    save, load = measured(tmp_path, BODIES["array"], f"gs://artifacts/{uuid4().hex}", repr(gcs_options))
    assert save <= 64 * MIB, f"saving took {save >> 20} MiB"
    assert load <= 64 * MIB, f"loading took {load >> 20} MiB"
