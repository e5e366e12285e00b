"""Runs a task with ``nodes=``: in the pod that the server started for it, which starts those of the gang."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.supervise import grown
from flowbridge.worker.decide import Ready, decide
from flowbridge.worker.load import Loader
from flowbridge.worker.run import run_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import TaskRecord
    from flowbridge.worker.order import WorkOrder
    from flowbridge.worker.session import RunSession, Session


def execute_gang(order: WorkOrder, session: Session, run: RunSession, template: dict[str, Any], arguments: Sequence[str]) -> TaskRecord:
    """Run a gang and return the record of its task. Where a condition keeps it from running, no gang is started.

    Args:
        order: Which task.
        session: What this process keeps between tasks.
        run: The run.
        template: What was compiled about the gang's pods.
        arguments: Of this pod.
    """
    node = run.graph.steps_by_id[order.step]
    if not _runs(node, order, run):
        return run_task(order, session=session)
    if template.get("here"):
        from flowbridge.backends.kubeflow.gang.here import ProcessGang  # noqa: PLC0415  (only under kfp's local runner)

        return grown(order, run, node, ProcessGang(run, node).attempt)
    from flowbridge.backends.kubeflow.gang.launch import TrainJobGang  # noqa: PLC0415  (only in a cluster)

    return grown(order, run, node, TrainJobGang(run, node, template, arguments).attempt)


def _runs(node: StepNode, order: WorkOrder, run: RunSession) -> bool:
    """Say whether the task's conditions hold; where they cannot be told, the worker says why."""
    try:
        return isinstance(decide(node, order.index, run.locator, Loader(run.store, run.files, run.class_of).load), Ready)
    except Exception:  # noqa: BLE001  (told by the worker, as that of any other task)
        return False
