"""Compiled flows run to their end: under kfp's own local runner, and on a small server that behaves as a real one was seen to."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowbridge.backends.base import PreparedRun
from flowbridge.backends.kubeflow import rest, submit
from flowbridge.backends.kubeflow.backend import KubeflowBackend
from flowbridge.engine.drivers import fate_of_all
from flowbridge.errors import BackendError, UnsupportedError, UsageError
from flowbridge.ir.bindings import Constant, FromParameter
from flowbridge.ir.flow import FlowGraph
from flowbridge.ir.policies import Retry
from flowbridge.ir.ports import Parameter
from flowbridge.ir.resources import Resources
from flowbridge.records.models import TaskRecord, TaskStarted
from flowbridge.settings import Profile
from tests.unit.backends.kubeflow import steps
from tests.unit.backends.kubeflow.fake_server import FakeServer
from tests.unit.backends.kubeflow.flows import branches, crossed, item, items, nested, step, training, uneven
from tests.unit.backends.kubeflow.runs import prepare, states, value

Start = Callable[..., PreparedRun]
LOCAL, SERVER = "kfp's local runner", "the server"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(submit, "GRACE", 1.0)
    monkeypatch.setattr(submit, "SERVER_EVERY", 2)
    monkeypatch.setattr(rest, "PAUSE", 0.0)
    server = FakeServer()
    yield server
    server.close()


def profile(tmp_path: Path, **kubeflow: Any) -> Profile:
    settings = {
        "image": "python:3.11",
        "install": "flowbridge",
        "poll": 0.1,
        "volumes": [{"path": str(tmp_path), "claim": "x"}],
        **kubeflow,
    }
    return Profile(backend="kubeflow", store=str(tmp_path / "store"), kubeflow=settings)


@pytest.fixture(params=[pytest.param(LOCAL, marks=pytest.mark.kubeflow), SERVER])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Return a function that runs a flow to its end, each way it can be run."""
    if request.param == LOCAL:
        pytest.importorskip("kfp", reason="kfp is not installed: pip install 'flowbridge[kubeflow]'")
        host = "local"
    else:
        host = request.getfixturevalue("fake").address

    def run(graph: FlowGraph, functions: dict[str, Any], **options: Any) -> PreparedRun:
        prepared = prepare(graph, functions, profile(tmp_path, host=host), **options)
        state = KubeflowBackend().submit(prepared).wait(120)
        assert state == prepared.files.ended().state  # type: ignore[union-attr]
        return prepared

    return run


TRAINING = {"load": steps.load, "train": steps.train, "select": steps.select, "publish": steps.publish}


def test_training_flow(start: Start) -> None:
    """The flow of the documentation: parameters, a map over one of them, its collected list, a branch."""
    run = start(training(), TRAINING, path="abcd")
    assert value(run, "select") == pytest.approx(1.2)
    assert states(run.files) == dict.fromkeys(["load", "train.map", "train/0", "train/1", "select", "publish"], "done")


def test_nested_maps_with_an_empty_inner_list(start: Start) -> None:
    functions = {"plan": steps.plan, "inner_plan": steps.count_up, "leaf": steps.one_more, "row": steps.total, "total": steps.total}
    run = start(nested(), functions)
    assert value(run, "total") == 1 + (1 + 2) + 0
    assert [value(run, "row", i) for i in range(3)] == [1, 3, 0]


def test_failure_in_a_map_leaves_alone_what_does_not_need_it(start: Start) -> None:
    """A loop fails as a whole on the server; the step that needs only the other half of it runs all the same, and the run fails."""
    functions = {"used": steps.same, "unused": steps.not_two, "beside": steps.same_unused, "collect": steps.same_used}
    run = start(uneven(), functions)
    ended = run.files.ended()
    assert ended is not None
    assert ended.state == "failed"
    assert value(run, "collect") == [1, 2, 3]
    found = states(run.files)
    assert (found["unused/1"], found["beside/1"], found["beside/2"]) == ("failed", "cancelled", "done")


