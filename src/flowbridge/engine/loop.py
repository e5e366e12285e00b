"""The loop of a local run: it starts what the scheduler says may start and the account admits, and tells it how that ended."""

from __future__ import annotations

import heapq
import platform
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from flowbridge.engine import endings
from flowbridge.engine.executors.base import Began, Ended, Executor, Happening, Launch, Told
from flowbridge.engine.interrupts import Interrupts
from flowbridge.engine.limits import Confined, confine, gpu_env, kill_tree
from flowbridge.engine.log_follower import LogFollower
from flowbridge.engine.scheduler import Scheduler, Task
from flowbridge.errors import FlowbridgeError
from flowbridge.ir.control import MapNode
from flowbridge.ir.resources import Resources
from flowbridge.records import reasons
from flowbridge.records.finish import finalise
from flowbridge.records.models import Index, Reason, TaskRecord, TaskStarted
from flowbridge.worker.expand import expand_cheaply
from flowbridge.worker.order import WorkOrder

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flowbridge.backends.base import PreparedRun
    from flowbridge.engine.ledger import Lease
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunState

_ASK_AGAIN = 0.5
_IDLE = 60.0
_NOTHING = Resources()


class Admission(Protocol):
    """Who says whether a task may start now: `engine.ledger.Account`."""

    def request(self, run: str, task: str, resources: Resources, nodes: int = 1) -> Lease | None:
        """Return what the task may hold; None: it has to wait."""

    def leave(self, run: str) -> None:
        """Give back what a run holds and waits for."""

    def wait_hint(self, timeout: float) -> None:
        """Clear the sign that it may be worth asking again."""

    def fileno(self) -> int:
        """Return the descriptor of that sign; negative: there is none."""


@dataclass
class Running:
    """One attempt that was started.

    Attributes:
        number: Of its launch.
        pid: Of its process, once it is there.
        began: When that was, in seconds since the epoch.
        record: How it ended, once known; its process may take a moment longer to go.
        ending: Why the driver kills it, if it does.
    """

    task: Task
    node: StepNode | MapNode
    number: int
    lease: Lease | None
    confined: Confined | None
    pid: int | None = None
    began: float | None = None
    record: TaskRecord | None = None
    ending: Reason | None = None


@dataclass(frozen=True)
class Options:
    """How a local run goes about it.

    Attributes:
        backend: Name of the backend, as orders and records carry it.
        max_parallel: At most so many tasks at once.
    """

    backend: str = "local"
    max_parallel: int | None = None


