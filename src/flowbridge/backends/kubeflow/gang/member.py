"""What runs in each node of a gang: find one's place, run the step within its limits, and tell of failures by the task's record."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from flowbridge.backends.kubeflow.gang import TERMINATED
from flowbridge.backends.kubeflow.supervise import Member, died_record, in_child, interpreter_of
from flowbridge.engine.running import GANG_PORT, place, rendezvous
from flowbridge.errors import BackendError
from flowbridge.records.models import Reason, TaskStarted
from flowbridge.worker.__main__ import is_well

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession

RANKS = ("PET_NODE_RANK", "JOB_COMPLETION_INDEX", "JAX_PROCESS_ID")
"""Who tells a pod its place: Trainer's torch runtimes, any indexed job of Kubernetes, Trainer's jax runtimes."""
_ADDRESS, _PORT = "PET_MASTER_ADDR", "PET_MASTER_PORT"


def run_member(order: WorkOrder, run: RunSession, size: int, first: str) -> int:
    """Run a step as one member of its gang and return the code to exit with: 0 where it went well.

    Args:
        order: Which task.
        run: The run.
        size: Number of members.
        first: Where the first member is found, if the runtime does not say.
    """
    signal.signal(signal.SIGTERM, _leave)  # the first process of a container ignores it otherwise
    rank = rank_of(os.environ)
    node = run.graph.steps_by_id[order.step]
    standing = run.files.attempt(order.step, order.index, order.attempt)
    if standing is not None:  # started anew after the gang had ended
        return _code(standing)
    if not run.files.claim_member(_started(order), rank):
        message = f"member {rank} of the gang was lost; it was started anew, but cannot join the others again"
        return _code(run.files.end(died_record(order, node, Reason(kind="lost_worker", message=message), time.time())))
    os.environ.update(rendezvous(os.environ.get(_ADDRESS, first), int(os.environ.get(_PORT, GANG_PORT)), size))
    os.environ.update(place(rank, size))
    stop = _Over(order, run, rank)
    return _code(in_child(order, run, node, interpreter_of(node, run), Member(rank, stop)))


def rank_of(variables: Mapping[str, str]) -> int:
    """Return the place of this pod in its gang.

    Raises:
        BackendError: Nothing tells it.
    """
    for name in RANKS:
        if variables.get(name, "").isdigit():
            return int(variables[name])
    raise BackendError(
        f"Nothing tells this node its place in the gang: none of {', '.join(RANKS)} is set. Choose a training runtime whose pods are those "
        f"of an indexed job, such as kubeflow.gang_runtime = 'torch-distributed'"
    )


class _Over:
    """Says whether a member has nothing to do any more: the gang has failed, or the whole run has ended."""

    def __init__(self, order: WorkOrder, run: RunSession, rank: int) -> None:
        self.order = order
        self.run = run
        self.rank = rank

    def __call__(self) -> bool:
        files, order = self.run.files, self.order
        if files.ended() is not None:
            return True
        record = files.attempt(order.step, order.index, order.attempt) if self.rank else None
        return record is not None and record.state == "failed"


def _started(order: WorkOrder) -> TaskStarted:
    return TaskStarted(
        step=order.step, index=order.index, attempt=order.attempt, started=time.time(), host=socket.gethostname(), pid=os.getpid()
    )


def _code(record: TaskRecord) -> int:
    return 0 if is_well(record) else 1


def _leave(_number: int, _frame: object) -> NoReturn:
    """End at once when the pod is ended: the process beside this one dies with it."""
    sys.stderr.write("flowbridge: this node was told to end\n")
    raise SystemExit(TERMINATED)
