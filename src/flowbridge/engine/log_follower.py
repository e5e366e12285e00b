"""One thread in the driver that passes on what all running tasks print, from their local files to the logs in the store.

So no task needs a thread of its own, and what a task printed just before it was killed is there like all the rest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from flowbridge.errors import StoreError
from flowbridge.worker.logs import PART, Parts, spool_path

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.records.files import RunFiles
    from flowbridge.records.models import Index

_LOOK = 0.2
_TRIES = 3

Echo = Callable[[str, bytes], None]
"""Told what a task printed: its name, and whole lines where possible."""


class _Followed:
    """One task's output."""

    def __init__(self, files: RunFiles, step: str, index: Index, attempt: int) -> None:
        self.path: Path = spool_path(files.flow, files.run_id, step, index, attempt)
        self.parts = Parts(lambda part, data: files.write_log(step, index, attempt, part, data))
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

    def begin(self, number: int, step: str, index: Index, attempt: int) -> None:
        """Follow a task from now on."""
        followed = _Followed(self._files, step, index, attempt)
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
