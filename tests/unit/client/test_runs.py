"""Runs found again: listed, filtered, ordered, compared."""

import pytest

import flowbridge
from flowbridge.client.history import typical_durations
from flowbridge.client.runs import row_of, task_row
from flowbridge.client.where import FIELDS
from flowbridge.errors import ConfigError, RunNotFoundError
from tests.unit.client.steps import doubling, parts


@pytest.fixture
def made(store):
    """Four runs: three that are done, one that failed."""
    inline = doubling.options(backend="inline")
    return [inline.run(2), inline.run(4), inline.run(n=5, limit=4), parts.options(backend="inline", tags=["other"]).run(1)]


class TestListing:
    def test_newest_first(self, made):
        assert [r.id for r in flowbridge.runs()] == [r.id for r in reversed(made)]

    def test_of_a_flow(self, made):
        assert {r.id for r in flowbridge.runs(flow="parts")} == {made[3].id}
        assert len(flowbridge.runs(flow="none")) == 0

    def test_in_a_state(self, made):
        assert [r.id for r in flowbridge.runs(status="failed")] == [made[2].id]
        with pytest.raises(ConfigError, match=r"'fialed'.*'failed'"):
            flowbridge.runs(status="fialed")

    def test_where(self, made):
        assert {r.id for r in flowbridge.runs(where="params.n >= 4 and status == 'done'")} == {made[1].id}
        assert {r.id for r in flowbridge.runs(where="'other' in tags")} == {made[3].id}

    def test_order(self, made):
        assert [r.id for r in flowbridge.runs(order_by="metrics.total")][:2] == [made[0].id, made[1].id]
        assert [r.id for r in flowbridge.runs(order_by="-metrics.total")][:2] == [made[1].id, made[0].id]

    def test_limit_and_slices(self, made):
        assert len(flowbridge.runs(limit=2)) == 2
        assert [r.id for r in flowbridge.runs()[1:]] == [r.id for r in flowbridge.runs()][1:]
        assert flowbridge.runs()[0].id == made[3].id

    def test_best(self, made):
        assert flowbridge.runs().best("total").id == made[1].id
        assert flowbridge.runs().best("metrics.total", mode="min").id == made[0].id
        with pytest.raises(RunNotFoundError, match=r"None of 4 runs has a metric 'totl'.*'total'"):
            flowbridge.runs().best("totl")
        with pytest.raises(ConfigError, match="mode='most'"):
            flowbridge.runs().best("total", mode="most")

    def test_rows(self, made):
        row = row_of(flowbridge.runs(flow="parts")[0])
        assert tuple(row) == FIELDS
        assert row["created"].endswith("+00:00")
        assert row["finished"] >= row["created"]
        assert row["tags"] == ["other"]

    def test_task_rows(self, made):
        rows = [task_row(t) for t in made[2].tasks]
        assert list(rows[0]) == [
            "step", "index", "attempt", "status", "started", "finished", "duration", "metrics", "peak_memory", "reason",
        ]  # fmt: skip
        failed = next(r for r in rows if r["status"] == "failed")
        assert (failed["step"], failed["index"], failed["attempt"]) == ("double", [4], 1)
        assert failed["reason"]["kind"] == "error"

    def test_frames(self, made):
        pytest.importorskip("pandas")
        frame = flowbridge.runs().to_dataframe()
        assert list(frame["flow"]) == ["parts", "doubling", "doubling", "doubling"]
        assert list(frame["params.n"])[1:] == [5, 4, 2]
        assert str(frame["created"].dtype).startswith("datetime64[")

    def test_shown(self, made):
        assert repr(flowbridge.runs()).startswith("<4 runs>\n<run ")
        assert made[0].id in flowbridge.runs()._repr_html_()


class TestOne:
    def test_by_id_or_part_of_it(self, made):
        run = made[0]
        assert flowbridge.get_run(run.id).id == run.id
        assert flowbridge.get_run(run.id.rpartition("-")[2]).id == run.id

    def test_latest(self, made):
        assert flowbridge.get_run("latest").id == made[3].id

    def test_none(self, store):
        with pytest.raises(RunNotFoundError, match="no run"):
            flowbridge.get_run("latest")
        with pytest.raises(RunNotFoundError, match="nonsense"):
            flowbridge.get_run("nonsense")
        assert list(flowbridge.runs()) == []

    def test_several(self, made):
        with pytest.raises(RunNotFoundError, match="4 runs go by '20'"):
            flowbridge.get_run("20")


def test_what_earlier_runs_took(made):
    typical = typical_durations(made[0]._files.content, "doubling")
    assert set(typical) == {"numbers", "double", "summarise"}
    assert all(seconds >= 0 for seconds in typical.values())
    assert typical_durations(made[0]._files.content, "no such flow") == {}
