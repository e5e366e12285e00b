"""The servers that the contracts of object stores are held to, one of each for all tests."""

import os

import pytest

from tests.contracts.servers import free_port, server


@pytest.fixture(scope="session")
def s3_options():
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    port = free_port()
    with server(["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as url:
        options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": url}}
        fsspec.filesystem("s3", **options, skip_instance_cache=True).call_s3("create_bucket", Bucket="artifacts")
        yield options


@pytest.fixture(scope="session")
def gcs_options():
    pytest.importorskip("gcp_storage_emulator")
    port = free_port()
    start = (
        "from gcp_storage_emulator.server import create_server; "
        f"create_server('127.0.0.1', {port}, in_memory=True, default_bucket='artifacts').run()"
    )
    with server(["-c", start], port, STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{port}") as url:
        os.environ["STORAGE_EMULATOR_HOST"] = url
        pytest.importorskip("gcsfs")
        yield {"token": "anon", "endpoint_url": url}
    del os.environ["STORAGE_EMULATOR_HOST"]
