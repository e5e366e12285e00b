"""Records that the driver writes for a task whose own process could not: it was killed, timed out, or died."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from flowbridge.ir.control import MapNode
from flowbridge.records.models import Reason, TaskRecord, Usage

if TYPE_CHECKING:
    from flowbridge.engine.limits import Verdict
    from flowbridge.engine.scheduler import Task
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import TaskState


def timed_out(limit: float) -> Reason:
    """A task was ended because it ran longer than it may."""
    message = f"it ran longer than its timeout of {seconds(limit)} and was ended with all it started"
    return Reason(kind="timeout", message=message, declared=limit)


def over_limit(verdict: Verdict, exit_code: int | None) -> Reason:
    """A task broke a limit."""
    return Reason(kind=verdict.kind, message=verdict.message, declared=verdict.declared, used=verdict.used, exit_code=exit_code)


def died(exit_code: int | None, rank: int | None = None) -> Reason:
    """A task's process ended without a word; of a gang, the one of that rank.

    A further member of a gang leaves no record: where it ended with a code of its own, its error is in the log.
    """
    if rank and exit_code is not None and exit_code > 0:
        message = f"member {rank} of the gang failed with exit code {exit_code}; its error is in the log"
        return Reason(kind="error", message=message, exit_code=exit_code)
    which = "its process" if rank is None else f"the process of member {rank} of the gang"
    return Reason(kind="lost_worker", message=f"{which} {_how(exit_code)} and left no result", exit_code=exit_code)


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "was lost"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    return f"was killed by {name}"


def seconds(value: float) -> str:
    """Return a length of time for people."""
    for unit, size in (("h", 3600), ("m", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:g}s"


def record_of(
    task: Task, node: StepNode | MapNode, reason: Reason, *, began: float | None, peak: int | None, final: bool, host: str
) -> TaskRecord:
    """Return the record of an attempt that left none itself, not yet written."""
    now = time.time()
    state: TaskState = "cancelled" if reason.kind == "cancelled" else "failed"
    return TaskRecord(
        step=task.step,
        index=task.index,
        attempt=task.attempt,
        state=state,
        final=final or state == "cancelled",
        allowed=state == "failed" and not isinstance(node, MapNode) and node.allow_failure,
        reason=reason,
        started=began,
        finished=now,
        usage=Usage(peak_memory=peak, wall_time=round(now - began, 3) if began is not None else None),
        host=host,
    )
