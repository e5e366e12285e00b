"""A run in the user's hands, in the process that started it and in any other."""

from pathlib import Path

import pytest

import flowbridge
from flowbridge import get_run
from flowbridge.artifacts.collect import Retention
from flowbridge.client.gc import gc
from flowbridge.errors import ArtifactNotFoundError, ConfigError, RunFailedError, RunNotFoundError, UsageError
from tests.unit.client.steps import Pair, Summary, choosing, doubling, parts


@pytest.fixture(params=["own process", "another process"])
def looked_at(request, store):
    """A finished run, as `run` gives it and as it is found again."""
    run = doubling.options(backend="inline", tags=["mine"]).run(4)
    return run if request.param == "own process" else flowbridge.get_run(run.id)


class TestTags:
    @pytest.fixture
    def run(self, store):
        return doubling.options(backend="inline").run(4)

    def test_tags_change_at_any_time(self, run, store):
        run.tag("b", "a")
        assert run.tags == ("nightly", "b", "a")
        other = get_run(run.id)
        other.tag("a", "with/any characters: ä")
        run.untag("b", "nightly")
        assert run.tags == other.tags == ("a", "with/any characters: ä")
        run.tag("b")
        assert [r.id for r in flowbridge.runs(where="'b' in tags")] == [run.id]
        assert run.record.tags == ("nightly",)

    def test_tags_that_are_none(self, run, store):
        run.tag("baseline")
        with pytest.raises(ConfigError, match=r"no tag 'baselin'; it has nightly, baseline. Did you mean 'baseline'"):
            run.untag("baselin")
        with pytest.raises(ConfigError, match="not a text that names something"):
            run.tag("good", " ")
        assert run.tags == ("nightly", "baseline")

    def test_a_run_that_was_removed_gets_no_tag(self, run, store):
        gc(Retention(keep=0), remove=True, store=store)
        with pytest.raises(RunNotFoundError):
            run.tag("late")
        assert list(Path(store).rglob("*.json")) == []


class TestDone:
    def test_facts(self, looked_at, store):
        run = looked_at
        assert (run.flow, run.backend, run.status, run.store) == ("doubling", "inline", "done", store)
        assert run.params == {"n": 4, "limit": 100}
        assert run.param("n") == 4
        assert run.tags == ("nightly", "mine")
        assert run.metrics == {"value": 3, "total": 12}
        assert run.finished >= run.created
        assert run.duration == run.finished - run.created
        assert run.message is None
        assert run.url is None

    def test_result(self, looked_at):
        assert looked_at.result() == Summary(12, 3)
        assert type(looked_at.result()) is Summary

    def test_tasks(self, looked_at):
        run = looked_at
        assert [t.name for t in run.tasks] == ["numbers", "double/0", "double/1", "double/2", "double/3", "summarise"]
        assert {t.state for t in run.tasks} == {"done"}
        assert len(run["double"]) == 4
        assert len(run["double"].records) == 4
        assert [t.name for t in run["double"][1:3]] == ["double/1", "double/2"]

    def test_a_task_that_is_not_there(self, looked_at):
        with pytest.raises(IndexError, match="no task at position 4 of 4 tasks"):
            looked_at["double"][4]
        with pytest.raises(IndexError, match="no task at position -2 of 1 task"):
            looked_at["summarise"][-2]
        assert looked_at["double"][-1].index == (3,)

    def test_a_task(self, looked_at):
        task = looked_at["double"][3]
        assert task is not None
        assert (task.step, task.index, task.attempt, task.state, task.reason) == ("double", (3,), 0, "done", None)
        assert task.metrics == {"value": 3}
        assert task.duration >= 0
        assert looked_at["double"][(3,)].record == task.record

    def test_values(self, looked_at):
        run = looked_at
        assert run["numbers"].load() == [0, 1, 2, 3]
        assert run["double"][3].load() == Pair(3, 6)
        assert type(run["double"][3].load()) is Pair
        assert run["double"][3].load("twice") == 6
        assert run["double"].load() == [Pair(i, 2 * i) for i in range(4)]

    def test_tables(self, looked_at):
        task = looked_at["summarise"][0]
        assert list(task.extras) == ["pairs"]
        assert len(task.load("pairs")) == 4

    def test_what_is_not_there(self, looked_at):
        with pytest.raises(ArtifactNotFoundError, match=r"double/3 \(done\) has nothing called 'twise'.*'twice'"):
            looked_at["double"][3].load("twise")
        with pytest.raises(RunNotFoundError, match=r"no step 'dobule'; its steps: numbers.*Did you mean 'double'"):
            looked_at["dobule"]
        with pytest.raises(RunNotFoundError, match=r"no task with the index \[9\]"):
            looked_at["double"][(9,)]

    def test_logs(self, looked_at):
        assert looked_at.logs("numbers") == "making 4\n"
        assert looked_at.logs("double", 2) == "doubling 2\n"
        assert looked_at.logs("double", (2,)) == "doubling 2\n"
        assert looked_at.logs("double").startswith("--- double/0 ---\ndoubling 0\n--- double/1 ---\n")

    def test_the_expansion_of_a_map(self, looked_at):
        (map_node,) = looked_at.graph.maps
        (task,) = looked_at[map_node.id]
        assert task.record.count == 4

    def test_waiting_and_cancelling_change_nothing(self, looked_at):
        assert looked_at.wait() is looked_at
        looked_at.cancel()
        assert looked_at.status == "done"

    def test_a_page_for_notebooks(self, looked_at):
        page = looked_at._repr_html_()
        assert looked_at.id in page
        assert "<svg" in page
        assert repr(looked_at) == f"<run {looked_at.id} of doubling: done>"


