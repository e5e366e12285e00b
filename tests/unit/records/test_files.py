"""The files of a run: written once, by one writer each, and found again."""

from __future__ import annotations

import pytest

from flowbridge.artifacts.content import Content
from flowbridge.artifacts.reference import Reference
from flowbridge.errors import ArtifactDamagedError, RunNotFoundError
from flowbridge.records.files import RunFiles, Runs
from flowbridge.records.models import Gathered, RunEnd, RunNative, RunSummary, Saved, TaskRecord, TaskStarted
from flowbridge.records.watch import Watcher

from .conftest import run_record

REFERENCE = Reference(digest="sha256:0", size=1, serializer="json")


def ended(step: str = "a", *index: int, attempt: int = 0, state: str = "done", final: bool = True, finished: float = 2.0) -> TaskRecord:
    return TaskRecord(step=step, index=index, attempt=attempt, state=state, final=final, finished=finished)  # type: ignore[arg-type]


def test_a_run_is_created_once(content: Content) -> None:
    created = RunFiles.create(content, run_record())
    assert created.run() == run_record()
    assert RunFiles(content, "f", "r1").run() == run_record()
    with pytest.raises(FileExistsError, match="'r1' of flow 'f' exists already"):
        RunFiles.create(content, run_record())


def test_a_run_that_is_not_there(content: Content) -> None:
    with pytest.raises(RunNotFoundError, match="no run 'nope' of flow 'f'"):
        RunFiles(content, "f", "nope").run()


def test_the_first_end_of_an_attempt_stands(files: RunFiles) -> None:
    assert files.end(ended(state="done")).state == "done"
    assert files.end(ended(state="failed")).state == "done"
    standing = files.attempt("a", (), 0)
    assert standing is not None
    assert standing.state == "done"


def test_the_result_is_the_first_final_attempt(files: RunFiles) -> None:
    assert files.result("a", (1, 2), retries=2) is None
    files.end(ended("a", 1, 2, state="failed", final=False))
    assert files.result("a", (1, 2), retries=2) is None
    files.end(ended("a", 1, 2, attempt=2))
    found = files.result("a", (1, 2), retries=2)
    assert found is not None
    assert found.attempt == 2
    assert files.result("a", (1, 2), retries=1) is None


def test_an_attempt_is_claimed_by_one(files: RunFiles) -> None:
    assert files.claim(TaskStarted(step="a", started=1.0))
    assert not files.claim(TaskStarted(step="a", started=2.0))
    assert files.claim(TaskStarted(step="a", attempt=1, started=2.0))
    first = files.started("a", (), 0)
    assert first is not None
    assert first.started == 1.0


def test_tasks_are_every_attempt_ended_or_begun(files: RunFiles) -> None:
    files.start(TaskStarted(step="b", index=(10,), started=1.0))
    files.start(TaskStarted(step="a", started=1.0))
    files.end(ended("a", state="failed", final=False))
    files.end(ended("a", attempt=1))
    files.end(ended("b", 2))
    shown = [(type(r).__name__, r.step, r.index, r.attempt) for r in files.tasks()]
    assert shown == [("TaskRecord", "a", (), 0), ("TaskRecord", "a", (), 1), ("TaskRecord", "b", (2,), 0), ("TaskStarted", "b", (10,), 0)]


def test_of_an_ended_run_the_tasks_come_from_the_summary(files: RunFiles) -> None:
    files.end(ended("a"))
    end = RunEnd(state="done", finished=3.0)
    files.finish(end, RunSummary(run=run_record(), end=end, tasks=(ended("from summary"),), lost=(TaskStarted(step="z", started=1.0),)))
    assert [r.step for r in files.tasks()] == ["from summary", "z"]
    assert [r.step for r in files.read_tasks()] == ["a"]
    other = RunEnd(state="failed", finished=4.0)
    assert files.finish(other, RunSummary(run=run_record(), end=other)) == end
    assert files.ended() == end


