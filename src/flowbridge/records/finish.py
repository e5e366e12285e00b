"""Close a run: give every task that has no end a record of why, and derive from all of them how the run ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flowbridge.ir.control import MapNode
from flowbridge.ir.graph import dependencies, shared_depth
from flowbridge.records import reasons
from flowbridge.records.expected import tasks_of
from flowbridge.records.models import Index, Reason, RunEnd, RunState, RunSummary, TaskRecord, TaskStarted

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.files import RunFiles

Attempt = TaskRecord | TaskStarted


def finalise(
    graph: FlowGraph, files: RunFiles, *, cancelled: bool = False, known: Iterable[Attempt] | None = None, left: Reason | None = None
) -> RunEnd:
    """Derive the state of a run from its records and write `end.json` and `summary.json`. Doing it again changes nothing.

    Args:
        graph: The flow.
        files: The records of the run.
        cancelled: Somebody ended the run; tasks without an end are then cancelled, not lost.
        known: All attempts, where the caller has them already; otherwise they are read.
        left: Why tasks that nobody began were not run, where it is no task's doing and the caller knows more about it.
    """
    standing = files.ended()
    if standing is not None:
        return standing
    book = _Book(graph, known if known is not None else files.read_tasks(), files.end, left)
    book.close(cancelled=cancelled)
    end = book.end(cancelled=cancelled)
    summary = RunSummary(
        run=files.run(), end=end, native=files.native(), tasks=book.attempts(), lost=tuple(book.begun.values()), metrics=end.metrics
    )
    return files.finish(end, summary)


def would_end(graph: FlowGraph, attempts: Iterable[Attempt], *, at: float) -> tuple[RunEnd, list[Attempt]]:
    """Return how a run would be closed that nobody carries on and nobody closed, and all its attempts then. Nothing is written.

    Args:
        graph: The flow.
        attempts: All that is known.
        at: When the run gave its last sign of life, in seconds since the epoch.
    """
    book = _Book(graph, attempts, lambda record: record.model_copy(update={"finished": at}), left=reasons.abandoned())
    book.close(cancelled=False)
    end = book.end(cancelled=False).model_copy(update={"finished": at})
    return end, [*book.attempts(), *book.begun.values()]


class _Book:
    """All attempts of a run, by task.

    Args:
        graph: The flow.
        attempts: All that is known.
        write: Writes the end of an attempt and returns the one that stands.
        left: Why tasks that nobody began were not run, where it is no task's doing.
    """

    def __init__(
        self, graph: FlowGraph, attempts: Iterable[Attempt], write: Callable[[TaskRecord], TaskRecord], left: Reason | None = None
    ) -> None:
        self.graph = graph
        self.write = write
        self.left = left
        self.ended: dict[tuple[str, Index], dict[int, TaskRecord]] = {}
        self.begun: dict[tuple[str, Index, int], TaskStarted] = {}
        self.bad: dict[str, dict[Index, str]] = {}
        self.order: list[TaskRecord] = []
        for attempt in attempts:
            if isinstance(attempt, TaskRecord):
                self.ended.setdefault((attempt.step, attempt.index), {})[attempt.attempt] = attempt
            else:
                self.begun[attempt.step, attempt.index, attempt.attempt] = attempt
        for record in [r for tries in self.ended.values() for r in tries.values()]:
            self.begun.pop((record.step, record.index, record.attempt), None)

    def final(self, step: str, index: Index) -> TaskRecord | None:
        tries = self.ended.get((step, index), {})
        return next((tries[n] for n in sorted(tries) if tries[n].final), None)

    def attempts(self) -> tuple[TaskRecord, ...]:
        """Return every attempt: of the tasks in the order of the flow, and of each its attempts in order."""
        keys = dict.fromkeys([(r.step, r.index) for r in self.order])
        keys.update(dict.fromkeys(self.ended))
        return tuple(tries[n] for tries in (self.ended[k] for k in keys) for n in sorted(tries))

    def close(self, *, cancelled: bool) -> None:
        """Give every task an end, in the order of the flow, so that a task knows what became of those it needs."""
        for node, index in tasks_of(self.graph, self.final):
            record = self.final(node.id, index) or self._write_end(node, index, cancelled=cancelled)
            self.order.append(record)
            if record.state in {"failed", "cancelled"} and not record.allowed:
                self.bad.setdefault(node.id, {})[index] = record.state

    def _write_end(self, node: StepNode | MapNode, index: Index, *, cancelled: bool) -> TaskRecord:
        tries = self.ended.setdefault((node.id, index), {})
        begun = [a for step, i, a in self.begun if (step, i) == (node.id, index)] if self.begun else []
        attempt = max(begun) if begun else max(tries, default=-1) + 1
        if begun and not cancelled:
            record = self._lost(node, self.begun[node.id, index, attempt])
        else:
            record = reasons.never_ran(node, index, self._why(node, index, cancelled=cancelled), attempt)
        standing = self.write(record)
        tries[standing.attempt] = standing
        self.begun.pop((node.id, index, standing.attempt), None)
        return standing

    def _lost(self, node: StepNode | MapNode, started: TaskStarted) -> TaskRecord:
        return TaskRecord(
            step=node.id,
            index=started.index,
            attempt=started.attempt,
            state="failed",
            allowed=not isinstance(node, MapNode) and node.allow_failure,
            reason=reasons.lost(started),
            started=started.started,
            finished=time.time(),
            host=started.host,
            native=started.native,
        )

    def _why(self, node: StepNode | MapNode, index: Index, *, cancelled: bool) -> Reason:
        culprit = self._culprit(node, index)
        if culprit is not None:
            return reasons.upstream(*culprit)
        if cancelled:
            return self.left or reasons.cancelled()
        if self.left is not None and not (self.left.kind == "lost_worker" and isinstance(node, MapNode)):
            return self.left  # a map can wait for more than its own list, so nobody knows that its process was lost
        if self.bad:
            return reasons.cancelled("not run, because the run was stopped when another step failed")
        return reasons.cancelled("not run: the run ended before this task was started")

    def _culprit(self, node: StepNode | MapNode, index: Index) -> tuple[str, str] | None:
        """Return a task that this one needs and that went wrong, and how."""
        for needed in dependencies(node):
            scope = self.graph.node(needed).scope
            shared = index[: shared_depth(scope, node.scope)]
            for part in (needed, *scope[len(shared) :]):
                found = self._bad_under(part, shared)
                if found is not None:
                    return found
        return None

    def _bad_under(self, part: str, shared: Index) -> tuple[str, str] | None:
        bad = self.bad.get(part, {})
        if len(self.graph.node(part).scope) == len(shared):
            return (reasons.task_name(part, shared), bad[shared]) if shared in bad else None
        under = [(state != "failed", other, state) for other, state in bad.items() if other[: len(shared)] == shared]
        if not under:
            return None
        _, other, state = min(under)
        return reasons.task_name(part, other), state

    def end(self, *, cancelled: bool) -> RunEnd:
        failed = [r for r in self.order if r.state == "failed" and not r.allowed]
        cut_short = [r for r in self.order if r.state == "cancelled"]
        if cancelled and cut_short:
            state: RunState = "cancelled"
        elif failed or cut_short:
            state = "failed"
        else:
            state = "done"
        shown = [r for r in self.order if r.step in self.graph.steps_by_id or r.state != "done"]
        metrics = {name: value for r in self.order for name, value in r.metrics.items()}
        return RunEnd(
            state=state,
            finished=time.time(),
            message=_message(failed, cut_short),
            counts=dict(Counter(r.state for r in shown)),
            metrics=metrics,
        )


def _message(failed: list[TaskRecord], cut_short: list[TaskRecord]) -> str | None:
    if not failed and not cut_short:
        return None
    first = (failed or cut_short)[0]
    count = len(failed) if failed else len(cut_short)
    more = f" (and {count - 1} more)" if count > 1 else ""
    words = first.reason.message if first.reason else first.state
    return f"{reasons.task_name(first.step, first.index)} {first.state}: {words}{more}"