def test_failure_cancels_what_depends_on_it_and_nothing_else(start: Start) -> None:
    functions = dict.fromkeys("cdef", steps.wait_for) | {"a": steps.fail, "b": steps.nothing}
    run = start(crossed(), functions)
    assert states(run.files) == {"a": "failed", "b": "done", "c": "cancelled", "d": "done", "e": "cancelled", "f": "cancelled"}
    record = run.files.result("a", (), retries=0)
    assert record is not None
    assert record.reason is not None
    assert record.reason.kind == "error"
    assert "this step always fails" in record.reason.message


def test_conditions_skip_and_first_takes_the_other(start: Start) -> None:
    functions = {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}
    run = start(branches(), functions)
    assert states(run.files) == {"ask": "done", "left": "skipped", "right": "done", "join": "done"}
    assert value(run, "join") == "right False"


def test_retries_count_attempts(start: Start, tmp_path: Path) -> None:
    """The server's own retries, each attempt with a record of its own."""
    (tmp_path / "marks").mkdir()
    flow = FlowGraph(
        name="retried", steps=(step("a", inputs=(("marks", Constant(value=str(tmp_path / "marks"))),), retry=Retry(retries=3)),)
    )
    run = start(flow, {"a": steps.third_time})
    assert value(run, "a") == 2
    attempts = [r for r in run.files.read_tasks() if isinstance(r, TaskRecord)]
    assert [(r.attempt, r.state, r.final) for r in attempts] == [(0, "failed", False), (1, "failed", False), (2, "done", True)]


def test_empty_map_and_what_comes_after(start: Start) -> None:
    flow = FlowGraph(
        name="empty",
        steps=(step("a", inputs=item("m"), scope=("m",)), step("b", "a")),
        maps=(items("m", FromParameter(name="xs")),),
        parameters=(Parameter(name="xs", json_schema={"type": "array"}),),
    )
    run = start(flow, {"a": steps.one_more, "b": steps.total_of}, xs=[])
    assert value(run, "b") == 0
    assert states(run.files) == {"m": "done", "b": "done"}


def test_allowed_failure_does_not_fail_the_run(start: Start) -> None:
    flow = FlowGraph(name="allowed", steps=(step("a", allow_failure=True), step("b", "a"), step("c", after=("a",))))
    run = start(flow, {"a": steps.fail, "b": steps.same_a, "c": steps.nothing})
    ended = run.files.ended()
    assert ended is not None
    assert ended.state == "done"
    assert states(run.files) == {"a": "failed", "b": "skipped", "c": "done"}


def test_timeout_is_told_apart_from_a_crash(start: Start) -> None:
    """Both leave records though the process is gone: the pod outlives the step."""
    slow = step("slow", inputs=(("seconds", Constant(value=30)),), timeout=1.5)
    gone = step("gone", allow_failure=True)
    run = start(FlowGraph(name="ends", steps=(slow, gone)), {"slow": steps.sleep, "gone": steps.vanish})
    kinds = {}
    for name in ("slow", "gone"):
        record = run.files.result(name, (), retries=0)
        assert record is not None
        assert record.reason is not None
        kinds[name] = (record.state, record.reason.kind)
    assert kinds == {"slow": ("failed", "timeout"), "gone": ("failed", "lost_worker")}


def test_memory_grows_after_running_out_of_it(start: Start) -> None:
    """In the same pod: its limit is the most the step may get."""
    hungry = step(
        "hungry", inputs=(("size", Constant(value=300 * 2**20)),), resources=Resources(memory=200 * 2**20, memory_max=800 * 2**20)
    )
    run = start(FlowGraph(name="grows", steps=(hungry,)), {"hungry": steps.eat})
    attempts = [r for r in run.files.read_tasks() if isinstance(r, TaskRecord)]
    first = attempts[0]
    assert (first.attempt, first.state, first.final) == (0, "failed", False)
    assert (attempts[-1].state, attempts[-1].final) == ("done", True)
    assert all(r.reason is not None and r.reason.kind == "out_of_memory" for r in attempts[:-1])
    assert first.reason is not None
    assert first.reason.declared == 200 * 2**20  # what it declared, though the pod has more


