"""Planning what may go: pure, over facts."""

from flowbridge.artifacts.collect import Retention, RunFacts, cutoff, runs_to_remove, shares, unreferenced
from flowbridge.artifacts.content import CHUNK

DAY = 86400.0
NOW = 100 * DAY


def run(name, age, status="done", tags=(), flow="f"):
    return RunFacts(flow, name, NOW - age * DAY, status, tags)


RUNS = [
    run("a", 50),
    run("b", 40, "failed"),
    run("c", 10, tags=("scratch",)),
    run("d", 1),
    run("e", 60, tags=("pinned",)),
    run("g", 70, "running"),
]


def names(**conditions):
    return [r.id for r in runs_to_remove(RUNS, Retention(**conditions), NOW)]


def test_without_a_condition_no_run_goes():
    assert names() == []


def test_age():
    assert names(older_than=30 * DAY) == ["a", "b"]


def test_status_and_tag():
    assert names(status="failed") == ["b"]
    assert names(tag="scratch") == ["c"]


def test_running_and_pinned_runs_stay_whatever_is_asked():
    assert names(keep=0) == ["a", "b", "c", "d"]
    assert names(status="running") == []
    assert names(tag="pinned") == []


def test_the_newest_of_each_flow_stay():
    other = [run("x", 90, flow="other"), run("y", 91, flow="other")]
    found = runs_to_remove([*RUNS, *other], Retention(keep=1), NOW)
    assert [r.id for r in found] == ["y", "a", "b", "c"]


def test_all_conditions_hold_together():
    assert names(older_than=30 * DAY, keep=3) == ["a"]


def test_only_one_flow():
    assert names(flow="none") == []


def test_a_run_that_has_not_ended_holds_what_was_written_since():
    assert cutoff([run("a", 50)], NOW) == NOW - DAY
    assert cutoff([run("g", 70, "running")], NOW) == NOW - 70 * DAY


def test_only_old_and_unneeded_files_go():
    entries = [("old", 1, 5.0), ("needed", 1, 5.0), ("young", 1, 50.0), ("large", CHUNK, 5.0)]
    assert [e[0] for e in unreferenced(entries, {"needed"}, 10.0)] == ["old", "large"]
    assert [e[0] for e in unreferenced(entries, {"needed"}, 10.0, busy=True)] == ["old"]


def test_shared_bytes_are_no_flows_own():
    assert shares({"a": {"x": 1, "y": 2}, "b": {"y": 2, "z": 4}}) == ({"a": 1, "b": 4}, 2)
