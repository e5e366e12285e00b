"""Tasks in fresh processes: what they share with the driver (nothing), how they end, and that nothing outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from flowbridge.backends.base import PreparedRun
from flowbridge.engine.executors.process import ProcessExecutor
from flowbridge.engine.ledger import Account
from flowbridge.engine.loop import Loop, Options
from flowbridge.engine.submission import LoopSubmission
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources
from flowbridge.records.models import TaskStarted

from .runs import Seen, chain, ended, flow, item, out, over, prepare, step, value

START = {"fork": True, "spawn": False}
DRIVER_IMPORTS = """
import os, sys
from pathlib import Path
from flowbridge.engine.executors.process import ProcessExecutor
from flowbridge.engine.ledger import Account
from flowbridge.engine.loop import Loop
from tests.unit.engine.runs import flow, out, prepare, step, value
"""


def surroundings() -> dict[str, str]:
    """Return the variables with which another process finds what this one finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}


class Runner:
    """Runs flows with an account of their own."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode
        self.account = Account.open(directory=folder)

    def __call__(self, run: PreparedRun, **options: int) -> str:
        return self.loop(run, **options).run()

    def loop(self, run: PreparedRun, **options: int) -> Loop:
        return Loop(run, ProcessExecutor(run, "local", fork=START[self.mode]), self.account, Options(**options))


@pytest.fixture(params=["fork", "spawn"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path, request.param)
    yield runner
    assert not [h for h in runner.account.holders() if not h.waiting], "a lease was left behind"
    runner.account.close()


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path, "fork")
    yield runner
    assert not [h for h in runner.account.holders() if not h.waiting], "a lease was left behind"
    runner.account.close()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool], patience: float = 20) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def test_each_task_has_a_process_of_its_own(runner: Runner, tmp_path: Path) -> None:
    graph = flow(*(step(f"p{i}", function="pid", inputs={"x": out(f"p{i - 1}") if i else 0}) for i in range(3)))
    run = prepare(graph, tmp_path, seen := Seen())
    assert runner(run) == "done"
    pids = [value(run, f"p{i}") for i in range(3)]
    assert len({*pids, os.getpid()}) == 4
    assert [e.pid for e in seen.events if isinstance(e, TaskStarted)] == pids


def test_a_map(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("numbers", inputs={"n": 5}),
        over("m", out("numbers")),
        step("square", scope=("m",), inputs={"x": item("m")}),
        step("total", inputs={"xs": out("square")}),
    )
    run = prepare(graph, tmp_path)
    assert runner(run) == "done"
    assert value(run, "total") == 30


def test_children_are_clean(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("surroundings", inputs={"x": 1}, resources=Resources(cpu=1)),
        step("again", function="surroundings", inputs={"x": out("surroundings")}),
    )
    run = prepare(graph, tmp_path)
    assert runner(run) == "done"
    first, second = value(run, "surroundings"), value(run, "again")
    assert first["session"]
    assert first["sigint"]
    assert first["sigterm"]
    assert first["omp"] == "1"
    assert first["gpus"] == ""
    assert first["random"] != second["random"]


def test_children_hold_none_of_the_drivers_descriptors(runner: Runner, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        run = prepare(flow(step("leads_to", inputs={"fd": file.fileno()})), tmp_path)
        assert runner(run) == "done"
    assert value(run, "leads_to") != str((tmp_path / "open").resolve())


IMPORTS_ONCE = (
    DRIVER_IMPORTS
    + """
folder = Path(sys.argv[1])
run = prepare(flow(step("in_memory", inputs={"x": 1}), step("again", function="in_memory", inputs={"x": out("in_memory")})), folder)
state = Loop(run, ProcessExecutor(run, "local"), Account.open(directory=folder)).run()
print(state, value(run, "in_memory") == value(run, "again") == os.getpid())
"""
)


def test_a_template_imports_the_flow_once(tmp_path: Path) -> None:
    """In a process of its own: a thread that an earlier test left here, such as fsspec's, would have the template started anew."""
    told = subprocess.run(
        [sys.executable, "-c", IMPORTS_ONCE, str(tmp_path)], env=surroundings(), stdout=subprocess.PIPE, text=True, check=True
    )
    assert told.stdout.split() == ["done", "True"]


