"""Runs a compiled pipeline with kfp's own local runner, in a process of its own: kfp's pins and prints stay out of the user's."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts.folders import VARIABLE as TASK_FOLDER
from flowbridge.backends.base import PreparedRun
from flowbridge.backends.kubeflow.compile import compile_flow
from flowbridge.backends.kubeflow.components import RUN
from flowbridge.backends.kubeflow.local_docker import remove_containers
from flowbridge.backends.kubeflow.local_runner import KEEP
from flowbridge.backends.kubeflow.options import options_of
from flowbridge.backends.kubeflow.pod import OPTIONS, TRUST
from flowbridge.backends.kubeflow.submit import complete_pipeline, located, shown_parameters
from flowbridge.engine.drivers import driver_of
from flowbridge.engine.process_tree import is_alive, kill_tree
from flowbridge.errors import MissingExtraError, UsageError
from flowbridge.records.finish import finalise
from flowbridge.records.models import RunNative
from flowbridge.records.watch import Watcher
from flowbridge.worker.run import host

if TYPE_CHECKING:
    from flowbridge.backends.kubeflow.compile import Pipeline
    from flowbridge.records.models import RunState

POLL = 0.1
PREFIX = "local-"
TAIL = 2000


def submit_local(run: PreparedRun) -> LocalSubmission:
    """Start a run under kfp's local runner.

    Raises:
        MissingExtraError: kfp is not installed.
    """
    if importlib.util.find_spec("kfp") is None:
        raise MissingExtraError.needed("Running Kubeflow pipelines on this machine (kubeflow.host = 'local')", "kfp", "kubeflow")
    folder = Path(tempfile.mkdtemp(prefix="flowbridge-kfp-"))
    path = folder / f"{run.graph.name}.yaml"
    path.write_bytes(_pipeline(run).data)
    arguments = {RUN: run.record.id, **shown_parameters(run.graph, run.record.params)}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flowbridge.backends.kubeflow.local_runner",
            str(path),
            json.dumps(arguments),
            KEEP if run.wait else "remove",
            *_containers(run),
        ],
        cwd=folder,
        env={**_environment(run), TASK_FOLDER: str(folder / "tasks")},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log.close()
    runner = driver_of(process.pid)
    run.files.set_native(RunNative(backend="kubeflow", id=f"{PREFIX}{runner.pid}-{runner.started}", drivers=(runner,)))
    return LocalSubmission(run=run, process=process, folder=folder)


def _pipeline(run: PreparedRun) -> Pipeline:
    options = options_of(run.profile)
    if options.local_runner == "docker":  # its images may lack flowbridge
        return complete_pipeline(run.graph, run.store, run.profile, options)
    return compile_flow(run.graph, located(run.profile, run.store))


def _containers(run: PreparedRun) -> list[str]:
    """Return what the runner is told so that each task is a container: the run, and the folders that they need."""
    if options_of(run.profile).local_runner != "docker":
        return []
    url = run.store.url.removeprefix("file://")
    if "://" in url:
        return [run.record.id]
    Path(url).mkdir(parents=True, exist_ok=True)
    return [run.record.id, url]


def _remove_containers(run: PreparedRun) -> None:
    if options_of(run.profile).local_runner == "docker":
        remove_containers(run.record.id)


def attach_local(run: PreparedRun, native: str) -> AttachedSubmission:
    """Take up a run that another process of this machine started under kfp's local runner.

    Raises:
        UsageError: It was started on another machine.
    """
    if run.record.host != host():
        raise UsageError(
            f"Run {run.record.id} goes on under kfp's local runner on {run.record.host or 'another machine'}; it can be ended there only"
        )
    pid, started = native.removeprefix(PREFIX).split("-")
    return AttachedSubmission(run=run, pid=int(pid), started=int(started))


def _environment(run: PreparedRun) -> dict[str, str]:
    """Return the variables of the runner; how to open the store goes this way, so that no credential stands in a file."""
    variables = {**os.environ, OPTIONS: json.dumps(run.profile.store_options), TRUST: str(run.profile.trust).lower()}
    here = str(Path(__file__).parents[3])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return variables


@dataclass
class LocalSubmission:
    """A run under kfp's local runner.

    Attributes:
        run: What was started.
        process: The runner.
        folder: Its files; removed when the run is over.
    """

    run: PreparedRun
    process: subprocess.Popen[bytes]
    folder: Path
    _watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        """Begin to follow the records."""
        self._watcher = Watcher(self.run.files)

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.process.poll() is None:
            self._tell()
            if until is not None and time.monotonic() >= until:
                return "running"
            time.sleep(POLL)
        return self._close(cancelled=False)

    def cancel(self) -> None:
        """Kill the runner with all its tasks and close the run's records."""
        kill_tree(self.process.pid)
        self.process.wait()
        _remove_containers(self.run)
        self._close(cancelled=True)

    def _close(self, *, cancelled: bool) -> RunState:
        if self.process.returncode and self.run.files.ended() is None and not cancelled:
            sys.stderr.write(f"flowbridge: kfp's local runner ended with code {self.process.returncode}:\n{self.tail()}\n")
        end = finalise(self.run.graph, self.run.files, cancelled=cancelled)
        self._tell()
        shutil.rmtree(self.folder, ignore_errors=True)
        return end.state

    def tail(self) -> str:
        """Return the last lines of what the runner printed."""
        log = self.folder / "log"
        return log.read_text(errors="replace")[-TAIL:] if log.exists() else ""

    def _tell(self) -> None:
        for event in self._watcher.poll():
            self.run.listener(event)


@dataclass
class AttachedSubmission:
    """A run under kfp's local runner that another process started."""

    run: PreparedRun
    pid: int
    started: int

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state."""
        until = None if timeout is None else time.monotonic() + timeout
        watcher = Watcher(self.run.files)
        while is_alive(self.pid, self.started):
            for event in watcher.poll():
                self.run.listener(event)
            if until is not None and time.monotonic() >= until:
                return "running"
            time.sleep(POLL)
        return finalise(self.run.graph, self.run.files).state

    def cancel(self) -> None:
        """Kill the runner with all its tasks and close the run's records."""
        if is_alive(self.pid, self.started):
            kill_tree(self.pid)
        _remove_containers(self.run)
        finalise(self.run.graph, self.run.files, cancelled=True)
