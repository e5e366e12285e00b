"""Follow a run from outside: what has been written since the last look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import TaskRecord, TaskStarted


class Watcher:
    """Tells the start and end of every attempt of a run once each, in the order they became visible.

    Where the end of an attempt is seen together with its start, both are told, the start first.
    """

    def __init__(self, files: RunFiles) -> None:
        self.files = files
        self._seen: set[str] = set()

    def poll(self) -> list[TaskStarted | TaskRecord]:
        """Return the records that are new since the last call."""
        new = [f for f in self.files.task_files() if f.kind in {"start", "end"} and f.path not in self._seen]
        self._seen.update(f.path for f in new)
        records = self.files.read_files(new)
        return sorted(records, key=lambda r: (when(r), hasattr(r, "state")))


def when(record: TaskStarted | TaskRecord) -> float:
    """Return the time a record tells of, in seconds since the epoch."""
    time = getattr(record, "finished", None)
    return float(time if time is not None else record.started or 0.0)
