"""One thread in the driver that passes on what all running tasks print, from their local files to the logs in the store.

So no task needs a thread of its own, and what a task printed just before it was killed is there like all the rest.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from flowbridge.errors import StoreError
from flowbridge.worker.gang import member_spool
from flowbridge.worker.logs import PART, Parts

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.engine.scheduler import Task
    from flowbridge.records.files import RunFiles

_LOOK = 0.2
_TRIES = 3
_PARTS_OF_A_MEMBER = 10_000
"""The log of a gang holds its members' output one after the other."""


class _Followed:
    """One task's output."""

    def __init__(self, files: RunFiles, task: Task, rank: int) -> None:
        self.path: Path = member_spool(files.flow, files.run_id, task.step, task.index, task.attempt, rank)
        first = rank * _PARTS_OF_A_MEMBER
        self.parts = Parts(lambda part, data: files.write_log(task.step, task.index, task.attempt, first + part, data))
        self.file: int | None = None
        self.position = 0
        self.over = False
        self.failures = 0

    def take(self) -> None:
        """Take what is new, and write a part if one is due."""
        if self.file is None:
            try:
                self.file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:  # nothing yet, or nothing at all
                return
        while data := os.pread(self.file, PART, self.position):
            self.position += len(data)
            self.parts.add(data)
        self.parts.write_if_due()

    def finish(self) -> bool:
        """Write all that is left; return False if that should be tried again."""
        try:
            self.take()
            self.parts.flush()
        except StoreError:
            self.failures += 1
            if self.failures < _TRIES:
                return False
        self.close()
        with suppress(FileNotFoundError):
            self.path.unlink()
        return True

    def close(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


class LogFollower:
    """Follows the output of the tasks of one run."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._followed: dict[int, _Followed] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def begin(self, number: int, task: Task, rank: int = 0) -> None:
        """Follow a task (of a gang, one member) from now on; `number` names it at its `end`."""
        followed = _Followed(self._files, task, rank)
        with self._lock:
            self._followed[number] = followed
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="flowbridge-logs", daemon=True)
            self._thread.start()

    def end(self, number: int) -> None:
        """A task's process is gone: write the rest of its log, soon."""
        with self._lock:
            followed = self._followed.get(number)
            if followed is None:
                return
            if followed.file is None and not followed.path.exists():  # most tasks print nothing
                del self._followed[number]
                return
            followed.over = True

    def close(self) -> None:
        """Write the rest of all logs, and stop."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        while not self._closing:
            self._wake.wait(_LOOK)
            self._look()
        while self._followed:
            for followed in self._followed.values():
                followed.over = True
            self._look()

    def _look(self) -> None:
        with self._lock:
            current = list(self._followed.items())
        for number, followed in current:
            if not followed.over:
                with suppress(StoreError):  # a store that is away for a moment; what is held is written later
                    followed.take()
            elif followed.finish():
                with self._lock:
                    self._followed.pop(number, None)
