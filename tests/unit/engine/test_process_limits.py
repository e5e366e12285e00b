"""Memory, scratch space and gangs, as the loop holds them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowbridge.engine.executors.process import ProcessExecutor
from flowbridge.engine.ledger import Account
from flowbridge.engine.loop import Loop, Options
from flowbridge.ir.policies import Retry
from flowbridge.ir.resources import Resources
from flowbridge.settings import MachineSettings

from .runs import Seen, ended, flow, out, prepare, step, value
from .test_process import Runner, alive, eventually

MB = 2**20


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path, "fork")
    yield runner
    assert not runner.account.holders(), "a lease was left behind"
    runner.account.close()


def test_more_memory_after_running_out_of_it(runner: Runner, tmp_path: Path) -> None:
    """From 64Mi over 128Mi to 256Mi, without any `retries`: the step is told what it may use."""
    hungry = step("hoards", inputs={"megabytes": 150}, resources=Resources(memory=64 * MB, memory_max=256 * MB))
    run = prepare(flow(hungry, step("after", function="total", inputs={"xs": out("hoards")})), tmp_path)
    assert runner(run) == "done"
    tries = [run.files.attempt("hoards", (), n) for n in range(3)]
    assert [(t.state, t.final, t.reason.declared if t.reason else None) for t in tries if t is not None] == [
        ("failed", False, 64 * MB),
        ("failed", False, 128 * MB),
        ("done", True, None),
    ]
    assert value(run, "hoards") == [2, 256 * MB]
    assert value(run, "after") == 2 + 256 * MB


def test_no_more_than_memory_max(runner: Runner, tmp_path: Path) -> None:
    run = prepare(flow(step("hoards", inputs={"megabytes": 300}, resources=Resources(memory=64 * MB, memory_max=100 * MB))), tmp_path)
    assert runner(run) == "failed"
    last = ended(run, "hoards")
    assert last.attempt == 1
    assert last.reason is not None
    assert last.reason.kind == "out_of_memory"
    assert last.reason.declared == 100 * MB
    assert last.reason.used is not None
    assert last.reason.used >= 100 * MB


def test_other_failures_are_not_retried_with_more(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("fail", inputs={"x": 1}, resources=Resources(memory=64 * MB, memory_max=256 * MB)),
        step("dies", inputs={"x": 1}, resources=Resources(memory=64 * MB, memory_max=256 * MB), retry=Retry(retries=1)),
    )
    run = prepare(graph, tmp_path)
    assert runner(run) == "failed"
    assert ended(run, "fail").attempt == 0
    assert ended(run, "dies").attempt == 1


def test_retries_count_from_where_memory_was_enough(runner: Runner, tmp_path: Path) -> None:
    resources = Resources(memory=64 * MB, memory_max=128 * MB)
    run = prepare(flow(step("hoards", inputs={"megabytes": 500}, resources=resources, retry=Retry(retries=1))), tmp_path)
    assert runner(run) == "failed"
    assert ended(run, "hoards").attempt == 2


def test_scratch_space_is_limited_and_removed(runner: Runner, tmp_path: Path) -> None:
    graph = flow(
        step("writes", inputs={"megabytes": 20}, resources=Resources(disk=8 * MB)),
        step("scratch", inputs={"x": 1}, resources=Resources(disk=8 * MB)),
    )
    run = prepare(graph, tmp_path)
    assert runner(run) == "failed"
    reason = ended(run, "writes").reason
    assert reason is not None
    assert reason.kind == "out_of_disk"
    assert reason.declared == 8 * MB
    assert not Path(value(run, "scratch")).parent.exists()


def test_a_gang_meets(tmp_path: Path) -> None:
    machine = MachineSettings(cpu=4, memory="1Gi", gpus=["a", "b", "c"])
    account = Account.open(machine, tmp_path)
    run = prepare(flow(step("rendezvous", inputs={"x": 1}, nodes=3, resources=Resources(cpu=1, gpu=1))), tmp_path, seen := Seen())
    assert Loop(run, ProcessExecutor(run, "local"), account).run() == "done"
    members = value(run, "rendezvous")["members"]
    assert [m["RANK"] for m in members] == ["0", "1", "2"]
    assert {m["WORLD_SIZE"] for m in members} == {"3"}
    assert {m["LOCAL_RANK"] for m in members} == {"0"}
    assert sorted(m["CUDA_VISIBLE_DEVICES"] for m in members) == ["a", "b", "c"]
    assert len(seen.events) == 2
    log = run.files.read_log("rendezvous", ()).decode()
    assert log.splitlines() == ["member 0", "member 1", "member 2"]
    assert not account.holders()
    account.close()


@pytest.mark.parametrize(("how", "kind", "words"), [("raises", "error", "member 1 of the gang failed"), ("dies", "lost_worker", "SIGKILL")])
def test_a_gang_ends_with_a_member_that_fails(runner: Runner, tmp_path: Path, how: str, kind: str, words: str) -> None:
    gang = step("one_member_fails", inputs={"folder": str(tmp_path), "how": how}, nodes=2, resources=Resources(cpu=0.5))
    run = prepare(flow(gang), tmp_path)
    began = time.monotonic()
    assert runner(run) == "failed"
    assert time.monotonic() - began < 50, "the others were waited for"
    reason = ended(run, "one_member_fails").reason
    assert reason is not None
    assert reason.kind == kind
    assert words in reason.message
    if how == "raises":
        assert b"member one is not well" in run.files.read_log("one_member_fails", ())
    eventually(lambda: not any(alive(int(f.read_text())) for f in tmp_path.glob("pid*")))


def test_a_gang_ends_with_its_first_member(runner: Runner, tmp_path: Path) -> None:
    run = prepare(flow(step("first_member_ends", inputs={"folder": str(tmp_path)}, nodes=2, resources=Resources(cpu=0.5))), tmp_path)
    assert runner(run) == "failed"
    reason = ended(run, "first_member_ends").reason
    assert reason is not None
    assert "member zero is not well" in reason.message
    eventually(lambda: not any(alive(int(f.read_text())) for f in tmp_path.glob("pid*")))


def test_a_gang_that_does_not_fit_waits_whole(tmp_path: Path) -> None:
    """No member starts before all can: two gangs of two on two cores take turns."""
    account = Account.open(MachineSettings(cpu=2, memory="1Gi", gpus=[]), tmp_path)
    gangs = (
        step(f"m{i}", function="meets", inputs={"folder": str(tmp_path), "x": i}, nodes=2, resources=Resources(cpu=1)) for i in range(2)
    )
    run = prepare(flow(*gangs), tmp_path)
    assert Loop(run, ProcessExecutor(run, "local"), account).run() == "done"
    first, second = sorted(value(run, f"m{i}") for i in range(2))
    assert first[1] <= second[0]
    account.close()


def test_memory_grows_no_further_than_the_machine(tmp_path: Path) -> None:
    """A step that may have 1Gi on the cluster gets what a smaller machine has, and is not retried in vain after that."""
    account = Account.open(MachineSettings(cpu=2, memory="100Mi", gpus=[]), tmp_path)
    run = prepare(flow(step("hoards", inputs={"megabytes": 300}, resources=Resources(memory=64 * MB, memory_max=1024 * MB))), tmp_path)
    assert Loop(run, ProcessExecutor(run, "local"), account, Options(memory=account.capacity.memory)).run() == "failed"
    last = ended(run, "hoards")
    assert last.attempt == 1
    assert last.reason is not None
    assert last.reason.declared == 100 * MB
    account.close()
