"""A run exists on both sides or on none, and ``flowbridge show`` says which and why."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.backends.kubeflow import rest, submit
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.cli.main import call
from flowbridge.records.finish import finalise
from flowbridge.records.models import TaskStarted
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import steps
from tests.unit.backends.kubeflow.fake_server import FakeServer
from tests.unit.backends.kubeflow.flows import step
from tests.unit.backends.kubeflow.runs import prepare, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOWS = """
from flowbridge import flow, step

@step
def one() -> int:
    return 1

@flow
def small() -> int:
    return one()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    server = FakeServer()
    (tmp_path / "halves.py").write_text(FLOWS)
    settings = {"HOST": server.address, "IMAGE": "python:3.11", "INSTALL": "flowbridge", "POLL": "100ms"}
    for name, value in {**settings, "VOLUMES": f'[{{"path": "{tmp_path}", "claim": "x"}}]'}.items():
        monkeypatch.setenv(f"FLOWBRIDGE_KUBEFLOW__{name}", value)
    monkeypatch.setenv("FLOWBRIDGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("FLOWBRIDGE_BACKEND", "kubeflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    monkeypatch.setattr(submit, "GRACE", 1.0)
    yield server
    sys.modules.pop("halves", None)
    server.close()


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert call(["show", "latest", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ({"POST /runs": [(500, "InternalServerError: pipeline spec is invalid")]}, "pipeline spec is invalid"),
        ({"GET /experiments": [(403, "PermissionDenied")]}, "check kubeflow.token"),
        ({"GET /experiments": [(0, "")] * 9}, "No Kubeflow Pipelines server answers"),
    ],
)
def test_run_that_the_server_did_not_take_says_so(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], errors: dict[str, list[tuple[int, str]]], told: str
) -> None:
    fake.fail_next = errors
    assert call(["run", "halves.py"]) == 2
    assert told in capsys.readouterr().err
    run = shown(capsys)
    assert run["status"] == "cancelled"
    assert run["tasks"][0]["reason"]["message"].startswith("the run was not handed to kubeflow: ")
    assert told in run["tasks"][0]["reason"]["message"]
    assert fake.runs == {}


def test_lost_answer_finds_the_run(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.fail_next = {"POST /runs": [(-1, "")]}
    assert call(["run", "halves.py"]) == 0
    assert shown(capsys)["status"] == "done"
    assert len(fake.runs) == 1


def test_run_nobody_knows_of_is_told_and_its_pods_do_nothing(fake: FakeServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The server took it, the answer was lost, and then it could not be asked: it is closed here, and its pods see that."""
    fake.held = True
    fake.fail_next = {"POST /runs": [(-1, "")], "GET /runs": [(0, "")] * 9}
    assert call(["run", "halves.py"]) == 2
    assert "Whether it has started the run is not known: look there for 'small " in capsys.readouterr().err
    assert "is not known" in shown(capsys)["tasks"][0]["reason"]["message"]
    (execution,) = fake.executions.values()
    execution.run()
    assert [pod.code for pod in execution.pods] == [0, 0]
    store = Store.open(str(tmp_path / "store"))
    assert not [path for path in store.content.paths("runs") if path.endswith(".start.json")]


def test_pods_of_an_ended_run_do_nothing(fake: FakeServer, tmp_path: Path) -> None:
    from flowbridge.ir.flow import FlowGraph

    settings = {"host": fake.address, "image": "x", "install": "flowbridge", "volumes": [{"path": str(tmp_path), "claim": "x"}]}
    graph = FlowGraph(name="f", steps=(step("a"),))
    run = prepare(graph, {"a": steps.nothing}, Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings))
    fake.held = True
    submission = KubeflowBackend().submit(run)
    finalise(graph, run.files, cancelled=True)
    fake.executions[submission.native].run()  # type: ignore[attr-defined]
    assert states(run.files) == {"a": "cancelled"}
    assert not [f for f in run.files.tasks() if isinstance(f, TaskStarted)]