def test_listener_hears_of_every_attempt(start: Start) -> None:
    run = start(branches(), {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same})
    events: list[Any] = run.events  # type: ignore[attr-defined]
    assert {e.step for e in events if isinstance(e, TaskStarted)} >= {"ask", "right", "join"}
    assert {e.step for e in events if isinstance(e, TaskRecord)} == {"ask", "left", "right", "join"}


# --- the server alone ---


def submitted(fake: FakeServer, tmp_path: Path, graph: FlowGraph, functions: dict[str, Any], **options: Any) -> tuple[PreparedRun, Any]:
    run = prepare(graph, functions, profile(tmp_path, host=fake.address, **options))
    return run, KubeflowBackend().submit(run)


def test_run_that_stops_at_its_first_failure(fake: FakeServer, tmp_path: Path) -> None:
    """Tasks that have not begun are cancelled, also those that do not need the failed one."""
    flow = FlowGraph(name="stop", steps=(step("a"), step("b", inputs=(("seconds", Constant(value=2)),)), step("c", after=("b",))))
    functions = {"a": steps.fail, "b": steps.sleep, "c": steps.nothing}
    run = prepare(flow, functions, profile(tmp_path, host=fake.address), on_failure="stop")
    assert KubeflowBackend().submit(run).wait(60) == "failed"
    found = states(run.files)
    assert (found["a"], found["c"]) == ("failed", "cancelled")


def test_native_states_follow_the_records(fake: FakeServer, tmp_path: Path) -> None:
    """Where the server can show a failure it does; and a failed run is failed there too, also when only the last task could say so."""
    for graph, functions, state in (
        (crossed(), dict.fromkeys("cdef", steps.wait_for) | {"a": steps.fail, "b": steps.nothing}, "FAILED"),
        (uneven(), {"used": steps.same, "unused": steps.not_two, "beside": steps.same_unused, "collect": steps.same_used}, "FAILED"),
        (branches(), {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}, "SUCCEEDED"),
    ):
        _, submission = submitted(fake, tmp_path, graph, functions)
        submission.wait(120)
        assert fake.wait(submission.native) == state, graph.name


def test_pods_are_as_many_as_foretold(fake: FakeServer, tmp_path: Path) -> None:
    """`check` counts drivers and pods of a flow whose lists are literals exactly."""
    functions = {"used": steps.same, "unused": steps.same, "beside": steps.same_unused, "collect": steps.same_used}
    _, submission = submitted(fake, tmp_path, uneven(), functions)
    submission.wait(120)
    execution = fake.executions[submission.native]
    fake.wait(submission.native)
    foretold = int(KubeflowBackend().notes(uneven(), profile(tmp_path))[0].split()[1])
    assert execution.drivers + len(execution.pods) == foretold


def test_outputs_and_metrics_are_artifacts_of_no_known_bucket(fake: FakeServer, tmp_path: Path) -> None:
    flow = FlowGraph(name="lineage", steps=(step("tell"),))
    run, submission = submitted(fake, tmp_path, flow, {"tell": steps.tell})
    assert submission.wait(120) == "done"
    fake.wait(submission.native)
    artifacts = {a["output"]: a for a in fake.executions[submission.native].artifacts}
    assert artifacts["result"]["uri"] == f"flowbridge://lineage/{run.record.id}/tell/result"
    assert json.loads(artifacts["result"]["metadata"]["value"]) == {"a": 1.0}
    assert artifacts["metrics"]["metadata"] == {"accuracy": 0.93}
    report = Path(artifacts["report"]["uri"]).read_text()
    assert "<h3>scores</h3>" in report
    assert "accuracy" in report


def test_request_carries_what_the_server_needs(fake: FakeServer, tmp_path: Path) -> None:
    fake.held = True
    prepared = prepare(training(), TRAINING, profile(tmp_path, host=fake.address, service_account="runner", experiment="lab"), path="abc")
    submission: Any = KubeflowBackend().submit(prepared)
    (body,) = [body for method, path, body in fake.requests if (method, path) == ("POST", "/runs")]
    assert body["display_name"] == f"training {prepared.record.id}"
    assert body["service_account"] == "runner"
    assert body["runtime_config"]["parameters"] == {"run-id": prepared.record.id, "path": "abc", "lrs": [0.1, 0.3]}
    assert [e["display_name"] for e in fake.experiments.values()] == ["lab"]
    native = prepared.files.native()
    assert native is not None
    assert native.id == submission.native
    assert native.url == f"{fake.address}/#/runs/details/{native.id}"


