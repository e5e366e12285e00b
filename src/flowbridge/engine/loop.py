"""The loop of a local run: it starts what the scheduler says may start and the account admits, and tells it how that ended."""

from __future__ import annotations

import heapq
import itertools
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from flowbridge.engine import endings
from flowbridge.engine.admission import Admission
from flowbridge.engine.executors.base import Began, Executor, Happening, Launch, Told
from flowbridge.engine.interrupts import Interrupts
from flowbridge.engine.limits import ChildSetup
from flowbridge.engine.log_follower import LogFollower
from flowbridge.engine.recent import Recent
from flowbridge.engine.running import Member, Running, nodes_of, resources_of
from flowbridge.engine.scheduler import Scheduler, Task
from flowbridge.errors import FlowbridgeError
from flowbridge.ir.attempts import OUT_OF_MEMORY, growths_of, is_last
from flowbridge.ir.control import MapNode
from flowbridge.records import reasons
from flowbridge.records.finish import finalise
from flowbridge.records.models import Index, Reason, TaskRecord, TaskStarted
from flowbridge.worker.expand import expand_cheaply
from flowbridge.worker.order import WorkOrder

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flowbridge.backends.base import PreparedRun
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import RunState

_ASK_AGAIN = 0.5
_IDLE = 60.0
_FAREWELL = 30.0
"""Seconds that the members of a gang have to end by themselves once the first one has."""
_MANY = 1000


