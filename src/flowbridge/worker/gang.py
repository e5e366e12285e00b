"""One member of a gang but the first: it runs the step beside the others, and leaves no outputs and no record."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flowbridge.artifacts.folders import task_folder
from flowbridge.errors import StoreError
from flowbridge.records import reasons
from flowbridge.worker import logs
from flowbridge.worker.execute import accompany
from flowbridge.worker.run import told_of

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.records.models import Index, Reason
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession, Session


def run_member(order: WorkOrder, rank: int, *, session: Session) -> Reason | None:
    """Run the step and return why it failed; None if it did not.

    Args:
        order: That of the gang's first member, who writes the record.
        rank: Of this member, from 1.
        session: What this process keeps between tasks. What is printed goes to a local file, which whoever started this process passes on.
    """
    spool = member_spool(order.flow, order.run, order.step, order.index, order.attempt, rank)
    with logs.FdCapture(lambda _part, _data: None, spool, echo=False, follow=False):
        return _accompanied(order, session.run(order))


def _accompanied(order: WorkOrder, run: RunSession) -> Reason | None:
    """Run the step and return why it failed; None if it did not."""
    node = run.graph.steps_by_id[order.step]
    run.store.work = task_folder()
    try:
        accompany(run, node, order)
    except BaseException as error:  # noqa: BLE001  (whatever a step raises, SystemExit included, ends the task and is told)
        return told_of(error, run, node, order)
    finally:
        run.store.drop_files()
    return None


PARTS_A_MEMBER = 10_000
"""Parts of a gang's log that are the first member's; those of the others come behind, by rank."""
LONGEST_LOG = 4 * 1024 * 1024
"""Bytes of a further member's output that the log keeps: the last ones."""


def run_far_member(order: WorkOrder, rank: int, *, session: Session) -> Reason | None:
    """Run the step as a member that nobody beside it looks after, and return why it failed; None if it did not.

    What it prints also goes where this process prints, and into the task's log behind that of the first member, once it has ended: until
    then the first member alone writes that log, so that it can be followed.

    Args:
        order: That of the gang's first member, who writes the record.
        rank: Of this member, from 1.
        session: What this process keeps between tasks.
    """
    run = session.run(order)
    spool = member_spool(order.flow, order.run, order.step, order.index, order.attempt, rank)
    said = bytearray()

    def keep(_part: int, data: bytes) -> None:
        said.extend(data)
        del said[:-LONGEST_LOG]

    try:
        with logs.FdCapture(keep, spool):
            return _accompanied(order, run)
    finally:
        if said:
            name = f"member {rank} of {reasons.task_name(order.step, order.index)}"
            head = f"--- {name} ---\n".encode()
            try:
                run.files.write_log(order.step, order.index, order.attempt, rank * PARTS_A_MEMBER, head + bytes(said))
            except StoreError as error:  # what it printed is on this process's own output; how the step went is not changed by that
                sys.stderr.write(f"flowbridge: the log of {name} is not kept: {error}\n")


def member_spool(flow: str, run: str, step: str, index: Index, attempt: int, rank: int) -> Path:
    """Return the local file that a member's output is kept in while it runs."""
    return logs.spool_path(flow, run, f"{step}@{rank}" if rank else step, index, attempt)
