"""Vertex AI Pipelines: what its documentation allows, and the calls to Google's client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.errors import BackendError, MissingExtraError
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import steps
from tests.unit.backends.kubeflow.flows import branches, chain, options
from tests.unit.backends.kubeflow.flows import profile as plain_profile
from tests.unit.backends.kubeflow.runs import prepare

SETTINGS = {"flavor": "vertex", "project": "p", "location": "europe-west1", "pipeline_root": "gs://b/root", "image": "python:3.11"}
FUNCTIONS = {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}


class FakeJob:
    """A pipeline job that keeps what it was made with."""

    made: list[FakeJob] = []
    refuse: str | None = None

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.pipeline = json.loads(Path(given["template_path"]).read_text())
        self.resource_name = "projects/p/locations/europe-west1/pipelineJobs/1"
        self.state = SimpleNamespace(name="PIPELINE_STATE_RUNNING")
        self.account: str | None = None
        FakeJob.made.append(self)

    def submit(self, service_account: str | None = None) -> None:
        if FakeJob.refuse:
            raise RuntimeError(FakeJob.refuse)
        self.account = service_account

    def cancel(self) -> None:
        self.state = SimpleNamespace(name="PIPELINE_STATE_CANCELLED")

    def _dashboard_uri(self) -> str:
        return "https://console.example.com/1"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("google.cloud.aiplatform")
    module.PipelineJob = FakeJob  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform", module)
    monkeypatch.setattr(FakeJob, "made", [])
    monkeypatch.setattr(FakeJob, "refuse", None)


def profile(tmp_path: Path, **more: Any) -> Profile:
    return Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow={**SETTINGS, "poll": 0.05, "install": "flowbridge", **more})


def test_gaps_name_every_setting_that_vertex_lacks() -> None:
    gaps = KubeflowBackend().gaps(options(), plain_profile(store="gs://b/store", **SETTINGS))
    told = "\n".join(gaps)
    for word in ("secrets as variables", "shm and disk", "pod labels"):
        assert f"step heavy: Vertex has no {word}" in told
    assert len(gaps) == 3
    assert KubeflowBackend().gaps(chain(3), plain_profile(store="gs://b/store", **SETTINGS)) == []


def test_gaps_name_what_has_to_be_set() -> None:
    gaps = KubeflowBackend().gaps(chain(1), plain_profile(store=".flowbridge", flavor="vertex", pipeline_root="s3://x"))
    assert [g.split()[0] for g in gaps] == ["kubeflow.project", "kubeflow.location", "kubeflow.pipeline_root", "store:"]


def test_pipeline_has_no_kubernetes_settings_and_vertex_accelerators() -> None:
    pipeline = compile_flow(options(), plain_profile(store="gs://b/store", **SETTINGS))
    assert pipeline.platform == {}
    (container,) = [e["container"] for n, e in pipeline.spec["deploymentSpec"]["executors"].items() if n == "exec-heavy"]
    assert container["resources"]["accelerator"]["type"] == "NVIDIA-A100"


@pytest.mark.usefixtures("google")
def test_run_is_submitted_and_followed(tmp_path: Path) -> None:
    run = prepare(branches(), FUNCTIONS, profile(tmp_path, service_account="me@p"))
    submission: Any = KubeflowBackend().submit(run)
    (job,) = FakeJob.made
    assert job.account == "me@p"
    assert job.given["parameter_values"] == {"run-id": run.record.id}
    assert job.given["enable_caching"] is False
    assert job.pipeline["pipelineInfo"]["name"] == "branches"
    native = run.files.native()
    assert native is not None
    assert (native.id, native.url) == (job.resource_name, "https://console.example.com/1")
    assert submission.wait(0.1) == "running"
    job.state = SimpleNamespace(name="PIPELINE_STATE_FAILED")
    assert submission.wait(5) == "failed"


@pytest.mark.usefixtures("google")
def test_run_is_cancelled(tmp_path: Path) -> None:
    submission: Any = KubeflowBackend().submit(prepare(branches(), FUNCTIONS, profile(tmp_path)))
    submission.cancel()
    assert submission.wait(5) == "cancelled"


@pytest.mark.usefixtures("google")
def test_refusal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeJob, "refuse", "403 Permission denied")
    run = prepare(branches(), FUNCTIONS, profile(tmp_path))
    with pytest.raises(BackendError, match=r"refused the run: 403 Permission denied. Check project"):
        KubeflowBackend().submit(run)
    assert run.files.native() is None


def test_missing_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform", None)
    with pytest.raises(MissingExtraError, match="pip install google-cloud-aiplatform"):
        KubeflowBackend().submit(prepare(branches(), FUNCTIONS, profile(tmp_path)))
