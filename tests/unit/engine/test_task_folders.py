"""What a task puts into its folder (inputs that are files, scratch) goes when the task ends, however it ends, and on every way to run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flowbridge import get_run
from flowbridge.artifacts import folders
from flowbridge.artifacts.store import Store
from tests.unit.waiting import eventually

FLOW = """
import os, signal, time
from pathlib import Path
from flowbridge import context, flow, step

@step(cpu=0.1)
def make() -> Path:
    path = context().scratch / "text"
    path.write_text("here")
    return path

def look(given: Path) -> None:
    assert given.read_text() == "here"
    (context().scratch / "more").write_text("more")
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{given}\\n{context().scratch}\\n")

@step(cpu=0.1)
def well(given: Path) -> None:
    look(given)

@step(cpu=0.1, allow_failure=True)
def raises(given: Path) -> None:
    look(given)
    raise ValueError("no")

@step(cpu=0.1, allow_failure=True)
def dies(given: Path) -> None:
    look(given)
    os.kill(os.getpid(), signal.SIGKILL)

@step(cpu=0.1, allow_failure=True, timeout="6s")
def late(given: Path) -> None:
    look(given)
    time.sleep(600)

@step(cpu=0.1, disk="1Gi", memory="1Gi", allow_failure=True)
def limited(given: Path) -> None:
    look(given)
    os.kill(os.getpid(), signal.SIGKILL)

@step(cpu=0.1)
def stays(given: Path) -> None:
    look(given)
    time.sleep(600)

@flow
def calm() -> None:
    given = make()
    well(given)
    raises(given)

@flow
def rough() -> None:
    given = make()
    well(given)
    raises(given)
    dies(given)
    late(given)
    limited(given)

@flow
def staying() -> None:
    stays(make())
"""


class Machine:
    """Where flows run, with temporary files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self.seen_file = folder / "seen"
        (folder / "filing.py").write_text(FLOW)
        self.env = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "SEEN": str(self.seen_file),
            "FLOWBRIDGE_ACCOUNT_DIR": str(folder / "account"),
            "FLOWBRIDGE_STORE": str(folder / "store"),
            "METAFLOW_USER": "tester",
        }

    def start(self, flow: str, backend: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flowbridge", "run", f"filing.py:{flow}", "--backend", backend]
        return subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL)

    def seen(self) -> list[Path]:
        return [Path(line) for line in self.seen_file.read_text().splitlines()] if self.seen_file.exists() else []

    def left(self) -> list[str]:
        """Return the files that flows left among the temporary ones; folders without any do not count, nor does unpacked code."""
        return [str(Path(folder, name)) for folder, _, names in os.walk(self.temporary) for name in names if name in {"text", "more"}]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def run_all(machine: Machine, flow: str, backend: str, tasks: int) -> None:
    assert machine.start(flow, backend).wait(180) == 0
    run = get_run("latest", store=machine.env["FLOWBRIDGE_STORE"])
    assert run.status == "done", run.message
    assert len(machine.seen()) == 2 * tasks
    assert not [path for path in machine.seen() if path.exists()]
    assert machine.left() == []


def test_in_one_process(machine: Machine) -> None:
    run_all(machine, "calm", "inline", 2)


def test_in_processes_of_their_own(machine: Machine) -> None:
    run_all(machine, "rough", "local", 5)
    assert not [p for p in machine.temporary.iterdir() if p.name.startswith(("flowbridge-run-", "flowbridge-task-", "flowbridge-scratch-"))]


@pytest.mark.metaflow
def test_under_metaflow(machine: Machine) -> None:
    pytest.importorskip("metaflow")
    run_all(machine, "rough", "metaflow", 5)


@pytest.mark.kubeflow
def test_under_kfp(machine: Machine) -> None:
    pytest.importorskip("kfp")
    run_all(machine, "rough", "kubeflow", 5)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_driver_goes(machine: Machine, number: int) -> None:
    process = machine.start("staying", "local")
    try:
        assert eventually(lambda: len(machine.seen()) == 2)
        assert all(path.exists() for path in machine.seen())
        process.send_signal(number)
        process.wait()
        assert eventually(lambda: not machine.left())
    finally:
        process.kill()
        process.wait()


@pytest.mark.metaflow
def test_when_metaflow_goes(machine: Machine) -> None:
    pytest.importorskip("metaflow")
    process = machine.start("staying", "metaflow")
    try:
        assert eventually(lambda: len(machine.seen()) == 2)
        process.send_signal(signal.SIGINT)
        process.wait()
        assert machine.left() == []
    finally:
        process.kill()
        process.wait()


def test_a_store_that_others_read_too_keeps_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "text").write_text("here")
    reference = store.save(tmp_path / "text")
    own = store.apart()
    own.work = tmp_path / "task"
    theirs, ours = store.load(reference), own.load(reference)
    assert ours.is_relative_to(tmp_path / "task")
    own.drop_files()
    assert theirs.read_text() == "here"
    assert not ours.exists()
