"""Runs the worker in a pod: in this process where nothing has to be watched, else in a child whose end is told apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
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
    from collections.abc import Callable

    from flowbridge.engine.limits import Confined
    from flowbridge.ir.flow import StepNode
    from flowbridge.ir.resources import Resources
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession, Session

SCRATCH = Path("/flowbridge/scratch")
_MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def stopped(run: RunSession, order: WorkOrder) -> TaskRecord | None:
    """Return the record of a task that is not to run any more, because the run stops at its first failure and one has happened."""
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
    from flowbridge.backends.kubeflow.locks import interpreter_for  # noqa: PLC0415  (only steps that need a process beside)

    python = str(interpreter_for(node, run.record, run.store))
    order = order.model_copy(update={"growths": _growths_before(run, node, order)})
    while True:
        record = _in_child(order, run, node, python)
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


def _in_child(order: WorkOrder, run: RunSession, node: StepNode, python: str) -> TaskRecord:
    scratch = SCRATCH if node.resources.disk and SCRATCH.is_dir() else None
    resources = with_memory(node.resources, order.growths)
    if scratch is None:
        resources = resources.model_copy(update={"disk": None})
    confined = confine(resources, None, label=reasons.task_name(order.step, order.index), scratch=scratch)
    killed, began = _oom_kills(), time.time()
    folder = folder_within(task_folder() or Path(tempfile.gettempdir()), "flowbridge-task-")
    try:
        code, late = _wait([python, "-m", "flowbridge.worker", order.model_dump_json()], node, confined, scratch, folder)
        standing = run.files.attempt(order.step, order.index, order.attempt)
        if standing is not None:
            return standing
        rescue(run.files, order.step, order.index, order.attempt)
        reason = _reason(node, resources, confined, code=code, late=late, kernel=_oom_kills() > killed)
    finally:
        confined.close()
        shutil.rmtree(folder, ignore_errors=True)
    return run.files.end(_died(order, node, reason, began))


def _wait(command: list[str], node: StepNode, confined: Confined, scratch: Path | None, folder: Path) -> tuple[int, bool]:
    """Start the worker and wait for its end; past the step's time its whole tree is killed."""
    env = {**os.environ, TASK_FOLDER: str(scratch or folder), **({"TMPDIR": str(scratch)} if scratch is not None else {})}
    prepare: Callable[[], None] = confined.prepare_child
    with subprocess.Popen(command, env=env, preexec_fn=prepare) as process:  # noqa: PLW1509  (one thread here)
        confined.watch(process.pid)
        try:
            return process.wait(node.timeout), False
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            return process.wait(), True


def _reason(node: StepNode, resources: Resources, confined: Confined, *, code: int, late: bool, kernel: bool) -> Reason:
    if late and node.timeout is not None:
        return timed_out(node.timeout)
    verdict = confined.verdict()
    if verdict is not None:
        return over_limit(verdict, code)
    if kernel:
        message = "out of memory: the kernel ended it at the limit of its pod"
        return Reason(kind="out_of_memory", message=message, declared=resources.memory, exit_code=code)
    return died(code)


def _died(order: WorkOrder, node: StepNode, reason: Reason, began: float) -> TaskRecord:
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
