"""Starting a run under Metaflow's own runtime on this machine, following it, and ending it."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.backends.metaflow.compile import compile_flow
from flowbridge.backends.metaflow.home import MOST_SPLITS, Home, global_arguments, process_environment, python_of
from flowbridge.backends.metaflow.options import options_of
from flowbridge.backends.metaflow.parameters import argument
from flowbridge.backends.metaflow.reach import check_datastore
from flowbridge.backends.metaflow.status import native_of, own_error
from flowbridge.backends.metaflow.variables import GRAPH, HELPER
from flowbridge.engine.drivers import driver_of
from flowbridge.engine.process_tree import kill_tree
from flowbridge.engine.submission import Awaited
from flowbridge.errors import BackendError
from flowbridge.records.finish import finalise
from flowbridge.records.models import Reason, RunNative
from flowbridge.records.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowbridge.backends.base import PreparedRun
    from flowbridge.backends.metaflow.compile import FlowFile
    from flowbridge.backends.metaflow.options import MetaflowOptions
    from flowbridge.records.models import Driver, TaskRecord, TaskStarted

_log = logging.getLogger("flowbridge.metaflow")
_LOOK = 0.25
_REST = 10.0
"""How many times as long as a look at the records took is waited before the next: a run of thousands of tasks has as many files."""
_HELPER_PATIENCE = 60.0
_TAIL = 60


def submit(run: PreparedRun) -> MetaflowSubmission:
    """Write the FlowSpec of a run and start it; returns when Metaflow has given it an id.

    Raises:
        BackendError: Metaflow refused it; its own words are in the message.
    """
    options = options_of(run.profile)
    file = compile_flow(run.graph, run.profile, store=run.store.url)
    home = Home.of(run, options)
    check_datastore(options, home)
    path = home.write(file, run, options)
    submission = MetaflowSubmission(run, file, options, home)
    submission.start(path)
    return submission


class MetaflowSubmission(Awaited):
    """A run that Metaflow's own runtime carries out, in processes of their own."""

    def __init__(self, run: PreparedRun, file: FlowFile, options: MetaflowOptions, home: Home) -> None:
        super().__init__()
        self._run = run
        self._file = file
        self._options = options
        self._home = home
        self._cancelled = False
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._process: subprocess.Popen[bytes] | None = None
        self._helper: subprocess.Popen[bytes] | None = None
        self._sockets: tempfile.TemporaryDirectory[str] | None = None
        self._watcher = Watcher(run.files)
        self._drivers: tuple[Driver, ...] = ()

    # --- what callers do ---------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End the run: running tasks are stopped with their whole process tree, waiting ones never start."""
        if self._over.is_set() or self._process is None:
            return
        self._cancelled = True
        kill_tree(self._process.pid)

    # --- starting ----------------------------------------------------------------------------------------------------------------

    def start(self, path: Path) -> None:
        """Start Metaflow, and the helper that lives as long as it does."""
        env = {**process_environment(self._run, self._options, self._home), GRAPH: str(self._home.folder / "graph.json")}
        read, write = os.pipe()
        try:
            if self._options.warm and hasattr(os, "fork"):
                env[HELPER] = self._start_helper(env, read)
            command = [python_of(self._options), str(path), *global_arguments(self._options), "run", *self._arguments()]
            _log.debug("in %s: %s", self._home.folder, command)
            self._process = subprocess.Popen(
                command,
                cwd=self._home.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(write,),
            )
        finally:
            os.close(read)
            os.close(write)
        self._drivers = (driver_of(self._process.pid), driver_of())
        self._note(RunNative(backend="metaflow", id=""))
        threading.Thread(target=self._listen, name="flowbridge-metaflow-output", daemon=True).start()
        self._wait_for_id()
        threading.Thread(target=self._follow, name="flowbridge-metaflow", daemon=False).start()

    def _start_helper(self, env: Mapping[str, str], driver: int) -> str:
        """Start the warm helper and return the path of its socket, which must be short."""
        self._sockets = tempfile.TemporaryDirectory(prefix="fb-")
        path = str(Path(self._sockets.name) / "s")
        run = self._run
        module = "flowbridge.backends.metaflow.warm"
        command = [python_of(self._options), "-m", module, path, run.store.url, run.graph.name, run.record.id]
        self._helper = subprocess.Popen(command, env=dict(env), stdin=driver, stdout=subprocess.PIPE, start_new_session=True)
        return path

    def _arguments(self) -> list[str]:
        found = ["--run-id-file", str(self._id_file), "--max-num-splits", str(MOST_SPLITS)]
        workers = self._run.max_parallel or self._options.max_workers
        found += ["--max-workers", str(workers)] if workers else []
        for tag in (*self._run.record.tags, f"flowbridge:{self._run.record.id}"):
            found += ["--tag", tag]
        return found + parameter_arguments(self._run, self._file)

    @property
    def _id_file(self) -> Path:
        return self._home.folder / "run-id"

    def _wait_for_id(self) -> None:
        process = self._process
        while process is not None and not (self._id_file.exists() and self._id_file.read_text().strip()):
            if process.poll() is not None:
                self._end_helper()
                raise BackendError(f"Metaflow did not start the run: {own_error(self._tail)}")
            time.sleep(_LOOK / 10)
        self._note(native_of(self._file.name, self._id_file.read_text().strip()))

    def _note(self, native: RunNative) -> None:
        """Write where the run goes on. A run of which that cannot be written must not go on."""
        try:
            self._run.files.set_native(native.model_copy(update={"drivers": self._drivers}))
        except BaseException:
            if self._process is not None:
                kill_tree(self._process.pid)
            self._end_helper()
            raise

    # --- following ---------------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Pass on what Metaflow says."""
        process = self._process
        if process is None or process.stdout is None:
            return
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            _log.debug("%s", text)
        process.stdout.close()

    def _follow(self) -> None:
        """Tell of tasks as they go on, and close the run when Metaflow's process has ended."""
        try:
            while self._process is not None and self._process.poll() is None:
                began = time.monotonic()
                self._tell()
                time.sleep(max(_LOOK, _REST * (time.monotonic() - began)))
            self._end_helper()
            self._close()
        except BaseException as error:  # noqa: BLE001  (kept, and raised to whoever waits)
            self._error = error
        finally:
            self._over.set()

    def _close(self) -> None:
        files = self._run.files
        known = files.read_tasks()
        self._state = finalise(self._run.graph, files, cancelled=self._cancelled, known=known, left=self._own_end(known)).state
        self._tell()

    def _own_end(self, known: Iterable[TaskRecord | TaskStarted]) -> Reason | None:
        """Return what ended the run where no task did: something in Metaflow itself."""
        code = self._process.returncode if self._process is not None else None
        if not code or self._cancelled or any(getattr(record, "state", None) == "failed" for record in known):
            return None
        _log.debug("Metaflow ended with exit code %s: %s", code, own_error(self._tail))
        return Reason(kind="cancelled", message=f"not run, because Metaflow ended with exit code {code}: {own_error(self._tail)}")

    def _tell(self) -> None:
        for record in self._watcher.poll():
            self._run.listener(record)

    def _end_helper(self) -> None:
        """The helper ends with Metaflow; it is waited for, so that no task goes on after the run is closed."""
        if self._helper is not None:
            try:
                self._helper.wait(_HELPER_PATIENCE)
            except subprocess.TimeoutExpired:
                kill_tree(self._helper.pid)
                self._helper.wait()
            if self._helper.stdout is not None:
                self._helper.stdout.close()
        if self._sockets is not None:
            self._sockets.cleanup()


def parameter_arguments(run: PreparedRun, file: FlowFile) -> list[str]:
    """Return the flow's parameters for Metaflow's command line, so that it shows them; the tasks read them from the store.

    A value that Metaflow cannot take (an object, a very long text) is left to its default, or to a stand-in where it has none.
    """
    found: list[str] = []
    for parameter, given in zip(file.parameters, run.graph.parameters, strict=True):
        value = run.record.params.get(given.name)
        text = argument(value, parameter.kind) if given.name in run.record.params and value is not None else None
        if text is None and given.default is None and given.required:
            text = {"int": "0", "float": "0", "bool": "False", "str": ""}.get(parameter.kind, "null")
        if text is not None:
            found += [f"--{parameter.name}", text]
    return found
