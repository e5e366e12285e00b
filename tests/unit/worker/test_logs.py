"""What a step prints is in the log, whoever prints it, and is there while the step runs."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbridge.artifacts.store import Store
from flowbridge.errors import StoreFullError, StoreUnavailableError
from flowbridge.worker import logs

from .driver import create, drive, flow, step


def speak() -> None:
    print("by print")
    sys.stderr.write("by stderr\n")
    handler = logging.StreamHandler()
    logging.getLogger("flowbridge.test").addHandler(handler)
    logging.getLogger("flowbridge.test").warning("by logging")
    logging.getLogger("flowbridge.test").removeHandler(handler)
    os.write(1, b"by descriptor\n")
    subprocess.run(["echo", "by child"], check=True)


def test_everything_a_step_prints_is_in_its_log(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    run = drive(flow(step("a", kind="none", outputs="")), {"a": speak}, store, capture="fd")
    log = run.files.read_log("a", ()).decode()
    for line in ("by print", "by stderr", "by logging", "by descriptor", "by child"):
        assert line in log
    assert "by child" in capfd.readouterr().out
    print("still here")
    assert "still here" in capfd.readouterr().out


def test_the_streams_of_the_process_stay_where_a_debugger_needs_them(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run = drive(flow(step("a", kind="none", outputs="")), {"a": lambda: print("hello")}, store, capture="python")
    assert run.files.read_log("a", ()) == b"hello\n"
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize("capture", ["fd", "python"])
def test_a_silent_step_has_no_log_at_all(store: Store, capture: str) -> None:
    run = drive(flow(step("a")), {"a": lambda: 1}, store, capture=capture)
    assert run.files.log_parts("a", (), 0) == 0
    assert run.files.read_log("a", ()) == b""


def test_the_log_of_a_failed_step_ends_with_the_users_traceback(store: Store) -> None:
    def bad() -> None:
        print("about to fail")
        raise ValueError("no good")

    run = drive(flow(step("a")), {"a": bad}, store, capture="fd")
    lines = run.files.read_log("a", ()).decode().splitlines()
    assert lines[0] == "about to fail"
    assert lines[-1] == "ValueError: no good"
    assert lines[1].startswith("Traceback")
    assert lines[2].startswith(f'  File "{__file__}"')


def test_each_attempt_has_a_log_of_its_own(store: Store) -> None:
    def bad() -> None:
        from flowbridge.worker.context import context

        print("attempt", context().attempt)
        raise ValueError

    run = drive(flow(step("a", retries=1)), {"a": bad}, store, capture="fd")
    assert run.files.read_log("a", (), 0).startswith(b"attempt 0\n")
    assert run.files.read_log("a", (), 1).startswith(b"attempt 1\n")
    both = run.files.read_log("a", ())
    assert both == run.files.read_log("a", (), 0) + run.files.read_log("a", (), 1)


def test_a_log_is_in_the_store_while_the_step_runs(store: Store) -> None:
    files = create(flow(step("a")), store)
    seen: list[bytes] = []

    def slow() -> None:
        print("first words", flush=True)
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            time.sleep(0.05)
            if log := files.read_log("a", (), 0):
                seen.append(log)

    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.run import run_task
    from flowbridge.worker.session import Session

    order = WorkOrder(store=store.url, flow="f", run="r1", step="a")
    run_task(order, session=Session(store, functions={"a": slow}, capture="fd"))
    assert seen == [b"first words\n"]


def test_parts_are_cut_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, bytes]] = []
    parts = logs.Parts(lambda number, data: written.append((number, data)))
    parts.add(b"x" * 10)
    assert written == []
    parts.add(b"y" * logs.PART)
    assert [number for number, _ in written] == [0]
    parts.flush()
    assert len(written) == 1
    parts.add(b"z")
    parts.flush()
    assert written[1:] == [(1, b"z")]


def test_what_cannot_be_written_is_kept_for_the_next_part() -> None:
    written: list[bytes] = []
    broken = [True]

    def write(number: int, data: bytes) -> None:
        if broken[0]:
            raise StoreUnavailableError("away")
        written.append(data)

    parts = logs.Parts(write)
    parts.add(b"a")
    with pytest.raises(StoreUnavailableError):
        parts.flush()
    broken[0] = False
    parts.add(b"b")
    parts.flush()
    assert written == [b"ab"]


def test_a_step_that_prints_much_does_not_wait_with_each_line_for_a_store_in_trouble() -> None:
    tried: list[int] = []

    def write(number: int, data: bytes) -> None:
        tried.append(len(data))
        raise StoreFullError("full")

    parts = logs.Parts(write)
    for _ in range(100):
        with contextlib.suppress(StoreFullError):
            parts.add(b"x" * logs.PART)
    assert tried == [logs.PART]
    with pytest.raises(StoreFullError):
        parts.flush()
    assert tried[1:] == [100 * logs.PART]


def test_the_last_words_of_a_killed_process_are_rescued(store: Store, tmp_path: Path) -> None:
    files = create(flow(step("a")), store)
    spool = logs.spool_path("f", "r1", "a", (), 0)
    child = os.fork()
    if child == 0:
        with logs.FdCapture(lambda part, data: files.write_log("a", (), 0, part, data), spool, echo=False):
            os.write(1, b"last words\n")
            os._exit(9)
    os.waitpid(child, 0)
    assert spool.exists()
    assert logs.rescue(files, "a", (), 0)
    assert files.read_log("a", (), 0) == b"last words\n"
    assert not spool.exists()
    assert not logs.rescue(files, "a", (), 0)


@pytest.mark.parametrize("capture", ["fd", "python"])
def test_what_was_printed_is_there_while_the_step_is_silent(store: Store, capture: str) -> None:
    def silent() -> bool:
        print("the last word for long")
        deadline = time.monotonic() + 60
        while not list(Path(store.url).rglob("*.log")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(list(Path(store.url).rglob("*.log")))

    run = drive(flow(step("a")), {"a": silent}, store, capture=capture)
    assert run.value("a") is True
    assert run.files.read_log("a", ()) == b"the last word for long\n"


def test_a_process_that_the_step_forks_leaves_the_log_to_the_step(store: Store) -> None:
    def forks() -> None:
        print("before")
        pid = os.fork()
        if pid == 0:
            print("x" * logs.PART)
            os._exit(0)
        os.waitpid(pid, 0)
        print("after")

    run = drive(flow(step("a", kind="none", outputs="")), {"a": forks}, store, capture="python")
    assert run.files.read_log("a", ()) == b"before\nafter\n"


STORE_THAT_PRINTS = """
import sys, time, warnings
from flowbridge.worker import logs

warnings.simplefilter("always")
parts = []

def write(number, data):
    warnings.warn("the store is slow", stacklevel=1)
    parts.append((number, data))

with logs.StreamCapture(write):
    print("first" * logs.PART)
    print("then")
    time.sleep(1.5)  # until the thread has written a part too
    print("last")
assert [n for n, _ in parts] == list(range(len(parts)))
sys.stdout.buffer.write(b"THE LOG:" + b"".join(d for _, d in parts))
"""


def test_a_store_that_prints_while_the_log_is_sent_to_it_stops_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", STORE_THAT_PRINTS], capture_output=True, text=True, timeout=60, check=True)
    log = done.stdout.partition("THE LOG:")[2]
    assert 0 <= log.index("first" * logs.PART) < log.index("then\n") < log.index("last\n")
    assert "the store is slow" in log
    assert "the store is slow" in done.stderr