def test_threads_in_the_driver_are_noticed(forker: Runner, tmp_path: Path) -> None:
    """A process with threads is not forked: a lock that another thread held would never be free in the child."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="tests-thread")
    thread.start()
    try:
        run = prepare(flow(step("surroundings", inputs={"x": 1})), tmp_path)
        loop = forker.loop(run)
        assert loop.executor.template.started_anew, "the template was forked off a process with threads"
        loop.run()
    finally:
        stop.set()
        thread.join()


def test_a_step_that_dies_is_told(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("dies", inputs={"x": 1}), step("killed", inputs={"x": 1}), step("after", function="count_on", inputs={"x": out("dies")})
    )
    run = prepare(graph, tmp_path)
    assert runner(run) == "failed"
    dead, shot = ended(run, "dies").reason, ended(run, "killed").reason
    assert dead is not None
    assert shot is not None
    assert (dead.kind, dead.exit_code) == ("lost_worker", 7)
    assert (shot.kind, shot.exit_code) == ("lost_worker", -signal.SIGKILL)
    assert "SIGKILL" in shot.message
    assert ended(run, "after").state == "cancelled"
    assert b"last words" in run.files.read_log("dies", ())


def test_a_retry_has_a_fresh_process(runner: Runner, tmp_path: Path) -> None:
    run = prepare(
        flow(step("second_time", inputs={"x": 1}, retry=Retry(retries=1)), step("dies", inputs={"x": 1}, retry=Retry(retries=1))), tmp_path
    )
    assert runner(run) == "failed"
    assert ended(run, "second_time").attempt == 1
    assert ended(run, "dies").attempt == 1
    first = run.files.attempt("dies", (), 0)
    assert first is not None
    assert not first.final


def test_a_timeout_ends_the_whole_tree(runner: Runner, tmp_path: Path) -> None:
    """Children that left the session, and orphans of children, end with the task."""
    slow = step("marks_and_sleeps", inputs={"folder": str(tmp_path), "x": 60.0}, timeout=3.0)
    run = prepare(flow(slow, step("after", function="count_on", inputs={"x": out("marks_and_sleeps")})), tmp_path)
    assert runner(run) == "failed"
    record = ended(run, "marks_and_sleeps")
    assert record.reason is not None
    assert record.reason.kind == "timeout"
    assert record.reason.declared == 3.0
    assert record.reason.used is not None
    assert record.reason.used >= 3.0
    assert record.usage.wall_time is not None
    assert record.usage.wall_time >= 3.0
    pids = [int(p) for p in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    eventually(lambda: not any(map(alive, pids)))


def test_what_a_task_leaves_running_ends_with_it(runner: Runner, tmp_path: Path) -> None:
    run = prepare(flow(step("marks_and_sleeps", inputs={"folder": str(tmp_path), "x": 0.0})), tmp_path)
    assert runner(run) == "done"
    eventually(lambda: not any(alive(int(p)) for p in (tmp_path / "pids").read_text().split()))


def test_cancelling_ends_what_runs(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("marks_and_sleeps", inputs={"folder": str(tmp_path), "x": 60.0}),
        step("after", function="count_on", inputs={"x": out("marks_and_sleeps")}),
    )
    run = prepare(graph, tmp_path)
    submission = LoopSubmission(runner.loop(run), wait=False)
    eventually((tmp_path / "pids").exists)
    submission.cancel()
    assert submission.wait() == "cancelled"
    assert not any(alive(int(p)) for p in (tmp_path / "pids").read_text().split())
    assert [ended(run, name).state for name in ("marks_and_sleeps", "after")] == ["cancelled", "cancelled"]
    end = run.files.ended()
    assert end is not None
    assert end.state == "cancelled"


def test_as_many_at_once_as_the_machine_has(tmp_path: Path) -> None:
    """Declared resources admit: two tasks of one core run together on two cores, a third has to wait."""
    machine = _Machine(cpu=2, memory="4Gi")
    account = Account.open(machine, directory=tmp_path)
    graph = flow(*(step(f"m{i}", function="meets", inputs={"folder": str(tmp_path), "x": i}, resources=Resources(cpu=1)) for i in range(4)))
    run = prepare(graph, tmp_path)
    assert Loop(run, ProcessExecutor(run, "local"), account).run() == "done"
    spans = [value(run, f"m{i}") for i in range(4)]
    overlaps = [sum(b <= at < e for b, e in spans) for at, _ in spans]
    assert max(overlaps) == 2
    account.close()


def test_max_parallel(forker: Runner, tmp_path: Path) -> None:
    graph = flow(
        *(step(f"m{i}", function="meets", inputs={"folder": str(tmp_path), "x": i}, resources=Resources(cpu=0.1)) for i in range(3))
    )
    run = prepare(graph, tmp_path)
    assert forker(run, max_parallel=1) == "done"
    spans = sorted(value(run, f"m{i}") for i in range(3))
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_template_that_dies_costs_only_what_it_ran(forker: Runner, tmp_path: Path) -> None:
    graph = flow(step("sleeps", inputs={"x": 1.0}, retry=Retry(retries=1)), step("after", function="count_on", inputs={"x": out("sleeps")}))
    run = prepare(graph, tmp_path, seen := Seen())
    loop = forker.loop(run)
    submission = LoopSubmission(loop, wait=False)
    eventually(lambda: any(isinstance(e, TaskStarted) for e in seen.events))
    os.kill(loop.executor.template.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    assert submission.wait() == "done"
    first = run.files.attempt("sleeps", (), 0)
    assert first is not None
    assert first.reason is not None
    assert first.reason.kind == "lost_worker"
    assert ended(run, "sleeps").attempt == 1


DRIVER = (
    DRIVER_IMPORTS
    + """