def test_native_names_logs_lists_and_checkpoints(files: RunFiles) -> None:
    assert files.native() is None
    files.set_native(RunNative(backend="x", id="1"))
    files.set_native(RunNative(backend="x", id="2", url="u"))
    assert files.native() == RunNative(backend="x", id="2", url="u")
    for part in range(12):
        files.write_log("a", (3,), 0, part, f"{part} ".encode())
    files.write_log("a", (3,), 1, 0, b"again")
    files.write_log("a", (30,), 0, 0, b"other")
    assert files.read_log("a", (3,), 0) == b"0 1 2 3 4 5 6 7 8 9 10 11 "
    assert files.read_log("a", (3,), 0, since=11) == b"11 "
    assert files.read_log("a", (3,)).endswith(b"11 again")
    assert files.log_parts("a", (3,), 0) == 12
    assert files.gathered("a", (), "x") is None
    files.gather("a", (), "x", Gathered(reference=REFERENCE, length=2))
    assert files.gathered("a", (), "x") == Gathered(reference=REFERENCE, length=2)
    files.save_checkpoint("a", (), Saved(reference=REFERENCE, attempt=1))
    assert files.checkpoint("a", (), 1) == Saved(reference=REFERENCE, attempt=1)
    assert files.checkpoint("a", (), 0) is None
    assert files.read_tasks() == []


def test_damage_names_the_file(files: RunFiles) -> None:
    files.end(ended("train", 3))
    path = next(f.path for f in files.task_files())
    files.content.put(path, files.content.get(path).replace(b"done", b"dome"))
    with pytest.raises(ArtifactDamagedError, match=r"runs/f/r1/tasks/train/3/0\.end\.json"):
        files.attempt("train", (3,), 0)


def test_a_watcher_tells_each_record_once_in_the_order_of_time(files: RunFiles) -> None:
    watcher = Watcher(files)
    assert watcher.poll() == []
    files.start(TaskStarted(step="b", started=2.0))
    files.start(TaskStarted(step="a", started=1.0))
    files.end(ended("a", finished=1.0))
    assert [(type(r).__name__, r.step) for r in watcher.poll()] == [("TaskStarted", "a"), ("TaskRecord", "a"), ("TaskStarted", "b")]
    assert watcher.poll() == []
    files.end(ended("b", finished=5.0))
    assert [r.step for r in watcher.poll()] == ["b"]


def test_runs_are_found_by_the_start_of_their_id(content: Content) -> None:
    for name, flow, created in [("abc1", "f", 3.0), ("abd2", "g", 5.0), ("x", "f", 4.0), ("xy", "f", 1.0)]:
        RunFiles.create(content, run_record(name, flow, created))
    runs = Runs(content)
    assert sorted(runs.list()) == [("f", "abc1"), ("f", "x"), ("f", "xy"), ("g", "abd2")]
    assert sorted(runs.list("g")) == [("g", "abd2")]
    assert runs.list("nope") == []
    assert runs.find("abc").run().flow == "f"
    assert runs.find("x").run_id == "x"
    assert runs.latest().run_id == "abd2"
    assert runs.latest("f").run_id == "x"
    with pytest.raises(RunNotFoundError, match=r"2 runs go by 'ab': abc1 \(flow f\), abd2 \(flow g\)"):
        runs.find("ab")
    with pytest.raises(RunNotFoundError, match=r"no run 'abc2'\. Did you mean"):
        runs.find("abc2")
    with pytest.raises(RunNotFoundError, match="no run 'nothing'"):
        runs.find("nothing")


def test_a_store_without_runs(content: Content) -> None:
    assert Runs(content).list() == []
    with pytest.raises(RunNotFoundError, match="no run of flow 'f' yet"):
        Runs(content).latest("f")
    content.put("runs/f/cut/tasks/a/_/0.start.json", b"")
    assert Runs(content).read([("f", "cut")]) == []


def test_a_damaged_summary_can_be_deleted(files: RunFiles) -> None:
    files.end(ended("a"))
    end = RunEnd(state="done", finished=3.0)
    files.finish(end, RunSummary(run=run_record(), end=end, tasks=(ended("a"),)))
    path = "runs/f/r1/summary.json"
    files.content.put(path, files.content.get(path)[:-1])
    with pytest.raises(ArtifactDamagedError, match=r"summary\.json is damaged.*Delete the file"):
        files.tasks()
    files.content.delete([path])
    assert files.tasks() == [ended("a")]
