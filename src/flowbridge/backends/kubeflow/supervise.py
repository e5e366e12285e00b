"""Runs the worker in a pod: in this process where nothing has to be watched, else in a child whose end is told apart."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowbridge.artifacts.folders import VARIABLE as TASK_FOLDER
from flowbridge.artifacts.folders import folder_within, task_folder
from flowbridge.engine.endings import died, over_limit, timed_out
from flowbridge.engine.limits import confine, kill_tree
from flowbridge.ir.attempts import OUT_OF_MEMORY, growths_of, is_last, with_memory
from flowbridge.ir.control import MapNode
from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord
from flowbridge.worker.logs import rescue
from flowbridge.worker.run import run_task

if TYPE_CHECKING:
    from flowbridge.engine.limits import Confined
    from flowbridge.ir.flow import StepNode
    from flowbridge.ir.resources import Resources
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession, Session

SCRATCH = Path("/flowbridge/scratch")
LOOK = 5.0
"""Seconds between two looks at whether a gang still has something to do."""
_MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def stopped(run: RunSession, order: WorkOrder) -> TaskRecord | None:
    """Return the record of a task that is not to run any more: the run has ended, or it stops at its first failure and one has happened."""
    if run.files.ended() is not None:  # cancelled, or given up by whoever submitted it, and the server does not know
        over = reasons.cancelled("not run, because the run has ended")
        return reasons.never_ran(run.graph.node(order.step), order.index, over, order.attempt)
    if run.record.on_failure != "stop":
        return None
    for record in run.files.tasks():
        if isinstance(record, TaskRecord) and record.state == "failed" and record.final and not record.allowed:
            why = f"not run, because {reasons.task_name(record.step, record.index)} failed and the run stops at its first failure"
            return run.files.end(reasons.never_ran(run.graph.node(order.step), order.index, reasons.cancelled(why), order.attempt))
    return None


def execute(order: WorkOrder, session: Session, run: RunSession) -> TaskRecord:
    """Run a task and return its record, whatever becomes of the process it runs in.

    A step with `memory_max` that ran out of memory is tried again at once with more, in this pod, whose limit is the most it may get.

    Args:
        order: Which task.
        session: What this process keeps between tasks.
        run: The run.
    """
    node = run.graph.node(order.step)
    if isinstance(node, MapNode) or _simple(node):
        return run_task(order, session=session)
    python = interpreter_of(node, run)
    return grown(order, run, node, lambda order: in_child(order, run, node, python))


def interpreter_of(node: StepNode, run: RunSession) -> str:
    """Return the interpreter that a step runs with in this pod."""
    from flowbridge.backends.kubeflow.locks import interpreter_for  # noqa: PLC0415  (only steps that need a process beside)

    return str(interpreter_for(node, run.record, run.store))


def grown(order: WorkOrder, run: RunSession, node: StepNode, attempt: Callable[[WorkOrder], TaskRecord]) -> TaskRecord:
    """Make an attempt, and further ones with more memory while it runs out of it and may have more.

    Args:
        order: The first attempt.
        run: The run.
        node: The step.
        attempt: Makes one attempt and returns its record.
    """
    order = order.model_copy(update={"growths": _growths_before(run, node, order)})
    while True:
        record = attempt(order)
        if record.final or record.reason is None or record.reason.kind != OUT_OF_MEMORY or order.growths >= growths_of(node.resources):
            return record
        order = order.model_copy(update={"attempt": order.attempt + 1, "growths": order.growths + 1})


def _growths_before(run: RunSession, node: StepNode, order: WorkOrder) -> int:
    """Return how many attempts before this one ran out of memory and were given more."""
    most = growths_of(node.resources)
    before = [run.files.attempt(order.step, order.index, n) for n in range(order.attempt)] if most else []
    return min(most, sum(1 for r in before if r is not None and r.reason is not None and r.reason.kind == OUT_OF_MEMORY))


def _simple(node: StepNode) -> bool:
    """Say whether nothing about the step needs a process beside it."""
    resources, wish = node.resources, node.environment
    limited = node.timeout or node.allow_failure or resources.memory or resources.disk
    return not (limited or wish.packages or wish.requirements or wish.python)


def in_child(order: WorkOrder, run: RunSession, node: StepNode, python: str, member: Member | None = None) -> TaskRecord:
    """Run the worker in a process beside this one, within the step's limits, and return the record of its end.

    Args:
        order: Which task.
        run: The run.
        node: The step.
        python: The interpreter.
        member: Of a gang: which member this is; a further one leaves no record unless it fails.
    """
    member = member or Member()
    scratch = SCRATCH if node.resources.disk and SCRATCH.is_dir() else None
    resources = with_memory(node.resources, order.growths)
    if scratch is None:
        resources = resources.model_copy(update={"disk": None})
    confined = confine(resources, None, label=reasons.task_name(order.step, order.index), scratch=scratch)
    killed, began = _oom_kills(), time.time()
    folder = folder_within(task_folder() or Path(tempfile.gettempdir()), "flowbridge-task-")
    limit = run.graph.time_limit(node)
    try:
        command = [python, "-m", "flowbridge.worker", order.model_dump_json(), *(["--rank", str(member.rank)] if member.rank else [])]
        code, late = _wait(command, limit, confined, scratch or folder, member.stop, temporary=scratch is not None)
        standing = run.files.attempt(order.step, order.index, order.attempt)
        if standing is not None:
            return standing
        if member.rank and code == 0:
            return TaskRecord(step=order.step, index=order.index, attempt=order.attempt, state="done", finished=time.time())
        if not member.rank:
            rescue(run.files, order.step, order.index, order.attempt)
        reason = _reason(limit if late else None, resources, confined, code=code, kernel=_oom_kills() > killed, member=member)
    finally:
        confined.close()
        shutil.rmtree(folder, ignore_errors=True)
    return run.files.end(died_record(order, node, reason, began))


@dataclass(frozen=True)
class Member:
    """A process as a member of a gang.

    Attributes:
        rank: Its place; None: the task is no gang.
        stop: Says whether there is nothing to do any more, because the run or the gang has ended.
    """

    rank: int | None = None
    stop: Callable[[], bool] | None = None


def _wait(
    command: list[str], limit: float | None, confined: Confined, folder: Path, stop: Callable[[], bool] | None, *, temporary: bool
) -> tuple[int, bool]:
    """Start the worker and wait for its end; past the step's time, or where all is over, its whole tree is killed."""
    env = {**os.environ, TASK_FOLDER: str(folder), **({"TMPDIR": str(folder)} if temporary else {})}
    prepare: Callable[[], None] = confined.prepare_child
    until = None if limit is None else time.monotonic() + limit
    with subprocess.Popen(command, env=env, preexec_fn=prepare) as process:  # noqa: PLW1509  (one thread here)
        try:
            confined.watch(process.pid)
            while True:
                left = None if until is None else max(0.0, until - time.monotonic())
                pause = left if stop is None else min(LOOK, LOOK if left is None else left)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(pause), False
                late = until is not None and time.monotonic() >= until
                if late or (stop is not None and stop()):
                    kill_tree(process.pid)
                    return process.wait(), late
        except BaseException:  # this process is told to end: the one beside it does too
            kill_tree(process.pid)
            raise


def _reason(limit: float | None, resources: Resources, confined: Confined, *, code: int, kernel: bool, member: Member) -> Reason:
    if limit is not None:
        return timed_out(limit)
    verdict = confined.verdict()
    if verdict is not None:
        return over_limit(verdict, code)
    if kernel:
        message = "out of memory: the kernel ended it at the limit of its pod"
        return Reason(kind="out_of_memory", message=message, declared=resources.memory, exit_code=code)
    return died(code, member.rank)


def died_record(order: WorkOrder, node: StepNode, reason: Reason, began: float) -> TaskRecord:
    """Return the record of an attempt that left none itself, not yet written."""
    return TaskRecord(
        step=order.step,
        index=order.index,
        attempt=order.attempt,
        state="failed",
        final=is_last(node, order.attempt, order.growths, reason.kind),
        allowed=node.allow_failure,
        reason=reason,
        started=began,
        finished=time.time(),
        native=order.native,
    )


def _oom_kills() -> int:
    """Return how often the kernel has killed in this pod for want of memory, where it tells."""
    for path in _MEMORY_EVENTS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
