"""Runs whose driver was killed: over for everybody who looks, on any store, without anybody writing that."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flowbridge import get_run, runs
from flowbridge.artifacts import layout
from flowbridge.artifacts.local import LocalContent
from flowbridge.artifacts.store import Store
from flowbridge.client import lost
from flowbridge.client.gc import make_plan, retention_of
from flowbridge.engine.drivers import driver_of
from flowbridge.records.envelope import seal
from flowbridge.records.files import RunFiles, Runs
from flowbridge.records.finish import finalise
from flowbridge.records.models import RunNative
from tests.unit.waiting import eventually

from .steps import doubling

FLOW = """
import os, time
from pathlib import Path
from flowbridge import each, flow, log_metric, step

@step(cpu=0.1)
def numbers() -> list[int]:
    log_metric("numbers", 3)
    return [0, 1, 2]

@step(cpu=0.1)
def wait(x: int) -> int:
    print("here", x, flush=True)
    if x:
        Path(os.environ["MARK"], str(x)).touch()
        time.sleep(600)
    return x

@step(cpu=0.1)
def total(xs: list[int]) -> int:
    return sum(xs)

@flow
def waiting() -> int:
    return total(wait.map(each(numbers())))
"""
DAY = 86400.0


class Driver:
    """A driver in a process of its own, whose run has come to a step that does not end."""

    def __init__(self, folder: Path, store: str, backend: str) -> None:
        (folder / "waiting.py").write_text(FLOW)
        marks = folder / "marks"
        marks.mkdir()
        command = [sys.executable, "-m", "flowbridge", "run", "waiting.py", "--backend", backend, "--store", store]
        with (folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, "MARK": str(marks)}, stdout=out, stderr=out, start_new_session=True
            )
        wanted = 1 if backend == "inline" else 2
        assert eventually(lambda: len(list(marks.iterdir())) == wanted), (folder / "out").read_text()
        self.files = Runs(Store.open(store).content).latest()

    def kill(self) -> None:
        """Kill the driver outright, and where another system carries the run on, that too; their children see to themselves."""
        native = self.files.native()
        for driver in native.drivers if native is not None else ():
            os.kill(driver.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        assert eventually(lambda: lost.fate(self.files) == "gone")


@pytest.fixture
def start(tmp_path, store):
    started = []

    def start_one(backend):
        started.append(Driver(tmp_path, store, backend))
        return started[-1]

    yield start_one
    for driver in started:
        driver.process.kill()
        driver.process.wait()


@pytest.fixture
def no_writing(monkeypatch):
    """Have whoever writes to a store fail."""

    def refuse(self, path, *rest):
        raise PermissionError(f"{path} is written to a store that is only read")

    for name in ("put", "create", "put_buffers", "put_file", "delete"):
        monkeypatch.setattr(LocalContent, name, refuse)


def forge(files: RunFiles, **fields) -> RunFiles:
    """Write `run.json` anew with other fields."""
    record = files.run().model_copy(update=fields)
    Path(files.content.url, layout.run_file(files.flow, files.run_id, "run")).write_bytes(seal(record))
    return RunFiles(files.content, files.flow, files.run_id)


def age(files: RunFiles, seconds: float) -> RunFiles:
    then = time.time() - seconds
    for path in Path(files.content.url).rglob("*"):
        os.utime(path, (then, then))
    return forge_times(forge(files, created=then), then)


def forge_times(files: RunFiles, then: float) -> RunFiles:
    path = Path(files.content.url, layout.run_file(files.flow, files.run_id, "run"))
    os.utime(path, (then, then))
    return files


@pytest.mark.parametrize("backend", ["local", "inline", pytest.param("metaflow", marks=pytest.mark.metaflow)])
def test_a_killed_driver_leaves_a_failed_run(start, backend, no_writing):
    driver = start(backend)
    run = get_run(driver.files.run_id)
    assert run.status == "running"
    assert run.message is None
    assert run.end is None
    assert eventually(lambda: run.logs("wait", 1))  # logs are written now and then
    driver.kill()
    assert run.status == "failed"
    native = driver.files.native()
    assert f"process {native.drivers[0].pid if native else driver.process.pid} on" in run.message
    assert "died" in run.message
    assert f"flowbridge logs {run.id} wait/1" in run.message
    states = {task.name: (task.state, task.reason.kind if task.reason else None) for task in run.tasks}
    others = ("cancelled", "cancelled") if backend == "inline" else ("failed", "lost_worker")
    assert states == {
        "numbers": ("done", None),
        "wait/0": ("done", None),
        "wait/1": ("failed", "lost_worker"),
        "wait/2": others,
        "total": ("cancelled", "upstream"),
    }
    assert run.metrics == {"numbers": 3}
    assert run.finished == pytest.approx(lost.last_word(driver.files))
    assert run.logs("wait", 1) == "here 1\n"


def test_listings_count_it_as_failed(start):
    driver = start("inline")
    assert [r.id for r in runs(status="running")] == [driver.files.run_id]
    driver.kill()
    assert [r.id for r in runs(status="failed")] == [driver.files.run_id]
    assert not runs(status="running")


def test_whoever_waits_in_another_process_stops_waiting(start):
    driver = start("inline")
    run = get_run(driver.files.run_id)
    assert run.wait(timeout=0.1).status == "running"
    waiter = threading.Thread(target=run.wait, daemon=True)
    waiter.start()
    driver.kill()
    waiter.join(60)
    assert not waiter.is_alive()
    assert run.status == "failed"


def test_a_process_that_got_the_id_of_the_driver_is_not_taken_for_it(start):
    driver = start("inline")
    driver.kill()
    here = driver_of()
    forge(driver.files, driver=here)
    assert get_run(driver.files.run_id).status == "running"
    forge(driver.files, driver=here.model_copy(update={"started": here.started - 1}))
    assert get_run(driver.files.run_id).status == "failed"


def test_a_run_elsewhere_is_never_declared_dead_but_its_silence_is_told(start):
    driver = start("inline")
    driver.kill()
    elsewhere = driver.files.run().driver.model_copy(update={"host": "another"})
    files = forge(driver.files, driver=elsewhere)
    run = get_run(files.run_id)
    assert (run.status, run.message, run.silence) == ("running", None, None)
    age(files, 3 * 3600 + 60)
    run = get_run(files.run_id)
    assert (run.status, run.message) == ("running", "no word for 3 h")
    age(files, 5 * DAY)
    assert get_run(files.run_id).message == "no word for 5 days"


def test_a_run_that_goes_on_here_may_be_silent(start):
    driver = start("inline")
    age(driver.files, 5 * DAY)
    run = get_run(driver.files.run_id)
    assert (run.status, run.message) == ("running", None)


def test_a_run_that_was_closed_at_the_last_moment_is_not_declared_dead(start, monkeypatch):
    driver = start("inline")
    driver.kill()
    run = get_run(driver.files.run_id)
    seen = driver.files.ended
    looked = []

    def ended():  # the driver closes the run, and ends, between the first look and the second
        looked.append(None)
        if len(looked) == 2:
            finalise(run.graph, driver.files, cancelled=True)
        return seen()

    monkeypatch.setattr(driver.files, "ended", ended)
    assert lost.state_of(Store.open(run.store), driver.files)[0] == "running"
    assert lost.state_of(Store.open(run.store), driver.files)[0] == "cancelled"


def test_a_run_of_which_only_the_last_line_is_missing_is_done(store):
    run = doubling.options(backend="inline").run()
    files = Runs(Store.open(store).content).latest()
    forge(files, driver=files.run().driver.model_copy(update={"started": 1}))
    for kind in ("end", "summary"):
        Path(store, layout.run_file(files.flow, files.run_id, kind)).unlink()
    again = get_run(run.id)
    assert again.status == "done"
    assert "All tasks had ended" in again.message
    assert again.result() == run.result()


def test_the_system_behind_may_carry_a_run_on_without_who_started_it(start):
    driver = start("inline")
    driver.kill()
    gone, here = driver.files.run().driver, driver_of()
    driver.files.set_native(RunNative(backend="metaflow", id="", drivers=(here, gone)))
    run = get_run(driver.files.run_id)
    assert (run.status, run.native) == ("running", None)
    driver.files.set_native(RunNative(backend="metaflow", id="Waiting/1", drivers=(gone,)))
    assert run.status == "failed"
    assert run.native == "Waiting/1"


def test_cleaning_up_takes_it(start):
    driver = start("inline")
    store = Store.open(driver.files.content.url)
    age(driver.files, 3 * DAY)
    retention = retention_of("1d", None, flow=None, status="failed", tag=None)
    assert make_plan(store, retention).runs == ()
    driver.kill()
    assert [r.id for r in make_plan(store, retention).runs] == [driver.files.run_id]


def test_cleaning_up_gives_a_run_elsewhere_thirty_days(start):
    driver = start("inline")
    driver.kill()
    store = Store.open(driver.files.content.url)
    retention = retention_of("1d", None, flow=None, status=None, tag=None)
    files = forge(driver.files, driver=driver.files.run().driver.model_copy(update={"host": "another"}))
    files = age(files, lost.GIVEN_UP - DAY)
    assert make_plan(store, retention).runs == ()
    age(files, lost.GIVEN_UP + DAY)
    assert [r.id for r in make_plan(store, retention).runs] == [files.run_id]


def test_a_lost_run_with_a_damaged_record_can_still_be_cleaned_up(start):
    driver = start("inline")
    driver.kill()
    store = Store.open(driver.files.content.url)
    age(driver.files, 3 * DAY)
    damaged = Path(store.url, layout.task_file(driver.files.flow, driver.files.run_id, "numbers", (), 0, "end"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    retention = retention_of("1d", None, flow=None, status="failed", tag=None)
    assert [r.id for r in make_plan(store, retention).runs] == [driver.files.run_id]


def test_a_lost_run_of_which_nobody_can_tell_who_drove_it_stays_and_stops_no_cleaning_up(start):
    driver = start("inline")
    driver.kill()
    store = Store.open(driver.files.content.url)
    age(driver.files, 3 * DAY)
    Path(store.url, layout.run_file(driver.files.flow, driver.files.run_id, "native")).write_bytes(b"{")
    assert lost.state_of(store, driver.files)[0] == "running"
    retention = retention_of("1d", None, flow=None, status="failed", tag=None)
    assert make_plan(store, retention).runs == ()


def test_the_state_of_a_run_that_goes_on_costs_no_look_at_its_tasks(start, monkeypatch):
    driver = start("inline")

    def refuse(*args, **options):
        raise AssertionError("a task's record is read")

    monkeypatch.setattr(RunFiles, "read_tasks", refuse)
    monkeypatch.setattr(LocalContent, "entries", refuse)
    assert lost.state_of(Store.open(driver.files.content.url), driver.files)[0] == "running"
    assert [r.status for r in runs(status="running")] == ["running"]


def test_a_look_at_a_run_that_goes_on_asks_the_store_for_each_thing_once(start, monkeypatch):
    driver = start("inline")
    asked = []
    get = LocalContent.get

    def counted(self, path):
        if path.endswith(("end.json", "native.json")):
            asked.append(path.rpartition("/")[2])
        return get(self, path)

    monkeypatch.setattr(LocalContent, "get", counted)
    run = get_run(driver.files.run_id)
    for look, expected in (("status", "running"), ("message", None), ("silence", None), ("finished", None)):
        asked.clear()
        assert getattr(run, look) == expected
        assert sorted(asked) == ["end.json", "native.json"], look
    age(forge(driver.files, driver=driver.files.run().driver.model_copy(update={"host": "another"})), 5 * DAY)
    run = get_run(driver.files.run_id)
    asked.clear()
    assert run.message.startswith("no word for")
    assert sorted(asked) == ["end.json", "native.json"]
