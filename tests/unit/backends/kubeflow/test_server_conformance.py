"""The whole conformance suite on the small server that behaves as a real one was seen to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowbridge.backends.kubeflow import submit
from flowbridge.testing import BackendSuite
from flowbridge.testing.backends import pytest_generate_tests
from tests.unit.backends.kubeflow.fake_server import FakeServer

__all__ = ["pytest_generate_tests"]


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(submit, "GRACE", 1.0)
    server = FakeServer()
    monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__HOST", server.address)
    yield
    server.close()


@pytest.mark.slow
class TestServer(BackendSuite):
    """Every case; pods are processes of this machine, two at a time."""

    backend = "kubeflow"
    settings = {
        "FLOWBRIDGE_KUBEFLOW__POLL": "200ms",
        "FLOWBRIDGE_KUBEFLOW__IMAGE": "python:3.11",
        "FLOWBRIDGE_KUBEFLOW__INSTALL": "flowbridge",
        "FLOWBRIDGE_KUBEFLOW__VOLUMES": '[{"path": "/shared", "claim": "shared"}]',
    }
    random_seeds = range(2)
