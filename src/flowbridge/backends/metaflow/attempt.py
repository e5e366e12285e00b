"""One attempt of one task, in processes of its own that are held to its limits, watched, and told apart when they die.

The process that calls `attempt` is the supervisor: Metaflow's own task process, or a child of the warm helper (`warm`).
"""

from __future__ import annotations

import itertools
import os
import select
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import flowbridge
from flowbridge.engine import endings
from flowbridge.engine.child import ChildOrder, be_forked, run_child
from flowbridge.engine.environments import interpreter_of
from flowbridge.engine.ledger import Account
from flowbridge.engine.process_tree import adopt_orphans, kill_descendants
from flowbridge.engine.running import GANG_PORT, Member, Running, nodes_of, place, rendezvous, resources_of
from flowbridge.engine.scheduler import Task
from flowbridge.environments import go_on_in
from flowbridge.ir.attempts import is_last
from flowbridge.ir.control import MapNode
from flowbridge.records.models import TaskRecord
from flowbridge.worker.logs import rescue
from flowbridge.worker.run import host

if TYPE_CHECKING:
    from flowbridge.engine.ledger import Lease
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Reason
    from flowbridge.settings import Profile
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session

_LOOK = 0.02
_WAIT = 0.5
_FAREWELL = 5.0
_OWN_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gang:
    """Where this process stands in a gang whose members are in containers of their own.

    Attributes:
        rank: Of this member.
        size: Number of members.
        address: Where the first one is reached.
    """

    rank: int
    size: int
    address: str


@dataclass(frozen=True)
class Surroundings:
    """What tasks of this process share.

    Attributes:
        session: Of the worker.
        profile: Settings.
        here: The task runs on this machine, not in a container of its own: the machine's account is asked first.
        folder: Where supervisors have a folder each, named for their process; None: the task's files are in one of its own.
        gang: Of a task whose nodes are containers of their own.
    """

    session: Session
    profile: Profile
    here: bool = True
    gang: Gang | None = None
    folder: Path | None = None


def attempt(order: WorkOrder, node: StepNode | MapNode, around: Surroundings) -> TaskRecord:
    """Run one attempt to its end and return its record, whatever becomes of the processes that run it."""
    lease = _lease(order, node, around) if around.here and not isinstance(node, MapNode) else None
    resources = resources_of(node, order.growths)
    running = Running(Task(order.step, order.index, order.attempt), node, lease, resources, order.growths)
    try:
        return _Attempt(order, running, around).run()
    finally:
        running.let_go()


def _lease(order: WorkOrder, node: StepNode, around: Surroundings) -> Lease:
    """Wait for the task's share of this machine."""
    account = Account.open(around.profile.machine)
    task = f"{order.step}/{'.'.join(map(str, order.index))}"
    while True:
        lease = account.request(order.run, task, resources_of(node, order.growths), nodes_of(node))
        if lease is not None:
            return lease
        account.wait_hint(_WAIT)


