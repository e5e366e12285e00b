"""What goes to an object store and comes from it in parts takes at most 64 MiB of further memory."""

from uuid import uuid4

import pytest

from tests.unit.artifacts.test_memory import BODIES, MIB, measured


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "options", "more"),
    [
        pytest.param("s3://artifacts", "s3_options", {}, id="s3", marks=pytest.mark.s3),
        pytest.param("s3://artifacts", "s3_options", {"use_ssl": False}, id="s3 through s3fs alone", marks=pytest.mark.s3),
        pytest.param("gs://artifacts", "gcs_options", {}, id="gcs", marks=pytest.mark.gcs),
    ],
)
def test_an_array(request, tmp_path, url, options, more):
    given = {**request.getfixturevalue(options), **more}
    save, load = measured(tmp_path, BODIES["array"], f"{url}/{uuid4().hex}", repr(given))
    assert save <= 64 * MIB, f"saving took {save >> 20} MiB"
    assert load <= 64 * MIB, f"loading took {load >> 20} MiB"
