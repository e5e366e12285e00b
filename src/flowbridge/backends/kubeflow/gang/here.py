"""A gang under kfp's local runner: its members are processes of this machine, as the local engine has them."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowbridge.backends.kubeflow.gang import FAREWELL
from flowbridge.backends.kubeflow.supervise import died_record, interpreter_of
from flowbridge.engine import endings
from flowbridge.engine.running import Running, resources_of
from flowbridge.engine.scheduler import Task
from flowbridge.records.models import Reason
from flowbridge.worker.logs import rescue

if TYPE_CHECKING:
    from flowbridge.engine.running import Member
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession

LOOK = 0.05


@dataclass
class ProcessGang:
    """The gang of one task.

    Attributes:
        run: The run.
        node: The step.
    """

    run: RunSession
    node: StepNode
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def attempt(self, order: WorkOrder) -> TaskRecord:
        """Make one attempt and return its record."""
        task = Task(order.step, order.index, order.attempt)
        running = Running(task, self.node, None, resources_of(self.node, order.growths), order.growths)
        running.began = time.time()
        running.confine(list(range(self.node.nodes)))
        try:
            self._start(running, order)
            self._watch(running)
        finally:
            running.kill(Reason(kind="cancelled", message="its task has ended"))
            for process in self._processes:
                process.wait()
            self._processes.clear()
            running.let_go()
        standing = self.run.files.attempt(order.step, order.index, order.attempt)
        if standing is not None:
            return standing
        rescue(self.run.files, order.step, order.index, order.attempt)
        return self.run.files.end(died_record(order, self.node, self._why(running), running.began))

    def _start(self, running: Running, order: WorkOrder) -> None:
        python, text = interpreter_of(self.node, self.run), order.model_dump_json()
        for member in running.members:
            command = [python, "-m", "flowbridge.worker", text, *(["--rank", str(member.rank)] if member.rank else [])]
            prepare = member.confined.prepare_child if member.confined is not None else None
            env = {**os.environ, **member.env}
            process = subprocess.Popen(command, env=env, preexec_fn=prepare)  # noqa: PLW1509  (one thread here)
            self._processes.append(process)
            member.pid = process.pid
            if member.confined is not None:
                member.confined.watch(process.pid)

    def _watch(self, running: Running) -> None:
        """Wait for all members; end them at the timeout, when one has failed, or a while after the first has ended."""
        limit = self.run.graph.time_limit(self.node)
        until = None if limit is None else time.monotonic() + limit
        leaving: float | None = None
        while not running.gone:
            for member, process in zip(running.members, self._processes, strict=True):
                self._note(running, member, process)
            if leaving is None and running.members[0].gone:
                leaving = time.monotonic() + FAREWELL
            if any(m.exit_code for m in running.members) or (leaving is not None and time.monotonic() >= leaving):
                return
            if limit is not None and until is not None and time.monotonic() >= until:
                running.kill(endings.timed_out(limit))
                return
            time.sleep(LOOK)

    def _note(self, running: Running, member: Member, process: subprocess.Popen[bytes]) -> None:
        if not member.gone and process.poll() is not None:
            member.gone, member.exit_code = True, process.returncode
            running.note_limits(member)

    def _why(self, running: Running) -> Reason:
        """Return why the attempt left no record."""
        if running.ending is not None and running.ending.kind == "timeout":
            return running.ending
        if running.verdict is not None:
            return endings.over_limit(running.verdict, running.exit_code)
        rank = next((m.rank for m in running.members if m.exit_code), 0)
        return endings.died(running.exit_code, rank)