def test_map_over_a_long_parameter_is_refused_before_it_is_sent(fake: FakeServer, tmp_path: Path) -> None:
    """How long it is shows only with the parameters."""
    run = prepare(training(), TRAINING, profile(tmp_path, host=fake.address), path="abc", lrs=[0.1] * 3000)
    with pytest.raises(UnsupportedError, match="batch="):
        KubeflowBackend().submit(run)
    assert fake.runs == {}


def test_refused_run_exists_on_neither_side(fake: FakeServer, tmp_path: Path) -> None:
    fake.fail_next = {"POST /runs": [(500, "InternalServerError: no")]}
    run = prepare(training(), TRAINING, profile(tmp_path, host=fake.address), path="abc")
    with pytest.raises(BackendError, match=r"refused POST /runs \(500\)"):
        KubeflowBackend().submit(run)
    assert fake.runs == {}
    assert run.files.native() is None


def test_run_whose_records_cannot_be_written_is_ended_on_the_server(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.held = True
    run = prepare(training(), TRAINING, profile(tmp_path, host=fake.address), path="abc")

    def refuse(native: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(run.files, "set_native", refuse)
    with pytest.raises(OSError, match="disk full"):
        KubeflowBackend().submit(run)
    assert [r["state"] for r in fake.runs.values()] == ["FAILED"]


def test_pod_that_never_started_is_told(fake: FakeServer, tmp_path: Path) -> None:
    """flowbridge has no record of it, so the server's words complete the picture."""
    fake.break_pods = frozenset({"finish", "right"})
    functions = {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}
    run, submission = submitted(fake, tmp_path, branches(), functions)
    assert submission.wait(120) == "failed"
    record = run.files.result("right", (), retries=0)
    assert record is not None
    assert record.reason is not None
    assert record.reason.kind == "lost_worker"
    assert "Pod was evicted" in record.reason.message
    assert states(run.files)["join"] == "cancelled"


BRANCHES = {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}


@pytest.mark.parametrize("reachable", [True, False])
def test_last_pod_tells_of_pods_that_never_started(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, reachable: bool
) -> None:
    """Whoever waits may be gone: the last pod says it in the record, with the server's words where it can ask; who waits is told them anyway."""
    if reachable:
        monkeypatch.setenv("ML_PIPELINE_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("ML_PIPELINE_SERVICE_PORT", fake.address.rpartition(":")[2])
    fake.break_pods = frozenset({"right"})
    run, submission = submitted(fake, tmp_path, branches(), BRANCHES)
    assert submission.wait(120) == "failed"
    record = run.files.result("right", (), retries=0)
    assert record is not None
    assert record.reason is not None
    assert (record.state, record.reason.kind) == ("failed", "lost_worker")
    assert "never got as far as the step" in record.reason.message
    assert ("Pod was evicted" in record.reason.message) is reachable
    assert states(run.files)["join"] == "cancelled"
    assert "Kubeflow says of right: Pod was evicted" in capsys.readouterr().err


def test_pods_in_a_map_that_never_started(fake: FakeServer, tmp_path: Path) -> None:
    fake.break_pods = frozenset({"train"})
    run = prepare(training(), TRAINING, profile(tmp_path, host=fake.address), path="ab")
    assert KubeflowBackend().submit(run).wait(120) == "failed"
    found = states(run.files)
    assert (found["train/0"], found["train/1"], found["select"]) == ("failed", "failed", "cancelled")
    assert "never got as far" in run.files.ended().message  # type: ignore[union-attr,operator]


def test_map_that_waits_for_a_lost_pod_is_not_lost_itself(fake: FakeServer, tmp_path: Path) -> None:
    fake.break_pods = frozenset({"load"})
    run = prepare(training(), TRAINING, profile(tmp_path, host=fake.address), path="ab")
    assert KubeflowBackend().submit(run).wait(120) == "failed"
    assert states(run.files) == {"load": "failed", "train.map": "cancelled", "select": "cancelled", "publish": "cancelled"}


def test_cancel_ends_the_run_on_both_sides(fake: FakeServer, tmp_path: Path) -> None:
    flow = FlowGraph(name="long", steps=(step("a", inputs=(("seconds", Constant(value=60)),)), step("b", "a")))
    run, submission = submitted(fake, tmp_path, flow, {"a": steps.sleep, "b": steps.same_a})
    while run.files.started("a", (), 0) is None:
        threading.Event().wait(0.05)
    submission.cancel()
    assert submission.wait(10) == "cancelled"
    assert fake.runs[submission.native]["state"] == "FAILED"
    assert states(run.files) == {"a": "cancelled", "b": "cancelled"}


def test_another_process_can_end_a_run(fake: FakeServer, tmp_path: Path) -> None:
    flow = FlowGraph(name="long", steps=(step("a", inputs=(("seconds", Constant(value=60)),)),))
    run, submission = submitted(fake, tmp_path, flow, {"a": steps.sleep})
    other: Any = KubeflowBackend().attach(run)
    assert other.native == submission.native
    other.cancel()
    assert submission.wait(10) == "cancelled"


def test_only_a_submitted_run_can_be_taken_up(fake: FakeServer, tmp_path: Path) -> None:
    run = prepare(FlowGraph(name="f", steps=(step("a"),)), {"a": steps.nothing}, profile(tmp_path, host=fake.address))
    with pytest.raises(UsageError, match="was not handed to Kubeflow"):
        KubeflowBackend().attach(run)


def test_run_past_its_deadline_is_cancelled(fake: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server never gives up on a pod that cannot be scheduled."""
    fake.held = True
    run, submission = submitted(fake, tmp_path, branches(), BRANCHES, deadline="1s")
    fake.executions[submission.native].states.append(("flow", "ask", "PENDING"))
    assert submission.wait(30) == "cancelled"
    assert "Kubeflow still waited for ask" in capsys.readouterr().err
    record = run.files.result("ask", (), retries=0)
    assert record is not None
    assert record.reason is not None
    assert record.reason.message == "the run was past its deadline of 1s"


def test_server_may_be_away_for_a_while(fake: FakeServer, tmp_path: Path) -> None:
    functions = {"ask": steps.no, "left": steps.left, "right": steps.right, "join": steps.same}
    fake.fail_next = {"GET /runs/": [(0, "")] * 8}
    _, submission = submitted(fake, tmp_path, branches(), functions)
    assert submission.wait(120) == "done"


@pytest.mark.kubeflow
def test_local_run_is_taken_up_by_another_process(tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    flow = FlowGraph(name="long", steps=(step("a", inputs=(("seconds", Constant(value=60)),)),))
    run = prepare(flow, {"a": steps.sleep}, profile(tmp_path, host="local"))
    first: Any = KubeflowBackend().submit(run)
    native = run.files.native()
    assert native is not None
    assert fate_of_all(native.drivers) == "alive"
    other = KubeflowBackend().attach(run)
    assert other.wait(0.2) == "running"
    other.cancel()
    assert first.wait(10) == other.wait(10) == "cancelled"
    assert fate_of_all(native.drivers) == "gone"
    elsewhere = dataclasses.replace(run, record=run.record.model_copy(update={"host": "elsewhere"}))
    with pytest.raises(UsageError, match="on elsewhere; it can be ended there only"):
        KubeflowBackend().attach(elsewhere)


@pytest.mark.kubeflow
def test_local_run_is_cancelled_with_all_its_processes(tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    flow = FlowGraph(name="long", steps=(step("a", inputs=(("seconds", Constant(value=60)),)), step("b", "a")))
    run = prepare(flow, {"a": steps.sleep, "b": steps.same_a}, profile(tmp_path, host="local"))
    submission: Any = KubeflowBackend().submit(run)
    while run.files.started("a", (), 0) is None:
        threading.Event().wait(0.05)
    submission.cancel()
    assert states(run.files) == {"a": "cancelled", "b": "cancelled"}
    assert submission.process.returncode is not None
    assert not submission.folder.exists()
