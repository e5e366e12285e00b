"""Tasks in fresh processes: forked off a template that has imported the flow, or started anew where forking is unsafe."""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowbridge.engine.child import ChildOrder
from flowbridge.engine.executors.handle import TemplateHandle
from flowbridge.engine.template_setup import TemplateSetup, unsafe_to_fork
from flowbridge.worker.order import WorkOrder
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from flowbridge.backends.base import PreparedRun
    from flowbridge.engine.executors.base import Happening, Launch

CAN_FORK = sys.platform.startswith("linux")


class ProcessExecutor:
    """One fresh process per task.

    The template is forked off this process if it is safe to fork: the flow is imported already. Else it is started anew and imports
    the flow from its code bundle. If it then finds itself unsafe to fork, each task is a new Python.

    Args:
        run: The run.
        backend: Name of the backend, as orders carry it.
        fork: False: never fork.

    Attributes:
        isolates: True.
        notes: Why tasks are slower to start than they could be, if they are.
    """

    isolates = True

    def __init__(self, run: PreparedRun, backend: str, *, fork: bool = CAN_FORK) -> None:
        self.notes: list[str] = []
        self._run = run
        self._fork = fork
        self._first = WorkOrder(store=run.store.url, flow=run.graph.name, run=run.record.id, step="", backend=backend)
        if not CAN_FORK:
            self.notes.append("each task starts a new Python, because forking is unsafe on this system")
        self.template = self._make_template()

    def _make_template(self) -> TemplateHandle:
        run = self._run
        if not self._fork or unsafe_to_fork() or not run.store.content.local or run.functions is None:
            return TemplateHandle.start(self._setup())
        session = Session(run.store, functions=run.functions, graph=run.graph, capture="spool")
        return TemplateHandle.fork(session, self._first)

    def _setup(self) -> TemplateSetup:
        run = self._run
        bundle = run.store.get_bundle(run.record.bundle) if run.record.bundle else None
        return TemplateSetup(
            self._first, run.graph, run.profile, bundle, tuple(sys.path), fork=self._fork, shares_store=run.store.content.local
        )

    def start(self, launch: Launch) -> None:
        """Start a task in a fresh process."""
        order = ChildOrder(launch.number, launch.order.model_dump_json().encode(), launch.setup, tuple(launch.env.items()), launch.rank)
        if self.template.gone:
            self._renew()
        self.template.wait_ready()
        if self.template.unsafe:
            self.notes.append("each task starts a new Python, because " + " and ".join(self.template.unsafe))
            self._fork = False
            self._renew()
        self.template.send(order)

    def _renew(self) -> None:
        self.template.close()
        self.template = self._make_template()

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        """Return what has happened, waiting up to `timeout` seconds, or until one of some descriptors can be read."""
        happened = self.template.read()
        if happened or timeout <= 0:
            return happened
        waiter = select.poll()
        for fd in watched if self.template.gone else (self.template.fileno(), *watched):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        waiter.poll(timeout * 1000)
        return self.template.read()

    def close(self) -> None:
        """End every process that this executor started, with all that those started."""
        self.template.close()