class TestFailed:
    @pytest.fixture
    def run(self, store):
        return doubling.options(backend="inline").run(n=4, limit=3)

    def test_it_is_returned_not_raised(self, run):
        assert run.status == "failed"
        assert "3 is too large" in run.message

    def test_the_result_says_why_and_what_to_type(self, run):
        with pytest.raises(RunFailedError) as caught:
            run.result()
        text = str(caught.value)
        assert "ValueError: 3 is too large" in text
        assert __file__.replace("test_run.py", "steps.py") in text
        assert f"flowbridge logs {run.id} double/3" in text

    def test_states(self, run):
        assert [t.state for t in run["double"]] == ["done", "done", "done", "failed"]
        (last,) = run["summarise"]
        assert (last.state, last.reason.kind) == ("cancelled", "upstream")

    def test_attempts(self, run):
        task = run["double"][3]
        assert [a.attempt for a in task.attempts] == [0, 1]
        assert [a.state for a in task.attempts] == ["failed", "failed"]
        assert task.attempt == 1
        assert task.logs() == "doubling 3\n" * 2 or task.logs().count("doubling 3") == 2
        assert task.logs(0).count("doubling 3") == 1

    def test_no_output_to_load(self, run):
        with pytest.raises(ArtifactNotFoundError, match=r"double/3 is failed and has no output: ValueError: 3 is too large"):
            run["double"][3].load()
        with pytest.raises(ArtifactNotFoundError, match="summarise is cancelled"):
            run["summarise"].load()

    def test_it_is_told_once_where_nobody_asked(self, store, caplog):
        run = doubling.options(backend="inline").run(n=4, limit=3)
        assert [r.levelname for r in caplog.records if r.name == "flowbridge"] == ["ERROR"]
        assert run.id in caplog.text


class TestKinds:
    def test_tuples(self, store):
        run = parts.options(backend="inline").run(5)
        assert run.result() == (5, "5")
        assert run["both"].load() == (5, "5")
        assert run["nothing"].load() is None

    def test_skipped_tasks(self, store):
        run = choosing.options(backend="inline").run(5)
        assert run.result() == [0, 1, 2, 3, 4]
        states = {t.name: t.state for t in run.tasks}
        assert sorted(states.values()) == ["done", "skipped"]
        skipped = next(t for t in run.tasks if t.state == "skipped")
        with pytest.raises(ArtifactNotFoundError, match="is skipped"):
            skipped.load()


class TestGoingOn:
    def test_a_detached_run_is_followed(self, store):
        run = doubling.options(backend="local", wait=False).run(3)
        assert run.wait(60).status == "done"
        assert run.result() == Summary(6, 2)

    def test_a_run_of_another_process_cannot_be_ended_here(self, store, monkeypatch):
        run = doubling.options(backend="inline").run(3)
        found = flowbridge.get_run(run.id)
        monkeypatch.setattr(type(found), "end", None)
        with pytest.raises(UsageError, match="was started by another process"):
            found.cancel()

    def test_waiting_has_an_end(self, store, monkeypatch):
        found = flowbridge.get_run(doubling.options(backend="inline").run(3).id)
        monkeypatch.setattr(type(found), "end", None)
        assert found.wait(0.05) is found
        assert found.status == "running"


@pytest.mark.parametrize("backend", ["inline", "local"])
def test_runs_of_a_long_session_leave_no_descriptor_open(backend, store):
    if not Path("/proc/self/fd").exists():
        pytest.skip("NO /proc: WHAT IS OPEN CANNOT BE COUNTED HERE")
    opened = []
    for _ in range(4):
        assert doubling.options(backend=backend).run(2).status == "done"
        opened.append(len(list(Path("/proc/self/fd").iterdir())))
    assert opened[1] == opened[-1], "the first opens what the process keeps, later ones nothing"