@dataclass(frozen=True)
class Options:
    """How a local run goes about it.

    Attributes:
        backend: Name of the backend, as orders and records carry it.
        max_parallel: At most so many tasks at once.
        memory: Bytes that the machine has.
    """

    backend: str = "local"
    max_parallel: int | None = None
    memory: int | None = None


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
        self.running: dict[Task, Running] = {}
        self.waiting: dict[Hashable, Task] = {}
        self._files = self.prepared.files
        self._logs = LogFollower(self._files)
        self._recent = Recent(self.prepared.graph)
        self._members: dict[int, tuple[Running, Member]] = {}
        self._numbers = itertools.count(1)
        self._deadlines: list[tuple[float, Task]] = []
        self._growths: Counter[tuple[str, Index]] = Counter()
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
            running.let_go()
        if self.account is not None:
            self.account.leave(self._run_id)
        self.interrupts.close()

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
            why = reasons.skipped_input(verdict.cause) if verdict.state == "skipped" else reasons.upstream(verdict.cause, verdict.how)
            for index in verdict.indices():
                record = reasons.never_ran(node, index, why)
                if verdict.state == "skipped":
                    record = self._files.end(record)
                self.prepared.listener(record)

    # --- starting ------------------------------------------------------------------------------------------------------------

    def _launch_ready(self) -> None:
        before, self.waiting = self.waiting, {}
        while not self._is_full() and any(key not in self.waiting and self._start_one(key) for key in self.scheduler.classes()):
            continue
        for key in before.keys() - self.waiting.keys():  # started, or held back by `parallel`: others must not wait with it
            if self.account is not None:
                self.account.withdraw(self._run_id, reasons.task_name(before[key].step, before[key].index))

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
        growths = self._growths[task.key] if task.attempt else 0
        resources = resources_of(node, growths, self.options.memory)
        lease = None
        if self.account is not None:
            lease = self.account.request(self._run_id, reasons.task_name(task.step, task.index), resources, nodes_of(node))
            if lease is None:
                self.waiting[key] = task
                return False
        self.scheduler.take(key)
        self._start(Running(task, node, lease, resources, growths))
        return True

    def _known(self, task: Task, node: StepNode | MapNode) -> TaskRecord | None:
        """Return how an attempt ended if it need not be started: it has before, or it is a map that needs no process."""
        if (task.step, task.index) in self._existing:
            record = self._files.attempt(task.step, task.index, task.attempt)
            if record is not None:
                return record
        if isinstance(node, MapNode):
            record = expand_cheaply(self.prepared.graph, node, task.index, self._files, self.prepared.store)
            if record is not None and self.executor.isolates:
                self._recent.keep(record, record.model_dump_json().encode())
            return record
        return None

    def _start(self, running: Running) -> None:
        task = running.task
        self.running[task] = running
        numbers = [next(self._numbers) for _ in range(nodes_of(running.node))]
        if self.executor.isolates:
            folder = self.executor.folder
            running.confine(numbers, folder / str(numbers[0]) if folder is not None else None)
        else:
            running.members = [Member(number, 0, None, {}) for number in numbers]
        order = WorkOrder(
            store=self.prepared.store.url,
            flow=self.prepared.graph.name,
            run=self._run_id,
            step=task.step,
            index=task.index,
            attempt=task.attempt,
            backend=self.options.backend,
            growths=running.growths,
        )
        known = self._recent.known_to(task) if self.executor.isolates else ()
        self._members.update({member.number: (running, member) for member in running.members})
        for member in running.members:
            setup = member.confined.child if member.confined is not None else ChildSetup()
            self.executor.start(Launch(member.number, order, running.node, setup, member.env, member.rank, known))

    # --- ending --------------------------------------------------------------------------------------------------------------

    def _take(self, happening: Happening) -> None:
        running, member = self._members[happening.number]
        if isinstance(happening, Began):
            self._began(running, member, happening.pid)
        elif isinstance(happening, Told):
            if happening.record is not None and happening.text:
                self._recent.keep(happening.record, happening.text)
            self._told(running, happening.record or self._stored(running))
        else:
            self._ended(running, member, happening.exit_code)

    def _began(self, running: Running, member: Member, pid: int) -> None:
        member.pid = pid
        if member.confined is not None:
            member.confined.watch(pid)
        if self.executor.isolates and not isinstance(running.node, MapNode):
            self._logs.begin(member.number, running.task, member.rank)
        if running.ending is not None:
            member.kill()
        if member.rank:
            return
        task, running.began = running.task, time.time()
        limit = self.prepared.graph.time_limit(running.node)
        if limit is not None and self.executor.isolates:
            self._end_later(running, limit)
        gpus = running.lease.gpus if running.lease is not None else ()
        self.prepared.listener(
            TaskStarted(step=task.step, index=task.index, attempt=task.attempt, started=running.began, host=self._host, pid=pid, gpus=gpus)
        )

    def _told(self, running: Running, record: TaskRecord | None) -> None:
        """A task has ended. Its process goes by itself; further members of a gang are given a while to."""
        if record is None or running.record is not None:
            return
        running.record = record
        self._hear(record)
        if len(running.members) > 1:
            self._end_later(running, 0 if record.state == "failed" else _FAREWELL)

    def _hear(self, record: TaskRecord) -> None:
        """Take in how an attempt ended."""
        self._count_growth(record)
        self.scheduler.on(record, time.monotonic())
        self.prepared.listener(record)
        self._write_verdicts()
        failed = record.state == "failed" and record.final and not record.allowed
        if failed and self.prepared.record.on_failure == "stop":
            self.scheduler.stop()

    def _count_growth(self, record: TaskRecord) -> None:
        key, step = (record.step, record.index), self.prepared.graph.steps_by_id.get(record.step)
        if record.final:
            self._growths.pop(key, None)
        elif record.reason is not None and record.reason.kind == OUT_OF_MEMORY and step is not None:
            self._growths[key] = min(self._growths[key] + 1, growths_of(step.resources))

    def _ended(self, running: Running, member: Member, exit_code: int | None) -> None:
        """A process is gone. The last one gives back what the task held; without a record, its end is written here."""
        member.gone, member.exit_code = True, exit_code
        running.note_limits(member)
        self._logs.end(member.number)
        del self._members[member.number]
        if not running.gone:
            if running.record is None and (exit_code != 0 or member.rank == 0):
                running.kill(self._why(running, member))
            return
        running.let_go()
        del self.running[running.task]
        if running.record is None:
            self._told(running, self._stored(running))
        if running.record is None:
            self._told(running, self._files.end(self._record_of(running, member)))

    def _why(self, running: Running, member: Member) -> Reason:
        if running.verdict is not None:
            return endings.over_limit(running.verdict, member.exit_code)
        return endings.died(member.exit_code, member.rank if len(running.members) > 1 else None)

    def _record_of(self, running: Running, member: Member) -> TaskRecord:
        """Return the record of an attempt that left none."""
        reason = running.ending or self._why(running, member)
        if reason.kind == "timeout" and running.began is not None:
            reason = reason.model_copy(update={"used": round(time.time() - running.began, 3)})
        node, attempt = running.node, running.task.attempt
        grown = running.resources.memory is not None and running.resources.memory * nodes_of(node) >= (self.options.memory or inf)
        kind = "error" if grown else reason.kind  # there is no more memory to retry with
        final = isinstance(node, MapNode) or is_last(node, attempt, running.growths, kind)
        return endings.record_of(running.task, node, reason, began=running.began, peak=running.peak, final=final, host=self._host)

    def _stored(self, running: Running) -> TaskRecord | None:
        return self._files.attempt(running.task.step, running.task.index, running.task.attempt)

    # --- killing -------------------------------------------------------------------------------------------------------------

    def _end_later(self, running: Running, seconds: float) -> None:
        """Kill a task after some seconds, if it still runs then: it has a timeout, or it is a gang whose first member has ended."""
        if len(self._deadlines) > _MANY and len(self._deadlines) > 2 * len(self.running):
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self.running]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (time.monotonic() + seconds, running.task))

    def _end_overdue(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            running = self.running.get(heapq.heappop(self._deadlines)[1])
            limit = self.prepared.graph.time_limit(running.node) if running is not None else None
            if running is not None and running.record is not None:
                running.kill(reasons.cancelled("the gang's first member has ended"))
            elif running is not None and limit is not None:
                running.kill(endings.timed_out(limit))

    def _cancel_all(self) -> None:
        """End everything that runs, and write that it was cancelled."""
        self.scheduler.stop()
        for running in list(self.running.values()):
            if self.executor.isolates:
                running.kill(reasons.cancelled())
        deadline = time.monotonic() + _IDLE
        while self.running and time.monotonic() < deadline:
            for happening in self.executor.poll(1.0):
                self._take(happening)


def run_local(prepared: PreparedRun, executor: Executor, account: Admission | None, options: Options | None = None) -> RunState:
    """Run a prepared run on this machine and return how it ended."""
    return Loop(prepared, executor, account, options or Options()).run()