class _Attempt:
    """The processes of one attempt, from outside."""

    def __init__(self, order: WorkOrder, running: Running, around: Surroundings) -> None:
        self.order = order
        self.running = running
        self.node = running.node
        self.around = around
        run = around.session.run(order)
        self.python = interpreter_of(running.node, run.record, run.store)

    def run(self) -> TaskRecord:
        """Start all members, and wait for them."""
        run = self.around.session.run(self.order)
        count = nodes_of(self.node) if self.around.here else 1
        folder = self.around.folder
        self.running.confine(list(range(count)), folder / str(os.getpid()) if folder is not None else None)
        self.running.began = time.time()
        for member in self.running.members:
            member.pid = self.fork(member)
            if member.confined is not None:
                member.confined.watch(member.pid)
        self.wait(run.graph.time_limit(self.node))
        kill_descendants()
        if self.around.gang is not None and self.around.gang.rank:
            return _of_follower(self.order, self.running.exit_code)
        told = run.files.attempt(self.order.step, self.order.index, self.order.attempt)
        return told if told is not None else self.write_end(run.files)

    def fork(self, member: Member) -> int:
        """Start the process of a member."""
        adopt_orphans()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            be_forked(lambda: self.be_member(member))
        return pid

    def be_member(self, member: Member) -> int:
        """Run the task, and return the code to exit with."""
        setup = member.confined.child if member.confined is not None else None
        given = ChildOrder(member.number, self.order.model_dump_json().encode(), env=self.variables(member), rank=self.rank(member))
        if setup is not None:
            setup.apply(parent_death=self.python is None)
        given.enter(entered=True)
        if self.python is not None:
            _go_on_in(self.python, self.order)
        return run_child(given, self.around.session)

    def rank(self, member: Member) -> int:
        """Return which member of the gang a process is."""
        return self.around.gang.rank if self.around.gang is not None else member.rank

    def variables(self, member: Member) -> tuple[tuple[str, str], ...]:
        """Return what a member is started with."""
        found = dict(member.env)
        if not self.around.here:
            found.pop(_OWN_GPUS, None)  # the container shows it the GPUs it has
            found.update(secrets_by_key(self.node))
        if self.around.gang is not None:
            found.update(variables_of(self.around.gang))
        return tuple(found.items())

    # --- waiting -----------------------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> None:
        """Wait for all members; end them at the timeout, when one has failed, or a while after the first has ended."""
        deadline = time.monotonic() + timeout if timeout is not None else None
        late = endings.timed_out(timeout) if timeout is not None else None
        while not self.running.gone:
            if deadline is not None and time.monotonic() >= deadline:
                self.kill(late)
                deadline = None
            gone = self.take_ended()
            if any(m.exit_code for m in gone):
                self.kill(None)
            elif any(m.rank == 0 for m in gone):
                deadline, late = time.monotonic() + _FAREWELL, None
            elif not gone:
                left = deadline - time.monotonic() if deadline is not None else None
                _wait_for([m.pid for m in self.running.members if not m.gone and m.pid is not None], left)

    def kill(self, reason: Reason | None) -> None:
        """Kill all members that are left; the first reason stands."""
        self.running.ending = self.running.ending or reason
        for member in self.running.members:
            member.kill()

    def take_ended(self) -> list[Member]:
        """Note the members that have ended since the last look."""
        found = []
        for member in self.running.members:
            if member.gone or member.pid is None:
                continue
            pid, status = os.waitpid(member.pid, os.WNOHANG)
            if pid:
                member.gone, member.exit_code = True, os.waitstatus_to_exitcode(status)
                self.running.note_limits(member)
                found.append(member)
        return found

    # --- the record --------------------------------------------------------------------------------------------------------------

    def write_end(self, files: RunFiles) -> TaskRecord:
        """Write the record that the task's own process did not write, and save what it said last."""
        rescue(files, self.order.step, self.order.index, self.order.attempt)
        reason = self.why()
        sys.stderr.write(f"flowbridge: {self.running.name}: {reason.message}\n")
        growths, number = self.order.growths, self.order.attempt
        final = isinstance(self.node, MapNode) or is_last(self.node, number, growths, reason.kind)
        record = endings.record_of(
            self.running.task, self.node, reason, began=self.running.began, peak=self.running.peak, final=final, host=host()
        )
        return files.end(record.model_copy(update={"native": self.order.native}))

    def why(self) -> Reason:
        """Return why there is no record."""
        ending, verdict, began = self.running.ending, self.running.verdict, self.running.began
        if ending is not None and ending.kind == "timeout" and began is not None:
            return ending.model_copy(update={"used": round(time.time() - began, 3)})
        code = self.running.exit_code
        if verdict is not None:
            return endings.over_limit(verdict, code)
        rank = next((m.rank for m in self.running.members if m.exit_code), 0)
        return endings.died(code, rank if len(self.running.members) > 1 else None)


def _of_follower(order: WorkOrder, code: int | None) -> TaskRecord:
    """Return what became of a member that writes no record: not written, for the supervisor alone."""
    if not code:
        return TaskRecord(step=order.step, index=order.index, attempt=order.attempt, state="done", finished=time.time())
    reason = endings.died(code, 1)
    return TaskRecord(
        step=order.step, index=order.index, attempt=order.attempt, state="failed", final=False, reason=reason, finished=time.time()
    )


def variables_of(gang: Gang) -> dict[str, str]:
    """Return what tells a member of a gang in containers its place, and the others'."""
    return {**rendezvous(gang.address, GANG_PORT, gang.size), **place(gang.rank, gang.size)}


def secrets_by_key(node: StepNode | MapNode) -> dict[str, str]:
    """Return a step's secrets by the variables it wants: a container has those of a secret by the keys in it."""
    if isinstance(node, MapNode):
        return {}
    keyed = {s.env: os.environ.get(s.key) for s in node.environment.secrets if s.key is not None and s.env not in os.environ}
    return {name: value for name, value in keyed.items() if value is not None}


def _go_on_in(python: Path, order: WorkOrder) -> None:
    """Become the worker in another environment, with this very flowbridge; never returns."""
    own = str(Path(flowbridge.__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(itertools.chain([own], filter(None, [os.environ.get("PYTHONPATH")])))
    go_on_in(python, ["-m", "flowbridge.worker", order.model_dump_json()])


def _wait_for(pids: list[int], most: float | None) -> None:
    """Wait until one of some processes ends, `most` seconds at most."""
    if not hasattr(os, "pidfd_open"):
        time.sleep(_LOOK if most is None else min(_LOOK, max(most, 0)))
        return
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        select.select(descriptors, [], [], None if most is None else max(most, 0))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def delay_left(node: StepNode, number: int, ended: float | None) -> float:
    """Return the seconds still to wait before an attempt: what the scheduler has waited since the last one ended already counts."""
    passed = time.time() - ended if ended is not None else 0.0
    return max(0.0, node.retry.delay_before(number) - passed) if number else 0.0
