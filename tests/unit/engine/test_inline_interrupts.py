"""A run in one process that is interrupted: what the step started goes with it, what was there before, or is another thread's, stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowbridge.engine.process_tree import is_alive, started_at
from tests.unit.waiting import eventually

FLOW = """
import os, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from flowbridge import flow, step

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
NEST = [sys.executable, "-c", f"import subprocess, sys, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(600)"]
in_step, started_beside = threading.Event(), threading.Event()

def forks() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    return pid

def beside(folder: str) -> None:
    in_step.wait()
    other = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    Path(folder, "beside").write_text(str(other.pid))
    started_beside.set()
    time.sleep(600)

@step
def starts(folder: str) -> None:
    child = subprocess.Popen(NEST, stdout=subprocess.PIPE, text=True)
    own_session = subprocess.Popen(SLEEP, start_new_session=True)
    assert child.stdout is not None
    grandchild = child.stdout.readline().strip()
    with ThreadPoolExecutor() as pool:
        of_thread = pool.submit(subprocess.Popen, SLEEP, stdout=subprocess.DEVNULL).result()
        forked = pool.submit(forks).result()
    in_step.set()
    assert started_beside.wait(60)
    Path(folder, "part").write_text(f"{child.pid} {own_session.pid} {grandchild} {of_thread.pid} {forked}")
    Path(folder, "part").rename(Path(folder, "pids"))
    time.sleep(600)

@flow
def starting(folder: str) -> None:
    starts(folder)

if __name__ == "__main__":
    before = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    Path(sys.argv[1], "before").write_text(str(before.pid))
    threading.Thread(target=beside, args=sys.argv[1:], daemon=True).start()
    time.sleep(0.1)
    print(starting.options(backend="inline").run(sys.argv[1]).status, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_the_step_started_is_ended(tmp_path: Path, number: int) -> None:
    (tmp_path / "starting.py").write_text(FLOW)
    env = {**os.environ, "FLOWBRIDGE_STORE": str(tmp_path / "store"), "FLOWBRIDGE_ACCOUNT_DIR": str(tmp_path / "account")}
    command = [sys.executable, "starting.py", str(tmp_path)]
    started: dict[int, int] = {}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert eventually((tmp_path / "pids").exists)
            others = [int((tmp_path / name).read_text()) for name in ("before", "beside")]
            started = {int(pid): started_at(int(pid)) for pid in [*(tmp_path / "pids").read_text().split(), *others]}
            assert len(started) == 7
            assert all(started.values())
            driver.send_signal(number)
            assert driver.communicate(timeout=60)[0] == "cancelled\n"
            assert [pid for pid, at in started.items() if is_alive(pid, at)] == others
        finally:
            driver.kill()
            for pid, at in started.items():
                if is_alive(pid, at):
                    os.kill(pid, signal.SIGKILL)
