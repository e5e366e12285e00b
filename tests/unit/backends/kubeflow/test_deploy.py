"""Flows that are started on the server itself: from its pages, or by a schedule."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.backends.kubeflow import rest
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.backends.kubeflow.rest import RefusedError
from flowbridge.ir.flow import FlowGraph, Schedule
from flowbridge.records.files import RunFiles
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import steps
from tests.unit.backends.kubeflow.fake_server import FakeServer
from tests.unit.backends.kubeflow.flows import training
from tests.unit.backends.kubeflow.runs import record_of, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FUNCTIONS = {"load": steps.load, "train": steps.train, "select": steps.select, "publish": steps.publish}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    server = FakeServer()
    yield server
    server.close()


def plain(schedule: Schedule | None = None) -> FlowGraph:
    """The training flow without what needs a child process in the pod."""
    flow = training()
    quick = [s.model_copy(update={"resources": type(s.resources)(), "retry": type(s.retry)()}) for s in flow.steps]
    return FlowGraph(**{**dict(flow), "steps": tuple(quick), "schedule": schedule})


def profile(tmp_path: Path, fake: FakeServer) -> Profile:
    settings = {"image": "python:3.11", "install": "flowbridge", "host": fake.address, "service_account": "runner"}
    return Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings)


def deployed(tmp_path: Path, fake: FakeServer, graph: FlowGraph, settings: dict[str, str] | None = None, **params: Any) -> Any:
    store, chosen = Store.open(str(tmp_path / "store")), profile(tmp_path, fake)
    chosen = chosen.model_copy(update={"kubeflow": {**chosen.kubeflow, **(settings or {})}})
    record = record_of(graph, FUNCTIONS, store, params, "").model_copy(update={"created": 0.0, "host": ""})
    return KubeflowBackend().deploy(graph, record, store, chosen)


def start(fake: FakeServer, deployment: Any, parameters: dict[str, Any]) -> tuple[str, str]:
    """Start an uploaded version as somebody in the pages would, and wait for its end."""
    spec = fake.versions[deployment.id.split("/")[1]]["pipeline_spec"]
    run = fake._new_run({"display_name": "by hand", "pipeline_spec": spec, "runtime_config": {"parameters": parameters}})["run_id"]
    return run, fake.wait(run)


def test_run_started_by_hand_is_a_run_like_any_other(tmp_path: Path, fake: FakeServer) -> None:
    deployment = deployed(tmp_path, fake, plain())
    native, state = start(fake, deployment, {"path": "abcd", "lrs": [0.5, 1]})
    assert state == "SUCCEEDED"
    files = RunFiles(Store.open(str(tmp_path / "store")).content, "training", f"kfp-{native}")
    ended = files.ended()
    assert ended is not None
    assert ended.state == "done"
    assert files.run().params == {"path": "abcd", "lrs": [0.5, 1.0]}
    told = files.native()
    assert told is not None
    assert told.url == f"{fake.address}/#/runs/details/{native}"
    assert states(files) == dict.fromkeys(["load", "train.map", "train/0", "train/1", "select", "publish"], "done")


def test_defaults_are_those_of_the_deployment(tmp_path: Path, fake: FakeServer) -> None:
    deployment = deployed(tmp_path, fake, plain())
    native, _ = start(fake, deployment, {"path": "ab"})
    files = RunFiles(Store.open(str(tmp_path / "store")).content, "training", f"kfp-{native}")
    assert files.run().params == {"path": "ab", "lrs": [0.1, 0.3]}


def test_server_asks_for_parameters_that_have_no_default(tmp_path: Path, fake: FakeServer) -> None:
    deployment = deployed(tmp_path, fake, plain())
    with pytest.raises(Exception, match="parameter path is not optional"):
        start(fake, deployment, {})


def test_schedule_starts_runs_with_the_deployed_parameters(tmp_path: Path, fake: FakeServer) -> None:
    deployment = deployed(tmp_path, fake, plain(Schedule(cron="0 6 * * *")), path="abc")
    schedule = fake.schedules[deployment.schedule]
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 6 * * *"}}
    assert (schedule["mode"], schedule["max_concurrency"], schedule["no_catchup"]) == ("ENABLE", "1", True)
    assert schedule["service_account"] == "runner"
    first, second = fake.fire(deployment.schedule), fake.fire(deployment.schedule)
    assert fake.wait(first) == fake.wait(second) == "SUCCEEDED"
    content = Store.open(str(tmp_path / "store")).content
    for native in (first, second):
        assert RunFiles(content, "training", f"kfp-{native}").run().params == {"path": "abc", "lrs": [0.1, 0.3]}


def test_deploying_again_replaces_the_schedule_and_keeps_equal_versions(tmp_path: Path, fake: FakeServer) -> None:
    first = deployed(tmp_path, fake, plain(Schedule(cron="0 6 * * *")), path="abc")
    second = deployed(tmp_path, fake, plain(Schedule(cron="0 6 * * *")), path="abc")
    assert list(fake.schedules) == [second.schedule]
    assert first.schedule != second.schedule
    assert first.id == second.id
    assert first.name.startswith("training-")
    third = deployed(tmp_path, fake, plain(Schedule(cron="0 7 * * *")), path="abc")
    assert third.id.split("/")[0] == first.id.split("/")[0]
    assert third.name != first.name


def test_what_is_uploaded_again_is_what_was_asked_for(tmp_path: Path, fake: FakeServer) -> None:
    """The flow and its code are the same; parameters or settings are not, and runs started by hand are to have the new ones."""
    first = deployed(tmp_path, fake, plain(), path="abc")
    second = deployed(tmp_path, fake, plain(), path="abcd")
    assert first.id.split("/")[0] == second.id.split("/")[0]
    assert first.id != second.id
    assert first.name.rpartition("-")[0] == second.name.rpartition("-")[0], "named by the digest of the flow"
    third = deployed(tmp_path, fake, plain(), {"image": "python:3.12"}, path="abcd")
    spec = fake.versions[third.id.split("/")[1]]["pipeline_spec"]
    assert {e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()} == {"python:3.12"}


def test_refused_schedule_leaves_the_old_one(tmp_path: Path, fake: FakeServer) -> None:
    first = deployed(tmp_path, fake, plain(Schedule(cron="0 6 * * *")), path="abc")
    fake.fail_next = {"POST /recurringruns": [(400, "no")]}
    with pytest.raises(RefusedError):
        deployed(tmp_path, fake, plain(Schedule(cron="0 6 * * *")), path="abc")
    assert list(fake.schedules) == [first.schedule]


def test_pipeline_without_a_deployment_says_so(tmp_path: Path, fake: FakeServer) -> None:
    """Compiled alone, it has no code: a run started on the server fails with what to do."""
    from flowbridge.backends.kubeflow.compile import compile_flow

    spec = compile_flow(plain(), profile(tmp_path, fake)).spec
    run = fake._new_run(
        {"display_name": "x", "pipeline_spec": json.loads(json.dumps(spec)), "runtime_config": {"parameters": {"path": "a"}}}
    )
    assert fake.wait(run["run_id"]) == "FAILED"
    assert "was compiled without a deployment" in fake.executions[run["run_id"]].pods[0].output


def test_deployable_file_can_be_started_by_anybody(tmp_path: Path, fake: FakeServer) -> None:
    """`flowbridge compile` with a store at hand: the file alone is enough for kfp's client or the upload page."""
    store, graph = Store.open(str(tmp_path / "store")), plain()
    made = KubeflowBackend().compile_deployable(graph, record_of(graph, FUNCTIONS, store, {}, ""), store, profile(tmp_path, fake))
    (data,) = made.files.values()
    run = fake._new_run({"display_name": "x", "pipeline_spec": json.loads(data), "runtime_config": {"parameters": {"path": "abcde"}}})
    assert fake.wait(run["run_id"]) == "SUCCEEDED"
