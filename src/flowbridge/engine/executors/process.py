"""Tasks in fresh processes: forked off a template per environment that has imported the flow, or started anew where forking is unsafe."""

from __future__ import annotations

import select
import shutil
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.engine.child import ChildOrder
from flowbridge.engine.environments import interpreters, own_paths
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
    the flow from its code bundle. If it then finds itself unsafe to fork, each task is a new Python. Steps with an environment of their
    own have a template each, started with its interpreter when the first task needs it.

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
        self.folder: Path | None = Path(tempfile.gettempdir()) / f"flowbridge-run-{uuid.uuid4().hex}"
        self._run = run
        self._fork = fork
        self._cannot_fork: set[Path | None] = set()
        self._first = WorkOrder(store=run.store.url, flow=run.graph.name, run=run.record.id, step="", backend=backend)
        self._pythons = interpreters(run.record, run.store)
        self._templates: dict[Path | None, TemplateHandle] = {}
        self._left: list[Happening] = []
        if not CAN_FORK:
            self.notes.append("each task starts a new Python, because forking is unsafe on this system")
        if len(self._pythons) < sum(s.container is None for s in run.graph.steps) or not run.graph.steps:
            self._templates[None] = self._make_template(None)

    @property
    def template(self) -> TemplateHandle:
        """The template of steps without an environment of their own."""
        return self._templates[None]

    def _make_template(self, python: Path | None) -> TemplateHandle:
        run = self._run
        if python is not None:
            return TemplateHandle.start(self._setup(python), str(python))
        if not self._forks(None) or unsafe_to_fork() or not run.store.content.local or run.functions is None:
            return TemplateHandle.start(self._setup(None))
        session = Session(run.store, functions=run.functions, graph=run.graph, capture="spool")
        return TemplateHandle.fork(session, self._first, self.folder)

    def _forks(self, python: Path | None) -> bool:
        return self._fork and python not in self._cannot_fork

    def _setup(self, python: Path | None) -> TemplateSetup:
        run = self._run
        bundle = run.store.get_bundle(run.record.bundle) if run.record.bundle else None
        path = tuple(sys.path) if python is None else own_paths()
        only = frozenset(step for step, at in self._pythons.items() if at == python) if python is not None else None
        return TemplateSetup(
            self._first,
            run.graph,
            run.profile,
            bundle,
            path,
            fork=self._forks(python),
            shares_store=run.store.content.local,
            only=only,
            folder=self.folder,
        )

    def start(self, launch: Launch) -> None:
        """Start a task in a fresh process."""
        order = ChildOrder(
            launch.number, launch.order.model_dump_json().encode(), launch.setup, tuple(launch.env.items()), launch.rank, launch.known
        )
        python = self._pythons.get(launch.node.id)
        template = self._templates.get(python)
        if template is None or template.gone:
            template = self._renew(python)
        template.wait_ready()
        if template.unsafe:
            self.notes.append("each task starts a new Python, because " + " and ".join(template.unsafe))
            self._cannot_fork.add(python)
            template = self._renew(python)
            template.wait_ready()
        template.send(order)

    def _renew(self, python: Path | None) -> TemplateHandle:
        if python in self._templates:
            self._templates[python].close()
            self._left += self._templates[python].read()
        self._templates[python] = self._make_template(python)
        return self._templates[python]

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        """Return what has happened, waiting up to `timeout` seconds, or until one of some descriptors can be read."""
        happened = self._read()
        if happened or timeout <= 0:
            return happened
        waiter = select.poll()
        for fd in (*(fd for t in self._templates.values() if not t.gone for fd in t.filenos()), *watched):
            if fd >= 0:
                waiter.register(fd, select.POLLIN)
        waiter.poll(timeout * 1000)
        return self._read()

    def _read(self) -> list[Happening]:
        left, self._left = self._left, []
        return [*left, *(happening for template in self._templates.values() for happening in template.read())]

    def close(self) -> None:
        """End every process that this executor started, with all that those started."""
        for template in self._templates.values():
            template.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
