"""Run one task: the one way a step is executed, whichever scheduler gave the order."""

from __future__ import annotations

import os
import platform
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from flowbridge.artifacts.folders import task_folder
from flowbridge.errors import FlowbridgeError, StoreError
from flowbridge.ir.attempts import is_last, memory_at
from flowbridge.ir.control import MapNode
from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord, TaskStarted
from flowbridge.worker import logs
from flowbridge.worker.execute import execute
from flowbridge.worker.failure import reason_of
from flowbridge.worker.session import RunSession, Session
from flowbridge.worker.usage import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.ir.flow import StepNode
    from flowbridge.worker.order import WorkOrder


def run_task(order: WorkOrder, *, session: Session | None = None) -> TaskRecord:
    """Run one task and return its record, which is then written. An error of the user's code is told in the record, not raised.

    Args:
        order: Which task.
        session: What this process keeps between tasks; None: everything is opened anew.

    Raises:
        RunNotFoundError: There is no such run, so there is nowhere to write a record.
        KeyboardInterrupt: The user stopped the process; the record says cancelled.
    """
    session = session or Session()
    run = session.run(order)
    node = _node(run, order)
    began = time.time()
    run.files.start(_started(order, node, began))
    meter = Meter()
    interrupted = False
    told: dict[str, Any] = {}
    capture = _capture(session, run, order, node)
    record = _cancelled(order)
    run.store.work = task_folder()
    try:
        with capture:
            try:
                record = execute(run, node, order, told)
            except KeyboardInterrupt:
                interrupted = True
            except BaseException as error:  # noqa: BLE001  (whatever a step raises, SystemExit included, ends the task and is told)
                record = _failed(order, node, told_of(error, run, node, order))
            record = record.model_copy(
                update={**told, "started": began, "finished": time.time(), "usage": meter.read(), "host": host(), "native": order.native}
            )
    except StoreError as error:  # the last of the log could not be written; the outputs are safe, and the record may still be
        sys.stderr.write(f"flowbridge: the log of {reasons.task_name(order.step, order.index)} is not complete: {error}\n")
    finally:
        run.store.drop_files()
    standing = run.files.end(record)
    if interrupted:
        raise KeyboardInterrupt
    return standing


def _node(run: RunSession, order: WorkOrder) -> StepNode | MapNode:
    try:
        node = run.graph.node(order.step)
    except KeyError:
        known = ", ".join([*run.graph.steps_by_id, *run.graph.maps_by_id])
        raise FlowbridgeError(f"Flow {order.flow!r} has no step or map {order.step!r}; it has {known}") from None
    if len(order.index) != len(node.scope):
        raise FlowbridgeError(f"{order.step} is inside {len(node.scope)} maps, so its index has as many numbers, not {order.index!r}")
    return node


def _started(order: WorkOrder, node: StepNode | MapNode, began: float) -> TaskStarted:
    wants_gpu = not isinstance(node, MapNode) and node.resources.gpu
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if wants_gpu else ""
    return TaskStarted(
        step=order.step,
        index=order.index,
        attempt=order.attempt,
        started=began,
        host=host(),
        pid=os.getpid(),
        native=order.native,
        gpus=tuple(filter(None, visible.split(","))),
    )


@cache
def host() -> str:
    """Return the name of this machine."""
    return platform.node()


def _capture(session: Session, run: RunSession, order: WorkOrder, node: StepNode | MapNode) -> AbstractContextManager[object]:
    def write(part: int, data: bytes) -> None:
        run.files.write_log(order.step, order.index, order.attempt, part, data)

    mode = session.capture_for(order)
    if isinstance(node, MapNode) or mode == "none":
        return nullcontext()
    if mode == "python":
        return logs.StreamCapture(write)
    spool = logs.spool_path(order.flow, order.run, order.step, order.index, order.attempt)
    return logs.FdCapture(write, spool, echo=session.echo and mode == "fd", follow=mode == "fd")


def told_of(error: BaseException, run: RunSession, node: StepNode | MapNode, order: WorkOrder) -> Reason:
    """Return the reason of a task that raised, and print the traceback so that the log has it too."""
    memory = None if isinstance(node, MapNode) else memory_at(node.resources, order.growths)
    reason = reason_of(error, code_folder=_code_folder(run), declared=memory)
    sys.stderr.write(reason.traceback or f"{reason.message}\n")
    return reason


def _code_folder(run: RunSession) -> Path | None:
    loader = run.__dict__.get("loader")  # only if it was needed
    return loader.folder if loader is not None else None


def _failed(order: WorkOrder, node: StepNode | MapNode, reason: Reason) -> TaskRecord:
    step = None if isinstance(node, MapNode) else node
    return TaskRecord(
        step=order.step,
        index=order.index,
        attempt=order.attempt,
        state="failed",
        final=step is None or is_last(step, order.attempt, order.growths, reason.kind),
        allowed=step is not None and step.allow_failure,
        reason=reason,
        finished=0,
    )


def _cancelled(order: WorkOrder) -> TaskRecord:
    reason = reasons.cancelled("the task was interrupted")
    return TaskRecord(step=order.step, index=order.index, attempt=order.attempt, state="cancelled", reason=reason, finished=0)
