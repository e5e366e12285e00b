"""Progress as lines, for pipes, CI and notebooks: every step that begins and ends, and now and then how far a map is."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from typing_extensions import Self

from flowbridge.cli.printing import length, say
from flowbridge.records.models import TaskRecord
from flowbridge.records.reasons import task_name

if TYPE_CHECKING:
    from typing_extensions import Self

    from flowbridge.cli.progress import Progress, StepProgress
    from flowbridge.records.models import TaskStarted

_EVERY = 10.0


class PlainView:
    """Prints a line when there is something to tell."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._told: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout.flush()

    def hear(self, event: TaskStarted | TaskRecord) -> None:
        """Take in an event, and print what it means."""
        self.progress.hear(event)
        step = self.progress.steps.get(event.step)
        if isinstance(event, TaskRecord):
            self._tell_end(event, step)
        elif step is not None and step.step not in self._told:
            self._told[step.step] = time.monotonic()
            self._say(f"{step.step} started{'' if step.total is None or step.total == 1 else f' ({step.total} tasks)'}")

    def _tell_end(self, record: TaskRecord, step: StepProgress | None) -> None:
        name = task_name(record.step, record.index)
        reason = f": {record.reason.message}" if record.reason is not None else ""
        if record.state == "failed":
            self._say(f"{name} failed{reason}" + ("" if record.final else f"; attempt {record.attempt + 1}, it is tried again"))
        if step is None or not record.final:
            return
        if step.total is not None and step.over >= step.total:
            self._tell_over(step, record, reason)
        elif time.monotonic() - self._told.get(step.step, 0.0) > _EVERY:
            self._told[step.step] = time.monotonic()
            self._say(f"{step.step}: {step.over} of {step.total if step.total is not None else '?'} over, {len(step.running)} running")

    def _tell_over(self, step: StepProgress, record: TaskRecord, reason: str) -> None:
        took = step.elapsed(time.time())
        if step.total == 1 and not record.index:
            if record.state != "failed":
                self._say(f"{step.step} {record.state}{f' in {length(took)}' if record.state == 'done' else reason}")
            return
        counts = ", ".join(f"{n} {state}" for state, n in step.ended.items())
        self._say(f"{step.step} over: {counts}" + (f" in {length(took)}" if took is not None else ""))

    def _say(self, text: str) -> None:
        say(f"[{length(time.time() - self.progress.began):>6}] {text}")
        sys.stdout.flush()
