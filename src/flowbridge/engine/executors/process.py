"""Tasks in fresh processes: forked off a template that has imported the flow, or started anew where forking is unsafe."""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowbridge.engine.child import ChildOrder
from flowbridge.engine.executors.base import Happening, Launch
from flowbridge.engine.executors.handle import SpawnedHandle, TemplateHandle
from flowbridge.engine.template import TemplateSetup, unsafe_to_fork
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun

CAN_FORK = sys.platform.startswith("linux")


class ProcessExecutor:
    """One fresh process per task.

    Args:
        run: The run; its functions are used as they are where this process can be forked.
        backend: Name of the backend, as orders carry it.
        fork: None: fork where that is safe. False: never.

    Attributes:
        isolates: True.
        notes: Why tasks are slower to start than they could be, if they are.
    """

    isolates = True

    def __init__(self, run: PreparedRun, backend: str, *, fork: bool | None = None) -> None:
        self.notes: list[str] = []
        self._run = run
        self._first = WorkOrder(store=run.store.url, flow=run.graph.name, run=run.record.id, step="", backend=backend)
        self._template: TemplateHandle | None = None
        self._spawned: list[SpawnedHandle] = []
        self._setup: TemplateSetup | None = None
        if fork is not False and CAN_FORK:
            self._template = self._start_template()
        elif not CAN_FORK:
            self.notes.append("each task starts a new Python, because forking is unsafe on this system")

    def _start_template(self) -> TemplateHandle:
        unsafe = unsafe_to_fork()
        store = self._run.store
        if unsafe or not store.content.local or self._run.functions is None:
            return TemplateHandle.spawn(self._setup_of_run())
        session = Session(store, functions=self._run.functions, graph=self._run.graph, capture="fd", echo=False)
        return TemplateHandle.fork(session, self._first)

    def _setup_of_run(self) -> TemplateSetup:
        if self._setup is None:
            run = self._run
            bundle = run.store.get_bundle(run.record.bundle) if run.record.bundle else None
            self._setup = TemplateSetup(self._first, run.graph, run.profile, bundle, tuple(sys.path), shares_store=run.store.content.local)
        return self._setup

    def start(self, launch: Launch) -> None:
        """Start a task in a fresh process."""
        order = ChildOrder(launch.number, launch.order.model_dump_json().encode(), launch.setup, tuple(launch.env.items()))
        template = self._ready_template()
        if template is None:
            self._spawned.append(SpawnedHandle(self._setup_of_run(), order))
        else:
            template.send(order)

    def _ready_template(self) -> TemplateHandle | None:
        """Return the template; None where there is none, or where it found itself unsafe to fork."""
        if self._template is None:
            return None
        if self._template.gone:
            self._template.close()
            self._template = self._start_template()
        self._template.wait_ready()
        if self._template.unsafe:
            self.notes.append("each task starts a new Python, because " + " and ".join(self._template.unsafe))
            self._template.close()
            self._template = None
        return self._template

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        """Return what has happened, waiting up to `timeout` seconds, or until one of some descriptors can be read."""
        happened = self._read()
        if happened or timeout <= 0:
            return happened
        waiter = select.poll()
        for fd in (*(handle.fileno() for handle in self._handles() if not handle.gone), *watched):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        waiter.poll(timeout * 1000)
        return self._read()

    def _handles(self) -> list[TemplateHandle | SpawnedHandle]:
        return [*self._spawned] if self._template is None else [self._template, *self._spawned]

    def _read(self) -> list[Happening]:
        found = [happening for handle in self._handles() for happening in handle.read()]
        self._spawned = [handle for handle in self._spawned if not handle.gone]
        return found

    def close(self) -> None:
        """End every process that this executor started, with all that those started."""
        for handle in self._handles():
            handle.close()
        self._template, self._spawned = None, []
