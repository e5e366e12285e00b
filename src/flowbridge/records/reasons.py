"""The sentences of reasons that several rooms write: engine, worker and whoever closes a run word them alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowbridge.records.models import Reason, TaskRecord, TaskState

if TYPE_CHECKING:
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index, TaskStarted


def task_name(step: str, index: Index = ()) -> str:
    """Return a task's name as people type it: ``train``, ``train/3``, ``train/3.1``."""
    return f"{step}/{'.'.join(map(str, index))}" if index else step


def upstream(step: str, state: str = "failed") -> Reason:
    """Something that the task needs failed, was cancelled, or was lost."""
    words = {"failed": "failed", "cancelled": "was cancelled", "missing": "left no record"}
    return Reason(kind="upstream", message=f"not run, because {step} {words.get(state, state)}")


def condition_false(what: str) -> Reason:
    """A condition around the task does not hold."""
    return Reason(kind="condition", message=f"skipped, because the condition does not hold: {what}")


def skipped_input(step: str) -> Reason:
    """The task needs a value of a step that was skipped."""
    return Reason(kind="condition", message=f"skipped, because it needs a value of {step}, which was skipped")


def cancelled(what: str = "the run was cancelled") -> Reason:
    """Somebody or something ended the run before the task did."""
    return Reason(kind="cancelled", message=what)


def abandoned() -> Reason:
    """The process that would have started the task died."""
    return Reason(kind="cancelled", message="not run, because the run's driver died before this task was started")


def lost(started: TaskStarted) -> Reason:
    """A process began the task and left no result."""
    where = f" on {started.host}" if started.host else ""
    process = f" (process {started.pid})" if started.pid else ""
    return Reason(
        kind="lost_worker", message=f"the worker{process}{where} began this task and left no result: it was killed, or its machine was lost"
    )


def never_ran(node: StepNode | MapNode, index: Index, reason: Reason, attempt: int = 0) -> TaskRecord:
    """Return the record of a task that will not run; one whose process was lost before it began has failed."""
    states: dict[str, TaskState] = {"condition": "skipped", "lost_worker": "failed"}
    state = states.get(reason.kind, "cancelled")
    allowed = state == "failed" and bool(getattr(node, "allow_failure", False))
    return TaskRecord(step=node.id, index=index, attempt=attempt, state=state, allowed=allowed, reason=reason, finished=time.time())
