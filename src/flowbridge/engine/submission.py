"""A run that is waited for: one that goes on in this process, or one that this process follows."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbridge.engine.ledger import Account
    from flowbridge.engine.loop import Loop
    from flowbridge.records.models import RunState


class Awaited:
    """A submitted run that some thread of this process carries out or follows; that thread sets `_over` in the end."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._state: RunState | None = None
        self._error: BaseException | None = None

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state.

        Raises:
            StoreError: The records of the run could not be written or read.
        """
        try:
            self._over.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            self._over.wait()
        if self._error is not None:
            raise self._error
        return self._state or "running"

    def cancel(self) -> None:
        """End the run: running tasks are stopped with their whole process tree, waiting ones never start."""
        raise NotImplementedError


class LoopSubmission(Awaited):
    """A submitted local run.

    With `wait` the run begins when `wait` is called, in that thread: so Ctrl-C reaches it, debuggers work, and nothing else has a
    thread. Without, it goes on in a thread of its own, which keeps this process alive until the run is over.

    Args:
        loop: Of the run.
        wait: Begin when somebody waits.
        account: Of this run alone; closed when the run is over.
    """

    def __init__(self, loop: Loop, *, wait: bool, account: Account | None = None) -> None:
        super().__init__()
        self._loop = loop
        self._account = account
        self._begun = threading.Lock()
        self._thread: threading.Thread | None = None
        if not wait:
            self._begun.acquire()
            self._thread = threading.Thread(target=self._run_aside, name="flowbridge-run", daemon=False)
            self._thread.start()

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is over (or `timeout` seconds) and return its state.

        Raises:
            StoreError: The records of the run could not be written or read.
        """
        if timeout is None and self._begun.acquire(blocking=False):
            self._run()
        elif self._begun.acquire(blocking=False):
            self._thread = threading.Thread(target=self._run_aside, name="flowbridge-run", daemon=False)
            self._thread.start()
        return super().wait(timeout)

    def cancel(self) -> None:
        """End the run: running tasks are stopped with their whole process tree, waiting ones never start."""
        self._loop.cancel()

    def _run(self) -> None:
        try:
            self._state = self._loop.run()
        except BaseException as error:
            self._error = error
            raise
        finally:
            if self._account is not None:
                self._account.close()
            self._over.set()

    def _run_aside(self) -> None:
        with suppress(BaseException):  # kept, and raised to whoever waits
            self._run()
