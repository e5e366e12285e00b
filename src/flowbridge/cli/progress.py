"""What is known of a run while it goes on: how far each step is, what runs, what waits, and how long the rest may take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowbridge.records.expected import units_of
from flowbridge.records.models import TaskRecord, TaskStarted

if TYPE_CHECKING:
    from flowbridge.ir.flow import FlowGraph, StepNode
    from flowbridge.records.models import Index

Waiting = Callable[[], Mapping[str, tuple[str, ...]]]
_SLOW = 1.5


@dataclass
class StepProgress:
    """One step.

    Attributes:
        total: Number of its tasks; None while the maps around it have not been expanded.
        ended: Number of tasks in each final state.
        running: When each running task began, in seconds since the epoch.
        retries: Attempts that failed and are tried again.
        first: When its first task began.
        last: When its last ended.
        waits_for: The resources it waits for.
    """

    step: str
    total: int | None
    ended: Counter[str] = field(default_factory=Counter)
    running: dict[Index, float] = field(default_factory=dict)
    retries: int = 0
    first: float | None = None
    last: float | None = None
    waits_for: tuple[str, ...] = ()

    @property
    def over(self) -> int:
        """Number of tasks that have ended."""
        return sum(self.ended.values())

    @property
    def to_start(self) -> int:
        """Number of tasks that have not begun, as far as it is known."""
        return max(0, (self.total or 0) - self.over - len(self.running))

    def rest(self, each: float, now: float) -> float:
        """Return the seconds of work left in the running tasks, if each takes that long."""
        return sum(max(0.0, each - max(0.0, now - began)) for began in self.running.values())

    @property
    def state(self) -> str:
        """The worst that happened to its tasks, or what is going on."""
        if self.running:
            return "running"
        if self.total is None or self.over < self.total:
            return "waiting" if self.waits_for else "pending" if self.over == 0 else "running"
        return next((s for s in ("failed", "cancelled", "done", "cached") if self.ended[s]), "skipped")

    def elapsed(self, now: float) -> float | None:
        """Return the seconds since its first task began, until its last ended."""
        if self.first is None:
            return None
        return (now if self.running or self.last is None else self.last) - self.first


class Progress:
    """Listens to a run. Safe for threads.

    Args:
        graph: The flow.
        typical: Seconds that a task of each step took in earlier runs.
        waiting: Returns what each step waits for; asked now and then.
    """

    def __init__(self, graph: FlowGraph, typical: Mapping[str, float] | None = None, waiting: Waiting | None = None) -> None:
        self.graph = graph
        self.typical = dict(typical or {})
        self.began = time.time()
        self.steps = {s.id: StepProgress(s.id, None if s.scope else 1) for s in graph.steps}
        self.failed: list[TaskRecord] = []
        self._inside: dict[str, list[StepNode]] = {m.id: [s for s in graph.steps if s.scope[-1:] == (m.id,)] for m in graph.maps}
        self._outer_open: Counter[str] = Counter()
        self._expanded: set[tuple[str, Index]] = set()
        self._waiting = waiting
        self._lock = threading.Lock()

    def hear(self, event: TaskStarted | TaskRecord) -> None:
        """Take in that an attempt began or ended."""
        with self._lock:
            if event.step in self.graph.maps_by_id:
                if isinstance(event, TaskRecord):
                    self._expand(event)
            elif isinstance(event, TaskStarted):
                self._begin(event)
            else:
                self._finish(event)

    def look(self) -> list[StepProgress]:
        """Return all steps, in the order of the flow, with what they wait for right now."""
        waits = self._waiting() if self._waiting is not None else {}
        with self._lock:
            for step in self.steps.values():
                step.waits_for = waits.get(step.step, ())
            return list(self.steps.values())

    def left(self, now: float) -> float | None:
        """Return the seconds that the rest may take, from what tasks took so far and in earlier runs; None where that says nothing."""
        with self._lock:
            work = longest = 0.0
            for step in self.steps.values():
                each = self._each(step)
                to_come = (step.total or 1) - step.over
                if to_come <= 0:
                    continue
                if each is None:
                    return None
                rest = step.rest(each, now)
                work += rest + each * (to_come - len(step.running))
                longest = max(longest, each if to_come > len(step.running) else rest / len(step.running))
            at_once = max(1, sum(len(s.running) for s in self.steps.values()))
        return max(work / at_once, longest)

    def left_of(self, step: StepProgress, now: float) -> float | None:
        """Return the seconds that the rest of a step may take."""
        each = self._each(step)
        if each is None or step.total is None or not step.running:
            return None
        return (step.rest(each, now) + each * step.to_start) / len(step.running)

    def is_slow(self, step: StepProgress, now: float) -> bool:
        """Say whether a running task of a step takes clearly longer than others did, or nothing is known of others."""
        each = self._each(step)
        return bool(step.running) and (each is None or now - min(step.running.values()) > _SLOW * each)

    def _each(self, step: StepProgress) -> float | None:
        """Return how long a task of a step takes: as in this run, else as in earlier ones."""
        if step.ended["done"] and step.first is not None and step.last is not None:
            spent = step.last - step.first
            return max(spent / step.ended["done"], 0.0) if step.total == 1 else self.typical.get(step.step, spent / step.ended["done"])
        return self.typical.get(step.step)

    def _begin(self, event: TaskStarted) -> None:
        step = self.steps[event.step]
        step.running[event.index] = event.started
        step.first = event.started if step.first is None else min(step.first, event.started)

    def _finish(self, record: TaskRecord) -> None:
        step = self.steps[record.step]
        step.running.pop(record.index, None)
        if not record.final:
            step.retries += 1
            return
        step.ended[record.state] += 1
        if record.started is not None:
            step.first = record.started if step.first is None else min(step.first, record.started)
        step.last = record.finished if step.last is None else max(step.last, record.finished)
        if record.state == "failed":
            self.failed.append(record)

    def _expand(self, record: TaskRecord) -> None:
        if not record.final or (record.step, record.index) in self._expanded:
            return
        self._expanded.add((record.step, record.index))
        units = units_of(self.graph.maps_by_id[record.step], record)
        for step in self._inside[record.step]:
            progress = self.steps[step.id]
            progress.total = (progress.total or 0) + units
        if record.state == "failed":
            self.failed.append(record)
