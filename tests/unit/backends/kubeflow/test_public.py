"""The public words on a server: run, compile, deploy, and runs that the server started by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flowbridge
from flowbridge import each, flow, step, when
from flowbridge.backends.kubeflow import rest, submit
from flowbridge.client import deploying
from flowbridge.errors import ParameterError
from tests.unit.backends.kubeflow.fake_server import FakeServer


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def square(x: int) -> int:
    return x * x


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step
def shout(x: int) -> str:
    return f"{x}!"


@flow
def squares(n: int = 3) -> int:
    """Add up some squares."""
    result = total(square.map(each(numbers(n))))
    with when(result > 100):
        shout(result)
    return result


@flow(schedule="0 6 * * *")
def nightly(n: int) -> int:
    return total(numbers(n))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeServer]:
    monkeypatch.setattr(submit, "GRACE", 1.0)
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    server = FakeServer()
    monkeypatch.setenv("FLOWBRIDGE_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("FLOWBRIDGE_BACKEND", "kubeflow")
    for name, value in {"HOST": server.address, "POLL": "100ms", "INSTALL": "flowbridge", "IMAGE": "python:3.11"}.items():
        monkeypatch.setenv(f"FLOWBRIDGE_KUBEFLOW__{name}", value)
    yield server
    server.close()


def started(fake: FakeServer, data: bytes, **parameters: Any) -> tuple[str, str]:
    """Start a compiled file as kfp's client would, and wait."""
    run = fake._new_run({"display_name": "x", "pipeline_spec": json.loads(data), "runtime_config": {"parameters": parameters}})["run_id"]
    return fake.wait(run), f"kfp-{run}"


def test_run_on_a_server_gives_its_result(fake: FakeServer) -> None:
    run = squares.run(n=4)
    assert run.status == "done"
    assert run.result() == 14
    assert run["shout"][0].state == "skipped"
    assert run.url is not None
    assert run.url.startswith(fake.address)
    assert [task.load() for task in run["square"]] == [0, 1, 4, 9]


def test_compiled_file_runs_without_flowbridge_submitting_it(fake: FakeServer, tmp_path: Path) -> None:
    """Whoever has the file and the server has enough; the run is one of flowbridge's all the same."""
    squares.compile(str(tmp_path / "out.yaml"))
    state, run_id = started(fake, (tmp_path / "out.yaml").read_bytes(), n=5)
    assert state == "SUCCEEDED"
    run = flowbridge.get_run(run_id)
    assert run.result() == 30
    assert run.params == {"n": 5}
    assert run_id in [r.id for r in flowbridge.runs(flow="squares")]


def test_two_compiles_are_equal(fake: FakeServer) -> None:
    first, second = (squares.compile().files["squares.yaml"] for _ in range(2))
    assert first == second


def test_store_that_cannot_be_written_leaves_a_file_for_flowbridge_alone(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file, no folder")
    monkeypatch.setenv("FLOWBRIDGE_STORE", f"file://{tmp_path}/blocked/store")
    compiled = squares.compile()
    assert any("only flowbridge can start runs of this file" in note for note in compiled.notes)
    assert b"--deployment" not in next(iter(compiled.files.values()))


def test_deployed_flow_runs_by_its_schedule(fake: FakeServer) -> None:
    deployed = deploying.deploy(nightly, {"n": "4"})
    assert deployed.schedule is not None
    run = fake.fire(deployed.schedule)
    assert fake.wait(run) == "SUCCEEDED"
    assert flowbridge.get_run(f"kfp-{run}").result() == 6


def test_wrong_parameters_of_a_deployment_are_told(fake: FakeServer) -> None:
    with pytest.raises(ParameterError, match="has no parameter 'm'"):
        deploying.deploy(nightly, {"m": 1})
    with pytest.raises(ParameterError, match="parameter n"):
        deploying.deploy(nightly, {"n": "many"})
    assert fake.requests == []
