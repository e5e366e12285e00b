"""One member of a gang but the first: it runs the step beside the others, and leaves no outputs and no record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowbridge.artifacts.folders import task_folder
from flowbridge.worker import logs
from flowbridge.worker.execute import accompany
from flowbridge.worker.run import told_of

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.records.models import Index, Reason
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import Session


def run_member(order: WorkOrder, rank: int, *, session: Session) -> Reason | None:
    """Run the step and return why it failed; None if it did not.

    Args:
        order: That of the gang's first member, who writes the record.
        rank: Of this member, from 1.
        session: What this process keeps between tasks. What is printed goes to a local file, which whoever started this process passes on.
    """
    run = session.run(order)
    node = run.graph.steps_by_id[order.step]
    spool = member_spool(order.flow, order.run, order.step, order.index, order.attempt, rank)
    run.store.work = task_folder()
    with logs.FdCapture(lambda _part, _data: None, spool, echo=False, follow=False):
        try:
            accompany(run, node, order)
        except BaseException as error:  # noqa: BLE001  (whatever a step raises, SystemExit included, ends the task and is told)
            return told_of(error, run, node, order)
        finally:
            run.store.drop_files()
    return None


def member_spool(flow: str, run: str, step: str, index: Index, attempt: int, rank: int) -> Path:
    """Return the local file that a member's output is kept in while it runs."""
    return logs.spool_path(flow, run, f"{step}@{rank}" if rank else step, index, attempt)
