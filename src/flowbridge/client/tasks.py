"""The tasks of a run: what became of each, what it gave, what it printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from flowbridge.errors import ArtifactNotFoundError, RunNotFoundError, suggest
from flowbridge.records.models import TaskRecord, TaskStarted
from flowbridge.records.reasons import task_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowbridge.artifacts.reference import Reference
    from flowbridge.client.sources import Source
    from flowbridge.ir.control import MapNode
    from flowbridge.ir.flow import StepNode
    from flowbridge.records.models import Index, Reason, TaskState

Attempt = TaskRecord | TaskStarted


@dataclass(frozen=True)
class Task:
    """One execution of a step (or the expansion of a map), with all its attempts.

    Attributes:
        step: Id of the step or map.
        index: One position for each map around it.
        attempts: Every attempt known, in order.
    """

    step: str
    index: Index
    attempts: tuple[Attempt, ...]
    _source: Source = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The task as messages name it, such as ``train[3]``."""
        return task_name(self.step, self.index)

    @property
    def record(self) -> TaskRecord | None:
        """How its last ended attempt ended; None while none has."""
        ended = [a for a in self.attempts if isinstance(a, TaskRecord)]
        return next((r for r in ended if r.final), ended[-1] if ended else None)

    @property
    def state(self) -> TaskState:
        """One of pending, running, done, cached, skipped, failed, cancelled."""
        record = self.record
        if record is not None and record.final:
            return record.state
        return "running" if isinstance(self.attempts[-1], TaskStarted) else "pending"

    @property
    def attempt(self) -> int:
        """Number of the attempt that counts, from 0."""
        record = self.record
        return record.attempt if record is not None and record.final else self.attempts[-1].attempt

    @property
    def reason(self) -> Reason | None:
        """Why it did not end done."""
        return self.record.reason if self.record is not None else None

    @property
    def metrics(self) -> dict[str, float]:
        """Last value of each metric it logged."""
        return dict(self.record.metrics) if self.record is not None else {}

    @property
    def started(self) -> float | None:
        """When the attempt that counts began, in seconds since the epoch."""
        record = self.record
        counting = record if record is not None and record.final else self.attempts[-1]
        return counting.started

    @property
    def finished(self) -> float | None:
        """When it ended, in seconds since the epoch."""
        return self.record.finished if self.record is not None and self.record.final else None

    @property
    def duration(self) -> float | None:
        """Seconds from begin to end of the attempt that counts."""
        return self.finished - self.started if self.finished is not None and self.started is not None else None

    @property
    def outputs(self) -> dict[str, Reference]:
        """Reference of each output."""
        return dict(self.record.outputs) if self.record is not None else {}

    @property
    def extras(self) -> dict[str, Reference]:
        """Reference of each figure and table it logged, by name."""
        return dict(self.record.extras) if self.record is not None else {}

    def load(self, name: str | None = None) -> Any:
        """Return what the task gave.

        Args:
            name: Of one output, figure or table; None: the step's whole return value. Of a batch, the list over its items.

        Raises:
            ArtifactNotFoundError: The task has no output: it was skipped, failed, or has not ended.
        """
        if name is not None:
            known = {**self.extras, **self.outputs}
            if name not in known:
                raise ArtifactNotFoundError(
                    f"Task {self.name} ({self.state}) has nothing called {name!r}; it has: {', '.join(known) or 'nothing'}."
                    f"{suggest(name, known)}"
                )
            return self._source.load(known[name])
        if self.state not in {"done", "cached"}:
            why = f": {self.reason.message}" if self.reason is not None else ""
            raise ArtifactNotFoundError(f"Task {self.name} is {self.state} and has no output{why}")
        values = {n: self._source.load(r) for n, r in self.outputs.items()}
        return self._source.joined(self.step, values)

    def logs(self, attempt: int | None = None) -> str:
        """Return what the task printed: in one attempt, or in all of them one after the other."""
        return self._source.files.read_log(self.step, self.index, attempt).decode("utf-8", errors="replace")

    def __repr__(self) -> str:
        return f"<task {self.name} {self.state}>"


class Tasks(Sequence[Task]):
    """Some tasks in the order of the flow. ``tasks[3]`` is the fourth; ``tasks[1, 2]`` the one with the index (1, 2)."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = tuple(tasks)

    @overload
    def __getitem__(self, key: int | tuple[int, ...]) -> Task: ...

    @overload
    def __getitem__(self, key: slice) -> Tasks: ...

    def __getitem__(self, key: int | slice | tuple[int, ...]) -> Task | Tasks:
        """Return one task, by position or by index, or several."""
        if isinstance(key, slice):
            return Tasks(self._tasks[key])
        if isinstance(key, tuple):
            for task in self._tasks:
                if task.index == key:
                    return task
            raise RunNotFoundError(f"There is no task with the index {list(key)}; there are {[list(t.index) for t in self._tasks[:10]]}")
        if not -len(self._tasks) <= key < len(self._tasks):
            raise IndexError(f"There is no task at position {key} of {self._count()}")
        return self._tasks[key]

    def _count(self) -> str:
        return "1 task" if len(self._tasks) == 1 else f"{len(self._tasks)} tasks"

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    @property
    def records(self) -> list[TaskRecord]:
        """The record of every task that has ended."""
        return [t.record for t in self._tasks if t.record is not None]

    def load(self) -> Any:
        """Return what the tasks gave: of a step outside of maps its value, else the list of all that were not skipped."""
        if len(self._tasks) == 1 and not self._tasks[0].index:
            return self._tasks[0].load()
        return [task.load() for task in self._tasks if task.state != "skipped"]

    def __repr__(self) -> str:
        return f"<{self._count()}: {', '.join(f'{t.name} {t.state}' for t in self._tasks[:5])}{', ...' if len(self._tasks) > 5 else ''}>"  # noqa: PLR2004


def by_task(attempts: Iterable[Attempt], source: Source) -> list[Task]:
    """Return the tasks that some attempts belong to, in the order of the flow."""
    found: dict[tuple[str, Index], dict[int, Attempt]] = {}
    for attempt in attempts:
        tries = found.setdefault((attempt.step, attempt.index), {})
        if isinstance(attempt, TaskRecord) or attempt.attempt not in tries:
            tries[attempt.attempt] = attempt
    place = {node.id: i for i, node in enumerate(source.nodes())}
    keys = sorted(found, key=lambda k: (place.get(k[0], len(place)), k[1]))
    return [Task(step, index, tuple(found[step, index][n] for n in sorted(found[step, index])), source) for step, index in keys]


def find_node(nodes: dict[str, StepNode | MapNode], name: str, flow: str) -> list[str]:
    """Return the ids that a name stands for: an id, or the name of a step that stands in a flow inside this one.

    Raises:
        RunNotFoundError: No step or map goes by it.
    """
    if name in nodes:
        return [name]
    inner = [node_id for node_id, node in nodes.items() if getattr(node, "name", None) == name]
    if not inner:
        raise RunNotFoundError(f"Flow {flow!r} has no step {name!r}; its steps: {', '.join(nodes)}.{suggest(name, nodes)}")
    return inner
