"""What has become of the tasks that one needs, read from their records and remembered for as long as the task runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowbridge.ir.attempts import last_attempt
from flowbridge.records.expected import units_of
from flowbridge.records.reasons import task_name, upstream

if TYPE_CHECKING:
    from flowbridge.artifacts.reference import Reference
    from flowbridge.ir.flow import FlowGraph
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index, Reason, TaskRecord

_KEPT = 20_000


@dataclass(frozen=True)
class Skipped:
    """A value does not exist, because its step was skipped (or failed and is allowed to)."""

    step: str


@dataclass(frozen=True)
class Blocked:
    """A value will never exist, because something on the way to it failed, was cancelled or was lost."""

    step: str
    state: str = "failed"

    @property
    def reason(self) -> Reason:
        """The same as the reason of a record."""
        return upstream(self.step, self.state)


class Lookup:
    """Final records of a run's tasks. Final records never change, so each is read once."""

    def __init__(self, graph: FlowGraph, files: RunFiles) -> None:
        self.graph = graph
        self.files = files
        self._records: dict[tuple[str, Index], TaskRecord] = {}

    def record(self, node_id: str, index: Index) -> TaskRecord | None:
        """Return a task's final record; None while there is none."""
        key = (node_id, index)
        found = self._records.get(key)
        if found is None:
            step = self.graph.steps_by_id.get(node_id)
            found = self.files.result(node_id, index, retries=last_attempt(step) if step else 0)
            if found is not None:
                self._make_room(1)
                self._records[key] = found
        return found

    def _make_room(self, count: int) -> None:
        """Forget everything when there is too much of it: a process may run any number of tasks."""
        if len(self._records) + count > max(_KEPT, count):
            self._records.clear()

    def learn(self, records: list[TaskRecord]) -> None:
        """Remember final records that were read in bulk."""
        self._make_room(len(records))
        self._records.update({(r.step, r.index): r for r in records if r.final})

    def read_ahead(self, node_id: str, indices: list[Index]) -> None:
        """Read the records of many tasks of a node, several at once where the store is far away."""
        missing = [i for i in indices if (node_id, i) not in self._records]
        self.learn(self.files.first_attempts(node_id, missing))

    def output(self, step: str, index: Index, name: str) -> Reference | Skipped | Blocked:
        """Return the reference of a task's output, or why there is none."""
        record = self.record(step, index)
        state = trouble(record, step, index)
        if state is not None:
            return state
        assert record is not None
        return dict(record.outputs)[name]

    def units(self, map_id: str, index: Index) -> int | Skipped | Blocked:
        """Return how often what is inside a map was launched, or why it was not at all."""
        record = self.record(map_id, index)
        return trouble(record, map_id, index) or units_of(self.graph.maps_by_id[map_id], record)


def trouble(record: TaskRecord | None, step: str, index: Index) -> Skipped | Blocked | None:
    """Return what stands in the way of using a task's outputs; None where they are there."""
    if record is None:
        return Blocked(task_name(step, index), "missing")
    if record.state in {"done", "cached"} or (record.allowed and record.outputs):
        return None
    if record.state == "skipped" or record.allowed:
        return Skipped(task_name(step, index))
    return Blocked(task_name(step, index), record.state)
