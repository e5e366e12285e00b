"""The loop, with tasks in this process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flowbridge.backends.base import PreparedRun
from flowbridge.engine.executors.inline import InlineExecutor
from flowbridge.engine.loop import run_local
from flowbridge.ir.policies import Retry
from flowbridge.records.models import TaskRecord, TaskStarted

from . import work
from .runs import Seen, chain, ended, flow, item, out, over, prepare, step, value


def run_inline(run: PreparedRun) -> str:
    return run_local(run, InlineExecutor(run.store, run.graph, run.functions), None)


def test_a_chain(tmp_path: Path) -> None:
    run = prepare(chain(5), tmp_path, seen := Seen())
    assert run_inline(run) == "done"
    assert value(run, "s4") == 5
    assert [type(e) for e in seen.events] == [TaskStarted, TaskRecord] * 5
    end = run.files.ended()
    assert end is not None
    assert end.counts == {"done": 5}


def test_a_map_over_an_output(tmp_path: Path) -> None:
    graph = flow(
        step("numbers", inputs={"n": 4}), over("m", out("numbers")), step("square", scope=("m",), inputs={"x": item("m")}), step("total", inputs={"xs": out("square")}),
    )  # fmt: skip
    run = prepare(graph, tmp_path)
    assert run_inline(run) == "done"
    assert value(run, "total") == 14


def test_a_failure_cancels_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    graph = flow(
        step("fail", inputs={"x": 1}),
        step("after", function="count_on", inputs={"x": out("fail")}),
        step("other", function="count_on", inputs={"x": 1}),
    )
    run = prepare(graph, tmp_path, seen := Seen())
    assert run_inline(run) == "failed"
    assert seen.states() == {("fail", ()): "failed", ("after", ()): "cancelled", ("other", ()): "done"}
    reason = ended(run, "after").reason
    assert reason is not None
    assert reason.kind == "upstream"
    assert "fail" in reason.message


def test_stop_after_a_failure(tmp_path: Path) -> None:
    graph = flow(
        step("fail", inputs={"x": 1}),
        step("b", function="count_on", inputs={"x": 1}),
        step("c", function="count_on", inputs={"x": out("b")}),
    )
    run = prepare(graph, tmp_path, on_failure="stop")
    assert run_inline(run) == "failed"
    assert ended(run, "c").state == "cancelled"


def test_a_retry_with_delay(tmp_path: Path) -> None:
    run = prepare(flow(step("second_time", inputs={"x": 1}, retry=Retry(retries=2, delay=0.1))), tmp_path)
    assert run_inline(run) == "done"
    first, second = (run.files.attempt("second_time", (), n) for n in (0, 1))
    assert first is not None
    assert second is not None
    assert (first.final, second.final) == (False, True)
    assert second.started is not None
    assert second.started >= first.finished + 0.1


def test_skips_spread_without_a_process(tmp_path: Path) -> None:
    graph = flow(
        step("fail", inputs={"x": 1}, allow_failure=True), step("b", function="count_on", inputs={"x": out("fail")}),
        step("c", function="count_on", inputs={"x": out("b")}), step("d", function="count_on", inputs={"x": 1}, after=("c",)),
    )  # fmt: skip
    run = prepare(graph, tmp_path, seen := Seen())
    assert run_inline(run) == "done"
    assert seen.states() == {("fail", ()): "failed", ("b", ()): "skipped", ("c", ()): "skipped", ("d", ()): "done"}
    assert [e.step for e in seen.events if isinstance(e, TaskStarted)] == ["fail", "d"]
    assert ended(run, "c").reason is not None


def test_a_run_goes_on_from_the_records_it_finds(tmp_path: Path) -> None:
    """A driver that was lost loses what it was running; whoever goes on with the run takes all that had ended as it is."""
    run = prepare(chain(4), tmp_path)
    run.files.end(TaskRecord(step="s0", state="cached", outputs=(("result", run.store.save(41)),), finished=1.0))
    run.files.end(TaskRecord(step="s2", state="cached", outputs=(("result", run.store.save(100)),), finished=1.0))
    run.files.start(TaskStarted(step="s1", started=1.0))
    assert run_inline(run) == "done"
    assert (value(run, "s1"), value(run, "s3")) == (42, 101)
    assert ended(run, "s2").state == "cached"


def test_a_failed_attempt_that_is_found_counts(tmp_path: Path) -> None:
    run = prepare(flow(step("second_time", inputs={"x": 1}, retry=Retry(retries=1))), tmp_path)
    run.files.end(TaskRecord(step="second_time", state="failed", final=False, finished=1.0))
    assert run_inline(run) == "done"
    assert ended(run, "second_time").attempt == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels(tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(x: int) -> int:
        os.kill(os.getpid(), number)
        return x

    monkeypatch.setattr(work, "square", interrupt)
    graph = flow(
        step("a", function="count_on", inputs={"x": 1}),
        step("square", inputs={"x": out("a")}),
        step("c", function="count_on", inputs={"x": out("square")}),
    )
    run = prepare(graph, tmp_path)
    before = signal.getsignal(number)
    assert run_inline(run) == "cancelled"
    assert signal.getsignal(number) is before
    assert [ended(run, name).state for name in ("a", "square", "c")] == ["done", "cancelled", "cancelled"]


def test_breakpoints_reach_the_users_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A debugger works inline: the step runs in the caller's own process and thread, with its streams."""
    said = []
    monkeypatch.setattr("sys.breakpointhook", lambda: said.append(os.getpid()))

    def stops(x: int) -> int:
        breakpoint()  # noqa: T100
        print("hello")
        return x

    monkeypatch.setattr(work, "square", stops)
    run = prepare(flow(step("square", inputs={"x": 1})), tmp_path)
    assert run_inline(run) == "done"
    assert said == [os.getpid()]
    assert "hello" in capsys.readouterr().out
    assert b"hello" in run.files.read_log("square", ())
