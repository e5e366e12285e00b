"""Planning what may go: pure, over facts."""

import math

import pytest

from flowbridge.artifacts.collect import Retention, RunFacts, cutoff, runs_to_remove, shares, unreferenced
from flowbridge.artifacts.content import CHUNK
from flowbridge.errors import ConfigError

DAY = 86400.0
NOW = 100 * DAY


def run(name, age, status="done", tags=(), flow="f", **metrics):
    return RunFacts(flow, name, NOW - age * DAY, status, tags, metrics)


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


MEASURED = [
    run("low", 50, auc=0.7, loss=0.1),
    run("high", 40, auc=0.9, loss=0.4),
    run("again", 30, auc=0.9, loss=0.5),
    run("broken", 20, "failed", auc=1.0, loss=0.0),
    run("odd", 10, auc=math.nan),
    run("bare", 5),
    run("x", 90, flow="other", auc=0.2),
]


def without(*best, **conditions):
    return [r.id for r in runs_to_remove(MEASURED, Retention(best=best, **conditions), NOW)]


def test_the_best_of_each_flow_stay_the_newest_of_equals():
    assert without("auc") == ["low", "high", "broken", "odd", "bare"]
    assert without("metrics.auc:max") == without("auc")


def test_the_least_is_the_best_where_that_is_said_and_several_are():
    assert without("loss:min") == ["x", "high", "again", "broken", "odd", "bare"]
    assert without("loss:min", "auc") == ["high", "broken", "odd", "bare"]
    assert without("loss:min", keep=4) == ["x", "high"][1:]


def test_the_best_stay_beside_other_conditions():
    assert without("auc", older_than=25 * DAY) == ["low", "high"]


@pytest.mark.parametrize(("best", "told"), [("acu", "Did you mean 'auc'"), ("auc:most", "write the metric, then :max or :min")])
def test_a_metric_that_is_none_spares_nothing_so_it_is_refused(best, told):
    with pytest.raises(ConfigError, match=told):
        without(best)


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
