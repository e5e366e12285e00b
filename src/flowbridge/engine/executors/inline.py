"""Tasks in this process, one after the other: debuggers, breakpoints and monkeypatches work, and nothing is isolated."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowbridge.engine.executors.base import Began, Ended, Happening, Launch, Told
from flowbridge.engine.process_tree import kill_started_since, start_of_now
from flowbridge.worker.run import run_task
from flowbridge.worker.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from flowbridge.artifacts.store import Store
    from flowbridge.ir.flow import FlowGraph


class InlineExecutor:
    """Runs each task when it is started, before `start` returns.

    Attributes:
        isolates: False.
    """

    isolates = False

    def __init__(self, store: Store, graph: FlowGraph, functions: Mapping[str, Callable[..., Any]] | None) -> None:
        self.notes: list[str] = []
        self.folder: Path | None = None
        self._session = Session(store.apart(), functions=functions, graph=graph, capture="python")
        self._happened: deque[Happening] = deque()

    def start(self, launch: Launch) -> None:
        """Run a task.

        Raises:
            KeyboardInterrupt: The user stopped it; its record says cancelled, and the processes that it started are ended.
        """
        start = start_of_now()
        self._happened.append(Began(launch.number, os.getpid()))
        try:
            record = run_task(launch.order, session=self._session)
        except KeyboardInterrupt:
            kill_started_since(start)
            self._happened += [Told(launch.number, None), Ended(launch.number, None)]
            raise
        self._happened += [Told(launch.number, record), Ended(launch.number, 0)]

    def poll(self, timeout: float, watched: Sequence[int] = ()) -> list[Happening]:
        """Return what has happened since the last call. Never waits while there is something to tell."""
        happened = list(self._happened)
        self._happened.clear()
        if not happened and timeout > 0:
            _sleep(timeout, watched)
        return happened

    def close(self) -> None:
        """Do nothing: nothing is left running."""


def _sleep(timeout: float, watched: Sequence[int]) -> None:
    import select  # noqa: PLC0415  (only while a retry is waited for)

    select.select([fd for fd in watched if fd >= 0], [], [], timeout)
