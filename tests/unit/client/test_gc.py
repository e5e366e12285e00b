"""Cleaning a store: what runs that stay need is never touched."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from flowbridge import each, flow, get_run, log_metric, step
from flowbridge.artifacts import layout
from flowbridge.artifacts.collect import Retention
from flowbridge.artifacts.store import Store
from flowbridge.client.gc import UNREFERENCED, carry_out, du, gc, make_plan, parse_age, retention_of
from flowbridge.errors import ArtifactDamagedError, ConfigError, RunNotFoundError


@step
def arrays(n: int, seed: int) -> list[np.ndarray]:
    return [np.full(30_000, seed * 100 + i, dtype=np.float64) for i in range(n)]


@step
def grow(a: np.ndarray) -> np.ndarray:
    return a + 0.5


@step
def total(parts: list[np.ndarray]) -> float:
    return float(sum(p.sum() for p in parts))


@flow
def adding(n: int = 3, seed: int = 0) -> float:
    return total(grow.map(each(arrays(n, seed))))


@dataclass
class Ensemble:
    weights: list[np.ndarray]


@step
def train() -> list[Ensemble]:
    return [Ensemble([np.full(30_000, 10.0 * n + i) for i in range(2)]) for n in range(2)]


@flow
def training() -> list[Ensemble]:
    return train()


def start(**options):
    tags = options.pop("tags", ())
    run = adding.options(backend="inline", tags=tags).run(**options)
    assert run.status == "done", run.message
    return run


def age(store, seconds=3 * 86400):
    """Make every file look as if it was written long ago."""
    then = time.time() - seconds
    for path in Path(store).rglob("*"):
        os.utime(path, (then, then))


def blob_names(store):
    return {path for path, _, _ in Store.open(store).content.entries("blobs/")}


def loaded(run):
    return [[np.asarray(task.load()).sum() for task in run["grow"]], run.result()]


def test_lists_in_the_fields_of_values_stay(store):
    run = training.options(backend="inline").run()
    gc(remove=True, grace=0.0)
    assert [[w[0] for w in one.weights] for one in run.result()] == [[0.0, 1.0], [10.0, 11.0]]


def test_what_is_written_again_while_a_store_is_cleaned_stays(store, monkeypatch):
    opened = Store.open(store)
    refs = [opened.save(np.full(9000, n)) for n in range(3)]
    age(store)
    plan = make_plan(opened, Retention())
    assert len(plan.files) == 3
    real = opened.content.entries

    def entries(prefix, **options):
        found = list(real(prefix, **options))
        if prefix == "blobs/":  # a run that begins once the whole store has been looked at writes one of them again
            opened.save(np.full(9000, 1))
        return iter(found)

    monkeypatch.setattr(opened.content, "entries", entries)
    removed = carry_out(opened, plan)
    assert [opened.exists(ref) for ref in refs] == [False, True, False]
    assert len(removed.files) == 2


def test_a_plan_changes_nothing(store):
    start()
    age(store)
    before = blob_names(store)
    plan = gc(Retention(keep=0), store=store)
    assert len(plan.runs) == 1
    assert plan.by_flow["adding"] > 0
    assert blob_names(store) == before
    assert get_run("latest").result()


def test_what_a_run_that_stays_needs_stays(store):
    gone, kept = start(seed=1), start(seed=2)
    before = loaded(get_run(kept.id))
    age(store)
    done = gc(Retention(keep=1), remove=True, store=store)
    assert [r.id for r in done.runs] == [gone.id]
    assert done.size > 0
    assert loaded(get_run(kept.id)) == before
    with pytest.raises(RunNotFoundError):
        get_run(gone.id)
    assert gc(Retention(), store=store).files == ()


def test_equal_values_of_two_runs_stay_for_the_other(store):
    start(seed=1)
    kept = start(seed=1)
    before = loaded(get_run(kept.id))
    age(store)
    gc(Retention(keep=1), remove=True, store=store)
    assert loaded(get_run(kept.id)) == before


def test_removing_all_runs_leaves_no_value(store):
    start(seed=1)
    start(seed=2)
    age(store)
    gc(Retention(keep=0), remove=True, store=store)
    left = [p for p, _, _ in Store.open(store).content.entries("")]
    assert left == []


def test_young_files_stay_even_if_nothing_refers_to_them(store):
    opened = Store.open(store)
    reference = opened.save(np.arange(50_000))
    assert gc(Retention(keep=0), store=store).files == ()
    age(store)
    plan = gc(remove=True, store=store)
    assert plan.by_flow == {UNREFERENCED: plan.size}
    assert not opened.exists(reference)


def test_left_overs_of_writers_that_died_go(store):
    start()
    left = Store.open(store).content.temporary()
    left.write_bytes(b"half")
    age(store)
    gc(remove=True, store=store)
    assert not left.exists()


def test_a_pinned_run_stays(store):
    pinned = start(seed=1, tags=("pinned",))
    age(store)
    assert gc(Retention(keep=0), remove=True, store=store).runs == ()
    assert get_run(pinned.id).result() == pinned.result()


def test_a_run_pinned_once_it_is_over_stays_until_it_is_no_more(store):
    found, other = start(seed=1), start(seed=2)
    get_run(found.id).tag("pinned")
    age(store)
    assert [r.id for r in gc(Retention(keep=0), remove=True, store=store).runs] == [other.id]
    assert loaded(get_run(found.id))
    get_run(found.id).untag("pinned")
    age(store)
    assert [r.id for r in gc(Retention(keep=0), remove=True, store=store).runs] == [found.id]
    assert list(Store.open(store).content.paths("")) == []


def test_a_damaged_pin_stops_everything(store):
    run = start()
    run.tag("pinned")
    (path,) = Path(store).glob("tags/*/*/*.json")
    path.write_bytes(path.read_bytes().replace(b"pinned", b"pinnad"))
    with pytest.raises(ArtifactDamagedError, match="tags/"):
        gc(Retention(keep=0), remove=True, store=store)
    assert loaded(get_run(run.id))


@step
def score(n: int) -> int:
    log_metric("auc", 1 / n)
    return n


@flow
def scoring(n: int = 1) -> int:
    return score(n)


def test_the_best_run_stays(store):
    best, other = (scoring.options(backend="inline").run(n=n) for n in (1, 2))
    age(store)
    assert [r.id for r in gc(retention_of(None, None, best=["auc"]), store=store).runs] == [other.id]
    assert [r.id for r in gc(retention_of(None, None, best=["auc:min"]), store=store).runs] == [best.id]


def test_a_run_that_has_not_ended_stays_with_all_that_was_written_since(store):
    run = start()
    opened = Store.open(store)
    opened.content.delete([layout.run_file("adding", run.id, kind) for kind in ("end", "summary")])
    later = opened.save(np.arange(10_000))
    plan = make_plan(opened, Retention(keep=0), now=time.time() + 30 * 86400)
    assert plan.runs == ()
    assert plan.files == ()
    assert opened.exists(later)


def test_a_damaged_record_stops_everything(store):
    start(seed=1)
    start(seed=2)
    age(store)
    opened = Store.open(store)
    record = next(p for p in opened.content.paths("runs/") if p.endswith(".end.json"))
    opened.content.put(record, opened.content.get(record)[:-9] + b"x" * 9)
    before = blob_names(store)
    with pytest.raises(ArtifactDamagedError):
        gc(remove=True, store=store)
    assert blob_names(store) == before


def test_usage_adds_up(store):
    start(seed=1)
    age(store)
    usage = du(store=store)
    sizes = sum(size for _, size, _ in Store.open(store).content.entries(""))
    assert usage.total == sizes == sum(usage.flows.values()) + usage.shared + usage.unreferenced
    assert usage.runs == {"adding": 1}
    assert usage.unreferenced == 0


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43200), ("30d", 30 * 86400), ("2w", 14 * 86400), ("1.5m", 90)])
def test_ages(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "3 years"])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(ConfigError, match="not an age"):
        parse_age(text)


def test_a_status_that_cannot_go_is_refused():
    with pytest.raises(ConfigError, match="running"):
        retention_of(None, None, flow=None, status="running", tag=None)


def test_a_run_pinned_while_a_store_is_cleaned_stays(store):
    found, other, gone = start(seed=1), start(seed=2), start(seed=3)
    age(store)
    opened = Store.open(store)
    plan = make_plan(opened, Retention(keep=0))
    assert {run.id for run in plan.runs} == {found.id, other.id, gone.id}
    get_run(found.id).tag("pinned")
    carry_out(opened, make_plan(opened, Retention(older_than=0.0, flow="adding", keep=2)))  # somebody else cleans, too
    done = carry_out(opened, plan)
    assert [run.id for run in done.runs if run.id == found.id] == []
    assert loaded(get_run(found.id))
    for removed in (other, gone):
        with pytest.raises(RunNotFoundError):
            get_run(removed.id)


def test_a_flow_that_no_run_is_of_is_refused(store):
    start()
    with pytest.raises(ConfigError, match=r"no run of a flow 'addin'. Did you mean 'adding'"):
        gc(Retention(flow="addin"), store=store)