@dataclass
class Loop:
    """One run, from its first task to its end.

    Args:
        prepared: The run.
        executor: Runs tasks.
        account: Admits them; None: whoever is ready may start, one at a time if the executor isolates nothing.
    """

    prepared: PreparedRun
    executor: Executor
    account: Admission | None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        self.interrupts = Interrupts(raising=not self.executor.isolates)
        self.scheduler = Scheduler(self.prepared.graph)
        self.running: dict[int, Running] = {}
        self.waiting: dict[Hashable, Task] = {}
        self._files = self.prepared.files
        self._logs = LogFollower(self._files)
        self._numbers = 0
        self._deadlines: list[tuple[float, int]] = []
        self._existing: set[tuple[str, Index]] = set()
        self._run_id = self.prepared.record.id
        self._host = platform.node()

    def cancel(self) -> None:
        """Ask for the end of the run, from any thread."""
        self.interrupts.ask()

    def run(self) -> RunState:
        """Run to the end and return how the run ended.

        Raises:
            StoreError: Records cannot be written or read; what was running has been ended.
        """
        cancelled = False
        try:
            with self.interrupts:
                try:
                    self._existing = {(f.step, f.index) for f in self._files.task_files() if f.kind == "end"}
                    self._go_on()
                except KeyboardInterrupt:
                    self.interrupts.asked = True
                cancelled = self.interrupts.asked
                if cancelled:
                    self._cancel_all()
        finally:
            self._close()
        return finalise(self.prepared.graph, self._files, cancelled=cancelled).state

    def _close(self) -> None:
        self.executor.close()
        self._logs.close()
        for running in self.running.values():
            self._let_go(running)
        if self.account is not None:
            self.account.leave(self._run_id)

    # --- the loop ------------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        while not self.interrupts.asked:
            self.scheduler.wake(time.monotonic())
            self._launch_ready()
            if self.scheduler.finished and not self.running:
                return
            self._check_alive()
            for happening in self.executor.poll(self._patience(), self._watched()):
                self._take(happening)
            if self.waiting and self.account is not None:
                self.account.wait_hint(0)
            self._end_overdue()

    def _check_alive(self) -> None:
        if not self.running and not self.waiting and self.scheduler.next_due() is None and not self.scheduler.classes():
            raise FlowbridgeError("The run cannot go on: nothing is running or ready, yet not all has ended. Is there a cycle in the flow?")

    def _patience(self) -> float:
        """Return how long nothing need be done."""
        now = time.monotonic()
        due = [_IDLE]
        if self._deadlines:
            due.append(self._deadlines[0][0] - now)
        retry = self.scheduler.next_due()
        if retry is not None:
            due.append(retry - now)
        if self.waiting:
            due.append(_ASK_AGAIN)
        return max(0.0, min(due))

    def _watched(self) -> list[int]:
        account = [self.account.fileno()] if self.waiting and self.account is not None else []
        return [self.interrupts.fileno(), *account]

    def _write_verdicts(self) -> None:
        """Write the records of tasks that are skipped without a process, before any that waits for them is started.

        Those that are cancelled get their records when the run is closed.
        """
        while self.scheduler.verdicts:
            verdict = self.scheduler.verdicts.popleft()
            node = self.prepared.graph.node(verdict.step)
            why = reasons.skipped_input(verdict.cause) if verdict.state == "skipped" else reasons.upstream(verdict.cause)
            for index in verdict.indices():
                record = reasons.never_ran(node, index, why)
                if verdict.state == "skipped":
                    record = self._files.end(record)
                self.prepared.listener(record)

    # --- starting ------------------------------------------------------------------------------------------------------------

    def _launch_ready(self) -> None:
        self.waiting.clear()
        while not self._is_full() and any(key not in self.waiting and self._start_one(key) for key in self.scheduler.classes()):
            continue

    def _is_full(self) -> bool:
        if not self.executor.isolates:
            return bool(self.running)
        return self.options.max_parallel is not None and len(self.running) >= self.options.max_parallel

    def _start_one(self, key: Hashable) -> bool:
        """Start the most urgent task of a class; return False if it has to wait."""
        task = self.scheduler.peek(key)
        if task is None:
            return False
        node = self.prepared.graph.node(task.step)
        known = self._known(task, node)
        if known is not None:
            self.scheduler.take(key)
            self._hear(known)
            return True
        lease = None
        if self.account is not None:
            resources, nodes = (_NOTHING, 1) if isinstance(node, MapNode) else (node.resources, node.nodes)
            lease = self.account.request(self._run_id, reasons.task_name(task.step, task.index), resources, nodes)
            if lease is None:
                self.waiting[key] = task
                return False
        self.scheduler.take(key)
        self._start(task, node, lease)
        return True

    def _known(self, task: Task, node: StepNode | MapNode) -> TaskRecord | None:
        """Return how an attempt ended if it need not be started: it has before, or it is a map that needs no process."""
        if (task.step, task.index) in self._existing:
            record = self._files.attempt(task.step, task.index, task.attempt)
            if record is not None:
                return record
        if isinstance(node, MapNode):
            return expand_cheaply(self.prepared.graph, node, task.index, self._files, self.prepared.store)
        return None

    def _start(self, task: Task, node: StepNode | MapNode, lease: Lease | None) -> None:
        confined = None
        env: dict[str, str] = {}
        if self.executor.isolates:
            resources = _NOTHING if isinstance(node, MapNode) else node.resources
            confined = confine(resources, lease, label=reasons.task_name(task.step, task.index))
            env = gpu_env(lease)
        self._numbers += 1
        running = Running(task, node, self._numbers, lease, confined)
        self.running[running.number] = running
        order = WorkOrder(
            store=self.prepared.store.url,
            flow=self.prepared.graph.name,
            run=self._run_id,
            step=task.step,
            index=task.index,
            attempt=task.attempt,
            backend=self.options.backend,
        )
        launch = (
            Launch(running.number, order, node, env=env) if confined is None else Launch(running.number, order, node, confined.child, env)
        )
        self.executor.start(launch)

    # --- ending --------------------------------------------------------------------------------------------------------------

    def _take(self, happening: Happening) -> None:
        running = self.running[happening.number]
        if isinstance(happening, Began):
            self._began(running, happening.pid)
        elif isinstance(happening, Told):
            self._told(running, happening.record or self._stored(running))
        else:
            self._ended(running, happening)

    def _began(self, running: Running, pid: int) -> None:
        task, now = running.task, time.time()
        running.pid, running.began = pid, now
        if running.confined is not None:
            running.confined.watch(pid)
        if self.executor.isolates and not isinstance(running.node, MapNode):
            self._logs.begin(running.number, task.step, task.index, task.attempt)
        limit = _timeout(running.node, self.prepared)
        if limit is not None and self.executor.isolates:
            heapq.heappush(self._deadlines, (time.monotonic() + limit, running.number))
        gpus = running.lease.gpus if running.lease is not None else ()
        self.prepared.listener(
            TaskStarted(step=task.step, index=task.index, attempt=task.attempt, started=now, host=self._host, pid=pid, gpus=gpus)
        )
        if running.ending is not None:
            self._kill(running, running.ending)

    def _told(self, running: Running, record: TaskRecord | None) -> None:
        if record is not None and running.record is None:
            running.record = record
            self._hear(record)

    def _hear(self, record: TaskRecord) -> None:
        """Take in how an attempt ended."""
        self.scheduler.on(record, time.monotonic())
        self.prepared.listener(record)
        self._write_verdicts()
        failed = record.state == "failed" and record.final and not record.allowed
        if failed and self.prepared.record.on_failure == "stop":
            self.scheduler.stop()

    def _ended(self, running: Running, ended: Ended) -> None:
        """A process is gone: give back what it held, and write its record if it could not."""
        verdict = running.confined.verdict() if running.confined is not None else None
        peak = running.confined.peak() if running.confined is not None else None
        self._let_go(running)
        self._logs.end(running.number)
        del self.running[running.number]
        if running.record is None:
            self._told(running, self._stored(running))
        if running.record is None:
            died = endings.over_limit(verdict, ended.exit_code) if verdict is not None else endings.died(ended.exit_code)
            reason = running.ending or died
            final = isinstance(running.node, MapNode) or running.task.attempt >= running.node.retry.retries
            record = endings.record_of(running.task, running.node, reason, began=running.began, peak=peak, final=final, host=self._host)
            self._told(running, self._files.end(record))

    def _stored(self, running: Running) -> TaskRecord | None:
        return self._files.attempt(running.task.step, running.task.index, running.task.attempt)

    def _let_go(self, running: Running) -> None:
        if running.confined is not None:
            running.confined.close()
        if running.lease is not None:
            running.lease.release()

    # --- killing -------------------------------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number = heapq.heappop(self._deadlines)
            running = self.running.get(number)
            limit = _timeout(running.node, self.prepared) if running is not None else None
            if running is not None and limit is not None and running.record is None:
                used = time.time() - running.began if running.began is not None else limit
                self._kill(running, endings.timed_out(limit, used))

    def _kill(self, running: Running, reason: Reason) -> None:
        running.ending = running.ending or reason
        if running.pid is not None and self.executor.isolates:
            if running.confined is not None:
                running.confined.kill()
            else:
                kill_tree(running.pid)

    def _cancel_all(self) -> None:
        """End everything that runs, and write that it was cancelled."""
        self.scheduler.stop()
        for running in list(self.running.values()):
            self._kill(running, reasons.cancelled())
        deadline = time.monotonic() + _IDLE
        while self.running and time.monotonic() < deadline:
            for happening in self.executor.poll(1.0):
                self._take(happening)


def _timeout(node: StepNode | MapNode, prepared: PreparedRun) -> float | None:
    """Return how long an attempt may take: of a batch, the time of one item for each."""
    if isinstance(node, MapNode) or node.timeout is None:
        return None
    batch = prepared.graph.maps_by_id[node.scope[-1]].batch if node.scope else None
    return node.timeout * (batch or 1)


def run_local(prepared: PreparedRun, executor: Executor, account: Admission | None, options: Options | None = None) -> RunState:
    """Run a prepared run on this machine and return how it ended."""
    return Loop(prepared, executor, account, options or Options()).run()
