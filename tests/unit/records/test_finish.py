"""Closing a run: every task gets an end, and the run's state follows from them all."""

from __future__ import annotations

import pytest

from flowbridge.ir.bindings import Constant, FromStep
from flowbridge.ir.control import MapNode
from flowbridge.ir.flow import FlowGraph, StepNode
from flowbridge.ir.policies import Retry
from flowbridge.records.files import RunFiles
from flowbridge.records.finish import finalise
from flowbridge.records.models import TaskRecord, TaskStarted

X = FromStep(step="a", output="result")
XS = (("x", Constant(value=[1, 2])),)


def node(name: str, **about: object) -> StepNode:
    return StepNode(id=name, name=name, **about)  # type: ignore[arg-type]


def flow(*nodes: StepNode | MapNode) -> FlowGraph:
    return FlowGraph(
        name="f", steps=tuple(n for n in nodes if isinstance(n, StepNode)), maps=tuple(n for n in nodes if isinstance(n, MapNode))
    )


def done(step: str, *index: int, state: str = "done", **about: object) -> TaskRecord:
    return TaskRecord(step=step, index=index, state=state, finished=1.0, **about)  # type: ignore[arg-type]


def reason(files: RunFiles, step: str, *index: int) -> tuple[str, str, str]:
    record = files.result(step, index, retries=3)
    assert record is not None
    assert record.reason is not None
    return record.state, record.reason.kind, record.reason.message


CHAIN = flow(node("a"), node("b", inputs=(("x", X),)), node("c", after=("b",)), node("d"))


def test_a_run_whose_tasks_are_all_well_is_done(files: RunFiles) -> None:
    for name in "abcd":
        files.end(done(name, metrics={"m": 1.0, name: 2.0}))
    end = finalise(CHAIN, files)
    assert (end.state, end.counts, end.message) == ("done", {"done": 4}, None)
    assert end.metrics == {"m": 1.0, "a": 2.0, "b": 2.0, "c": 2.0, "d": 2.0}
    summary = files.summary()
    assert summary is not None
    assert [t.step for t in summary.tasks] == list("abcd")


def test_doing_it_again_changes_nothing(files: RunFiles) -> None:
    for name in "abcd":
        files.end(done(name))
    assert finalise(CHAIN, files) == finalise(CHAIN, files, cancelled=True)


def test_what_never_ran_gets_the_reason_why(files: RunFiles) -> None:
    files.end(done("a", state="failed"))
    end = finalise(CHAIN, files)
    assert end.state == "failed"
    assert end.counts == {"failed": 1, "cancelled": 3}
    assert reason(files, "b") == ("cancelled", "upstream", "not run, because a failed")
    assert reason(files, "c") == ("cancelled", "upstream", "not run, because b was cancelled")
    assert reason(files, "d") == ("cancelled", "cancelled", "not run, because the run was stopped when another step failed")


def test_what_began_and_left_nothing_was_lost(files: RunFiles) -> None:
    files.start(TaskStarted(step="a", started=1.0, host="h", pid=7))
    end = finalise(CHAIN, files)
    assert end.state == "failed"
    assert reason(files, "a") == (
        "failed", "lost_worker", "the worker (process 7) on h began this task and left no result: it was killed, or its machine was lost",
    )  # fmt: skip


def test_cancelling_is_told_apart_from_losing(files: RunFiles) -> None:
    files.start(TaskStarted(step="a", started=1.0))
    end = finalise(CHAIN, files, cancelled=True)
    assert end.state == "cancelled"
    assert reason(files, "a") == ("cancelled", "cancelled", "the run was cancelled")
    assert reason(files, "b")[1] == "upstream"


def test_a_cancel_that_came_too_late_changes_nothing(files: RunFiles) -> None:
    for name in "abcd":
        files.end(done(name))
    assert finalise(CHAIN, files, cancelled=True).state == "done"


def test_allowed_failures_do_not_fail_the_run(files: RunFiles) -> None:
    files.end(done("a", state="failed", allowed=True))
    for name in "bcd":
        files.end(done(name, state="skipped"))
    assert finalise(CHAIN, files).state == "done"


def test_a_lost_step_that_may_fail_is_allowed(files: RunFiles) -> None:
    files.start(TaskStarted(step="a", started=1.0))
    end = finalise(flow(node("a", allow_failure=True)), files)
    assert end.state == "done"


def test_a_retry_that_was_never_made(files: RunFiles) -> None:
    files.end(TaskRecord(step="a", state="failed", final=False, finished=1.0))
    finalise(flow(node("a", retry=Retry(retries=1))), files)
    record = files.result("a", (), retries=1)
    assert record is not None
    assert (record.attempt, record.state) == (1, "cancelled")


def test_mapped_tasks_are_expected_from_the_map(files: RunFiles) -> None:
    graph = flow(MapNode(id="m", sources=XS), node("a", scope=("m",)), node("b", inputs=(("x", X),)))
    files.end(done("m", count=3))
    files.end(done("a", 0))
    files.end(done("a", 2, state="failed"))
    end = finalise(graph, files)
    assert end.counts == {"done": 1, "cancelled": 2, "failed": 1}
    assert reason(files, "b") == ("cancelled", "upstream", "not run, because a/2 failed")
    assert end.message == "a/2 failed: failed"


@pytest.mark.parametrize("state", ["failed", "skipped"])
def test_a_map_that_did_not_expand_has_no_tasks(files: RunFiles, state: str) -> None:
    graph = flow(MapNode(id="m", sources=XS), node("a", scope=("m",)), node("b", inputs=(("x", X),)))
    files.end(done("m", state=state))
    end = finalise(graph, files)
    assert end.state == "failed"
    assert reason(files, "b")[0] == "cancelled"
    assert files.result("a", (0,), retries=0) is None


def test_records_that_are_known_are_not_read_again(files: RunFiles) -> None:
    known = [done(name) for name in "abcd"]
    assert finalise(CHAIN, files, known=known).state == "done"