folder, mode = Path(sys.argv[1]), {"fork": True, "spawn": False}[sys.argv[2]]
graph = flow(
    step("marks_and_sleeps", inputs={"folder": str(folder), "x": 100.0}),
    step("after", function="count_on", inputs={"x": out("marks_and_sleeps")}),
)
run = prepare(graph, folder)
print(Loop(run, ProcessExecutor(run, "local", fork=mode), Account.open(directory=folder)).run(), flush=True)
"""
)


@pytest.fixture(params=["fork", "spawn"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), request.param],
        env=surroundings(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually((tmp_path / "pids").exists, patience=60)
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_killed_driver_leaves_no_orphan(driver: subprocess.Popen[str], tmp_path: Path) -> None:
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    pids = [int(p) for p in (tmp_path / "pids").read_text().split()]
    eventually(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_run_in_order(driver: subprocess.Popen[str], tmp_path: Path, number: signal.Signals) -> None:
    driver.send_signal(number)
    said, _ = driver.communicate(timeout=60)
    assert said.split() == ["cancelled"]
    assert driver.returncode == 0
    assert not any(alive(int(p)) for p in (tmp_path / "pids").read_text().split())


class _Machine:
    def __init__(self, cpu: float, memory: str) -> None:
        self.cpu, self.memory = cpu, memory
        self.gpus: list[str] = []
        self.gpu_memory = None
        self.custom: dict[str, float] = {}


def test_a_long_chain(forker: Runner, tmp_path: Path) -> None:
    run = prepare(chain(100), tmp_path)
    assert forker(run) == "done"
    assert value(run, "s99") == 100


def test_a_rehearsal_leaves_no_trace(forker: Runner, tmp_path: Path) -> None:
    """What a waiting process does to get ready is written nowhere: the run has its own tasks and nothing else."""
    run = prepare(chain(3), tmp_path)
    assert forker(run) == "done"
    assert {f.step for f in run.files.task_files()} == {"s0", "s1", "s2"}
    assert sorted(p.name for p in (tmp_path / "store" / "runs").iterdir()) == ["f"]


def test_inputs_that_were_handed_over_are_the_ones_in_the_store(forker: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("numbers", inputs={"n": 3}),
        over("m", out("numbers")),
        step("square", scope=("m",), inputs={"x": item("m")}),
        step("again", function="square", scope=("m",), inputs={"x": out("square")}),
    )
    run = prepare(graph, tmp_path)
    assert forker(run) == "done"
    assert [value(run, "again", i) for i in range(3)] == [0, 1, 16]
