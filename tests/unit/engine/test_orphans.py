"""Processes that hide from whoever ends a run: daemons by double fork, sessions of their own; and runs that lose their head."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowbridge.engine import cgroups
from flowbridge.engine.process_tree import is_alive
from tests.unit.waiting import eventually

FLOW = """
import os, subprocess, sys, time
from flowbridge import flow, step

def note() -> None:
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{os.getpid()}\\n")

def hide() -> None:
    sleep = [sys.executable, "-c", "import os, time; print(os.getpid(), file=open(os.environ['PIDS'], 'a')); time.sleep(600)"]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note()
            time.sleep(600)
        os._exit(0)
    note()

@step(cpu=0.1)
def hides() -> int:
    hide()
    time.sleep(600)
    return 1

@step(cpu=0.1, memory="300Mi")
def hides_within_limits() -> int:
    hide()
    time.sleep(600)
    return 1

@step(cpu=0.1, timeout="500ms")
def too_long() -> int:
    hide()
    time.sleep(600)
    return 1

@step(cpu=0.1)
def leaves_them() -> int:
    hide()
    time.sleep(0.5)
    return 1

@flow
def stays() -> tuple[int, int]:
    return hides(), hides_within_limits()

@flow
def ends() -> tuple[int, int]:
    return too_long(), leaves_them()

if __name__ == "__main__":
    print(globals()[sys.argv[1]].run().status, flush=True)
"""


class Driver:
    """A process that runs a flow."""

    def __init__(self, folder: Path, flow: str) -> None:
        self.pids = folder / "pids"
        self.pids.touch()
        (folder / "hiders.py").write_text(FLOW)
        variables = {
            **os.environ,
            "PIDS": str(self.pids),
            "FLOWBRIDGE_STORE": str(folder / "store"),
            "FLOWBRIDGE_ACCOUNT_DIR": str(folder / "account"),
            "XDG_CONFIG_HOME": str(folder),
        }
        command = [sys.executable, str(folder / "hiders.py"), flow]
        self.process = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def hidden(self) -> list[int]:
        return [int(p) for p in self.pids.read_text().split()]

    def left(self) -> list[int]:
        return [p for p in self.hidden() if is_alive(p, 0)]

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def stays(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path, "stays")
    try:
        assert eventually(lambda: len(driver.hidden()) == 8)
        assert len(driver.left()) == 8
        yield driver
    finally:
        for pid in (driver.process.pid, *driver.left()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        driver.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_is_left_of_a_driver_that_is_killed(stays: Driver, number: signal.Signals) -> None:
    stays.process.send_signal(number)
    stays.process.communicate(timeout=60)
    assert eventually(lambda: not stays.left())


def test_nothing_is_left_of_a_template_that_is_killed(stays: Driver) -> None:
    if cgroups.find_base(os.getpid()) is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE: who hides from a dead template is not found")
    for child in stays.children():
        os.kill(child, signal.SIGKILL)
    assert stays.process.communicate(timeout=60)[0].split() == ["failed"]
    assert stays.left() == []


def test_what_driver_and_template_leave_when_both_are_killed_goes_with_the_next_run(stays: Driver) -> None:
    base = cgroups.find_base(os.getpid())
    if base is None:
        pytest.skip("NO CGROUP CAN BE MADE HERE: who hides from a dead template is not found")
    templates = stays.children()
    for pid in (stays.process.pid, *templates):  # so that neither can notice the other's end
        os.kill(pid, signal.SIGSTOP)
    for pid in (*templates, stays.process.pid):
        os.kill(pid, signal.SIGKILL)
    stays.process.wait(timeout=60)
    cgroups.sweep(base)
    assert eventually(lambda: not stays.left())


def test_nothing_is_left_of_a_task_that_took_too_long_nor_of_one_that_left_them(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "ends")
    assert driver.process.communicate(timeout=60)[0].split() == ["failed"]
    assert len(driver.hidden()) == 8
    assert driver.left() == []
