"""What Kubeflow's API tells of a run, for what flowbridge's own records cannot know: pods that never started or never told their end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flowbridge.records import reasons
from flowbridge.records.models import Reason, TaskRecord, TaskStarted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.files import RunFiles

Json = dict[str, Any]
OVER = frozenset({"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"})
LONGEST_MESSAGE = 500


def is_over(run: Mapping[str, Any]) -> bool:
    """Say whether the server is done with a run."""
    return run.get("state") in OVER


def message_of(told: Mapping[str, Any]) -> str | None:
    """Return what the server says went wrong with a run or a task, in one line."""
    error = told.get("error") or {}
    text = str(error.get("message") or "").strip()
    return text.split("\n", 1)[0][:LONGEST_MESSAGE] or None


def failures(run: Mapping[str, Any]) -> dict[str, str]:
    """Return what the server says of each failed task, by the task's name (a driver's failure under the name of its task)."""
    found: dict[str, str] = {}
    for task in run.get("run_details", {}).get("task_details", ()):
        if task.get("state") != "FAILED":
            continue
        name = str(task.get("display_name", "")).removesuffix("-driver")
        found.setdefault(name, message_of(task) or "failed without a message")
    return found


def waiting(run: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the tasks that the server has begun with and not ended."""
    details = run.get("run_details", {}).get("task_details", ())
    return frozenset(str(t.get("display_name", "")).removesuffix("-driver") for t in details if t.get("state") in {"PENDING", "RUNNING"})


def complete(graph: FlowGraph, files: RunFiles, run: Mapping[str, Any], tasks: Mapping[str, str]) -> list[TaskRecord]:
    """Give an end to tasks that the server saw fail and that left none: their pod never started, was evicted, or ran out of memory.

    Args:
        graph: The flow.
        files: The run's records.
        run: The run as the server tells it; it is over.
        tasks: Name on the server of each step's task.

    Returns:
        The records written. Tasks inside maps are not among them: the server does not tell their items apart.
    """
    told = failures(run)
    known = {(r.step, r.index): r for r in files.read_tasks()}
    return [files.end(record) for record in _lost(graph, known, told, tasks)]


def _lost(
    graph: FlowGraph,
    known: Mapping[tuple[str, tuple[int, ...]], TaskRecord | TaskStarted],
    told: Mapping[str, str],
    tasks: Mapping[str, str],
) -> Iterator[TaskRecord]:
    for step in graph.steps:
        name = tasks.get(step.id)
        if step.scope or name is None or name not in told:
            continue
        standing = known.get((step.id, ()))
        if isinstance(standing, TaskRecord) and standing.final:
            continue
        yield _record(step, standing, told[name])


def _record(step: StepNode, standing: TaskRecord | TaskStarted | None, told: str) -> TaskRecord:
    attempt = 0 if standing is None else standing.attempt + (1 if isinstance(standing, TaskRecord) else 0)
    begun = isinstance(standing, TaskStarted)
    what = "its pod ended without a result" if begun else "its pod never got as far as the step"
    return TaskRecord(
        step=step.id,
        attempt=attempt,
        state="failed",
        allowed=step.allow_failure,
        reason=Reason(kind="lost_worker", message=f"{reasons.task_name(step.id)}: {what}; Kubeflow says: {told}"),
        started=standing.started if standing is not None else None,
        finished=time.time(),
    )
